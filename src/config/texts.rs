//! The texts of a configuration: the file, and beside it the layers `FILE.d/*.toml`, in the byte order of their names.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hash::Hash;
use super::problem::Problem;

/// More layers than this are a mistake of whoever writes them.
const LAYERS_MAX: usize = 100;
/// The name of the layer that says where configurations were pulled from before, which no file can have.
pub(super) const KEPT: &str = "/[fleet] of before";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    /// Of the file.
    pub(crate) file: String,
    pub(crate) layers: Vec<Layer>,
}

/// A file that says more than the one before it, or something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// Of the file, without its directory.
    pub(super) name: String,
    pub(super) text: String,
}

impl Texts {
    /// Of the file at `path`, with the layers of the one in whose place it is to be.
    ///
    /// # Errors
    /// What cannot be read; whoever prints it says which file it is.
    pub(super) fn of_path(path: &Path, place: &Path) -> Result<Texts, Vec<Problem>> {
        Texts::read(path, place).map_err(|(layer, error)| {
            let cannot = Problem::whole("", format!("cannot be read: {error}"));
            vec![Problem { layer, ..cannot }]
        })
    }

    /// # Errors
    /// What cannot be read, by the name of the layer, or by none for the file itself.
    fn read(path: &Path, place: &Path) -> Result<Texts, (Option<String>, io::Error)> {
        let file = std::fs::read_to_string(path).map_err(|error| (None, error))?;
        let all = layers(place).map_err(|error| (Some("*".to_owned()), error))?;
        let layers = all.map(|(name, text)| match text {
            Ok(text) => Ok(Layer { name, text }),
            Err(error) => Err((Some(name), error)),
        });
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Texts { file, layers })
    }

    /// As much of them as can be read.
    pub(crate) fn readable(path: &Path, place: &Path) -> Texts {
        let all = layers(place).into_iter().flatten();
        let layers = all.filter_map(|(name, text)| text.ok().map(|text| Layer { name, text }));
        Texts {
            file: std::fs::read_to_string(path).unwrap_or_default(),
            layers: layers.collect(),
        }
    }

    /// Only a file.
    pub(crate) fn of(text: &str) -> Texts {
        Texts {
            file: text.to_owned(),
            layers: Vec::new(),
        }
    }

    /// SHA-256 of the layers with their names, in hexadecimal; nothing where there are none.
    pub(crate) fn mark_of_layers(&self) -> String {
        if self.layers.is_empty() {
            return String::new();
        }
        let mut all = Hash::new();
        for layer in &self.layers {
            all.add(layer.name.as_bytes());
            all.add(layer.text.as_bytes());
        }
        all.finish()
    }
}

/// Where the layers of the file at `path` are.
pub(crate) fn directory(path: &Path) -> PathBuf {
    let mut directory: OsString = path.as_os_str().to_owned();
    directory.push(".d");
    PathBuf::from(directory)
}

/// The name and text of each layer of the file at `path`, in their order.
fn layers(path: &Path) -> io::Result<impl Iterator<Item = (String, io::Result<String>)>> {
    let directory = directory(path);
    let names = names(path)?.into_iter();
    Ok(names.map(move |name| {
        let text = std::fs::read_to_string(directory.join(&name));
        (name.to_string_lossy().into_owned(), text)
    }))
}

/// Of the layers of the file at `path`, in their order. A directory that is not there has none.
fn names(path: &Path) -> io::Result<Vec<OsString>> {
    let entries = match std::fs::read_dir(directory(path)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        // As a shell's `*.toml` has it: what begins with a dot is half written, or an editor's.
        if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
            names.push(name);
        }
    }
    if names.len() > LAYERS_MAX {
        let many = format!("it has {} layers; {LAYERS_MAX} are the most", names.len());
        return Err(io::Error::other(many));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_in_the_byte_order_of_their_names_and_what_begins_with_a_dot_is_none() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("gateway.toml");
        std::fs::write(&path, "main").unwrap();
        assert_eq!(Texts::read(&path, &path).unwrap(), Texts::of("main"));
        std::fs::create_dir(directory(&path)).unwrap();
        for name in ["b.toml", "B.toml", "10-a.toml", ".c.toml", "x.toml~"] {
            std::fs::write(directory(&path).join(name), name).unwrap();
        }
        let texts = Texts::read(&path, &path).unwrap();
        let names: Vec<&str> = texts.layers.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["10-a.toml", "B.toml", "b.toml"]);
        assert_eq!(Texts::readable(&path, &path), texts);
        std::fs::create_dir(directory(&path).join("dir.toml")).unwrap();
        let (layer, _) = Texts::read(&path, &path).unwrap_err();
        assert_eq!(layer.as_deref(), Some("dir.toml"));
        assert_eq!(Texts::readable(&path, &path), texts);
    }

    #[test]
    fn a_layer_that_is_renamed_or_cut_in_two_is_another_configuration() {
        let layer = |name: &str, text: &str| Layer {
            name: name.into(),
            text: text.into(),
        };
        let mark = |layers: &[Layer]| {
            let file = String::new();
            let layers = layers.to_vec();
            Texts { file, layers }.mark_of_layers()
        };
        let one = mark(&[layer("a", "bc")]);
        assert_ne!(one, mark(&[layer("ab", "c")]));
        assert_ne!(one, mark(&[layer("a", "b"), layer("", "c")]));
        assert_eq!(mark(&[]), "");
    }
}
