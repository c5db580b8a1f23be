//! `rkt enter POD [CMD..]`: one more process in an app, confined exactly like the app.
//!
//! The supervisor makes it; this process only says what, and carries bytes. The operator's
//! own descriptors never enter the pod: there are pipes or a pty of the app's between.

mod accounts;
mod process;
mod relay;
mod terminal;

use super::{ask, look};
use crate::args::{self, Globals};
use crate::failure::{Failure, RKT, USAGE};
use clap::Parser;
use relay::{Ends, Outcome};
use rkt_pod::control::{Connection, Reply, Request};
use rkt_pod::{Pod, State};
use rkt_spec::AppName;
use rkt_spec::codec::Bytes;
use rkt_spec::manifest::{PodManifest, RuntimeApp};
use rkt_spec::plan::Process;
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use terminal::Terminal;

/// What is tried when no command is given, in this order.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];
/// Exit status of a program that is not there.
const NOT_FOUND: u8 = 127;

/// Run a program in an app, confined like the app
#[derive(Debug, Parser)]
#[command(name = "rkt enter")]
struct Enter {
    /// Which app; may be left out when the pod has one
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// User, a name or number, and group: NAME[:GROUP]; the app's own when not given
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Group, a name or number
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Pass stdin on (always done; other engines' option)
    #[arg(short, long)]
    interactive: bool,
    /// Whether to make a terminal; done when stdin and stdout are one
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tty: Option<bool>,
    /// Set NAME=VALUE, or pass on the caller's NAME
    #[arg(
        short,
        long,
        visible_alias = "environment",
        alias = "set-env",
        value_name = "NAME[=VALUE]"
    )]
    env: Vec<String>,
    /// Directory to start in; the app's own when not given
    #[arg(short, long, visible_alias = "working-dir", value_name = "DIR")]
    workdir: Option<String>,
    /// UUID, its beginning, or a name; and an app after a colon
    #[arg(value_name = "POD[:APP]")]
    pod: String,
    /// Program and arguments
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<OsString>,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Enter = args::parse("enter", words)?;
    look::need_root()?;
    let pods = look::open(&asked.globals)?;
    let (word, app) = look::pod_and_app(&asked.pod);
    let pod = look::find(&pods, word)?;
    if pod.state() != State::Running {
        return Err(
            Failure::usage(format!("pod \"{}\" isn't currently running", pod.uuid()))
                .because(format!("it is {}", pod.state().as_str())),
        );
    }
    let manifest = manifest_of(&pod)?;
    let app = choose(&manifest, asked.app.as_ref().map(AppName::as_str).or(app))?;
    let both = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let tty = asked.tty.unwrap_or(both);
    let process = process::of(&asked, &pod, app, tty)?;
    let connection = ask::connect(&pod).map_err(rkts)?;
    if !asked.command.is_empty() {
        return one(&connection, &app.name, process, tty);
    }
    let mut tried = Err(Failure::silent(RKT));
    for shell in SHELLS {
        let argv = vec![Bytes(shell.as_bytes().to_vec())];
        let process = Process {
            argv,
            ..process.clone()
        };
        if !asked.globals.quiet {
            super::note(&format!(
                "enter: no command specified, assuming \"{shell}\""
            ));
        }
        tried = one(&connection, &app.name, process, tty);
        match &tried {
            Err(failure) if failure.status == NOT_FOUND => {}
            _ => return tried,
        }
    }
    tried
}

/// A failure that is rkt's own, not the entered program's: 125.
fn rkts(failure: impl Into<Failure>) -> Failure {
    let mut failure = failure.into();
    failure.status = RKT;
    failure
}

fn manifest_of(pod: &Pod) -> Result<PodManifest, Failure> {
    let manifest = look::manifest(pod).map_err(rkts)?;
    manifest.ok_or_else(|| {
        Failure::new(RKT, format!("enter pod `{}`", pod.uuid())).because("it has no manifest")
    })
}

/// The app that is meant.
fn choose<'a>(manifest: &'a PodManifest, named: Option<&str>) -> Result<&'a RuntimeApp, Failure> {
    let names = || {
        let names: Vec<_> = manifest.apps.iter().map(|a| a.name.as_str()).collect();
        format!("its apps are: {}", names.join(", "))
    };
    match (named, manifest.apps.as_slice()) {
        (None, [one]) => Ok(one),
        (None, []) => Err(Failure::new(USAGE, "the pod has no apps")),
        (None, _) => Err(Failure::new(USAGE, "the pod has several apps")
            .because(names())
            .hint("say which with --app=NAME")),
        (Some(name), apps) => apps
            .iter()
            .find(|a| a.name.as_str() == name)
            .ok_or_else(|| {
                Failure::new(
                    USAGE,
                    format!("no app `{}` in the pod", name.escape_debug()),
                )
                .hint(names())
            }),
    }
}

/// Has one process made, and stays with it to its end.
fn one(connection: &Connection, app: &AppName, process: Process, tty: bool) -> Result<u8, Failure> {
    let (ours, theirs) = if tty {
        (Vec::new(), Vec::new())
    } else {
        pipes()?
    };
    let (rows, cols) = if tty { terminal::size() } else { (0, 0) };
    let app = app.clone();
    let request = Request::Enter {
        app,
        process,
        tty,
        rows,
        cols,
    };
    let fds: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
    connection.send_request(&request, &fds).map_err(rkts)?;
    // The app's ends must be the app's alone: the end of file depends on it.
    drop(fds);
    drop(theirs);
    let master = match connection.recv_reply().map_err(rkts)? {
        Some((Reply::Entered { .. }, mut fds)) => fds.pop(),
        Some((
            Reply::Failed {
                exit,
                doing,
                because,
                hint,
            },
            _,
        )) => {
            return Err(ask::failed(exit, doing, because, &hint));
        }
        Some(_) => {
            return Err(
                Failure::new(RKT, "enter the app").because("the supervisor answers nonsense")
            );
        }
        None => return Err(Failure::new(RKT, "enter the app").because("the pod has ended")),
    };
    let ends = match (master, <[OwnedFd; 3]>::try_from(ours)) {
        (Some(master), _) => Ends::pty(master)?,
        (None, Ok([stdin, stdout, stderr])) => Ends::pipes(stdin, stdout, stderr)?,
        (None, Err(_)) => {
            return Err(
                Failure::new(RKT, "enter the app").because("the supervisor sent no terminal")
            );
        }
    };
    // From here to the end of the block the operator's terminal is raw.
    let terminal = if tty { Terminal::raw()? } else { None };
    let outcome = relay::relay(connection, ends, terminal.as_ref());
    drop(terminal);
    match outcome? {
        Outcome::Exited(status) => Ok(status),
        Outcome::Signal(number) => Ok(128u8.saturating_add(number)),
        Outcome::PodEnded => Err(Failure::new(
            RKT,
            "the pod has ended, and the program with it",
        )),
    }
}

/// Three pipes: our ends (stdin to write, stdout and stderr to read), and the app's.
fn pipes() -> Result<(Vec<OwnedFd>, Vec<OwnedFd>), Failure> {
    let pipe = || {
        pipe_with(PipeFlags::CLOEXEC)
            .map_err(|e| Failure::new(RKT, "make pipes").because(e.to_string()))
    };
    let (in_read, in_write) = pipe()?;
    let (out_read, out_write) = pipe()?;
    let (err_read, err_write) = pipe()?;
    Ok((
        vec![in_write, out_read, err_read],
        vec![in_read, out_write, err_write],
    ))
}

fn bytes(words: Vec<OsString>) -> Vec<Bytes> {
    words.into_iter().map(|w| Bytes(w.into_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Enter {
        args::parse(
            "enter",
            line.split_whitespace().map(OsString::from).collect(),
        )
        .unwrap()
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let asked = parse("-it -u 7 --app=web -e A=b pod ls -it --app=x -- y");
        assert_eq!((asked.tty, asked.interactive), (Some(true), true));
        assert_eq!(asked.user.as_deref(), Some("7"));
        assert_eq!(asked.command, ["ls", "-it", "--app=x", "--", "y"]);
        assert_eq!(asked.pod, "pod");
        let asked = parse("pod:web -- -x");
        assert_eq!((asked.pod.as_str(), asked.tty), ("pod:web", None));
        assert_eq!(asked.command, ["-x"]);
        assert_eq!(parse("--tty=false pod").tty, Some(false));
        assert_eq!(parse("-t pod true").command, ["true"]);
    }

    #[test]
    fn an_app_is_named_unless_there_is_one() {
        let manifest = |n: usize| {
            let app = |n: &str| {
                serde_json::json!({ "name": n, "image": { "id": "", "name": "" },
                "app": { "exec": ["x"], "user": "0", "group": "0" } })
            };
            let apps: Vec<_> = ["web", "log"].into_iter().take(n).map(app).collect();
            serde_json::from_value::<PodManifest>(
                serde_json::json!({ "acVersion": "", "acKind": "", "apps": apps }),
            )
            .unwrap()
        };
        assert_eq!(choose(&manifest(1), None).unwrap().name.as_str(), "web");
        assert_eq!(
            choose(&manifest(2), Some("log")).unwrap().name.as_str(),
            "log"
        );
        let several = choose(&manifest(2), None).unwrap_err();
        assert_eq!(several.status, USAGE);
        assert!(several.to_string().contains("web, log"));
        assert!(choose(&manifest(2), Some("x\x1b")).is_err());
    }
}
