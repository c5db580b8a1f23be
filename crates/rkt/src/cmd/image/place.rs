//! Where a verb writes for the user: beside the wanted name first, then renamed.

use crate::failure::Failure;
use rustix::fs::{CWD, RenameFlags};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file to be made.
#[derive(Debug, Clone, Copy)]
pub(in crate::cmd) struct Target<'a> {
    pub(in crate::cmd) file: &'a Path,
    /// Whether a file that is there is replaced.
    pub(in crate::cmd) overwrite: bool,
}

impl Target<'_> {
    fn failed(&self, error: &io::Error) -> Failure {
        Failure::usage(format!("write `{}`", self.file.display())).because(error.to_string())
    }

    /// Refuses a name that something has already.
    pub(in crate::cmd) fn check(&self) -> Result<(), Failure> {
        if self.overwrite || self.file.symlink_metadata().is_err() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "output file `{}` exists (try --overwrite)",
            self.file.display()
        )))
    }

    /// Has `fill` write beside it, then renames: a file of that name is whole or not there.
    pub(in crate::cmd) fn write<T>(
        &self,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.check()?;
        let beside = beside(self.file)?;
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&beside)
            .map_err(|e| self.failed(&e))?;
        let remove = Unfinished(beside.clone());
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let done = fill(&mut out)?;
        out.flush().map_err(|e| self.failed(&e))?;
        match self.overwrite {
            true => std::fs::rename(&beside, self.file),
            false => rename_new(&beside, self.file),
        }
        .map_err(|e| self.failed(&e))?;
        drop(remove);
        Ok(done)
    }
}

/// Removes the file when writing has failed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is none, and that is silent.
        let _ = std::fs::remove_file(&self.0);
    }
}

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
