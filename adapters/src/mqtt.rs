//! MQTT: one persistent session to a broker, as 3.1.1 or 5.
//!
//! A publish is acknowledged (PUBACK, PUBREC) after the receipt of its event, in the order of arrival
//! (MQTT 3.1.1 section 4.6). What is unacknowledged is bounded by `window`, and in bytes; and nothing is read while the source's
//! queue is full. That is the only back-pressure: a broker that may have no more messages in flight waits, and what it sends
//! beyond that waits in its socket.
//! Payloads stay opaque.

mod section;

mod doubts;

mod certificate;

mod login;

mod session;

mod source;

mod packet;

mod few;

mod frame;

mod reason;

mod answer;

mod properties;

mod headers;

mod allowed;

mod input;

mod subscriptions;

mod standing;

mod retained;

mod unacked;

mod repeats;

mod connection;

mod wire;

mod v4;

mod v5;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

pub use section::{MqttSection, MqttTlsSection, SubscribeSection, Version};
pub use source::origin_of;

use crate::retry::{Reconnect, Works};
use crate::secret::SecretError;
use crate::tls::TlsError;
use crate::topic::PatternError;
use crate::{Backoff, Context, Intake, Receipts, SourceStats, Stop, WriteWhole, stopped};
use few::Few;
use login::{Login, Logins};
use session::SessionFile;
use source::Source;
use standing::Standing;

/// Between attempts to connect; full jitter spreads a site's gateways over it.
const RECONNECT_FIRST: Duration = Duration::from_millis(250);
const RECONNECT_MOST: Duration = Duration::from_secs(30);
/// How long a stop waits for the receipts of what was taken.
const LAST_RECEIPTS: Duration = Duration::from_secs(10);
/// How long a stop waits for the disk to take which retained messages were seen.
const REMEMBER: Duration = Duration::from_secs(1);
/// A connect, a write or a ping that takes longer is a lost connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The tag of events that a broker had kept and sent because it was subscribed to: the header of the same name says so.
pub const RETAINED: &str = "tg-retained";

#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// How many packets there are in what a broker sent, up to the first that is malformed: for fuzz/.
#[doc(hidden)]
#[must_use]
pub fn decode(is_v5: bool, sent: &[u8]) -> usize {
    let version = if is_v5 { Version::V5 } else { Version::V311 };
    let mut input = input::Input::new(version);
    input.bytes.extend_from_slice(sent);
    let packets = std::iter::from_fn(|| input.next().ok().flatten());
    packets.count()
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Broken(String),
    #[error("no answer from the broker within {PATIENCE:?}")]
    Silent,
    #[error("connecting anew, so that the broker offers again what a full lane refused")]
    Again,
    #[error("stopped")]
    Stopped,
}

impl Lost {
    #[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
    fn broken(error: impl ToString) -> Lost {
        Lost::Broken(error.to_string())
    }

    /// What it holds is not said: a broker may put anything into it.
    fn unexpected() -> Lost {
        Lost::Broken("the broker sent a packet that no client gets at this point".into())
    }
}

/// One `[[mqtt]]` source.
#[derive(Debug)]
pub struct Mqtt {
    settings: section::Settings,
    logins: Logins,
    source: Source,
    /// Where it remembers its session with the broker, and how.
    session: PathBuf,
    write: WriteWhole,
}

impl Mqtt {
    /// The source remembers its session with the broker in the state directory.
    pub(crate) fn new(section: &MqttSection, context: &Context<'_>) -> Result<Mqtt, MqttError> {
        let settings = section::Settings::new(section, context)?;
        Ok(Mqtt {
            source: Source::new(section, context.origin_bytes)?,
            logins: Logins::new(section)?,
            settings,
            session: context.state.join("mqtt").join(&section.name),
            write: context.write,
        })
    }

    /// Runs until stopped, reconnecting for ever.
    pub async fn run(mut self, intake: Intake, mut receipts: Receipts, mut stop: Stop) {
        let mut session = tokio::select! {
            session = SessionFile::open(&self.session, self.write) => session,
            () = stopped(&mut stop) => return,
        };
        let (settings, logins, source) = (&self.settings, &mut self.logins, &mut self.source);
        let backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MOST);
        let (mut reasons, mut standing) = (Few::default(), Standing::default());
        let mut reconnect = Reconnect::new(&intake, backoff, &settings.name, settings.address());
        loop {
            receipts.all().await;
            let login = tokio::select! {
                login = logins.now(&settings.name) => login,
                () = stopped(&mut stop) => break,
            };
            let mut parts = Parts {
                settings,
                login: &login,
                source: &mut *source,
                session: &mut session,
                intake: &intake,
                receipts: &mut receipts,
                works: reconnect.works(),
                standing: &mut standing,
            };
            let Err(lost) = connection::session(&mut parts, &mut stop).await;
            if matches!(lost, Lost::Stopped) {
                break;
            }
            settings.tell_other_reason(&lost, &mut reasons, &intake.stats);
            if !reconnect.again(&lost, &mut stop).await {
                break;
            }
        }
        // Receipts of a connection that is gone cannot be given to anyone: the broker offers again.
        receipts.all().await;
        if timeout(REMEMBER, session.end()).await.is_err() {
            warn!(source = %settings.name, "the disk does not take which retained messages were seen; they may come again after the start");
        }
        let (repeated, old) = source.left_out();
        info!(source = %settings.name, retained_repeated = repeated, retained_old = old, "mqtt source stopped");
    }
}

/// What a connection works with.
struct Parts<'a> {
    settings: &'a section::Settings,
    login: &'a Login,
    source: &'a mut Source,
    session: &'a mut SessionFile,
    intake: &'a Intake,
    receipts: &'a mut Receipts,
    works: &'a Works<'a>,
    standing: &'a mut Standing,
}

impl section::Settings {
    /// The first failure of a series is logged by [`Reconnect`]. Another reason within the series is news: a broker that could not
    /// be reached may now refuse our password.
    fn tell_other_reason(&self, lost: &Lost, reasons: &mut Few, stats: &SourceStats) {
        if stats.connected.load(Ordering::Relaxed) {
            reasons.clear();
        }
        let is_first = reasons.is_empty();
        if reasons.is_news(lost.to_string().as_bytes()) && !is_first {
            warn!(source = %self.name, peer = %self.address(), error = %lost, "the source is still lost, for another reason; reconnecting until it works");
        }
    }
}

type Ended = Result<Infallible, Lost>;

#[cfg(test)]
mod tests;
