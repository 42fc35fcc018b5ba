//! The settings of glibc's allocator, which are read before `main` and only from the environment.
//!
//! With its defaults each thread has an arena of its own, and freed blocks of up to 32 MiB are kept: an
//! agent that drains a backlog then takes 61 MiB where 36 do (docs/decisions/0005-memory.md).

use std::io;

#[cfg(target_env = "gnu")]
const SETTINGS: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

/// Starts the program again in its place, with the same process id, unless the environment has settings
/// already (ours or the operator's). Returns only if there is nothing to do, or with the error.
#[cfg(target_env = "gnu")]
pub(crate) fn settle() -> io::Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::process::CommandExt;

    let set = |(name, _): (&str, _)| std::env::var_os(name).is_some();
    if SETTINGS.into_iter().any(set) {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    Err(std::process::Command::new(std::env::current_exe()?)
        .arg0(name.as_deref().unwrap_or(OsStr::new("tidegate")))
        .args(arguments)
        .envs(SETTINGS)
        .exec())
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn settle() -> io::Result<()> {
    Ok(())
}
