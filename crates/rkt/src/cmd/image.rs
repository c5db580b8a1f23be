//! `rkt image list|rm|gc|cat-manifest`: what is in the store.

use crate::args::{self, Format, Globals};
use crate::columns;
use crate::failure::Failure;
use crate::view::time;
use clap::{Parser, Subcommand};
use rkt_pod::Pods;
use rkt_spec::Digest;
use rkt_spec::manifest::PodManifest;
use rkt_stage0::merge::CHAINS;
use rkt_store::{HUB, Image, OpenMode, Reference, Store};
use serde_json::json;
use std::ffi::OsString;

/// List, show and remove images of the store
#[derive(Debug, Parser)]
#[command(name = "rkt image")]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List images
    #[command(visible_alias = "ls")]
    List(List),
    /// Remove images
    Rm(Rm),
    /// Give back the layers that no image and no pod needs
    #[command(visible_alias = "prune")]
    Gc(Gc),
    /// Print what an image says about itself
    #[command(visible_alias = "inspect")]
    CatManifest(CatManifest),
    /// Bring images into the store
    #[command(hide = true)]
    Fetch {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

#[derive(Debug, clap::Args)]
struct List {
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

#[derive(Debug, clap::Args)]
struct Rm {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Args)]
struct Gc {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Args)]
struct CatManifest {
    /// A name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Whether to print on several lines
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    pretty_print: bool,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    match args::parse::<Words>("image", words)?.verb {
        Verb::List(asked) => list(&asked),
        Verb::Rm(asked) => remove(&asked),
        Verb::Gc(asked) => gc(&asked),
        Verb::CatManifest(asked) => cat(&asked),
        Verb::Fetch { words } => super::fetch::run(words),
    }
}

fn list(asked: &List) -> Result<u8, Failure> {
    let images = match Store::open(&asked.globals.dir, OpenMode::Look) {
        Ok(store) => store.list()?,
        // Nothing was ever fetched.
        Err(error) if error.kind() == rkt_store::Kind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    super::say(&listing(&images, asked)?);
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
                .map(|i| super::json(&value(i), Format::Json))
                .collect();
            return Ok(lines?.concat());
        }
        Format::JsonPretty => {
            let all: Vec<_> = images.iter().map(value).collect();
            return super::json(&all, Format::JsonPretty);
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

fn value(image: &Image) -> serde_json::Value {
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

fn remove(asked: &Rm) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let mut removed = 0;
    for text in &asked.images {
        let reference = Reference::parse(text, HUB)?;
        let image = store.find(text, HUB)?;
        let by_id = matches!(reference, Reference::Id(_));
        if !by_id && image.names.len() > 1 {
            store.remove_name(&reference)?;
            super::say(&format!("successfully removed name: \"{}\"\n", image.name));
        } else {
            store.remove(&image.id)?;
            super::say(&format!("successfully removed image: \"{}\"\n", image.id));
        }
        removed += 1;
    }
    super::note(&format!("rm: {removed} image(s) successfully removed"));
    Ok(0)
}

fn gc(asked: &Gc) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let in_use = in_use(&asked.globals.dir)?;
    let report = store.gc(&in_use, &asked.globals.run_dir)?;
    super::say(&match asked.format {
        Format::Table => format!(
            "removed {} layers, {} chains and {} left-over files: {}\n",
            report.layers,
            report.chains,
            report.files,
            columns::size(report.bytes)
        ),
        format => super::json(
            &json!({
                "layers": report.layers,
                "chains": report.chains,
                "files": report.files,
                "bytes": report.bytes,
            }),
            format,
        )?,
    });
    Ok(0)
}

/// The chains that pods were made of, whatever state they are in.
fn in_use(data_dir: &std::path::Path) -> Result<Vec<Digest>, Failure> {
    let mut list = Vec::new();
    let pods = Pods::open(data_dir)?;
    for (uuid, shelf) in pods.uuids()? {
        let Some(json) = pods.get_from(uuid, shelf)?.map(|pod| pod.manifest()) else {
            continue;
        };
        let Some(json) = json? else {
            continue;
        };
        let doing = || Failure::usage(format!("read the manifest of pod `{uuid}`"));
        let manifest: PodManifest =
            serde_json::from_slice(&json).map_err(|e| doing().because(e.to_string()))?;
        let chains = manifest
            .apps
            .iter()
            .flat_map(|app| &app.annotations)
            .filter(|pair| pair.name == CHAINS)
            .flat_map(|pair| pair.value.split(','))
            .filter(|chain| !chain.is_empty());
        for chain in chains {
            list.push(Digest::new(chain).map_err(|e| doing().because(e.to_string()))?);
        }
    }
    Ok(list)
}

fn cat(asked: &CatManifest) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Look)?;
    let image = store.find(&asked.image, HUB)?;
    let mut object = value(&image);
    if let (Some(map), Ok(config)) = (object.as_object_mut(), serde_json::to_value(&image.config)) {
        map.insert("config".to_owned(), config);
    }
    let format = if asked.pretty_print {
        Format::JsonPretty
    } else {
        Format::Json
    };
    super::say(&super::json(&object, format)?);
    Ok(0)
}
