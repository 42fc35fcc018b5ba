//! The socket and its clients.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream, unix::OwnedReadHalf};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::lenient::bare;
use super::message::{Message, MessageError};
use super::{Inference, Maker, RETRY_FIRST};
use crate::files::give_to_owner;
use crate::retry::Works;
use crate::{
    Intake, Outcome, Patience, Receipts, Refused, Stop, make_way_for_socket, parted, stopped,
};

/// Events of one client that may wait for their receipt.
const UNACKED_MAX: usize = 1024;
/// Bytes of what one client wants back with its receipts; one event's always fit.
const ASKED_BYTES: usize = 64 * 1024;
/// A client that does not read its replies for this long is closed: it would hold up a stop.
const REPLY: Duration = Duration::from_secs(5);

pub(super) async fn serve(
    input: &Inference,
    path: &Path,
    intake: &Intake,
    works: &Works<'_>,
    stop: &mut Stop,
) -> io::Result<()> {
    let listener = listen(input, path).await?;
    works.now();
    tracing::info!(source = %input.section.name, socket = %path.display(), "inference socket open");
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = match accepted {
                    Ok(accepted) => accepted,
                    // Of descriptors, say: that is no fault of the clients that are connected.
                    Err(error) => {
                        intake.stats.error(&error);
                        sleep(RETRY_FIRST).await;
                        continue;
                    }
                };
                if clients.len() >= input.section.max_clients {
                    refuse(stream, input.section.max_clients).await;
                    continue;
                }
                let (intake, receipts) = intake.split();
                let maker = Maker::new(input, intake.now());
                clients.spawn(client(stream, maker, intake, receipts, stop.clone()));
            }
            Some(ended) = clients.join_next() => client_ended(ended, input, intake),
            () = stopped(stop) => break,
        }
    }
    while let Some(ended) = clients.join_next().await {
        client_ended(ended, input, intake);
    }
    Ok(())
}

/// A client that ends as it should says nothing.
fn client_ended(ended: Result<(), JoinError>, input: &Inference, intake: &Intake) {
    if let Err(error) = ended {
        intake.stats.error(&error);
        tracing::error!(source = %input.section.name, %error, "the task of a client panicked, and its connection is closed; it offers again what it has no receipt for; report this line");
    }
}

async fn listen(input: &Inference, path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    make_way_for_socket(path).await?;
    let listener = UnixListener::bind(path)?;
    give_to_owner(path)?;
    std::os::unix::fs::chown(path, None, input.group)?;
    std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(input.section.mode().unwrap_or(0o660)),
    )?;
    Ok(listener)
}

async fn refuse(mut stream: UnixStream, most: usize) {
    let line = format!(
        "{}\n",
        json!({ "refused": null, "reason": format!("{most} clients are connected already") })
    );
    if let Err(error) = stream.write_all(line.as_bytes()).await {
        tracing::debug!(%error, "a refused client had gone");
    }
}

/// What a client is to get its receipts with, in the order of its events.
#[derive(Default)]
struct Asked {
    acks: VecDeque<Option<String>>,
    bytes: usize,
    /// It has asked for an `ack`: it can wait for what it sends.
    patient: bool,
}

impl Asked {
    fn push(&mut self, ack: Option<String>) {
        self.patient |= ack.is_some();
        self.bytes += ack.as_ref().map_or(0, String::len);
        self.acks.push_back(ack);
    }

    fn pop(&mut self) -> Option<String> {
        let ack = self.acks.pop_front()?;
        self.bytes -= ack.as_ref().map_or(0, String::len);
        ack
    }

    fn has_room(&self) -> bool {
        self.acks.len() < UNACKED_MAX && self.bytes < ASKED_BYTES
    }

    /// The last message asks for an answer, or half of what a client may have outstanding is.
    fn is_urgent(&self) -> bool {
        self.acks.len() >= UNACKED_MAX / 2 || self.acks.back().is_some_and(Option::is_some)
    }
}

/// Serves one client until it goes, errs for good, does not read its replies, or the agent stops.
async fn client(
    stream: UnixStream,
    mut maker: Maker,
    intake: Intake,
    mut receipts: Receipts,
    mut stop: Stop,
) {
    let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let (reader, mut writer) = stream.into_split();
    let mut frames = Frames::new(reader, maker.section.max_event());
    let (mut asked, mut open) = (Asked::default(), true);
    loop {
        let mut lines = Vec::new();
        let has_room = intake.has_room();
        tokio::select! {
            biased;
            () = stopped(&mut stop), if open => open = false,
            () = receipts.changed() => {}
            message = frames.next(), if open && has_room && asked.has_room() => match message {
                Ok(Some(Ok(mut message))) => {
                    asked.push(message.ack.take());
                    let patience = if asked.patient { Patience::Waits } else { Patience::CannotWait };
                    let event = maker.event(message, &intake, None);
                    intake.submit(event, patience).await;
                    if asked.is_urgent() {
                        intake.urge();
                    }
                }
                Ok(Some(Err(error))) => {
                    maker.left_out(&error, &intake);
                    lines.push(json!({ "refused": null, "reason": error.to_string() }).to_string());
                }
                Ok(None) | Err(_) => open = false,
            },
            () = intake.room(), if open && !has_room => {}
        }
        while let Some(outcome) = receipts.ready() {
            lines.extend(told(outcome, asked.pop(), &intake));
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let written = tokio::select! {
            biased;
            written = timeout(REPLY, writer.write_all(text.as_bytes())) => written,
            // A stop does not wait for a client that does not read.
            () = parted(&mut stop) => return,
        };
        match written {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return, // it will offer again what it has no receipt for
            Err(_) => {
                intake.stats.error(&"a client does not read its replies");
                tracing::warn!(source = %maker.section.name, process, "an inference client did not read its replies for {REPLY:?}; its connection is closed; what it sent is kept, what it was not told of it should offer again; let it read what it asks for with `ack`");
                return;
            }
        }
        if !open && asked.acks.is_empty() {
            return;
        }
    }
}

/// What a client is told of an event; `ack` is the JSON text that it gave.
fn told(outcome: Outcome, ack: Option<String>, intake: &Intake) -> Option<String> {
    match outcome {
        Outcome::Kept => ack.map(|ack| format!("{{\"ack\":{ack}}}")),
        Outcome::Dropped => ack.map(|ack| format!("{{\"ack\":{ack},\"dropped\":true}}")),
        Outcome::Refused(why) => {
            intake.stats.refused.fetch_add(1, Ordering::Relaxed);
            let reason = match why {
                Refused::Full => "the lane is full; offer it again later",
                Refused::Stopping => "the agent stops; offer it again",
            };
            let ack = ack.as_deref().unwrap_or("null");
            Some(format!("{{\"refused\":{ack},\"reason\":\"{reason}\"}}"))
        }
    }
}

/// Messages of one client: lines of JSON, or CBOR behind lengths. The first byte tells which: a
/// length below 16 MiB begins with 0, which no JSON does.
struct Frames {
    reader: BufReader<OwnedReadHalf>,
    max_event: usize,
    cbor: Option<bool>,
    /// What has arrived of the next message; kept here so that `next` may be cancelled.
    partial: Vec<u8>,
    /// Bytes of an oversized CBOR frame that are still to be read over; kept here for the same reason.
    skip: usize,
}

impl Frames {
    fn new(reader: OwnedReadHalf, max_event: usize) -> Frames {
        Frames {
            reader: BufReader::new(reader),
            max_event,
            cbor: None,
            partial: Vec::new(),
            skip: 0,
        }
    }

    /// The next message; the inner error is about this message alone. Safe to cancel.
    async fn next(&mut self) -> io::Result<Option<Result<Message, MessageError>>> {
        loop {
            let is_cbor = *if let Some(ref known) = self.cbor {
                known
            } else {
                let Some(first) = self.reader.fill_buf().await?.first() else {
                    return Ok(None);
                };
                self.cbor.insert(*first == 0)
            };
            let frame = if is_cbor {
                self.frame().await?
            } else {
                self.line().await?
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Ok(Some(Err(error))),
                Some(Ok(bytes)) if is_cbor => return Ok(Some(Message::from_cbor(&bytes))),
                Some(Ok(bytes)) if bare(&bytes).is_empty() => {}
                Some(Ok(bytes)) => return Ok(Some(Message::from_json(&bytes))),
            }
        }
    }

    /// The next line; the last one needs no end, whether its client closed the connection or was killed.
    async fn line(&mut self) -> io::Result<Option<Result<Vec<u8>, MessageError>>> {
        let mut skipping = self.partial.len() > self.max_event;
        loop {
            let available = match self.reader.fill_buf().await {
                Err(error) if self.partial.is_empty() => return Err(error),
                Err(_) => &[],
                Ok(available) => available,
            };
            if available.is_empty() && self.partial.is_empty() {
                return Ok(None);
            }
            let is_last = available.is_empty();
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = available
                .get(..end.unwrap_or(available.len()))
                .unwrap_or_default();
            if !skipping {
                self.partial.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            // One byte too many marks that the rest of the line is to be skipped.
            skipping = self.partial.len() > self.max_event;
            self.partial.truncate(self.max_event + 1);
            if end.is_some() || is_last {
                let line = std::mem::take(&mut self.partial);
                return Ok(Some(if skipping {
                    Err(MessageError::TooLong(self.max_event))
                } else {
                    Ok(line)
                }));
            }
        }
    }

    async fn frame(&mut self) -> io::Result<Option<Result<Vec<u8>, MessageError>>> {
        loop {
            if self.skip > 0 {
                return self.pass_over().await;
            }
            let length = self
                .partial
                .first_chunk::<4>()
                .map(|head| u32::from_be_bytes(*head) as usize);
            if let Some(length) = length.filter(|length| *length > self.max_event) {
                // No more than its length has been taken.
                self.skip = length;
                self.partial.clear();
                continue;
            }
            let wanted = 4 + length.unwrap_or(0);
            if length.is_some() && self.partial.len() == wanted {
                let frame = self.partial.split_off(4);
                self.partial.clear();
                return Ok(Some(Ok(frame)));
            }
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                let is_cut = !std::mem::take(&mut self.partial).is_empty();
                return Ok(is_cut.then_some(Err(MessageError::Cut)));
            }
            let used = available.len().min(wanted - self.partial.len());
            self.partial
                .extend_from_slice(available.get(..used).unwrap_or_default());
            self.reader.consume(used);
        }
    }

    /// Reads over the rest of an oversized frame.
    async fn pass_over(&mut self) -> io::Result<Option<Result<Vec<u8>, MessageError>>> {
        while self.skip > 0 {
            let available = self.reader.fill_buf().await?.len();
            if available == 0 {
                self.skip = 0;
                break;
            }
            let used = available.min(self.skip);
            self.reader.consume(used);
            self.skip -= used;
        }
        Ok(Some(Err(MessageError::TooLong(self.max_event))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these bytes, up to the end of the connection: payloads, and reasons.
    async fn said(sent: &[u8]) -> Vec<String> {
        let (mut client, stream) = UnixStream::pair().unwrap();
        client.write_all(sent).await.unwrap();
        drop(client);
        let (reader, _writer) = stream.into_split();
        let mut frames = Frames::new(reader, 30);
        let mut all = Vec::new();
        while let Some(one) = frames.next().await.unwrap() {
            all.push(match one {
                Ok(message) => String::from_utf8_lossy(&message.payload).into_owned(),
                Err(error) => error.to_string(),
            });
        }
        all
    }

    #[tokio::test]
    async fn nothing_of_a_connection_is_passed_over_in_silence() {
        let long = "x".repeat(40);
        for (sent, all) in [
            (
                "{\"a\":1}\r\n\r\n\u{feff}\n{\"a\":2}",
                vec!["{\"a\":1}", "{\"a\":2}"],
            ),
            ("\u{feff}{\"a\":1}\n", vec!["{\"a\":1}"]),
            (&long, vec!["longer than 30 bytes"]),
            (
                "\0\0\0\x05\u{1}",
                vec!["not CBOR: the connection ended within a message"],
            ),
            (
                "\0\0\0",
                vec!["not CBOR: the connection ended within a message"],
            ),
            ("\0\0\x01\0xx", vec!["longer than 30 bytes"]),
            ("", vec![]),
        ] {
            assert_eq!(said(sent.as_bytes()).await, all, "{sent:?}");
        }
        assert_eq!(said(b"{\"a\":").await.len(), 1, "half a line is refused");
    }
}
