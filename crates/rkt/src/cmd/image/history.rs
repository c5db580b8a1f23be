//! `rkt image history`: how an image was made, newest step first.

use crate::args::{Format, Globals};
use crate::columns;
use crate::failure::{Failure, printable};
use crate::view::time;
use rkt_store::{History, OpenMode, Store};
use serde_json::json;

/// Longest command in a table, in characters.
const SHORT: usize = 60;

/// Words of `rkt image history`.
#[derive(Debug, clap::Args)]
pub(super) struct Words {
    /// A name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Whole ids and commands, sizes in bytes
    #[arg(long, visible_alias = "no-trunc")]
    full: bool,
    /// No line of headings
    #[arg(long)]
    no_legend: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(asked: &Words) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Look)?;
    let registries = crate::registry::registries(&asked.globals.configs)?;
    let default = registries.default_registry();
    let image = store.find(&asked.image, default)?;
    let mut steps = store.history(&image)?;
    steps.reverse();
    let text = match asked.format {
        Format::Table => table(&steps, asked),
        Format::Json => {
            let lines = steps
                .iter()
                .map(|s| crate::cmd::json(&value(s), Format::Json));
            lines.collect::<Result<Vec<_>, _>>()?.concat()
        }
        Format::JsonPretty => {
            let all: Vec<_> = steps.iter().map(value).collect();
            crate::cmd::json(&all, Format::JsonPretty)?
        }
    };
    crate::cmd::say(&text);
    Ok(0)
}

fn table(steps: &[History], asked: &Words) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !asked.no_legend {
        let titles = ["LAYER", "CREATED", "SIZE", "CREATED BY"];
        rows.push(titles.map(str::to_owned).into());
    }
    let now = rkt_pod::time::now();
    for step in steps {
        let layer = match &step.layer {
            Some(layer) if asked.full => layer.to_string(),
            Some(layer) => format!("{}-{}", layer.algorithm().as_str(), layer.short()),
            None => "-".to_owned(),
        };
        let words = step.created_by.as_deref().unwrap_or("");
        let words = printable(if words.is_empty() {
            step.comment.as_deref().unwrap_or("-")
        } else {
            words
        });
        rows.push(vec![
            layer,
            created(step, asked.full, now),
            match asked.full {
                true => step.bytes.to_string(),
                false => columns::size(step.bytes),
            },
            match asked.full || words.chars().count() <= SHORT {
                true => words,
                false => words.chars().take(SHORT - 3).chain("...".chars()).collect(),
            },
        ]);
    }
    columns::text(&rows)
}

fn created(step: &History, full: bool, now: u64) -> String {
    let text = step.created.as_deref().unwrap_or("-");
    match rkt_pod::time::parse(text) {
        Some(then) if !full => time::ago(then, now),
        _ => printable(text),
    }
}

fn value(step: &History) -> serde_json::Value {
    json!({
        "layer": step.layer,
        "size": step.bytes,
        "created": step.created,
        "created_by": step.created_by,
        "author": step.author,
        "comment": step.comment,
        "empty_layer": step.empty,
    })
}
