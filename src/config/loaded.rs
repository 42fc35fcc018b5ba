//! A configuration that was read and checked, and which one it is.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::file::File;
use super::marks::Marks;
use super::problem::Problem;
use super::settings::Settings;
use super::texts::Texts;
use super::trust::Trust;
use super::version::Version;

/// A configuration without errors; there may be settings that are left out, and warnings.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// As written ...
    pub file: File,
    /// ... and as meant.
    pub settings: Settings,
    pub warnings: Vec<Problem>,
    /// The texts that it was read from, and those of the register maps that it names.
    pub texts: Texts,
    pub maps: Vec<(PathBuf, String)>,
    /// What vouches for it.
    pub trust: Trust,
    /// The files of passwords, certificates and keys.
    referred: Vec<PathBuf>,
    version: OnceLock<Version>,
    marks: OnceLock<Marks>,
}

impl Loaded {
    /// `file` was checked.
    pub(super) fn new(
        file: File,
        warnings: Vec<Problem>,
        maps: Vec<(PathBuf, String)>,
        referred: Vec<PathBuf>,
    ) -> Loaded {
        Loaded {
            settings: Settings::new(&file),
            file,
            warnings,
            texts: Texts::default(),
            trust: Trust::default(),
            maps,
            referred,
            version: OnceLock::new(),
            marks: OnceLock::new(),
        }
    }

    /// Read from these, for which that vouches.
    pub(super) fn of(self, texts: Texts, trust: Trust) -> Loaded {
        Loaded {
            texts,
            trust,
            ..self
        }
    }

    /// Which configuration it is, as of when that was first asked.
    pub(crate) fn version(&self) -> &Version {
        let of = || Version {
            serial: self.file.fleet.serial,
            signer: self.trust.signer.clone(),
            sealed: self.trust.sealed,
            ..Version::of(&self.texts, &self.maps, &self.referred)
        };
        self.version.get_or_init(of)
    }

    /// It takes secrets from systemd, which has read them when the process started.
    pub(crate) fn takes_credentials(&self) -> bool {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
        let mut files = self.referred.iter();
        directory.is_some_and(|directory| files.any(|file| file.starts_with(&directory)))
    }

    /// What is in the files that parts of an agent begin with, as of when that was first asked.
    pub(crate) fn marks(&self) -> &Marks {
        self.marks.get_or_init(|| Marks::of(&self.settings))
    }
}
