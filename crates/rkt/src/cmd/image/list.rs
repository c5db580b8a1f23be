//! `rkt image list`.

use crate::args::{Format, Globals};
use crate::columns;
use crate::failure::Failure;
use crate::view::time;
use rkt_store::{Image, OpenMode, Store};
use serde_json::json;

/// Words of `rkt image list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Whole ids and sizes in bytes
    #[arg(long, visible_alias = "no-trunc")]
    full: bool,
    /// No line of headings
    #[arg(long)]
    no_legend: bool,
    /// Ids only
    #[arg(short = 'q')]
    ids: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(asked: &List) -> Result<u8, Failure> {
    let images = match Store::open(&asked.globals.dir, OpenMode::Look) {
        Ok(store) => store.list()?,
        // Nothing was ever fetched.
        Err(error) if error.kind() == rkt_store::Kind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    crate::cmd::say(&listing(&images, asked)?);
    Ok(0)
}

fn listing(images: &[Image], asked: &List) -> Result<String, Failure> {
    if asked.ids {
        return Ok(images.iter().map(|i| format!("{}\n", i.id)).collect());
    }
    match asked.format {
        Format::Table => {}
        Format::Json => {
            let lines: Result<Vec<_>, _> = images
                .iter()
                .map(|i| crate::cmd::json(&value(i), Format::Json))
                .collect();
            return Ok(lines?.concat());
        }
        Format::JsonPretty => {
            let all: Vec<_> = images.iter().map(value).collect();
            return crate::cmd::json(&all, Format::JsonPretty);
        }
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !asked.no_legend {
        rows.push(
            ["ID", "NAME", "SIZE", "IMPORT TIME"]
                .map(str::to_owned)
                .into(),
        );
    }
    let now = rkt_pod::time::now();
    for image in images {
        let names = if image.names.is_empty() {
            vec!["-"]
        } else {
            image.names.iter().map(String::as_str).collect()
        };
        for name in names {
            rows.push(vec![
                if asked.full {
                    image.id.to_string()
                } else {
                    format!("sha256-{}", image.id.short())
                },
                crate::failure::printable(name),
                if asked.full {
                    image.bytes.to_string()
                } else {
                    columns::size(image.bytes)
                },
                if asked.full {
                    time::full(nanoseconds(image))
                } else {
                    time::ago(nanoseconds(image), now)
                },
            ]);
        }
    }
    Ok(columns::text(&rows))
}

/// When it came, in nanoseconds since 1970, as the original counts.
fn nanoseconds(image: &Image) -> u64 {
    image.fetched_at.saturating_mul(1_000_000_000)
}

pub(super) fn value(image: &Image) -> serde_json::Value {
    json!({
        "id": image.id.to_string(),
        "name": image.name,
        "names": image.names,
        "import_time": nanoseconds(image),
        "size": image.bytes,
        "os": image.config.os,
        "arch": image.config.architecture,
        "manifest": image.manifest.as_ref().map(ToString::to_string),
        "layers": image.layers.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
