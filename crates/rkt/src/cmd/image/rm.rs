//! `rkt image rm`.

use crate::args::Globals;
use crate::failure::Failure;
use rkt_store::{HUB, OpenMode, Reference, Store};

/// Words of `rkt image rm`.
#[derive(Debug, clap::Args)]
pub(super) struct Rm {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(asked: &Rm) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let mut removed = 0;
    for text in &asked.images {
        let reference = Reference::parse(text, HUB)?;
        let image = store.find(text, HUB)?;
        let by_id = matches!(reference, Reference::Id(_));
        if !by_id && image.names.len() > 1 {
            store.remove_name(&reference)?;
            crate::cmd::say(&format!("successfully removed name: \"{}\"\n", image.name));
        } else {
            store.remove(&image.id)?;
            crate::cmd::say(&format!("successfully removed image: \"{}\"\n", image.id));
        }
        removed += 1;
    }
    crate::cmd::note(&format!("rm: {removed} image(s) successfully removed"));
    Ok(0)
}
