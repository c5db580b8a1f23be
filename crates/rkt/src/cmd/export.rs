//! `rkt export POD FILE.aci`: an app of a pod that has ended, as an App Container Image.
//!
//! The image has the files as the app left them, with the owners that it knew, and says to be run
//! as it was run here. Volumes are not in it.

use super::image::place::Target;
use super::look;
use crate::args::{self, Format, Globals};
use crate::failure::Failure;
use crate::registry;
use clap::Parser;
use rkt_pod::{Pod, Pods, State};
use rkt_spec::Digest;
use rkt_spec::manifest::{PodManifest, RuntimeApp};
use rkt_stage0::merge::CHAINS;
use rkt_store::layer::ChainId;
use rkt_store::pack::{self, About, Packing, Written};
use rkt_store::{OpenMode, Store, mounts};
use serde_json::json;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Ids of one app; its own begin at a multiple of this.
const SLOT_IDS: u32 = rkt_spec::plan::SLOT_IDS;
/// Below this no id is a pod's.
const LOWEST: u32 = rkt_isolate::blocks::BLOCK_IDS;

/// Write an app of a pod that has ended as an App Container Image
#[derive(Debug, Parser)]
#[command(name = "rkt export")]
struct Export {
    /// UUID, its beginning, or a name
    #[arg(value_name = "POD")]
    pod: String,
    /// The file to write; its name ends in `.aci`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which app, where the pod has several
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Export = args::parse("export", words)?;
    look::need_root()?;
    if asked.file.extension().is_none_or(|e| e != "aci") {
        let told = format!(
            "the name of the image, `{}`, must end in `.aci`",
            asked.file.display()
        );
        return Err(Failure::usage(told));
    }
    let target = Target {
        file: &asked.file,
        overwrite: asked.overwrite,
    };
    target.check()?;
    let pods = look::open(&asked.globals)?;
    let pod = look::find(&pods, &asked.pod)?;
    refuse_unended(&pod)?;
    let uuid = pod.uuid();
    let Some(manifest) = look::manifest(&pod)? else {
        return Err(Failure::usage(format!("pod `{uuid}` has no manifest")));
    };
    let app = choose(&manifest, asked.app.as_deref())?;
    if app.root_size.is_some() {
        let told = format!("app `{}` kept what it wrote in memory", app.name);
        return Err(Failure::usage(told)
            .because("it went when the pod ended")
            .hint(
                "start the pod without --root-size, or copy files out with `rkt cp` while it runs",
            ));
    }
    let (about, notes) = about(app)?;
    for note in notes {
        super::note(&format!("export: {note}"));
    }
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let (program, run_dir) = (registry::layer_program(), &asked.globals.run_dir);
    let chains = chains(app)?;
    let layers = mounts::attach(store.dir(), run_dir, &program, mounts::Way::Best, &chains)?;
    let dir = upper(&asked.globals.dir, &pod, app);
    let owner = dir.as_deref().map(owner).transpose()?;
    let root = mounts::merged(store.dir(), &layers, dir.as_deref())?;
    let base = owner
        .filter(|id| *id >= LOWEST)
        .map(|id| id - id % SLOT_IDS);
    let written = target.write(|to| {
        let written = pack::write(&about, root.as_fd(), base, Packing::Gzip, to)?;
        // Whoever removes a pod moves it first: what was read was whole if it still stands.
        still_there(&pods, &pod)?;
        Ok(written)
    })?;
    note_sockets(written);
    if asked.format != Format::Table {
        let value = json!({
            "pod": uuid.to_string(),
            "app": app.name,
            "file": asked.file,
            "size": written.bytes,
            "entries": written.entries,
        });
        super::say(&super::json(&value, asked.format)?);
    }
    Ok(0)
}

/// Tells of sockets, which no archive can hold.
pub(super) fn note_sockets(written: Written) {
    if written.sockets > 0 {
        super::note(&format!(
            "export: {} sockets are left out; archives have none",
            written.sockets
        ));
    }
}

fn refuse_unended(pod: &Pod) -> Result<(), Failure> {
    let uuid = pod.uuid();
    match pod.state() {
        State::Exited | State::ExitedGarbage => Ok(()),
        State::Running => Err(Failure::usage(format!("pod `{uuid}` is running"))
            .because("its files may change while they are read")
            .hint(format!("`rkt stop {uuid}` first"))),
        state => Err(Failure::usage(format!(
            "pod `{uuid}` is {}, and has never run",
            state.as_str()
        ))),
    }
}

fn still_there(pods: &Pods, pod: &Pod) -> Result<(), Failure> {
    let uuid = pod.uuid();
    let state = pods.get(uuid)?.map(|pod| pod.state());
    match state {
        Some(State::Exited | State::ExitedGarbage) => Ok(()),
        _ => {
            Err(Failure::usage(format!("export pod `{uuid}`"))
                .because("somebody removed it meanwhile"))
        }
    }
}

fn choose<'a>(manifest: &'a PodManifest, name: Option<&str>) -> Result<&'a RuntimeApp, Failure> {
    let names: Vec<String> = manifest
        .apps
        .iter()
        .map(|app| format!("`{}`", app.name))
        .collect();
    match (name, manifest.apps.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::usage("the pod has several apps")
            .because(format!("they are {}", names.join(", ")))
            .hint("name one with --app=NAME")),
        (Some(name), apps) => apps
            .iter()
            .find(|app| app.name.as_str() == name)
            .ok_or_else(|| {
                Failure::usage(format!("the pod has no app `{name}`"))
                    .because(format!("it has {}", names.join(", ")))
            }),
    }
}

/// The image's manifest, and what it cannot say of the app.
fn about(app: &RuntimeApp) -> Result<(Vec<u8>, Vec<String>), Failure> {
    let label = |name: &str| {
        let pair = app.image.labels.iter().find(|pair| pair.name == name);
        pair.map_or("", |pair| pair.value.as_str())
    };
    Ok(pack::manifest(&About {
        title: &app.image.name,
        os: label("os"),
        architecture: label("arch"),
        variant: "",
        app: &app.app,
    })?)
}

/// The chains of the app's layers, topmost first.
fn chains(app: &RuntimeApp) -> Result<Vec<ChainId>, Failure> {
    let list = app.annotations.iter().find(|pair| pair.name == CHAINS);
    let mut chains = Vec::new();
    for word in list.map_or("", |pair| pair.value.as_str()).split(',') {
        if !word.is_empty() {
            let digest = Digest::new(word)
                .map_err(|e| Failure::usage("read the layers of the app").because(e.to_string()))?;
            chains.push(ChainId::from_digest(digest));
        }
    }
    chains.reverse();
    Ok(chains)
}

/// Where what the app wrote lies; `None` for an app that could write nothing.
fn upper(data: &Path, pod: &Pod, app: &RuntimeApp) -> Option<PathBuf> {
    let dir = data
        .join("pods")
        .join(pod.shelf().dir())
        .join(pod.uuid().to_string())
        .join("apps")
        .join(app.name.as_str())
        .join("upper");
    dir.is_dir().then_some(dir)
}

fn owner(dir: &Path) -> Result<u32, Failure> {
    let meta = std::fs::symlink_metadata(dir).map_err(|e| {
        Failure::usage(format!("look at `{}`", dir.display())).because(e.to_string())
    })?;
    Ok(meta.uid())
}
