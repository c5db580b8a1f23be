//! `rkt image gc`: gives back what no image, no pod and no pull needs.

use super::in_use::in_use;
use crate::args::{Format, Globals};
use crate::columns;
use crate::failure::{Failure, printable};
use crate::view::time::duration;
use rkt_store::{GcReport, GcRules, OpenMode, Store};
use serde_json::json;
use std::time::Duration;

/// Words of `rkt image gc`.
#[derive(Debug, clap::Args)]
pub(super) struct Gc {
    /// How long nobody must have used an image before it goes, with its names
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "24h")]
    grace_period: Duration,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(asked: &Gc) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let rules = GcRules {
        in_use: &|| in_use(&asked.globals.dir),
        unused_for: Some(asked.grace_period),
        dry_run: asked.dry_run,
    };
    let report = store.gc(&rules, &asked.globals.run_dir)?;
    crate::cmd::say(&text(asked, &report)?);
    Ok(0)
}

fn text(asked: &Gc, report: &GcReport) -> Result<String, Failure> {
    if asked.format != Format::Table {
        let image = |(id, names): &(_, Vec<String>)| json!({ "id": id, "names": names });
        let value = json!({
            "images": report.images.iter().map(image).collect::<Vec<_>>(),
            "layers": report.layers,
            "chains": report.chains,
            "files": report.files,
            "bytes": report.bytes,
            "dry_run": asked.dry_run,
        });
        return crate::cmd::json(&value, asked.format);
    }
    let verb = match asked.dry_run {
        true => "would remove",
        false => "removed",
    };
    let mut text = String::new();
    for (id, names) in &report.images {
        let name = names
            .first()
            .map_or_else(|| id.to_string(), |n| printable(n));
        text.push_str(&format!("{verb} image \"{name}\"\n"));
    }
    text.push_str(&format!(
        "{verb} {} layers, {} chains and {} left-over files: {}\n",
        report.layers,
        report.chains,
        report.files,
        columns::size(report.bytes)
    ));
    Ok(text)
}
