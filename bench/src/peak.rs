//! The most memory that a command and all below it have at one time.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    engine::Words,
    fault::{Doing, Fault, Result},
    memory::rollup,
};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Runs a command and adds up, again and again, the proportional set sizes of it and of all that it
/// has started: the largest sum, in KiB. Looking slows it down, so nothing else is measured then.
pub(crate) fn of(words: &Words) -> Result<u64> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Fault::new("a command without words"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .doing(|| format!("run `{program}`"))?;
    let mut most = 0;
    loop {
        if let Some(end) = child.try_wait().doing(|| "wait".to_owned())? {
            return match end.success() {
                true => Ok(most),
                false => Err(Fault::new(format!("`{}`: {end}", words.join(" ")))),
            };
        }
        let family = family(child.id());
        most = most.max(family.iter().map(|pid| rollup(*pid, &["Pss:"])).sum());
        std::thread::sleep(LOOK);
    }
}

/// A process and all below it.
fn family(top: u32) -> Vec<u32> {
    let mut all = vec![top];
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        at += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks {
            let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                list.split_whitespace()
                    .filter_map(|word| word.parse::<u32>().ok()),
            );
        }
    }
    all
}
