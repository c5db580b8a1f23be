//! The pinned namespace: one mount a layer and host, whoever starts, dies or cleans up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use rkt_store::Kind;
use rkt_store::layer::{self, ChainId};
use rkt_store::mounts::{self, Way};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::kernel::{attach, forget, private_mounts, put, run_dir};
use support::tarball::{Tarball, dir, file};
use support::{TestStore, reader};

/// Three layers, topmost chain first.
fn three(store: &TestStore) -> Vec<ChainId> {
    let layer = |n: u8| {
        Tarball::new()
            .put(dir("./"))
            .put(file(format!("f{n}"), vec![n; 5000]))
            .end()
    };
    let mut chains = store.chain(&[layer(0), layer(1), layer(2)]).unwrap();
    chains.reverse();
    chains
}

fn starter(store: &TestStore, times: usize, chains: &[ChainId]) -> Child {
    Command::new(reader().path)
        .arg("starter")
        .args([store.path(), &run_dir(store), Path::new(&times.to_string())])
        .args(chains.iter().map(ToString::to_string))
        .current_dir(store.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The numbers that a starter printed, a line each.
fn printed(child: Child) -> Vec<Vec<u64>> {
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{:?}", out.status);
    String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .map(|l| l.split(' ').map(|n| n.parse().unwrap()).collect())
        .collect()
}

#[test]
fn a_layer_is_mounted_once_and_fast_from_then_on() {
    private_mounts();
    let store = TestStore::new("once");
    let chains = three(&store);
    let lines = printed(starter(&store, 300, &chains));
    let devices = lines[0][1..].to_vec();
    assert_eq!(devices.len(), 3);
    assert!(
        lines.iter().all(|l| l[1..] == devices),
        "another superblock"
    );
    let mut micros: Vec<u64> = lines[1..].iter().map(|l| l[0]).collect();
    micros.sort_unstable();
    println!(
        "first {} us, then p50 {} us, min {} us",
        lines[0][0], micros[150], micros[0]
    );
    // Ten times what is promised: other tests run at the same time.
    assert!(micros[0] < 2000, "{micros:?}");
    // The child of a caller with threads finds the same mounts.
    let fds = attach(&store, Way::Best, &chains);
    let found: Vec<u64> = fds
        .iter()
        .map(|f| rustix::fs::fstat(f).unwrap().st_dev)
        .collect();
    assert_eq!(found, devices);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mounts.contains(" erofs "),
        "a layer shows outside its namespace"
    );
}

#[test]
fn two_starters_at_once_share_one_mount() {
    private_mounts();
    let store = TestStore::new("crowd");
    for _ in 0..5 {
        let chains = three(&store);
        let crowd: Vec<Child> = (0..8).map(|_| starter(&store, 1, &chains)).collect();
        let mut all: Vec<Vec<u64>> = Vec::new();
        for child in crowd {
            all.push(printed(child)[0][1..].to_vec());
        }
        assert!(all.iter().all(|l| *l == all[0]), "{all:?}");
        mounts::unpin(store.path(), &run_dir(&store)).unwrap();
    }
}

#[test]
fn a_killed_starter_leaves_nothing_in_the_way() {
    private_mounts();
    let store = TestStore::new("killed-starter");
    let chains = three(&store);
    for n in 0..60u64 {
        let mut child = starter(&store, 1, &chains);
        std::thread::sleep(std::time::Duration::from_micros(n * 60));
        child.kill().unwrap();
        child.wait().unwrap();
        if n % 3 == 0 {
            let lines = printed(starter(&store, 1, &chains));
            assert_eq!(lines[0].len(), 4);
            mounts::unpin(store.path(), &run_dir(&store)).unwrap();
        }
    }
    let fds = attach(&store, Way::Best, &chains);
    let at = put(&store, "at", &fds[0]);
    assert_eq!(std::fs::read(at.join("f2")).unwrap(), vec![2; 5000]);
}

#[test]
fn gc_unmounts_what_nobody_wants_and_clones_live_on() {
    private_mounts();
    let store = TestStore::new("gc");
    let chains = three(&store);
    let unused = |keep: &dyn Fn(&rkt_spec::Digest) -> bool| {
        mounts::detach_unused_by(store.path(), &run_dir(&store), &reader(), keep).unwrap()
    };
    assert_eq!(unused(&|_| false), 0, "no namespace yet");
    let fds = attach(&store, Way::Best, &chains);
    let at = put(&store, "at", &fds[1]);
    let device = |n: usize| {
        let fds = attach(&store, Way::Best, &chains);
        rustix::fs::fstat(&fds[n]).unwrap().st_dev
    };
    let kept = device(0);
    assert_eq!(unused(&|chain| chain == chains[0].digest()), 2);
    assert_eq!(std::fs::read(at.join("f1")).unwrap(), vec![1; 5000]);
    assert_eq!(device(0), kept);
    assert_eq!(unused(&|_| true), 0);
    // The files of a removed layer may go while a pod still has its clone.
    for chain in &chains {
        assert!(layer::remove_chain(store.path(), chain).unwrap() > 0);
    }
    forget(&store);
    assert_eq!(std::fs::read(at.join("f1")).unwrap(), vec![1; 5000]);
    let program = reader();
    let gone = mounts::attach(store.path(), &run_dir(&store), &program, Way::Best, &chains);
    assert_eq!(gone.unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn changed_files_are_never_mounted() {
    private_mounts();
    let store = TestStore::new("changed");
    let chains = three(&store);
    let index = store.chain_dir(&chains[0]).join("index");
    let program = reader();
    let try_it = || {
        let run = run_dir(&store);
        mounts::attach(store.path(), &run, &program, Way::Best, &chains).map(drop)
    };
    let open = || {
        // A disk has no flags: what was to be mounted once is immutable from then on.
        support::kernel::forget(&store);
        std::fs::OpenOptions::new()
            .append(true)
            .open(&index)
            .unwrap()
    };
    let len = open().metadata().unwrap().len();
    open().set_len(len + 512).unwrap();
    assert_eq!(try_it().unwrap_err().kind(), Kind::Corrupt);
    open().set_len(len).unwrap();
    let owner = |uid| {
        support::kernel::forget(&store);
        let uid = rustix::fs::Uid::from_raw(uid);
        rustix::fs::chown(&index, Some(uid), None).unwrap();
    };
    owner(1000);
    assert_eq!(try_it().unwrap_err().kind(), Kind::Corrupt);
    owner(0);
    try_it().unwrap();
}

#[test]
fn a_store_on_tmpfs_falls_back_to_loop_devices() {
    private_mounts();
    let store = TestStore::new("on-tmpfs");
    let fs = rkt_sys::mount::NewFs::open(c"tmpfs").unwrap();
    let tmpfs = fs.mount(rkt_sys::mount::PLAIN).unwrap();
    let target = std::fs::File::open(store.path()).unwrap();
    rkt_sys::mount::attach(tmpfs, target).unwrap();
    for place in ["layers/sha256", "chains/sha256", "tmp"] {
        std::fs::create_dir_all(store.path().join(place)).unwrap();
    }
    let chains = three(&store);
    let program = reader();
    let file = mounts::attach(store.path(), &run_dir(&store), &program, Way::File, &chains);
    assert_eq!(file.unwrap_err().kind(), Kind::Unsupported);
    let fds = attach(&store, Way::Best, &chains);
    let at = put(&store, "at", &fds[0]);
    assert_eq!(rustix::fs::statfs(&at).unwrap().f_type, 0xE0F5_E1E2);
    assert_eq!(std::fs::read(at.join("f2")).unwrap(), vec![2; 5000]);
}

#[test]
fn a_pin_of_the_host_is_found_from_a_namespace_made_later() {
    let store = TestStore::new("host-pin");
    let chains = three(&store);
    let mut starter = format!("{} starter", reader().path.display());
    starter += &format!(
        " {} {} 1",
        store.path().display(),
        run_dir(&store).display()
    );
    for chain in &chains {
        starter += &format!(" {chain}");
    }
    // The shell is process 1 and stands for the host. What is mounted ends with it.
    let script = format!("{starter}; unshare --mount {starter}; {starter}");
    let out = Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "sh",
            "-ec",
            &script,
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let devices: Vec<_> = text.lines().map(|l| l.split_once(' ').unwrap().1).collect();
    assert_eq!(devices.len(), 3, "{}", String::from_utf8_lossy(&out.stderr));
    assert!(devices.iter().all(|d| *d == devices[0]), "{text}");
}
