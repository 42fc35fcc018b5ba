//! Files that are replaced while we run: passwords and certificates are rotated while nobody thinks of the gateway.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::{SecretRef, TlsSection};

/// What tells that a file was replaced or written: its inode, its length, and when it was changed last.
type Mark = Option<(u64, u64, i64, i64)>;

/// Some files, and what they were when they were looked at last.
#[derive(Debug, Clone)]
pub struct Watched {
    files: Vec<PathBuf>,
    seen: Vec<Mark>,
}

impl Watched {
    /// Looks at them for the first time: to be called before they are read. Touches the disk.
    #[must_use]
    fn new(files: Vec<PathBuf>) -> Watched {
        Watched {
            seen: files.iter().map(mark).collect(),
            files,
        }
    }

    /// Those that a login takes.
    #[must_use]
    pub fn of_login(password: Option<&SecretRef>, tls: Option<&TlsSection>) -> Watched {
        let tls = tls.into_iter();
        let tls = tls.flat_map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]);
        let password = password.and_then(SecretRef::path).into_iter();
        Watched::new(password.chain(tls.flatten().cloned()).collect())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// One that was replaced or written since the last look. Touches the disk. One that is gone is about to be replaced, and
    /// is not told.
    pub fn changed(&mut self) -> Option<PathBuf> {
        let marks: Vec<Mark> = self.files.iter().map(mark).collect();
        let pairs = marks.iter().zip(&self.seen).zip(&self.files);
        let mut changed = pairs.filter(|((is, was), _)| is.is_some() && is != was);
        let changed = changed.next().map(|(_, file)| file.clone());
        if changed.is_some() {
            self.seen = marks;
        }
        changed
    }
}

fn mark(file: &PathBuf) -> Mark {
    let about = std::fs::metadata(file).ok()?;
    // The time of change, which also a change of the rights sets: a file that could not be read may be readable now.
    Some((about.ino(), about.len(), about.ctime(), about.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_replaced_or_written_is_told_once_and_one_that_is_gone_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
        fs::write(&one, "1").unwrap();
        let mut watched = Watched::new(vec![one.clone(), other.clone()]);
        assert_eq!(watched.changed(), None);
        fs::write(&other, "1").unwrap();
        assert_eq!(watched.changed().as_ref(), Some(&other), "it was missing");
        assert_eq!(watched.changed(), None);
        fs::write(&one, "longer").unwrap();
        assert_eq!(watched.changed().as_ref(), Some(&one));
        fs::write(directory.path().join("new"), "longer").unwrap();
        fs::rename(directory.path().join("new"), &one).unwrap();
        assert_eq!(watched.changed().as_ref(), Some(&one));
        fs::remove_file(&one).unwrap();
        assert_eq!(watched.changed(), None);
        fs::write(&one, "longer").unwrap();
        assert_eq!(watched.changed(), Some(one));
    }
}
