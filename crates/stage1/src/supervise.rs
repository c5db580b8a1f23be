//! One loop for the life of a pod: exits, output, signals, requests, deadlines.

use crate::app::App;
use crate::control::Server;
use crate::error::{Doing, EXIT_RKT, Failure};
use crate::host::{Host, stop_with};
use crate::last_words;
use crate::launcher::{Child, What};
use crate::make::{Inherited, Pod};
use crate::notify;
use crate::plugins;
use crate::relay::{Input, Output, Prefixed, RawTerminal, copy_size};
use crate::stdio::{Given, Ours, Owner};
use rkt_pod::logs::{LogWriter, Stream};
use rkt_pod::status::{AppState, AppStatus, PodStatus, StatusWriter};
use rkt_pod::{Locked, time};
use rkt_spec::plan::{AppPlan, Plan, Stdio};
use rkt_stage2::Mode;
use rkt_sys::process::{self, Ended};
use rkt_sys::signal;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::OsStr;
use std::time::{Duration, Instant};

mod again;
mod denials;
mod names;
mod network;
mod output;
mod poll;

pub(crate) use again::Answer;

const HUP: i32 = 1;
const INT: i32 = 2;
const QUIT: i32 = 3;
const TERM: i32 = 15;
const WINCH: i32 = 28;

/// An app as the supervisor sees it.
pub(crate) struct Running {
    pub(crate) child: Option<Child>,
    ours: Ours,
    log: LogWriter,
    prefixed: [Prefixed; 2],
    /// When SIGKILL follows the stop signal.
    kill_at: Option<Instant>,
    /// When a line without an end is written to the log anyway.
    flush_at: Option<Instant>,
    started: bool,
    /// Clients who wait for it to run once more.
    again: Vec<u64>,
    /// How often the kernel had killed one of its processes for want of memory, by the last end.
    ooms: u64,
}

/// The whole state of a supervisor.
pub(crate) struct Supervisor {
    pub(crate) plan: Plan,
    host: Host,
    pub(crate) pod: Pod,
    pub(crate) running: Vec<Running>,
    pub(crate) status: StatusWriter,
    outputs: [Output; 2],
    input: Input,
    pub(crate) stopping: bool,
    exit: Option<u8>,
    answers: Vec<Answer>,
    denials: denials::Denials,
    neighbours: names::Neighbours,
    /// The pod's directory.
    dir: Option<OwnedFd>,
}

/// What became ready.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Init,
    Pasta,
    Names,
    Main(usize),
    Launcher(usize),
    Denials(usize),
    Out(usize, Stream),
    Stdin,
    ToApp(usize),
    Output(usize),
    Control(crate::control::Source),
}

/// Makes the pod, keeps it, and takes it down. Gives the exit status.
pub(crate) fn supervise(plan: Plan, mut inherited: Inherited, notify_socket: Option<&OsStr>) -> u8 {
    let ready = plan.ready_fd.and_then(|n| rkt_sys::fd::inherit(n).ok());
    let (remove, uuid) = (plan.remove, plan.uuid);
    let foreign = plugins::interfaces(&plan);
    let lock = inherited.pod.try_clone();
    let held = network::held(&plan, &mut inherited);
    let (exit, message) = match Supervisor::new(plan, &inherited, held) {
        Ok(mut supervisor) => supervisor.run(&inherited, ready, notify_socket),
        Err(failure) => {
            notify::starter(ready, failure.exit, &failure.to_string());
            (failure.exit, Some(failure.to_string()))
        }
    };
    if let Some(message) = message {
        last_words(&message);
    }
    drop(inherited);
    if remove
        && let Ok(fd) = lock
        && !plugins::has_any_left(fd.as_fd(), &foreign)
        && let Err(error) = Locked::adopt(fd, uuid).and_then(Locked::remove)
    {
        last_words(&Failure::from(error).to_string());
    }
    exit
}

impl Supervisor {
    fn new(plan: Plan, inherited: &Inherited, held: network::Held) -> Result<Self, Failure> {
        let host = Host::open()?;
        let now = time::now();
        let mut status = PodStatus::new(plan.pod_name.clone(), host.pid, now);
        status.networks = match plan.net {
            rkt_spec::plan::Net::None => vec![],
            rkt_spec::plan::Net::Host => vec!["host".into()],
            rkt_spec::plan::Net::Private => {
                plan.networks.iter().map(|n| n.name.to_string()).collect()
            }
        };
        for app in &plan.apps {
            let mut one = AppStatus::new(app.name.clone(), now);
            one.image_name.clone_from(&app.image_name);
            one.image_id.clone_from(&app.image_id);
            status.apps.push(one);
        }
        let status = StatusWriter::new(inherited.pod.as_fd(), status)?;
        Ok(Self {
            plan,
            host,
            pod: Pod::with_ports(held),
            running: vec![],
            status,
            outputs: [Output::new(false), Output::new(true)],
            input: Input::default(),
            stopping: false,
            exit: None,
            answers: vec![],
            denials: denials::Denials::default(),
            neighbours: names::Neighbours::default(),
            dir: inherited.pod.try_clone().ok(),
        })
    }

    fn run(
        &mut self,
        inherited: &Inherited,
        ready: Option<OwnedFd>,
        notify_socket: Option<&OsStr>,
    ) -> (u8, Option<String>) {
        let mut message = None;
        let signals = signal::open(&[HUP, INT, QUIT, TERM, WINCH]);
        let started = signals
            .doing(|| "listen for signals".into())
            .and_then(|signals| {
                let server = Server::new(inherited.pod.as_fd())?;
                self.start(inherited)?;
                stop_with(self.plan.owner)?;
                Ok((signals, server))
            });
        match started {
            Ok((signals, mut server)) => {
                self.status.change().ready = true;
                self.save();
                notify::starter(ready, 0, "");
                notify::service_manager(notify_socket);
                self.pod.settle();
                let terminal = self.wants_terminal().then(RawTerminal::begin);
                self.keep(&signals, &mut server);
                drop(terminal);
                server.close();
            }
            Err(failure) => {
                self.status.change().reason = failure.to_string();
                self.exit = Some(failure.exit);
                self.note_failed_start(&failure);
                notify::starter(ready, failure.exit, &failure.to_string());
                message = Some(failure.to_string());
            }
        }
        let ended = self.pod.end();
        self.finish_output();
        if let Err(failure) = ended {
            // Why it did not start says more than what could not be taken back.
            message.get_or_insert_with(|| failure.to_string());
        }
        let exit = self.exit.unwrap_or(0);
        let now = time::now();
        let status = self.status.change();
        status.finished = now;
        status.exit_code = Some(exit.into());
        // Nobody reads of a pod that goes with its end.
        if !self.plan.remove {
            self.save();
            self.flush_denials();
        }
        self.dir = None;
        (exit, message.filter(|_| self.plan.foreground))
    }

    /// The status file is for onlookers: a full disk must not end the pod.
    fn save(&mut self) {
        let _ = self.status.flush();
    }

    fn note_failed_start(&mut self, failure: &Failure) {
        let now = time::now();
        for app in &mut self.status.change().apps {
            if app.state == AppState::Running {
                app.state = AppState::Exited;
                app.finished_at = now;
            } else if app.reason.is_empty() {
                app.state = AppState::Exited;
                app.exit_code = Some(failure.exit.into());
            }
        }
    }

    fn start(&mut self, inherited: &Inherited) -> Result<(), Failure> {
        for app in &self.plan.apps {
            let log = LogWriter::open(
                inherited.pod.as_fd(),
                &app.name,
                app.log_max_bytes,
                app.log_files,
            )?;
            self.running.push(Running {
                child: None,
                ours: Ours::default(),
                log,
                prefixed: Default::default(),
                kill_at: None,
                flush_at: None,
                started: false,
                again: vec![],
                ooms: 0,
            });
        }
        self.pod.make(&self.host, &self.plan, inherited)?;
        if let Some(sandbox) = &self.pod.sandbox {
            self.status.change().pid = sandbox.pid;
        }
        self.status.change().wired.clone_from(&self.pod.wired);
        self.tell_ports();
        self.tell_names();
        self.start_apps()
    }

    /// Starts every app: all are asked for before the first is waited for.
    fn start_apps(&mut self) -> Result<(), Failure> {
        let mut asked = Vec::new();
        for (app, running) in self.pod.apps.iter().zip(&mut self.running) {
            let (given, ours) = stdio_for(app, self.plan.foreground)?;
            running.ours = ours;
            asked.push(app.ask(What::Main, Mode::Execute, &given)?);
        }
        let mut starting = Vec::new();
        for (app, asked) in self.pod.apps.iter().zip(asked) {
            starting.push(app.cloned(asked)?);
        }
        let mut first: Option<Failure> = None;
        let now = time::now();
        for (n, (app, starting)) in self.pod.apps.iter().zip(starting).enumerate() {
            let outcome = app.finish(starting, What::Main);
            let one = self.status.change_app(&app.plan.name);
            match (outcome, one, self.running.get_mut(n)) {
                (Ok(child), Some(one), Some(running)) => {
                    one.state = AppState::Running;
                    one.pid = child.pid;
                    one.started_at = now;
                    one.ran = true;
                    running.child = Some(child);
                    running.started = true;
                }
                (Err(failure), Some(one), _) => {
                    one.state = AppState::Exited;
                    one.exit_code = Some(failure.exit.into());
                    one.finished_at = now;
                    one.reason = failure.because.join(": ");
                    first.get_or_insert(failure);
                }
                _ => {}
            }
        }
        self.status.change().started = now;
        first.map_or(Ok(()), Err)
    }

    fn wants_terminal(&self) -> bool {
        self.plan.foreground && self.plan.apps.iter().any(|a| a.stdio == Stdio::Tty)
    }

    /// The app that our stdin goes to.
    fn interactive(&self) -> Option<usize> {
        if !self.plan.foreground {
            return None;
        }
        self.plan.apps.iter().position(|a| a.stdio != Stdio::Log)
    }

    fn keep(&mut self, signals: &OwnedFd, server: &mut Server) {
        if let Some(master) = self.master() {
            copy_size(master);
        }
        while self.running.iter().any(|r| r.child.is_some()) {
            let events = self.wait(signals, server);
            for (source, flags) in events {
                self.handle(source, flags, signals, server);
            }
            self.pass_deadlines();
            server.pass_deadlines(self);
            self.start_ended();
            for answer in self.take_answers() {
                server.answer(answer);
            }
            // The last change is written with the end of the pod.
            if self.running.iter().any(|r| r.child.is_some()) {
                self.save();
            }
        }
    }

    fn master(&self) -> Option<&OwnedFd> {
        let at = self.interactive()?;
        let tty = self
            .plan
            .apps
            .get(at)
            .is_some_and(|a| a.stdio == Stdio::Tty);
        self.running
            .get(at)
            .filter(|_| tty)
            .and_then(|r| r.ours.stdout.as_ref())
    }

    fn handle(&mut self, source: Source, flags: PollFlags, signals: &OwnedFd, server: &mut Server) {
        match source {
            Source::Signals => {
                while let Ok(Some(number)) = signal::next(signals.as_fd()) {
                    self.on_signal(number);
                }
            }
            Source::Init => self.on_init_death(),
            Source::Pasta => self.on_pasta_death(),
            Source::Names => self.on_names(),
            Source::Main(n) => self.on_exit(n),
            Source::Launcher(n) => self.on_launcher_death(n),
            Source::Denials(n) => {
                let readable = flags.contains(PollFlags::IN);
                if !(readable && self.on_denial(n))
                    && let Some(child) = self.running.get_mut(n).and_then(|r| r.child.as_mut())
                {
                    child.listener = None;
                }
            }
            Source::Out(n, stream) => self.on_output(n, stream, flags),
            Source::Output(n) => {
                if let Some(output) = self.outputs.get_mut(n) {
                    output.write_some();
                }
            }
            Source::Stdin => self.input.read_some(),
            Source::ToApp(n) => self.pass_input(n),
            Source::Control(source) => server.handle(source, self),
        }
        if let Some(at) = self.interactive().filter(|_| self.input.is_done()) {
            self.end_input(at);
        }
    }

    fn pass_input(&mut self, n: usize) {
        let Some(stdio) = self.plan.apps.get(n).map(|a| a.stdio) else {
            return;
        };
        let Some(running) = self.running.get(n) else {
            return;
        };
        let end = if stdio == Stdio::Tty {
            &running.ours.stdout
        } else {
            &running.ours.stdin
        };
        if let Some(fd) = end {
            self.input.write_some(fd);
        }
    }

    /// End of our input: a pipe is closed; a terminal stays, it has its own end-of-file key.
    fn end_input(&mut self, at: usize) {
        if let Some(running) = self.running.get_mut(at) {
            running.ours.stdin = None;
        }
    }

    fn on_signal(&mut self, number: i32) {
        match number {
            WINCH => {
                if let Some(master) = self.master() {
                    copy_size(master);
                }
            }
            _ if self.stopping => self.kill_all(),
            _ => self.stop(None),
        }
    }

    /// Asks every app to end, and kills each that has not after its time.
    pub(crate) fn stop(&mut self, grace_ms: Option<u32>) {
        self.stopping = true;
        let now = Instant::now();
        for (running, plan) in self.running.iter_mut().zip(&self.plan.apps).rev() {
            let Some(child) = &running.child else {
                continue;
            };
            let grace = Duration::from_millis(grace_ms.unwrap_or(plan.stop_timeout_ms).into());
            let _ = signal::send(child.pidfd.as_fd(), plan.stop_signal.into());
            let at = now + grace;
            running.kill_at = Some(running.kill_at.map_or(at, |before| before.min(at)));
        }
    }

    /// Kills every process of every app.
    pub(crate) fn kill_all(&mut self) {
        self.stopping = true;
        for (running, app) in self.running.iter_mut().zip(&self.pod.apps) {
            running.kill_at = None;
            kill(running, app);
        }
    }

    fn pass_deadlines(&mut self) {
        let now = Instant::now();
        if self.denials.flush_at.is_some_and(|at| at <= now) {
            self.flush_denials();
        }
        if self.neighbours.look_at.is_some_and(|at| at <= now) {
            self.look_for_names();
        }
        for (running, app) in self.running.iter_mut().zip(&self.pod.apps) {
            if running.kill_at.is_some_and(|at| at <= now) {
                running.kill_at = None;
                kill(running, app);
            }
            if running.flush_at.is_some_and(|at| at <= now) {
                running.flush_at = None;
                let _ = running.log.flush(time::now());
            }
        }
    }

    fn flush_denials(&mut self) {
        if let Some(dir) = &self.dir {
            self.denials.flush(dir.as_fd());
        }
    }

    /// PID 1 cannot die unless somebody on the host kills it; everything else in the pod is
    /// dying with it.
    fn on_init_death(&mut self) {
        for n in 0..self.running.len() {
            if let Some(child) = self.running.get(n).and_then(|r| r.child.as_ref()) {
                let _ = signal::send(child.pidfd.as_fd(), 9);
                let ended = process::wait_pidfd(child.pidfd.as_fd());
                self.ended(n, ended.unwrap_or(Ended::Killed(9)));
            }
        }
        self.status.change().reason = "the pod's PID 1 was killed from outside".into();
        self.exit.get_or_insert(EXIT_RKT);
    }

    /// A pod without the network that it was to have is better ended than left alone.
    fn on_pasta_death(&mut self) {
        self.pod.networks.pasta.0 = None;
        self.status.change().reason = "pasta, which carries its packets, has ended".into();
        self.exit.get_or_insert(EXIT_RKT);
        self.stop(None);
    }

    fn on_exit(&mut self, n: usize) {
        let Some(child) = self.running.get(n).and_then(|r| r.child.as_ref()) else {
            return;
        };
        if let Ok(Some(ended)) = process::try_wait_pidfd(child.pidfd.as_fd()) {
            self.ended(n, ended);
        }
    }

    /// An app's first process has ended: so do its others, and its output.
    fn ended(&mut self, n: usize, ended: Ended) {
        let (Some(running), Some(app)) = (self.running.get_mut(n), self.pod.apps.get(n)) else {
            return;
        };
        running.child = None;
        running.kill_at = None;
        if app.cgroup.populated() != Some(false) {
            let _ = app.cgroup.kill();
        }
        let ooms = app.cgroup.counters().oom_kills.unwrap_or(0);
        let oom = ooms.saturating_sub(running.ooms);
        running.ooms = ooms;
        self.drain(n);
        let name = self.plan.apps.get(n).map(|a| a.name.clone());
        if let Some(one) = name.and_then(|name| self.status.change_app(&name)) {
            one.state = AppState::Exited;
            one.finished_at = time::now();
            one.exit_code = Some(ended.status().into());
            one.signal = if let Ended::Killed(s) = ended { s } else { 0 };
            one.oom = oom.try_into().unwrap_or(u32::MAX);
            one.pid = 0;
            if oom > 0 {
                one.reason = format!("the kernel killed {oom} of its processes for want of memory");
            }
        }
        // Asked for: its end is no failure.
        if self.wants_again(n) && !self.stopping {
            return;
        }
        if ended.status() != 0 {
            // The first app that fails gives the pod its status, and the others their leave.
            self.exit.get_or_insert(ended.status());
            if !self.stopping {
                self.stop(None);
            }
        }
    }

    fn on_launcher_death(&mut self, n: usize) {
        let Some(app) = self.pod.apps.get(n) else {
            return;
        };
        let _ = process::wait_pidfd(app.launcher.pidfd.as_fd());
        if let Err(failure) = self.pod.relaunch(&self.host, &self.plan, n) {
            // Without a launcher nothing more can be started in the app; what runs stays confined.
            self.status.change().reason = failure.to_string();
            self.stop(None);
        } else {
            let note =
                "its launcher was killed: processes entered from now on do not see older ones";
            let name = self.plan.apps.get(n).map(|a| a.name.clone());
            if let Some(one) = name.and_then(|name| self.status.change_app(&name)) {
                one.reason = note.into();
            }
        }
    }
}

/// Kills every process of an app: its cgroup at once, and its first process in any case.
fn kill(running: &Running, app: &App) {
    let _ = app.cgroup.kill();
    if let Some(child) = &running.child {
        let _ = signal::send(child.pidfd.as_fd(), 9);
    }
}

/// Who may open a process's standard descriptors again.
pub(crate) fn owner(app: &App, uid: u32, gid: u32) -> Owner {
    Owner {
        uid: app.uid0.saturating_add(uid),
        gid: app.uid0.saturating_add(gid),
    }
}

fn stdio_for(app: &App, foreground: bool) -> Result<(Given, Ours), Failure> {
    let plan: &AppPlan = &app.plan;
    let who = owner(app, plan.process.uid, plan.process.gid);
    match plan.stdio {
        Stdio::Tty => {
            let (given, master) = Given::pty(app.root.as_fd(), who)?;
            rustix::io::ioctl_fionbio(&master, true).doing(|| "prepare the pty".into())?;
            Ok((
                given,
                Ours {
                    stdin: None,
                    stdout: Some(master),
                    stderr: None,
                },
            ))
        }
        Stdio::Stream => Given::pipes(app.root.as_fd(), who, foreground),
        Stdio::Log => Given::pipes(app.root.as_fd(), who, false),
    }
}
