//! What happens inside the pinned namespace: mounting, cloning, listing, unmounting.

use super::Way;
use crate::error::{Doing, Error, Kind, Result};
use crate::layer::{ChainId, disk, info};
use rkt_spec::Digest;
use rkt_sys::loopdev;
use rkt_sys::mount::{self, Attr, Change, attr};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, UnmountFlags};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the clone of the store's mount is.
pub(super) const STORE: &str = "/store";
/// Where each layer is mounted, under the hex of its chain id.
pub(super) const LAYERS: &str = "/layers";

/// Places of the host that a namespace without them needs, opened before going there.
pub(super) struct Host {
    proc: OwnedFd,
    dev: Option<OwnedFd>,
}

impl Host {
    pub(super) fn open() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            proc: rustix::fs::open("/proc", flags, Mode::empty())?,
            dev: rustix::fs::open("/dev", flags, Mode::empty()).ok(),
        })
    }
}

pub(super) fn vanished() -> Error {
    Error::new(Kind::Busy, "a layer was unmounted while it was needed")
}

fn place(chain: &ChainId) -> PathBuf {
    Path::new(LAYERS).join(chain.digest().hex())
}

/// A clone of each layer's mount, `None` where it is not mounted.
pub(super) fn clones(chains: &[ChainId]) -> Result<Vec<Option<OwnedFd>>> {
    let bare = rustix::fs::stat(LAYERS)?.st_dev;
    let mut mounts = Vec::with_capacity(chains.len());
    for chain in chains {
        mounts.push(clone(chain, bare)?);
    }
    Ok(mounts)
}

fn clone(chain: &ChainId, bare: u64) -> Result<Option<OwnedFd>> {
    use rustix::mount::OpenTreeFlags as F;
    let flags = F::OPEN_TREE_CLONE | F::OPEN_TREE_CLOEXEC | F::AT_SYMLINK_NOFOLLOW;
    match rustix::mount::open_tree(rustix::fs::CWD, place(chain), flags) {
        // Without a mount it is a clone of our tmpfs.
        Ok(fd) if rustix::fs::fstat(&fd)?.st_dev == bare => Ok(None),
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(Error::from(e).while_doing(format!("clone the mount of chain `{chain}`"))),
    }
}

/// Mounts what is not mounted. Gives the chains that can only be had as directory trees, with
/// the reason.
pub(super) fn mount(host: &Host, way: Way, chains: &[ChainId]) -> Result<Vec<(ChainId, Error)>> {
    let bare = rustix::fs::stat(LAYERS)?.st_dev;
    let mut failed = Vec::new();
    for chain in chains {
        let doing = || format!("mount chain `{chain}`");
        if clone(chain, bare)?.is_some() {
            continue;
        }
        if way == Way::Directory {
            failed.push((
                chain.clone(),
                Error::new(Kind::Unsupported, "not asked for"),
            ));
            continue;
        }
        match erofs(host, way, chain) {
            Ok(fd) => attach(chain, &fd).doing(doing)?,
            Err(e) if way == Way::Best && e.kind() == Kind::Unsupported => {
                failed.push((chain.clone(), e));
            }
            Err(e) => return Err(e.while_doing(doing())),
        }
    }
    Ok(failed)
}

fn attach(chain: &ChainId, fd: &OwnedFd) -> Result<()> {
    let place = place(chain);
    match rustix::fs::mkdir(&place, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::open(&place, flags, Mode::empty())?;
    Ok(mount::attach(fd, place)?)
}

/// Opens a file of the store and checks that it is the one that was written.
fn checked(path: &Path, size: u64) -> Result<File> {
    let file = disk::open(path)?;
    let meta = file.metadata()?;
    let good = meta.is_file() && meta.uid() == 0 && meta.mode() & 0o022 == 0 && meta.len() == size;
    if good {
        Ok(file)
    } else {
        Err(Error::new(
            Kind::Corrupt,
            format!(
                "`{}` is not as it was written: size, owner or mode",
                path.display()
            ),
        )
        .hint("remove the image and fetch it again"))
    }
}

fn erofs(host: &Host, way: Way, chain: &ChainId) -> Result<OwnedFd> {
    let store = Path::new(STORE);
    let record = disk::chain_record(store, chain)?.ok_or_else(|| disk::no_chain(chain))?;
    let files = files(store, chain, &record)?;
    if way != Way::Loop {
        match mount_files(host, &files) {
            Err(e) if way == Way::Best && e.kind() == Kind::Unsupported => {}
            other => return other,
        }
    }
    let dev = host.dev.as_ref().ok_or_else(|| {
        Error::new(
            Kind::Unsupported,
            "there is no /dev to take loop devices from",
        )
    })?;
    let mut loops = Vec::new();
    for file in &files {
        let device = loopdev::make(dev.as_fd(), file.as_fd())
            .map_err(|e| Error::new(Kind::Unsupported, format!("make a loop device: {e}")))?;
        loops.push(File::from(device));
    }
    mount_files(host, &loops)
}

/// The index and the tars it names, in order.
fn files(store: &Path, chain: &ChainId, record: &info::Chain) -> Result<Vec<File>> {
    let index = disk::chain_dir(store, chain).join("index");
    let mut files = vec![checked(&index, record.index_bytes)?];
    for (diff, size) in record.devices.iter().zip(&record.sizes) {
        files.push(checked(&disk::layer_dir(store, diff).join("tar"), *size)?);
    }
    Ok(files)
}

/// Mounts an index and its tars, each named by its descriptor: what was checked is what is used.
fn mount_files(host: &Host, files: &[File]) -> Result<OwnedFd> {
    // Names are relative to the host's /proc; this namespace has none.
    rustix::process::fchdir(&host.proc)?;
    let fs = match rustix::mount::fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NODEV) => {
            return Err(Error::new(Kind::Unsupported, "this kernel has no EROFS"));
        }
        other => other?,
    };
    for (number, file) in files.iter().enumerate() {
        let key = if number == 0 { "source" } else { "device" };
        let name = format!("self/fd/{}", file.as_raw_fd());
        rustix::mount::fsconfig_set_string(&fs, key, name)?;
    }
    // A read-only loop device is refused to a mount that does not say so.
    rustix::mount::fsconfig_set_flag(&fs, "ro")?;
    match rustix::mount::fsconfig_create(&fs) {
        Err(e @ (Errno::NOTBLK | Errno::OPNOTSUPP | Errno::NOSYS)) => Err(Error::new(
            Kind::Unsupported,
            format!("this kernel mounts no EROFS from these files: {e}"),
        )),
        Err(e) => {
            let mut text = [0; 256];
            let n = rustix::io::read(&fs, &mut text).unwrap_or(0);
            let said = String::from_utf8_lossy(text.get(..n).unwrap_or(&[]))
                .trim()
                .to_owned();
            Err(Error::new(Kind::System, format!("mount EROFS: {e} {said}")))
        }
        Ok(()) => Ok(rustix::mount::fsmount(
            &fs,
            FsMountFlags::FSMOUNT_CLOEXEC,
            Attr::MOUNT_ATTR_RDONLY | Attr::MOUNT_ATTR_NODEV | Attr::MOUNT_ATTR_NOSUID,
        )?),
    }
}

/// Mounts a layer's directory tree, which was made before.
pub(super) fn bind_tree(chain: &ChainId) -> Result<()> {
    let doing = || format!("mount the tree of chain `{chain}`");
    let tree = disk::chain_dir(Path::new(STORE), chain).join("tree");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let tree = rustix::fs::open(&tree, flags, Mode::empty()).doing(doing)?;
    let tree = mount::clone_tree(tree, false).doing(doing)?;
    // The store's mount is noexec; programs of images are to run.
    let change = Change {
        set: attr::RDONLY | attr::NODEV | attr::NOSUID,
        clear: attr::NOEXEC,
        private: true,
        ..Change::default()
    };
    mount::set_attr(tree.as_fd(), &change).doing(doing)?;
    attach(chain, &tree).doing(doing)
}

/// The chains that are mounted, or were.
pub(super) fn list() -> Result<Vec<ChainId>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(LAYERS)? {
        let name = entry?.file_name();
        let digest = name
            .to_str()
            .map(|hex| Digest::new(&format!("sha256:{hex}")));
        if let Some(Ok(digest)) = digest {
            all.push(ChainId::from_digest(digest));
        }
    }
    Ok(all)
}

/// Unmounts those that nobody wants, and gives their number.
pub(super) fn unmount(chains: &[ChainId], keep: &dyn Fn(&Digest) -> bool) -> Result<usize> {
    let mut count = 0;
    for chain in chains.iter().filter(|c| !keep(c.digest())) {
        let place = place(chain);
        let doing = || format!("unmount chain `{chain}`");
        match rustix::mount::unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => count += 1,
            // A starter was killed between mkdir and mount.
            Err(Errno::INVAL | Errno::NOENT) => {}
            Err(e) => return Err(Error::from(e).while_doing(doing())),
        }
        match rustix::fs::rmdir(&place) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(Error::from(e).while_doing(doing())),
        }
    }
    Ok(count)
}
