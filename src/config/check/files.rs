//! Files without which a configuration is not taken: secrets, certificates and their keys. `check` may be run where they are not.

use std::io::Read;
use std::path::{Path, PathBuf};

use adapters::SecretRef;

use super::super::file::File;
use super::super::fleet::{FleetSection, PullTlsSection};
use super::{Problems, all_sources};

pub(super) fn check(file: &File, found: &mut Problems<'_>) {
    let uplink = &file.uplink;
    let tls = uplink.tls.iter().flat_map(adapters::TlsSection::named);
    let tls = tls.map(|(key, path)| (format!("uplink.tls.{key}"), path));
    let password = uplink
        .sasl
        .as_ref()
        .and_then(|sasl| SecretRef::path(&sasl.password));
    let password = password.map(|path| ("uplink.sasl.password".to_owned(), path));
    let sources = all_sources(file).flat_map(|(at, source)| {
        let files = source.files().into_iter();
        files.map(move |(key, path)| (format!("{at}.{key}"), path))
    });
    let all: Vec<(String, PathBuf)> = tls.chain(password).chain(sources).collect();
    for (key, path) in fleet(&file.fleet) {
        if let Some(error) = unreadable(&path) {
            let what = format!(
                "`{}` cannot be read: {error}; where that is so, the agent pulls no configuration",
                path.display()
            );
            found.warn(key, what);
        }
    }
    for (key, path) in all {
        if let Some(error) = unreadable(&path) {
            let what = format!(
                "`{}` cannot be read: {error}; where that is so, the agent does not take this configuration",
                path.display()
            );
            found.warn(key, what);
        }
    }
}

fn fleet(fleet: &FleetSection) -> impl Iterator<Item = (String, PathBuf)> {
    let tls = fleet.tls.iter().flat_map(PullTlsSection::named);
    let tls = tls.map(|(key, path)| (format!("fleet.tls.{key}"), path));
    let bearer = fleet.bearer.as_ref().and_then(SecretRef::path);
    tls.chain(bearer.map(|path| ("fleet.bearer".to_owned(), path)))
}

/// Why nothing can be read of it. A FIFO is not asked: what is in it is read once.
fn unreadable(path: &Path) -> Option<std::io::Error> {
    let is_file = match std::fs::metadata(path) {
        Ok(metadata) => metadata.is_file() || metadata.is_dir(),
        Err(error) => return Some(error),
    };
    let read = || std::fs::File::open(path)?.read(&mut [0]);
    is_file.then(read)?.err()
}
