//! Where a verb writes for the user: beside the wanted name first, then renamed.

use crate::failure::Failure;
use rustix::fs::{CWD, RenameFlags};
use std::io;
use std::path::{Path, PathBuf};

/// A hidden name in the same directory that nobody has.
pub(super) fn beside(wanted: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = wanted.file_name() else {
        return Err(Failure::usage(format!(
            "`{}` is no name for a new file or directory",
            wanted.display()
        )));
    };
    let mut random = [0; 6];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Failure::usage("make a name").because(e.to_string()))?;
    let mut hidden = std::ffi::OsString::from(".");
    // A name of 255 bytes has no room for more.
    let short = name.to_string_lossy().chars().take(40).collect::<String>();
    hidden.push(format!("{short}.rkt-{}", rkt_spec::digest::hex(&random)));
    Ok(wanted.with_file_name(hidden))
}

/// Renames to a name that nothing has.
///
/// # Errors
/// `AlreadyExists` when something came there meanwhile.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(
        CWD,
        from,
        CWD,
        to,
        RenameFlags::NOREPLACE,
    )?)
}

/// Swaps two names in one step.
pub(super) fn exchange(one: &Path, two: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(
        CWD,
        one,
        CWD,
        two,
        RenameFlags::EXCHANGE,
    )?)
}
