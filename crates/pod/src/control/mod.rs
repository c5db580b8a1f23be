//! The control socket of a running pod: how the command asks its supervisor.
//!
//! A `SOCK_SEQPACKET` socket named `control` in the pod's root-only directory. One
//! message is one frame: magic `RKTC`, `u16` version, `u32` length of the body, body;
//! at most [`MAX_FRAME`] bytes. Descriptors travel with the frame that names them.
//!
//! ```text
//! command                      supervisor
//!   Status            ->       Status(bytes)
//!   Signal            ->       Done
//!   Stop              ->       Done at once; end of file when the pod has ended
//!   Enter [3 pipes]   ->       Entered{pid} [pty master, with tty]
//!                              ... Exited{status, signal}
//!   Restart           ->       Entered{pid} when the app's program runs again
//!   Domain            ->       Domain{errno}
//!   Publish [socket]  ->       Done
//!   Withdraw          ->       Done
//!   anything          ->       Failed
//! ```
//! A connection that closes takes the process it entered with it. Nothing inside a pod
//! can reach the socket: the directory is the host root's, and the peer's uid is asked.

mod connection;
mod frame;
mod listener;

pub use connection::Connection;
pub use frame::{MAX_FRAME, VERSION};
pub use listener::Listener;

use crate::error::{Error, Kind};
use rkt_spec::AppName;
use rkt_spec::codec::{Bytes, Reader, Record};
use rkt_spec::network::{PortPlan, Protocol};
use rkt_spec::plan::Process;
use std::net::IpAddr;

/// Name of the socket in the pod's directory.
pub const SOCKET: &str = "control";

/// Most descriptors a frame carries.
pub const MAX_FDS: usize = 3;

/// What the command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The pod's status now.
    Status,
    /// End the pod.
    Stop {
        /// Kill at once.
        force: bool,
        /// Milliseconds from the stop signals to SIGKILL; `None` is each app's own.
        grace_ms: Option<u32>,
    },
    /// Start one more process in an app, confined like the app.
    ///
    /// Descriptors: stdin, stdout, stderr without `tty`, none with it.
    Enter {
        /// Which app.
        app: AppName,
        /// What to execute.
        process: Process,
        /// Whether to make a pty; its master comes back with [`Reply::Entered`].
        tty: bool,
        /// Rows of the operator's terminal, 0 when there is none.
        rows: u16,
        /// Columns of the operator's terminal, 0 when there is none.
        cols: u16,
    },
    /// Send a signal to an app, or to each.
    Signal {
        /// Which app; `None` is all.
        app: Option<AppName>,
        /// Linux number, 1..=64.
        signal: u8,
    },
    /// End an app's processes and start its program again, in the same walls and files.
    Restart {
        /// Which app; one that has ended is just started.
        app: AppName,
        /// Kill at once.
        force: bool,
        /// Milliseconds from the stop signal to SIGKILL; `None` is the app's own.
        grace_ms: Option<u32>,
    },
    /// Let the launcher of an app, from which all its processes come, try to open the host's `/`.
    Domain {
        /// Which app.
        app: AppName,
    },
    /// Lead one more port of the host into the pod.
    ///
    /// Descriptor: the bound socket that holds the port, when it is `held`.
    Publish {
        /// Which port, and where to.
        port: PortPlan,
        /// Whether a socket comes along: not of a protocol that the kernel has no sockets of.
        held: bool,
    },
    /// Take a port of the host back and end the connections through it.
    Withdraw {
        /// Address of the host; `None` when the port alone says which.
        host: Option<IpAddr>,
        /// Port of the host.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
    },
    /// Put the pod's rules back into the host's firewall, which somebody has emptied.
    Guard,
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done, or under way where the request says so.
    Done,
    /// An encoded `PodStatus`.
    Status(Vec<u8>),
    /// The process runs. Descriptors: the pty's master with `tty`, else none.
    Entered {
        /// Its pid on the host.
        pid: u32,
    },
    /// The entered process has ended.
    Exited {
        /// Its exit code, or 128 + `signal`.
        status: i32,
        /// Signal that ended it; 0 when it exited.
        signal: u8,
    },
    /// What the launcher got: 0 when it could open it, and so is in no Landlock domain.
    Domain {
        /// An errno.
        errno: i32,
    },
    /// It could not be done.
    Failed {
        /// Exit status for the command.
        exit: u8,
        /// What was being done.
        doing: String,
        /// Why it stopped, outermost first.
        because: Vec<String>,
        /// What to try; empty when nothing is sure.
        hint: String,
    },
}

impl Request {
    /// How many descriptors this request must bring.
    pub fn fds(&self) -> usize {
        match self {
            Self::Enter { tty: false, .. } => 3,
            Self::Publish { held: true, .. } => 1,
            _ => 0,
        }
    }

    /// What the bytes cannot say by their form alone.
    fn check(&self) -> Result<(), Error> {
        let bad = |what: &str| Err(Error::new(Kind::Corrupt, what));
        match self {
            Self::Enter { process, .. } => {
                let nul = |list: &[Bytes]| list.iter().any(|b| b.0.contains(&0));
                if process.argv.is_empty() {
                    bad("the command is empty")
                } else if nul(&process.argv) || nul(&process.env) || process.cwd.contains('\0') {
                    bad("the command, its environment or directory holds a NUL byte")
                } else if !process.cwd.starts_with('/') {
                    bad("the working directory is not absolute")
                } else {
                    Ok(())
                }
            }
            Self::Publish { port, .. } if port.host_port == 0 || port.pod_port == 0 => {
                bad("a port is 1 to 65535")
            }
            Self::Signal { signal, .. } if !(1..=64).contains(signal) => bad("a signal is 1 to 64"),
            _ => Ok(()),
        }
    }
}

fn unknown(what: &'static str, tag: u8) -> rkt_spec::Error {
    rkt_spec::Error::new(what, tag.to_string(), "is not known to this version")
}

impl Record for Request {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Status => 0u8.put(out),
            Self::Stop { force, grace_ms } => {
                1u8.put(out);
                force.put(out);
                grace_ms.put(out);
            }
            Self::Enter {
                app,
                process,
                tty,
                rows,
                cols,
            } => {
                2u8.put(out);
                app.put(out);
                process.put(out);
                tty.put(out);
                rows.put(out);
                cols.put(out);
            }
            Self::Signal { app, signal } => {
                3u8.put(out);
                app.put(out);
                signal.put(out);
            }
            Self::Restart {
                app,
                force,
                grace_ms,
            } => {
                4u8.put(out);
                app.put(out);
                force.put(out);
                grace_ms.put(out);
            }
            Self::Domain { app } => {
                16u8.put(out);
                app.put(out);
            }
            Self::Publish { port, held } => {
                5u8.put(out);
                port.put(out);
                held.put(out);
            }
            Self::Withdraw {
                host,
                port,
                protocol,
            } => {
                6u8.put(out);
                host.put(out);
                port.put(out);
                protocol.put(out);
            }
            Self::Guard => 7u8.put(out),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, rkt_spec::Error> {
        Ok(match u8::take(from)? {
            0 => Self::Status,
            1 => Self::Stop {
                force: Record::take(from)?,
                grace_ms: Record::take(from)?,
            },
            2 => Self::Enter {
                app: Record::take(from)?,
                process: Record::take(from)?,
                tty: Record::take(from)?,
                rows: Record::take(from)?,
                cols: Record::take(from)?,
            },
            3 => Self::Signal {
                app: Record::take(from)?,
                signal: Record::take(from)?,
            },
            4 => Self::Restart {
                app: Record::take(from)?,
                force: Record::take(from)?,
                grace_ms: Record::take(from)?,
            },
            16 => Self::Domain {
                app: Record::take(from)?,
            },
            5 => Self::Publish {
                port: Record::take(from)?,
                held: Record::take(from)?,
            },
            6 => Self::Withdraw {
                host: Record::take(from)?,
                port: Record::take(from)?,
                protocol: Record::take(from)?,
            },
            7 => Self::Guard,
            tag => return Err(unknown("control request", tag)),
        })
    }
}

impl Record for Reply {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done => 0u8.put(out),
            Self::Status(bytes) => {
                1u8.put(out);
                Bytes(bytes.clone()).put(out);
            }
            Self::Entered { pid } => {
                2u8.put(out);
                pid.put(out);
            }
            Self::Exited { status, signal } => {
                3u8.put(out);
                status.put(out);
                signal.put(out);
            }
            Self::Failed {
                exit,
                doing,
                because,
                hint,
            } => {
                4u8.put(out);
                exit.put(out);
                doing.put(out);
                because.put(out);
                hint.put(out);
            }
            Self::Domain { errno } => {
                16u8.put(out);
                errno.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, rkt_spec::Error> {
        Ok(match u8::take(from)? {
            0 => Self::Done,
            1 => Self::Status(Bytes::take(from)?.0),
            2 => Self::Entered {
                pid: Record::take(from)?,
            },
            3 => Self::Exited {
                status: Record::take(from)?,
                signal: Record::take(from)?,
            },
            4 => Self::Failed {
                exit: Record::take(from)?,
                doing: Record::take(from)?,
                because: Record::take(from)?,
                hint: Record::take(from)?,
            },
            16 => Self::Domain {
                errno: Record::take(from)?,
            },
            tag => return Err(unknown("control reply", tag)),
        })
    }
}

#[cfg(test)]
mod tests;
