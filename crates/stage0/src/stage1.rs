//! The supervisor's program: part of rkt, unpacked once under the data directory by its digest,
//! so that all supervisors share its pages.

use crate::error::{Doing, Error};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// File name of the program.
const NAME: &str = "rkt-stage1";
/// Anybody may execute it, nobody may write it.
const MODE: u32 = 0o555;

/// The program as it was built in.
#[derive(Debug, Clone, Copy)]
pub struct Stage1 {
    /// All its bytes.
    pub bytes: &'static [u8],
    /// SHA-256 of them, 64 hex digits, made at build time.
    pub sha256: &'static str,
}

impl Stage1 {
    /// Path of the unpacked program; unpacks it when it is not there, or is not what was
    /// written there once.
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub fn unpacked(&self, data_dir: &Path) -> Result<PathBuf, Error> {
        let dir = data_dir.join("stage1").join(self.sha256);
        let path = dir.join(NAME);
        if self.is_at(&path) {
            return Ok(path);
        }
        self.unpack(&dir, &path)
            .doing(|| format!("unpack stage1 to `{}`", path.display()))?;
        Ok(path)
    }

    /// Owner, mode and size tell: the directory is root's only, and a crash can only cut a file.
    fn is_at(&self, path: &Path) -> bool {
        rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            u64::try_from(stat.st_size).is_ok_and(|size| size == self.bytes.len() as u64)
                && stat.st_uid == rustix::process::geteuid().as_raw()
                && stat.st_mode == rustix::fs::FileType::RegularFile.as_raw_mode() | MODE
        })
    }

    fn unpack(&self, dir: &Path, path: &Path) -> Result<(), Error> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let temporary = dir.join(format!("tmp-{}", std::process::id()));
        let done = self
            .write(&temporary)
            .and_then(|()| Ok(rustix::fs::rename(&temporary, path)?));
        if done.is_err() {
            // The error of the writing is the one to tell.
            let _ = std::fs::remove_file(&temporary);
        }
        done
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd: OwnedFd = rustix::fs::open(path, flags, Mode::RWXU)?;
        let mut rest = self.bytes;
        while !rest.is_empty() {
            let n = rustix::io::write(&fd, rest)?;
            rest = rest.get(n..).unwrap_or(&[]);
        }
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(MODE))?;
        // Once in the life of a version: a file cut by a power failure would stop every pod.
        rustix::fs::fsync(&fd)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_unpacked_once_and_again_when_it_was_cut() {
        let dir = std::env::temp_dir().join(format!("rkt-stage1-test-{}", std::process::id()));
        let stage1 = Stage1 {
            bytes: b"program",
            sha256: "abc",
        };
        let path = stage1.unpacked(&dir).unwrap();
        let first = std::fs::metadata(&path).unwrap();
        assert_eq!(first.permissions().mode() & 0o7777, 0o555);
        stage1.unpacked(&dir).unwrap();
        let again = std::fs::metadata(&path).unwrap();
        assert_eq!(first.modified().unwrap(), again.modified().unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"prog").unwrap();
        stage1.unpacked(&dir).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"program");
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
