//! Local inference programs: a Unix socket, or a file or FIFO that is followed.
//!
//! A client writes one event a line (JSON), or length-prefixed CBOR; what it may say is described at
//! [`message`]. Where it asks for an `ack`, it gets one after the receipt, and that covers everything
//! it sent before. What is understood only in part is an event of bad quality. What is no event at all disturbs nobody else: on a
//! socket it is refused with a reason; in a file or a FIFO, whose writer hears nothing, the line as it came is an event of bad quality.

#[cfg(test)]
mod testing;

mod section;

mod time;

mod lenient;

mod tags;

mod message;

mod troubles;

mod socket;

mod fifo;

mod place;

mod places;

mod rotated;

mod names;

mod tail;

mod files;
mod followed;

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use section::InferenceSection;

use crate::origins::Origins;
use crate::retry::{Reconnect, Works};
use crate::{
    AdapterKind, Backoff, Context, Event, Intake, Origin, Quality, Receipts, Stamp, Stop,
    WriteWhole,
};
use followed::Followed;
use message::{Message, MessageError};
use names::{Known, Names};
use time::Time;
use troubles::Troubles;

const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    #[error("no group is named `{0}` on this machine")]
    Group(String),
}

/// One `[[inference]]` input.
#[derive(Debug)]
pub struct Inference {
    section: InferenceSection,
    group: Option<u32>,
    /// Where the place in a followed file is remembered, and how.
    place: PathBuf,
    write: WriteWhole,
    /// Of all its clients.
    origins: SharedOrigins,
    troubles: Arc<Troubles>,
}

/// Origins that all clients of an input share.
type SharedOrigins = Arc<Mutex<Origins<Arc<Origin>>>>;

impl Inference {
    pub(crate) fn new(
        section: &InferenceSection,
        context: &Context<'_>,
    ) -> Result<Inference, InferenceError> {
        let group = section
            .group
            .as_deref()
            .map(section::group_id)
            .transpose()?;
        let origins = Arc::new(Mutex::new(Origins::new(context.origin_bytes)));
        Ok(Inference {
            section: section.clone(),
            group,
            place: context.state.join("inference").join(&section.name),
            write: context.write,
            origins,
            troubles: Arc::default(),
        })
    }

    #[cfg(test)]
    fn of(section: InferenceSection, place: PathBuf, write: WriteWhole) -> Inference {
        Inference {
            section,
            group: None,
            place,
            write,
            origins: Arc::new(Mutex::new(Origins::new(1 << 16))),
            troubles: Arc::default(),
        }
    }

    /// Runs until stopped.
    pub async fn run(self, intake: Intake, mut receipts: Receipts, mut stop: Stop) {
        let path = self.section.socket.as_ref().or(self.section.tail.as_ref());
        let peer = path.map_or_else(String::new, |path| path.display().to_string());
        let backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        let input = Arc::new(self);
        let mut reconnect = Reconnect::new(&intake, backoff, &input.section.name, peer);
        loop {
            let works = reconnect.works();
            let ended = input.serve(&intake, &mut receipts, works, &mut stop).await;
            match ended {
                Err(error) if reconnect.again(&error, &mut stop).await => {}
                Ok(()) | Err(_) => return,
            }
        }
    }

    /// Serves clients or follows files until stopped, or until that fails.
    async fn serve(
        self: &Arc<Inference>,
        intake: &Intake,
        receipts: &mut Receipts,
        works: &Works<'_>,
        stop: &mut Stop,
    ) -> io::Result<()> {
        if let Some(path) = &self.section.socket {
            return socket::serve(self, path, intake, works, stop).await;
        }
        let Some(path) = &self.section.tail else {
            return Ok(());
        };
        if let Some(names) = Names::of(path) {
            return files::follow_all(self, names, intake, works, stop).await;
        }
        if is_fifo(path) {
            return fifo::read(self, path, intake, receipts, works, stop).await;
        }
        let (place, known) = (&self.place, &Known::default());
        let followed = Followed { path, place, known };
        let works = || works.now();
        tail::follow(self, followed, intake, receipts, stop, works).await?;
        Ok(())
    }
}

fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Whether a client's message is one: for fuzz/.
#[doc(hidden)]
#[must_use]
pub fn decode(is_cbor: bool, sent: &[u8]) -> bool {
    let message = if is_cbor {
        Message::from_cbor(sent)
    } else {
        Message::from_json(sent)
    };
    message.is_ok()
}

/// Makes events of what one client says.
#[derive(Debug)]
struct Maker {
    section: InferenceSection,
    origins: SharedOrigins,
    troubles: Arc<Troubles>,
    /// Marks events that the client gave no id.
    unnumbered: u64,
}

impl Maker {
    fn new(input: &Inference, stamp: Stamp) -> Maker {
        let begun = xxhash_rust::xxh3::xxh3_64(&stamp.unix_us.to_le_bytes());
        Maker {
            section: input.section.clone(),
            origins: Arc::clone(&input.origins),
            troubles: Arc::clone(&input.troubles),
            unnumbered: begun,
        }
    }

    /// The event in a line, if there is any. It is also one where it is no JSON, as who wrote it is not there to be told. `place`
    /// marks it where the client gave it no id and it can be read again.
    fn line(&mut self, line: &[u8], intake: &Intake, place: Option<u64>) -> Option<Event> {
        let line = lenient::bare(line);
        if line.is_empty() {
            return None;
        }
        let most = self.section.max_event();
        if line.len() > most {
            self.left_out(&MessageError::TooLong(most), intake);
            return None;
        }
        let message = match Message::from_json(line) {
            // What stands for what was not understood may be longer than that.
            Ok(message) if message.payload.len() <= most => message,
            Ok(_) => Message::whole(line, MessageError::TooLong(most)),
            Err(error) => Message::whole(line, error),
        };
        Some(self.event(message, intake, place))
    }

    /// Counts and tells of a message that is no event.
    fn left_out(&self, error: &MessageError, intake: &Intake) {
        intake.stats.error(error);
        self.troubles.left_out(&self.section.name, error);
    }

    fn event(&mut self, message: Message, intake: &Intake, place: Option<u64>) -> Event {
        let id = message.id.as_deref().map(str::as_bytes);
        let mark = id.map(xxhash_rust::xxh3::xxh3_64).or(place);
        let mark = mark.unwrap_or_else(|| {
            self.unnumbered = self.unnumbered.wrapping_add(1);
            self.unnumbered
        });
        if let Some(flaw) = &message.flaw {
            intake.stats.error(flaw);
            self.troubles.flawed(&self.section.name, flaw);
        }
        let device = message
            .device
            .or_else(|| self.section.device.clone())
            .unwrap_or_default();
        let kind = message
            .kind
            .or_else(|| self.section.kind.clone())
            .unwrap_or_default();
        let origin = Origin {
            adapter: AdapterKind::Inference,
            source: self.section.name.clone(),
            subject: [self.section.name.as_str(), &device, &kind].join("/"),
            device,
            kind,
            tags: message.tags,
            intent: message.intent.or_else(|| self.section.intent.clone()),
            content_type: Some(message.content_type.into()),
            quality: match message.flaw {
                None => Quality::Good,
                Some(_) => Quality::Bad,
            },
        };
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        Event {
            origin: origins.of(&origin, || origin.clone(), Arc::clone),
            stamp: stamp(intake.now(), message.time),
            mark,
            payload: message.payload,
            properties: None,
        }
    }
}

/// The stamp of an event that arrived at `now`. Nobody vouches for a time without a zone.
fn stamp(now: Stamp, time: Option<Time>) -> Stamp {
    let Some(time) = time else {
        return now;
    };
    let given = now.given(time.unix_us);
    if time.zoned {
        return given;
    }
    Stamp {
        unsynced_boot_us: given.unsynced_boot_us.or(Some(0)),
        is_wrong: given.is_wrong.or(Some(false)),
        ..given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_vouches_for_a_time_without_a_zone() {
        let now = Stamp {
            unix_us: 5,
            ..Stamp::default()
        };
        let time = |zoned| Time { unix_us: 7, zoned };
        assert_eq!(stamp(now, None), now);
        assert_eq!(stamp(now, Some(time(true))), Stamp { unix_us: 7, ..now });
        let clock = crate::Clock::new(1);
        let guessed = stamp(now, Some(time(false)));
        assert_eq!(clock.settled(guessed), (7, crate::Trust::Unverified));
    }
}
