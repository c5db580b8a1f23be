//! `rkt image rm`: takes a name from an image, or removes an image with all of its names.

use crate::args::{Format, Globals};
use crate::failure::{Failure, USAGE};
use rkt_store::{OpenMode, Reference, Store};
use serde_json::json;

/// Words of `rkt image rm`.
#[derive(Debug, clap::Args)]
pub(super) struct Rm {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(asked: &Rm) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let registries = crate::registry::registries(&asked.globals.configs)?;
    let default = registries.default_registry();
    let (mut removed, mut failed) = (0, 0);
    for text in &asked.images {
        match remove(&store, text, default, asked.format) {
            Ok(()) => removed += 1,
            Err(failure) => {
                failure.print();
                failed += 1;
            }
        }
    }
    if removed > 0 {
        crate::cmd::note(&format!("rm: {removed} image(s) successfully removed"));
    }
    if failed > 0 && asked.images.len() > 1 {
        crate::cmd::note(&format!("rm: {failed} image(s) cannot be removed"));
    }
    Ok(if failed == 0 { 0 } else { USAGE })
}

/// A name of several goes alone; the last name takes the image with it.
fn remove(store: &Store, text: &str, default: &str, format: Format) -> Result<(), Failure> {
    let reference = Reference::parse(text, default)?;
    let image = store.find(text, default)?;
    let untag = match image.aci {
        // What it calls itself and where it came from is no name that could be taken from it: it
        // always has one more than those that were given to it.
        Some(_) => matches!(reference, Reference::Registry(_)),
        None => !matches!(reference, Reference::Id(_)) && image.names.len() > 1,
    };
    if untag {
        store.remove_name(&reference)?;
    } else {
        store.remove(&image.id)?;
    }
    crate::cmd::say(&match format {
        Format::Table if untag => {
            let name = crate::failure::printable(&image.name);
            format!("successfully removed name: \"{name}\"\n")
        }
        Format::Table => format!("successfully removed image: \"{}\"\n", image.public_id()),
        format => {
            let action = if untag { "untagged" } else { "removed" };
            let value = json!({ "id": image.public_id(), "name": image.name, "action": action });
            crate::cmd::json(&value, format)?
        }
    });
    Ok(())
}
