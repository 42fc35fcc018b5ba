//! Local inference programs: a Unix socket, or a file or FIFO that is followed.
//!
//! A client writes one event a line (JSON), or length-prefixed CBOR; what it may say is described at
//! [`message`]. Where it asks for an `ack`, it gets one after the receipt, and that covers everything
//! it sent before. A bad event is refused with a reason and disturbs nobody else.

mod section;

mod message;

mod socket;

mod fifo;

mod place;

mod places;

mod tail;

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use section::InferenceSection;

use crate::origins::Origins;
use crate::retry::Reconnect;
use crate::{
    AdapterKind, Backoff, Context, Event, Intake, Origin, Quality, Receipts, Stamp, Stop,
    WriteWhole,
};
use message::{Message, MessageError};

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
    origins: Known,
}

/// Origins that all clients of an input share.
type Known = Arc<Mutex<Origins<Arc<Origin>>>>;

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
        Ok(Inference {
            section: section.clone(),
            group,
            place: context.state.join("inference").join(&section.name),
            write: context.write,
            origins: Arc::new(Mutex::new(Origins::new(context.origin_bytes))),
        })
    }

    /// Runs until stopped.
    pub async fn run(self, intake: Intake, mut receipts: Receipts, mut stop: Stop) {
        let path = self.section.socket.as_ref().or(self.section.tail.as_ref());
        let peer = path.map_or_else(String::new, |path| path.display().to_string());
        let backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        let mut reconnect = Reconnect::new(&intake, backoff, &self.section.name, peer);
        loop {
            let (works, stop) = (reconnect.works(), &mut stop);
            let ended = match (&self.section.socket, &self.section.tail) {
                (Some(path), _) => socket::serve(&self, path, &intake, works, stop).await,
                (None, Some(path)) if is_fifo(path) => {
                    fifo::read(&self, path, &intake, &mut receipts, works, stop).await
                }
                (None, Some(path)) => {
                    tail::follow(&self, path, &intake, &mut receipts, works, stop).await
                }
                (None, None) => Ok(()),
            };
            match ended {
                Err(error) if reconnect.again(&error, stop).await => {}
                Ok(()) | Err(_) => return,
            }
        }
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
    origins: Known,
    /// Marks events that the client gave no id.
    unnumbered: u64,
}

impl Maker {
    fn new(input: &Inference, stamp: Stamp) -> Maker {
        let begun = xxhash_rust::xxh3::xxh3_64(&stamp.unix_us.to_le_bytes());
        Maker {
            section: input.section.clone(),
            origins: Arc::clone(&input.origins),
            unnumbered: begun,
        }
    }

    /// The event in a line of JSON, if there is any. `place` marks it where the client gave it no id and it can be read again.
    fn line(
        &mut self,
        line: &[u8],
        stamp: Stamp,
        place: Option<u64>,
    ) -> Option<Result<Event, MessageError>> {
        let line = line.trim_ascii();
        let most = self.section.max_event();
        if line.is_empty() {
            return None;
        }
        if line.len() > most {
            return Some(Err(MessageError::TooLong(most)));
        }
        Some(Message::from_json(line).map(|message| self.event(message, stamp, place)))
    }

    fn event(&mut self, message: Message, stamp: Stamp, place: Option<u64>) -> Event {
        let id = message.id.as_deref().map(str::as_bytes);
        let mark = id.map(xxhash_rust::xxh3::xxh3_64).or(place);
        let mark = mark.unwrap_or_else(|| {
            self.unnumbered = self.unnumbered.wrapping_add(1);
            self.unnumbered
        });
        let stamp = message.unix_us.map_or(stamp, |own| stamp.given(own));
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
            quality: Quality::Good,
        };
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        Event {
            origin: origins.of(&origin, || origin.clone(), Arc::clone),
            stamp,
            mark,
            payload: message.payload,
        }
    }
}
