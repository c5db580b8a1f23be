//! `rkt audit --watch`: looks again and again, and tells what changes.

use super::{DRIFT, Words, chosen, one};
use crate::args::Format;
use crate::failure::{Failure, USAGE};
use crate::view::audit::{Change, Row, Seen, changes};
use rkt_pod::Pods;
use rkt_spec::Uuid;
use std::time::{Duration, Instant};

/// Shortest time between two looks: a look costs a few milliseconds a pod.
const LEAST: Duration = Duration::from_millis(100);

/// Ends when no named pod runs any more; without names only by a signal.
pub(super) fn run(pods: &Pods, asked: &Words, every: Duration) -> Result<u8, Failure> {
    let named: Vec<Uuid> = match asked.pods.is_empty() {
        true => Vec::new(),
        false => chosen(pods, &asked.pods)?
            .iter()
            .map(|p| p.uuid())
            .collect(),
    };
    let every = every.max(LEAST);
    let mut before: Vec<Row> = Vec::new();
    let mut status = 0;
    loop {
        let began = Instant::now();
        let now = look(pods, &named)?;
        for change in changes(&before, &now) {
            tell(&change, asked.format)?;
        }
        if now.iter().any(Row::has_drift) {
            status = DRIFT;
        }
        let runs = |row: &Row| !matches!(row.seen, Seen::NotRunning(_));
        if !named.is_empty() && !now.iter().any(runs) {
            // A pod that never ran while it was looked at is what is asked for by mistake.
            return Ok(if before.is_empty() { USAGE } else { status });
        }
        before = now;
        std::thread::sleep(every.saturating_sub(began.elapsed()));
    }
}

/// One look at the named pods, or at all. A pod that was removed has ended.
fn look(pods: &Pods, named: &[Uuid]) -> Result<Vec<Row>, Failure> {
    if named.is_empty() {
        let all = chosen(pods, &[])?;
        return Ok(all
            .iter()
            .map(|pod| Row::new(pod.uuid(), one(pods, pod)))
            .collect());
    }
    let mut rows = Vec::with_capacity(named.len());
    for uuid in named {
        let seen = match pods.get(*uuid)? {
            Some(pod) => one(pods, &pod),
            None => Seen::NotRunning("removed".to_owned()),
        };
        rows.push(Row::new(*uuid, seen));
    }
    Ok(rows)
}

fn tell(change: &Change, format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Table => change.line(),
        format => super::super::json(&change.value(), format)?,
    };
    super::super::say(&text);
    Ok(())
}
