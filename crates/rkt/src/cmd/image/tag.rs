//! `rkt image tag`, `pin` and `unpin`: what people say about images of the store.

use crate::args::{Format, Globals};
use crate::failure::Failure;
use rkt_store::{OpenMode, Reference, Store};
use serde_json::json;

/// Words of `rkt image tag`.
#[derive(Debug, clap::Args)]
pub(super) struct Tag {
    /// A name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// More names for it: `[docker://][HOST/]NAME[:TAG]`; `rkt image rm NAME` takes one away
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

/// Words of `rkt image pin` and `unpin`.
#[derive(Debug, clap::Args)]
pub(super) struct Pin {
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Pin,
    Unpin,
}

pub(super) fn tag(asked: &Tag) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let registries = crate::registry::registries(&asked.globals.configs)?;
    let default = registries.default_registry();
    let image = store.find(&asked.image, default)?;
    let names = asked
        .names
        .iter()
        .map(|text| Reference::parse(text, default));
    // All of them are read before the first is given.
    let names = names.collect::<Result<Vec<_>, _>>()?;
    for name in &names {
        store.tag(&image.id, name)?;
        if asked.format != Format::Table {
            let value = json!({ "id": image.public_id(), "name": name.canonical() });
            crate::cmd::say(&crate::cmd::json(&value, asked.format)?);
        }
    }
    Ok(0)
}

pub(super) fn pin(asked: &Pin, change: Change) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let registries = crate::registry::registries(&asked.globals.configs)?;
    let default = registries.default_registry();
    let images = asked.images.iter().map(|text| store.find(text, default));
    for image in images.collect::<Result<Vec<_>, _>>()? {
        match change {
            Change::Pin => store.pin(&image.id)?,
            Change::Unpin => store.unpin(&image.id)?,
        }
        if asked.format != Format::Table {
            let value = json!({ "id": image.public_id(), "pinned": change == Change::Pin });
            crate::cmd::say(&crate::cmd::json(&value, asked.format)?);
        }
    }
    Ok(0)
}
