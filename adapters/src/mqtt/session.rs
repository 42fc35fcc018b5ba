//! Which session with the broker this is.
//!
//! Packet identifiers name a message only within a session. Together with a number for the session,
//! which changes when the broker has forgotten it, they make a mark that is the same when the
//! broker offers a message again, also after a crash on our side, and differs for any other message
//! until the identifiers have come round (65,535 messages; fewer with a broker that uses them again sooner, where [`Repeats`]
//! tells equal messages apart).
//!
//! Beside the number, in files of their own that earlier versions do not know: the filters that the broker's session may have
//! (`.filters`, an array of JSON), as it keeps those that are no longer configured; and which retained messages were seen
//! (`.retained`, see [`Memory`]).

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::packet::Message;
use super::repeats::Repeats;
use super::retained::Memory;
use super::subscriptions::Filter;

use crate::{WriteWhole, off_task};

#[derive(Debug)]
pub(super) struct SessionFile {
    path: PathBuf,
    write: WriteWhole,
    number: u64,
    repeats: Repeats,
    /// The broker's session may have these.
    filters: BTreeSet<String>,
    pub(super) retained: Memory,
}

impl SessionFile {
    pub(super) async fn open(path: &Path, write: WriteWhole) -> SessionFile {
        let files = ["", "filters", "retained"].map(|kind| path.with_extension(kind));
        // What is missing or cannot be read is nothing.
        let read = off_task(|| Ok(files.map(|file| fs::read(file).unwrap_or_default()))).await;
        let [number, filters, retained] = read.unwrap_or_default();
        let text = str::from_utf8(&number).ok();
        let stored = text.and_then(|text| text.trim().parse().ok());
        let mut session = SessionFile {
            path: path.to_owned(),
            write,
            number: stored.unwrap_or_else(fresh_number),
            repeats: Repeats::default(),
            filters: serde_json::from_slice(&filters).unwrap_or_default(),
            retained: Memory::read(&retained),
        };
        // From here on it is out of date: after a kill, what it says was seen last may not have been.
        if !retained.is_empty() && session.store("retained", Vec::new()).await.is_err() {
            session.retained = Memory::default();
        }
        session
    }

    /// The broker knows no session: what comes from here on is new. The number is on disk before a message is marked with it.
    pub(super) async fn begin(&mut self) {
        self.number = fresh_number();
        self.repeats.clear();
        self.filters.clear();
        let number = self.number.to_string();
        if let Err(error) = self.store("", number.into_bytes()).await {
            warn!(path = %self.path.display(), %error, "cannot remember the mqtt session; after a crash repeated events may carry new ids");
        }
    }

    /// `wanted` is about to be subscribed to. Returns the filters that the broker's session may have besides.
    pub(super) async fn subscribing(&mut self, wanted: &[Filter]) -> Vec<String> {
        let wanted: BTreeSet<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
        let others = self.filters.difference(&wanted).cloned().collect();
        let all = self.filters.union(&wanted).cloned().collect();
        self.remember(all).await;
        others
    }

    /// The broker's session has none but these.
    pub(super) async fn has_only(&mut self, wanted: &[Filter]) {
        let wanted = wanted.iter().map(|(name, _)| name.clone());
        self.remember(wanted.collect()).await;
    }

    async fn remember(&mut self, filters: BTreeSet<String>) {
        if filters == self.filters {
            return;
        }
        let text = serde_json::to_vec(&filters).unwrap_or_default();
        self.filters = filters;
        if let Err(error) = self.store("filters", text).await {
            warn!(path = %self.path.display(), %error, "cannot remember what the broker was asked for; a filter that is taken out of the configuration later may go on in its session");
        }
    }

    /// At a stop: which retained messages were seen is on disk then.
    pub(super) async fn end(&mut self) {
        let Some(seen) = self.retained.write() else {
            return;
        };
        if let Err(error) = self.store("retained", seen).await {
            warn!(path = %self.path.display(), %error, "cannot remember which retained messages were seen; they come again after the start");
        }
    }

    async fn store(&self, kind: &str, bytes: Vec<u8>) -> std::io::Result<()> {
        let (path, write) = (self.path.with_extension(kind), self.write);
        off_task(move || write(&path, &bytes)).await
    }

    /// The mark of a message of QoS 1 or 2 with this content.
    pub(super) fn mark(&mut self, message: &Message, content: u32) -> u64 {
        let mark = (self.number << 16) | u64::from(message.packet_id);
        match self.repeats.earlier(content, message.dup) {
            0 => mark,
            earlier => mark ^ xxh3_64(&earlier.to_le_bytes()),
        }
    }

    /// The message with this content was acknowledged.
    pub(super) fn acknowledged(&mut self, content: u32) {
        self.repeats.acknowledged(content);
    }
}

fn fresh_number() -> u64 {
    RandomState::new().hash_one(0) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(names: &[&str]) -> Vec<Filter> {
        names.iter().map(|name| ((*name).to_owned(), 1)).collect()
    }

    #[tokio::test]
    async fn filters_that_are_no_longer_wanted_are_known_until_the_broker_has_let_go_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plant");
        let open = || SessionFile::open(&path, |path, bytes| fs::write(path, bytes));
        let mut session = open().await;
        session.begin().await;
        let none: [String; 0] = [];
        assert_eq!(session.subscribing(&filters(&["a", "b"])).await, none);
        let number = session.number;
        for _ in 0..2 {
            let mut session = open().await;
            assert_eq!(session.number, number);
            assert_eq!(session.subscribing(&filters(&["b", "c"])).await, ["a"]);
        }
        let mut session = open().await;
        session.has_only(&filters(&["b", "c"])).await;
        let mut session = open().await;
        assert_eq!(session.subscribing(&filters(&["c"])).await, ["b"]);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, number.to_string(), "as earlier versions have it");
        session.begin().await;
        assert_eq!(session.subscribing(&filters(&["d"])).await, none);
    }
}
