//! Finds who is here, prepares each one's image or configuration, and makes the columns.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    agent::Pace,
    bench::{Bench, Rank},
    engine::{
        floor::Floor,
        oci::Oci,
        podman::{IMAGE, Podman},
        rkt::{Net, Rkt},
        words,
    },
    fault::{Doing, Fault, Result},
    image,
    world::World,
};

/// The source of the floor, compiled anew in each run.
const FLOOR: &str = include_str!("../floor.c");

/// Heading of rkt's pods without a network, beside which those with one are held.
pub(crate) const NO_NET: &str = "rkt, none";

/// Heading of rkt's pods from an image of one layer, beside which those from ten are held.
pub(crate) const ONE_LAYER: &str = "rkt, one layer";

/// The walls that can be left out, as `--weaken` names them, and all of them together.
const WALLS: [(&str, &str); 9] = [
    ("rkt", "--pids=0"),
    ("no seccomp", "--pids=0 --weaken=seccomp"),
    ("no landlock", "--pids=0 --weaken=landlock"),
    ("no masks", "--pids=0 --weaken=masks"),
    ("no userns", "--pids=0 --weaken=userns"),
    ("no caps", "--pids=0 --weaken=caps"),
    ("no no_new_privs", "--pids=0 --weaken=no-new-privs"),
    ("no init walls", "--pids=0 --weaken=init"),
    (
        "no walls",
        "--pids=0 --weaken=seccomp,landlock,masks,userns,caps,no-new-privs,init",
    ),
];

/// Makes every column that can be had; who is not there is noted in `bench.missing`. `weak` is an
/// rkt that knows how to leave walls out.
pub(crate) fn gather(bench: &mut Bench, rkt: Option<&Path>, weak: Option<&Path>) -> Result<()> {
    let (layout, root) = (bench.place.dir.join("layout"), bench.place.room("root")?);
    image::small(&layout, &root)?;
    let floor = floor(bench, &root)?;
    bench.add(floor, Rank::Main);
    match rkt {
        Some(program) => add_rkt(bench, program, &layout)?,
        None => bench.missing.push("rkt: no --rkt=PATH".to_owned()),
    }
    if let Some(program) = weak {
        add_walls(bench, program, &layout)?;
    }
    // crun 1.8 refuses a hybrid tree; v1 and v2 are both shown, since they differ by a grace period.
    add_oci(
        bench,
        ("crun, v2", "crun", World::V2),
        &root,
        false,
        Rank::Main,
    )?;
    add_oci(
        bench,
        ("crun, v2, userns", "crun", World::V2),
        &root,
        true,
        Rank::Variant,
    )?;
    add_oci(
        bench,
        ("crun, v1", "crun", World::V1),
        &root,
        false,
        Rank::Variant,
    )?;
    add_oci(
        bench,
        ("runc, v1", "runc", World::V1),
        &root,
        false,
        Rank::Main,
    )?;
    add_podman(bench, &layout)
}

fn floor(bench: &Bench, root: &Path) -> Result<Floor> {
    let states = bench.place.room("run/floor")?;
    bench.place.room("run/floor/stage")?;
    let (source, program) = (states.join("floor.c"), states.join("floor"));
    std::fs::write(&source, FLOOR).doing(|| format!("write `{}`", source.display()))?;
    let made = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .args([&program, &source])
        .status()
        .doing(|| "start `cc`".to_owned())?;
    if !made.success() {
        return Err(Fault::new(
            "compile the floor: see the messages of `cc` above",
        ));
    }
    Ok(Floor {
        program,
        root: root.to_owned(),
        states,
        cgroup: bench.place.unified()?,
    })
}

/// The columns of rkt: its defaults, without the limit that is held by v1 controllers, and that
/// again with the data directory in memory.
fn add_rkt(bench: &mut Bench, program: &Path, layout: &Path) -> Result<()> {
    let (disk, memory) = (bench.place.room("rkt")?, bench.place.room("run/rkt-data")?);
    // The first column is `main`; the others show what a v1 limit and what the disk cost.
    let columns = [
        ("rkt", "", &disk, Rank::Main),
        ("rkt, --pids=0", "--pids=0", &disk, Rank::Variant),
        ("rkt, --pids=0, tmpfs", "--pids=0", &memory, Rank::Variant),
    ];
    for (name, app, dir, rank) in columns {
        add_column(bench, (program, layout), (name, app, Net::None), dir, rank)?;
    }
    let wired = bench.place.room("run/rkt-net")?;
    for (name, net) in [(NO_NET, Net::NoneBeside), ("rkt, default", Net::Default)] {
        let column = (name, "--pids=0", net);
        add_column(bench, (program, layout), column, &wired, Rank::Network)?;
    }
    for (name, layout) in [
        (ONE_LAYER, layout),
        ("rkt, ten layers", &image::tall(layout)),
    ] {
        let column = (name, "--pids=0", Net::None);
        add_column(bench, (program, layout), column, &memory, Rank::Layers)?;
    }
    Ok(())
}

/// rkt beside itself without walls; in memory, where the disk's moods do not hide them.
fn add_walls(bench: &mut Bench, program: &Path, layout: &Path) -> Result<()> {
    let memory = bench.place.room("run/rkt-walls")?;
    for (name, app) in WALLS {
        let column = (name, app, Net::None);
        add_column(bench, (program, layout), column, &memory, Rank::Wall)?;
    }
    Ok(())
}

fn add_column(
    bench: &mut Bench,
    (program, layout): (&Path, &Path),
    (name, app, net): (&'static str, &'static str, Net),
    dir: &Path,
    rank: Rank,
) -> Result<()> {
    let run_dir = bench.place.room("run/rkt")?;
    let rkt = |image: &str| Rkt {
        name,
        program: program.to_owned(),
        dir: dir.to_owned(),
        run_dir: run_dir.clone(),
        image: image.to_owned(),
        app,
        net,
    };
    let source = format!("oci:{}", layout.display());
    let fetch = rkt(&source).line(&format!("fetch {source}"));
    // The promise is about an image in the store: by its digest, if `fetch` says one.
    match bench.ask_in(World::Host, vec![fetch], Pace::InTurn) {
        Ok(cost) => {
            let id = cost.words.iter().rev().find(|word| word.starts_with("sha"));
            bench.add(rkt(id.unwrap_or(&source)), rank);
        }
        Err(why) => bench.missing.push(format!("{name}: {why}")),
    }
    Ok(())
}

fn add_oci(
    bench: &mut Bench,
    (name, program, world): (&'static str, &'static str, World),
    root: &Path,
    walls: bool,
    rank: Rank,
) -> Result<()> {
    if let Err(why) = there(program).and_then(|()| world.way_in().map(|_| ())) {
        bench.missing.push(format!("{name}: {why}"));
        return Ok(());
    }
    let dir = bench
        .place
        .room(&format!("run/{}", name.replace([',', ' '], "-")))?;
    let engine = Oci {
        name,
        program,
        world,
        dir,
    };
    engine.configure(root, walls)?;
    bench.add(engine, rank);
    Ok(())
}

fn add_podman(bench: &mut Bench, layout: &Path) -> Result<()> {
    if let Err(why) = there("podman") {
        bench.missing.push(format!("podman: {why}"));
        return Ok(());
    }
    let world = World::of_podman();
    let (dir, run_dir) = (bench.place.room("podman")?, bench.place.room("run/podman")?);
    let cgroup = bench.place.cgroup.clone();
    let podman = |net| Podman {
        dir: dir.clone(),
        run_dir: run_dir.clone(),
        world,
        cgroup: cgroup.clone(),
        net,
    };
    let env = podman(Net::None).configure()?;
    bench.export(env);
    let load = words(&format!("podman pull -q oci:{}:latest", layout.display()));
    let loaded = bench
        .ask_in(world, vec![load], Pace::InTurn)
        .and_then(|cost| {
            let id = cost.words.last().cloned().unwrap_or_default();
            bench.ask_in(
                world,
                vec![words(&format!("podman tag {id} {IMAGE}"))],
                Pace::InTurn,
            )
        });
    match loaded {
        Ok(_) => {
            bench.add(podman(Net::None), Rank::Main);
            bench.add(podman(Net::Default), Rank::Network);
        }
        Err(why) => bench.missing.push(format!("podman: {why}")),
    }
    Ok(())
}

/// Whether a program is to be found.
fn there(program: &str) -> Result<()> {
    let dirs = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    if dirs
        .iter()
        .any(|dir| PathBuf::from(dir).join(program).exists())
    {
        Ok(())
    } else {
        Err(Fault::new(format!(
            "`{program}` is not installed (apt-get install {program})"
        )))
    }
}
