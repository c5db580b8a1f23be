//! The promises with numbers of `SPECIFICATION.md`, and where this run stands.

use std::fmt::Write as _;

use crate::{
    case::Series,
    flows,
    memory::Memory,
    peers::{NO_NET, ONE_LAYER},
    pull::LIMIT,
    report::Report,
    stats::{median, ratio},
};

/// What a promise is about.
enum Subject {
    /// Wall time of a step of a case, as a ratio to the floor's inside a round.
    OverFloor(&'static str, &'static str),
    /// Wall time of a step of a case, as a ratio to another column's inside a round.
    Over(&'static str, &'static str, &'static str),
    /// Wall time of a step of a case, in milliseconds.
    Wall(&'static str, &'static str),
    /// Processor time of a step of a case, in milliseconds.
    Cpu(&'static str, &'static str),
    /// Processor time of a step of a case, as a ratio to another column's inside a round.
    CpuOver(&'static str, &'static str, &'static str),
    /// Milliseconds that a step takes longer than in another column.
    More(&'static str, &'static str, &'static str),
    /// MiB that a case needs at one time.
    Peak(&'static str),
    /// KiB for a sleeping pod of one app.
    FirstApp,
    /// KiB for each more app of a pod.
    NextApp,
}

use Subject::{Cpu, CpuOver, FirstApp, More, NextApp, Over, OverFloor, Peak, Wall};

/// Words, subject, column, and the most that is promised.
const PROMISES: &[(&str, Subject, &str, f64)] = &[
    (
        "one-shot `true`, default limits: x floor",
        OverFloor("oneshot", "run"),
        "rkt",
        1.4,
    ),
    (
        "one-shot `true`, --pids=0: x floor",
        OverFloor("oneshot", "run"),
        "rkt, --pids=0",
        1.4,
    ),
    ("one-shot `true`: CPU ms", Cpu("oneshot", "run"), "rkt", 5.5),
    (
        "pod of 3 apps, up: x floor",
        OverFloor("pod3", "up"),
        "rkt",
        2.2,
    ),
    ("enter `true`: ms", Wall("enter", "enter"), "rkt", 2.5),
    (
        "restart of an app: ms",
        Wall("restart", "restart"),
        "rkt",
        1.5,
    ),
    ("stop (KILL): ms", Wall("life", "stop"), "rkt", 2.0),
    ("rm: ms", Wall("life", "rm"), "rkt", 2.0),
    (
        "50 at once: x floor",
        OverFloor("fifty", "all 50"),
        "rkt",
        2.0,
    ),
    (
        "the default network adds: ms",
        More("net", "run", NO_NET),
        "rkt, default",
        4.0,
    ),
    (
        "50 at once with it: x without",
        Over("netfifty", "all 50", NO_NET),
        "rkt, default",
        1.6,
    ),
    (
        "ten layers instead of one add: ms",
        More("layers", "run", ONE_LAYER),
        "rkt, ten layers",
        1.0,
    ),
    (
        "pod to host: x a plain veth",
        Over(flows::CASE, flows::STEPS[0], flows::PLAIN),
        "rkt",
        1.05,
    ),
    (
        "pod to pod: x a plain bridge",
        Over(flows::CASE, flows::STEPS[1], flows::PLAIN),
        "rkt",
        1.05,
    ),
    (
        "published port: x a plain rule",
        Over(flows::CASE, flows::STEPS[2], flows::PLAIN),
        "rkt",
        1.05,
    ),
    (
        "one-shot with all walls: x without",
        Over("walls", "run", "no walls"),
        "rkt",
        1.15,
    ),
    ("sleeping pod of one app: KiB", FirstApp, "rkt", 512.0),
    ("each more app: KiB", NextApp, "rkt", 154.0),
    ("first pull: ms", Wall("pull", "first"), "rkt", 1200.0),
    (
        "first pull: x podman",
        Over("pull", "first", "podman"),
        "rkt",
        0.2,
    ),
    (
        "first pull: CPU x inflate + sha256",
        CpuOver("pull", "first", LIMIT),
        "rkt",
        1.3,
    ),
    ("first pull: MiB of memory", Peak("pull"), "rkt", 64.0),
    ("second pull: ms", Wall("pull", "again"), "rkt", 10.0),
    (
        "pull of many files: x podman",
        Over("files", "first", "podman"),
        "rkt",
        0.2,
    ),
    (
        "pull of many files: MiB of memory",
        Peak("files"),
        "rkt",
        64.0,
    ),
];

/// The table of promises; empty when rkt was not measured.
pub(crate) fn table(report: &Report) -> String {
    let mut out = String::new();
    for (words, subject, column, most) in PROMISES {
        let Some(number) = measured(report, subject, column) else {
            continue;
        };
        let verdict = if number <= *most { "kept" } else { "MISSED" };
        // Writing to a string cannot fail.
        let _ok = writeln!(
            out,
            "  {words:<44} {number:>9.2}   promised <= {most:<7} {verdict}"
        );
    }
    if out.is_empty() {
        out
    } else {
        format!("\npromises (absolute times depend on the machine):\n{out}")
    }
}

#[allow(clippy::cast_precision_loss)] // KiB of memory are far below 2^52
fn measured(report: &Report, subject: &Subject, column: &str) -> Option<f64> {
    match *subject {
        OverFloor(case, step) => over(report, (case, step), column, "floor"),
        Over(case, step, base) => over(report, (case, step), column, base),
        More(case, step, base) => {
            let (ours, theirs) = (
                series(report, case, step, column)?,
                series(report, case, step, base)?,
            );
            Some(middle_ms(&ours.wall_us)? - middle_ms(&theirs.wall_us)?)
        }
        Wall(case, step) => middle_ms(&series(report, case, step, column)?.wall_us),
        Cpu(case, step) => middle_ms(&series(report, case, step, column)?.cpu_us),
        CpuOver(case, step, other) => ratio(
            &series(report, case, step, column)?.cpu_us,
            &series(report, case, step, other)?.cpu_us,
        ),
        Peak(case) => {
            let is_it = |peak: &&crate::report::Peak| peak.case == case && peak.column == column;
            report
                .peaks
                .iter()
                .find(is_it)
                .map(|peak| peak.kib as f64 / 1024.0)
        }
        FirstApp => Some(memory(report, column, 1)?.pss_kib),
        NextApp => {
            let (one, three) = (memory(report, column, 1)?, memory(report, column, 3)?);
            Some((three.pss_kib - one.pss_kib) / 2.0)
        }
    }
}

fn over(report: &Report, (case, step): (&str, &str), column: &str, base: &str) -> Option<f64> {
    let ours = series(report, case, step, column)?;
    ratio(&ours.wall_us, &series(report, case, step, base)?.wall_us)
}

fn series<'a>(report: &'a Report, case: &str, step: &str, column: &str) -> Option<&'a Series> {
    report
        .series
        .iter()
        .find(|row| row.case == case && row.step == step && row.column == column)
}

fn memory<'a>(report: &'a Report, column: &str, apps: usize) -> Option<&'a Memory> {
    let is_it = |row: &&Memory| row.column == column && row.apps == apps && row.failed.is_none();
    report.memory.iter().find(is_it)
}

fn middle_ms(values: &[Option<f64>]) -> Option<f64> {
    let values: Vec<f64> = values.iter().flatten().map(|us| us / 1000.0).collect();
    median(&values)
}
