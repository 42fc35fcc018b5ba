//! Looking into a state directory without changing it: also beside a running agent, or in a copy.
//!
//! What vanishes while it is looked at was delivered or dropped meanwhile.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::block::{self, Owner, Placed};
use crate::codec::{self, Encoded, Encoder};
use crate::database::DiskError;
use crate::encrypted::{self, Since};
use crate::files;
use crate::generation::{self, Generation};
use crate::identity;
use crate::keys::{KeyId, Keys};
use crate::layout;
use crate::log::{self, Log};
use crate::marks::{self, Marks, MarksRead};
use crate::ranges::Ranges;
use crate::setaside;
use crate::values::OpenError;
use crate::writer::Writer;
use crate::{Dropped, Record};

/// A state directory as it is on disk.
#[derive(Debug)]
pub struct Inspection {
    root: PathBuf,
    pub format: Option<u32>,
    pub epoch: u32,
    /// Where the marks are; `None` when they are not there or damaged: then all is taken to be waiting.
    marks: Option<Marks>,
    /// Since when it is encrypted, where a key is given that opens the note.
    since: Option<Since>,
    pub lanes: Vec<LaneEntry>,
    /// For [`Inspection::export`] and [`Inspection::repair`].
    writer: Writer,
}

#[derive(Debug)]
pub struct LaneEntry {
    pub name: String,
    /// Neither delivered nor dropped, as far as the marks know (up to 2 s ago).
    pub waiting: Ranges,
    /// Drops that are still to be reported.
    pub unreported: Vec<Dropped>,
    pub generations: Vec<GenerationEntry>,
}

#[derive(Debug)]
pub struct GenerationEntry {
    pub path: PathBuf,
    /// First sequence, and the first one after it.
    pub span: std::ops::Range<u64>,
    pub records: u64,
    pub epoch: u32,
    pub bytes: u64,
    /// Complete. One that is not is being written, or was when the agent ended.
    pub sealed: bool,
    /// Age in milliseconds of its newest block at the time of the last mark.
    pub age_ms: u64,
    /// When its first and its last block were written, in milliseconds since 1970, where the clock was set then.
    pub written: Option<(u64, u64)>,
    /// Keys that it was encrypted with.
    pub keys: Vec<KeyId>,
    owner: Owner,
    known: Generation,
}

/// What checking a generation found.
#[derive(Debug, Default)]
pub struct Verified {
    pub blocks: usize,
    pub records: u64,
    /// Sequences that are known to have been written and are in no sound block.
    pub missing: Ranges,
    /// Blocks whose checksum holds and that cannot be decoded with the keys given.
    pub undecodable: usize,
    /// Blocks that are refused: not encrypted though newer than the keys, or encrypted for another gateway, lane or generation.
    pub foreign: usize,
}

impl Inspection {
    /// Reads what is in `root`. Keys are needed only to see into encrypted blocks; they are for the gateway that the buffer is of.
    pub fn open(root: &Path, keys: &Keys) -> Result<Inspection, OpenError> {
        let format = layout::read_format(root)?;
        let read = marks::read_only(&layout::marks(root));
        let marks = match read {
            Ok(MarksRead::Marks(_, marks)) => Some(marks),
            Ok(MarksRead::Nothing | MarksRead::Damage) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(DiskError::io(root)(error).into()),
        };
        let names = layout::lane_names(root).map_err(DiskError::io(&layout::lanes(root)))?;
        let since = match encrypted::of_gateway(root, keys) {
            // Other keys of it may be given.
            Err(OpenError::NoKey { .. } | OpenError::Disk(DiskError::Damaged { .. })) => None,
            found => found?.map(|(_, since)| since),
        };
        let known = marks.as_ref().and_then(|marks| marks.buffer);
        let known = since.as_ref().map(|since| since.buffer).or(known);
        let buffer = match known {
            Some(known) => Some(known),
            None => identity::of_blocks(root).map_err(DiskError::io(root))?,
        };
        let mut lanes = Vec::new();
        for name in names {
            let owner = Owner {
                scope: keys.scope(&name),
                plain_to: since.as_ref().map_or(u64::MAX, |one| one.plain_to(&name)),
                ..Owner::of_lane(layout::tag(&name), buffer)
            };
            lanes.push(lane(root, name, marks.as_ref(), owner, keys)?);
        }
        let epoch = marks.as_ref().map_or(0, |marks| marks.epoch);
        Ok(Inspection {
            root: root.to_owned(),
            format,
            epoch,
            marks,
            since,
            lanes,
            writer: Writer::InProcess,
        })
    }

    /// Has `writer` write what is exported and repaired.
    #[must_use]
    pub fn written_by(self, writer: Writer) -> Inspection {
        Inspection { writer, ..self }
    }

    #[must_use]
    pub fn has_marks(&self) -> bool {
        self.marks.is_some()
    }

    /// Copies all that can be read into a fresh state directory `to`, for another agent to go on with: for the same gateway, or
    /// encrypted anew for the one of `other`. Returns how many records there are.
    pub fn export(&self, to: &Path, keys: &Keys, other: Option<&Keys>) -> Result<u64, DiskError> {
        let encoder = Encoder::new(keys.clone()).map_err(DiskError::io(to))?;
        files::make_one_directory(to)
            .and_then(|()| files::own_like(to, &self.root))
            .map_err(DiskError::io(to))?;
        let mut records = 0;
        for found in &self.lanes {
            let lane = layout::lane(to, &found.name);
            files::make_directory(&lane).map_err(DiskError::io(&lane))?;
            let scope = other.and_then(|other| other.scope(&found.name));
            for generation in &found.generations {
                let (mut blocks, ..) = generation.sound(keys)?;
                if let Some(scope) = scope {
                    let number = log::generation_of(&generation.path).unwrap_or(0);
                    let bound = |block: &Encoded| encoder.bind(block, scope.bound(number));
                    let all: Result<_, _> = blocks.iter().map(bound).collect();
                    blocks = all.map_err(|error| {
                        DiskError::io(&generation.path)(io::Error::other(error))
                    })?;
                }
                // Of the same name: blocks are bound to it.
                let name = generation.path.file_name().filter(|_| !blocks.is_empty());
                if let Some(name) = name {
                    let merged = generation.known.merged;
                    let written =
                        generation::write(lane.join(name), &blocks, merged, &self.writer)?;
                    records += written.present.len();
                }
            }
        }
        layout::write_format(to)?;
        self.export_since(to, other)?;
        if let Some(marks) = &self.marks {
            marks::write_once(&layout::marks(to), marks, &self.writer)?;
        }
        Ok(records)
    }

    /// As it is for the same gateway, which takes no key.
    fn export_since(&self, to: &Path, other: Option<&Keys>) -> Result<(), DiskError> {
        let path = self.root.join(encrypted::FILE);
        match (&self.since, other) {
            (Some(since), Some(other)) => Since {
                gateway: other.gateway().to_owned(),
                ..since.clone()
            }
            .write(to, other),
            _ if path.exists() => fs::read(&path)
                .and_then(|note| files::write_whole(&to.join(encrypted::FILE), &note))
                .map_err(DiskError::io(&path)),
            _ => Ok(()),
        }
    }

    /// Writes each damaged generation anew with what is sound in it; the damaged file is kept in `set-aside`.
    /// Refuses where an agent is running. Returns the generations, and what is missing in them.
    pub fn repair(&self, keys: &Keys) -> Result<Vec<(PathBuf, u64)>, OpenError> {
        let _lock = layout::lock(&self.root)?;
        let mut repaired = Vec::new();
        for generation in self.lanes.iter().flat_map(|lane| &lane.generations) {
            let (blocks, missing, _) = generation.sound(keys)?;
            if missing.is_empty() {
                continue;
            }
            let path = &generation.path;
            let file = path.join(log::FILE);
            if file.exists() {
                setaside::keep(&file, &layout::set_aside(&self.root))?;
            }
            if blocks.is_empty() {
                files::remove_directory(path).map_err(DiskError::io(path))?;
            } else {
                let fresh = files::with_suffix(path, files::FRESH);
                generation::write(
                    fresh.clone(),
                    &blocks,
                    generation.known.merged,
                    &self.writer,
                )?;
                files::exchange(&fresh, path).map_err(DiskError::io(path))?;
                files::sync_directory(fresh.parent().unwrap_or(path))
                    .map_err(DiskError::io(path))?;
                fs::remove_dir_all(&fresh).map_err(DiskError::io(&fresh))?;
            }
            repaired.push((path.clone(), missing.len()));
        }
        Ok(repaired)
    }
}

fn lane(
    root: &Path,
    name: String,
    marks: Option<&Marks>,
    owner: Owner,
    keys: &Keys,
) -> Result<LaneEntry, DiskError> {
    let directory = layout::lane(root, &name);
    let state = marks
        .and_then(|marks| marks.lanes.get(&name).cloned())
        .unwrap_or_default();
    let mut generations = Vec::new();
    let mut waiting = state.waiting();
    for path in layout::generations(&directory).map_err(DiskError::io(&directory))? {
        let known = match Generation::found(path.clone(), owner, keys) {
            Err(_) if !path.exists() => continue,
            known => known?,
        };
        if known.present.is_empty() && known.foreign == 0 {
            continue;
        }
        known
            .present
            .within(state.stored_to()..u64::MAX)
            .for_each(|run| waiting.insert(run));
        let now = marks.map_or(0, |marks| marks.clock.at_ms);
        generations.push(GenerationEntry {
            path,
            span: known.span(),
            records: known.present.len(),
            epoch: known.epoch,
            bytes: known.bytes,
            sealed: known.sealed,
            age_ms: now.saturating_sub(known.newest),
            keys: known
                .keys
                .iter()
                .filter(|id| **id != 0)
                .map(|id| KeyId(*id))
                .collect(),
            written: known.wall,
            owner,
            known,
        });
    }
    let present: Ranges = generations
        .iter()
        .flat_map(|g| g.known.present.iter())
        .collect();
    let waiting = waiting.common(&present);
    Ok(LaneEntry {
        name,
        waiting,
        unreported: state.unreported,
        generations,
    })
}

impl GenerationEntry {
    /// Checks every checksum in it.
    pub fn verify<R: Record>(&self, keys: &Keys) -> Result<Verified, DiskError> {
        let (blocks, missing, foreign) = self.sound(keys)?;
        let mut verified = Verified {
            missing,
            foreign,
            ..Verified::default()
        };
        for block in &blocks {
            verified.blocks += 1;
            verified.records += u64::from(block.header.count);
            let readable = block.header.key == KeyId::NONE || keys.knows(block.header.key);
            if readable && codec::decode::<R>(&block.bytes, keys).is_err() {
                verified.undecodable += 1;
            }
        }
        Ok(verified)
    }

    /// The records in it, in order. What is damaged is left out.
    pub fn records<R: Record>(
        &self,
        keys: &Keys,
        mut each: impl FnMut(Placed<R>) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        let Some(log) = self.log()? else {
            return Ok(());
        };
        let failed = || DiskError::io(&self.path);
        for index in 0..log.headers().len() {
            let Some(bytes) = log.read(index).map_err(failed())? else {
                continue;
            };
            let (_, records) = codec::decode::<R>(&bytes, keys)
                .map_err(|error| failed()(io::Error::other(error)))?;
            let mut records = records
                .into_iter()
                .filter(|r| self.known.present.contains(r.sequence));
            records.try_for_each(&mut each).map_err(failed())?;
        }
        Ok(())
    }

    /// `None` when it has been deleted meanwhile.
    fn log(&self) -> Result<Option<Log>, DiskError> {
        Log::open_if_there(&self.path, self.owner).map_err(DiskError::io(&self.path))
    }

    /// Its sound blocks, the sequences that should be in it and are not, and how many blocks in it are foreign.
    fn sound(&self, keys: &Keys) -> Result<(Vec<Encoded>, Ranges, usize), DiskError> {
        let (mut blocks, mut missing) = (Vec::new(), self.known.missing.clone());
        let log = self.log()?;
        let foreign = log.as_ref().map_or(0, |log| log.foreign);
        if log.is_none() && !self.path.exists() {
            return Ok((blocks, missing, foreign));
        }
        self.known
            .present
            .iter()
            .for_each(|run| missing.insert(run));
        for index in 0..log.as_ref().map_or(0, |log| log.headers().len()) {
            let bytes = log.as_ref().and_then(|log| log.read(index).transpose());
            let Some(bytes) = bytes.transpose().map_err(DiskError::io(&self.path))? else {
                continue;
            };
            if let Ok((header, ..)) = block::check(&bytes)
                && self.span.contains(&header.first)
            {
                missing.remove(header.first..header.end());
                let sequences = codec::sequences(&header, &bytes, keys);
                blocks.push(Encoded {
                    header,
                    sequences,
                    bytes,
                });
            }
        }
        Ok((blocks, missing, foreign))
    }
}
