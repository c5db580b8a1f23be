//! From a tar to files: each is made under a new name in a directory that is held open, given its
//! owner and bits, and then renamed into place. No link is followed below the target.

use super::place::{Place, is_kernels, step};
use super::send::{BITS, FILES};
use super::shown;
use super::trouble::{Report, Trouble};
use rkt_store::stream::{FileKind, Item, Reader};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    futimens, linkat, mkdirat, openat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const BUFFER: usize = 128 << 10;
const FOUND: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// How to receive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receive {
    /// Whether it is somebody's own tar: then the target is a directory that is there.
    pub(super) stream: bool,
    /// Whether owners are the tar's.
    pub(super) keep_ids: bool,
    /// Most bytes of data.
    pub(super) most: u64,
}

impl Receive {
    /// Makes of the tar what belongs at `path`.
    pub(super) fn run(self, place: &Place, path: &Path, from: impl Read) -> Report {
        let mut make = Make {
            how: self,
            report: Report::default(),
            left: self.most,
            count: 0,
        };
        let how = make
            .all(place, path, from)
            .map_err(|t| match t.doing.is_empty() {
                true => Trouble {
                    doing: format!("write {}", shown(path)),
                    ..t
                },
                false => t,
            });
        make.report.ended(how)
    }
}

fn at(because: impl ToString) -> Trouble {
    Trouble::new("", because)
}

/// Where the files go: below a directory, perhaps under another first name.
struct Target {
    dir: OwnedFd,
    first: Option<Vec<u8>>,
}

impl Target {
    /// Decided by what comes first and what is there, as cp does it.
    fn choose(place: &Place, path: &Path, item: &Item, stream: bool) -> Result<Self, Trouble> {
        let slash = path.as_os_str().as_bytes().ends_with(b"/");
        let whole = |dir| Self { dir, first: None };
        let found = match place.open(path, FOUND) {
            Ok(dir) if is_kernels(&dir) => return Err(at("it shows the kernel, and no files")),
            Ok(dir) => return Ok(whole(dir)),
            Err(e @ (Errno::NOENT | Errno::NOTDIR)) => e,
            Err(e) => return Err(at(e)),
        };
        if stream {
            return Err(at(found).hint("a tar goes to a directory that is there"));
        }
        let directory = item.kind == FileKind::Directory;
        if found == Errno::NOTDIR && directory || !directory && slash {
            return Err(at(found));
        }
        let name = path.file_name().ok_or_else(|| at(found))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = place.open(parent, FOUND).map_err(at)?;
        if is_kernels(&parent) {
            return Err(at("it shows the kernel, and no files"));
        }
        if !item.path.is_empty() {
            return Ok(Self {
                dir: parent,
                first: Some(name.as_bytes().to_vec()),
            });
        }
        // The content of a directory, for one that is not there yet.
        mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(at)?;
        Ok(whole(
            step(&parent, name.as_bytes(), OFlags::PATH).map_err(at)?,
        ))
    }

    fn names(&self, item: &Item) -> Vec<Vec<u8>> {
        let mut path = item.path.clone();
        if let (Some(name), Some(first)) = (&self.first, path.first_mut()) {
            first.clone_from(name);
        }
        path
    }
}

struct Make {
    how: Receive,
    report: Report,
    left: u64,
    /// For names that nobody has.
    count: u64,
}

impl Make {
    fn all(&mut self, place: &Place, path: &Path, from: impl Read) -> Result<(), Trouble> {
        let mut reader = Reader::new(from, FILES);
        let mut target = None;
        while let Some(item) = reader.next_item().map_err(unread)? {
            let target = match &mut target {
                Some(target) => target,
                none => none.insert(Target::choose(place, path, &item, self.how.stream)?),
            };
            let made = self.one(target, &item, &mut reader);
            made.map_err(|t| match t.doing.is_empty() {
                true => Trouble {
                    doing: format!("write `{}`", item.shown()),
                    ..t
                },
                false => t,
            })?;
        }
        match target {
            None if !self.how.stream => Err(Trouble {
                echo: true,
                ..at("nothing came")
            }),
            _ => Ok(()),
        }
    }

    fn one(
        &mut self,
        target: &Target,
        item: &Item,
        reader: &mut Reader<impl Read>,
    ) -> Result<(), Trouble> {
        let names = target.names(item);
        let Some((name, parents)) = names.split_last() else {
            return Ok(());
        };
        let dir = parent(&target.dir, parents)?;
        let dir = dir.as_ref().unwrap_or(&target.dir);
        match item.kind {
            FileKind::Directory => self.directory(dir, name, item),
            FileKind::File => self.file(dir, name, item, reader),
            FileKind::Symlink => self.renamed(
                dir,
                name,
                |dir, new| {
                    symlinkat(item.link.as_slice(), dir, new)?;
                    Ok(())
                },
                item,
            ),
            FileKind::Link => self.link(target, dir, name, item),
            FileKind::Special => {
                let text = format!("`{}`: devices and FIFOs stay behind", item.shown());
                self.report.note(text);
                Ok(())
            }
        }
    }

    fn new_name(&mut self) -> String {
        self.count += 1;
        format!(".rkt-cp-{}-{}", std::process::id(), self.count)
    }

    fn directory(&self, dir: &OwnedFd, name: &[u8], item: &Item) -> Result<(), Trouble> {
        let mode = Mode::from_raw_mode(u32::from(item.mode) & BITS);
        match mkdirat(dir, name, Mode::RWXU) {
            Ok(()) => {}
            // One that is there stays as it is.
            Err(Errno::EXIST) if step(dir, name, OFlags::PATH).is_ok() => return Ok(()),
            Err(e) => return Err(at(e)),
        }
        let made = step(dir, name, OFlags::RDONLY).map_err(at)?;
        if let Some((uid, gid)) = self.owner(item) {
            fchown(&made, Some(uid), Some(gid)).map_err(unowned)?;
        }
        fchmod(&made, mode).map_err(at)
    }

    fn owner(&self, item: &Item) -> Option<(Uid, Gid)> {
        let ids = (Uid::from_raw(item.uid), Gid::from_raw(item.gid));
        self.how.keep_ids.then_some(ids)
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        item: &Item,
        reader: &mut Reader<impl Read>,
    ) -> Result<(), Trouble> {
        let new = self.new_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = openat(dir, &new, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(at)?;
        let made = self
            .fill(&file, item, reader)
            .and_then(|()| renameat(dir, &new, dir, name).map_err(in_the_way));
        if made.is_err() {
            let _ = unlinkat(dir, &new, AtFlags::empty());
        }
        made
    }

    fn fill(
        &mut self,
        file: &OwnedFd,
        item: &Item,
        reader: &mut Reader<impl Read>,
    ) -> Result<(), Trouble> {
        let mut buffer = vec![0; BUFFER];
        for (offset, length) in &item.parts {
            let (mut to, end) = (*offset, offset + length);
            while to < end {
                let most = usize::try_from(end - to).map_or(BUFFER, |n| n.min(BUFFER));
                let part = buffer.get_mut(..most).unwrap_or_default();
                let n = reader.data(part).map_err(unread)?;
                if n == 0 {
                    return Err(at("the tar ends in the middle of a file"));
                }
                self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
                    at(format!("there are more than {} bytes", self.how.most))
                        .hint("`--max-size=SIZE` allows more")
                })?;
                let mut rest = part.get(..n).unwrap_or(&[]);
                while !rest.is_empty() {
                    let n = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, rest, to));
                    let n = n.map_err(at)?;
                    rest = rest.get(n..).unwrap_or(&[]);
                    to += n as u64;
                }
            }
        }
        rustix::fs::ftruncate(file, item.size).map_err(at)?;
        if let Some((uid, gid)) = self.owner(item) {
            fchown(file, Some(uid), Some(gid)).map_err(unowned)?;
        }
        fchmod(file, Mode::from_raw_mode(u32::from(item.mode) & BITS)).map_err(at)?;
        let time = Timespec {
            tv_sec: item.mtime,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        futimens(file, &times).map_err(at)
    }

    /// Makes something under a new name and renames it into place.
    fn renamed(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        make: impl FnOnce(&OwnedFd, &str) -> Result<(), Errno>,
        item: &Item,
    ) -> Result<(), Trouble> {
        let new = self.new_name();
        make(dir, &new).map_err(at)?;
        let owned = match self.owner(item) {
            Some((uid, gid)) if item.kind == FileKind::Symlink => {
                chownat(dir, &new, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(unowned)
            }
            _ => Ok(()),
        };
        let made = owned.and_then(|()| renameat(dir, &new, dir, name).map_err(in_the_way));
        // Also when both names were one file already, which rename leaves as they are.
        let _ = unlinkat(dir, &new, AtFlags::empty());
        made
    }

    /// One more name of a file that came before.
    fn link(
        &mut self,
        target: &Target,
        dir: &OwnedFd,
        name: &[u8],
        item: &Item,
    ) -> Result<(), Trouble> {
        let parts = item
            .link
            .split(|b| *b == b'/')
            .filter(|p| !p.is_empty() && *p != b".");
        let parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
        let (old, parents) = parts.split_last().ok_or_else(|| at(Errno::INVAL))?;
        if parts.iter().any(|p| p == b"..") {
            return Err(at("its target leads out of the tar"));
        }
        let from = parent_there(&target.dir, parents)?;
        let from = from.as_ref().unwrap_or(&target.dir);
        let stat = statat(from, old.as_slice(), AtFlags::SYMLINK_NOFOLLOW).map_err(at)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(at("its target is no file"));
        }
        self.renamed(
            dir,
            name,
            |dir, new| linkat(from, old.as_slice(), dir, new, AtFlags::empty()),
            item,
        )
    }
}

fn unread(error: rkt_store::Error) -> Trouble {
    Trouble {
        echo: error.kind() != rkt_store::Kind::TooLarge,
        ..Trouble::new("read what is copied", error)
    }
}

fn unowned(errno: Errno) -> Trouble {
    let trouble = at(errno);
    match errno {
        Errno::INVAL | Errno::OVERFLOW => {
            trouble.hint("leave `--archive` out: it has an owner that the app cannot have")
        }
        _ => trouble,
    }
}

fn in_the_way(errno: Errno) -> Trouble {
    match errno {
        Errno::BUSY => at("a mount lies there").hint("write to the volume's source instead"),
        Errno::ISDIR => at("a directory is there"),
        other => at(other),
    }
}

/// The directory that these names lead to, made where it is missing; `None` for no names.
fn parent(top: &OwnedFd, names: &[Vec<u8>]) -> Result<Option<OwnedFd>, Trouble> {
    walk(top, names, |dir, name| {
        match mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => step(dir, name, OFlags::PATH),
            Err(e) => Err(e),
        }
    })
}

/// As [`parent`], where nothing may be missing.
fn parent_there(top: &OwnedFd, names: &[Vec<u8>]) -> Result<Option<OwnedFd>, Trouble> {
    walk(top, names, |_, _| Err(Errno::NOENT))
}

fn walk(
    top: &OwnedFd,
    names: &[Vec<u8>],
    missing: impl Fn(&OwnedFd, &[u8]) -> Result<OwnedFd, Errno>,
) -> Result<Option<OwnedFd>, Trouble> {
    let mut found: Option<OwnedFd> = None;
    for name in names {
        let dir = found.as_ref().unwrap_or(top);
        let next = match step(dir, name, OFlags::PATH) {
            Err(Errno::NOENT) => missing(dir, name),
            other => other,
        };
        found = Some(next.map_err(|e| {
            let name = shown(Path::new(OsStr::from_bytes(name)));
            at(format!("{name} on the way: {e}"))
        })?);
    }
    Ok(found)
}
