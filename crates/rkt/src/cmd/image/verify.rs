//! `rkt image verify`: whether every byte of an image is still what its id says.

use crate::args::{Format, Globals};
use crate::failure::{Failure, printable};
use crate::registry;
use rkt_store::{OpenMode, Store, Verdict};
use serde_json::json;

/// Exit status when something is damaged.
const DAMAGED: u8 = 1;

/// Words of `rkt image verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Names, ids, or beginnings of ids; none means everything in the store
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(asked: &Verify) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let registries = crate::registry::registries(&asked.globals.configs)?;
    let default = registries.default_registry();
    let program = registry::layer_program();
    let mut verifier = store.verifier(&program);
    let mut ids = Vec::new();
    for text in &asked.images {
        ids.push(store.find(text, default)?.id);
    }
    let all = asked.images.is_empty();
    if all {
        ids = store.ids()?;
    }
    let mut verdicts = Vec::new();
    for id in &ids {
        let verdict = verifier.image(id)?;
        tell(&verdict, asked.format)?;
        verdicts.push(verdict);
    }
    if all {
        let rest = verifier.rest()?;
        if !rest.damage.is_empty() || asked.format != Format::Table {
            tell(&rest, asked.format)?;
        }
        verdicts.push(rest);
    }
    let damaged = verdicts.iter().filter(|v| !v.damage.is_empty()).count();
    if damaged == 0 {
        return Ok(0);
    }
    let mut failure = Failure::new(DAMAGED, "verify the images of the store");
    for verdict in &verdicts {
        for line in lines(verdict) {
            failure = failure.because(line);
        }
    }
    Err(failure)
}

/// What an image is called in messages.
fn title(verdict: &Verdict) -> String {
    match (&verdict.id, verdict.names.first()) {
        (_, Some(name)) => printable(name),
        (Some(id), None) => id.to_string(),
        (None, None) => String::new(),
    }
}

fn lines(verdict: &Verdict) -> impl Iterator<Item = String> {
    verdict.damage.iter().map(|damage| {
        let whose = match verdict.id {
            Some(_) => format!("image `{}`: ", title(verdict)),
            None => "of no image: ".to_owned(),
        };
        let layer = match &damage.layer {
            Some(layer) => format!("layer `{layer}`: "),
            None => String::new(),
        };
        let file = damage.file.display();
        format!("{whose}{layer}`{file}`: {}", damage.problem)
    })
}

fn tell(verdict: &Verdict, format: Format) -> Result<(), Failure> {
    if format != Format::Table {
        let damage: Vec<_> = verdict
            .damage
            .iter()
            .map(|d| {
                json!({
                    "layer": d.layer.as_ref().map(ToString::to_string),
                    "file": d.file.to_string_lossy(),
                    "problem": d.problem,
                })
            })
            .collect();
        let value = json!({
            "id": verdict.id.as_ref().map(ToString::to_string),
            "names": verdict.names,
            "ok": verdict.damage.is_empty(),
            "bytes": verdict.bytes,
            "damage": damage,
        });
        crate::cmd::say(&crate::cmd::json(&value, format)?);
    } else if verdict.damage.is_empty() {
        let title = title(verdict);
        crate::cmd::say(&format!(
            "successfully verified checksum for image: \"{title}\"\n"
        ));
    }
    Ok(())
}
