//! Tables for people and one JSON file with every sample.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    case::{CASES, Series},
    flows,
    machine::Machine,
    memory::Memory,
    pull::PULLS,
    stats::{median, percentile, ratio},
};

/// Everything one run found out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where and when.
    pub(crate) machine: Machine,
    /// Rounds that were asked for.
    pub(crate) rounds: usize,
    /// Peers that were not there.
    pub(crate) missing: Vec<String>,
    /// Every sample.
    pub(crate) series: Vec<Series>,
    /// Memory of sleeping pods.
    pub(crate) memory: Vec<Memory>,
    /// The most memory that pulls had at one time.
    pub(crate) peaks: Vec<Peak>,
}

/// The most memory that a command had, with all that it started.
#[derive(Debug, Serialize)]
pub(crate) struct Peak {
    /// Case.
    pub(crate) case: &'static str,
    /// Heading of the column.
    pub(crate) column: String,
    /// KiB of proportional set size.
    pub(crate) kib: u64,
}

impl Report {
    /// The tables.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let m = &self.machine;
        // Writing to a string cannot fail.
        let _ok = writeln!(
            out,
            "rkt-bench {}  commit {}  kernel {}  {} x {}  disk {}  cgroups {}  load {} -> {}",
            m.date,
            m.commit,
            m.kernel,
            m.cores,
            m.processor,
            m.disk,
            m.cgroups,
            m.load[0],
            m.load[1]
        );
        for why in &self.missing {
            let _ok = writeln!(out, "not measured: {why}");
        }
        let mut cases: Vec<(&str, &str)> =
            CASES.iter().map(|case| (case.name, case.about)).collect();
        cases.push((flows::CASE, flows::ABOUT));
        cases.extend(PULLS.iter().map(|pull| (pull.case, pull.about)));
        for (name, about) in cases {
            let series: Vec<&Series> = self.series.iter().filter(|row| row.case == name).collect();
            if !series.is_empty() {
                let _ok = writeln!(out, "\n{name}: {about}");
                table(&mut out, &series);
            }
            for peak in self.peaks.iter().filter(|peak| peak.case == name) {
                let mib = peak.kib.div_ceil(1024);
                let _ok = writeln!(out, "  {:<24} at most {mib} MiB of memory", peak.column);
            }
        }
        if !self.memory.is_empty() {
            self.memory_table(&mut out);
        }
        out
    }

    fn memory_table(&self, out: &mut String) {
        let _ok = writeln!(
            out,
            "\nmemory: what stays resident for each of 10 sleeping pods, apps aside"
        );
        let _ok = writeln!(
            out,
            "  {:<24} {:>5} {:>10} {:>12} {:>14}",
            "", "apps", "processes", "PSS KiB", "private KiB"
        );
        for row in &self.memory {
            let _ok = match &row.failed {
                Some(why) => writeln!(
                    out,
                    "  {:<24} {:>5} not measured: {why}",
                    row.column, row.apps
                ),
                None => writeln!(
                    out,
                    "  {:<24} {:>5} {:>10.1} {:>12.0} {:>14.0}",
                    row.column, row.apps, row.keepers, row.pss_kib, row.private_kib
                ),
            };
        }
    }
}

fn table(out: &mut String, series: &[&Series]) {
    let _ok = writeln!(
        out,
        "  {:<24} {:<8} {:>4} {:>9} {:>17} {:>9} {:>8} {:>8}",
        "", "step", "n", "wall ms", "(p10..p90)", "CPU ms", "x floor", "x rkt"
    );
    for row in series {
        let wall: Vec<f64> = row.wall_us.iter().flatten().map(|us| us / 1000.0).collect();
        let cpu: Vec<f64> = row.cpu_us.iter().flatten().map(|us| us / 1000.0).collect();
        if let Some(middle) = median(&wall) {
            let ends =
                [percentile(&wall, 0.1), percentile(&wall, 0.9)].map(|end| end.unwrap_or(0.0));
            let beside = |name: &str| {
                let other = series
                    .iter()
                    .find(|o| o.column == name && o.step == row.step)?;
                ratio(&row.wall_us, &other.wall_us)
            };
            let show = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |r| format!("{r:.2}"));
            let _ok = writeln!(
                out,
                "  {:<24} {:<8} {:>4} {:>9.2} {:>17} {:>9} {:>8} {:>8}",
                row.column,
                row.step,
                wall.len(),
                middle,
                format!("({:.2}..{:.2})", ends[0], ends[1]),
                median(&cpu).map_or("-".to_owned(), |cpu| format!("{cpu:.2}")),
                show(beside("floor")),
                show(beside("rkt")),
            );
        }
        if let Some(why) = &row.failed {
            let _ok = writeln!(out, "  {:<24} {:<8} failed: {why}", row.column, row.step);
        }
    }
}
