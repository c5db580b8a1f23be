//! From files to a tar: every name is opened in a directory that is held open, and no link is
//! followed on the way.

use super::place::{Place, is_kernels, step};
use super::shown;
use super::trouble::{Report, Trouble};
use rkt_store::stream::{FileKind, Item, Writer};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Most files of a copy.
pub(super) const FILES: u64 = 1 << 20;
/// Deepest tree.
const DEPTH: usize = 256;
/// Permission bits that travel: setuid and setgid do not.
pub(super) const BITS: u32 = 0o1777;
const BUFFER: usize = 128 << 10;

/// How to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Send {
    /// Whether the top is followed when it is a link.
    pub(super) follow: bool,
    /// Most bytes of data.
    pub(super) most: u64,
}

/// Whether a path means what is in a directory: `/`, or one that ends in `/.`.
pub(super) fn is_content(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let name = path.components().next_back();
    bytes.ends_with(b"/.") || bytes == b"." || !matches!(name, Some(Component::Normal(_)))
}

impl Send {
    /// Sends what is at `path`, under its last name; without one for what is in a directory.
    pub(super) fn run(self, place: &Place, path: &Path, to: impl Write) -> Report {
        let mut walk = Walk {
            to: Writer::new(to),
            report: Report::default(),
            path: Vec::new(),
            files: 0,
            left: self.most,
            most: self.most,
        };
        let how = walk
            .top(place, path, self.follow)
            .map_err(|t| match t.doing.is_empty() {
                true => Trouble {
                    doing: format!("copy {}", shown(path)),
                    ..t
                },
                false => t,
            });
        let Walk { to, report, .. } = walk;
        // A tar that is cut short must not look whole.
        let how = how.and_then(|()| to.finish().map_err(echo));
        report.ended(how)
    }
}

/// The other half is gone.
fn echo(error: rkt_store::Error) -> Trouble {
    Trouble {
        echo: true,
        ..Trouble::new("send what is copied", error)
    }
}

/// A failure with the file that is at hand; its name comes on top.
fn at(because: impl ToString) -> Trouble {
    Trouble::new("", because)
}

struct Walk<W: Write> {
    to: Writer<W>,
    report: Report,
    path: Vec<Vec<u8>>,
    files: u64,
    left: u64,
    most: u64,
}

impl<W: Write> Walk<W> {
    fn top(&mut self, place: &Place, path: &Path, follow: bool) -> Result<(), Trouble> {
        if is_content(path) {
            let dir = place
                .open(path, OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(at)?;
            return self.directory(&dir, true);
        }
        let name = path.file_name().unwrap_or_default();
        self.path.push(name.as_bytes().to_vec());
        let slash = path.as_os_str().as_bytes().ends_with(b"/");
        if follow || slash {
            let found = place.open(path, OFlags::PATH).map_err(at)?;
            let stat = fstat(&found).map_err(at)?;
            return match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let dir = place.open(path, OFlags::RDONLY | OFlags::DIRECTORY);
                    self.directory(&dir.map_err(at)?, true)
                }
                _ if slash => Err(at(Errno::NOTDIR)),
                FileType::RegularFile => {
                    let file = place.open(path, OFlags::RDONLY | OFlags::NONBLOCK);
                    self.file(&file.map_err(at)?)
                }
                _ => Err(at("it is neither a file nor a directory")),
            };
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = place
            .open(parent, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(at)?;
        self.one(&parent, name, true)
    }

    fn shown(&self) -> String {
        shown(Path::new(OsStr::from_bytes(&self.path.join(&b'/'))))
    }

    /// Whatever has this name in a directory; `top` is not to be left out.
    fn one(&mut self, dir: &OwnedFd, name: &OsStr, top: bool) -> Result<(), Trouble> {
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone since its directory was read.
            Err(Errno::NOENT) if !top => return Ok(()),
            other => other.map_err(at)?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => match step(dir, name.as_bytes(), OFlags::RDONLY) {
                Ok(inner) => self.directory(&inner, top),
                Err(e) => self.changed(e, top),
            },
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
                let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match openat(dir, name, flags, Mode::empty()) {
                    Ok(file) => self.file(&file),
                    Err(e) => self.changed(e, top),
                }
            }
            FileType::Symlink => match readlinkat(dir, name, Vec::new()) {
                Ok(link) => {
                    let item = Item {
                        link: link.into_bytes(),
                        ..self.item(FileKind::Symlink, &stat)
                    };
                    self.head(&item)
                }
                Err(e) => self.changed(e, top),
            },
            _ if top => Err(at("it is neither a file, a directory nor a link")),
            _ => {
                let text = format!("{}: devices, sockets and FIFOs stay behind", self.shown());
                self.report.note(text);
                Ok(())
            }
        }
    }

    /// Something became another between two looks at it, or cannot be opened.
    fn changed(&mut self, errno: Errno, top: bool) -> Result<(), Trouble> {
        if top {
            return Err(at(errno));
        }
        if errno != Errno::NOENT {
            let text = format!("{}: {errno}", self.shown());
            self.report.note(text);
        }
        Ok(())
    }

    fn item(&self, kind: FileKind, stat: &Stat) -> Item {
        Item {
            kind,
            path: self.path.clone(),
            link: Vec::new(),
            mode: (stat.st_mode & BITS) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            size: 0,
            parts: Vec::new(),
        }
    }

    fn head(&mut self, item: &Item) -> Result<(), Trouble> {
        self.files += 1;
        if self.files > FILES {
            return Err(at(format!("there are more than {FILES} files")));
        }
        self.to.head(item).map_err(echo)
    }

    fn file(&mut self, file: &OwnedFd) -> Result<(), Trouble> {
        let stat = fstat(file).map_err(at)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let text = format!("{}: it became another file meanwhile", self.shown());
            self.report.note(text);
            return Ok(());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.left = self.left.checked_sub(size).ok_or_else(|| {
            at(format!("there are more than {} bytes", self.most))
                .hint("`--max-size=SIZE` allows more")
        })?;
        let item = Item {
            size,
            ..self.item(FileKind::File, &stat)
        };
        self.head(&item)?;
        let mut buffer = vec![0; BUFFER];
        let mut sent = 0;
        while sent < size {
            let n = rustix::io::retry_on_intr(|| rustix::io::read(file, &mut buffer));
            let n = n.map_err(at)?;
            if n == 0 {
                break;
            }
            self.to.data(buffer.get(..n).unwrap_or(&[])).map_err(echo)?;
            sent += n as u64;
        }
        if self.to.end_file().map_err(echo)? {
            let text = format!("{}: it became shorter meanwhile", self.shown());
            self.report.note(text);
        }
        Ok(())
    }

    fn directory(&mut self, dir: &OwnedFd, top: bool) -> Result<(), Trouble> {
        if is_kernels(dir) {
            let words = "it shows the kernel, and no files";
            if top {
                return Err(at(words));
            }
            let text = format!("{}: {words}", self.shown());
            self.report.note(text);
            return Ok(());
        }
        if self.path.len() > DEPTH {
            return Err(at(format!(
                "there are more than {DEPTH} directories in one another"
            )));
        }
        let stat = fstat(dir).map_err(at)?;
        let item = self.item(FileKind::Directory, &stat);
        self.head(&item)?;
        for name in self.names(dir)? {
            self.path.push(name);
            let name = self.path.last().cloned().unwrap_or_default();
            let sent = self.one(dir, OsStr::from_bytes(&name), false);
            let sent = sent.map_err(|t| match t.doing.is_empty() {
                true => Trouble {
                    doing: format!("copy {}", self.shown()),
                    ..t
                },
                false => t,
            });
            self.path.pop();
            sent?;
        }
        Ok(())
    }

    fn names(&self, dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Trouble> {
        let mut names = Vec::new();
        for entry in Dir::read_from(dir.as_fd()).map_err(at)? {
            let name = entry.map_err(at)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
            if names.len() as u64 + self.files > FILES {
                return Err(at(format!("there are more than {FILES} files")));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}
