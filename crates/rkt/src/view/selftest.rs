//! What `rkt selftest` prints: attacks, how they ended, and what held.

use crate::columns;
use crate::failure::printable;
use rkt_isolate::defences::{DEFENCES, Defence, State};
use rkt_spec::Uuid;
use rkt_spec::plan::{AppPlan, Plan};
use serde_json::{Value, json};
use std::fmt::Write;

/// Longest answer in a table, characters.
const ANSWER: usize = 60;
/// Most lines of an audit in a table; JSON has all.
const LINES: usize = 20;

/// An attack of the probe's table.
#[derive(Debug, Clone)]
pub(crate) struct Attack {
    /// Row of the suite, a point, a number.
    pub(crate) id: String,
    name: String,
    /// Words of the defences each of which refuses it alone.
    held: Vec<String>,
    /// `pod`, `v1` or `stage`.
    pub(crate) needs: String,
    /// Whether, with more granted, it reaches what is the app's own.
    own: bool,
}

impl Attack {
    /// Reads the probe's list; a line that is none is left out.
    pub(crate) fn list(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::read).collect()
    }

    fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let word = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let held = value.get("held")?.as_array()?;
        Some(Self {
            id: word("id")?,
            name: word("name")?,
            held: held
                .iter()
                .filter_map(|w| w.as_str().map(str::to_owned))
                .collect(),
            needs: word("needs")?,
            own: value.get("own")?.as_bool()?,
        })
    }

    /// Beside the plan of an app: what stands against it.
    pub(crate) fn held_in(&self, plan: &Plan, app: &AppPlan) -> Held {
        let row = |word: &String| {
            let mut rows = DEFENCES.iter();
            rows.find(|d| d.weaken.first() == Some(&word.as_str()))
        };
        let mut held = Held::default();
        for defence in self.held.iter().filter_map(row) {
            let state = defence.state(plan, app);
            if state != State::On {
                held.holes.push((defence, state.why().to_owned()));
            }
            if !matches!(state, State::Off(_)) {
                held.by.push(defence);
            }
        }
        held
    }
}

/// The defences that refuse an attack.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Those that stand, each of which would do.
    by: Vec<&'static Defence>,
    /// Those that do not, or with a hole; and why.
    holes: Vec<(&'static Defence, String)>,
}

/// How an attack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing of it worked.
    Refused,
    /// Something of it worked.
    Worked,
    /// It worked on what is the app's own, because more was granted to it.
    Own,
    /// This kernel or host has nothing of the kind.
    Absent,
    /// It came to nothing that says anything.
    Unclear,
}

impl End {
    const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Worked => "WORKED",
            Self::Own => "own",
            Self::Absent => "absent",
            Self::Unclear => "unclear",
        }
    }
}

/// An attack that was made.
#[derive(Debug)]
pub(crate) struct Outcome {
    id: String,
    name: String,
    end: End,
    /// What decided: an attempt and its answer.
    answer: String,
    tries: Value,
    held: Held,
    /// What the host sees of it.
    reached: Vec<String>,
}

impl Outcome {
    fn new(attack: &Attack, end: End, answer: String, held: Held) -> Self {
        Self {
            id: attack.id.clone(),
            name: attack.name.clone(),
            end,
            answer,
            tries: json!([]),
            held,
            reached: Vec::new(),
        }
    }

    /// One that there is nothing to be made on.
    pub(crate) fn absent(attack: &Attack, words: &str, held: Held) -> Self {
        Self::new(attack, End::Absent, words.to_owned(), held)
    }

    /// Reads what the probe said. `granted` tells whether the app has more than the default.
    pub(crate) fn read(attack: &Attack, told: &str, granted: bool, held: Held) -> Self {
        let lines = told
            .lines()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let mut lines = lines.filter(|v| v.get("id").and_then(Value::as_str) == Some(&attack.id));
        let Some(value) = lines.next() else {
            let said = told.lines().next_back().unwrap_or("nothing");
            let words = format!("the probe said: {said}");
            return Self::new(attack, End::Unclear, words, held);
        };
        let empty = Vec::new();
        let tries = value
            .get("tries")
            .and_then(Value::as_array)
            .unwrap_or(&empty);
        let text =
            |v: &Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let result = text(&value, "result");
        let absent = !tries.is_empty() && tries.iter().all(|t| text(t, "note") == "ENOSYS");
        let end = match result.as_str() {
            // Calls that the filter answers as a kernel without them would.
            "refused" if absent && held.by.is_empty() => End::Absent,
            "refused" => End::Refused,
            "succeeded" if attack.own && granted => End::Own,
            "succeeded" => End::Worked,
            _ => End::Unclear,
        };
        let decisive = tries.iter().find(|t| text(t, "result") == result);
        let answer = decisive.map_or_else(String::new, |t| {
            format!("{}: {}", text(t, "what"), text(t, "note"))
        });
        let tries = json!(tries);
        Self {
            tries,
            ..Self::new(attack, end, answer, held)
        }
    }

    /// What stands in its way; of one that worked, what was opened for it.
    fn held_by(&self) -> String {
        let names: Vec<String> = match self.end {
            End::Worked | End::Own => {
                let hole = |(d, why): &(&Defence, String)| format!("{} ({})", line(why), d.flag);
                self.held.holes.iter().map(hole).collect()
            }
            _ => self.held.by.iter().map(|d| d.name.to_owned()).collect(),
        };
        names.join(", ")
    }

    /// The host saw something of it: whatever the probe says, it worked.
    pub(crate) fn reach(&mut self, what: String) {
        self.end = End::Worked;
        self.reached.push(what);
    }
}

/// An app that attacked.
#[derive(Debug)]
pub(crate) struct AppReport {
    /// Its name.
    pub(crate) name: String,
    /// In the order of the probe's table.
    pub(crate) outcomes: Vec<Outcome>,
}

/// A whole self-test.
#[derive(Debug)]
pub(crate) struct Report {
    /// The pod that was attacked.
    pub(crate) pod: Uuid,
    /// The pod whose walls it had.
    pub(crate) of: Option<Uuid>,
    /// Its apps, but the victim.
    pub(crate) apps: Vec<AppReport>,
    /// What an audit found afterwards.
    pub(crate) drift: Vec<String>,
    /// Attacks that were not made, because they need more around the pod.
    pub(crate) staged: usize,
}

impl Report {
    fn count(&self, end: End) -> usize {
        let all = self.apps.iter().flat_map(|a| &a.outcomes);
        all.filter(|o| o.end == end).count()
    }

    /// Whether an attack worked, or left something.
    pub(crate) fn is_broken(&self) -> bool {
        self.count(End::Worked) > 0 || !self.drift.is_empty()
    }

    fn total(&self) -> usize {
        self.apps.iter().map(|a| a.outcomes.len()).sum()
    }
}

fn line(text: &str) -> String {
    printable(text).replace('\n', "\u{fffd}")
}

fn cut(text: &str) -> String {
    let text = line(text);
    if text.chars().count() <= ANSWER {
        return text;
    }
    let begin: String = text.chars().take(ANSWER - 3).collect();
    begin + "..."
}

/// A line an attack, what the host saw, and the sum.
pub(crate) fn table(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    for app in &report.apps {
        let _ = writeln!(
            out,
            "Attacks from app {} of pod {}",
            app.name,
            report.pod.short()
        );
        let heading = ["ID", "ATTACK", "RESULT", "ANSWER", "HELD BY"];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        for o in &app.outcomes {
            lines.push(vec![
                o.id.clone(),
                o.name.clone(),
                o.end.word().to_owned(),
                cut(&o.answer),
                o.held_by(),
            ]);
        }
        out.push_str(&columns::text(&lines));
        for o in &app.outcomes {
            for what in &o.reached {
                let _ = writeln!(out, "the host sees of {}: {}", o.id, line(what));
            }
        }
        out.push('\n');
    }
    for drift in report.drift.iter().take(LINES) {
        let _ = writeln!(out, "audit: {}", line(drift));
    }
    if let Some(more) = report.drift.len().checked_sub(LINES + 1) {
        let _ = writeln!(out, "audit: and {} lines more", more + 1);
    }
    if !report.is_broken() {
        out.push_str(
            "The volume, the canary process, the sibling and the settings of the host are as before; the audit is clean.\n",
        );
    }
    let _ = writeln!(
        out,
        "{} attacks: {} refused, {} worked{}{}{}",
        report.total(),
        report.count(End::Refused),
        report.count(End::Worked),
        some(report.count(End::Own), "reached what is the app's own"),
        some(report.count(End::Absent), "not there to be attacked"),
        some(report.count(End::Unclear), "unclear"),
    );
    let _ = writeln!(
        out,
        "{} more need a stage around the pod; rkt's tests make them.",
        report.staged
    );
    out
}

fn some(count: usize, what: &str) -> String {
    match count {
        0 => String::new(),
        n => format!(", {n} {what}"),
    }
}

/// For programs.
pub(crate) fn value(report: &Report) -> Value {
    let apps: Vec<Value> = report
        .apps
        .iter()
        .map(|app| json!({ "app": app.name, "attacks": app.outcomes.iter().map(outcome).collect::<Vec<_>>() }))
        .collect();
    json!({
        "uuid": report.pod,
        "in": report.of,
        "verdict": if report.is_broken() { "broken" } else { "ok" },
        "attacks": report.total(),
        "refused": report.count(End::Refused),
        "worked": report.count(End::Worked),
        "own": report.count(End::Own),
        "absent": report.count(End::Absent),
        "unclear": report.count(End::Unclear),
        "staged": report.staged,
        "drift": report.drift,
        "apps": apps,
    })
}

fn outcome(o: &Outcome) -> Value {
    let one = |d: &Defence| json!({ "id": d.id, "name": d.name, "flag": d.flag });
    let held: Vec<Value> = o.held.by.iter().map(|d| one(d)).collect();
    let holes = o.held.holes.iter().map(|(d, why)| {
        let mut value = one(d);
        value["why"] = json!(why);
        value
    });
    let holes: Vec<Value> = holes.collect();
    json!({
        "id": o.id, "name": o.name, "result": o.end.word().to_lowercase(), "answer": o.answer,
        "tries": o.tries, "held_by": held, "holes": holes, "host": o.reached,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = r#"{"id":"B01.1","name":"remount","held":["caps","locks"],"keep":[],"needs":"pod","own":false}"#;

    #[test]
    fn what_the_host_sees_outranks_the_probe() {
        let attack = Attack::list(LISTED).remove(0);
        let said = r#"{"id":"B01.1","result":"refused","tries":[{"what":"mount \u001b[2J","result":"refused","note":"EPERM"}]}"#;
        let mut outcome = Outcome::read(&attack, said, false, Held::default());
        assert_eq!(outcome.end, End::Refused);
        outcome.reach("the volume was written to".into());
        let report = Report {
            pod: "0d5a1c5e-0000-4000-8000-000000000001".parse().unwrap(),
            of: None,
            apps: vec![AppReport {
                name: "a".into(),
                outcomes: vec![outcome],
            }],
            drift: Vec::new(),
            staged: 0,
        };
        assert!(report.is_broken());
        let text = table(&report);
        assert!(
            text.contains("the host sees of B01.1") && !text.contains('\x1b'),
            "{text}"
        );
        assert_eq!(value(&report)["verdict"], "broken");
    }

    #[test]
    fn what_says_nothing_is_unclear_and_what_was_granted_is_own() {
        let mut attack = Attack::list(LISTED).remove(0);
        assert_eq!(
            Outcome::read(&attack, "killed", false, Held::default()).end,
            End::Unclear
        );
        let worked = r#"{"id":"B01.1","result":"succeeded","tries":[{"what":"x","result":"succeeded","note":"y"}]}"#;
        assert_eq!(
            Outcome::read(&attack, worked, true, Held::default()).end,
            End::Worked
        );
        attack.own = true;
        assert_eq!(
            Outcome::read(&attack, worked, false, Held::default()).end,
            End::Worked
        );
        assert_eq!(
            Outcome::read(&attack, worked, true, Held::default()).end,
            End::Own
        );
    }

    #[test]
    fn every_word_of_a_defence_has_its_row() {
        for (name, _) in rkt_spec::plan::weaken::NAMES {
            let found = DEFENCES.iter().any(|d| d.weaken.first() == Some(name));
            assert!(found, "{name}");
        }
    }
}
