//! fs-verity: a file that the kernel checks against its own hash tree at each read from the disk.

use crate::fd::check;
use rustix::fd::{AsFd, AsRawFd};
use std::io;

/// `_IOW('f', 133, struct fsverity_enable_arg)`.
const ENABLE: libc::Ioctl = 0x4080_6685_u32 as libc::Ioctl;
const SHA256: u32 = 1;
const BLOCK: u32 = 4096;

/// `struct fsverity_enable_arg`: no salt, no signature.
#[repr(C)]
struct Enable {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved1: u32,
    signature: u64,
    reserved2: [u64; 11],
}

/// Has the kernel hash a file and from then on check what it reads of it; nobody can write to it
/// any more, but it can be renamed and removed (`FS_IOC_ENABLE_VERITY`, Linux 5.4). The caller
/// owns the file, and nobody has it open for writing. Reads all of it once.
///
/// # Errors
/// `EEXIST` when it is so already; `ENOTTY`, `EOPNOTSUPP` where kernel or file system have it off;
/// `ETXTBSY` when somebody could write; `EPERM` when it is immutable.
pub fn enable(file: impl AsFd) -> io::Result<()> {
    let argument = Enable {
        version: 1,
        hash_algorithm: SHA256,
        block_size: BLOCK,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved1: 0,
        signature: 0,
        reserved2: [0; 11],
    };
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one `fsverity_enable_arg` from a value of exactly that layout, which
    // lives through the call; its two pointers are null with sizes of zero.
    check(i64::from(unsafe {
        libc::ioctl(fd, ENABLE, &raw const argument)
    }))
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_is_as_large_as_its_number_says() {
        assert_eq!(size_of::<Enable>(), 0x80);
    }

    #[test]
    fn a_file_that_is_open_for_writing_is_refused() {
        let path = std::env::temp_dir().join(format!("rkt-verity-{}", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        let error = enable(&file).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        let known = [
            libc::EBADF,
            libc::ETXTBSY,
            libc::ENOTTY,
            libc::EOPNOTSUPP,
            libc::EINVAL,
        ];
        assert!(known.contains(&error.raw_os_error().unwrap()), "{error}");
    }
}
