//! The doctor on this host.

use super::child::{Dir, Outcome, Try, check, outcome};
use rkt_isolate::doctor::{State, examine as ask};

pub(crate) fn examine() -> Outcome {
    outcome(run())
}

fn mounts() -> Try<usize> {
    Ok(std::fs::read_to_string("/proc/self/mountinfo")?
        .lines()
        .count())
}

fn descriptors() -> Try<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

fn run() -> Try {
    let dir = Dir::new("doctor")?;
    let before = (mounts()?, descriptors()?);
    let start = std::time::Instant::now();
    let findings = ask(&dir.0);
    super::super::say(&format!("  asked in {:?}", start.elapsed()));
    for f in &findings {
        super::super::say(&format!("  {:?} {}: {}", f.state, f.name, f.detail));
        check(
            f.state == State::Ok || f.remedy.is_some() || f.name.starts_with("cgroup"),
            || format!("`{}` has no remedy", f.name),
        )?;
    }
    let mut names: Vec<_> = findings.iter().map(|f| f.name).collect();
    names.sort_unstable();
    names.dedup();
    check(names.len() == findings.len(), || "a name twice".to_owned())?;
    check(before == (mounts()?, descriptors()?), || {
        "mounts or descriptors were left".to_owned()
    })?;
    check(std::fs::read_dir(&dir.0)?.count() == 0, || {
        "files were left".to_owned()
    })?;
    // What the other tests of this file rely on, it must find.
    for name in ["user namespaces", "namespaces", "seccomp", "privilege"] {
        let state = findings.iter().find(|f| f.name == name).map(|f| f.state);
        check(state == Some(State::Ok), || format!("{name}: {state:?}"))?;
    }
    let nowhere = ask(&dir.0.join("none"));
    check(
        nowhere.iter().any(|f| f.detail.starts_with("not tried")),
        || "a data directory that is not there was tried".to_owned(),
    )
}
