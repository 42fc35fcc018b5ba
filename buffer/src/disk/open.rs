//! Opening the state directory.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::Path;
use std::time::Instant;

use super::Disk;
use crate::Record;
use crate::block::{BufferId, Owner};
use crate::clock::DiskClock;
use crate::codec::Encoder;
use crate::database::DiskError;
use crate::encrypted::{self, Since};
use crate::files;
use crate::generation::Generation;
use crate::identity;
use crate::keys::{KeyId, Keys};
use crate::layout;
use crate::marks::{self, LaneState, MarksFile, RESERVE};
use crate::ranges::Ranges;
use crate::settings::{DropReason, Dropped};
use crate::tail::Tail;
use crate::values::FORMAT;
use crate::values::{Finding, LaneDisk, LaneOpened, OpenError, Opened};
use crate::writer::Writer;

/// Sequences that are left out where the marks are lost, which said how many were given out: far more than any gateway can
/// have.
const UNKNOWN: u64 = 1 << 40;

impl<R: Record> Disk<R> {
    /// Opens the state directory `root`, recovering what was not closed cleanly, and begins an epoch.
    ///
    /// `floor` bytes of the file system are left to others. What is encrypted needs its key among `keys`. sled is called in
    /// this process: see [`Disk::open_with`].
    pub fn open(
        root: &Path,
        lanes: &[LaneDisk],
        floor: u64,
        keys: &Keys,
    ) -> Result<(Disk<R>, Opened), OpenError> {
        Disk::open_with(root, lanes, floor, keys, &Writer::InProcess)
    }

    /// The same, and `writer` calls sled.
    pub fn open_with(
        root: &Path,
        lanes: &[LaneDisk],
        floor: u64,
        keys: &Keys,
        writer: &Writer,
    ) -> Result<(Disk<R>, Opened), OpenError> {
        let directory = layout::lanes(root);
        files::make_directory(&directory).map_err(DiskError::io(root))?;
        let lock = layout::lock(root)?;
        let format = layout::read_format(root)?;
        let noted = encrypted::of_gateway(root, keys);
        let any_bound = encrypted::check_keys(root, lanes.iter().map(|l| l.name.as_str()), keys)?;
        let (at, set_aside) = (layout::marks(root), layout::set_aside(root));
        let known = encrypted::or_aside(noted, &set_aside)?;
        let (mut marks, kept_at) = MarksFile::open(&at, &set_aside, writer)?;
        let lost = kept_at.is_some() || format == Some(FORMAT);
        let noted = known.as_ref().map(|(_, since)| since.buffer);
        let (buffer, unknown) = identify(root, &marks, noted, lost)?;
        marks.marks.buffer = Some(buffer);
        let mut findings: Vec<Finding> = kept_at
            .map(|kept_at| Finding::MarksLost { kept_at })
            .into_iter()
            .collect();
        let owners = owners(lanes, buffer, keys, known.as_ref(), any_bound);
        let tails: Result<Vec<Tail>, DiskError> = lanes
            .iter()
            .zip(owners)
            .map(|(lane, owner)| Tail::open(root, lane.clone(), owner, keys, writer, &mut findings))
            .collect();
        let tails = tails?;
        sync_made(&[&directory, root])?;
        let mut disk = Disk {
            root: root.to_owned(),
            tails,
            clock: DiskClock::since(&marks.marks.clock),
            marks,
            buffer,
            encoder: Encoder::new(keys.clone()).map_err(DiskError::io(root))?,
            floor,
            format_written: format == Some(FORMAT),
            unmarked: None,
            given_up: vec![0; lanes.len()],
            _lock: lock,
            _record: PhantomData,
        };
        let mut lanes_opened = disk.lanes_opened(unknown, &mut findings);
        disk.encrypted_since(known.as_ref(), any_bound, &lanes_opened)?;
        findings.extend(disk.orphans(lanes)?);
        disk.remember(&lanes_opened);
        let allowed = if disk.begin_epoch() { RESERVE } else { 0 };
        for lane in &mut lanes_opened {
            lane.reserved = Some(lane.next + allowed);
        }
        let opened = Opened {
            epoch: disk.marks.marks.epoch,
            lanes: lanes_opened,
            findings,
        };
        Ok((disk, opened))
    }

    fn orphans(&self, lanes: &[LaneDisk]) -> Result<Vec<Finding>, DiskError> {
        let noted = &self.marks.marks.lanes;
        let is_delivered = |name: &str| noted.get(name).is_some_and(LaneState::is_delivered);
        layout::orphans(&self.root, lanes, is_delivered).map_err(DiskError::io(&self.root))
    }

    /// The state of each lane, with so many sequences left out.
    fn lanes_opened(&self, unknown: u64, findings: &mut Vec<Finding>) -> Vec<LaneOpened> {
        let opened = self.ids().map(|lane| {
            let tail = self.tail(lane);
            let (state, none) = (
                self.marks.marks.lanes.get(&tail.settings.name),
                LaneState::default(),
            );
            let mut opened = opened(tail, state.unwrap_or(&none), findings);
            opened.next += unknown;
            let waits = |g: &&Generation| opened.waiting.within(g.span()).next().is_some();
            let oldest = tail.generations.iter().find(waits);
            opened.oldest = oldest.and_then(|g| self.clock.when(g.oldest, Instant::now()));
            opened
        });
        opened.collect()
    }

    /// Brings the note of since when the buffer is encrypted up to date. A disk that does not take it yet gets it before the first
    /// block.
    fn encrypted_since(
        &mut self,
        known: Option<&(KeyId, Since)>,
        any_bound: bool,
        lanes: &[LaneOpened],
    ) -> Result<(), OpenError> {
        let keys = self.encoder.keys().clone();
        if keys.is_empty() {
            return Ok(encrypted::forget(&self.root)?);
        }
        let mut plain: BTreeMap<String, u64> = match known {
            Some((_, since)) => since.plain.clone(),
            None if any_bound => BTreeMap::new(),
            None => encrypted::ends(&self.root)?,
        };
        for (tail, opened) in self.tails.iter().zip(lanes) {
            let name = &tail.settings.name;
            let has_plain = tail.generations.iter().any(|generation| !generation.bound);
            if !has_plain {
                plain.remove(name);
            } else if known.is_none() && !any_bound {
                plain.insert(name.clone(), opened.next);
            }
        }
        let since = Since {
            gateway: keys.gateway().to_owned(),
            buffer: self.buffer,
            plain,
        };
        if known != Some(&(keys.writing(), since.clone())) {
            self.unmarked = Some(since);
            if let Err(error) = self.mark_encrypted() {
                tracing::debug!(%error, "since when the buffer is encrypted is noted before the first block is written");
            }
        }
        Ok(())
    }

    /// What was found goes into the marks, so that a crash before the next ones does not count it again.
    fn remember(&mut self, lanes: &[LaneOpened]) {
        for (lane, opened) in self.ids().zip(lanes) {
            let waiting = marks::compact(&opened.waiting, &self.tail(lane).generations, &[]);
            let state = self.state_mut(lane);
            state.stands(opened.next, waiting);
            state.reserved = opened.next + RESERVE;
            state.cleared.clear();
            let lost = opened.lost.iter();
            state
                .unreported
                .extend(lost.filter_map(|(reason, lost)| Dropped::all(*reason, lost)));
        }
    }

    /// Says whether it could be written.
    fn begin_epoch(&mut self) -> bool {
        let stored = self
            .tails
            .iter()
            .flat_map(|tail| tail.generations.iter().map(|g| g.epoch));
        let newest = stored.max().unwrap_or(0).max(self.marks.marks.epoch);
        self.marks.marks.epoch = newest + 1;
        // A full or read-only disk at start must not keep the agent from running from memory.
        let written = self.write_marks(Instant::now());
        if let Err(error) = &written {
            tracing::warn!(%error, "the buffer's marks cannot be written yet: until they are, a crash would have events repeated, with sequences that were used before; free space or replace the disk");
        }
        // A gateway with nothing to write has no process for it.
        self.marks.close();
        written.is_ok()
    }
}

/// A start that was cut off may have made them and not come as far as this.
fn sync_made(directories: &[&Path]) -> Result<(), DiskError> {
    let mut all = directories.iter();
    all.try_for_each(|made| files::sync_directory(made).map_err(DiskError::io(made)))
}

/// Which buffer it is, and how many sequences are left out for what the marks no longer say. What is `noted` with a key is
/// believed first. `lost`: there were marks.
fn identify(
    root: &Path,
    marks: &MarksFile,
    noted: Option<BufferId>,
    lost: bool,
) -> Result<(BufferId, u64), DiskError> {
    if let Some(known) = marks.marks.buffer {
        return Ok((noted.unwrap_or(known), 0));
    }
    if let Some(noted) = noted {
        return Ok((noted, UNKNOWN));
    }
    if let Some(found) = identity::of_blocks(root).map_err(DiskError::io(root))? {
        return Ok((found, UNKNOWN));
    }
    let made = identity::random().map_err(DiskError::io(root))?;
    Ok((made, if lost { UNKNOWN } else { 0 }))
}

/// Whose blocks are taken in each lane.
fn owners(
    lanes: &[LaneDisk],
    buffer: BufferId,
    keys: &Keys,
    known: Option<&(KeyId, Since)>,
    any_bound: bool,
) -> Vec<Owner> {
    let owner = |lane: &LaneDisk| Owner {
        scope: keys.scope(&lane.name),
        plain_to: match known {
            Some((_, since)) => since.plain_to(&lane.name),
            // The note was there when the first of them was written: somebody has removed it.
            None if any_bound => 0,
            None => u64::MAX,
        },
        ..Owner::of_lane(layout::tag(&lane.name), Some(buffer))
    };
    lanes.iter().map(owner).collect()
}

fn opened(tail: &Tail, state: &LaneState, findings: &mut Vec<Finding>) -> LaneOpened {
    let (present, marked) = (tail.present(), state.waiting());
    let end = present.iter().last().map_or(0, |run| run.end);
    let stored_to = state.stored_to();
    let unmarked = present.within(stored_to..u64::MAX);
    let mut waiting = marked.common(&present);
    unmarked.for_each(|run| waiting.insert(run));
    let mut lost = marked.clone();
    // The marks know nothing yet of the last that was written.
    for (from, to, _) in &state.cleared {
        lost.insert((*from).max(stored_to)..*to);
    }
    lost.remove_all(&present);
    let mut reasons = Vec::new();
    // What policy deleted before it could be noted is not damage.
    for (from, to, reason) in &state.cleared {
        reasons.push((*reason, lost.within(*from..*to).collect()));
        lost.remove(*from..*to);
    }
    // Another gap within a generation was never written, unless its blocks say otherwise; there, too, starts left some out.
    for generation in &tail.generations {
        lost.remove(generation.span());
        if generation.missing.is_empty() {
            continue;
        }
        let mut gone: Ranges = generation.missing.within(stored_to..u64::MAX).collect();
        for run in generation.missing.within(0..stored_to) {
            marked.within(run).for_each(|part| gone.insert(part));
        }
        gone.iter().for_each(|run| lost.insert(run));
        findings.push(Finding::Damaged {
            generation: generation.path.clone(),
            records: gone.len(),
            kept_at: generation.path.clone(),
        });
    }
    let unmarked = tail.missing_between(stored_to);
    unmarked.iter().for_each(|run| lost.insert(run));
    let next = end
        .max(stored_to)
        .max(state.reserved)
        .max(lost.iter().last().map_or(0, |run| run.end));
    reasons.push((DropReason::Damage, lost));
    reasons.retain(|(_, part): &(DropReason, Ranges)| !part.is_empty());
    LaneOpened {
        next,
        reserved: None,
        waiting,
        lost: reasons,
        unreported: state.unreported.clone(),
        bytes: tail.bytes(),
        oldest: None,
    }
}
