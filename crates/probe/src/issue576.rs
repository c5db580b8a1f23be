//! The four attacks of rkt issue #576, as the report shows them.

use crate::attack::{Aim, chosen};
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
        &["C02", "C03", "C01"],
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
    /// One list for each row of the suite.
    rows: Vec<Vec<Try>>,
}

impl Outcome {
    fn tries(&self) -> Vec<Try> {
        self.rows.concat()
    }

    /// Whether it worked.
    pub(crate) fn succeeded(&self) -> bool {
        self.tries().iter().any(Try::broke)
    }

    /// For JSON.
    pub(crate) fn value(&self) -> Value {
        let tries = self.tries();
        Value::map([
            ("name", Value::text(self.name)),
            ("result", Value::text(verdict(&tries))),
            ("tries", Value::List(tries.iter().map(Try::value).collect())),
        ])
    }
}

/// Makes all four.
pub(crate) fn run(aim: &Aim) -> Vec<Outcome> {
    ATTACKS
        .iter()
        .map(|(name, ids)| Outcome {
            name,
            rows: ids
                .iter()
                .map(|id| chosen(id).iter().flat_map(|a| a.run(aim)).collect())
                .collect(),
        })
        .collect()
}

/// For people.
pub(crate) fn page(outcomes: &[Outcome], ink: &Ink) -> String {
    outcomes
        .iter()
        .enumerate()
        .map(|(i, o)| page::attack(i + 1, o.name, &o.rows, ink))
        .collect()
}
