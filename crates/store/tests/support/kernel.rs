//! Mounts in a mount namespace of the test's own.

use super::{TestStore, reader, stack};
use rkt_store::layer::ChainId;
use rkt_store::mounts::{self, Way};
use rkt_sys::mount;
use rustix::fd::OwnedFd;
use std::path::PathBuf;

/// Puts the calling thread into a mount namespace of its own; mounts end with the thread.
pub fn private_mounts() {
    rkt_sys::ns::unshare(rkt_sys::ns::kind::MOUNT).unwrap();
    mount::make_all_private().unwrap();
}

/// The run directory of a test's store.
pub fn run_dir(store: &TestStore) -> PathBuf {
    let dir = store.path().join("run");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Attaches chains (topmost first) by the child, since tests have threads.
pub fn attach(store: &TestStore, way: Way, chains: &[ChainId]) -> Vec<OwnedFd> {
    mounts::attach(store.path(), &run_dir(store), &reader(), way, chains).unwrap()
}

/// A new directory of the test.
pub fn place(store: &TestStore, name: &str) -> PathBuf {
    let dir = store.path().join("at").join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Puts a detached mount on a new directory.
pub fn put(store: &TestStore, name: &str, fd: &OwnedFd) -> PathBuf {
    stack::put(place(store, name), fd)
}

/// What overlayfs shows of layers, topmost first.
pub fn overlay(store: &TestStore, name: &str, layers: &[OwnedFd]) -> PathBuf {
    stack::overlay(&|name| place(store, name), name, layers)
}

/// A chain written as one directory tree.
pub fn rendered(store: &TestStore, name: &str, chain: &ChainId) -> PathBuf {
    use std::os::fd::AsFd;
    let dir = place(store, name);
    let fd = std::fs::File::open(&dir).unwrap();
    rkt_store::directory::render(store.path(), chain, fd.as_fd()).unwrap();
    dir
}

/// Unmounts every layer, so that the next attach mounts anew.
pub fn forget(store: &TestStore) {
    mounts::detach_unused_by(store.path(), &run_dir(store), &reader(), &|_| false).unwrap();
}
