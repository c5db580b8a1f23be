//! Sources of host volumes: opened once, here, by the path that the caller typed; from then on
//! only the descriptor counts.

use crate::error::{Doing, Error};
use crate::volumes::is_below;
use rkt_isolate::idmap::{Access, check_owner};
use rkt_spec::manifest::{PodManifest, Volume, VolumeKind, VolumeOwner};
use rkt_spec::plan::Owner;
use rustix::fs::{FileType, Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A host volume's source.
#[derive(Debug)]
pub struct Source {
    /// `O_PATH`.
    pub fd: OwnedFd,
    /// A directory, else a file or socket.
    pub directory: bool,
}

/// File systems that are the kernel's own face: writing to them is writing to the host.
const KERNEL: [&str; 14] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "securityfs",
    "bpf",
    "efivarfs",
    "configfs",
    "pstore",
    "binfmt_misc",
    "selinuxfs",
    "devtmpfs",
];

/// `/proc/self/mountinfo` is read up to this size, bytes.
const MAX_MOUNTINFO: u64 = 64 << 20;

/// Opens the source of every host volume; `None` for other kinds.
///
/// # Errors
/// When one is missing, of a kind that no app may have, or not safe to be written to.
pub fn open_all(manifest: &PodManifest) -> Result<Vec<Option<Source>>, Error> {
    let mut list = Vec::with_capacity(manifest.volumes.len());
    for volume in &manifest.volumes {
        list.push(match (&volume.source, volume.kind) {
            (Some(path), VolumeKind::Host) => {
                let access = access(manifest, volume);
                let source = open(volume, Path::new(path), access).doing(|| {
                    format!(
                        "open the source `{}` of volume `{}`",
                        path.escape_debug(),
                        volume.name
                    )
                })?;
                Some(source)
            }
            _ => None,
        });
    }
    Ok(list)
}

/// Whether some app may write to the volume.
pub fn access(manifest: &PodManifest, volume: &Volume) -> Access {
    let mut mounts = manifest
        .apps
        .iter()
        .flat_map(|app| &app.mounts)
        .filter(|mount| mount.volume == volume.name)
        .peekable();
    let only_read = mounts.peek().is_some() && mounts.all(|mount| mount.read_only);
    if volume.read_only || only_read {
        Access::Read
    } else {
        Access::Write
    }
}

/// The plan's word for the manifest's.
pub fn owner(owner: VolumeOwner) -> Owner {
    match owner {
        VolumeOwner::App => Owner::App,
        VolumeOwner::Host => Owner::Host,
        VolumeOwner::HostRoot => Owner::HostRoot,
    }
}

fn open(volume: &Volume, path: &Path, access: Access) -> Result<Source, Error> {
    if !path.is_absolute() {
        return Err(Error::usage("it is not absolute"));
    }
    let fd =
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
            let error = Error::from(errno);
            if errno == rustix::io::Errno::NOENT {
                error.hint("make it first; a new empty volume is `kind=empty`")
            } else {
                error
            }
        })?;
    let stat = rustix::fs::fstat(&fd)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let directory = match kind {
        FileType::Directory => true,
        FileType::RegularFile | FileType::Socket | FileType::Fifo => false,
        _ => {
            return Err(Error::new(
                "it is neither a directory nor a file, and volumes open no devices",
            )
            .hint(format!("`--device={}` gives a device", path.display())));
        }
    };
    check_owner(owner(volume.owner), stat.st_uid, access)?;
    if access == Access::Write {
        let real = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        refuse_kernel(fd.as_fd(), &real, directory && volume.recursive)?;
    }
    Ok(Source { fd, directory })
}

fn refuse_kernel(
    fd: std::os::fd::BorrowedFd<'_>,
    real: &Path,
    recursive: bool,
) -> Result<(), Error> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open("/proc/self/mountinfo")?
        .take(MAX_MOUNTINFO)
        .read_to_string(&mut text)?;
    let mut own = None;
    let device = rustix::fs::fstat(fd)?.st_dev;
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    for mount in text.lines().filter_map(Line::read) {
        if !KERNEL.contains(&mount.kind) {
            continue;
        }
        if mount.device == device {
            own = Some(mount.kind.to_owned());
        }
        let (place, tree) = (mount.place.to_string_lossy(), real.to_string_lossy());
        let tree = tree.trim_end_matches('/');
        if recursive && place != tree && is_below(&place, tree) {
            return Err(Error::new(format!(
                "`{place}` ({}) is mounted below it, and an app that writes there writes to the host's kernel",
                mount.kind
            ))
            .hint("leave out what is mounted below with `recursive=false`, or say `readOnly=true`"));
        }
    }
    match own {
        Some(kind) => Err(Error::new(format!(
            "it is in a file system of the kernel ({kind}), and an app that writes there writes to the host"
        ))
        .hint("say `readOnly=true`")),
        None => Ok(()),
    }
}

/// What counts of a line of `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`).
struct Line<'a> {
    device: &'a str,
    place: PathBuf,
    kind: &'a str,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut fields = head.split(' ');
        Some(Self {
            device: fields.nth(2)?,
            place: unescape(fields.nth(1)?),
            kind: tail.split(' ').next()?,
        })
    }
}

/// `\040` is a blank; the kernel escapes blank, tab, newline and backslash so.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        let digits: Option<[u8; 3]> = (b == b'\\')
            .then(|| bytes.clone().take(3).collect::<Vec<u8>>().try_into().ok())
            .flatten();
        let value = digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(&d).ok()?, 8).ok());
        match value {
            Some(value) => {
                out.push(value);
                bytes.nth(2);
            }
            None => out.push(b),
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkt_spec::VolumeName;

    fn volume(source: &Path) -> Volume {
        Volume {
            name: VolumeName::new("v").unwrap(),
            kind: VolumeKind::Host,
            source: Some(source.display().to_string()),
            read_only: false,
            recursive: true,
            mode: None,
            uid: 0,
            gid: 0,
            owner: VolumeOwner::Host,
            size: None,
        }
    }

    fn refused(path: &str, access: Access) -> String {
        let v = volume(Path::new(path));
        open(&v, Path::new(path), access).unwrap_err().to_string()
    }

    #[test]
    fn a_missing_source_and_a_device_are_refused() {
        assert!(refused("/no/such/place", Access::Read).contains("No such file"));
        assert!(refused("relative", Access::Read).contains("not absolute"));
        assert!(refused("/dev/null", Access::Read).contains("devices"));
    }

    #[test]
    fn nobody_writes_to_the_kernels_file_systems() {
        assert!(refused("/proc", Access::Write).contains("(proc)"));
        assert!(refused("/", Access::Write).contains("is mounted below it"));
        let mut v = volume(Path::new("/"));
        v.recursive = false;
        assert!(open(&v, Path::new("/"), Access::Write).unwrap().directory);
        assert!(open(&v, Path::new("/proc"), Access::Read).is_ok());
    }

    #[test]
    fn a_writable_source_of_root_needs_an_explicit_owner() {
        let mut v = volume(Path::new("/etc/passwd"));
        v.owner = VolumeOwner::App;
        let error = open(&v, Path::new("/etc/passwd"), Access::Write).unwrap_err();
        assert!(error.remedy().unwrap().contains("owner=host-root"));
        assert!(
            !open(&v, Path::new("/etc/passwd"), Access::Read)
                .unwrap()
                .directory
        );
    }

    #[test]
    fn mountinfo_lines_are_read_with_their_escapes() {
        let line = r"36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime master:1 - ext3 /dev/root rw";
        let line = Line::read(line).unwrap();
        assert_eq!(
            (line.device, line.kind, line.place.to_str().unwrap()),
            ("98:0", "ext3", r"/mnt 2\x")
        );
        assert!(Line::read("nonsense").is_none());
    }
}
