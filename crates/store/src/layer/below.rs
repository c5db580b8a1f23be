//! The layers of a chain seen as one: what overlayfs would show of them, by their indexes.

use crate::erofs::{Index, Inode};
use crate::error::{Error, Kind, Result};
use std::cell::Cell;

/// Most symlinks on the way of one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Layers, topmost first.
#[derive(Debug)]
pub(crate) struct Below {
    layers: Vec<Index>,
    /// Lookups that are still allowed: hostile stacks of deep trees could ask for billions.
    fuel: Cell<u64>,
}

impl Default for Below {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            fuel: Cell::new(u64::MAX),
        }
    }
}

/// The directories of several layers that make one merged directory, topmost first.
pub(crate) type Dirs = Vec<(u16, Inode)>;

/// Something found by name.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Number of the layer, 0 the topmost.
    pub(crate) layer: u16,
    pub(crate) inode: Inode,
    /// All parts of a merged directory; empty for anything else.
    pub(crate) dirs: Dirs,
}

impl Below {
    /// Allows this many lookups from now on.
    pub(crate) fn refuel(&self, lookups: u64) {
        self.fuel.set(lookups);
    }

    /// Puts one more layer on top.
    pub(crate) fn push(&mut self, index: Index) {
        self.layers.insert(0, index);
    }

    pub(crate) fn index(&self, layer: u16) -> Result<&Index> {
        self.layers
            .get(usize::from(layer))
            .ok_or_else(|| Error::new(Kind::System, "a layer of the chain is missing"))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The merged root; nothing when there are no layers.
    pub(crate) fn root(&self) -> Result<Dirs> {
        let mut dirs = Dirs::new();
        for (layer, index) in (0u16..).zip(&self.layers) {
            let root = index.root()?;
            dirs.push((layer, root));
            if index.is_opaque(&root)? {
                break;
            }
        }
        Ok(dirs)
    }

    /// What a name in a merged directory shows.
    pub(crate) fn lookup(&self, dirs: &Dirs, name: &[u8]) -> Result<Option<Found>> {
        let mut found: Option<Found> = None;
        for (layer, dir) in dirs {
            let index = self.index(*layer)?;
            let left = self.fuel.get().checked_sub(1).ok_or_else(|| {
                Error::new(Kind::TooLarge, "the layers are too entangled to be merged")
            })?;
            self.fuel.set(left);
            let Some(inode) = index.lookup(dir, name)? else {
                continue;
            };
            if inode.is_whiteout() {
                break;
            }
            let is_directory = inode.is_directory();
            match &mut found {
                None => {
                    found = Some(Found {
                        layer: *layer,
                        inode,
                        dirs: if is_directory {
                            vec![(*layer, inode)]
                        } else {
                            Vec::new()
                        },
                    });
                }
                // A directory ends at the first other thing below it.
                Some(found) if is_directory => found.dirs.push((*layer, inode)),
                Some(_) => break,
            }
            if !is_directory || index.is_opaque(&inode)? {
                break;
            }
        }
        Ok(found)
    }

    /// Walks a path of plain names, following nothing.
    pub(crate) fn walk(&self, path: &[Vec<u8>]) -> Result<Option<Found>> {
        let mut dirs = self.root()?;
        let mut found = match dirs.first() {
            Some((layer, inode)) => Found {
                layer: *layer,
                inode: *inode,
                dirs: dirs.clone(),
            },
            None => return Ok(None),
        };
        for name in path {
            match self.lookup(&dirs, name)? {
                Some(next) => found = next,
                None => return Ok(None),
            }
            dirs.clone_from(&found.dirs);
        }
        Ok(Some(found))
    }

    /// Finds a file by a path inside the root, following symlinks inside the root. A path that
    /// takes more than a thousand steps leads to nothing.
    pub(crate) fn resolve(&self, path: &[&[u8]]) -> Result<Option<Found>> {
        let mut todo: Vec<Vec<u8>> = path.iter().rev().map(|p| p.to_vec()).collect();
        let Some(root) = self.walk(&[])? else {
            return Ok(None);
        };
        let mut here = vec![root];
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = todo.pop() {
            steps += 1;
            if name == b".." {
                here.truncate(here.len().saturating_sub(1).max(1));
                continue;
            }
            let found = match here.last() {
                Some(dir) => self.lookup(&dir.dirs, &name)?,
                None => None,
            };
            let Some(found) = found else {
                return Ok(None);
            };
            if found.inode.kind() != crate::erofs::kind::SYMLINK {
                here.push(found);
                continue;
            }
            links += 1;
            let target = self.index(found.layer)?.target(&found.inode)?;
            if target.starts_with(b"/") {
                here.truncate(1);
            }
            todo.extend(target_parts(&target));
            if links > MAX_LINKS || steps + todo.len() > 1000 {
                return Ok(None);
            }
        }
        Ok(here.pop())
    }

    /// The names of a merged directory with what they show, in order.
    pub(crate) fn list(&self, dirs: &Dirs) -> Result<Vec<(Vec<u8>, Found)>> {
        let mut names = Vec::new();
        for (layer, dir) in dirs {
            names.extend(self.index(*layer)?.names(dir)?.into_iter().map(|(n, _)| n));
        }
        names.sort_unstable();
        names.dedup();
        let mut list = Vec::new();
        for name in names {
            if let Some(found) = self.lookup(dirs, &name)? {
                list.push((name, found));
            }
        }
        Ok(list)
    }
}

/// What is left of the targets of symlinks on the way of a path, the innermost last. Asking for the
/// next part costs no memory.
#[derive(Default)]
pub(crate) struct Way(Vec<(Vec<u8>, usize)>);

impl Way {
    pub(crate) fn push(&mut self, target: Vec<u8>) {
        self.0.push((target, 0));
    }

    /// The next part as it stands: `..`, `.` and nothing are parts too.
    pub(crate) fn next_part(&mut self) -> Option<&[u8]> {
        let part = loop {
            let (target, at) = self.0.last_mut()?;
            let Some(rest) = target.get(*at..) else {
                self.0.pop();
                continue;
            };
            let length = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let part = *at..*at + length;
            *at += length + 1;
            break part;
        };
        self.0.last()?.0.get(part)
    }
}

/// The components of a symlink's target, last one first, `..` left in.
pub(crate) fn target_parts(target: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    target
        .split(|b| *b == b'/')
        .filter(|p| !p.is_empty() && *p != b".")
        .map(<[u8]>::to_vec)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
}
