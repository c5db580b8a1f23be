//! `rkt image cat-manifest`.

use super::list::value;
use crate::args::{Format, Globals};
use crate::failure::Failure;
use rkt_store::{Image, OpenMode, Store};

/// Words of `rkt image cat-manifest`.
#[derive(Debug, clap::Args)]
pub(super) struct CatManifest {
    /// A name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Whether to print on several lines
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    pretty_print: bool,
    /// The configuration as its maker wrote it, byte for byte
    #[arg(long)]
    raw: bool,
    /// How to print; json is one line
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(asked: &CatManifest) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Look)?;
    let registries = crate::registry::registries(&asked.globals.configs)?;
    let default = registries.default_registry();
    let image = store.find(&asked.image, default)?;
    let manifest = of_aci(&store, &image)?;
    if asked.raw {
        let bytes = match manifest {
            Some(bytes) => bytes,
            None => store.config_json(&image.id)?,
        };
        crate::cmd::say_bytes(&bytes);
        return Ok(0);
    }
    let format = match asked.format {
        Some(Format::Json) => Format::Json,
        None if !asked.pretty_print => Format::Json,
        _ => Format::JsonPretty,
    };
    crate::cmd::say(&match manifest {
        Some(bytes) => {
            let value: serde_json::Value = serde_json::from_slice(&bytes)
                .map_err(|e| Failure::usage("read the image's manifest").because(e.to_string()))?;
            crate::cmd::json(&value, format)?
        }
        None => text(&image, format)?,
    });
    Ok(0)
}

/// What an App Container Image says about itself is its manifest, as the original prints it.
pub(super) fn of_aci(store: &Store, image: &Image) -> Result<Option<Vec<u8>>, Failure> {
    match (&image.aci, &image.manifest) {
        (Some(_), Some(manifest)) => Ok(Some(store.manifest_json(manifest)?)),
        _ => Ok(None),
    }
}

/// What an image says about itself.
pub(super) fn text(image: &Image, format: Format) -> Result<String, Failure> {
    let mut object = value(image);
    if let (Some(map), Ok(config)) = (object.as_object_mut(), serde_json::to_value(&image.config)) {
        map.insert("config".to_owned(), config);
    }
    crate::cmd::json(&object, format)
}
