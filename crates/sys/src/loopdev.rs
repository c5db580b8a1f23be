//! Loop devices: a file as a block device, read-only, gone with its last user.

use crate::fd::check;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::io;

const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a as libc::Ioctl;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82 as libc::Ioctl;
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// Makes a free loop device of a file, with blocks of 512 bytes; `dev` is the host's `/dev`.
///
/// The device is freed by itself when the last user (a mount, or the descriptor given back) is
/// gone. Needs CAP_SYS_ADMIN; Linux 5.8.
///
/// # Errors
/// `ENOENT` without loop devices, `ENOSPC`/`ENODEV` when there is no more, `EINVAL` before 5.8.
pub fn make(dev: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let control = rustix::fs::openat(dev, c"loop-control", flags, Mode::empty())?;
    // Between "free" and "mine" another process may be faster.
    for _ in 0..64 {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument.
        let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) }.into())?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let device = rustix::fs::openat(dev, format!("loop{number}"), flags, Mode::empty())?;
        let config = Config {
            fd: file.as_raw_fd().cast_unsigned(),
            block_size: 512,
            info: Info {
                device: 0,
                inode: 0,
                rdevice: 0,
                offset: 0,
                size_limit: 0,
                number: 0,
                encrypt_type: 0,
                encrypt_key_size: 0,
                flags: READ_ONLY | AUTOCLEAR,
                file_name: [0; 64],
                crypt_name: [0; 64],
                encrypt_key: [0; 32],
                init: [0; 2],
            },
            reserved: [0; 8],
        };
        // SAFETY: `config` is laid out as the kernel's struct loop_config and lives across the
        // call, which only reads it.
        let done = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
        match check(done.into()) {
            Ok(_) => return Ok(device),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}
