//! `rkt image cat-manifest`.

use super::list::value;
use crate::args::{Format, Globals};
use crate::failure::Failure;
use rkt_store::{HUB, OpenMode, Store};

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
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(asked: &CatManifest) -> Result<u8, Failure> {
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
    crate::cmd::say(&crate::cmd::json(&object, format)?);
    Ok(0)
}
