//! `rkt image export`: an image as one file that other engines read.

use super::place;
use crate::args::Globals;
use crate::failure::Failure;
use clap::ValueEnum;
use rkt_store::export::Form;
use rkt_store::{Image, OpenMode, Store};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
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
    /// oci (a layout in a tar) or docker (as `docker save`); aci for App Container Images, which
    /// have no other
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
    if asked.file == Path::new("-") {
        let out = std::io::stdout();
        if out.is_terminal() {
            return Err(Failure::usage("export an image: stdout is a terminal")
                .hint("name a file, or send stdout to one"));
        }
        store.export(
            &image,
            form,
            &mut BufWriter::with_capacity(1 << 20, out.lock()),
        )?;
        return Ok(0);
    }
    to_file(&store, &image, form, asked)?;
    Ok(0)
}

/// Writes beside, then renames: a file of that name is whole or not there.
fn to_file(store: &Store, image: &Image, form: Form, asked: &Export) -> Result<(), Failure> {
    let doing = |e: std::io::Error| {
        Failure::usage(format!("write `{}`", asked.file.display())).because(e.to_string())
    };
    if !asked.overwrite && asked.file.symlink_metadata().is_ok() {
        return Err(Failure::usage(format!(
            "output file `{}` exists (try --overwrite)",
            asked.file.display()
        )));
    }
    let beside = place::beside(&asked.file)?;
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(&beside)
        .map_err(doing)?;
    let remove = Unfinished(beside.clone());
    let mut out = BufWriter::with_capacity(1 << 20, file);
    store.export(image, form, &mut out)?;
    out.flush().map_err(doing)?;
    if asked.overwrite {
        std::fs::rename(&beside, &asked.file).map_err(doing)?;
    } else {
        place::rename_new(&beside, &asked.file).map_err(doing)?;
    }
    drop(remove);
    Ok(())
}

/// Removes the file of a failed export.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is none, and that is silent.
        let _ = std::fs::remove_file(OsString::from(&self.0));
    }
}
