//! `rkt list`: the pods there are.

use super::look;
use crate::args::{self, Format, Globals};
use crate::failure::Failure;
use crate::view::pods::{self, PodRow, Table};
use clap::Parser;
use rkt_pod::Shelf;
use std::ffi::OsString;

/// List pods
#[derive(Debug, Parser)]
#[command(name = "rkt list")]
struct List {
    /// Whole ids and times, and the ids of images
    #[arg(long, visible_alias = "no-trunc")]
    full: bool,
    /// No line of headings
    #[arg(long)]
    no_legend: bool,
    /// UUIDs only
    #[arg(short = 'q')]
    ids: bool,
    /// Ended pods too (always done; other engines' option)
    #[arg(short = 'a', long, hide = true)]
    all: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: List = args::parse("list", words)?;
    let found = look::open(&asked.globals)?;
    let names = look::names(&found)?;
    let mut rows: Vec<PodRow> = Vec::new();
    let mut problems = Vec::new();
    for (uuid, shelf) in found.uuids()? {
        // One descriptor at a time: there may be more pods than a process may open.
        match found.get_from(uuid, shelf) {
            Ok(Some(pod)) if pod.shelf() != Shelf::Embryo => {
                let (row, problem) = look::row(&pod, &names);
                rows.push(row);
                problems.extend(problem);
            }
            Ok(_) => {}
            Err(error) => problems.push(error.into()),
        }
    }
    rows.sort_by_key(|row| (row.created, row.uuid));
    super::say(&text(&rows, &asked)?);
    if problems.is_empty() {
        return Ok(0);
    }
    super::note(&format!(
        "{} error(s) encountered when listing pods:",
        problems.len()
    ));
    problems.iter().for_each(Failure::print);
    Ok(0)
}

fn text(rows: &[PodRow], asked: &List) -> Result<String, Failure> {
    if asked.ids {
        let id = |row: &PodRow| match asked.full {
            true => format!("{}\n", row.uuid),
            false => format!("{}\n", row.uuid.short()),
        };
        return Ok(rows.iter().map(id).collect());
    }
    match asked.format {
        Format::Table => Ok(pods::table(
            rows,
            Table {
                full: asked.full,
                no_legend: asked.no_legend,
                now: rkt_pod::time::now(),
            },
        )),
        Format::Json => rows
            .iter()
            .map(|r| super::json(&pods::value(r), Format::Json))
            .collect(),
        Format::JsonPretty => {
            let all: Vec<_> = rows.iter().map(pods::value).collect();
            super::json(&all, Format::JsonPretty)
        }
    }
}
