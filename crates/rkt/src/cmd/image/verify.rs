//! `rkt image verify`: whether every byte of an image is still what its id says.

use crate::args::{Format, Globals};
use crate::failure::{Failure, printable};
use crate::progress::Progress;
use crate::registry;
use rkt_store::{Damage, OpenMode, Store, Verdict};
use serde_json::json;

/// Exit status when something is damaged.
const DAMAGED: u8 = 1;

/// Words of `rkt image verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Names, ids, or beginnings of ids; none means everything in the store
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Make what is damaged again: indexes from their tars, the rest from where it came from
    #[arg(long)]
    repair: bool,
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
        ids.push(store.find_id(text, default)?);
    }
    let all = asked.images.is_empty();
    if all {
        ids = store.ids()?;
    }
    let (mut verdicts, mut failed) = (Vec::new(), None);
    for id in &ids {
        let verdict = verifier.image(id)?;
        let (verdict, repaired) = match asked.repair && !verdict.damage.is_empty() {
            false => (verdict, Vec::new()),
            true => match repair(&store, &verdict, asked) {
                Ok(()) => {
                    // What was read before may be what was wrong.
                    verifier = store.verifier(&program);
                    (verifier.image(id)?, verdict.damage)
                }
                // The others may have more luck.
                Err(failure) => {
                    failed.get_or_insert(failure);
                    (verdict, Vec::new())
                }
            },
        };
        tell(&verdict, &repaired, asked.format)?;
        verdicts.push(verdict);
    }
    if all {
        let mut rest = verifier.rest()?;
        let mut repaired = Vec::new();
        if asked.repair && !rest.damage.is_empty() {
            repair(&store, &rest, asked)?;
            repaired = std::mem::take(&mut rest.damage);
            rest = store.verifier(&program).rest()?;
        }
        if !(rest.damage.is_empty() && repaired.is_empty()) || asked.format != Format::Table {
            tell(&rest, &repaired, asked.format)?;
        }
        verdicts.push(rest);
    }
    if let Some(failure) = failed {
        return Err(failure);
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

fn repair(store: &Store, verdict: &Verdict, asked: &Verify) -> Result<(), Failure> {
    let options = registry::options(asked.globals.insecure_options, &asked.globals.configs)?;
    let progress = Progress::new(asked.globals.quiet, asked.globals.debug);
    let run_dir = &asked.globals.run_dir;
    store.repair(verdict, &options, run_dir, &|event| progress.event(event))?;
    Ok(())
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

fn tell(verdict: &Verdict, repaired: &[Damage], format: Format) -> Result<(), Failure> {
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
            "repaired": repaired.iter().map(|d| d.file.to_string_lossy()).collect::<Vec<_>>(),
        });
        crate::cmd::say(&crate::cmd::json(&value, format)?);
    } else if verdict.damage.is_empty() {
        let title = title(verdict);
        for damage in repaired {
            let verb = match verdict.id {
                Some(_) => "repaired",
                None => "removed",
            };
            crate::cmd::say(&format!("{verb} `{}`\n", damage.file.display()));
        }
        if verdict.id.is_none() {
            return Ok(());
        }
        crate::cmd::say(&format!(
            "successfully verified checksum for image: \"{title}\"\n"
        ));
    }
    Ok(())
}
