//! Many starters, one file of locks.

use super::child::{Dir, Held, Outcome, Try, check, outcome};
use rkt_isolate::blocks::{BLOCK_IDS, reserve_around};
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::BTreeSet;
use std::time::Instant;

pub(crate) fn fifty() -> Outcome {
    outcome(run_fifty())
}

fn run_fifty() -> Try {
    let dir = Dir::new("fifty")?;
    let start = Instant::now();
    // None waits for another: all are forked before the first is heard.
    let mut starters = Vec::new();
    for n in 0..50u32 {
        let slots = if n % 10 == 9 { 40 } else { 16 };
        starters.push(Held::start(0, None, || {
            let block = reserve_around(&dir.0, slots, &[])?;
            let said = format!("{} {}", block.base, block.slots);
            // Held until this process ends, as a supervisor holds it.
            std::mem::drop(rkt_sys::fd::keep_on_exec(rustix::fd::AsFd::as_fd(
                &block.lock,
            )));
            Box::leak(Box::new(block));
            Ok(said)
        })?);
    }
    let mut ids = BTreeSet::new();
    let mut blocks = 0;
    for starter in &starters {
        let said = starter.hear()?;
        let (base, slots) = said.split_once(' ').unwrap_or(("", ""));
        let (base, slots): (u32, u32) = (base.parse()?, slots.parse()?);
        check(base % BLOCK_IDS == 0 && slots % 16 == 0, || said.clone())?;
        for block in 0..slots / 16 {
            blocks += 1;
            check(ids.insert(base + block * BLOCK_IDS), || {
                format!("block {base} was given twice")
            })?;
        }
    }
    let took = start.elapsed();
    check(blocks == 45 + 5 * 3, || format!("{blocks} blocks"))?;
    check(took.as_secs() < 5, || format!("took {took:?}"))?;
    for starter in starters {
        starter.end()?;
    }
    let first = reserve_around(&dir.0, 16, &[])?;
    check(first.base == BLOCK_IDS, || "a block leaked".to_owned())
}

pub(crate) fn killed() -> Outcome {
    outcome(run_killed())
}

fn run_killed() -> Try {
    let dir = Dir::new("killed")?;
    let holder = Held::start(0, None, || {
        let block = reserve_around(&dir.0, 16, &[])?;
        Box::leak(Box::new(block));
        Ok(String::new())
    })?;
    holder.hear()?;
    let second = reserve_around(&dir.0, 16, &[])?;
    check(second.base == 2 * BLOCK_IDS, || "not held".to_owned())?;
    pidfd_send_signal(&holder.pidfd, Signal::KILL)?;
    holder.wait()?;
    let again = reserve_around(&dir.0, 16, &[])?;
    check(again.base == BLOCK_IDS, || "not freed".to_owned())
}
