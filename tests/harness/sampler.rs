//! Looks at every process of a test's pods a thousand times a second, and says when it could not.
//!
//! A process of a pod is born in the pod's cgroup (`CLONE_INTO_CGROUP`), so that is where they are
//! found. It counts from its execve on, init from its filter on, which it loads right before its
//! ready byte; until then it is rkt's set-up child, whose program is rkt-stage1. All that is read
//! of a process is read below one descriptor of its /proc directory, which dies with it: a pid
//! that is used again is never taken for the one before.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, openat, readlinkat};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks: a little less than a millisecond, since some come late.
const PERIOD: Duration = Duration::from_micros(900);
/// What it leaves to the others between two looks, however late it is.
const REST: Duration = Duration::from_micros(100);
/// More reports of the same kind say no more.
const MOST_REPORTS: usize = 8;

/// What the processes of an app may hold.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    /// Bounding set, to the bit.
    pub bounding: u64,
    /// Most of the permitted set.
    pub permitted: u64,
}

/// A sampler at work.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What a sampler saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Looks at all pods.
    pub looks: u64,
    /// From the first look to the last.
    pub took: Duration,
    /// Longest time between two looks.
    pub gap: Duration,
    /// Looks at one process that counts.
    pub counted: u64,
    /// Processes that counted, each once: `POD/init`, `POD/app-NAME`, and the pid.
    pub processes: BTreeSet<(String, i32)>,
    /// Looks at set-up children.
    pub set_up: u64,
    /// The longest that a set-up child was seen to live.
    pub longest_set_up: Duration,
    /// What was not as granted.
    pub wrong: Vec<String>,
}

impl Seen {
    /// Looks in a second.
    pub fn rate(&self) -> f64 {
        self.looks as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// Panics when the sampler had too little of the machine for its word to count.
    #[track_caller]
    pub fn was_awake(&self) {
        assert!(
            self.rate() > 600.0 && self.gap < Duration::from_secs(1),
            "the sampler was starved: {:.0} looks a second, once none for {:?}",
            self.rate(),
            self.gap
        );
    }

    /// Panics when anything was not as granted, or a set-up child lived on.
    #[track_caller]
    pub fn was_right(&self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        let most = Duration::from_secs(7);
        assert!(self.longest_set_up < most, "{:?}", self.longest_set_up);
    }

    /// One line for people, past the runner's capture.
    pub fn say(&self) {
        let line = format!(
            "sampler: {} looks in {:.1} s ({:.0} a second, longest gap {} ms): {} processes in {} looks at one, \
             {} at set-up children, of which none was seen for longer than {} ms\n",
            self.looks,
            self.took.as_secs_f64(),
            self.rate(),
            self.gap.as_millis(),
            self.processes.len(),
            self.counted,
            self.set_up,
            self.longest_set_up.as_millis(),
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

impl Sampler {
    /// Starts to look at all pods below a cgroup of version 2; every app must be named here.
    pub fn start(root: PathBuf, grants: &[(&str, Grant)]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let grants: BTreeMap<String, Grant> = grants
            .iter()
            .map(|(name, grant)| (format!("app-{name}"), *grant))
            .collect();
        let thread = std::thread::spawn(move || {
            come_first();
            Eye {
                root,
                grants,
                seen: Seen::default(),
                children: BTreeMap::new(),
            }
            .watch(&flag)
        });
        let thread = Some(thread);
        Self { stop, thread }
    }

    /// Ends it.
    pub fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Puts the calling thread before all who are not of a real-time class: where sessions are
/// scheduled as groups (`sched_autogroup_enabled`) no nice value does that. It sleeps most of the
/// time.
fn come_first() {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let done = std::process::Command::new("chrt")
        .args(["--fifo", "--pid", "1", &own])
        .status();
    if !done.is_ok_and(|status| status.success()) {
        let _ = rustix::process::setpriority_process(None, -20);
    }
}

/// What is read of a process at one look.
struct Facts {
    sets: [u64; 5],
    no_new_privs: bool,
    seccomp: bool,
    threads: bool,
    dead: bool,
}

struct Eye {
    root: PathBuf,
    grants: BTreeMap<String, Grant>,
    seen: Seen,
    /// Set-up children by pid: first and last seen.
    children: BTreeMap<i32, (Instant, Instant)>,
}

impl Eye {
    fn watch(mut self, stop: &AtomicBool) -> Seen {
        let begin = Instant::now();
        let (mut last, mut next) = (begin, begin);
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            self.seen.gap = self.seen.gap.max(now - last);
            last = now;
            self.look(now);
            self.seen.looks += 1;
            next = (next + PERIOD).max(Instant::now() + REST);
            std::thread::sleep(next - Instant::now());
        }
        self.seen.took = begin.elapsed();
        self.seen
    }

    fn look(&mut self, now: Instant) {
        for pod in directories(&self.root) {
            for group in directories(&pod) {
                let name = |p: &Path| p.file_name().unwrap().to_string_lossy().into_owned();
                let place = format!("{}/{}", name(&pod), name(&group));
                let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                for pid in text.lines().filter_map(|l| l.parse().ok()) {
                    self.look_at(pid, &place, &name(&group), now);
                }
            }
        }
    }

    fn look_at(&mut self, pid: i32, place: &str, group: &str, now: Instant) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(dir) = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty()) else {
            return;
        };
        // The program first: what a process of that program may do afterwards can only be less.
        let Ok(program) = readlinkat(&dir, "exe", Vec::new()) else {
            return;
        };
        let Some(facts) = read(&dir, "status") else {
            return;
        };
        if facts.dead {
            return;
        }
        let ours = program.to_string_lossy().contains("rkt-stage1");
        if ours && !(group == "init" && facts.seccomp) {
            self.seen.set_up += 1;
            let lived = self.children.entry(pid).or_insert((now, now));
            // Nobody lives through a minute of set-up: then the pid is another's.
            if now - lived.1 > Duration::from_secs(60) {
                *lived = (now, now);
            }
            lived.1 = now;
            self.seen.longest_set_up = self.seen.longest_set_up.max(lived.1 - lived.0);
            return;
        }
        self.children.remove(&pid);
        self.seen.counted += 1;
        self.seen.processes.insert((place.to_owned(), pid));
        self.judge(place, group, pid, &facts, &program.to_string_lossy());
        if facts.threads {
            for task in fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let id = task.file_name().to_string_lossy().into_owned();
                if let Some(facts) = read(&dir, &format!("task/{id}/status")) {
                    self.judge(place, group, pid, &facts, &id);
                }
            }
        }
    }

    fn judge(&mut self, place: &str, group: &str, pid: i32, facts: &Facts, what: &str) {
        let grant = if group == "init" {
            Some(Grant {
                bounding: 0,
                permitted: 0,
            })
        } else {
            self.grants.get(group).copied()
        };
        let [inherited, permitted, effective, bounding, ambient] = facts.sets;
        let fine = facts.no_new_privs
            && facts.seccomp
            && grant.is_some_and(|grant| {
                (inherited, ambient, bounding) == (0, 0, grant.bounding)
                    && permitted & !grant.permitted == 0
                    && effective & !permitted == 0
            });
        if !fine && self.seen.wrong.len() < MOST_REPORTS {
            self.seen.wrong.push(format!(
                "{place}, pid {pid}, {what}: inh prm eff bnd amb {:x?}, no_new_privs {}, filter {}",
                facts.sets, facts.no_new_privs, facts.seccomp
            ));
        }
    }
}

fn directories(of: &Path) -> Vec<PathBuf> {
    fs::read_dir(of)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}

/// `None` when the process is gone.
fn read(dir: &OwnedFd, name: &str) -> Option<Facts> {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0u8; 4096];
    let mut have = 0;
    loop {
        match rustix::io::read(&file, buffer.get_mut(have..)?) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(_) => return None,
        }
    }
    let mut facts = Facts {
        sets: [u64::MAX; 5],
        no_new_privs: false,
        seccomp: false,
        threads: false,
        dead: false,
    };
    // Bytes, since this is what takes the time of a look in a build that is not optimized.
    for line in buffer.get(..have)?.split(|byte| *byte == b'\n') {
        match line.first() {
            Some(b'C') if line.starts_with(b"CapInh:\t") => facts.sets[0] = number(line)?,
            Some(b'C') if line.starts_with(b"CapPrm:\t") => facts.sets[1] = number(line)?,
            Some(b'C') if line.starts_with(b"CapEff:\t") => facts.sets[2] = number(line)?,
            Some(b'C') if line.starts_with(b"CapBnd:\t") => facts.sets[3] = number(line)?,
            Some(b'C') if line.starts_with(b"CapAmb:\t") => facts.sets[4] = number(line)?,
            Some(b'N') if line.starts_with(b"NoNewPrivs:\t") => {
                facts.no_new_privs = line.ends_with(b"\t1")
            }
            Some(b'S') if line.starts_with(b"Seccomp:\t") => facts.seccomp = line.ends_with(b"\t2"),
            Some(b'S') if line.starts_with(b"State:\t") => {
                facts.dead = matches!(line.get(7), Some(b'Z' | b'X'));
            }
            Some(b'T') if line.starts_with(b"Threads:\t") => {
                facts.threads = !line.ends_with(b"\t1")
            }
            _ => {}
        }
    }
    Some(facts)
}

/// The set behind `CapXxx:` and a tab.
fn number(line: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(line.get(8..)?).ok()?, 16).ok()
}
