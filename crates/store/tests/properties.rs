//! Trees by chance: written as a tar, indexed, mounted, rendered, and always the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rkt_store::mounts::Way;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use support::TestStore;
use support::kernel::{attach, forget, overlay, private_mounts, put, rendered};
use support::model::Model;
use support::tarball::{Header, Tarball, dir, file, hard, header, symlink};
use support::tree::{Seen, Tree, look, same};

/// One thing of a tree, before it has its place.
#[derive(Debug, Clone)]
struct Thing {
    /// Chooses a directory among those there are.
    parent: usize,
    name: Vec<u8>,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum Kind {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    /// Chooses among the files there are.
    Link(usize),
    Fifo,
    Device(u64, u64),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => b'!'..=b'~', 1 => Just(b' '), 1 => 1u8..=255];
    let short = prop::collection::vec(byte.clone(), 1..12);
    let long = prop::collection::vec(byte, 200..=255);
    prop_oneof![9 => short, 1 => long].prop_map(|mut name| {
        for byte in &mut name {
            if matches!(*byte, b'/' | 0) {
                *byte = b'_';
            }
        }
        // Of what is left these alone mean something to a reader of layers.
        if name == b"." || name == b".." || name.starts_with(b".wh.") {
            name[0] = b'x';
        }
        name
    })
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![
        4 => 0usize..40,
        2 => prop::sample::select(vec![511usize, 512, 513, 1023, 4095, 4096, 4097]),
        1 => 5000usize..30_000,
    ];
    (size, any::<u8>()).prop_map(|(size, seed)| (0..size).map(|n| (n * 7) as u8 ^ seed).collect())
}

fn thing() -> impl Strategy<Value = Thing> {
    let target = prop_oneof![
        prop::collection::vec(b'a'..=b'z', 1..60),
        prop::collection::vec(b'a'..=b'z', 430..600),
    ];
    let kind = prop_oneof![
        3 => Just(Kind::Directory),
        5 => content().prop_map(Kind::File),
        2 => target.prop_map(Kind::Symlink),
        2 => any::<usize>().prop_map(Kind::Link),
        1 => Just(Kind::Fifo),
        1 => (1u64..4096, 0u64..(1 << 20)).prop_map(|(a, b)| Kind::Device(a, b)),
    ];
    let key = prop::collection::vec(b'a'..=b'z', 1..20);
    let value = prop::collection::vec(any::<u8>(), 1..120);
    let xattrs = prop::collection::vec((key, value), 0..3);
    (
        any::<usize>(),
        name(),
        kind,
        0u32..=0o7777,
        (any::<u16>(), 0u32..=4_294_967_294),
        (-1_000_000_000i64..5_000_000_000, 0u32..1_000_000_000),
        xattrs,
    )
        .prop_map(|(parent, name, kind, mode, owner, mtime, xattrs)| Thing {
            parent,
            name,
            kind,
            mode,
            owner: (owner.0.into(), owner.1),
            mtime,
            xattrs,
        })
}

/// The header and what it is to look like.
fn put_thing(model: Model, path: &[u8], thing: &Thing) -> Model {
    let entry = match &thing.kind {
        Kind::Directory => dir(path),
        Kind::File(bytes) => file(path, bytes),
        Kind::Symlink(target) => symlink(path, target),
        Kind::Fifo => header(path, b'6'),
        Kind::Device(major, minor) => header(path, b'3').device(*major, *minor),
        Kind::Link(_) => panic!("links are put by their target"),
    };
    let mut entry = entry
        .mode(thing.mode)
        .owner(thing.owner.0.into(), thing.owner.1.into());
    let (seconds, nanos) = thing.mtime;
    // A fraction counts upwards from the second below.
    let text = match seconds {
        0.. => format!("{seconds}.{nanos:09}"),
        _ if nanos == 0 => format!("{seconds}"),
        _ => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos),
    };
    entry = entry.pax("mtime", text);
    let has_xattrs = matches!(thing.kind, Kind::Directory | Kind::File(_));
    let mut seen_keys = BTreeSet::new();
    let mut kept = Vec::new();
    for (key, value) in &thing.xattrs {
        let key = [b"user.", key.as_slice()].concat();
        if seen_keys.insert(key.clone()) {
            let name = String::from_utf8(key.clone()).unwrap();
            entry = entry.xattr(&name, value);
            kept.push((key, value.clone()));
        }
    }
    model.with(entry, |seen| {
        seen.mtime = (seconds, nanos.into());
        if has_xattrs {
            seen.xattrs = kept.into_iter().collect();
        }
    })
}

/// Gives each thing its place; what has none is left out.
fn grow(things: &[Thing]) -> Model {
    let mut model = Model::default().put(dir("./").mode(0o755));
    let mut dirs: Vec<Vec<u8>> = vec![Vec::new()];
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut taken = BTreeSet::new();
    for thing in things {
        let parent = &dirs[thing.parent % dirs.len()];
        let mut path = parent.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(&thing.name);
        if path.len() > 3000 || !taken.insert(path.clone()) {
            continue;
        }
        match &thing.kind {
            Kind::Link(_) if files.is_empty() => continue,
            Kind::Link(which) => model = model.hard(&path, &files[which % files.len()]),
            kind => {
                model = put_thing(model, &path, thing);
                match kind {
                    Kind::Directory => dirs.push(path),
                    Kind::File(_) | Kind::Symlink(_) | Kind::Fifo => files.push(path),
                    _ => {}
                }
            }
        }
    }
    model
}

fn cases(count: u32) -> TestRunner {
    TestRunner::new(Config {
        cases: count,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    })
}

#[test]
fn a_random_tree_comes_back_as_it_was_written() {
    private_mounts();
    let count = Cell::new(0);
    cases(60)
        .run(&prop::collection::vec(thing(), 0..60), |things| {
            count.set(count.get() + 1);
            let store = TestStore::new(&format!("random-{}", count.get()));
            let model = grow(&things);
            let chains = store.chain(&[model.tar.clone().end()]).unwrap();
            let fds = attach(&store, Way::File, &chains);
            same(&look(&put(&store, "mount", &fds[0])), &model.tree);
            same(&look(&rendered(&store, "written", &chains[0])), &model.tree);
            drop(fds);
            clean(&store, &["mount"]);
            Ok(())
        })
        .unwrap();
}

/// Lets the store be removed: nothing stays mounted in it.
fn clean(store: &TestStore, places: &[&str]) {
    for place in places {
        let at = store.path().join("at").join(place);
        let _ = rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH);
    }
    forget(store);
}

/// An entry of a layer that changes what is below: few names, so that they meet.
#[derive(Debug, Clone)]
struct Change {
    path: String,
    what: What,
    mode: u32,
    time: i64,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    Directory,
    File,
    Fifo,
    /// At `s`, which is never on the way to anything.
    Symlink,
    Link(String),
    Whiteout,
    Opaque,
}

fn change() -> impl Strategy<Value = Change> {
    let path = || {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
            .prop_map(|parts| parts.join("/"))
    };
    let what = prop_oneof![
        3 => Just(What::Directory),
        4 => Just(What::File),
        1 => Just(What::Fifo),
        1 => Just(What::Symlink),
        2 => path().prop_map(What::Link),
        3 => Just(What::Whiteout),
        1 => Just(What::Opaque),
    ];
    (path(), what, 0o600u32..=0o777, 1i64..1000).prop_map(|(mut path, what, mode, time)| {
        if what == What::Symlink {
            let at = path.rfind('/').map_or(0, |at| at + 1);
            path.replace_range(at.., "s");
        }
        Change {
            path,
            what,
            mode,
            time,
        }
    })
}

fn entry(change: &Change) -> Header {
    let path = &change.path;
    let (parent, last) = path.rsplit_once('/').unwrap_or(("", path));
    let entry = match &change.what {
        What::Directory => dir(path),
        What::File => file(path, format!("{path} {}", change.time)),
        What::Fifo => header(path, b'6'),
        What::Symlink => symlink(path, format!("to-{}", change.time)),
        What::Link(target) => hard(path, target),
        What::Whiteout => file(format!("{parent}/.wh.{last}"), ""),
        What::Opaque => file(format!("{path}/.wh..wh..opq"), ""),
    };
    entry.mode(change.mode).mtime(change.time)
}

/// What the OCI specification says of layers, done in the plainest way, with whole paths in maps.
#[derive(Default, Clone)]
struct Plain {
    /// Everything but the root; what a directory has no entry for is [`implicit`].
    nodes: BTreeMap<String, Seen>,
    whiteouts: BTreeSet<String>,
    opaque: BTreeSet<String>,
}

/// A directory that only stands on the way.
fn implicit() -> Seen {
    Seen {
        mode: 0o040_755,
        mtime: (0, 0),
        ..Seen::default()
    }
}

fn is_dir(seen: &Seen) -> bool {
    seen.mode & 0o170_000 == 0o040_000
}

/// The directories on the way to a path, the highest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

fn below(path: &str, of: &str) -> bool {
    path.len() > of.len() && path.starts_with(of) && path.as_bytes()[of.len()] == b'/'
}

impl Plain {
    /// Makes what is missing on the way; `None` when something else is in it.
    fn way(&mut self, path: &str) -> Option<()> {
        for parent in above(path).map(str::to_owned).collect::<Vec<_>>() {
            let node = self.nodes.entry(parent).or_insert_with(implicit);
            if !is_dir(node) {
                return None;
            }
        }
        Some(())
    }

    /// One layer as its entries tell it, one after the other.
    fn layer(changes: &[Change], lower: &Plain) -> Option<Plain> {
        let mut layer = Plain::default();
        for change in changes {
            let (path, time) = (change.path.clone(), change.time);
            layer.way(&path)?;
            let seen = |kind: u32, size: usize| Seen {
                mode: kind | change.mode,
                mtime: (time, 0),
                size: size as u64,
                links: 1,
                ..Seen::default()
            };
            let seen = match &change.what {
                What::Whiteout => {
                    layer.whiteouts.insert(path);
                    continue;
                }
                What::Opaque => {
                    let node = layer.nodes.entry(path.clone()).or_insert_with(implicit);
                    if !is_dir(node) {
                        return None;
                    }
                    layer.opaque.insert(path);
                    continue;
                }
                What::Directory => {
                    let new = Seen {
                        links: 0,
                        ..seen(0o040_000, 0)
                    };
                    if layer.nodes.get(&path).is_some_and(is_dir) {
                        layer.nodes.insert(path, new);
                        continue;
                    }
                    new
                }
                What::File => {
                    let text = format!("{path} {time}");
                    Seen {
                        content: support::tree::hash(text.as_bytes()),
                        ..seen(0o100_000, text.len())
                    }
                }
                What::Fifo => seen(0o010_000, 0),
                What::Symlink => {
                    let target = format!("to-{time}").into_bytes();
                    Seen {
                        mode: 0o120_777,
                        size: target.len() as u64,
                        target,
                        ..seen(0, 0)
                    }
                }
                What::Link(target) => layer.target(target, lower)?,
            };
            // What has the name loses it, with everything below.
            layer.nodes.retain(|name, _| !below(name, &path));
            layer
                .opaque
                .retain(|name| *name != path && !below(name, &path));
            layer.whiteouts.retain(|name| !below(name, &path));
            layer.nodes.insert(path, seen);
        }
        Some(layer)
    }

    /// The file that a hard link means: of this layer, or of those below as far as they show.
    fn target(&mut self, target: &str, lower: &Plain) -> Option<Seen> {
        self.way(target)?;
        if let Some(node) = self.nodes.get(target) {
            return (!is_dir(node)).then(|| node.clone());
        }
        let hidden = self.whiteouts.contains(target)
            || above(target).any(|p| self.whiteouts.contains(p) || self.opaque.contains(p));
        let node = lower.nodes.get(target).filter(|_| !hidden)?;
        (!is_dir(node)).then(|| node.clone())
    }

    /// Puts a layer on top.
    fn merge(&mut self, layer: Plain) {
        let shows = |name: &str, node: &Seen| {
            // A directory stays where the layer has one too and takes nothing away.
            let covered = |p: &str| {
                layer.whiteouts.contains(p) || layer.nodes.get(p).is_some_and(|n| !is_dir(n))
            };
            let kept = |p: &str| !covered(p) && !layer.opaque.contains(p);
            above(name).all(kept)
                && match layer.nodes.get(name) {
                    None => !layer.whiteouts.contains(name),
                    Some(upper) => is_dir(upper) && is_dir(node) && !covered(name),
                }
        };
        self.nodes.retain(|name, node| shows(name, node));
        for (name, node) in layer.nodes {
            let lower = self.nodes.get(&name);
            // A directory that is only on the way is as the lower layers have it.
            if lower.is_some() && is_dir(&node) && node == implicit() {
                continue;
            }
            self.nodes.insert(name, node);
        }
    }

    fn tree(&self) -> Tree {
        let named = self.nodes.iter();
        let mut tree: Tree = named
            .map(|(name, seen)| (name.clone().into_bytes(), seen.clone()))
            .collect();
        tree.insert(Vec::new(), implicit());
        tree
    }
}

/// Layers that meet in every way: what overlayfs makes of our indexes, and what our own reader of
/// them writes, is what the specification says. What means nothing is refused and leaves nothing.
#[test]
fn random_layers_on_each_other_are_what_the_specification_says() {
    private_mounts();
    let layer = || prop::collection::vec(change(), 1..9);
    let (count, merged) = (Cell::new(0), Cell::new(0));
    cases(700)
        .run(&prop::collection::vec(layer(), 2..4), |layers| {
            count.set(count.get() + 1);
            let store = TestStore::new(&format!("merge-{}", count.get()));
            let mut want = Some(Plain::default());
            for layer in &layers {
                want = want.and_then(|mut lower| {
                    let layer = Plain::layer(layer, &lower)?;
                    lower.merge(layer);
                    Some(lower)
                });
            }
            let tars: Vec<Vec<u8>> = layers
                .iter()
                .map(|layer| {
                    let put = |tar: Tarball, change| tar.put(entry(change));
                    layer.iter().fold(Tarball::new(), put).end()
                })
                .collect();
            match (store.chain(&tars), want) {
                (Ok(mut chains), Some(want)) => {
                    merged.set(merged.get() + 1);
                    chains.reverse();
                    let fds = attach(&store, Way::File, &chains);
                    let plain = |mut tree: Tree| {
                        for seen in tree.values_mut() {
                            seen.links = u64::from(seen.links != 0);
                        }
                        tree
                    };
                    let mount = plain(look(&overlay(&store, "merged", &fds)));
                    let written = plain(look(&rendered(&store, "written", &chains[0])));
                    drop(fds);
                    clean(&store, &["merged", "merged-0", "merged-1", "merged-2"]);
                    same(&mount, &want.tree());
                    same(&written, &want.tree());
                }
                (Err(error), None) => {
                    assert_eq!(error.kind(), rkt_store::Kind::Corrupt, "{error}");
                    assert_eq!(store.left_over(), 0);
                }
                (Ok(_), None) => panic!("taken, and it means nothing"),
                (Err(error), Some(_)) => panic!("refused: {error}"),
            }
            Ok(())
        })
        .unwrap();
    let (merged, count) = (merged.get(), count.get());
    assert!(merged >= 30, "only {merged} of {count} were layers at all");
}
