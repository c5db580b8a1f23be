//! What `rkt audit` prints.

use crate::columns;
use crate::failure::{Failure, printable};
use rkt_isolate::audit::{Audit, Finding, Group, Process};
use rkt_isolate::defences;
use rkt_spec::Uuid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A pod that was asked for.
#[derive(Debug)]
pub(crate) struct Row {
    /// Which.
    pub(crate) uuid: Uuid,
    /// What came of it.
    pub(crate) seen: Seen,
}

/// What came of looking at a pod.
#[derive(Debug)]
pub(crate) enum Seen {
    /// It runs.
    Processes(Audit),
    /// It does not run; its state.
    NotRunning(String),
    /// It could not be looked at.
    Failed(Failure),
}

impl Row {
    pub(crate) fn new(uuid: Uuid, seen: Seen) -> Self {
        Self { uuid, seen }
    }

    /// Its state in a word, and a remark.
    fn state(&self) -> (&'static str, String) {
        match &self.seen {
            Seen::Processes(audit) => {
                let processes = audit.processes.len();
                ("running", format!("{processes} processes"))
            }
            Seen::NotRunning(state) => ("ended", state.clone()),
            Seen::Failed(failure) => ("unreadable", failure.to_string()),
        }
    }

    /// What is not as planned, each with a text that tells it from others.
    fn drift(&self) -> BTreeMap<String, Value> {
        let Seen::Processes(audit) = &self.seen else {
            return BTreeMap::new();
        };
        let all = audit.processes.iter();
        all.flat_map(|p| p.findings.iter().map(move |f| (p, f)))
            .map(|(p, f)| {
                let mut value = finding(p, f);
                value["app"] = json!(p.app);
                value["init"] = p.init.into();
                value["pid"] = p.pid.into();
                (told(self.uuid, p, f), value)
            })
            .collect()
    }

    /// Whether something is not as planned.
    pub(crate) fn has_drift(&self) -> bool {
        matches!(&self.seen, Seen::Processes(audit) if !audit.is_clean())
    }
}

fn owner(process: &Process) -> String {
    match &process.app {
        Some(app) => app.to_string(),
        None if process.init => "init".to_owned(),
        None => "-".to_owned(),
    }
}

fn verdict(process: &Process, group: Group) -> &'static str {
    if process.findings.iter().any(|f| f.group == group) {
        "drift"
    } else if process.init && group == Group::Limits {
        // The plan has none for init.
        "-"
    } else {
        "ok"
    }
}

/// A line a process and group of fields, then one for each thing that is not as planned.
pub(crate) fn table(rows: &[Row]) -> String {
    let heading = ["POD", "APP", "PID", "WHAT", "VERDICT"];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    let mut drift = String::new();
    for row in rows {
        let Seen::Processes(audit) = &row.seen else {
            continue;
        };
        for process in &audit.processes {
            let owner = owner(process);
            for group in Group::ALL {
                lines.push(vec![
                    row.uuid.short().to_string(),
                    owner.clone(),
                    process.pid.to_string(),
                    group.name().to_owned(),
                    verdict(process, group).to_owned(),
                ]);
            }
            for (_, why) in audit.unseen.iter().filter(|(pid, _)| *pid == process.pid) {
                // Writing into a String cannot fail.
                let _ = writeln!(
                    drift,
                    "note: pod {} {owner} process {}: seccomp filter not seen: {why}",
                    row.uuid.short(),
                    process.pid
                );
            }
            for f in &process.findings {
                // Writing into a String cannot fail.
                let _ = writeln!(drift, "drift: {}", told(row.uuid, process, f));
            }
        }
    }
    columns::text(&lines) + &drift
}

/// What is not as planned, a line each.
pub(crate) fn lines(uuid: Uuid, audit: &Audit) -> Vec<String> {
    let all = audit.processes.iter();
    all.flat_map(|p| p.findings.iter().map(move |f| told(uuid, p, f)))
        .collect()
}

fn told(uuid: Uuid, process: &Process, f: &Finding) -> String {
    format!(
        "pod {} {} process {}: {}: wanted {}, found {}",
        uuid.short(),
        owner(process),
        process.pid,
        line(&f.field),
        line(&f.wanted),
        line(&f.found)
    )
}

/// Something that one look at the pods showed and the one before did not.
#[derive(Debug)]
pub(crate) struct Change {
    what: &'static str,
    uuid: Uuid,
    text: String,
    more: Value,
}

impl Change {
    fn new(what: &'static str, uuid: Uuid, text: String, more: Value) -> Self {
        Self {
            what,
            uuid,
            text,
            more,
        }
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        format!("{}: {}\n", self.what, self.text)
    }

    /// For programs.
    pub(crate) fn value(&self) -> Value {
        let mut value = json!({ "event": self.what, "uuid": self.uuid });
        if let (Some(value), Value::Object(more)) = (value.as_object_mut(), &self.more) {
            value.extend(more.clone());
        }
        value
    }
}

/// What happened between two looks, pod by pod: `running`, `ended`, `unreadable`, `drift`, `gone`.
pub(crate) fn changes(before: &[Row], now: &[Row]) -> Vec<Change> {
    let mut all = Vec::new();
    for row in now {
        let old = before.iter().find(|r| r.uuid == row.uuid);
        let (state, remark) = row.state();
        // What had ended before the first look is no news.
        let news = old.map_or(state != "ended", |old| old.state().0 != state);
        if news {
            let text = format!("pod {}: {}", row.uuid.short(), line(&remark));
            all.push(Change::new(
                state,
                row.uuid,
                text,
                json!({ "state": remark }),
            ));
        }
        let (had, has) = (old.map(Row::drift).unwrap_or_default(), row.drift());
        let only = |a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>| {
            let new = a.iter().filter(|(key, _)| !b.contains_key(*key));
            new.map(|(key, value)| (key.clone(), value.clone()))
                .collect::<Vec<_>>()
        };
        for (what, list) in [("drift", only(&has, &had)), ("gone", only(&had, &has))] {
            all.extend(
                list.into_iter()
                    .map(|(text, value)| Change::new(what, row.uuid, text, value)),
            );
        }
    }
    let gone = before
        .iter()
        .filter(|r| !now.iter().any(|n| n.uuid == r.uuid) && r.state().0 != "ended");
    all.extend(gone.map(|row| {
        let text = format!("pod {}: removed", row.uuid.short());
        Change::new("ended", row.uuid, text, json!({ "state": "removed" }))
    }));
    all
}

/// Text that a pod may have chosen, on one line.
fn line(text: &str) -> String {
    printable(text).replace('\n', "\u{fffd}")
}

/// A pod as JSON.
pub(crate) fn value(row: &Row) -> Value {
    match &row.seen {
        Seen::Processes(audit) => json!({
            "uuid": row.uuid,
            "state": "running",
            "verdict": if audit.is_clean() { "ok" } else { "drift" },
            "setting_up": audit.setting_up,
            "unseen": audit.unseen.iter().map(unseen).collect::<Vec<_>>(),
            "processes": audit.processes.iter().map(process).collect::<Vec<_>>(),
        }),
        Seen::NotRunning(state) => json!({ "uuid": row.uuid, "state": state }),
        Seen::Failed(failure) => json!({
            "uuid": row.uuid,
            "state": "running",
            "error": failure.to_string(),
        }),
    }
}

fn unseen((pid, why): &(i32, String)) -> Value {
    json!({ "pid": pid, "field": "seccomp filter", "because": why })
}

fn process(process: &Process) -> Value {
    let groups: serde_json::Map<String, Value> = Group::ALL
        .into_iter()
        .map(|g| (g.name().to_owned(), verdict(process, g).into()))
        .collect();
    let drift: Vec<Value> = process
        .findings
        .iter()
        .map(|f| finding(process, f))
        .collect();
    json!({
        "app": process.app,
        "init": process.init,
        "pid": process.pid,
        "program": process.program,
        "groups": groups,
        "drift": drift,
    })
}

fn finding(process: &Process, f: &Finding) -> Value {
    let defences = defences::of_finding(f.group, &f.field, process.init);
    let ids: Vec<_> = defences.iter().map(|d| d.id).collect();
    json!({
        "group": f.group.name(), "field": f.field, "wanted": f.wanted, "found": f.found,
        "defences": ids,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_chose_stays_on_its_line() {
        let finding = Finding {
            group: Group::Descriptors,
            field: "descriptor 3".into(),
            wanted: "in the app's mounts".into(),
            found: "/a\n\x1b[2Jok".into(),
        };
        let audit = Audit {
            processes: vec![Process {
                app: None,
                init: false,
                pid: 7,
                program: "/x".into(),
                findings: vec![finding],
            }],
            setting_up: 0,
            unseen: Vec::new(),
        };
        let row = Row {
            uuid: "0d5a1c5e-0000-4000-8000-000000000001".parse().unwrap(),
            seen: Seen::Processes(audit),
        };
        let text = table(&[row]);
        assert!(text.ends_with("found /a\u{fffd}\u{fffd}[2Jok\n"), "{text}");
        assert_eq!(text.lines().filter(|l| l.ends_with("drift")).count(), 1);
    }
}
