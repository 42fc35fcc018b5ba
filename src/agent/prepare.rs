//! All that an agent takes besides its state directory and that may not be there: files, groups, a port. Had before the agent
//! that runs is stopped, so that a configuration which cannot be used stops nobody.

use std::rc::Rc;

use adapters::inference::Inference;
use adapters::mqtt::Mqtt;

use super::AgentError;
use super::build::{client_id, identity};
use crate::config::Loaded;
use crate::intent::Intents;
use crate::status::{self, Port};
use crate::store::Store;
use crate::template::Identity;
use crate::uplink::Uplink;

pub(crate) struct Prepared {
    pub(crate) loaded: Rc<Loaded>,
    pub(crate) port: Option<Port>,
    pub(super) identity: Identity,
    pub(super) intents: Intents,
    pub(super) store: Store,
    pub(super) uplink: Uplink,
    /// By name.
    pub(super) mqtt: Vec<(String, Mqtt)>,
    pub(super) inference: Vec<(String, Inference)>,
}

/// `open` is the port that is open already: it is used again where the configuration asks for the same.
pub(crate) fn prepare(loaded: &Rc<Loaded>, open: Option<&Port>) -> Result<Prepared, AgentError> {
    let file = &loaded.file;
    let port = status::listen(file, open)?;
    let (identity, intents) = (identity(file), Intents::new(file));
    let store = Store::new(file, &intents)?;
    let uplink = Uplink::new(
        &file.uplink,
        &client_id(file, &identity.id),
        &intents,
        file.uplink.in_flight(file.memory),
    )?;
    let state = &file.gateway.state_dir;
    let mut mqtt = Vec::new();
    for section in &file.mqtt {
        let section = file.memory.profile.window(section);
        let name = section.name.clone();
        match Mqtt::new(&section, &identity.id, state) {
            Ok(source) => mqtt.push((name, source)),
            Err(source) => return Err(AgentError::Mqtt { name, source }),
        }
    }
    let mut inference = Vec::new();
    for section in &file.inference {
        let name = section.name.clone();
        match Inference::new(section, state) {
            Ok(source) => inference.push((name, source)),
            Err(source) => return Err(AgentError::Inference { name, source }),
        }
    }
    Ok(Prepared {
        loaded: Rc::clone(loaded),
        port,
        identity,
        intents,
        store,
        uplink,
        mqtt,
        inference,
    })
}
