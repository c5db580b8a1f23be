//! Why a program cannot be executed, found out by a process as confined as the app.
//!
//! The kernel answers one `ENOENT` for a missing program, a missing interpreter and a missing
//! loader. This reads the first bytes of the file and tells them apart. It runs in a child of
//! the launcher, behind the same walls as the app and without any capability, because the file
//! is the image's; the answer is one byte of cause and at most [`TEXT`] bytes of text.

use crate::start::Start;
use rkt_sys::cred;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::CStr;

/// What is the matter. The number is the wire form: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// Nothing wrong was found.
    Unknown = 0,
    /// No such file.
    Missing = 1,
    /// A directory, or another thing that is no file.
    NotAFile = 2,
    /// No execute permission for the app's user.
    NotExecutable = 3,
    /// The interpreter after `#!` is not in the image; text: its path.
    InterpreterMissing = 4,
    /// The `#!` line ends with a carriage return; text: the interpreter without it.
    WindowsLineEnds = 5,
    /// The ELF loader is not in the image; text: its path.
    LoaderMissing = 6,
    /// An ELF program for another machine; text: its name.
    OtherMachine = 7,
    /// Neither ELF nor `#!`.
    NoFormat = 8,
    /// The file is empty.
    Empty = 9,
}

impl Cause {
    fn from_byte(byte: u8) -> Self {
        [
            Self::Unknown,
            Self::Missing,
            Self::NotAFile,
            Self::NotExecutable,
            Self::InterpreterMissing,
            Self::WindowsLineEnds,
            Self::LoaderMissing,
            Self::OtherMachine,
            Self::NoFormat,
            Self::Empty,
        ]
        .get(usize::from(byte))
        .copied()
        .unwrap_or(Self::Unknown)
    }
}

/// Most bytes of text.
pub const TEXT: usize = 256;

/// Reads an answer: the cause and its text, escaped by whoever prints it.
pub fn parse(bytes: &[u8]) -> (Cause, String) {
    let Some((cause, text)) = bytes.split_first() else {
        return (Cause::Unknown, String::new());
    };
    let text = text.get(..text.len().min(TEXT)).unwrap_or(&[]);
    (
        Cause::from_byte(*cause),
        String::from_utf8_lossy(text).into_owned(),
    )
}

/// Examines the program of `start` and writes the answer to its report pipe. No allocation.
pub fn examine(start: &Start<'_>) {
    // The walls are those of the app; what it was granted is not needed to read a file.
    let dropped = cred::clear_ambient().and_then(|()| cred::capset(0, 0, 0));
    if dropped.is_err() || cred::no_new_privs().is_err() {
        return;
    }
    let mut out = [0u8; TEXT + 1];
    let (cause, length) = match diagnose(start, &mut out) {
        Some(found) => found,
        None => (Cause::Missing, 0),
    };
    if let Some(first) = out.first_mut() {
        *first = cause as u8;
    }
    let _ = rustix::io::write(start.report, out.get(..=length).unwrap_or(&[]));
}

fn open(path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    // A FIFO or device of the image must not hold us up; openat2 takes no such flags with O_PATH.
    let careful = if flags.contains(OFlags::PATH) {
        OFlags::empty()
    } else {
        OFlags::NONBLOCK | OFlags::NOCTTY
    };
    let flags = flags | OFlags::CLOEXEC | careful;
    rkt_sys::fd::open(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

fn diagnose(start: &Start<'_>, out: &mut [u8; TEXT + 1]) -> Option<(Cause, usize)> {
    if let Ok(cwd) = open(start.cwd, OFlags::PATH | OFlags::DIRECTORY) {
        rustix::process::fchdir(&cwd).ok()?;
    }
    for path in start.program.candidates() {
        match open(path, OFlags::PATH) {
            Ok(found) => return Some(look_at(path, &found, out)),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(_) => return Some((Cause::NotExecutable, 0)),
        }
    }
    None
}

fn look_at(path: &CStr, found: &OwnedFd, out: &mut [u8; TEXT + 1]) -> (Cause, usize) {
    let Ok(stat) = rustix::fs::fstat(found) else {
        return (Cause::Unknown, 0);
    };
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return (Cause::NotAFile, 0);
    }
    let executable = rustix::fs::accessat(
        CWD,
        path,
        rustix::fs::Access::EXEC_OK,
        rustix::fs::AtFlags::EACCESS,
    );
    if executable.is_err() {
        return (Cause::NotExecutable, 0);
    }
    let mut head = [0u8; 4096];
    let Ok(file) = open(path, OFlags::RDONLY) else {
        return (Cause::Unknown, 0);
    };
    let Ok(n) = rustix::io::read(&file, &mut head) else {
        return (Cause::Unknown, 0);
    };
    let head = head.get(..n).unwrap_or(&[]);
    if head.is_empty() {
        (Cause::Empty, 0)
    } else if let Some(line) = head.strip_prefix(b"#!") {
        script(line, out)
    } else if head.starts_with(b"\x7fELF") {
        elf(head, out)
    } else {
        (Cause::NoFormat, 0)
    }
}

fn say(text: &[u8], out: &mut [u8; TEXT + 1]) -> usize {
    let length = text.len().min(TEXT);
    for (to, from) in out.iter_mut().skip(1).zip(text) {
        *to = *from;
    }
    length
}

/// Whether a path of the image, given without its final NUL, can be found.
fn exists(path: &[u8]) -> bool {
    let mut buffer = [0u8; TEXT + 1];
    if path.len() > TEXT {
        return true;
    }
    for (to, from) in buffer.iter_mut().zip(path) {
        *to = *from;
    }
    match CStr::from_bytes_until_nul(&buffer) {
        Ok(path) => open(path, OFlags::PATH).is_ok(),
        Err(_) => true,
    }
}

fn script(line: &[u8], out: &mut [u8; TEXT + 1]) -> (Cause, usize) {
    let line = line.split(|b| *b == b'\n').next().unwrap_or(&[]);
    let windows = line.ends_with(b"\r");
    let word = line
        .trim_ascii()
        .split(|b| *b == b' ' || *b == b'\t')
        .next()
        .unwrap_or(&[]);
    if windows {
        return (Cause::WindowsLineEnds, say(word, out));
    }
    if word.is_empty() {
        return (Cause::NoFormat, 0);
    }
    if exists(word) {
        (Cause::Unknown, 0)
    } else {
        (Cause::InterpreterMissing, say(word, out))
    }
}

fn u16_at(head: &[u8], at: usize) -> Option<usize> {
    let bytes = head.get(at..)?.first_chunk::<2>()?;
    Some(usize::from(u16::from_le_bytes(*bytes)))
}

fn u64_at(head: &[u8], at: usize) -> Option<usize> {
    let bytes = head.get(at..)?.first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

#[cfg(target_arch = "x86_64")]
const MACHINE: usize = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: usize = 183;

fn machine_name(number: usize) -> &'static [u8] {
    match number {
        3 => b"i386",
        8 => b"mips",
        21 => b"ppc64",
        22 => b"s390x",
        40 => b"arm",
        62 => b"amd64 (x86_64)",
        183 => b"arm64 (aarch64)",
        243 => b"riscv64",
        _ => b"an unknown machine",
    }
}

/// Reads `e_machine` and the `PT_INTERP` segment (elf(5)); only what lies in the first 4 KiB.
fn elf(head: &[u8], out: &mut [u8; TEXT + 1]) -> (Cause, usize) {
    let Some(machine) = u16_at(head, 18) else {
        return (Cause::NoFormat, 0);
    };
    if machine != MACHINE {
        return (Cause::OtherMachine, say(machine_name(machine), out));
    }
    match interpreter(head) {
        Some(path) if !exists(path) => (Cause::LoaderMissing, say(path, out)),
        _ => (Cause::Unknown, 0),
    }
}

fn interpreter(head: &[u8]) -> Option<&[u8]> {
    const PT_INTERP: &[u8] = &[3, 0, 0, 0];
    let table = u64_at(head, 32)?;
    let (size, count) = (u16_at(head, 54)?, u16_at(head, 56)?);
    for n in 0..count.min(64) {
        let entry = head.get(table.checked_add(n.checked_mul(size)?)?..)?;
        if entry.starts_with(PT_INTERP) {
            let (offset, length) = (u64_at(entry, 8)?, u64_at(entry, 32)?);
            let text = head.get(offset..offset.checked_add(length)?)?;
            return text.split(|b| *b == 0).next();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_tells_its_interpreter() {
        let mut out = [0; TEXT + 1];
        let (cause, n) = script(b"/no/such/bash -e\nrest", &mut out);
        assert_eq!(
            (cause, &out[1..=n]),
            (Cause::InterpreterMissing, b"/no/such/bash".as_slice())
        );
        let (cause, n) = script(b"/bin/sh\r\n", &mut out);
        assert_eq!(
            (cause, &out[1..=n]),
            (Cause::WindowsLineEnds, b"/bin/sh".as_slice())
        );
        assert_eq!(script(b"\n", &mut out).0, Cause::NoFormat);
    }

    #[test]
    fn an_elf_file_tells_machine_and_loader() {
        let mut head = vec![0u8; 256];
        head[..4].copy_from_slice(b"\x7fELF");
        head[18] = 183;
        let mut out = [0; TEXT + 1];
        assert_eq!(elf(&head, &mut out).0, Cause::OtherMachine);
        head[18] = 62;
        head[32] = 64;
        head[54] = 56;
        head[56] = 1;
        head[64] = 3;
        head[64 + 8] = 200;
        head[64 + 32] = 10;
        head[200..210].copy_from_slice(b"/no/ld.so\0");
        let (cause, n) = elf(&head, &mut out);
        assert_eq!(
            (cause, &out[1..=n]),
            (Cause::LoaderMissing, b"/no/ld.so".as_slice())
        );
        assert_eq!(elf(&head[..20], &mut out).0, Cause::Unknown);
        head[32..40].copy_from_slice(&[0xff; 8]);
        assert_eq!(elf(&head, &mut out).0, Cause::Unknown);
    }

    #[test]
    fn answers_survive_the_wire() {
        assert_eq!(parse(&[6, b'/', b'x']), (Cause::LoaderMissing, "/x".into()));
        assert_eq!(parse(&[99]), (Cause::Unknown, String::new()));
        assert_eq!(parse(&[]).0, Cause::Unknown);
    }
}
