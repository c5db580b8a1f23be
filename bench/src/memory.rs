//! Memory that stays resident for each sleeping pod, the apps themselves aside.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use serde::Serialize;

use crate::{
    agent::Pace,
    bench::{Bench, Rank},
};

/// How many pods sleep when memory is read.
const PODS: usize = 10;

/// One column of the table of memory.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Memory {
    /// Heading.
    pub(crate) column: String,
    /// Apps in each pod.
    pub(crate) apps: usize,
    /// Processes that stay behind for each pod.
    pub(crate) keepers: f64,
    /// KiB of proportional set size of all keepers, for each pod.
    pub(crate) pss_kib: f64,
    /// The same counted by what nobody shares.
    pub(crate) private_kib: f64,
    /// Why there is no number.
    pub(crate) failed: Option<String>,
}

/// Reads memory at ten pods of one app and, where the pod stays, at ten pods of three.
pub(crate) fn measure(bench: &mut Bench) -> Vec<Memory> {
    let mut rows = Vec::new();
    for at in 0..bench.engines.len() {
        if bench.engines[at].rank != Rank::Main || bench.engine(at).keepers().is_empty() {
            continue;
        }
        rows.push(column(bench, at, 1));
        if !bench.engine(at).pod_ends_itself() {
            rows.push(column(bench, at, 3));
        }
    }
    rows
}

fn column(bench: &mut Bench, at: usize, apps: usize) -> Memory {
    let before = pids();
    let ids: Vec<String> = (0..PODS).map(|_| bench.next_id()).collect();
    let mut failed = None;
    for id in &ids {
        let engine = bench.engine(at);
        let commands = if apps == 1 {
            engine.up(id)
        } else {
            engine.pod_up(id)
        };
        if let Err(why) = bench.ask(at, commands, Pace::InTurn) {
            failed = Some(why);
        }
    }
    // What starting has left behind settles: lazy frees, ended helpers.
    std::thread::sleep(Duration::from_millis(500));
    let found = keepers(&before, &bench.engine(at).keepers(), &bench.place.dir);
    let engine = bench.engine(at);
    let row = Memory {
        column: engine.name().to_owned(),
        apps,
        keepers: per_pod(found.len() as u64),
        pss_kib: per_pod(found.iter().map(|pid| rollup(*pid, &["Pss:"])).sum()),
        private_kib: per_pod(
            found
                .iter()
                .map(|pid| rollup(*pid, &["Private_Clean:", "Private_Dirty:"]))
                .sum(),
        ),
        failed,
    };
    for id in &ids {
        let engine = bench.engine(at);
        let commands = if apps == 1 {
            [engine.stop(id), engine.remove(id)].concat()
        } else {
            engine.pod_down(id)
        };
        let _ended = bench.ask(at, commands, Pace::InTurn);
    }
    row
}

/// A share of a total.
#[allow(clippy::cast_precision_loss)] // far below 2^52
fn per_pod(total: u64) -> f64 {
    total as f64 / PODS as f64
}

/// Every process of this moment.
fn pids() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// New processes that run one of `programs` and name our directory in program or arguments.
fn keepers(before: &BTreeSet<u32>, programs: &[String], ours: &Path) -> Vec<u32> {
    let ours = ours.display().to_string();
    let is_one = |pid: &u32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let exe = exe.display().to_string();
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        programs
            .iter()
            .any(|program| exe.starts_with(program.as_str()))
            && (exe.contains(&ours) || String::from_utf8_lossy(&line).contains(&ours))
    };
    pids().difference(before).copied().filter(is_one).collect()
}

/// The sum of these rows of a process's memory, in KiB.
pub(crate) fn rollup(pid: u32, rows: &[&str]) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let wanted = text
        .lines()
        .filter(|line| rows.iter().any(|row| line.starts_with(row)));
    wanted
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}
