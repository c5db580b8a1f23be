//! The defences: one row each, with its id. Everything that tells of defences reads this table.
//!
//! The decision ([`crate::plan`]) names the row in its report, so that `--explain` and `rkt explain`
//! show it; `rkt audit` names it in what it finds; `docs/reference/defences.md` is written from it;
//! tests and attacks refer to the ids. A row that is missing in one of these fails a test.

mod state;
mod table;

pub use state::State;
pub use table::DEFENCES;

use crate::audit::Group;
use rkt_spec::plan::{AppPlan, Plan, weaken};
use std::fmt::Write;

/// A row: something that an app or a pod cannot do, and what sees to it.
#[derive(Debug, Clone, Copy)]
pub struct Defence {
    /// `W01`, ...; never given to another defence.
    pub id: &'static str,
    /// A word or two for tables.
    pub name: &'static str,
    /// What it holds, as a sentence about the pod.
    pub holds: &'static str,
    /// What of the kernel holds it, and where rkt sets it.
    pub by: &'static str,
    /// The flags that change it; empty when none does.
    pub flag: &'static str,
    /// How `rkt audit` sees it.
    pub audit: Seen,
    /// Words of the hidden `--weaken` that take it away.
    pub weaken: &'static [&'static str],
    /// Tests that miss it when it is gone: `module::function` below `tests/`, or
    /// `crates/...::function`.
    pub tests: &'static [&'static str],
    /// Whether a plan has it, switches for tests not counted; see [`Defence::state`].
    pub(crate) planned: fn(&Plan, &AppPlan) -> State,
}

/// How `rkt audit` sees a defence.
#[derive(Debug, Clone, Copy)]
pub enum Seen {
    /// Groups and fields of its findings; a final `*` stands for any end.
    Fields(&'static [(Group, &'static str)]),
    /// Not at all, and why.
    Not(&'static str),
}

impl Defence {
    /// Whether a plan has it for an app.
    pub fn state(&self, plan: &Plan, app: &AppPlan) -> State {
        let gone = weaken::NAMES
            .iter()
            .find(|(name, bit)| plan.weaken & bit != 0 && self.weaken.contains(name));
        match gone {
            Some((name, _)) => State::Off(format!("taken away by --weaken={name}")),
            None => (self.planned)(plan, app),
        }
    }

    fn sees(&self, group: Group, field: &str) -> bool {
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(begin) => field.starts_with(begin),
            None => field == pattern,
        };
        match self.audit {
            Seen::Fields(list) => list.iter().any(|(g, f)| *g == group && fits(f)),
            Seen::Not(_) => false,
        }
    }
}

/// The row of an id.
pub fn find(id: &str) -> Option<&'static Defence> {
    DEFENCES.iter().find(|d| d.id == id)
}

/// The rows that a finding of the audit is about; `init` tells whether it is of the pod's PID 1.
pub fn of_finding(group: Group, field: &str, init: bool) -> Vec<&'static Defence> {
    if init {
        return find(table::INIT).into_iter().collect();
    }
    let all = DEFENCES.iter().filter(|d| d.id != table::INIT);
    all.filter(|d| d.sees(group, field)).collect()
}

/// Ids that the decision's report uses.
pub(crate) use table::id;

/// The text of `docs/reference/defences.md`.
pub fn document() -> String {
    let mut out = String::from(
        "# The defences\n\n\
         Written from the table in `crates/isolate/src/defences/table.rs`; `RKT_BLESS=1 cargo test -p rkt-isolate defences`\n\
         writes it anew. The ids are the ones of `rkt run --explain`, `rkt explain`, `rkt audit` and of the attacks.\n\n\
         | Id | Defence | What it holds | By | Flag | `rkt audit` | `--weaken` |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for d in DEFENCES {
        let audit = match d.audit {
            Seen::Fields(list) => {
                let words: Vec<String> = list
                    .iter()
                    .map(|(group, field)| format!("{}: {field}", group.name()))
                    .collect();
                words.join(", ")
            }
            Seen::Not(why) => format!("no: {why}"),
        };
        let flag = if d.flag.is_empty() { "none" } else { d.flag };
        let switch = match d.weaken {
            [] => "none".to_owned(),
            list => list.join(", "),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {flag} | {audit} | {switch} |",
            d.id, d.name, d.holds, d.by
        );
    }
    out.push_str("\n## Tests\n\nWhat fails when a defence is gone.\n\n");
    for d in DEFENCES {
        let _ = writeln!(out, "- {} {}: `{}`", d.id, d.name, d.tests.join("`, `"));
    }
    out
}

#[cfg(test)]
mod tests;
