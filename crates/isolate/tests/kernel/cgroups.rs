//! Limits, kills and removal on this host's own trees, whatever their shape.

use super::child::{Held, Outcome, Try, Wrong, check, ended, outcome};
use rkt_isolate::cgroup::{App, Controller, Layout, Pod, sweep};
use rkt_spec::name::AppName;
use rkt_spec::plan::{Knob, Limit};
use rkt_spec::uuid::Uuid;
use rkt_sys::process::Ended;
use rustix::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// The trees of this host, and a parent directory of the test's own that is removed again.
struct Trees {
    layout: Layout,
    parent: String,
    uuid: Uuid,
}

impl Trees {
    fn new() -> Try<Self> {
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self {
            layout: Layout::detect(),
            parent: format!("rkt-isolate-test-{}/pods", std::process::id()),
            uuid: Uuid::from_random(bytes),
        })
    }

    fn pod(&self, limits: &[Limit]) -> Try<Pod> {
        Ok(Pod::create(&self.layout, &self.parent, &self.uuid, limits)?)
    }

    fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        self.layout.v1.iter().map(|(_, p)| p).chain(&self.layout.v2)
    }

    /// Directories of the pod that are still there.
    fn left(&self) -> Vec<PathBuf> {
        let places = self
            .roots()
            .map(|r| r.join(&self.parent).join(self.uuid.to_string()));
        places.filter(|p| p.exists()).collect()
    }

    fn nothing_left(&self) -> Try {
        check(self.left().is_empty(), || format!("{:?}", self.left()))
    }
}

impl Drop for Trees {
    fn drop(&mut self) {
        for root in self.roots() {
            let parent = root.join(&self.parent);
            let _ = std::fs::remove_dir(&parent);
            let _ = parent.parent().map(std::fs::remove_dir);
        }
    }
}

fn name(text: &str) -> Try<AppName> {
    Ok(AppName::new(text)?)
}

fn pids(value: u64) -> Limit {
    Limit {
        knob: Knob::Pids,
        value,
    }
}

/// What a start does: born in the v2 leaf, then into the v1 directories by the held descriptors.
fn join(app: &App) -> Try {
    for tasks in app.v1_tasks() {
        rustix::io::write(tasks, b"0")?;
    }
    Ok(())
}

/// Forks until it is refused, at most 40 times.
fn fork_bomb() -> Try<u32> {
    let mut children = Vec::new();
    while children.len() < 40 {
        match Held::start(0, None, || Ok(String::new())) {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    let count = u32::try_from(children.len())?;
    for child in children {
        child.end()?;
    }
    Ok(count)
}

fn run_in(app: &App, body: impl FnOnce() -> Try<u32>) -> Try<String> {
    let (how, text) = ended(app.v2(), || {
        join(app)?;
        let n = body()?;
        Err(Wrong(n.to_string()))
    })?;
    check(how == Ended::Exited(1), || format!("{how:?}: {text}"))?;
    Ok(text)
}

/// This host must have the controller, or the test says that it has not.
fn needs(controller: Controller, test: fn() -> Try) -> Outcome {
    if Layout::detect().version_of(controller).is_none() {
        return Outcome::Skip(format!("no cgroup controller {}", controller.name()));
    }
    outcome(test())
}

pub(crate) fn limits() -> Outcome {
    needs(Controller::Pids, || {
        let trees = Trees::new()?;
        let mut pod = trees.pod(&[])?;
        // `tasks` is a file of every v1 directory, and `init` another leaf of the pod.
        for (text, most) in [("tasks", 5u64), ("init", 9)] {
            let app = pod.app(&name(text)?, &[pids(most)])?;
            let forked = run_in(&app, fork_bomb)?;
            check(forked == (most - 1).to_string(), || {
                format!("{text}: {forked} forks under a limit of {most}")
            })?;
            let counters = app.counters();
            check(counters.tasks.is_some(), || format!("{counters:?}"))?;
            // A running app's limit can change.
            app.set(pids(3))?;
            let forked = run_in(&app, fork_bomb)?;
            check(forked == "2", || format!("{forked} forks under 3"))?;
        }
        pod.remove_app(&name("tasks")?, PATIENCE)?;
        pod.remove(PATIENCE)?;
        trees.nothing_left()
    })
}

pub(crate) fn pod_limit() -> Outcome {
    needs(Controller::Pids, || {
        let trees = Trees::new()?;
        let mut pod = trees.pod(&[pids(6)])?;
        let a = pod.app(&name("a")?, &[pids(100)])?;
        let b = pod.app(&name("b")?, &[])?;
        for app in [&a, &b] {
            let forked = run_in(app, fork_bomb)?;
            check(forked == "5", || format!("{forked} forks in a pod of 6"))?;
        }
        pod.remove(PATIENCE)?;
        trees.nothing_left()
    })
}

pub(crate) fn memory() -> Outcome {
    needs(Controller::Memory, || {
        let trees = Trees::new()?;
        let mut pod = trees.pod(&[])?;
        let limit = Limit {
            knob: Knob::Memory,
            value: 16 << 20,
        };
        let app = pod.app(&name("hog")?, &[limit])?;
        let touch = |bytes: usize| {
            let (how, _) = ended(app.v2(), || {
                join(&app)?;
                let mut hog = vec![0u8; bytes];
                for page in hog.chunks_mut(4096) {
                    page.fill(std::hint::black_box(1));
                }
                check(hog.last() == Some(&1), || "not touched".to_owned())
            })?;
            Try::Ok(how)
        };
        // Control: a quarter of it is fine.
        check(touch(4 << 20)? == Ended::Exited(0), || "4 MiB".to_owned())?;
        check(touch(64 << 20)? == Ended::Killed(9), || "64 MiB".to_owned())?;
        let counters = app.counters();
        check(counters.oom_kills >= Some(1), || format!("{counters:?}"))?;
        check(counters.memory.is_some(), || format!("{counters:?}"))?;
        pod.remove(PATIENCE)?;
        trees.nothing_left()
    })
}

/// A process of the app that forks for ever, and its children too.
fn restless(app: &App) -> Try<Held> {
    let restless = Held::start(0, app.v2(), || {
        join(app)?;
        for _ in 0..3 {
            if matches!(
                rkt_sys::process::clone3(0, None)?,
                rkt_sys::process::Cloned::Child
            ) {
                loop {
                    match rkt_sys::process::clone3(0, None) {
                        // The parent ends, the child goes on: never the same pid twice.
                        Ok(rkt_sys::process::Cloned::Parent { .. }) => rkt_sys::process::exit(0),
                        Ok(rkt_sys::process::Cloned::Child) => {}
                        Err(_) => std::thread::sleep(Duration::from_micros(100)),
                    }
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        }
        Ok(String::new())
    })?;
    restless.hear()?;
    Ok(restless)
}

pub(crate) fn kill() -> Outcome {
    let whole = Layout::detect();
    if whole.version_of(Controller::Pids).is_none() {
        return Outcome::Skip("no cgroup controller pids".to_owned());
    }
    let mut layouts = vec![whole.clone()];
    if whole.v2.is_some() && !whole.v1.is_empty() {
        // The same host as if it had no v2 tree: no `cgroup.kill`, one by one.
        layouts.push(Layout {
            v2: None,
            v2_controllers: Vec::new(),
            ..whole
        });
    }
    if let Err(e) = rkt_sys::cred::become_subreaper() {
        return Outcome::Fail(e.to_string());
    }
    outcome(layouts.into_iter().try_for_each(|layout| {
        let mut trees = Trees::new()?;
        trees.layout = layout;
        let mut pod = trees.pod(&[pids(50)])?;
        let app = pod.app(&name("restless")?, &[pids(20)])?;
        let other = pod.app(&name("other")?, &[])?;
        let bystander = Held::start(0, other.v2(), || {
            join(&other)?;
            Ok(String::new())
        })?;
        bystander.hear()?;
        for _ in 0..3 {
            let first = restless(&app)?;
            check(app.populated() == Some(true), || "not populated".to_owned())?;
            app.kill()?;
            check(first.wait()? == Ended::Killed(9), || "survived".to_owned())?;
            let empty = (0..500).any(|_| {
                std::thread::sleep(Duration::from_millis(2));
                app.populated() == Some(false)
            });
            check(empty, || "some survived".to_owned())?;
        }
        // Zombies count as tasks until somebody reaps them, here us.
        while rkt_sys::process::try_wait_any().is_some() {}
        // The limit is as before, so the app can be started again.
        let forked = run_in(&app, fork_bomb)?;
        check(forked == "19", || format!("{forked} forks after the kill"))?;
        check(bystander.has_ended()?.is_none(), || {
            "the other app died".to_owned()
        })?;
        pod.kill()?;
        check(bystander.wait()? == Ended::Killed(9), || {
            "the pod lives".to_owned()
        })?;
        pod.remove(PATIENCE)?;
        trees.nothing_left()
    }))
}

pub(crate) fn swept() -> Outcome {
    needs(Controller::Pids, || {
        let trees = Trees::new()?;
        let nothing = sweep(&trees.layout, &trees.parent, &trees.uuid, PATIENCE)?;
        check(!nothing, || "found what was never there".to_owned())?;
        let mut pod = trees.pod(&[pids(50)])?;
        let app = pod.app(&name("orphan")?, &[])?;
        let orphan = restless(&app)?;
        // The supervisor is gone: all that is left is the pod's name.
        drop((pod, app));
        let found = sweep(&trees.layout, &trees.parent, &trees.uuid, PATIENCE)?;
        check(found, || "found nothing".to_owned())?;
        check(orphan.wait()? == Ended::Killed(9), || "survived".to_owned())?;
        trees.nothing_left()
    })
}

pub(crate) fn missing() -> Outcome {
    outcome((|| {
        let mut trees = Trees::new()?;
        let all = trees.layout.clone();
        trees.layout.v1.clear();
        trees.layout.v2_controllers.clear();
        let refused = trees.pod(&[pids(5)]).err();
        check(
            refused
                .as_ref()
                .is_some_and(|Wrong(e)| e.contains("`pids`")),
            || format!("{:?}", refused.map(|Wrong(e)| e)),
        )?;
        trees.nothing_left()?;
        if trees.layout.v2.is_some() {
            let mut pod = trees.pod(&[])?;
            let refused = pod.app(&name("a")?, &[pids(5)]).is_err();
            check(refused, || {
                "a limit without a controller was taken".to_owned()
            })?;
            pod.remove(PATIENCE)?;
        }
        // A directory that is no cgroup is never taken for one.
        trees.layout.v1 = vec![(Controller::Pids, std::env::temp_dir())];
        check(trees.pod(&[pids(5)]).is_err(), || {
            "a plain directory".to_owned()
        })?;
        trees.layout = all;
        trees.nothing_left()
    })())
}

pub(crate) fn parents() -> Outcome {
    outcome((|| {
        let mut trees = Trees::new()?;
        for bad in ["..", "a/../..", "./a", "a/."] {
            trees.parent = bad.to_owned();
            check(trees.pod(&[]).is_err(), || format!("`{bad}` was taken"))?;
        }
        // Nothing that Drop could remove but the host's own directories.
        trees.layout = Layout::default();
        let none: Option<BorrowedFd<'_>> = None;
        let pod = trees.pod(&[])?;
        check(
            pod.init().is_none() && pod.v2().is_none() && none.is_none(),
            || "a host without cgroups".to_owned(),
        )
    })())
}
