//! All that an agent takes besides its state directory and that may not be there: files, groups. Had before the agent that runs is
//! stopped, so that a configuration which cannot be used stops nobody. The status port is begun here too, and may come later.

use std::cell::RefCell;
use std::sync::Arc;

use adapters::{Context, Source, SourceError, SourceSettings};

use crate::config::{Difference, HEALTH, Loaded, Part, Settings};
use crate::ingest::Router;
use crate::process::chain;
use crate::state::{Store, StoreError};
use crate::status::{self, Port};
use crate::uplink::{Uplink, UplinkError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot set up the uplink")]
    Uplink(#[from] UplinkError),
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// A source that is open, or the name of one that cannot be opened, and why.
pub(super) type Opened = Result<Source, (String, String)>;

pub(crate) struct Prepared {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) port: Option<Port>,
    pub(super) store: Store,
    pub(super) uplink: Uplink,
    /// Each source, or the name of one that cannot be opened, and why.
    pub(super) sources: Vec<Opened>,
}

/// What a running agent takes of another configuration without beginning anew.
pub(crate) struct Change {
    pub(crate) loaded: Arc<Loaded>,
    pub(super) difference: Difference,
    pub(super) sources: Vec<Opened>,
}

/// What is done about a source that cannot be opened, as its password is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// Nothing of the configuration is used: there is another one.
    Fails,
    /// The others run, and it is tried again.
    IsTriedAgain,
}

/// `open` is the port that there is already: it is used again where the configuration asks for the same.
pub(crate) fn prepare(
    loaded: &Arc<Loaded>,
    open: Option<&Port>,
    unopened: Unopened,
) -> Result<Prepared, AgentError> {
    let settings = &loaded.settings;
    let port = status::listen(&settings.status, open);
    let store = Store::new(&settings.store);
    let sources = settings.sources.iter();
    let sources = sources.map(|one| match open_source(settings, one) {
        Ok(source) => Ok(Ok(source)),
        Err(error) if unopened == Unopened::IsTriedAgain => {
            Ok(Err((one.name().to_owned(), chain(&error))))
        }
        Err(error) => Err(error),
    });
    let sources = sources.collect::<Result<_, _>>()?;
    // The last, since it begins to connect.
    let uplink = Uplink::new(settings.cluster(), &settings.intents.sendings())?;
    Ok(Prepared {
        sources,
        loaded: Arc::clone(loaded),
        port,
        store,
        uplink,
    })
}

/// All that is to be had for a running agent to take `loaded` in place of `running`; none where only one can that begins anew.
pub(super) fn prepare_change(
    loaded: &Arc<Loaded>,
    running: &Loaded,
) -> Result<Option<Change>, AgentError> {
    let difference = Difference::between(running, loaded);
    if let Some(what) = difference.anew {
        tracing::info!(
            what,
            "the agent restarts in this process: it cannot take this change while it runs; nothing is lost"
        );
        return Ok(None);
    }
    let settings = &loaded.settings;
    let sources = settings.sources.iter();
    let sources = sources.filter(|one| difference.sources.contains(one.name()));
    let sources = sources.map(|one| open_source(settings, one).map(Ok));
    let sources = sources.collect::<Result<_, _>>()?;
    if difference.has(Part::Cluster) {
        // One that nothing is sent through, for what librdkafka has to say of its settings.
        drop(Uplink::new(
            settings.cluster(),
            &settings.intents.sendings(),
        )?);
    }
    Ok(Some(Change {
        loaded: Arc::clone(loaded),
        difference,
        sources,
    }))
}

/// Opens one of the sources of `settings`: before the agent runs, and again where it ended while it ran.
pub(super) fn open_source(
    settings: &Settings,
    one: &SourceSettings,
) -> Result<Source, SourceError> {
    let intents = &settings.intents;
    let named = one.intents();
    let asked = named.iter().filter_map(|(_, intent)| intents.id(intent));
    let mut lanes = asked.chain(settings.routes.lanes_of(one.name()));
    let router = RefCell::new(Router::new(settings.routes.clone(), settings.route_bytes));
    one.open(&Context {
        gateway: &settings.gateway.identity.id,
        state: &settings.store.state,
        write: buffer::write_whole,
        health: HEALTH,
        unacked_bytes: settings.unacked_bytes,
        origin_bytes: settings.origin_bytes,
        is_urgent: &|origin| {
            let lane = router.borrow_mut().lane(origin);
            intents.get(lane).pace.urgent
        },
        may_be_urgent: lanes.any(|lane| intents.get(lane).pace.urgent),
    })
}
