//! `rkt help [VERB]`, `rkt`, `rkt --help`.

use crate::cmd::{VERBS, find};
use crate::failure::Failure;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let topic = words
        .into_iter()
        .map(|w| w.to_string_lossy().into_owned())
        .find(|w| !w.starts_with('-'));
    match topic {
        Some(topic) => (find(&topic)?.run)(vec![OsString::from("--help")]),
        None => {
            super::say(&overview());
            Ok(0)
        }
    }
}

/// No verb at all: help when it was asked for, else an error with help (status 2, as in the original).
pub(super) fn without_verb(argv: &[OsString]) -> Result<u8, Failure> {
    let asked = |w: &OsString| w == "--help" || w == "-h";
    if argv.iter().any(asked) {
        super::say(&overview());
        return Ok(0);
    }
    if argv.iter().any(|w| w == "--version") {
        return super::version::run(Vec::new());
    }
    let _ = write!(
        std::io::stderr().lock(),
        "rkt: missing command\n\n{}",
        overview()
    );
    Ok(2)
}

fn overview() -> String {
    let mut text = String::from(
        "NAME\n\trkt - run pods of apps, each from its own image\n\n\
         USAGE\n\trkt [global options] VERB [options] [words]\n\n\
         COMMANDS\n",
    );
    for verb in VERBS.iter().filter(|v| !v.about.is_empty()) {
        let also = if verb.aliases.is_empty() {
            String::new()
        } else {
            format!(" (also: {})", verb.aliases.join(", "))
        };
        let _ = writeln!(text, "\t{:<13} {}{also}", verb.name, verb.about);
    }
    text.push_str("\nGLOBAL OPTIONS\n");
    text.push_str(crate::args::GLOBAL_HELP);
    text.push_str("\nRun `rkt help VERB` for the options of a verb.\n");
    text
}
