//! The last look at a tree: what it takes away, and what its unnamed parents are like.

use super::below::{Below, Dirs, Found};
use super::tree::{Ino, Inode, NONE, ROOT, Sealed, Tree};
use crate::error::Result;

/// Whether a directory that can be reached has no entry of its own; the root does not count.
pub(crate) fn has_implicit(tree: &Sealed) -> Result<bool> {
    let mut todo = vec![ROOT];
    while let Some(dir) = todo.pop() {
        for (_, ino) in tree.children(dir) {
            let inode = tree.inode(ino)?;
            if inode.is_directory() {
                if !inode.explicit {
                    return Ok(true);
                }
                todo.push(ino);
            }
        }
    }
    Ok(false)
}

/// Turns "hide everything below the root" into one whiteout a name: overlayfs looks at no mark on
/// the root of a layer.
pub(crate) fn spell_out_opaque_root(tree: &mut Tree, below: &Below) -> Result<()> {
    if !std::mem::take(&mut tree.inode_mut(ROOT)?.opaque) {
        return Ok(());
    }
    for (name, _) in below.list(&below.root()?)? {
        tree.whiteout(ROOT, &name)?;
    }
    Ok(())
}

/// Makes the tree say what it means on these lower layers: whiteouts only where there is
/// something to take away, marks of opaqueness only on what would be merged, and directories
/// without an entry as the lower layers have them.
pub(crate) fn settle(tree: &mut Sealed, below: &Below) -> Result<()> {
    let mut gone: Option<Ino> = None;
    let root = below.root()?;
    let like = root.first().map(|(layer, inode)| Found {
        layer: *layer,
        inode: *inode,
        dirs: Dirs::new(),
    });
    let mut todo: Vec<(Ino, Option<Found>, Dirs)> = vec![(ROOT, like, root)];
    while let Some((dir, like, lower)) = todo.pop() {
        if let Some(like) = like
            && !tree.inode(dir)?.explicit
        {
            let area = below.index(like.layer)?.xattrs(&like.inode)?;
            let xattrs = tree.keep_xattrs(&area)?;
            let inode = tree.inode_mut(dir)?;
            *inode = Inode {
                mtime: like.inode.mtime,
                nsec: like.inode.nsec,
                uid: like.inode.uid,
                gid: like.inode.gid,
                mode: like.inode.mode & 0o7777,
                xattrs,
                ..*inode
            };
        }
        for index in tree.range(dir) {
            let Some(name) = tree.name_at(index).copied() else {
                continue;
            };
            let is_directory = name.ino != NONE && tree.inode(name.ino)?.is_directory();
            if !is_directory && !name.whiteout {
                continue;
            }
            let found = if lower.is_empty() {
                None
            } else {
                below.lookup(&lower, tree.text(&name))?
            };
            if name.ino == NONE {
                let ino = match (found, gone) {
                    (None, _) => NONE,
                    (Some(_), Some(gone)) => gone,
                    (Some(_), None) => *gone.insert(tree.add(Inode::gone())?),
                };
                tree.set_ino(index, ino);
            } else if is_directory {
                let found = found.filter(|f| f.inode.is_directory());
                let inode = tree.inode_mut(name.ino)?;
                let hides = inode.opaque || name.whiteout;
                inode.opaque = hides && found.is_some();
                let dirs = match &found {
                    Some(found) if !hides => found.dirs.clone(),
                    _ => Dirs::new(),
                };
                let like = found.filter(|_| !name.whiteout);
                todo.push((name.ino, like, dirs));
            }
        }
    }
    Ok(())
}
