//! Pods as a table, as lines of `name=value`, and as JSON.

use super::networks;
use super::ports;
use super::time;
use crate::columns;
use rkt_pod::logs::escape;
use rkt_pod::{AppState, State};
use rkt_spec::Uuid;
use rkt_spec::network::{PortPlan, Wired};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is known about a pod: manifest, status and lock put together.
#[derive(Debug, Clone)]
pub(crate) struct PodRow {
    /// Identity.
    pub(crate) uuid: Uuid,
    /// Name, while it is the pod's.
    pub(crate) name: Option<String>,
    /// State, from shelf and lock.
    pub(crate) state: State,
    /// Nanoseconds since 1970.
    pub(crate) created: Option<u64>,
    /// Nanoseconds since 1970.
    pub(crate) started: Option<u64>,
    /// Nanoseconds since 1970.
    pub(crate) finished: Option<u64>,
    /// Host pid of init.
    pub(crate) pid: Option<u32>,
    /// Host pid of the supervisor.
    pub(crate) supervisor: Option<u32>,
    /// Whether every app runs or has run.
    pub(crate) ready: bool,
    /// Exit status.
    pub(crate) exit_code: Option<i32>,
    /// Why it ended or did not start.
    pub(crate) reason: String,
    /// Names of its networks.
    pub(crate) networks: Vec<String>,
    /// Its devices and addresses there.
    pub(crate) wired: Vec<Wired>,
    /// Ports of the host that lead into it; before its start, and after its end, those that it was to
    /// have.
    pub(crate) ports: Vec<PortPlan>,
    /// Its apps.
    pub(crate) apps: Vec<AppRow>,
    /// Labels of the user.
    pub(crate) user_labels: BTreeMap<String, String>,
    /// Annotations of the user.
    pub(crate) user_annotations: BTreeMap<String, String>,
}

/// What is known about an app.
#[derive(Debug, Clone)]
pub(crate) struct AppRow {
    /// Name in the pod.
    pub(crate) name: String,
    /// `None` when the supervisor has said nothing yet.
    pub(crate) state: Option<AppState>,
    /// Host pid of its first process, while it runs.
    pub(crate) pid: Option<u32>,
    /// Nanoseconds since 1970.
    pub(crate) created: Option<u64>,
    /// Nanoseconds since 1970.
    pub(crate) started: Option<u64>,
    /// Nanoseconds since 1970.
    pub(crate) finished: Option<u64>,
    /// Exit status as a shell has it.
    pub(crate) exit_code: Option<i32>,
    /// Signal that ended it; 0 when none did.
    pub(crate) signal: u8,
    /// Whether its program was ever executed.
    pub(crate) ran: bool,
    /// How often a process of it was killed for memory.
    pub(crate) oom: u32,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// Why it did not run, or did not end by itself.
    pub(crate) reason: String,
    /// Its image as the user named it.
    pub(crate) image_name: String,
    /// `sha256:...`.
    pub(crate) image_id: String,
    /// Labels of the user.
    pub(crate) user_labels: BTreeMap<String, String>,
    /// Annotations of the user.
    pub(crate) user_annotations: BTreeMap<String, String>,
}

/// How `list` prints.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Table {
    /// Whole ids and times.
    pub(crate) full: bool,
    /// No headings.
    pub(crate) no_legend: bool,
    /// Nanoseconds since 1970.
    pub(crate) now: u64,
}

/// The table of `rkt list`.
pub(crate) fn table(pods: &[PodRow], how: Table) -> String {
    let mut rows = Vec::new();
    if !how.no_legend {
        let mut head = vec!["UUID", "APP", "IMAGE NAME"];
        head.extend(how.full.then_some("IMAGE ID"));
        head.extend(["STATE", "CREATED", "STARTED", "NETWORKS", "NAME", "PORTS"]);
        rows.push(head.into_iter().map(str::to_owned).collect());
    }
    for pod in pods {
        let when = |ns: Option<u64>| match ns {
            Some(ns) if how.full => time::full(ns),
            Some(ns) => time::ago(ns, how.now),
            None => String::new(),
        };
        let uuid = if how.full {
            pod.uuid.to_string()
        } else {
            pod.uuid.short()
        };
        let first = [
            uuid,
            pod.state.as_str().to_owned(),
            when(pod.created),
            when(pod.started),
        ];
        let mut pod_cells = Some((
            first,
            networks::words(&pod.networks, &pod.wired).join(", "),
            pod.name.clone(),
            match pod.state {
                State::Running => pod.ports.iter().map(ports::line).collect(),
                _ => Vec::new(),
            },
        ));
        let none = unknown_app();
        let apps = if pod.apps.is_empty() {
            std::slice::from_ref(&none)
        } else {
            &pod.apps
        };
        for app in apps {
            let (first, networks, name, ports) = pod_cells.take().unwrap_or_default();
            let [uuid, state, created, started] = first;
            let mut row = vec![uuid, escape::line(&app.name), escape::line(&app.image_name)];
            if how.full {
                row.push(short_id(&app.image_id));
            }
            row.extend([
                state,
                created,
                started,
                escape::line(&networks),
                name.unwrap_or_default(),
                escape::line(&ports.join(", ")),
            ]);
            rows.push(row);
        }
    }
    columns::text(&rows)
}

fn unknown_app() -> AppRow {
    AppRow {
        name: "-".to_owned(),
        state: None,
        pid: None,
        created: None,
        started: None,
        finished: None,
        exit_code: None,
        signal: 0,
        ran: false,
        oom: 0,
        restarts: 0,
        reason: String::new(),
        image_name: "-".to_owned(),
        image_id: "-".to_owned(),
        user_labels: BTreeMap::new(),
        user_annotations: BTreeMap::new(),
    }
}

/// `sha256-` and twelve digits.
fn short_id(id: &str) -> String {
    match id.split_once([':', '-']) {
        Some((kind, digits)) => format!("{kind}-{}", digits.get(..12).unwrap_or(digits)),
        None => id.to_owned(),
    }
}

/// The lines of `rkt status`.
pub(crate) fn lines(pod: &PodRow) -> String {
    let mut out = format!("state={}\n", pod.state.as_str());
    let mut line = |name: &str, value: &str| {
        out.push_str(&format!("{name}={}\n", escape::line(value)));
    };
    if let Some(ns) = pod.created {
        line("created", &time::full(ns));
    }
    if let Some(ns) = pod.started {
        line("started", &time::full(ns));
    }
    let ran = pod.state == State::Running || pod.state.has_exited();
    if ran {
        let words = networks::words(&pod.networks, &pod.wired);
        line("networks", &words.join(","));
        let ways = networks::ways(&pod.wired);
        if !ways.is_empty() {
            line("routes", &ways.join(","));
        }
        if let Some(pid) = pod.pid {
            line("pid", &pid.to_string());
        }
        line(
            "exited",
            if pod.state.has_exited() {
                "true"
            } else {
                "false"
            },
        );
    }
    for app in &pod.apps {
        if let Some(code) = app.exit_code {
            line(&format!("app-{}", app.name), &code.to_string());
        }
    }
    if let Some(name) = &pod.name {
        line("name", name);
    }
    if !pod.ports.is_empty() {
        let ports: Vec<String> = pod.ports.iter().map(ports::line).collect();
        line("ports", &ports.join(","));
    }
    if !pod.reason.is_empty() {
        line("reason", &pod.reason);
    }
    for (name, value) in &pod.user_labels {
        line(&format!("user-label-{}", escape::line(name)), value);
    }
    for app in &pod.apps {
        if app.oom > 0 {
            line(&format!("oom-{}", app.name), &app.oom.to_string());
        }
        if !app.reason.is_empty() {
            line(&format!("reason-{}", app.name), &app.reason);
        }
    }
    out
}

/// A pod as JSON: the original's keys and units (pods in seconds, apps in nanoseconds), and ours.
pub(crate) fn value(pod: &PodRow) -> Value {
    const SECOND: u64 = 1_000_000_000;
    let mut map = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value);
        }
    };
    let names: Vec<_> = pod.apps.iter().map(|a| a.name.as_str()).collect();
    set("name", Some(json!(pod.uuid.to_string())));
    set("state", Some(json!(pod.state.as_str())));
    let joined = networks::joined(&pod.networks, &pod.wired);
    set("networks", (!pod.networks.is_empty()).then_some(joined));
    let ports = pod.ports.iter().map(ports::value);
    set("ports", some_list(ports.collect()));
    set("app_names", Some(json!(names)));
    set("apps", Some(pod.apps.iter().map(app_value).collect()));
    set("created_at", pod.created.map(|ns| json!(ns / SECOND)));
    set("started_at", pod.started.map(|ns| json!(ns / SECOND)));
    set("finished_at", pod.finished.map(|ns| json!(ns / SECOND)));
    set("user_labels", some_map(&pod.user_labels));
    set("user_annotations", some_map(&pod.user_annotations));
    set("pod_name", pod.name.as_ref().map(|n| json!(n)));
    set("pid", pod.pid.map(|pid| json!(pid)));
    set("supervisor", pod.supervisor.map(|pid| json!(pid)));
    set("ready", Some(json!(pod.ready)));
    set("exit_code", pod.exit_code.map(|code| json!(code)));
    set("reason", some_text(&pod.reason));
    Value::Object(map)
}

fn app_value(app: &AppRow) -> Value {
    let mut map = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value);
        }
    };
    let state = app.state.map_or("unknown", AppState::as_str);
    set("name", Some(json!(app.name)));
    set("state", Some(json!(state)));
    set("created_at", app.created.map(|ns| json!(ns)));
    set("started_at", app.started.map(|ns| json!(ns)));
    set("finished_at", app.finished.map(|ns| json!(ns)));
    set("exit_code", app.exit_code.map(|code| json!(code)));
    set("signal", (app.signal != 0).then(|| json!(app.signal)));
    set("ran", Some(json!(app.ran)));
    set("pid", app.pid.map(|pid| json!(pid)));
    set("oom", (app.oom > 0).then(|| json!(app.oom)));
    set("restarts", (app.restarts > 0).then(|| json!(app.restarts)));
    set("reason", some_text(&app.reason));
    set("image_name", some_text(&app.image_name));
    let hex = app
        .image_id
        .split_once(':')
        .map_or(app.image_id.as_str(), |(_, hex)| hex);
    set("image_id", some_text(hex));
    set("user_labels", some_map(&app.user_labels));
    set("user_annotations", some_map(&app.user_annotations));
    Value::Object(map)
}

fn some_text(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!(text))
}

fn some_list(list: Vec<Value>) -> Option<Value> {
    (!list.is_empty()).then_some(Value::Array(list))
}

fn some_map(map: &BTreeMap<String, String>) -> Option<Value> {
    (!map.is_empty()).then(|| json!(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppRow {
        AppRow {
            name: name.to_owned(),
            image_name: format!("docker://{name}"),
            image_id: format!("sha256:{}", "ab".repeat(32)),
            ..unknown_app()
        }
    }

    fn pod() -> PodRow {
        PodRow {
            uuid: Uuid::from_random([0x5b; 16]),
            name: Some("front".to_owned()),
            state: State::Running,
            created: Some(1_795_468_200_500_000_000),
            started: Some(1_795_468_201_000_000_000),
            finished: None,
            pid: Some(42),
            supervisor: Some(41),
            ready: true,
            exit_code: None,
            reason: String::new(),
            networks: vec!["none".to_owned()],
            wired: Vec::new(),
            ports: Vec::new(),
            apps: vec![app("web"), app("log")],
            user_labels: BTreeMap::new(),
            user_annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn a_pod_is_as_many_lines_as_it_has_apps() {
        let now = 1_795_468_260_500_000_000;
        let how = Table {
            now,
            ..Table::default()
        };
        assert_eq!(
            table(&[pod()], how),
            "UUID\t\tAPP\tIMAGE NAME\tSTATE\tCREATED\t\tSTARTED\t\tNETWORKS\tNAME\tPORTS\n\
             5b5b5b5b\tweb\tdocker://web\trunning\t1 minute ago\t59 seconds ago\tnone\t\tfront\t\n\
             \t\tlog\tdocker://log\t\t\t\t\t\t\t\t\t\n"
        );
        let mut broken = pod();
        broken.apps.clear();
        broken.name = None;
        let how = Table {
            full: true,
            no_legend: true,
            now,
        };
        let line = table(&[broken], how);
        assert!(line.starts_with("5b5b5b5b-5b5b-4b5b-9b5b-5b5b5b5b5b5b\t-\t-\t-\trunning\t2026-"));
        assert!(table(&[pod()], how).contains("\tsha256-abababababab\t"));
    }

    #[test]
    fn a_status_is_lines_that_scripts_can_cut() {
        assert_eq!(
            lines(&pod()),
            "state=running\ncreated=2026-11-23 21:10:00.5 +0000 UTC\n\
             started=2026-11-23 21:10:01 +0000 UTC\nnetworks=none\npid=42\nexited=false\n\
             name=front\n"
        );
        let mut ended = pod();
        ended.state = State::Exited;
        ended.apps[0].exit_code = Some(137);
        ended.apps[0].oom = 2;
        ended.apps[0].reason = "killed\nfor memory\x1b[2J".to_owned();
        let text = lines(&ended);
        assert!(text.contains("exited=true\napp-web=137\n"), "{text}");
        assert!(text.contains("oom-web=2\n") && !text.contains('\x1b'));
        let mut waiting = pod();
        waiting.state = State::Prepared;
        assert!(!lines(&waiting).contains("pid="));
    }

    #[test]
    fn json_has_the_originals_keys_and_units() {
        let v = value(&pod());
        assert_eq!(v["name"], "5b5b5b5b-5b5b-4b5b-9b5b-5b5b5b5b5b5b");
        assert_eq!(v["created_at"], 1_795_468_200u64);
        assert_eq!(v["app_names"], json!(["web", "log"]));
        assert_eq!(v["apps"][0]["image_id"], "ab".repeat(32));
        assert_eq!(v["apps"][0]["state"], "unknown");
        assert_eq!(v["apps"][0]["ran"], false);
        assert!(v.get("exit_code").is_none() && v.get("user_labels").is_none());
    }
}
