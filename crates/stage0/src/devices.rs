//! `--device`: device nodes of the host, looked up once. What the app gets is a node of rkt's own
//! with the same number.
//!
//! The node belongs to nobody that the app can be, so its mode is what holds: the app's root has no
//! power over it, and can neither widen nor replace it (/dev is read-only).

use crate::error::{Doing, Error};
use rkt_spec::manifest::Isolator;
use rkt_spec::plan::Device;
use rustix::fs::{CWD, FileType, Mode, OFlags};

/// Names of /dev that are rkt's own.
const OWN: &[&str] = &[
    "null", "zero", "full", "random", "urandom", "tty", "pts", "ptmx", "shm", "mqueue", "fd",
    "stdin", "stdout", "stderr", "console",
];

/// Looks up the devices of an app.
///
/// # Errors
/// When one is not there, is no device, or carries a file system that is mounted.
pub(crate) fn look_up(isolators: &[Isolator]) -> Result<Vec<Device>, Error> {
    let mut all: Vec<Device> = Vec::new();
    for isolator in isolators {
        let Isolator::Device {
            source,
            target,
            access,
        } = isolator
        else {
            continue;
        };
        let device = one(source, target, access)
            .doing(|| format!("give the device `{}`", source.escape_debug()))?;
        if all.iter().any(|d| d.name == device.name) {
            return Err(Error::usage(format!(
                "the device `/dev/{}` is there twice",
                device.name
            )));
        }
        all.push(device);
    }
    Ok(all)
}

fn one(source: &str, target: &str, access: &str) -> Result<Device, Error> {
    let source = rkt_isolate::plan::clean_path(source)?;
    let target = rkt_isolate::plan::clean_path(target)?;
    let name = target.strip_prefix("/dev/").ok_or_else(|| {
        Error::usage(format!(
            "its place `{}` is not below /dev",
            target.escape_debug()
        ))
        .hint("--device=/dev/X:/dev/Y")
    })?;
    let first = name.split('/').next().unwrap_or(name);
    if OWN.contains(&first) || name.split('/').count() > 3 {
        return Err(Error::usage(format!(
            "`/dev/{first}` is a place of rkt's own, or too deep"
        )));
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = rustix::fs::openat(CWD, source, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&found)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let block = match kind {
        FileType::CharacterDevice => false,
        FileType::BlockDevice => true,
        _ => {
            return Err(
                Error::usage("it is no device").hint("`--volume` gives files and directories")
            );
        }
    };
    let (major, minor) = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    if let Some(why) = forbidden(block, major, minor) {
        return Err(Error::usage(why));
    }
    if block && let Some(place) = mounted(major, minor) {
        return Err(Error::usage(format!(
            "the file system on it is mounted on the host, at `{}`: who writes the device owns the host",
            place.escape_debug()
        ))
        .hint("unmount it first, or give what is on it by `--volume`"));
    }
    Ok(Device {
        name: name.to_owned(),
        block,
        major,
        minor,
        access: mode(access)?,
        source: source.to_owned(),
    })
}

/// Devices that are the host's memory, ports or consoles (`Documentation/admin-guide/devices.txt`).
fn forbidden(block: bool, major: u32, minor: u32) -> Option<&'static str> {
    match (block, major, minor) {
        (false, 1, 1 | 2 | 4) => Some("it is the host's memory or its I/O ports"),
        (false, 1, 11) => Some("it is the host's kernel log"),
        (false, 4 | 5, _) => {
            Some("it is a terminal of the host: an app gets one of its own with -it")
        }
        _ => None,
    }
}

fn mode(access: &str) -> Result<u32, Error> {
    let mut bits = 0;
    for letter in access.chars() {
        bits |= match letter {
            'r' => 4,
            'w' => 2,
            'm' => {
                return Err(Error::usage(
                    "`m` (mknod) cannot be given: the kernel makes no device nodes in a user namespace",
                )
                .hint("leave the `m` out: --device=/dev/X:/dev/Y:rw"));
            }
            _ => {
                return Err(Error::usage(format!(
                    "its access `{}` is not of r and w",
                    access.escape_debug()
                )));
            }
        };
    }
    match bits {
        0 => Err(Error::usage("its access is empty; it needs r, w or rw")),
        bits => Ok(bits),
    }
}

/// Where a file system of this device is mounted, seen from the caller and from the host's init.
fn mounted(major: u32, minor: u32) -> Option<String> {
    let number = format!("{major}:{minor}");
    for table in ["/proc/self/mountinfo", "/proc/1/mountinfo"] {
        let Ok(text) = std::fs::read_to_string(table) else {
            continue;
        };
        for line in text.lines() {
            let mut words = line.split(' ').skip(2);
            if words.next() == Some(&number) {
                return Some(words.nth(1).unwrap_or("?").to_owned());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(source: &str, target: &str, access: &str) -> Result<Device, Error> {
        let list = [Isolator::Device {
            source: source.into(),
            target: target.into(),
            access: access.into(),
        }];
        look_up(&list).map(|mut all| all.remove(0))
    }

    #[test]
    fn a_device_is_its_number_and_its_mode() {
        let d = device("/dev/null", "/dev/nothing/here", "r").unwrap();
        assert_eq!(
            (d.name.as_str(), d.block, d.major, d.minor),
            ("nothing/here", false, 1, 3)
        );
        assert_eq!(d.access, 4);
        assert_eq!(device("/dev/zero", "/dev/z", "rw").unwrap().access, 6);
    }

    #[test]
    fn what_is_none_or_the_hosts_own_is_refused() {
        for (source, target, access, word) in [
            ("/etc/hostname", "/dev/x", "rw", "no device"),
            ("/dev/no-such-device", "/dev/x", "rw", "No such file"),
            ("/dev/null", "/srv/x", "rw", "not below /dev"),
            ("/dev/null", "/dev/null", "rw", "rkt's own"),
            ("/dev/null", "/dev/pts/9", "rw", "rkt's own"),
            ("/dev/null", "/dev/../etc/x", "rw", "`..`"),
            ("/dev/null", "/dev/x", "rwm", "mknod"),
            ("/dev/null", "/dev/x", "", "empty"),
            ("/dev/null", "/dev/x", "q", "not of r and w"),
            ("/dev/tty", "/dev/x", "rw", "terminal"),
        ] {
            let error = device(source, target, access).unwrap_err().to_string();
            assert!(error.contains(word), "{source} {target}: {error}");
        }
        assert!(forbidden(false, 1, 1).is_some() && forbidden(false, 10, 232).is_none());
    }
}
