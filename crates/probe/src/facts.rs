//! What this process is and what it may do, read from the kernel and found by trying.

use crate::status::{Status, capability_names};
use crate::trial::{End, Try, in_child};
use crate::value::Value;
use rkt_sys::raw;
use rustix::fs::{Mode, readlink};
use rustix::process::{
    Resource, getegid, geteuid, getgid, getgroups, getpid, getrlimit, getuid, umask,
};
use std::fs;

/// Landlock's limit on layers (`LANDLOCK_MAX_NUM_LAYERS`).
const MAX_LAYERS: u64 = 16;

/// Everything, in the order in which the page shows it.
pub(crate) fn gather(fds: &[i32]) -> Value {
    let status = Status::own();
    let number = |n: u32| Value::Number(u64::from(n));
    Value::map([
        (
            "app",
            Value::text(std::env::var("AC_APP_NAME").unwrap_or_default()),
        ),
        (
            "hostname",
            Value::text(rustix::system::uname().nodename().to_string_lossy()),
        ),
        (
            "kernel",
            Value::text(rustix::system::uname().release().to_string_lossy()),
        ),
        ("pid", number(getpid().as_raw_pid().unsigned_abs())),
        ("uid", number(getuid().as_raw())),
        ("euid", number(geteuid().as_raw())),
        ("gid", number(getgid().as_raw())),
        ("egid", number(getegid().as_raw())),
        (
            "groups",
            Value::List(
                getgroups()
                    .unwrap_or_default()
                    .iter()
                    .map(|g| number(g.as_raw()))
                    .collect(),
            ),
        ),
        ("uid_map", id_map("uid_map")),
        ("gid_map", id_map("gid_map")),
        ("effective", capabilities(&status, "CapEff")),
        ("permitted", capabilities(&status, "CapPrm")),
        ("inheritable", capabilities(&status, "CapInh")),
        ("ambient", capabilities(&status, "CapAmb")),
        ("bounding", capabilities(&status, "CapBnd")),
        (
            "no_new_privs",
            Value::Flag(status.field("NoNewPrivs") == Some("1")),
        ),
        ("seccomp", seccomp(&status)),
        (
            "seccomp_filters",
            Value::Number(
                status
                    .field("Seccomp_filters")
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(0),
            ),
        ),
        (
            "landlock_version",
            Value::Number(raw::landlock_version().unwrap_or(0) as u64),
        ),
        ("landlock_layers", landlock_layers()),
        ("namespaces", namespaces()),
        ("cgroups", lines("/proc/self/cgroup")),
        ("mounts", mounts()),
        ("limits", limits()),
        ("umask", Value::text(format!("{:04o}", mask()))),
        (
            "cwd",
            Value::text(
                std::env::current_dir()
                    .map(|d| d.display().to_string())
                    .unwrap_or_default(),
            ),
        ),
        (
            "environment",
            Value::words(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned())),
        ),
        ("descriptors", descriptors(fds)),
        ("processes", processes()),
    ])
}

fn capabilities(status: &Status, set: &str) -> Value {
    match status.capabilities(set) {
        Some(bits) => Value::words(capability_names(bits)),
        None => Value::text("unknown"),
    }
}

fn seccomp(status: &Status) -> Value {
    Value::text(match status.field("Seccomp") {
        Some("0") => "off",
        Some("1") => "strict",
        Some("2") => "filter",
        _ => "unknown",
    })
}

/// Layers are counted by adding more until the kernel says that there are too many: nothing
/// in /proc tells of them.
fn landlock_layers() -> Value {
    let told = in_child(|log| {
        if rustix::thread::set_no_new_privs(true).is_err() {
            return;
        }
        let mut more = 0;
        while more <= MAX_LAYERS && raw::landlock_nest().is_ok() {
            more += 1;
        }
        log.add(Try::new("layers", End::Held(more.to_string())));
    });
    let more: Option<u64> = told.first().and_then(|t| t.note().parse().ok());
    match more {
        Some(0) | None => Value::text("unknown"),
        Some(more) => Value::Number(MAX_LAYERS.saturating_sub(more)),
    }
}

/// `first id here`, `first id outside`, `how many`.
fn id_map(file: &str) -> Value {
    let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let row = |line: &str| {
        Value::List(
            line.split_whitespace()
                .filter_map(|n| n.parse().ok())
                .map(Value::Number)
                .collect(),
        )
    };
    Value::List(text.lines().map(row).collect())
}

fn lines(path: &str) -> Value {
    Value::words(fs::read_to_string(path).unwrap_or_default().lines())
}

fn namespaces() -> Value {
    let names = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
    let inode = |name: &str| {
        let link = readlink(format!("/proc/self/ns/{name}"), Vec::new()).ok()?;
        let text = link.to_string_lossy().into_owned();
        text.split_once('[')?.1.trim_end_matches(']').parse().ok()
    };
    Value::Map(
        names
            .iter()
            .filter_map(|n| Some(((*n).to_owned(), Value::Number(inode(n)?))))
            .collect(),
    )
}

/// Mount points with what the kernel says of them; paths of the host are not repeated.
fn mounts() -> Value {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let row = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        Some(Value::map([
            ("path", Value::text(*left.get(4)?)),
            ("type", Value::text(right.split(' ').next()?)),
            ("flags", Value::text(*left.get(5)?)),
        ]))
    };
    Value::List(text.lines().filter_map(row).collect())
}

fn limits() -> Value {
    let show = |n: Option<u64>| n.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
    let names = [
        ("core", Resource::Core),
        ("memlock", Resource::Memlock),
        ("nofile", Resource::Nofile),
        ("nproc", Resource::Nproc),
        ("sigpending", Resource::Sigpending),
        ("stack", Resource::Stack),
    ];
    let pair = |resource| {
        let limit = getrlimit(resource);
        Value::text(format!("{}:{}", show(limit.current), show(limit.maximum)))
    };
    Value::Map(
        names
            .into_iter()
            .map(|(n, r)| (n.to_owned(), pair(r)))
            .collect(),
    )
}

/// The mask can only be read by setting it.
fn mask() -> u32 {
    let now = umask(Mode::empty());
    umask(now);
    now.as_raw_mode()
}

fn descriptors(fds: &[i32]) -> Value {
    let is = |fd: &i32| {
        readlink(format!("/proc/self/fd/{fd}"), Vec::new()).map_or_else(
            |_| "unknown".to_owned(),
            |l| l.to_string_lossy().into_owned(),
        )
    };
    Value::List(
        fds.iter()
            .map(|fd| {
                Value::map([
                    ("fd", Value::Number(u64::from(fd.unsigned_abs()))),
                    ("is", Value::text(is(fd))),
                ])
            })
            .collect(),
    )
}

/// Processes that /proc shows.
fn processes() -> Value {
    let mut pids: Vec<u64> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Value::List(
        pids.into_iter()
            .map(|pid| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                Value::map([
                    ("pid", Value::Number(pid)),
                    ("name", Value::text(name.trim_end())),
                ])
            })
            .collect(),
    )
}
