//! `rkt cp SRC POD[:APP]:PATH`, and out again.
//!
//! Two processes and a tar between them. This one has the host's files and never goes near the
//! app's; its child has the app's files and nothing else: see [`inside`]. Neither executes, loads
//! or follows anything of the app's.

mod inside;
mod place;
mod receive;
mod send;
mod trouble;

use super::look;
use crate::args::{self, Globals};
use crate::failure::{Failure, USAGE};
use clap::Parser;
use inside::App;
use place::Place;
use receive::Receive;
use rkt_spec::quantity;
use rustix::pipe::{PipeFlags, pipe_with};
use send::Send;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use trouble::Report;

/// Exit status when something was left out.
const PARTLY: u8 = 1;
/// Most bytes that are copied unless more is allowed: an app may make a file of any length.
const MOST: &str = "16Gi";

/// Copy files into an app of a running pod, or out of it
///
/// One of SRC and DST is of a pod: POD:PATH, or POD:APP:PATH when it has several apps. As cp does, what
/// is copied to a directory goes into it; SRC ending in `/.` means what is in it. The other one may
/// be `-`: a tar on stdin or stdout. Links are copied as links. What arrives in an app is its user's,
/// what leaves it the caller's; setuid and setgid bits, devices and sockets stay behind (exit
/// status 1 says that something did).
#[derive(Debug, Parser)]
#[command(name = "rkt cp")]
struct Words {
    /// Keep owners: numbers as the app has them
    #[arg(short, long)]
    archive: bool,
    /// Follow SRC when it is a link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Most bytes to copy
    #[arg(long, value_name = "SIZE", default_value = MOST, value_parser = quantity::bytes)]
    max_size: u64,
    /// A path of the host, `-`, or POD[:APP]:PATH
    #[arg(value_name = "SRC")]
    from: OsString,
    /// A path of the host, `-`, or POD[:APP]:PATH
    #[arg(value_name = "DST")]
    to: OsString,
    #[command(flatten)]
    globals: Globals,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// A tar on stdin or stdout.
    Stream,
    /// A path of the host.
    Host(PathBuf),
    /// A path of an app.
    Pod {
        pod: String,
        app: Option<String>,
        path: PathBuf,
    },
}

impl End {
    /// A word with a colon is a pod's, unless a `/` or `.` comes first, as in scp and docker.
    fn read(word: &OsStr) -> Self {
        let bytes = word.as_bytes();
        if bytes == b"-" {
            return Self::Stream;
        }
        let host = || Self::Host(PathBuf::from(word));
        let Some((pod, rest)) = split(bytes) else {
            return host();
        };
        if pod.is_empty() || pod.contains(&b'/') || pod.starts_with(b".") {
            return host();
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        match split(rest) {
            Some((app, inner)) if !app.contains(&b'/') => Self::Pod {
                pod: text(pod),
                app: Some(text(app)),
                path: path(inner),
            },
            _ => Self::Pod {
                pod: text(pod),
                app: None,
                path: path(rest),
            },
        }
    }
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == b':')?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Words = args::parse("cp", words)?;
    let report = match (End::read(&asked.from), End::read(&asked.to)) {
        (End::Pod { .. }, End::Pod { .. }) => {
            return Err(Failure::usage("copy from a pod to a pod")
                .because("one of the two must be of the host")
                .hint("`rkt cp POD:PATH - | rkt cp - POD:PATH` does it"));
        }
        (from, End::Pod { pod, app, path }) => {
            let app = find(&asked.globals, &pod, app.as_deref())?;
            into(&asked, &app, from, &path)?
        }
        (End::Pod { pod, app, path }, to) => {
            let app = find(&asked.globals, &pod, app.as_deref())?;
            out(&asked, &app, &path, to)?
        }
        _ => {
            return Err(Failure::usage("neither of the two paths is of a pod")
                .hint("name it as POD:PATH or POD:APP:PATH"));
        }
    };
    for note in &report.notes {
        super::note(&format!("cp: {note}"));
    }
    if report.more > 0 {
        super::note(&format!("cp: {} more were left out", report.more));
    }
    Ok(if report.notes.is_empty() { 0 } else { PARTLY })
}

fn find(globals: &Globals, word: &str, app: Option<&str>) -> Result<App, Failure> {
    look::need_root()?;
    let pods = look::open(globals)?;
    inside::find(&look::find(&pods, word)?, app)
}

fn pipe() -> Result<(File, File), Failure> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)
        .map_err(|e| Failure::usage("make a pipe").because(e.to_string()))?;
    Ok((reader.into(), writer.into()))
}

fn standard(fd: impl AsFd) -> Result<File, Failure> {
    let copy = fd.as_fd().try_clone_to_owned();
    copy.map(File::from)
        .map_err(|e| Failure::usage("copy a standard descriptor").because(e.to_string()))
}

/// Sends SRC to a child in the app.
fn into(asked: &Words, app: &App, from: End, path: &Path) -> Result<Report, Failure> {
    let (reader, writer) = match from {
        End::Stream => (standard(std::io::stdin())?, None),
        _ => {
            let (reader, writer) = pipe()?;
            (reader, Some(writer))
        }
    };
    let receive = Receive {
        stream: writer.is_none(),
        keep_ids: asked.archive,
        most: asked.max_size,
    };
    let theirs = reader
        .try_clone()
        .map_err(|e| Failure::usage("copy a descriptor").because(e.to_string()))?;
    let worker = app.fork(theirs.as_fd(), |place| receive.run(place, path, &theirs))?;
    drop((reader, theirs));
    let sent = match (&from, writer) {
        (End::Host(source), Some(writer)) => Send {
            follow: asked.follow_link,
            most: asked.max_size,
        }
        .run(&Place::host(), source, writer),
        _ => Report::default(),
    };
    Ok(worker.finish()?.and(sent)?)
}

/// Takes what a child in the app sends.
fn out(asked: &Words, app: &App, path: &Path, to: End) -> Result<Report, Failure> {
    let send = Send {
        follow: asked.follow_link,
        most: asked.max_size,
    };
    let (reader, writer) = match to {
        End::Stream if std::io::stdout().is_terminal() => {
            return Err(Failure::usage("write a tar to the terminal")
                .hint("send it to a file or a program"));
        }
        End::Stream => (None, standard(std::io::stdout())?),
        _ => {
            let (reader, writer) = pipe()?;
            (Some(reader), writer)
        }
    };
    let theirs = writer
        .try_clone()
        .map_err(|e| Failure::usage("copy a descriptor").because(e.to_string()))?;
    let worker = app.fork(theirs.as_fd(), |place| send.run(place, path, &theirs))?;
    drop((writer, theirs));
    let received = match (&to, reader) {
        (End::Host(target), Some(reader)) => Receive {
            stream: false,
            keep_ids: asked.archive,
            most: asked.max_size,
        }
        .run(&Place::host(), target, &reader),
        _ => Report::default(),
    };
    Ok(received.and(worker.finish()?)?)
}

/// Text of a path for messages.
fn shown(path: &Path) -> String {
    format!("`{}`", path.display().to_string().escape_debug())
}

impl From<trouble::Trouble> for Failure {
    fn from(trouble: trouble::Trouble) -> Self {
        let failure = Self::new(USAGE, trouble.doing).because(trouble.because);
        match trouble.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Writes all, for the child's report; nobody is left to hear of a failure.
fn say(mut to: &File, bytes: &[u8]) {
    let _ = to.write_all(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_colon_is_a_pods() {
        let pod = |pod: &str, app: Option<&str>, path: &str| End::Pod {
            pod: pod.into(),
            app: app.map(str::to_owned),
            path: path.into(),
        };
        for (word, want) in [
            ("shop:/etc/x", pod("shop", None, "/etc/x")),
            ("shop:etc/x", pod("shop", None, "etc/x")),
            ("shop:web:/etc/x", pod("shop", Some("web"), "/etc/x")),
            ("shop:/a:b", pod("shop", None, "/a:b")),
            ("shop:web:", pod("shop", Some("web"), "")),
            ("./a:b", End::Host("./a:b".into())),
            ("/a:b", End::Host("/a:b".into())),
            ("a", End::Host("a".into())),
            ("-", End::Stream),
        ] {
            assert_eq!(End::read(OsStr::new(word)), want, "{word}");
        }
    }
}
