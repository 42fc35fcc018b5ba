//! File work beside the one thread that carries all tasks: a disk that hangs holds up nobody but who waits for it.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::path::Path;

use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// How a small file is written: atomic and durable. Who runs the sources has the one way to do so.
pub type WriteWhole = fn(&Path, &[u8]) -> io::Result<()>;

/// Does `work` on a thread of its own. Cancelled, the work goes on and nobody hears of it; a caller has one at a time.
///
/// # Errors
/// Those of the work, or that there is no thread for it.
pub async fn off_task<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = begin_off_task(work)?.await;
    done.unwrap_or_else(|_| Err(panicked()))
}

/// Begins what [`off_task`] does; its outcome comes through what is returned.
pub(crate) fn begin_off_task<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<oneshot::Receiver<io::Result<T>>> {
    let (tell, told) = oneshot::channel();
    // Virtual time does not wait for a thread.
    if cfg!(test) {
        drop(tell.send(work()));
        return Ok(told);
    }
    // Not of tokio's pool, which panics where no thread can be had.
    let thread = std::thread::Builder::new().name("files".into());
    thread.spawn(move || drop(tell.send(work())))?;
    Ok(told)
}

pub(crate) fn panicked() -> io::Error {
    io::Error::other("the thread that did it panicked")
}

/// Makes way for a socket at `path`: one that nobody listens on any more is removed, and anything else is left as it is.
///
/// # Errors
/// What is there, where it is not such a socket.
pub async fn make_way_for_socket(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?.file_type(),
    };
    let refused = |kind, what: &str| {
        let text = format!(
            "{} is {what}, which is left as it is; give the socket another path, or move that away",
            path.display()
        );
        Err(io::Error::new(kind, text))
    };
    if !found.is_socket() {
        let what = match found {
            kind if kind.is_dir() => "a directory",
            kind if kind.is_file() => "a regular file",
            kind if kind.is_symlink() => "a symbolic link",
            kind if kind.is_fifo() => "a FIFO",
            _ => "a device",
        };
        return refused(ErrorKind::AlreadyExists, what);
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => remove(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Left by an agent that ran as another user.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && is_unknown(path) => {
            remove(path)
        }
        Ok(_) => refused(
            ErrorKind::AddrInUse,
            "a socket on which another process listens",
        ),
        Err(error) => refused(
            ErrorKind::AddrInUse,
            &format!("a socket that another process may listen on ({error})"),
        ),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The kernel has no socket of this name.
fn is_unknown(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    let all = fs::read_to_string("/proc/net/unix");
    name.zip(all.ok())
        .is_some_and(|(name, all)| !all.lines().any(|line| line.ends_with(&*name)))
}

/// Gives a socket to the owner of its directory, where root has made it: the next agent may be that user's.
pub(crate) fn give_to_owner(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let (ours, theirs) = (fs::metadata(path)?.uid(), fs::metadata(parent)?.uid());
    if ours == theirs {
        return Ok(());
    }
    match chown(path, Some(theirs), None) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_makes_way() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("file"), "dear").unwrap();
        fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let _live = UnixListener::bind(at("live")).unwrap();
        let _datagrams = UnixDatagram::bind(at("datagrams")).unwrap();
        drop(UnixListener::bind(at("stale")).unwrap());
        for (name, what) in [
            ("file", "a regular file"),
            ("directory", "a directory"),
            ("link", "a symbolic link"),
            ("live", "another process listens"),
            ("datagrams", "another process may listen"),
        ] {
            let error = make_way_for_socket(&at(name))
                .await
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(what) && error.contains(name),
                "{name}: {error}"
            );
            assert!(
                fs::symlink_metadata(at(name)).is_ok(),
                "{name} is still there"
            );
        }
        make_way_for_socket(&at("stale")).await.unwrap();
        make_way_for_socket(&at("nothing")).await.unwrap();
        assert!(!at("stale").exists());
    }
}
