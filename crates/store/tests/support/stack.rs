//! What overlayfs shows of mounted layers, for the tests of two crates.

use rkt_sys::mount::{self, NewFs};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Puts a detached mount on a directory.
pub fn put(at: PathBuf, fd: &OwnedFd) -> PathBuf {
    mount::attach(fd, std::fs::File::open(&at).unwrap()).unwrap();
    at
}

/// Stacks layers, topmost first, on new directories that `place` makes by their names.
pub fn overlay(place: &dyn Fn(&str) -> PathBuf, name: &str, layers: &[OwnedFd]) -> PathBuf {
    let paths: Vec<PathBuf> = layers
        .iter()
        .enumerate()
        .map(|(n, fd)| put(place(&format!("{name}-{n}")), fd))
        .collect();
    if let [only] = paths.as_slice() {
        return only.clone();
    }
    let fs = NewFs::open(c"overlay").unwrap();
    for path in &paths {
        fs.set(c"lowerdir+", path.to_str().unwrap()).unwrap();
    }
    let fd = fs
        .mount(mount::PLAIN)
        .unwrap_or_else(|e| panic!("{e} {}", fs.message()));
    put(place(name), &fd)
}
