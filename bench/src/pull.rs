//! First and second pull of the large image from a registry on loopback.

use std::path::Path;

use crate::{
    agent::Pace,
    bench::Bench,
    case::Series,
    engine::{Words, words},
    fault::Result,
    image,
    place::Place,
    registry::Registry,
    world::World,
};

/// A way of pulling: its name, the first pull and the second, into a directory.
struct Way {
    name: &'static str,
    world: fn() -> World,
    first: fn(&str, &Path, &str) -> Vec<Words>,
    again: fn(&str, &Path, &str) -> Vec<Words>,
}

const WAYS: &[Way] = &[
    Way {
        name: "rkt",
        world: || World::Host,
        first: rkt,
        again: rkt,
    },
    Way {
        name: "podman",
        world: World::of_podman,
        first: podman,
        again: podman,
    },
    Way {
        name: "skopeo + umoci",
        world: || World::Host,
        first: |_, dir, address| [skopeo(dir, address), umoci(dir)].concat(),
        again: |_, dir, address| skopeo(dir, address),
    },
    Way {
        name: "skopeo (no unpacking)",
        world: || World::Host,
        first: |_, dir, address| skopeo(dir, address),
        again: |_, dir, address| skopeo(dir, address),
    },
];

fn rkt(program: &str, dir: &Path, address: &str) -> Vec<Words> {
    let dir = dir.display();
    let line = format!("{program} --dir={dir}/data --run-dir={dir}/run fetch --pull-policy=update");
    vec![words(&format!("{line} docker://{address}/large"))]
}

fn podman(_: &str, dir: &Path, address: &str) -> Vec<Words> {
    let dir = dir.display();
    let line = format!("podman --root {dir}/graph --runroot {dir}/run pull -q --tls-verify=false");
    vec![words(&format!("{line} {address}/large:latest"))]
}

fn skopeo(dir: &Path, address: &str) -> Vec<Words> {
    let line = "skopeo --insecure-policy copy -q --src-tls-verify=false";
    vec![words(&format!(
        "{line} docker://{address}/large:latest oci:{}/oci:large",
        dir.display()
    ))]
}

fn umoci(dir: &Path) -> Vec<Words> {
    let dir = dir.display();
    vec![words(&format!(
        "umoci raw unpack --image {dir}/oci:large {dir}/root"
    ))]
}

/// Pulls with every way that is there, a tenth of the rounds.
pub(crate) fn measure(bench: &mut Bench, rkt: Option<&str>, rounds: usize) -> Result<Vec<Series>> {
    let home = bench.place.room("pull")?;
    image::large(&home.join("layout"))?;
    let registry = Registry::start(&home.join("registry"))?;
    registry.push(&home.join("layout"), "large")?;
    let rounds = rounds.div_ceil(10);
    let blank = |way: &Way, step| Series {
        case: "pull",
        column: way.name.to_owned(),
        step,
        wall_us: Vec::new(),
        cpu_us: Vec::new(),
        failed: None,
    };
    let ways: Vec<&Way> = WAYS
        .iter()
        .filter(|way| way.name != "rkt" || rkt.is_some())
        .collect();
    let mut all: Vec<[Series; 2]> = ways
        .iter()
        .map(|way| [blank(way, "first"), blank(way, "again")])
        .collect();
    for round in 0..rounds {
        for (way, series) in ways.iter().zip(&mut all) {
            let dir = home.join(bench.next_id());
            std::fs::create_dir_all(&dir).ok();
            // Nobody pays for the writes of the way before it.
            rustix::fs::sync();
            for (step, series) in [way.first, way.again].iter().zip(series) {
                let commands = step(rkt.unwrap_or_default(), &dir, &registry.address);
                let cost = bench.ask_in((way.world)(), commands, Pace::InTurn);
                series
                    .wall_us
                    .push(cost.as_ref().ok().map(|cost| cost.wall_us));
                series
                    .cpu_us
                    .push(cost.as_ref().ok().map(|cost| cost.cpu_us));
                series.failed = cost.err();
            }
            Place::clear(&dir);
        }
        bench.progress("pull", round + 1, rounds);
    }
    Ok(all.into_iter().flatten().collect())
}
