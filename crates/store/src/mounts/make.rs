//! A layer as a directory tree in the store, for hosts that mount no EROFS.

use crate::directory;
use crate::error::{Doing, Result};
use crate::layer::{ChainId, disk};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use std::path::Path;

/// Makes `chains/sha256/CHAIN/tree` if it is not there, with overlayfs's marks in it.
pub(super) fn tree(store: &Path, chain: &ChainId) -> Result<()> {
    let target = disk::chain_dir(store, chain).join("tree");
    if std::fs::symlink_metadata(&target).is_ok() {
        return Ok(());
    }
    let doing = || format!("write chain `{chain}` as a directory tree");
    let growing = disk::Growing::new(store, "tree")?;
    // The directory itself gets the root's mode, and 0700 of the store is what protects it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(growing.path(), flags, Mode::empty())?;
    directory::render_layer(store, chain, dir.as_fd()).doing(doing)?;
    // Nothing looks at it again once it is there. One sync of all costs less than one a file.
    rustix::fs::syncfs(&dir).doing(doing)?;
    growing.publish(&target).doing(doing)
}
