//! Showing only some paths of an App Container Image (appc's `pathWhitelist`).
//!
//! The tree is read whole and then names are taken out of it, so that a hard link keeps its
//! data when the name that brought them goes.

use super::form::Filter;
use super::tree::{Ino, Inode, NONE, Node, ROOT, Sealed};
use crate::error::{Error, Kind, Result};
use std::collections::{BTreeSet, HashSet};

/// Most names that whitelists may make us look up, all components counted.
const MAX_STEPS: u64 = 40_000_000;

/// Takes away what the filter does not show.
pub(crate) fn apply(tree: &mut Sealed, filter: &Filter) -> Result<()> {
    let files = Shown::find(tree, filter.files.as_deref())?;
    let directories = Shown::find(tree, filter.directories.as_deref())?;
    // Directories above something that stays: they stay too, whoever lists them.
    let mut needed = BTreeSet::new();
    let mut names = Vec::new();
    let mut todo = vec![ROOT];
    while let Some(dir) = todo.pop() {
        for index in tree.range(dir) {
            let Some(ino) = tree.name_at(index).map(|n| n.ino).filter(|i| *i != NONE) else {
                continue;
            };
            let is_directory = tree.inode(ino)?.is_directory();
            let shown = if is_directory {
                directories.has(index)
            } else {
                files.has(index)
            };
            if shown {
                let mut above = dir;
                while above != ROOT && needed.insert(above) {
                    above = parent(tree, above)?;
                }
            }
            names.push((index, ino, is_directory, shown));
            if is_directory {
                todo.push(ino);
            }
        }
    }
    for (index, ino, is_directory, shown) in names {
        if shown {
            continue;
        }
        if is_directory && needed.contains(&ino) {
            let inode = tree.inode_mut(ino)?;
            let plain = Inode::directory(ROOT, 0, 0);
            *inode = Inode {
                node: inode.node,
                ..plain
            };
        } else {
            tree.set_ino(index, NONE);
        }
    }
    Ok(())
}

fn parent(tree: &Sealed, dir: Ino) -> Result<Ino> {
    Ok(match tree.inode(dir)?.node {
        Node::Directory { parent, .. } => parent,
        _ => ROOT,
    })
}

/// The names of a tree that a list of paths means; `None` means all.
struct Shown(Option<HashSet<usize>>);

impl Shown {
    fn find(tree: &Sealed, list: Option<&[String]>) -> Result<Self> {
        let Some(list) = list else {
            return Ok(Self(None));
        };
        let mut found = HashSet::new();
        let mut steps = 0;
        'paths: for path in list {
            let mut dir = ROOT;
            let mut last = None;
            for part in path.split('/').filter(|p| !p.is_empty()) {
                steps += 1;
                if steps > MAX_STEPS {
                    return Err(Error::new(Kind::TooLarge, "the path whitelist is too long"));
                }
                let Some((index, ino)) = lookup(tree, dir, part.as_bytes()) else {
                    continue 'paths;
                };
                dir = ino;
                last = Some(index);
            }
            found.extend(last);
        }
        Ok(Self(Some(found)))
    }

    fn has(&self, index: usize) -> bool {
        self.0.as_ref().is_none_or(|found| found.contains(&index))
    }
}

/// The number of a name in a directory, and its inode. Names are in order.
fn lookup(tree: &Sealed, dir: Ino, name: &[u8]) -> Option<(usize, Ino)> {
    let mut range = tree.range(dir);
    while !range.is_empty() {
        let middle = range.start + range.len() / 2;
        let here = tree.name_at(middle)?;
        match tree.text(here).cmp(name) {
            std::cmp::Ordering::Less => range.start = middle + 1,
            std::cmp::Ordering::Greater => range.end = middle,
            std::cmp::Ordering::Equal => {
                return (here.ino != NONE).then_some((middle, here.ino));
            }
        }
    }
    None
}
