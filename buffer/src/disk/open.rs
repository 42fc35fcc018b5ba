//! Opening the state directory.

use std::fs;
use std::marker::PhantomData;
use std::path::Path;
use std::time::Instant;

use super::{Disk, LaneDisk, LaneOpened, Notice, OpenError, Opened};
use crate::Record;
use crate::clock::Clock;
use crate::codec::Encoder;
use crate::database::DiskError;
use crate::keys::{KeyId, Keys};
use crate::layout::{self, FORMAT};
use crate::marks::{LaneState, MarksFile};
use crate::ranges::Ranges;
use crate::settings::DropReason;
use crate::tail::Tail;

impl<R: Record> Disk<R> {
    /// Opens the state directory `root`, recovering what was not closed cleanly, and begins an epoch.
    ///
    /// `floor` bytes of the file system are left to others. What is encrypted needs its key among `keys`.
    pub fn open(
        root: &Path,
        lanes: &[LaneDisk],
        floor: u64,
        keys: &Keys,
    ) -> Result<(Disk<R>, Opened), OpenError> {
        let directory = layout::lanes(root);
        fs::create_dir_all(&directory).map_err(DiskError::io(root))?;
        let lock = layout::lock(root)?;
        let format = layout::read_format(root)?;
        let (marks, kept_at) = MarksFile::open(&layout::marks(root), &layout::set_aside(root))?;
        let mut notices: Vec<Notice> = kept_at
            .map(|kept_at| Notice::MarksLost { kept_at })
            .into_iter()
            .collect();
        let tails: Result<Vec<Tail>, DiskError> = lanes
            .iter()
            .map(|lane| Tail::open(root, lane.clone(), keys))
            .collect();
        let mut disk = Disk {
            root: root.to_owned(),
            tails: tails?,
            clock: Clock::since(&marks.marks.clock),
            marks,
            encoder: Encoder::new(keys.clone()).map_err(DiskError::io(root))?,
            floor,
            format_written: format == Some(FORMAT),
            given_up: vec![0; lanes.len()],
            _lock: lock,
            _record: PhantomData,
        };
        disk.check_keys(keys)?;
        let opened = disk.ids().map(|lane| {
            let state = disk.marks.marks.lanes.get(&disk.tail(lane).settings.name);
            opened(
                disk.tail(lane),
                state.unwrap_or(&LaneState::default()),
                &mut notices,
            )
        });
        let lanes_opened: Vec<LaneOpened> = opened.collect();
        notices.extend(layout::orphans(root, lanes).map_err(DiskError::io(root))?);
        let epoch = disk.begin_epoch();
        Ok((
            disk,
            Opened {
                epoch,
                lanes: lanes_opened,
                notices,
            },
        ))
    }

    fn check_keys(&self, keys: &Keys) -> Result<(), OpenError> {
        let used = self.tails.iter().flat_map(|tail| &tail.generations);
        let known = |id: u32| id == KeyId::NONE.0 || keys.ids().any(|known| known.0 == id);
        for generation in used {
            if let Some(key) = generation.keys.iter().find(|id| !known(**id)) {
                let given: Vec<String> = keys.ids().map(|id| id.to_string()).collect();
                return Err(OpenError::NoKey {
                    path: generation.path.clone(),
                    key: KeyId(*key),
                    given: if given.is_empty() {
                        "none".into()
                    } else {
                        given.join(", ")
                    },
                });
            }
        }
        Ok(())
    }

    fn begin_epoch(&mut self) -> u32 {
        let stored = self
            .tails
            .iter()
            .flat_map(|tail| tail.generations.iter().map(|g| g.epoch));
        let newest = stored.max().unwrap_or(0).max(self.marks.marks.epoch);
        self.marks.marks.epoch = newest + 1;
        // A full or read-only disk at start must not keep the agent from running from memory.
        if let Err(error) = self.write_marks(Instant::now()) {
            tracing::warn!(%error, "the buffer's marks cannot be written yet");
        }
        self.marks.marks.epoch
    }
}

fn opened(tail: &Tail, state: &LaneState, notices: &mut Vec<Notice>) -> LaneOpened {
    let (present, marked) = (tail.present(), state.waiting());
    let end = present.iter().last().map_or(0, |run| run.end);
    let unmarked = present.within(state.stored_to..u64::MAX);
    let waiting: Ranges = marked
        .iter()
        .flat_map(|run| present.within(run))
        .chain(unmarked)
        .collect();
    let damaged = tail.missing(state.stored_to);
    let mut lost = marked;
    // A gap within a generation was never written, unless its blocks say otherwise.
    for generation in &tail.generations {
        lost.remove(generation.span());
        for run in generation.missing.within(0..state.stored_to) {
            state
                .waiting()
                .within(run)
                .for_each(|part| lost.insert(part));
        }
    }
    damaged.iter().for_each(|run| lost.insert(run));
    for generation in tail.generations.iter().filter(|g| !g.missing.is_empty()) {
        notices.push(Notice::Damaged {
            generation: generation.path.clone(),
            records: generation.missing.len(),
            kept_at: generation.path.clone(),
        });
    }
    let bytes = tail.bytes();
    let next = end
        .max(state.stored_to)
        .max(lost.iter().last().map_or(0, |run| run.end));
    LaneOpened {
        next,
        waiting,
        lost: by_reason(lost, state),
        unreported: state.unreported.clone(),
        bytes,
    }
}

/// What policy deleted before it could be noted is not damage.
fn by_reason(mut lost: Ranges, state: &LaneState) -> Vec<(DropReason, Ranges)> {
    let mut reasons = Vec::new();
    for (from, to, reason) in &state.cleared {
        let part: Ranges = lost.within(*from..*to).collect();
        lost.remove(*from..*to);
        reasons.push((*reason, part));
    }
    reasons.push((DropReason::Damage, lost));
    reasons.retain(|(_, part)| !part.is_empty());
    reasons
}
