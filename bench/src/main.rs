//! `rkt-bench`: rkt beside its peers and beside the floor, in one run.
//!
//! Ratios are what counts; absolute times belong to the machine and the hour. Peers that are not
//! installed are named and left out. See `README.md` beside this crate.

#![forbid(unsafe_code)]

mod agent;
mod bench;
mod case;
mod containerd;
mod engine;
mod fault;
mod flows;
mod image;
mod limit;
mod machine;
mod memory;
mod peak;
mod peers;
mod place;
mod promise;
mod pull;
mod registry;
mod report;
mod stats;
mod traffic;
mod words;
mod world;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    bench::Bench,
    case::CASES,
    fault::{Doing, Result},
    machine::Machine,
    place::Place,
    report::Report,
    words::{Order, Wish},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match words::parse(&arguments) {
        Ok(Order::Run(wish)) => run(&wish),
        Ok(Order::Agent(desk)) => agent::serve(&desk),
        Ok(Order::Image(layout)) => image::large(&layout),
        Ok(Order::Inflate(layout)) => limit::inflate(&layout),
        Ok(Order::Flows(dir, rkt, image)) => flows::serve(&dir, &rkt, &image),
        Ok(Order::Take(at)) => traffic::take(at),
        Ok(Order::Send(to, bytes)) => traffic::send(to, bytes),
        Ok(Order::Help) => say(words::HELP),
        Err(fault) => Err(fault),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _told = writeln!(std::io::stderr(), "rkt-bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .doing(|| "print".to_owned())
}

/// Measures what is wished, prints the tables and keeps the samples.
fn run(wish: &Wish) -> Result<()> {
    let mut machine = Machine::look();
    let mut bench = Bench::new(Place::make()?)?;
    peers::gather(&mut bench, wish.rkt.as_deref(), wish.weak_rkt.as_deref())?;
    let mut series = Vec::new();
    for case in CASES.iter().filter(|case| wish.wants(case.name)) {
        series.extend(case.run(&mut bench, wish.rounds));
    }
    let rkt = wish.rkt.as_ref().map(|path| path.display().to_string());
    if wish.wants(flows::CASE) {
        series.extend(flows::measure(&mut bench, rkt.as_deref(), wish.rounds)?);
    }
    let memory = if wish.wants("memory") {
        memory::measure(&mut bench)
    } else {
        Vec::new()
    };
    let mut peaks = Vec::new();
    if wish.wants("pull") {
        let (pulled, most) = pull::measure(&mut bench, rkt.as_deref(), wish.rounds)?;
        series.extend(pulled);
        peaks = most;
    }
    machine.leave();
    let missing = std::mem::take(&mut bench.missing);
    let report = Report {
        machine,
        rounds: wish.rounds,
        missing,
        series,
        memory,
        peaks,
    };
    say(&report.text())?;
    say(&promise::table(&report))?;
    let kept = keep(&report, &wish.out)?;
    say(&format!("\nsamples: {}\n", kept.display()))
}

/// Writes the samples beside those of earlier runs.
fn keep(report: &Report, out: &Path) -> Result<PathBuf> {
    fs::create_dir_all(out).doing(|| format!("create `{}`", out.display()))?;
    let path = out.join(format!("{}.json", report.machine.date.replace(':', "")));
    let json = serde_json::to_string(report).doing(|| "write the samples".to_owned())?;
    fs::write(&path, json + "\n").doing(|| format!("write `{}`", path.display()))?;
    Ok(path)
}
