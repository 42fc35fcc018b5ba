//! Looks for a file that was dropped into the place of the configuration's: at once where the kernel tells of it (`inotify(7)`), and once
//! a minute in any case. On a thread of its own, since a file system may hang.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;

use crate::config::{self, Texts};

/// A file is read when nothing has happened in its directory for so long: who writes it in place, or beside others, has finished.
const QUIET_S: i64 = 1;
/// But it is not waited for longer than so often this.
const QUIET_MOST: u32 = 10;
const LOOK_EVERY_S: i64 = 60;

/// Tells of each text in the place of `path`, among its layers, and of each signature beside it, that is another than the one before, and of
/// the first.
pub(crate) fn watch(path: &Path) -> mpsc::Receiver<()> {
    // One more that waits says no more.
    let (tell, told) = mpsc::channel(1);
    let path = path.to_owned();
    let thread = std::thread::Builder::new().name("config".into());
    if let Err(error) = thread.spawn(move || look(&path, &tell)) {
        tracing::warn!(%error, "there is no thread to look for a new configuration: one that is dropped is taken with the next SIGHUP only");
    }
    told
}

fn look(path: &Path, tell: &mpsc::Sender<()>) {
    let mut seen = None;
    while !tell.is_closed() {
        // Anew each time, as the directory itself may be another one; and before the file is read, so that nothing comes between.
        let directory = watched(path);
        // What vouches for it first: a signature that comes meanwhile is seen the next time.
        let now = (config::vouchers(path, path), Texts::readable(path, path));
        // A file that is being replaced may be missing for a moment.
        if path.exists() && seen.as_ref() != Some(&now) {
            seen = Some(now);
            // Full: the last one is not looked at yet.
            tell.try_send(()).ok();
        }
        if stirs(directory.as_ref(), LOOK_EVERY_S) {
            let mut more = 0..QUIET_MOST;
            more.find(|_| !stirs(directory.as_ref(), QUIET_S));
        }
    }
}

/// Its directory, and that of its layers, if it has any.
fn watched(path: &Path) -> Option<OwnedFd> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let open = || -> rustix::io::Result<OwnedFd> {
        let directory = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let comes = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
        let goes = WatchFlags::DELETE | WatchFlags::MOVED_FROM;
        inotify::add_watch(&directory, parent, comes | goes)?;
        match inotify::add_watch(&directory, config::layers_of(path), comes | goes) {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        Ok(directory)
    };
    open()
        .map_err(|error| tracing::debug!(%error, "the directory of the configuration cannot be watched; it is looked at once a minute"))
        .ok()
}

/// Waits for something to happen in the directory, for so many seconds at most. Returns whether it did.
fn stirs(directory: Option<&OwnedFd>, seconds: i64) -> bool {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let mut one = directory.map(|directory| PollFd::new(directory, PollFlags::IN));
    let happened = poll(one.as_mut_slice(), Some(&time));
    let mut buffer = [0; 4096];
    if let Some(directory) = directory {
        while rustix::io::read(directory, &mut buffer).is_ok_and(|bytes| bytes > 0) {}
    }
    match happened {
        Ok(count) => count > 0,
        Err(Errno::INTR) => false,
        Err(_) => {
            // Of no use, and so not asked again at once.
            std::thread::park_timeout(Duration::from_secs(1));
            false
        }
    }
}
