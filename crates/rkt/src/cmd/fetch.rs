//! `rkt fetch IMAGE..`: bring images into the store; prints the id of each.

use crate::args::limits::limits;
use crate::args::{self, Format, Globals};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::registry;
use clap::Parser;
use rkt_stage0::request::Pull;
use rkt_stage0::resolve::policy;
use rkt_store::layer::Limits;
use rkt_store::{OpenMode, Reference, Store};
use serde_json::json;
use std::ffi::OsString;

/// Bring images into the store and print the id of each
#[derive(Debug, Parser)]
#[command(name = "rkt fetch")]
struct Fetch {
    #[arg(
        required = true,
        value_name = "IMAGE",
        help = "docker://NAME[:TAG|@DIGEST], NAME of the default registry, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, builtin:NAME, FILE.aci, https://HOST/FILE.aci, aci:NAME[:VERSION][,LABEL=VALUE]"
    )]
    images: Vec<String>,
    /// When to ask the source: new, never, update
    #[arg(
        long,
        visible_alias = "pull",
        value_name = "POLICY",
        default_value = "update"
    )]
    pull_policy: Pull,
    /// Architecture to choose from an index, such as arm64
    #[arg(long)]
    arch: Option<String>,
    /// Operating system to choose from an index
    #[arg(long)]
    os: Option<String>,
    /// How much a layer may ask for: bytes=SIZE,ratio=N,entries=N,depth=N,metadata=SIZE
    #[arg(long, value_name = "LIST", value_parser = limits, default_value = "", hide_default_value = true)]
    layer_limits: Limits,
    /// File with the signature of the image, instead of the one beside it; for one image
    #[arg(long, value_name = "FILE")]
    signature: Option<std::path::PathBuf>,
    /// Print whole ids (always done; the original's option)
    #[arg(long, hide = true)]
    full: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Fetch = args::parse("fetch", words)?;
    let mut options = registry::options(asked.globals.insecure_options, &asked.globals.configs)?;
    options.keys_from_https = asked
        .globals
        .trust_keys_from_https
        .then(|| asked.globals.configs.own_keys());
    options.policy = policy(asked.pull_policy);
    options.limits = asked.layer_limits;
    if asked.signature.is_some() && asked.images.len() != 1 {
        return Err(Failure::usage("option `--signature` is for one image")
            .because("a signature is of one file"));
    }
    options.signature = asked.signature;
    options.platform = registry::platform(asked.os.as_deref(), asked.arch.as_deref())?;
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let progress = Progress::new(asked.globals.quiet, asked.globals.debug);
    let mut images = Vec::new();
    for name in &asked.images {
        let reference = Reference::parse(name, options.network.registries.default_registry())?;
        let image = store.resolve(&reference, &options, &|event| progress.event(event))?;
        super::note_proof(&asked.globals, &image);
        let value = json!({
            "id": image.public_id(),
            "name": image.name,
            "manifest": image.manifest.as_ref().map(ToString::to_string),
            "os": image.config.os,
            "arch": image.config.architecture,
            "layers": image.layers.len(),
            "size": image.bytes,
        });
        match asked.format {
            Format::Table => super::say(&format!("{}\n", image.public_id())),
            Format::Json => super::say(&super::json(&value, Format::Json)?),
            Format::JsonPretty => images.push(value),
        }
    }
    if asked.format == Format::JsonPretty {
        super::say(&super::json(&images, asked.format)?);
    }
    Ok(0)
}
