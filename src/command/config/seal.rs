//! `tidegate config seal`: a last line by which a gateway sees that a file is whole.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::command::console::{fail, say};
use crate::config;

#[derive(Debug, clap::Args)]
pub(super) struct SealArguments {
    /// The configuration, where it is written: seal it before it is signed.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(arguments: &SealArguments) -> ExitCode {
    let path = &arguments.file;
    let sealed = match std::fs::read_to_string(path) {
        Ok(text) => config::sealed(&text),
        Err(error) => Err(error.to_string()),
    };
    let written = sealed.and_then(|text| replace(path, &text).map_err(|error| error.to_string()));
    match written {
        Ok(()) => say(&format!(
            "{}: sealed; a signature that it had is none for it any more\n",
            path.display()
        )),
        Err(why) => fail(&std::io::Error::other(format!(
            "cannot seal {}: {why}",
            path.display()
        ))),
    }
}

/// Puts another text into its place, whole, for the same who may read it.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = std::fs::canonicalize(path)?;
    let before = std::fs::metadata(&path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".sealed");
    let fresh = path.with_file_name(name);
    let written = (|| {
        buffer::open_private(&fresh, false)?.write_all(text.as_bytes())?;
        std::fs::set_permissions(&fresh, before.permissions())?;
        std::fs::rename(&fresh, &path)
    })();
    if written.is_err() {
        std::fs::remove_file(&fresh).ok();
    }
    written
}
