//! The disk writer process as the agent sees it: started when there is something to write, waited for when it ends.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::frames::{Entry, Order, next_answer, send_order};
use crate::database::DiskError;
use crate::wear;

/// Orders that are handed to the pipe at once; a block that is larger goes by itself.
const PIPE_BYTES: usize = 16 * 1024;

/// The disk writer, whether it runs or not.
#[derive(Debug)]
pub(crate) struct Host {
    arguments: Vec<OsString>,
    running: Option<Running>,
    /// Processes started so far: a database lives and dies with the one that it was made in.
    started: u64,
}

#[derive(Debug)]
struct Running {
    process: Child,
    to: BufWriter<ChildStdin>,
    from: ChildStdout,
    /// Databases that are open in it, and the number of the next.
    open: usize,
    next: u32,
}

/// Where a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    process: u64,
    id: u32,
}

impl Host {
    pub(crate) fn new(arguments: Vec<OsString>) -> Host {
        Host {
            arguments,
            running: None,
            started: 0,
        }
    }

    /// Writes `entries` to the database at `place`, or to a new one in `path`, and makes them durable.
    pub(crate) fn commit<'a>(
        &mut self,
        place: &mut Option<Place>,
        path: &Path,
        entries: impl Iterator<Item = Entry<'a>>,
    ) -> Result<(), DiskError> {
        if place.is_some_and(|place| !self.has(&place)) {
            return Err(DiskError::WriterEnded {
                path: path.to_owned(),
                reason: "it ended after an earlier write".into(),
            });
        }
        let running = if let Some(running) = self.running.take() {
            self.running.insert(running)
        } else {
            let running = Running::start(&self.arguments).map_err(DiskError::io(path))?;
            self.started += 1;
            self.running.insert(running)
        };
        let fresh = place.is_none();
        let id = place.map_or(running.next, |place| place.id);
        if fresh {
            running.next += 1;
            running.open += 1;
            let process = self.started;
            *place = Some(Place { process, id });
        }
        match running.order(id, fresh.then_some(path), entries, &Order::Sync) {
            Ok(Ok(())) => Ok(()),
            // It has given up all its databases and ends.
            Ok(Err(error)) => {
                self.bury();
                Err(error)
            }
            Err(error) => {
                let reason = self.bury().unwrap_or_else(|| error.to_string());
                tracing::warn!(path = %path.display(), reason, "the disk writer process ended while it wrote; what had a receipt is on disk, the rest is written again by another one");
                Err(DiskError::WriterEnded {
                    path: path.to_owned(),
                    reason,
                })
            }
        }
    }

    /// Closes the database at `place`; all that was committed to it is on disk, however that ends.
    pub(crate) fn close(&mut self, place: &Place) {
        if !self.has(place) {
            return;
        }
        let Some(running) = &mut self.running else {
            return;
        };
        running.open = running.open.saturating_sub(1);
        if running
            .order(place.id, None, std::iter::empty(), &Order::Close)
            .is_err()
        {
            let reason = self.bury();
            tracing::warn!(
                reason,
                "the disk writer process ended while it closed a file; what had a receipt is on disk, and the next write starts another one"
            );
        } else if running.open == 0 {
            self.end();
        }
    }

    fn has(&self, place: &Place) -> bool {
        self.running.is_some() && place.process == self.started
    }

    /// Lets it end by itself, which it does when there are no more orders.
    fn end(&mut self) {
        if let Some(Running {
            process, to, from, ..
        }) = self.running.take()
        {
            drop((to, from));
            wait(process);
        }
    }

    /// Makes sure that it has ended, and says how, unless it was its own decision.
    fn bury(&mut self) -> Option<String> {
        let mut running = self.running.take()?;
        // It has ended, or is of no use any more.
        if let Err(error) = running.process.kill() {
            tracing::debug!(%error, "the disk writer process cannot be killed");
        }
        wait(running.process)
    }
}

/// Waits for its end, and says how it ended if that was not its own decision.
fn wait(mut process: Child) -> Option<String> {
    let status = process.wait();
    wear::writer_is(None);
    match status {
        Ok(status) if status.success() => None,
        Ok(status) => Some(status.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

impl Running {
    fn start(arguments: &[OsString]) -> io::Result<Running> {
        // The file of this program may have been replaced since, and only the kernel's name means the one that runs.
        // Under an emulator that name may mean the emulator.
        let started = Running::start_as(&PathBuf::from("/proc/self/exe"), arguments);
        started.or_else(|error| match std::env::current_exe() {
            Ok(path) => Running::start_as(&path, arguments),
            Err(_) => Err(error),
        })
    }

    fn start_as(program: &Path, arguments: &[OsString]) -> io::Result<Running> {
        let mut process = Command::new(program)
            .arg0("tidegate")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What sled says in a panic comes with the answer.
            .stderr(Stdio::null())
            // A signal of the terminal is for the agent, which lets it end when all is written.
            .process_group(0)
            .spawn()?;
        wear::writer_is(Some(process.id()));
        let pipes = process.stdin.take().zip(process.stdout.take());
        let ready = pipes.and_then(|(to, mut from)| {
            let ready = next_answer(&mut from).is_ok_and(|answer| answer.is_ok());
            ready.then_some((to, from))
        });
        let Some((to, from)) = ready else {
            drop(process.kill());
            let ended = wait(process).unwrap_or_default();
            let text = format!("the disk writer process does not begin to work ({ended})");
            return Err(io::Error::other(text));
        };
        Ok(Running {
            process,
            to: BufWriter::with_capacity(PIPE_BYTES, to),
            from,
            open: 0,
            next: 0,
        })
    }

    /// Has it write `entries`, to a new database where a path is given, and do the `last` that is answered. An error outside
    /// means that the process is of no use any more.
    fn order<'a>(
        &mut self,
        id: u32,
        create: Option<&Path>,
        entries: impl Iterator<Item = Entry<'a>>,
        last: &Order<'_>,
    ) -> io::Result<Result<(), DiskError>> {
        match self.send(id, create, entries, last) {
            // It may have said why before it ended.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                next_answer(&mut self.from).map_err(|_| error)
            }
            Err(error) => Err(error),
            Ok(()) => next_answer(&mut self.from),
        }
    }

    fn send<'a>(
        &mut self,
        id: u32,
        create: Option<&Path>,
        mut entries: impl Iterator<Item = Entry<'a>>,
        last: &Order<'_>,
    ) -> io::Result<()> {
        if let Some(path) = create {
            send_order(&mut self.to, id, &Order::Create(path))?;
        }
        entries.try_for_each(|entry| send_order(&mut self.to, id, &Order::Write(entry)))?;
        send_order(&mut self.to, id, last)?;
        self.to.flush()
    }
}
