//! A tar and the tree that it means, grown side by side.

use super::tarball::{Header, Tarball};
use super::tree::{Seen, Tree, hash};
use std::collections::BTreeMap;

/// Both at once.
#[derive(Default)]
pub struct Model {
    pub tar: Tarball,
    pub tree: Tree,
    /// Names that share an inode, by the first of them.
    groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

fn clean(name: &[u8]) -> Vec<u8> {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    name.strip_suffix(b"/").unwrap_or(name).to_vec()
}

impl Model {
    /// Puts an entry into both.
    pub fn put(mut self, entry: Header) -> Self {
        let (kind, size) = match entry.kind {
            b'0' => (0o100_000, entry.data.len() as u64),
            b'2' => (0o120_000, entry.link.len() as u64),
            b'3' => (0o020_000, 0),
            b'4' => (0o060_000, 0),
            b'5' => (0o040_000, 0),
            b'6' => (0o010_000, 0),
            other => panic!("kind {other}"),
        };
        let device = matches!(entry.kind, b'3' | b'4');
        let seen = Seen {
            mode: kind
                | if entry.kind == b'2' {
                    0o777
                } else {
                    entry.mode
                },
            uid: u32::try_from(entry.uid).unwrap(),
            gid: u32::try_from(entry.gid).unwrap(),
            mtime: (entry.mtime, 0),
            size,
            rdev: if device {
                rustix::fs::makedev(entry.major as u32, entry.minor as u32)
            } else {
                0
            },
            links: u64::from(entry.kind != b'5'),
            target: if entry.kind == b'2' {
                entry.link.clone()
            } else {
                Vec::new()
            },
            content: if entry.kind == b'0' {
                hash(&entry.data)
            } else {
                String::new()
            },
            xattrs: BTreeMap::new(),
        };
        self.tree.insert(clean(&entry.name), seen);
        self.tar = self.tar.put(entry);
        self
    }

    /// As [`Model::put`], with what the extended header changes.
    pub fn with(self, entry: Header, change: impl FnOnce(&mut Seen)) -> Self {
        let name = clean(&entry.name);
        let mut model = self.put(entry);
        change(model.tree.get_mut(&name).unwrap());
        model
    }

    /// Puts an entry into the tar only.
    pub fn tar_only(mut self, entry: Header) -> Self {
        self.tar = self.tar.put(entry);
        self
    }

    /// Puts a hard link.
    pub fn hard(mut self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let target = clean(target.as_ref());
        let seen = self.tree[&target].clone();
        self.tree.insert(clean(name.as_ref()), seen);
        let group = self
            .groups
            .entry(target.clone())
            .or_insert_with(|| vec![target]);
        group.push(clean(name.as_ref()));
        for member in group.iter() {
            self.tree.get_mut(member).unwrap().links = group.len() as u64;
        }
        self.tar = self.tar.put(super::tarball::hard(name, group[0].clone()));
        self
    }
}
