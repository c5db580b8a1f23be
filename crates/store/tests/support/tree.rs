//! What can be seen of a tree, to compare two of them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Everything that can be seen of one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, i64),
    pub size: u64,
    pub rdev: u64,
    pub links: u64,
    pub target: Vec<u8>,
    /// Hash of the content.
    pub content: String,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub type Tree = BTreeMap<Vec<u8>, Seen>;

/// Looks at every file below a directory.
pub fn look(root: &Path) -> Tree {
    let mut tree = Tree::new();
    visit(root, b"", &mut tree);
    tree
}

fn visit(path: &Path, name: &[u8], tree: &mut Tree) {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let kind = meta.file_type();
    let mut seen = Seen {
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        size: if kind.is_dir() { 0 } else { meta.size() },
        rdev: if kind.is_char_device() || kind.is_block_device() {
            meta.rdev()
        } else {
            0
        },
        links: if kind.is_dir() { 0 } else { meta.nlink() },
        xattrs: xattrs(path),
        ..Seen::default()
    };
    if kind.is_symlink() {
        seen.target = fs::read_link(path).unwrap().into_os_string().into_vec();
    } else if kind.is_file() {
        seen.content = content(path);
    }
    tree.insert(name.to_vec(), seen);
    if kind.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let mut below = name.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend(entry.file_name().as_bytes());
            // Long paths: one step at a time from the directory itself.
            visit(&path.join(entry.file_name()), &below, tree);
        }
    }
}

fn content(path: &Path) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path).unwrap();
    std::io::copy(&mut file, &mut Hash(&mut hash)).unwrap();
    rkt_spec::digest::hex(&hash.finalize())
}

/// Hash of these bytes, as [`Seen::content`] has it.
pub fn hash(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    rkt_spec::digest::hex(&Sha256::digest(bytes))
}

struct Hash<'a>(&'a mut sha2::Sha256);

impl std::io::Write for Hash<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(self.0, bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0u8; 65536];
    let n = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let mut all = BTreeMap::new();
    for name in list[..n].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0u8; 65536];
        let key: OsString = OsStr::from_bytes(name).to_owned();
        let n = rustix::fs::lgetxattr(path, &key, &mut value[..]).unwrap();
        all.insert(name.to_vec(), value[..n].to_vec());
    }
    all
}

/// Panics with the differences of two trees, a line each.
pub fn same(left: &Tree, right: &Tree) {
    let mut differences = Vec::new();
    for name in left.keys().chain(right.keys()) {
        let (a, b) = (left.get(name), right.get(name));
        if a != b {
            differences.push(format!(
                "{}\n  {a:?}\n  {b:?}",
                String::from_utf8_lossy(name)
            ));
        }
    }
    differences.dedup();
    assert!(
        differences.is_empty(),
        "{}",
        differences[..differences.len().min(8)].join("\n")
    );
}
