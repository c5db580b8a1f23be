//! The pod's control socket: what `rkt status`, `stop` and `enter` ask of a running pod.
//!
//! Only the host's root can connect (the socket lies in a root-only directory, and the peer's
//! uid is checked). Nothing inside the pod has a way to it.

use crate::error::{Doing, Failure};
use crate::host::SETUP_DEADLINE;
use crate::launcher::{Child, What};
use crate::stdio::{Given, set_size};
use crate::supervise::{Answer, Supervisor, owner};
use rkt_net::gate::Which;
use rkt_pod::control::{Connection, Listener, Reply, Request};
use rkt_spec::plan::{Process, SLOT_IDS};
use rkt_stage2::Mode;
use rkt_sys::{process, signal};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// How many requests may be under way at once.
const MAX_CLIENTS: usize = 64;

/// What became ready.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    Listener,
    Client(u64),
    Report(u64),
    Process(u64),
}

/// A process that `rkt enter` asked for.
struct Entered {
    app: usize,
    child: Child,
    what: Process,
    /// Until the program runs: the report pipe, what it said, and when it is too late.
    starting: Option<(OwnedFd, Vec<u8>, Instant)>,
    master: Option<OwnedFd>,
}

struct Client {
    id: u64,
    connection: Connection,
    entered: Option<Entered>,
}

/// The listening end and those who are connected.
pub(crate) struct Server {
    listener: Listener,
    clients: Vec<Client>,
    next: u64,
}

impl Server {
    pub(crate) fn new(pod: BorrowedFd<'_>) -> Result<Self, Failure> {
        Ok(Self {
            listener: Listener::bind(pod)?,
            clients: vec![],
            next: 0,
        })
    }

    /// What to poll for.
    pub(crate) fn sources(&self) -> Vec<(Source, BorrowedFd<'_>)> {
        let mut list = Vec::new();
        if self.clients.len() < MAX_CLIENTS {
            list.push((Source::Listener, self.listener.as_fd()));
        }
        for client in &self.clients {
            list.push((Source::Client(client.id), client.connection.as_fd()));
            if let Some(entered) = &client.entered {
                match &entered.starting {
                    Some((report, ..)) => list.push((Source::Report(client.id), report.as_fd())),
                    None => list.push((Source::Process(client.id), entered.child.pidfd.as_fd())),
                }
            }
        }
        list
    }

    /// The next moment at which an entered process is late.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let starting = self
            .clients
            .iter()
            .filter_map(|c| c.entered.as_ref()?.starting.as_ref());
        starting.map(|(_, _, at)| *at).min()
    }

    pub(crate) fn handle(&mut self, source: Source, supervisor: &mut Supervisor) {
        match source {
            Source::Listener => {
                while let Ok(Some(connection)) = self.listener.accept() {
                    self.next += 1;
                    self.clients.push(Client {
                        id: self.next,
                        connection,
                        entered: None,
                    });
                }
            }
            Source::Client(id) => self.on_request(id, supervisor),
            Source::Report(id) => self.on_report(id, supervisor, false),
            Source::Process(id) => self.on_exit(id),
        }
    }

    pub(crate) fn pass_deadlines(&mut self, supervisor: &Supervisor) {
        let now = Instant::now();
        let late: Vec<u64> = self
            .clients
            .iter()
            .filter(|c| {
                let starting = c.entered.as_ref().and_then(|e| e.starting.as_ref());
                starting.is_some_and(|(_, _, at)| *at <= now)
            })
            .map(|c| c.id)
            .collect();
        for id in late {
            self.on_report(id, supervisor, true);
        }
    }

    fn client(&mut self, id: u64) -> Option<&mut Client> {
        self.clients.iter_mut().find(|c| c.id == id)
    }

    /// Lets a client go; the process it asked for goes with it.
    fn drop_client(&mut self, id: u64) {
        if let Some(at) = self.clients.iter().position(|c| c.id == id) {
            let client = self.clients.swap_remove(at);
            if let Some(entered) = client.entered {
                end(&entered.child);
            }
        }
    }

    fn on_request(&mut self, id: u64, supervisor: &mut Supervisor) {
        let Some(client) = self.client(id) else {
            return;
        };
        let request = client.connection.recv_request();
        let busy = client.entered.is_some();
        let reply = match request {
            Ok(Some((
                Request::Enter {
                    app,
                    process,
                    tty,
                    rows,
                    cols,
                },
                fds,
            ))) if !busy => match enter(supervisor, app.as_str(), process, tty, fds) {
                Ok(entered) => {
                    if let Some(master) = &entered.master {
                        set_size(master, rows, cols);
                    }
                    client.entered = Some(entered);
                    return;
                }
                Err(failure) => failed(failure),
            },
            Ok(Some((Request::Status, _))) => Reply::Status(supervisor.status.status().encode()),
            Ok(Some((Request::Stop { force, grace_ms }, _))) => {
                if force {
                    supervisor.kill_all();
                } else {
                    supervisor.stop(grace_ms);
                }
                Reply::Done
            }
            Ok(Some((
                Request::Restart {
                    app,
                    force,
                    grace_ms,
                },
                _,
            ))) => {
                let begun = find(supervisor, app.as_str())
                    .and_then(|at| supervisor.restart(at, id, force, grace_ms));
                match begun {
                    Ok(()) => return,
                    Err(failure) => failed(failure),
                }
            }
            Ok(Some((Request::Domain { app }, _))) => match domain(supervisor, app.as_str()) {
                Ok(errno) => Reply::Domain { errno },
                Err(failure) => failed(failure),
            },
            Ok(Some((
                Request::Signal {
                    app,
                    signal: number,
                },
                _,
            ))) => send_signal(supervisor, app.as_ref().map(AsRef::as_ref), number),
            Ok(Some((Request::Publish { port, .. }, fds))) => {
                match supervisor.publish(port, fds.into_iter().next()) {
                    Ok(()) => Reply::Done,
                    Err(failure) => failed(failure),
                }
            }
            Ok(Some((
                Request::Withdraw {
                    host,
                    port,
                    protocol,
                },
                _,
            ))) => {
                let which = Which {
                    host,
                    port,
                    protocol,
                };
                match supervisor.withdraw(which) {
                    Ok(()) => Reply::Done,
                    Err(failure) => failed(failure),
                }
            }
            Ok(Some((Request::Guard, _))) => match supervisor.guard() {
                Ok(()) => Reply::Done,
                Err(failure) => failed(failure),
            },
            Ok(Some(_)) => failed(Failure::new("take a request", "one is under way already")),
            Ok(None) | Err(_) => return self.drop_client(id),
        };
        if client.connection.send_reply(&reply, &[]).is_err() {
            self.drop_client(id);
        }
    }

    fn on_report(&mut self, id: u64, supervisor: &Supervisor, late: bool) {
        let Some(client) = self.client(id) else {
            return;
        };
        let Some(mut entered) = client.entered.take() else {
            return;
        };
        let Some((report, mut said, at)) = entered.starting.take() else {
            client.entered = Some(entered);
            return;
        };
        let mut buffer = [0u8; 64];
        // Of a child that is late nothing is read: it says nothing, and the read would wait for it.
        let read = (!late).then(|| rustix::io::read(&report, &mut buffer));
        let word = match read {
            None => None,
            Some(Ok(n)) if n > 0 && said.len() < 256 => {
                said.extend_from_slice(buffer.get(..n).unwrap_or(&[]));
                entered.starting = Some((report, said, at));
                client.entered = Some(entered);
                return;
            }
            Some(Err(rustix::io::Errno::INTR)) => {
                entered.starting = Some((report, said, at));
                client.entered = Some(entered);
                return;
            }
            Some(_) => Some(said),
        };
        let Some(app) = supervisor.pod.apps.get(entered.app) else {
            return;
        };
        let sent = match app.outcome(entered.child, word, What::Other(&entered.what)) {
            Ok(child) => {
                let reply = Reply::Entered { pid: child.pid };
                let master = entered.master.take();
                let fds: Vec<BorrowedFd<'_>> = master.iter().map(AsFd::as_fd).collect();
                let sent = client.connection.send_reply(&reply, &fds);
                entered.child = child;
                client.entered = Some(entered);
                sent.is_ok()
            }
            Err(failure) => client.connection.send_reply(&failed(failure), &[]).is_ok(),
        };
        if !sent {
            self.drop_client(id);
        }
    }

    fn on_exit(&mut self, id: u64) {
        let Some(client) = self.client(id) else {
            return;
        };
        let Some(entered) = &client.entered else {
            return;
        };
        let Ok(Some(ended)) = process::try_wait_pidfd(entered.child.pidfd.as_fd()) else {
            return;
        };
        let signal = if let process::Ended::Killed(number) = ended {
            number
        } else {
            0
        };
        let reply = Reply::Exited {
            status: ended.status().into(),
            signal,
        };
        client.entered = None;
        if client.connection.send_reply(&reply, &[]).is_err() {
            self.drop_client(id);
        }
    }

    /// Tells a client how its restart went.
    pub(crate) fn answer(&mut self, (id, outcome): Answer) {
        let reply = match outcome {
            Ok(pid) => Reply::Entered { pid },
            Err(failure) => failed(failure),
        };
        let sent = self
            .client(id)
            .map(|client| client.connection.send_reply(&reply, &[]).is_ok());
        if sent == Some(false) {
            self.drop_client(id);
        }
    }

    /// The pod has ended: everyone who waits is told how their process did.
    pub(crate) fn close(self) {
        for client in self.clients {
            if let Some(entered) = client.entered {
                let ended = end(&entered.child);
                let signal = if let process::Ended::Killed(number) = ended {
                    number
                } else {
                    0
                };
                let reply = Reply::Exited {
                    status: ended.status().into(),
                    signal,
                };
                let _ = client.connection.send_reply(&reply, &[]);
            }
        }
    }
}

fn end(child: &Child) -> process::Ended {
    let _ = signal::send(child.pidfd.as_fd(), 9);
    process::wait_pidfd(child.pidfd.as_fd()).unwrap_or(process::Ended::Killed(9))
}

fn failed(failure: Failure) -> Reply {
    let Failure {
        exit,
        doing,
        because,
        hint,
    } = failure;
    Reply::Failed {
        exit,
        doing,
        because,
        hint,
    }
}

fn find(supervisor: &Supervisor, name: &str) -> Result<usize, Failure> {
    let known = supervisor.plan.apps.iter().map(|a| a.name.as_str());
    known.clone().position(|n| n == name).ok_or_else(|| {
        let list: Vec<&str> = known.collect();
        Failure::new(
            format!("find app `{name}`"),
            format!("the pod has {}", list.join(", ")),
        )
    })
}

fn enter(
    supervisor: &Supervisor,
    name: &str,
    process: Process,
    tty: bool,
    fds: Vec<OwnedFd>,
) -> Result<Entered, Failure> {
    let doing = format!("enter app `{name}`");
    let at = find(supervisor, name)?;
    let app = supervisor
        .pod
        .apps
        .get(at)
        .ok_or_else(|| Failure::new(&*doing, "it is not there"))?;
    if supervisor.running.get(at).is_none_or(|r| r.child.is_none()) {
        return Err(
            Failure::new(doing, "it is not running").hint("`rkt status` tells how it ended")
        );
    }
    let ids = [process.uid, process.gid]
        .into_iter()
        .chain(process.groups.iter().copied());
    if let Some(id) = ids.into_iter().find(|id| *id >= SLOT_IDS) {
        return Err(Failure::new(
            doing,
            format!("id {id} is not one of the app's 0..=65535"),
        ));
    }
    let who = owner(app, process.uid, process.gid);
    let (given, master) = if tty {
        let (given, master) = Given::pty(app.root.as_fd(), who)?;
        (given, Some(master))
    } else {
        (Given::brought(fds, who)?, None)
    };
    let asked = app.ask(What::Other(&process), Mode::Execute, &given)?;
    let starting = app.cloned(asked)?;
    let late = Instant::now() + SETUP_DEADLINE;
    Ok(Entered {
        app: at,
        child: starting.child,
        what: process,
        starting: Some((starting.report, vec![], late)),
        master,
    })
}

/// What the launcher of an app gets for an open of the host's `/`.
fn domain(supervisor: &Supervisor, name: &str) -> Result<i32, Failure> {
    let doing = || format!("ask the launcher of app `{name}`");
    let at = find(supervisor, name)?;
    let apps = &supervisor.pod.apps;
    let app = apps
        .get(at)
        .ok_or_else(|| Failure::new(doing(), "it is not there"))?;
    app.launcher.prove().doing(doing)
}

fn send_signal(supervisor: &Supervisor, app: Option<&str>, number: u8) -> Reply {
    let one = match app.map(|name| find(supervisor, name)).transpose() {
        Ok(one) => one,
        Err(failure) => return failed(failure),
    };
    for (n, running) in supervisor.running.iter().enumerate() {
        if one.is_none_or(|at| at == n)
            && let Some(child) = &running.child
        {
            let _ = signal::send(child.pidfd.as_fd(), number.into());
        }
    }
    Reply::Done
}
