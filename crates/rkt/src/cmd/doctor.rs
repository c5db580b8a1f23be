//! `rkt doctor`: what this host can and cannot give, each thing tried, with the remedy.

use crate::args::{self, Format, Globals};
use crate::failure::{Failure, printable};
use clap::Parser;
use rkt_isolate::doctor::{Finding, State, examine};
use serde_json::json;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;

/// Tell what this host can and cannot give
///
/// Tries each thing in a throw-away child; exit status 1 when something is missing that pods need.
#[derive(Debug, Parser)]
#[command(name = "rkt doctor", visible_alias = "info")]
struct Doctor {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Doctor = args::parse("doctor", words)?;
    let place = existing(&asked.globals.dir);
    let mut findings = examine(place);
    findings.push(crate::cmd::erofs_probe::finding(place));
    findings.push(crate::cmd::frozen_probe::finding(place));
    findings.extend(crate::cmd::net_probe::findings());
    super::say(&match asked.format {
        Format::Table => table(&findings),
        Format::Json => {
            let lines: Result<Vec<_>, _> = findings
                .iter()
                .map(|f| super::json(&value(f), Format::Json))
                .collect();
            lines?.concat()
        }
        Format::JsonPretty => {
            let all: Vec<_> = findings.iter().map(value).collect();
            super::json(&all, Format::JsonPretty)?
        }
    });
    let missing = findings.iter().any(|f| f.state == State::Missing);
    Ok(u8::from(missing))
}

/// The directory, or what is to hold it: on a fresh machine their file system is the same.
fn existing(dir: &Path) -> &Path {
    let mut up = dir.ancestors();
    up.find(|d| d.is_dir()).unwrap_or(dir)
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Degraded => "degraded",
        State::Missing => "missing",
    }
}

fn table(findings: &[Finding]) -> String {
    let widest = findings.iter().map(|f| f.name.chars().count()).max();
    let width = widest.unwrap_or(0);
    let mut text = String::new();
    for f in findings {
        let detail = printable(&f.detail);
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{:8}  {:width$}  {detail}", word(f.state), f.name);
        if let Some(remedy) = &f.remedy {
            let _ = writeln!(
                text,
                "{:10}{:width$}  remedy: {}",
                "",
                "",
                printable(remedy)
            );
        }
    }
    text
}

fn value(f: &Finding) -> serde_json::Value {
    json!({
        "name": f.name,
        "state": word(f.state),
        "detail": f.detail,
        "remedy": f.remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_line_up_and_remedies_stand_below() {
        let findings = [
            Finding {
                name: "kernel",
                state: State::Ok,
                detail: "Linux 6.18".into(),
                remedy: None,
            },
            Finding {
                name: "user namespaces",
                state: State::Missing,
                detail: "none".into(),
                remedy: Some("set it".into()),
            },
        ];
        assert_eq!(
            table(&findings),
            "ok        kernel           Linux 6.18\n\
             missing   user namespaces  none\n\
             \x20                          remedy: set it\n"
        );
    }
}
