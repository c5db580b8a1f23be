//! Looking at pods, for every verb that does: which one is meant, and what is known of it.

use crate::args::{self, Globals};
use crate::failure::{Failure, USAGE};
use crate::view::pods::{AppRow, PodRow};
use rkt_pod::{AppState, AppStatus, Kind, Pod, PodStatus, Pods, State};
use rkt_spec::Uuid;
use rkt_spec::manifest::{ExposedPort, PodManifest, RuntimeApp, Via};
use rkt_spec::network::{PortPlan, PortWay};
use std::collections::BTreeMap;
use std::path::Path;

/// The pods of the data directory.
pub(super) fn open(globals: &Globals) -> Result<Pods, Failure> {
    Pods::open(&globals.dir).map_err(|e| match e.kind() {
        Kind::Refused => Failure::from(e).hint("run it as root"),
        _ => e.into(),
    })
}

/// Refuses to go on without root.
pub(super) fn need_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Failure::usage("cannot run as unprivileged user").hint("run it as root"))
    }
}

/// The pod that a word means: a UUID, the beginning of one, or a name.
pub(super) fn find(pods: &Pods, text: &str) -> Result<Pod, Failure> {
    pods.find(text).map_err(|e| {
        let kind = e.kind();
        let failure = Failure::from(e);
        if kind != Kind::NotFound {
            return failure;
        }
        let names = pods.names().unwrap_or_default();
        match args::nearest(text, names.keys().map(rkt_spec::PodName::as_str)) {
            Some(name) => failure.hint(format!("did you mean `{name}`?")),
            None => failure.hint("run `rkt list` for the pods there are"),
        }
    })
}

/// The words that name pods: those typed, and the one in a file (`--uuid-file`).
///
/// `unreadable` is the exit status when the file cannot be read.
pub(super) fn words(
    mut typed: Vec<String>,
    file: Option<&Path>,
    unreadable: u8,
) -> Result<Vec<String>, Failure> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).map_err(|e| {
            Failure::new(
                unreadable,
                format!("read the UUID file `{}`", file.display()),
            )
            .because(e.to_string())
        })?;
        typed.push(text.trim().to_owned());
    }
    if typed.is_empty() {
        return Err(Failure::usage("no pod is named").hint("give a UUID or a name"));
    }
    Ok(typed)
}

/// `POD:APP`, taken apart; the pod alone has no app.
pub(super) fn pod_and_app(word: &str) -> (&str, Option<&str>) {
    match word.split_once(':') {
        Some((pod, app)) => (pod, Some(app)),
        None => (word, None),
    }
}

/// The manifest, when it is there and readable.
pub(super) fn manifest(pod: &Pod) -> Result<Option<PodManifest>, Failure> {
    let Some(bytes) = pod.manifest()? else {
        return Ok(None);
    };
    let manifest = serde_json::from_slice(&bytes).map_err(|e| {
        Failure::new(USAGE, format!("read the manifest of pod `{}`", pod.uuid()))
            .because(e.to_string())
    })?;
    Ok(Some(manifest))
}

/// What is known of a pod. Problems with its files come beside it: a damaged pod is listed too.
pub(super) fn row(pod: &Pod, names: &BTreeMap<Uuid, String>) -> (PodRow, Option<Failure>) {
    let (manifest, bad_manifest) = match manifest(pod) {
        Ok(manifest) => (manifest, None),
        Err(failure) => (None, Some(failure)),
    };
    let (status, bad_status) = match PodStatus::read(std::os::fd::AsFd::as_fd(pod)) {
        Ok(status) => (status, None),
        Err(error) => (None, Some(Failure::from(error))),
    };
    let state = pod.state();
    let some = |ns: u64| (ns > 0).then_some(ns);
    let said = status.as_ref();
    let mut row = PodRow {
        uuid: pod.uuid(),
        name: names.get(&pod.uuid()).cloned(),
        state,
        created: said.and_then(|s| some(s.created)).or_else(|| pod.created()),
        started: said.and_then(|s| some(s.started)),
        finished: said.and_then(|s| some(s.finished)),
        pid: said.map(|s| s.pid).filter(|pid| *pid > 0),
        supervisor: said
            .map(|s| s.supervisor)
            .filter(|_| state == State::Running),
        ready: said.is_some_and(|s| s.ready),
        exit_code: said.and_then(|s| s.exit_code),
        reason: said.map_or_else(String::new, |s| s.reason.clone()),
        networks: said.map_or_else(Vec::new, |s| s.networks.clone()),
        wired: said.map_or_else(Vec::new, |s| s.wired.clone()),
        ports: Vec::new(),
        apps: Vec::new(),
        user_labels: BTreeMap::new(),
        user_annotations: BTreeMap::new(),
    };
    if state.has_exited() && said.is_some_and(|s| s.exit_code.is_none()) {
        row.reason = "its supervisor was killed".to_owned();
    }
    if let Some(manifest) = manifest {
        if row.networks.is_empty() && !manifest.net.is_empty() {
            row.networks = manifest.net.split(',').map(str::to_owned).collect();
        }
        row.ports = match said {
            Some(status) if state == State::Running => status.ports.clone(),
            _ => manifest.ports.iter().filter_map(planned).collect(),
        };
        row.apps = manifest
            .apps
            .iter()
            .map(|app| app_row(app, said, state))
            .collect();
        row.user_labels = manifest.user_labels;
        row.user_annotations = manifest.user_annotations;
    }
    (row, bad_manifest.or(bad_status))
}

/// A port as the manifest has it.
fn planned(port: &ExposedPort) -> Option<PortPlan> {
    Some(PortPlan {
        name: port.name.clone(),
        app: port.app.clone(),
        protocol: port.pod_port.protocol.parse().ok()?,
        host: port.host_ip,
        host_port: port.host_port,
        pod_port: port.pod_port.port,
        way: match port.via {
            Via::Nat => PortWay::Nat,
            Via::Socket => PortWay::Socket,
        },
        socket: -1,
    })
}

fn app_row(app: &RuntimeApp, status: Option<&PodStatus>, pod: State) -> AppRow {
    let said: Option<&AppStatus> = status.and_then(|s| s.apps.iter().find(|a| a.name == app.name));
    let some = |ns: Option<u64>| ns.filter(|ns| *ns > 0);
    let written = said.map(|a| a.state);
    // The lock knows better than the file when nobody was left to write it.
    let state = match written {
        Some(_) if pod.has_exited() => Some(AppState::Exited),
        written => written,
    };
    let mut reason = said.map_or_else(String::new, |a| a.reason.clone());
    if state != written && reason.is_empty() {
        reason = "its supervisor was killed".to_owned();
    }
    AppRow {
        name: app.name.to_string(),
        state,
        pid: said
            .map(|a| a.pid)
            .filter(|pid| *pid > 0 && state == Some(AppState::Running)),
        created: some(said.map(|a| a.created_at)),
        started: some(said.map(|a| a.started_at)),
        finished: some(said.map(|a| a.finished_at)),
        exit_code: said.and_then(|a| a.exit_code),
        signal: said.map_or(0, |a| a.signal),
        ran: said.is_some_and(|a| a.ran),
        oom: said.map_or(0, |a| a.oom),
        restarts: said.map_or(0, |a| a.restarts),
        reason,
        image_name: app.image.name.clone(),
        image_id: app.image.id.clone(),
        user_labels: app.app.user_labels.clone(),
        user_annotations: app.app.user_annotations.clone(),
    }
}

/// The names by pod.
pub(super) fn names(pods: &Pods) -> Result<BTreeMap<Uuid, String>, Failure> {
    let names = pods.names()?;
    Ok(names
        .into_iter()
        .map(|(name, uuid)| (uuid, name.to_string()))
        .collect())
}
