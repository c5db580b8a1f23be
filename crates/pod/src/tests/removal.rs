//! Removing a tree that apps have written: nothing outside is ever touched.

use super::Scratch;
use super::life::uuid;
use crate::Pods;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

#[test]
fn links_out_of_the_tree_are_removed_and_not_followed() {
    let dir = Scratch::new();
    dir.mkdir("outside/deep");
    std::fs::write(dir.path.join("outside/file"), "x").unwrap();
    dir.mkdir("tree/a/b");
    symlink(dir.path.join("outside"), dir.path.join("tree/a/link")).unwrap();
    symlink("/", dir.path.join("tree/root")).unwrap();
    symlink("../../../outside/file", dir.path.join("tree/a/b/file")).unwrap();
    std::fs::hard_link(dir.path.join("outside/file"), dir.path.join("tree/hard")).unwrap();
    let tree = std::fs::File::open(dir.path.join("tree")).unwrap();
    crate::remove::contents(tree.as_fd(), None).unwrap();
    assert_eq!(std::fs::read_dir(dir.path.join("tree")).unwrap().count(), 0);
    assert_eq!(std::fs::read(dir.path.join("outside/file")).unwrap(), b"x");
    assert!(dir.path.join("outside/deep").is_dir());
}

#[test]
fn a_tree_deeper_than_any_path_and_wider_than_a_buffer_goes() {
    let dir = Scratch::new();
    dir.mkdir("tree");
    let top = std::fs::File::open(dir.path.join("tree")).unwrap();
    let mut at: std::os::fd::OwnedFd = top.try_clone().unwrap().into();
    for n in 0..3000 {
        rustix::fs::mkdirat(&at, "down", rustix::fs::Mode::RWXU).unwrap();
        if n % 100 == 0 {
            rustix::fs::mkdirat(&at, ".deep-1", rustix::fs::Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/etc", &at, "link").unwrap();
        }
        at = crate::file::open_dir(at.as_fd(), "down").unwrap();
    }
    for n in 0..5000 {
        std::fs::write(dir.path.join(format!("tree/{n}")), "").unwrap();
    }
    crate::remove::contents(top.as_fd(), None).unwrap();
    assert_eq!(std::fs::read_dir(dir.path.join("tree")).unwrap().count(), 0);
}

#[test]
fn a_kept_name_is_kept_only_at_the_top() {
    let dir = Scratch::new();
    dir.mkdir("tree/pod");
    dir.mkdir("tree/x/pod");
    let top = std::fs::File::open(dir.path.join("tree")).unwrap();
    crate::remove::contents(top.as_fd(), Some("pod")).unwrap();
    assert!(dir.path.join("tree/pod").is_dir() && !dir.path.join("tree/x").exists());
}

/// Needs root: mounts in a mount namespace of its own thread.
#[test]
fn a_mount_below_stops_the_removal_and_the_manifest_stays() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = Scratch::new();
    let path = dir.path.clone();
    let fd = dir.fd().try_clone_to_owned().unwrap();
    let done = std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        const NEWNS_AND_FS: i32 = 0x0002_0000 | 0x200;
        rkt_sys::ns::unshare(NEWNS_AND_FS).unwrap();
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        let pods = Pods::make(&path).unwrap();
        let pod = pods.create(uuid(1)).unwrap().to_prepare().unwrap();
        pod.write_manifest(b"{}").unwrap();
        let run = pod.to_run().unwrap();
        let place = path.join(format!("pods/run/{}/volumes/x", uuid(1)));
        std::fs::create_dir_all(&place).unwrap();
        mount("none", &place, "tmpfs", MountFlags::empty(), None).unwrap();
        std::fs::write(place.join("precious"), "x").unwrap();
        let error = run.discard().unwrap_err();
        assert!(error.to_string().contains("remove `x`"), "{error}");
        let pod = pods.find(&uuid(1).to_string()).unwrap();
        assert_eq!(pod.manifest().unwrap().unwrap(), b"{}");
        let place = path.join(format!("pods/garbage/{}/volumes/x", uuid(1)));
        assert!(place.join("precious").exists());
        rustix::mount::unmount(&place, rustix::mount::UnmountFlags::empty()).unwrap();
        pod.lock().unwrap().remove().unwrap();
        assert!(pods.uuids().unwrap().is_empty());
    });
    done.join().unwrap();
    drop(fd);
}
