//! `rkt image export`: an image as one file that other engines read.

use super::place;
use crate::args::Globals;
use crate::failure::Failure;
use clap::ValueEnum;
use rkt_stage0::merge;
use rkt_store::export::Form;
use rkt_store::layer::{self, ChainId};
use rkt_store::pack::{self, About, Packing};
use rkt_store::{Image, OpenMode, Store, mounts};
use std::io::{BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Words of `rkt image export`.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// A name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The file to write; `-` is stdout
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// oci (a layout in a tar), docker (as `docker save`) or aci; App Container Images have no
    /// other
    #[arg(long, value_enum, hide_possible_values = true)]
    format: Option<Shape>,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    #[value(alias = "oci-archive")]
    Oci,
    #[value(alias = "docker-archive")]
    Docker,
    Aci,
}

pub(super) fn run(asked: &Export) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let registries = crate::registry::registries(&asked.globals.configs)?;
    let default = registries.default_registry();
    let image = store.find(&asked.image, default)?;
    let form = match asked.format {
        Some(Shape::Oci) => Form::Oci,
        Some(Shape::Docker) => Form::Docker,
        Some(Shape::Aci) => Form::Aci,
        None if image.aci.is_some() => Form::Aci,
        None => Form::Oci,
    };
    let target = place::Target {
        file: &asked.file,
        overwrite: asked.overwrite,
    };
    let stdout = asked.file == Path::new("-");
    if !stdout {
        target.check()?;
    }
    if form == Form::Aci && image.aci.is_none() {
        let made = Made::of(&store, &image, asked)?;
        return match stdout {
            true => to_stdout(|to| made.write(to)),
            false => target.write(|to| made.write(to)),
        };
    }
    let whole = |to: &mut dyn Write| Ok(store.export(&image, form, to).map(|_| 0)?);
    match stdout {
        true => to_stdout(whole),
        false => target.write(whole),
    }
}

fn to_stdout(fill: impl FnOnce(&mut dyn Write) -> Result<u8, Failure>) -> Result<u8, Failure> {
    let out = std::io::stdout();
    if out.is_terminal() {
        return Err(Failure::usage("export an image: stdout is a terminal")
            .hint("name a file, or send stdout to one"));
    }
    let mut out = BufWriter::with_capacity(1 << 20, out.lock());
    let status = fill(&mut out)?;
    out.flush()
        .map_err(|e| Failure::usage("export an image").because(e.to_string()))?;
    Ok(status)
}

/// An App Container Image that is made of another.
struct Made {
    manifest: Vec<u8>,
    root: OwnedFd,
}

impl Made {
    /// Mounts the image's files and writes a manifest of what it says about itself.
    fn of(store: &Store, image: &Image, asked: &Export) -> Result<Self, Failure> {
        crate::cmd::look::need_root()?;
        let app = merge::of_image(&image.config, &store.accounts(image)?)?;
        let about = About {
            title: &image.name,
            os: &image.config.os,
            architecture: &image.config.architecture,
            variant: &image.config.variant,
            app: &app,
        };
        let (manifest, notes) = pack::manifest(&about)?;
        for note in notes {
            crate::cmd::note(&format!("image: {note}"));
        }
        // Damage must not leave the store unnoticed.
        for diff in &image.layers {
            layer::verify(store.dir(), diff)?;
        }
        let chains: Vec<ChainId> = image
            .chains
            .iter()
            .rev()
            .map(|c| ChainId::from_digest(c.clone()))
            .collect();
        let program = crate::registry::layer_program();
        let run_dir = &asked.globals.run_dir;
        let layers = mounts::attach(store.dir(), run_dir, &program, mounts::Way::Best, &chains)?;
        let root = mounts::merged(store.dir(), &layers, None)?;
        Ok(Self { manifest, root })
    }

    fn write(&self, to: &mut dyn Write) -> Result<u8, Failure> {
        let written = pack::write(&self.manifest, self.root.as_fd(), None, Packing::Plain, to)?;
        crate::cmd::export::note_sockets(written);
        Ok(0)
    }
}
