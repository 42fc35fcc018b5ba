//! What is wrong in a configuration.

use std::fmt;

/// Something that is wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Path of the key: `intent[0].budget`.
    pub key: String,
    /// Line in the file, where the key stands in it.
    pub line: Option<usize>,
    /// What is there and what would be right.
    pub message: String,
    /// A warning does not keep the agent from starting.
    pub warning: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(
            f,
            "{}{}: {}",
            if self.warning { "warning: " } else { "" },
            self.key,
            self.message
        )
    }
}
