//! First and second pull of two images from a registry on loopback: a large one, and one of many
//! small files.

use std::path::{Path, PathBuf};

use crate::{
    agent::{Cost, Pace},
    bench::Bench,
    case::Series,
    containerd::{self, Daemon},
    engine::{Words, words},
    fault::{Doing, Result},
    image, peak,
    place::Place,
    registry::Registry,
    report::Peak,
    world::World,
};

/// An image to pull.
pub(crate) struct Pull {
    /// Name of its table.
    pub(crate) case: &'static str,
    /// What it is, in words.
    pub(crate) about: &'static str,
    make: fn(&Path) -> Result<()>,
}

/// The images.
pub(crate) const PULLS: &[Pull] = &[
    Pull {
        case: "pull",
        about: "10 layers, 339 MiB, 19 600 files, from a registry on loopback",
        make: image::large,
    },
    Pull {
        case: "files",
        about: "1 layer, 52 MiB, 13 000 files, from a registry on loopback",
        make: image::many,
    },
];

/// The column of the least that a pull can cost.
pub(crate) const LIMIT: &str = "inflate + sha256";

/// What a way of pulling needs to know.
struct Task<'a> {
    /// rkt's program.
    rkt: &'a str,
    /// A directory for all that comes.
    dir: PathBuf,
    /// `HOST:PORT/NAME`.
    image: &'a str,
    /// The image as a layout.
    layout: &'a Path,
}

/// A way of pulling: its name, the first pull and the second.
struct Way {
    name: &'static str,
    world: fn() -> World,
    /// Whether containerd is started first, which is not measured; its processor time is.
    daemon: bool,
    first: fn(&Task<'_>) -> Vec<Words>,
    again: Option<fn(&Task<'_>) -> Vec<Words>>,
}

const WAYS: &[Way] = &[
    Way {
        name: "rkt",
        world: || World::Host,
        daemon: false,
        first: rkt,
        again: Some(rkt),
    },
    Way {
        name: LIMIT,
        world: || World::Host,
        daemon: false,
        first: inflate,
        again: None,
    },
    Way {
        name: "podman",
        world: World::of_podman,
        daemon: false,
        first: podman,
        again: Some(podman),
    },
    Way {
        name: "containerd",
        world: || World::Host,
        daemon: true,
        first: ctr,
        again: Some(ctr),
    },
    Way {
        name: "skopeo + umoci",
        world: || World::Host,
        daemon: false,
        first: |task| [skopeo(task), umoci(task)].concat(),
        again: Some(skopeo),
    },
    Way {
        name: "skopeo (no unpacking)",
        world: || World::Host,
        daemon: false,
        first: skopeo,
        again: Some(skopeo),
    },
];

fn rkt(task: &Task<'_>) -> Vec<Words> {
    let (dir, program) = (task.dir.display(), task.rkt);
    let line = format!("{program} --dir={dir}/data --run-dir={dir}/run fetch --pull-policy=update");
    vec![words(&format!("{line} docker://{}", task.image))]
}

/// This program, on the layers as they lie in the layout.
fn inflate(task: &Task<'_>) -> Vec<Words> {
    let layout = task.layout.display();
    vec![words(&format!("/proc/self/exe inflate {layout}"))]
}

fn podman(task: &Task<'_>) -> Vec<Words> {
    let dir = task.dir.display();
    let line = format!("podman --root {dir}/graph --runroot {dir}/run pull -q --tls-verify=false");
    vec![words(&format!("{line} {}:latest", task.image))]
}

fn ctr(task: &Task<'_>) -> Vec<Words> {
    let line = format!("ctr --address {}", containerd::socket(&task.dir));
    vec![words(&format!(
        "{line} images pull --plain-http {}:latest",
        task.image
    ))]
}

fn skopeo(task: &Task<'_>) -> Vec<Words> {
    let line = "skopeo --insecure-policy copy -q --src-tls-verify=false";
    vec![words(&format!(
        "{line} docker://{}:latest oci:{}/oci:large",
        task.image,
        task.dir.display()
    ))]
}

fn umoci(task: &Task<'_>) -> Vec<Words> {
    let dir = task.dir.display();
    vec![words(&format!(
        "umoci raw unpack --image {dir}/oci:large {dir}/root"
    ))]
}

/// Pulls both images with every way that is there, a tenth of the rounds; then once more with rkt,
/// looking at its memory.
pub(crate) fn measure(
    bench: &mut Bench,
    rkt: Option<&str>,
    rounds: usize,
) -> Result<(Vec<Series>, Vec<Peak>)> {
    let home = bench.place.room("pull")?;
    let registry = Registry::start(&home.join("registry"))?;
    let (mut all, mut peaks) = (Vec::new(), Vec::new());
    for pull in PULLS {
        let layout = home.join(format!("layout-{}", pull.case));
        (pull.make)(&layout)?;
        registry.push(&layout, pull.case)?;
        let image = format!("{}/{}", registry.address, pull.case);
        let task = |dir: &Path| Task {
            rkt: rkt.unwrap_or_default(),
            dir: dir.to_owned(),
            image: &image,
            layout: &layout,
        };
        all.extend(rounds_of(
            bench,
            pull,
            rkt.is_some(),
            rounds.div_ceil(10),
            &task,
        )?);
        if rkt.is_some() {
            let dir = home.join(bench.next_id());
            std::fs::create_dir_all(&dir).doing(|| format!("create `{}`", dir.display()))?;
            for words in self::rkt(&task(&dir)) {
                peaks.push(Peak {
                    case: pull.case,
                    column: "rkt".to_owned(),
                    kib: peak::of(&words)?,
                });
            }
            Place::clear(&dir);
        }
    }
    Ok((all, peaks))
}

fn rounds_of<'a>(
    bench: &mut Bench,
    pull: &Pull,
    with_rkt: bool,
    rounds: usize,
    task: &dyn Fn(&Path) -> Task<'a>,
) -> Result<Vec<Series>> {
    let home = bench.place.room("pull")?;
    let blank = |way: &Way, step| Series {
        case: pull.case,
        column: way.name.to_owned(),
        step,
        wall_us: Vec::new(),
        cpu_us: Vec::new(),
        failed: None,
    };
    let mut all: Vec<(&Way, Vec<Series>)> = WAYS
        .iter()
        .filter(|way| way.name != "rkt" || with_rkt)
        .map(|way| {
            let again = way.again.map(|_| blank(way, "again"));
            (
                way,
                [Some(blank(way, "first")), again]
                    .into_iter()
                    .flatten()
                    .collect(),
            )
        })
        .collect();
    for round in 0..rounds {
        for (way, series) in &mut all {
            let dir = home.join(bench.next_id());
            std::fs::create_dir_all(&dir).doing(|| format!("create `{}`", dir.display()))?;
            // Nobody pays for the writes of the way before it.
            rustix::fs::sync();
            let daemon = way.daemon.then(|| Daemon::start(&dir)).transpose();
            let steps = [Some(way.first), way.again];
            for (step, series) in steps.into_iter().flatten().zip(series) {
                let cost = match &daemon {
                    Ok(daemon) => with_daemon(daemon.as_ref(), || {
                        bench.ask_in((way.world)(), step(&task(&dir)), Pace::InTurn)
                    }),
                    Err(fault) => Err(fault.to_string()),
                };
                series
                    .wall_us
                    .push(cost.as_ref().ok().map(|cost| cost.wall_us));
                series
                    .cpu_us
                    .push(cost.as_ref().ok().map(|cost| cost.cpu_us));
                series.failed = cost.err();
            }
            drop(daemon);
            Place::clear(&dir);
        }
        bench.progress(pull.case, round + 1, rounds);
    }
    Ok(all.into_iter().flat_map(|(_, series)| series).collect())
}

/// The cost of a step, with what a daemon used meanwhile.
fn with_daemon(
    daemon: Option<&Daemon>,
    step: impl FnOnce() -> std::result::Result<Cost, String>,
) -> std::result::Result<Cost, String> {
    let used = || daemon.and_then(Daemon::cpu_us).unwrap_or(0.0);
    let before = used();
    let mut cost = step()?;
    cost.cpu_us += used() - before;
    Ok(cost)
}
