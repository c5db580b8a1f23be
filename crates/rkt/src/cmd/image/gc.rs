//! `rkt image gc`.

use crate::args::{Format, Globals};
use crate::columns;
use crate::failure::Failure;
use rkt_pod::Pods;
use rkt_spec::Digest;
use rkt_spec::manifest::PodManifest;
use rkt_stage0::merge::CHAINS;
use rkt_store::{OpenMode, Store};
use serde_json::json;

/// Words of `rkt image gc`.
#[derive(Debug, clap::Args)]
pub(super) struct Gc {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(asked: &Gc) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let in_use = in_use(&asked.globals.dir)?;
    let report = store.gc(&in_use, &asked.globals.run_dir)?;
    crate::cmd::say(&match asked.format {
        Format::Table => format!(
            "removed {} layers, {} chains and {} left-over files: {}\n",
            report.layers,
            report.chains,
            report.files,
            columns::size(report.bytes)
        ),
        format => crate::cmd::json(
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
