//! `tidegate buffer`: what is in a state directory, for people and scripts.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use adapters::SecretRef;
use buffer::{DiskError, GenerationEntry, Inspection, Keys, LaneEntry, OpenError};
use clap::{Args, Subcommand};

use super::console::{fail, load};
use crate::config::STATE_DIR;
use crate::drain::Rejected;
use crate::ingest::Record;
use crate::rollout;
use crate::state::{disk_writer, keys};

#[derive(Debug, Args)]
pub(super) struct BufferArguments {
    /// The configuration file of the agent, for its state directory and its keys.
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The state directory, or a copy of one. Default: that of the configuration, or /var/lib/tidegate.
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
    /// A file with a key of the buffer, beside those of the configuration.
    #[arg(long, value_name = "FILE", global = true)]
    pub key: Vec<PathBuf>,
    /// The id of the gateway that the buffer is of, which what is encrypted is bound to. Default: that of the configuration.
    #[arg(long, value_name = "ID", global = true)]
    pub gateway_id: Option<String>,
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// List lanes and generations: ranges, ages, sizes.
    Ls,
    /// Print records as lines of JSON, in order.
    Cat(Filter),
    /// Check every checksum. Exit code 0: all is sound; 1: something is damaged, or cannot be read.
    Verify,
    /// Copy all that can be read into a fresh state directory, for another agent to go on with.
    Export {
        /// A directory that does not exist yet.
        #[arg(value_name = "DIR")]
        to: PathBuf,
        /// Encrypt it for the gateway with this id, which has the same keys.
        #[arg(long, value_name = "ID")]
        for_gateway: Option<String>,
    },
    /// Print the records that the cluster rejected, as lines of JSON.
    Rejected,
    /// Write damaged generations anew with what is sound in them; the damaged files are kept in set-aside.
    ///
    /// The agent does not need this: it reads around damage by itself. Refuses while an agent is running.
    Repair,
}

/// Which records.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only this lane.
    #[arg(long)]
    lane: Option<String>,
    /// Only what was observed at this time or later: "2026-11-23T10:00:00Z".
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Only what was observed before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
    /// Only what was neither delivered nor dropped, by the marks (up to 2 s old).
    #[arg(long)]
    waiting: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum InspectError {
    #[error("cannot look into {path}")]
    Open { path: PathBuf, source: OpenError },
    #[error("the buffer is encrypted for gateway `{of}`: give --gateway-id {of}")]
    Gateway { of: String },
    #[error("no lane is named `{name}`; there are {known}")]
    NoLane { name: String, known: String },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Output(#[from] io::Error),
    #[error(
        "{sealed} records are encrypted with a key that is not given, or for another gateway: give it by -c or --key, and --gateway-id"
    )]
    Sealed { sealed: usize },
    #[error("{damaged} of {all} generations are damaged or cannot be decoded")]
    Damaged { damaged: usize, all: usize },
}

pub(super) fn run(arguments: &BufferArguments) -> ExitCode {
    let loaded = match arguments.config.as_deref().map(load).transpose() {
        Ok(loaded) => loaded.map(|loaded| loaded.settings),
        Err(code) => return code,
    };
    let store = loaded.as_ref().map(|settings| &settings.store);
    let given = arguments.key.iter().cloned().map(SecretRef::File);
    let all: Vec<SecretRef> = store
        .iter()
        .flat_map(|store| store.keys.clone())
        .chain(given)
        .collect();
    let keys = match keys(&all) {
        Ok(keys) => keys,
        Err(error) => return fail(&error),
    };
    let named = arguments.gateway_id.as_deref();
    let gateway = named.or(store.map(|store| store.gateway.as_str()));
    let keys = keys.for_gateway(gateway.unwrap_or_default());
    let state = arguments.state.clone();
    let state = state.or_else(|| store.map(|store| store.state.clone()));
    let state = state.unwrap_or_else(|| STATE_DIR.into());
    match inspect(&state, &keys, &arguments.what) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has seen enough.
        Err(InspectError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

/// Does what was asked for; everything but `export` and `repair` only reads.
fn inspect(state: &Path, keys: &Keys, what: &What) -> Result<(), InspectError> {
    if let What::Rejected = what {
        return rejected(state, keys);
    }
    let failed = |source| match source {
        OpenError::OtherGateway { of, .. } => InspectError::Gateway { of },
        source @ (OpenError::InUse { .. }
        | OpenError::Newer { .. }
        | OpenError::NoKey { .. }
        | OpenError::Disk(_)) => InspectError::Open {
            path: state.to_owned(),
            source,
        },
    };
    let found = Inspection::open(state, keys)
        .map_err(failed)?
        .written_by(disk_writer());
    let mut out = BufWriter::new(io::stdout().lock());
    match what {
        What::Ls => ls(&found, &mut out)?,
        What::Cat(filter) => cat(&found, keys, filter, &mut out)?,
        What::Verify => verify(&found, keys, &mut out)?,
        What::Rejected => {}
        What::Export { to, for_gateway } => {
            let other = for_gateway.as_ref().map(|id| keys.for_gateway(id));
            let records = found.export(to, keys, other.as_ref())?;
            writeln!(out, "{records} records are in {}", to.display())?;
        }
        What::Repair => {
            let repaired = found.repair(keys).map_err(failed)?;
            for (path, missing) in &repaired {
                writeln!(
                    out,
                    "{}: {missing} records are lost, the rest was written anew",
                    path.display()
                )?;
            }
            let result = format!("{} generations repaired", repaired.len());
            let by = format!("uid {}", rustix::process::getuid().as_raw());
            if let Err(error) = rollout::note_repair(state, &by, &result) {
                eprintln!("tidegate: this could not be noted for the fleet: {error}");
            }
            writeln!(out, "{result}")?;
        }
    }
    out.flush().map_err(Into::into)
}

/// Prints what was set aside, the oldest first.
fn rejected(state: &Path, keys: &Keys) -> Result<(), InspectError> {
    let (mut out, mut sealed) = (BufWriter::new(io::stdout().lock()), 0);
    for path in Rejected::files(state).iter().rev() {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        for line in text.lines() {
            match Rejected::open(line, keys) {
                Some(line) => writeln!(out, "{line}")?,
                None => sealed += 1,
            }
        }
    }
    out.flush()?;
    if sealed > 0 {
        return Err(InspectError::Sealed { sealed });
    }
    Ok(())
}

fn ls(found: &Inspection, out: &mut impl Write) -> Result<(), InspectError> {
    let format = found
        .format
        .map_or("unknown".into(), |format| format.to_string());
    writeln!(out, "format {format}  epoch {}", found.epoch)?;
    if !found.has_marks() {
        writeln!(out, "there are no marks: everything counts as waiting")?;
    }
    for lane in &found.lanes {
        let bytes: u64 = lane.generations.iter().map(|g| g.bytes).sum();
        let waiting = lane.waiting.len();
        writeln!(
            out,
            "\n{}: {waiting} waiting, {} on disk",
            lane.name,
            adapters::size(bytes)
        )?;
        let written = lane.generations.iter().filter_map(|g| g.written);
        if let Some(all) = written.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) {
            writeln!(out, "{}", when(all))?;
        }
        for drop in &lane.unreported {
            writeln!(
                out,
                "  not yet reported: {} dropped ({}), {} to {}",
                drop.count,
                drop.reason.name(),
                drop.first,
                drop.last
            )?;
        }
        for generation in &lane.generations {
            writeln!(out, "  {}", row(generation))?;
        }
    }
    Ok(())
}

fn row(generation: &GenerationEntry) -> String {
    let name = generation
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let GenerationEntry {
        span,
        records,
        epoch,
        bytes,
        sealed,
        age_ms,
        keys,
        written,
        ..
    } = generation;
    #[expect(clippy::cast_precision_loss, reason = "an age for people")]
    let age = adapters::age(*age_ms as f64 / 1000.0);
    let keys: Vec<String> = keys.iter().map(|key| format!("  key {key}")).collect();
    format!(
        "{name:<24}{:>14} to {:<14}{records:>9} records  epoch {epoch:<4}{:>7}{age:>9} old{}{}{}",
        span.start,
        span.end.saturating_sub(1),
        adapters::size(*bytes),
        if *sealed { "" } else { "  open" },
        keys.concat(),
        written.map(when).unwrap_or_default(),
    )
}

/// When blocks were written, for a person.
fn when((from, to): (u64, u64)) -> String {
    let time = |ms: u64| {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    format!("  written {} to {}", time(from), time(to))
}

fn cat(
    found: &Inspection,
    keys: &Keys,
    filter: &Filter,
    out: &mut impl Write,
) -> Result<(), InspectError> {
    if let Some(name) = filter
        .lane
        .as_ref()
        .filter(|name| found.lanes.iter().all(|lane| lane.name != **name))
    {
        let known: Vec<&str> = found.lanes.iter().map(|lane| lane.name.as_str()).collect();
        return Err(InspectError::NoLane {
            name: name.clone(),
            known: known.join(", "),
        });
    }
    for lane in found
        .lanes
        .iter()
        .filter(|lane| filter.lane.as_ref().is_none_or(|name| lane.name == *name))
    {
        for generation in &lane.generations {
            generation.records::<Record>(keys, |placed| {
                let waiting = lane.waiting.contains(placed.sequence);
                if filter.takes(&placed.record, waiting) {
                    let mut line = placed
                        .record
                        .to_json(&lane.name, placed.epoch, placed.sequence);
                    line["waiting"] = waiting.into();
                    writeln!(out, "{line}")?;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

impl Filter {
    fn takes(&self, record: &Record, waiting: bool) -> bool {
        let at = record.stamp.unix_us;
        let since = self.since.is_none_or(|since| at >= since.as_microsecond());
        let until = self.until.is_none_or(|until| at < until.as_microsecond());
        since && until && (waiting || !self.waiting)
    }
}

fn verify(found: &Inspection, keys: &Keys, out: &mut impl Write) -> Result<(), InspectError> {
    let (mut damaged, mut all) = (0, 0);
    let generations = |lane: &LaneEntry| lane.generations.len();
    for lane in found.lanes.iter().filter(|lane| generations(lane) > 0) {
        let (mut blocks, mut records) = (0, 0);
        for generation in &lane.generations {
            all += 1;
            let verified = generation.verify::<Record>(keys)?;
            (blocks, records) = (blocks + verified.blocks, records + verified.records);
            if verified.missing.is_empty() && verified.undecodable == 0 && verified.foreign == 0 {
                continue;
            }
            damaged += 1;
            let missing: Vec<String> = verified
                .missing
                .iter()
                .map(|run| format!("{} to {}", run.start, run.end - 1))
                .collect();
            writeln!(
                out,
                "{}: {} records are damaged ({}), {} blocks cannot be decoded, {} are refused",
                generation.path.display(),
                verified.missing.len(),
                missing.join(", "),
                verified.undecodable,
                verified.foreign
            )?;
        }
        writeln!(
            out,
            "{}: {records} records in {blocks} sound blocks, {} generations",
            lane.name,
            generations(lane)
        )?;
    }
    out.flush()?;
    if damaged > 0 {
        return Err(InspectError::Damaged { damaged, all });
    }
    Ok(())
}
