//! `rkt rm POD..`: remove pods that do not run.

use super::{gc, look, stop};
use crate::args::{self, Format, Globals};
use crate::failure::{Failure, USAGE};
use clap::Parser;
use rkt_pod::{Pod, Pods, State};
use std::ffi::OsString;
use std::path::PathBuf;

/// Remove stopped pods
#[derive(Debug, Parser)]
#[command(name = "rkt rm")]
struct Rm {
    /// UUIDs, beginnings of UUIDs, or names
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// Read a UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
    /// Kill pods that run
    #[arg(short, long)]
    force: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Rm = args::parse("rm", words)?;
    look::need_root()?;
    let words = look::words(asked.pods.clone(), asked.uuid_file.as_deref(), USAGE)?;
    let pods = look::open(&asked.globals)?;
    let mut status = 0;
    for word in &words {
        match remove(&pods, word, &asked) {
            Ok(uuid) => super::say(&match asked.format {
                Format::Table => format!("\"{uuid}\"\n"),
                format => super::json(
                    &serde_json::json!({ "name": uuid, "removed": true }),
                    format,
                )?,
            }),
            Err(failure) => {
                failure.print();
                status = failure.status;
            }
        }
    }
    Ok(status)
}

fn remove(pods: &Pods, word: &str, asked: &Rm) -> Result<String, Failure> {
    let mut pod = look::find(pods, word)?;
    let uuid = pod.uuid();
    if pod.state() == State::Running && asked.force {
        stop::kill(pod, &asked.globals)?;
        match pods.get(uuid)? {
            Some(ended) => pod = ended,
            // It was to go at its end (`--rm`).
            None => return Ok(uuid.to_string()),
        }
    }
    refuse_busy(&pod, word)?;
    match pod.state() {
        State::AbortedPrepare => {
            super::note(&format!("rm: moving failed prepare \"{uuid}\" to garbage"));
        }
        State::Prepared => {
            super::note(&format!(
                "rm: moving expired prepared pod \"{uuid}\" to garbage"
            ));
        }
        _ => {}
    }
    gc::discard(&asked.globals, pod)?;
    Ok(uuid.to_string())
}

fn refuse_busy(pod: &Pod, word: &str) -> Result<(), Failure> {
    let doing = format!("remove pod \"{}\"", pod.uuid());
    let (because, hint) = match pod.state() {
        State::Running => (
            "pod is currently running",
            Some(format!(
                "stop it first with `rkt stop {word}`, or use `rkt rm --force`"
            )),
        ),
        State::Embryo | State::Preparing => ("pod is currently being prepared", None),
        State::Deleting | State::ExitedDeleting => ("pod is currently being deleted", None),
        _ => return Ok(()),
    };
    let failure = Failure::usage(doing).because(because);
    Err(match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}
