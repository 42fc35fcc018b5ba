//! `[[inference]]` as written.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::InferenceError;
use super::names::has_wildcard;
use crate::Size;

/// The largest event that may be allowed: a lane could hold none that is much larger.
const EVENT_BYTES_MAX: u64 = 900 * 1024;

/// An input for local programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InferenceSection {
    /// Name of the source, in logs, metrics and events.
    pub name: String,
    /// Path of a Unix stream socket to listen on.
    pub socket: Option<PathBuf>,
    /// Path of a file of JSON lines, or of a FIFO, to follow instead. The name may have `*` and `?`: each file that fits is
    /// followed, up to 64 at once. Example: `"/var/log/app/*.jsonl"`.
    pub tail: Option<PathBuf>,
    /// Permissions of the socket, octal. Default: `"0660"`.
    #[serde(default = "default_mode")]
    pub mode: String,
    /// Group that the socket is given to.
    pub group: Option<String>,
    /// Default: 16.
    #[serde(default = "default_max_clients")]
    pub max_clients: usize,
    /// The largest event as it comes in, up to `"900 KiB"`, less by `memory.profile`. Default: `"64 KiB"`.
    #[serde(default = "default_max_event")]
    pub max_event: Size,
    /// The intent of events that name none.
    pub intent: Option<String>,
    pub device: Option<String>,
    pub kind: Option<String>,
}

fn default_mode() -> String {
    "0660".into()
}

fn default_max_clients() -> usize {
    16
}

fn default_max_event() -> Size {
    Size(64 * 1024)
}

impl InferenceSection {
    /// What is wrong with it: the key below the section, and what would be right.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        match (&self.socket, &self.tail) {
            (None, None) => {
                problems.push(("socket".into(), "missing; set `socket` or `tail`".into()));
            }
            (Some(_), Some(_)) => problems.push((
                "tail".into(),
                "stands beside `socket`; an input is one or the other".into(),
            )),
            (Some(path), None) | (None, Some(path)) if !path.is_absolute() => {
                let key = if self.socket.is_some() {
                    "socket"
                } else {
                    "tail"
                };
                problems.push((
                    key.into(),
                    format!("`{}` is relative; use an absolute path", path.display()),
                ));
            }
            (None, Some(path)) if path.parent().is_some_and(is_pattern) => problems.push((
                "tail".into(),
                format!(
                    "`{}` has `*` or `?` in its directory; use them in the name of the file alone",
                    path.display()
                ),
            )),
            (Some(_), None) | (None, Some(_)) => {}
        }
        if self.mode().is_none() {
            problems.push((
                "mode".into(),
                format!(
                    "`{}` is not a mode; write it in octal, like \"0660\"",
                    self.mode
                ),
            ));
        }
        if !(1..=1024).contains(&self.max_clients) {
            problems.push((
                "max_clients".into(),
                format!("`{}` is out of range; use 1 to 1024", self.max_clients),
            ));
        }
        if !(64..=EVENT_BYTES_MAX).contains(&self.max_event.0) {
            problems.push((
                "max_event".into(),
                format!(
                    "`{}` is out of range; use \"64\" to \"900 KiB\"",
                    self.max_event
                ),
            ));
        }
        problems
    }

    pub(super) fn mode(&self) -> Option<u32> {
        u32::from_str_radix(&self.mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
    }

    pub(super) fn max_event(&self) -> usize {
        usize::try_from(self.max_event.0).unwrap_or(usize::MAX)
    }
}

fn is_pattern(path: &Path) -> bool {
    has_wildcard(&path.to_string_lossy())
}

/// The number of a group, from /etc/group.
pub(super) fn group_id(name: &str) -> Result<u32, InferenceError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let line = groups
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    line.and_then(|line| line.split(':').nth(2)?.parse().ok())
        .ok_or_else(|| InferenceError::Group(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_stand_in_the_name_of_a_file_alone() {
        for (tail, is_right) in [("/a/*.jsonl", true), ("/a/x?", true), ("/*/b", false)] {
            let text = format!("name = \"x\"\ntail = \"{tail}\"");
            let problems = toml::from_str::<InferenceSection>(&text)
                .unwrap()
                .problems();
            assert_eq!(problems.is_empty(), is_right, "{tail}: {problems:?}");
        }
    }
}
