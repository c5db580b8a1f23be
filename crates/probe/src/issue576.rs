//! The four attacks of rkt issue #576, as the report shows them.

use crate::attack::{Aim, by_id};
use crate::page::{self, Ink};
use crate::trial::{Try, verdict};
use crate::value::Value;

/// Each with the rows of the suite that it is made of.
const ATTACKS: &[(&str, &[&str])] = &[
    (
        "remount a read-only volume read-write",
        &["B01", "B02", "B03", "B04", "B05"],
    ),
    (
        "freeze a host process through its cgroup",
        &["C02", "C01", "C04"],
    ),
    (
        "read and write through /proc/PID/root of init and of siblings",
        &["D01", "D02"],
    ),
    ("leave the chroot", &["B09"]),
];

/// How one of them ended.
pub(crate) struct Outcome {
    name: &'static str,
    tries: Vec<Try>,
}

impl Outcome {
    /// Whether it worked.
    pub(crate) fn succeeded(&self) -> bool {
        self.tries.iter().any(Try::broke)
    }

    /// For JSON.
    pub(crate) fn value(&self) -> Value {
        Value::map([
            ("name", Value::text(self.name)),
            ("result", Value::text(verdict(&self.tries))),
            (
                "tries",
                Value::List(self.tries.iter().map(Try::value).collect()),
            ),
        ])
    }
}

/// Makes all four.
pub(crate) fn run(aim: &Aim) -> Vec<Outcome> {
    ATTACKS
        .iter()
        .map(|(name, ids)| Outcome {
            name,
            tries: ids
                .iter()
                .filter_map(|id| by_id(id))
                .flat_map(|a| a.run(aim))
                .collect(),
        })
        .collect()
}

/// For people.
pub(crate) fn page(outcomes: &[Outcome], ink: &Ink) -> String {
    outcomes
        .iter()
        .enumerate()
        .map(|(i, o)| page::attack(i + 1, o.name, verdict(&o.tries), &o.tries, ink))
        .collect()
}
