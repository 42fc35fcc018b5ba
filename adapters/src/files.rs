//! File work beside the one thread that carries all tasks: a disk that hangs holds up nobody but who waits for it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tokio::sync::oneshot;

/// Does `work` on a thread of its own. Cancelled, the work goes on and nobody hears of it; a caller has one at a time.
///
/// # Errors
/// Those of the work, or that there is no thread for it.
pub async fn off_task<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    // Not of tokio's pool, which panics where no thread can be had.
    let thread = std::thread::Builder::new().name("files".into());
    thread.spawn(move || drop(tell.send(work())))?;
    let done = told.await;
    done.unwrap_or_else(|_| Err(io::Error::other("the thread that did it panicked")))
}

/// Writes `content`, and the directory of `path` if it is missing: after a power cut there is the old file or the new one, whole.
///
/// # Errors
/// Where the disk does not take it; the old file is still there.
pub fn write_whole(path: &Path, content: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(content.as_bytes())?;
    file.sync_data()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}
