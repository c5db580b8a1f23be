//! `--explain`: the plan as rows that a person can read, each with the flag that changes it.

mod network;

use crate::plan::Planned;
use rkt_isolate::defences::{DEFENCES, Defence};
use rkt_isolate::plan::Report;
use rkt_spec::codec::Bytes;
use rkt_spec::manifest::PodManifest;
use rkt_spec::plan::{AppPlan, Net, Owner, Plan, Stdio, VolumeKind, VolumePlan, weaken};
use rkt_spec::signal;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The defence it belongs to, such as `W04`; empty when it is none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub id: Cow<'static, str>,
    /// What it is about.
    pub what: String,
    /// How it is.
    pub is: String,
    /// How it was wanted, when that is something else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wanted: String,
    /// What makes it so; empty where that goes without saying.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// The flag that changes it; empty when none does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub flag: String,
}

/// Rows about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// `pod`, or `app NAME`.
    pub title: String,
    /// Its rows, in order.
    pub rows: Vec<Row>,
    /// An app's defences, all of them; none for the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub defences: Vec<Standing>,
}

/// How a defence stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its id in `docs/reference/defences.md`.
    pub id: Cow<'static, str>,
    /// Its name.
    pub name: Cow<'static, str>,
    /// `on`, `less` or `off`.
    pub state: Cow<'static, str>,
    /// What is missing of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What holds it.
    pub by: Cow<'static, str>,
    /// The flags that change it.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub flag: Cow<'static, str>,
}

/// All there is to say about a pod before it starts; kept in its directory for `rkt explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The pod, then each app.
    pub sections: Vec<Section>,
    /// What would be said at the start.
    pub notes: Vec<String>,
    /// The manifest as it would be written; a pod that was made has it in a file of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<PodManifest>,
}

/// Explains a decided pod; `layers` counts those of each app's image.
pub fn explain(planned: &Planned, manifest: Option<&PodManifest>, layers: &[usize]) -> Explanation {
    let mut sections = vec![Section {
        title: "pod".to_owned(),
        rows: pod_rows(planned),
        defences: Vec::new(),
    }];
    for ((app, report), layers) in planned.plan.apps.iter().zip(&planned.reports).zip(layers) {
        sections.push(Section {
            title: format!("app {}", app.name),
            rows: app_rows(&planned.plan, app, *layers, report),
            defences: standings(&planned.plan, app),
        });
    }
    Explanation {
        sections,
        notes: planned.notes.clone(),
        manifest: manifest.cloned(),
    }
}

fn standings(plan: &Plan, app: &AppPlan) -> Vec<Standing> {
    let one = |d: &'static Defence| {
        let state = d.state(plan, app);
        Standing {
            id: d.id.into(),
            name: d.name.into(),
            state: state.word().into(),
            why: state.why().to_owned(),
            by: d.by.into(),
            flag: d.flag.into(),
        }
    };
    DEFENCES.iter().map(one).collect()
}

/// One row of an app that says which defences do not stand, or not whole.
fn summary(list: &[Standing]) -> Option<Row> {
    if list.is_empty() {
        return None;
    }
    let on = list.iter().filter(|d| d.state == "on").count();
    let mut is = format!("{on} of {} stand whole", list.len());
    for d in list.iter().filter(|d| d.state != "on") {
        is.push_str(&format!("; {} {} {}: {}", d.id, d.name, d.state, d.why));
    }
    Some(row("defences", is, ""))
}

fn row(what: &str, is: impl Into<String>, flag: &str) -> Row {
    Row {
        id: Cow::Borrowed(""),
        what: what.to_owned(),
        is: is.into(),
        wanted: String::new(),
        by: String::new(),
        flag: flag.to_owned(),
    }
}

fn report_rows(report: &Report) -> impl Iterator<Item = Row> {
    report.rows.iter().map(|r| Row {
        id: Cow::Borrowed(r.id),
        what: r.what.clone(),
        is: r.enforced.clone(),
        wanted: if r.is_held() {
            String::new()
        } else {
            r.wanted.clone()
        },
        by: r.by.clone(),
        flag: r.flag.clone(),
    })
}

fn pod_rows(planned: &Planned) -> Vec<Row> {
    let plan = &planned.plan;
    let name = plan.pod_name.as_ref().map_or("none", |n| n.as_str());
    let mut rows = vec![
        row("name", name, "--pod-name"),
        row("host name", plan.hostname.clone(), "--hostname"),
    ];
    rows.extend(network::rows(planned));
    rows.extend([
        row(
            "namespaces",
            match plan.net {
                Net::None | Net::Private => {
                    "pid, net, ipc, uts, user, mount: the pod's; user, mount, cgroup: each app's"
                }
                Net::Host => {
                    "pid, ipc, uts, user, mount: the pod's; user, mount, cgroup: each app's; net: the host's"
                }
            },
            "",
        ),
        row(
            "ids",
            format!("{} ranges of 65536, one for init and each app", plan.slots),
            "",
        ),
        row(
            "init",
            "no capability, an empty root, five system calls",
            "",
        ),
        row(
            "/proc",
            if plan.hide_siblings {
                "processes of other apps are hidden"
            } else {
                "every process of the pod"
            },
            "",
        ),
        row(
            "runs",
            if plan.foreground {
                "in the foreground"
            } else {
                "detached"
            },
            "--detach",
        ),
        row(
            "at the end",
            if plan.remove {
                "removed"
            } else {
                "kept until `rkt gc` or `rkt rm`"
            },
            "--rm",
        ),
    ]);
    rows.extend(plan.sysctls.iter().map(|s| Row {
        id: Cow::Borrowed("W28"),
        by: "the pod's own namespaces".to_owned(),
        ..row(
            &format!("sysctl {}", s.path.replace('/', ".")),
            s.value.clone(),
            "--sysctl",
        )
    }));
    if plan.weaken != 0 {
        let off = weaken::NAMES
            .iter()
            .filter(|(_, bit)| plan.weaken & bit != 0);
        let names: Vec<&str> = off.map(|(name, _)| *name).collect();
        rows.push(row("defences taken away", names.join(" "), "--weaken"));
    }
    rows.extend(report_rows(&planned.pod_report));
    rows.extend(plan.volumes.iter().map(volume_row));
    rows
}

fn volume_row(volume: &VolumePlan) -> Row {
    let mut is = match volume.kind {
        VolumeKind::Host => format!("host `{}`", volume.source_path),
        VolumeKind::Empty => format!(
            "empty, mode {:04o}, owner {}:{}",
            volume.mode, volume.uid, volume.gid
        ),
        VolumeKind::Image => "new, over the image's own files".to_owned(),
    };
    if volume.bytes > 0 {
        is.push_str(&format!(", {} bytes in memory", volume.bytes));
    }
    if volume.kind == VolumeKind::Host {
        is.push_str(match volume.owner {
            Owner::App => ", its owner appears as the app's user",
            Owner::Host => ", ids as on the host",
            Owner::HostRoot => ", ids 0 to 65535 of the host as they are (dangerous)",
        });
        is.push_str(match (volume.directory, volume.recursive) {
            (false, _) => "",
            (true, true) => ", with what is mounted below",
            (true, false) => ", without what is mounted below",
        });
    }
    is.push_str(if volume.read_only {
        ", read-only"
    } else {
        ", writable"
    });
    row(&format!("volume {}", volume.name), is, "--volume")
}

fn app_rows(plan: &Plan, app: &AppPlan, layers: usize, report: &Report) -> Vec<Row> {
    let process = &app.process;
    let mut rows = vec![
        row("image", app.image_name.clone(), ""),
        row("image id", format!("{}, {layers} layers", app.image_id), ""),
        row("command", words(&process.argv), "--exec, words after --"),
        row(
            "user",
            format!(
                "{}:{}{}",
                process.uid,
                process.gid,
                process
                    .groups
                    .iter()
                    .map(|g| format!(" +{g}"))
                    .collect::<String>()
            ),
            "--user, --group, --group-add",
        ),
        row("starts in", process.cwd.clone(), "--working-dir"),
    ];
    rows.extend(process.env.iter().map(|pair| {
        let text = String::from_utf8_lossy(&pair.0);
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        row(&format!("env {name}"), value, "--environment")
    }));
    let (root, flags) = match (app.read_only, app.root_bytes) {
        (true, _) => ("the image, read-only".to_owned(), "--readonly-rootfs"),
        (false, 0) => (
            "the image; what is written goes with the pod".to_owned(),
            "--readonly-rootfs, --root-size",
        ),
        (false, bytes) => (
            format!("the image; {bytes} bytes can be written, in memory"),
            "--root-size",
        ),
    };
    rows.push(row("/", root, flags));
    for mount in &app.mounts {
        let volume = usize::try_from(mount.volume)
            .ok()
            .and_then(|at| plan.volumes.get(at));
        let read_only = mount.read_only || volume.is_some_and(|v| v.read_only);
        let name = volume.map_or("?", |v| v.name.as_str());
        let how = if read_only { "read-only" } else { "writable" };
        rows.push(row(
            &mount.target,
            format!("volume {name}, {how}"),
            "--mount",
        ));
    }
    rows.push(row(
        "stdin",
        match app.stdio {
            Stdio::Log => "/dev/null",
            Stdio::Stream => "a pipe from rkt's own",
            Stdio::Tty => "a terminal of the pod",
        },
        "--interactive",
    ));
    rows.extend(report_rows(report));
    rows.push(row(
        "stop",
        format!(
            "{}, SIGKILL after {} s",
            signal::name(app.stop_signal),
            f64::from(app.stop_timeout_ms) / 1000.0
        ),
        "--stop-signal, --stop-timeout",
    ));
    rows.push(row(
        "log",
        format!("{} files of {} bytes", app.log_files, app.log_max_bytes),
        "--log-files, --log-max-size",
    ));
    rows
}

/// Words as a shell would take them.
fn words(argv: &[Bytes]) -> String {
    let quoted = |word: &Bytes| {
        let text = String::from_utf8_lossy(&word.0);
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.into_owned()
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    };
    argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

impl Explanation {
    /// The sections as a table for people.
    pub fn table(&self) -> String {
        let mut out = String::new();
        for section in &self.sections {
            out.push_str(&heading(&section.title));
            out.push('\n');
            let summary = summary(&section.defences);
            let widest = section.rows.iter().map(|r| r.what.chars().count()).max();
            let left = widest.unwrap_or(0).min(28) + 2;
            for row in section.rows.iter().chain(&summary) {
                lines(row, left, &mut out);
            }
            out.push('\n');
        }
        for note in &self.notes {
            out.push_str(&format!("Note: {}\n", clean(note)));
        }
        out
    }
}

/// Columns that the middle of the table takes.
const MIDDLE: usize = 76;

fn lines(row: &Row, left: usize, out: &mut String) {
    let mut text = clean(&row.is);
    if !row.wanted.is_empty() {
        text.push_str(&format!(" (wanted {})", clean(&row.wanted)));
    }
    if !row.by.is_empty() {
        text.push_str(&format!(" [{}]", clean(&row.by)));
    }
    let mut head = format!("  {:left$}", clean(&row.what));
    let wrapped = wrap(&text, MIDDLE);
    for (n, line) in wrapped.iter().enumerate() {
        let flag = if n == 0 { row.flag.as_str() } else { "" };
        let full = format!("{head}{line:MIDDLE$}  {flag}");
        out.push_str(full.trim_end());
        out.push('\n');
        head = " ".repeat(left + 2);
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut list = vec![String::new()];
    for word in text.split(' ') {
        match list.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => list.push(word.to_owned()),
        }
    }
    list
}

/// Text of images and users on one line, without anything that drives a terminal.
fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// `app web` as a heading.
fn heading(title: &str) -> String {
    match title.split_once(' ') {
        Some((kind, name)) => format!("{} {name}", kind.to_uppercase()),
        None => title.to_uppercase(),
    }
}
