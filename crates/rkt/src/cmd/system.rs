//! `rkt system df`: what lies on the disk, and which layers are mounted for whom.

use super::image::{by_pod, in_use};
use crate::args::{self, Format, Globals};
use crate::columns;
use crate::failure::{Failure, printable};
use crate::registry;
use clap::{Parser, Subcommand};
use rkt_spec::{Digest, Uuid};
use rkt_store::{OpenMode, Part, Store, tree_bytes};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::Path;

/// Tell of rkt as a whole
#[derive(Debug, Parser)]
#[command(name = "rkt system")]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What lies on the disk, what of it gc would give back, and what is mounted for whom
    Df(Df),
}

#[derive(Debug, clap::Args)]
struct Df {
    /// Whole ids, sizes in bytes
    #[arg(long, visible_alias = "no-trunc")]
    full: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

/// A layer that is mounted on this host.
struct Mounted {
    chain: Digest,
    images: Vec<String>,
    pods: Vec<(Uuid, Option<String>)>,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let Verb::Df(asked) = args::parse::<Words>("system", words)?.verb;
    let dir = &asked.globals.dir;
    let (usage, mounted) = match Store::open(dir, OpenMode::Look) {
        Ok(store) => (store.usage(&in_use(dir)?)?, mounted(&store, &asked)?),
        Err(error) if error.kind() == rkt_store::Kind::NotFound => Default::default(),
        Err(error) => return Err(error.into()),
    };
    let parts = [
        ("images", usage.images),
        ("blobs", usage.blobs),
        ("tars", usage.tars),
        ("indexes", usage.indexes),
        ("trees", usage.trees),
        ("unfinished", usage.unfinished),
        ("pods", pods(dir)?),
    ];
    let text = match asked.format {
        Format::Table => table(&parts, &mounted, asked.full),
        format => super::json(&value(&parts, &mounted), format)?,
    };
    super::say(&text);
    Ok(0)
}

/// Everything in the directories of pods: what their apps wrote, and logs. Garbage is unused.
fn pods(dir: &Path) -> Result<Part, Failure> {
    let pods = rkt_pod::Pods::open(dir)?;
    let mut part = Part::default();
    for (uuid, shelf) in pods.uuids()? {
        let place = dir.join("pods").join(shelf.dir()).join(uuid.to_string());
        let bytes = tree_bytes(&place);
        part.count += 1;
        part.bytes += bytes;
        if matches!(
            shelf,
            rkt_pod::Shelf::ExitedGarbage | rkt_pod::Shelf::Garbage
        ) {
            part.unused += bytes;
        }
    }
    Ok(part)
}

fn mounted(store: &Store, asked: &Df) -> Result<Vec<Mounted>, Failure> {
    // Only root may look into the namespace of the layers.
    if !rustix::process::geteuid().is_root() {
        return Ok(Vec::new());
    }
    let program = registry::layer_program();
    let chains = rkt_store::mounts::mounted(store.dir(), &asked.globals.run_dir, &program)?;
    let (images, pods) = (store.list()?, by_pod(&asked.globals.dir)?);
    let mut all = Vec::new();
    for chain in chains {
        let chain = chain.digest();
        let named = images.iter().filter(|i| i.chains.contains(chain));
        let using = pods.iter().filter(|pod| pod.chains.contains(chain));
        all.push(Mounted {
            chain: chain.clone(),
            images: named
                .map(|i| i.names.first().cloned().unwrap_or_else(|| i.id.to_string()))
                .collect(),
            pods: using.map(|pod| (pod.uuid, pod.name.clone())).collect(),
        });
    }
    all.sort_by(|a, b| (&a.images, &a.chain).cmp(&(&b.images, &b.chain)));
    Ok(all)
}

fn table(parts: &[(&str, Part)], mounted: &[Mounted], full: bool) -> String {
    let size = |bytes: u64| match full {
        true => bytes.to_string(),
        false => columns::size(bytes),
    };
    let titles = ["TYPE", "COUNT", "SIZE", "RECLAIMABLE"];
    let mut rows: Vec<Vec<String>> = vec![titles.map(str::to_owned).into()];
    for (name, part) in parts {
        rows.push(vec![
            (*name).to_owned(),
            part.count.to_string(),
            size(part.bytes),
            size(part.unused),
        ]);
    }
    let mut text = columns::text(&rows);
    if mounted.is_empty() {
        return text;
    }
    let titles = ["MOUNTED LAYER", "IMAGES", "PODS"];
    let mut rows: Vec<Vec<String>> = vec![titles.map(str::to_owned).into()];
    for layer in mounted {
        let list = |mut names: Vec<String>| {
            if names.is_empty() {
                names.push("-".to_owned());
            }
            names.join(",")
        };
        let pod = |(uuid, name): &(Uuid, Option<String>)| match name {
            Some(name) => name.clone(),
            None if full => uuid.to_string(),
            None => uuid.to_string().chars().take(8).collect(),
        };
        rows.push(vec![
            match full {
                true => layer.chain.to_string(),
                false => format!("sha256-{}", layer.chain.short()),
            },
            list(layer.images.iter().map(|n| printable(n)).collect()),
            list(layer.pods.iter().map(pod).collect()),
        ]);
    }
    text.push('\n');
    text.push_str(&columns::text(&rows));
    text
}

fn value(parts: &[(&str, Part)], mounted: &[Mounted]) -> Value {
    let mut all = serde_json::Map::new();
    for (name, part) in parts {
        let part = json!({ "count": part.count, "size": part.bytes, "reclaimable": part.unused });
        all.insert((*name).to_owned(), part);
    }
    let layer = |m: &Mounted| {
        json!({
            "chain": m.chain,
            "images": m.images,
            "pods": m.pods.iter().map(|(uuid, _)| uuid.to_string()).collect::<Vec<_>>(),
        })
    };
    let mounted: Vec<_> = mounted.iter().map(layer).collect();
    all.insert("mounted".to_owned(), Value::from(mounted));
    Value::Object(all)
}
