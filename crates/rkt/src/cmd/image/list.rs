//! `rkt image list`.

use crate::args::{Format, Globals};
use crate::columns;
use crate::failure::Failure;
use crate::view::time;
use clap::ValueEnum;
use rkt_store::{Image, OpenMode, Store};
use serde_json::json;

/// Words of `rkt image list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Columns: id, name, size, importtime, lastused
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "id,name,size,importtime,lastused",
        hide_possible_values = true
    )]
    fields: Vec<Field>,
    /// Columns to sort by, the most important first
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "importtime",
        hide_possible_values = true
    )]
    sort: Vec<Field>,
    /// asc or desc
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    order: Order,
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

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Field {
    Id,
    Name,
    Size,
    #[value(name = "importtime")]
    ImportTime,
    #[value(name = "lastused")]
    LastUsed,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Order {
    #[default]
    Asc,
    Desc,
}

pub(super) fn run(asked: &List) -> Result<u8, Failure> {
    let mut images = match Store::open(&asked.globals.dir, OpenMode::Look) {
        Ok(store) => store.list()?,
        // Nothing was ever fetched.
        Err(error) if error.kind() == rkt_store::Kind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    images.sort_by(|a, b| {
        let by = |field: &Field| field.compare(a, b);
        let order = asked.sort.iter().map(by).find(|o| o.is_ne());
        let order = order.unwrap_or(std::cmp::Ordering::Equal);
        match asked.order {
            Order::Asc => order,
            Order::Desc => order.reverse(),
        }
    });
    crate::cmd::say(&listing(&images, asked)?);
    Ok(0)
}

impl Field {
    fn title(self) -> &'static str {
        match self {
            Self::Id => "ID",
            Self::Name => "NAME",
            Self::Size => "SIZE",
            Self::ImportTime => "IMPORT TIME",
            Self::LastUsed => "LAST USED",
        }
    }

    fn compare(self, a: &Image, b: &Image) -> std::cmp::Ordering {
        match self {
            Self::Id => a.id.cmp(&b.id),
            Self::Name => a.title().cmp(&b.title()),
            Self::Size => a.bytes.cmp(&b.bytes),
            Self::ImportTime => a.fetched_at.cmp(&b.fetched_at),
            Self::LastUsed => a.last_used.cmp(&b.last_used),
        }
    }

    fn cell(self, image: &Image, name: &str, full: bool, now: u64) -> String {
        let moment = |seconds: u64| match full {
            true => time::full(nanoseconds(seconds)),
            false => time::ago(nanoseconds(seconds), now),
        };
        match self {
            Self::Id if full => image.public_id(),
            Self::Id => format!("{}-{}", image.id.algorithm().as_str(), image.id.short()),
            Self::Name => crate::failure::printable(name),
            Self::Size if full => image.bytes.to_string(),
            Self::Size => columns::size(image.bytes),
            Self::ImportTime => moment(image.fetched_at),
            Self::LastUsed => moment(image.last_used),
        }
    }
}

fn listing(images: &[Image], asked: &List) -> Result<String, Failure> {
    if asked.ids {
        return Ok(images.iter().map(|i| i.public_id() + "\n").collect());
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
        rows.push(asked.fields.iter().map(|f| f.title().to_owned()).collect());
    }
    let now = rkt_pod::time::now();
    for image in images {
        let title = image.title();
        let names = if image.aci.is_some() {
            [title.as_str()].into_iter().chain(image.tags()).collect()
        } else if image.names.is_empty() {
            vec!["-"]
        } else {
            image.names.iter().map(String::as_str).collect()
        };
        for name in names {
            let cell = |field: &Field| field.cell(image, name, asked.full, now);
            rows.push(asked.fields.iter().map(cell).collect());
        }
    }
    Ok(columns::text(&rows))
}

/// Seconds as the original counts them in JSON.
fn nanoseconds(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000_000_000)
}

pub(super) fn value(image: &Image) -> serde_json::Value {
    json!({
        "id": image.public_id(),
        "name": image.title(),
        "names": image.names,
        "import_time": nanoseconds(image.fetched_at),
        "last_used_time": nanoseconds(image.last_used),
        "pinned": image.pinned,
        "size": image.bytes,
        "os": image.config.os,
        "arch": image.config.architecture,
        "labels": image.aci.as_ref().map(|aci| &aci.labels),
        "trust": image.proof,
        "manifest": image.manifest.as_ref().map(ToString::to_string),
        "layers": image.layers.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
