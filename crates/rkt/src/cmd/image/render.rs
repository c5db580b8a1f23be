//! `rkt image extract` and `rkt image render`: the files of an image as a directory.
//!
//! As in the original, `extract` writes what an App Container Image itself has, and `render` what
//! an app of it sees: with its dependencies, and only paths of its whitelist. Layers of docker
//! and OCI images are no dependencies: both write the whole root file system.

use super::{cat_manifest, place};
use crate::args::{Format, Globals};
use crate::failure::Failure;
use rkt_store::{Image, OpenMode, Store};
use rustix::fs::{Mode, OFlags};
use serde_json::json;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Extract,
    Render,
}

/// Words of both.
#[derive(Debug, clap::Args)]
pub(super) struct Render {
    /// A name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The directory to make
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// Only the files, without `manifest` beside `rootfs`
    #[arg(long)]
    rootfs_only: bool,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(asked: &Render, verb: Verb) -> Result<u8, Failure> {
    let store = Store::open(&asked.globals.dir, OpenMode::Use)?;
    let registries = crate::registry::registries(&asked.globals.configs)?;
    let default = registries.default_registry();
    let image = store.find(&asked.image, default)?;
    let target = target(asked)?;
    let beside = Unfinished(place::beside(&target)?);
    write(&store, &image, (asked, verb), &beside.0)?;
    let doing = |e: std::io::Error| {
        Failure::usage(format!("make `{}`", target.display())).because(e.to_string())
    };
    if target.symlink_metadata().is_ok() && asked.overwrite {
        // What was there goes only when the new one is whole.
        place::exchange(&beside.0, &target).map_err(doing)?;
    } else {
        place::rename_new(&beside.0, &target).map_err(doing)?;
    }
    beside.remove().map_err(doing)?;
    if asked.format != Format::Table {
        let value = json!({
            "id": image.public_id(),
            "dir": target,
            "rootfs": match asked.rootfs_only {
                true => target.clone(),
                false => target.join("rootfs"),
            },
        });
        crate::cmd::say(&crate::cmd::json(&value, asked.format)?);
    }
    Ok(0)
}

/// Where to write, when writing there cannot destroy what nobody meant.
fn target(asked: &Render) -> Result<PathBuf, Failure> {
    let typed = asked.to.display();
    let doing =
        |e: std::io::Error| Failure::usage(format!("make `{typed}`")).because(e.to_string());
    let target = std::path::absolute(&asked.to).map_err(doing)?;
    let there = match fs::canonicalize(&target) {
        Ok(path) => Some(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(doing(e)),
    };
    if there.as_deref() == Some(Path::new("/")) || target.file_name().is_none() {
        return Err(Failure::usage(
            "this would delete your root filesystem. Refusing.",
        ));
    }
    let data = fs::canonicalize(&asked.globals.dir).map_err(doing)?;
    let place = match &there {
        Some(there) => there.clone(),
        None => {
            let parent = target.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(parent).map_err(doing)?;
            let name = target.file_name().unwrap_or_default();
            fs::canonicalize(parent).map_err(doing)?.join(name)
        }
    };
    if place.starts_with(&data) || there.is_some() && data.starts_with(&place) {
        return Err(Failure::usage(format!(
            "`{typed}` is in the way of rkt's own data in `{}`",
            data.display()
        )));
    }
    let link = fs::symlink_metadata(&target).is_ok_and(|m| m.is_symlink());
    if (there.is_some() || link) && !asked.overwrite {
        return Err(Failure::usage("output directory exists (try --overwrite)"));
    }
    if link {
        return Err(Failure::usage(format!("`{typed}` is a symlink"))
            .hint("name the directory that it leads to"));
    }
    Ok(place)
}

fn write(
    store: &Store,
    image: &Image,
    (asked, verb): (&Render, Verb),
    dir: &Path,
) -> Result<(), Failure> {
    let doing = |e: std::io::Error| {
        Failure::usage(format!("write `{}`", dir.display())).because(e.to_string())
    };
    let make = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
    make(dir).map_err(doing)?;
    let rootfs = match asked.rootfs_only {
        true => dir.to_owned(),
        false => dir.join("rootfs"),
    };
    if !asked.rootfs_only {
        make(&rootfs).map_err(doing)?;
        let manifest = match cat_manifest::of_aci(store, image)? {
            Some(bytes) => bytes,
            None => cat_manifest::text(image, Format::JsonPretty)?.into_bytes(),
        };
        fs::write(dir.join("manifest"), manifest).map_err(doing)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&rootfs, flags, Mode::empty()).map_err(|e| doing(e.into()))?;
    match verb {
        Verb::Extract => store.extract(image, &crate::registry::layer_program(), fd.as_fd())?,
        Verb::Render => store.render(image, fd.as_fd())?,
    }
    if !asked.rootfs_only {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(doing)?;
    }
    Ok(())
}

/// What is being written, and after an exchange what was there before.
struct Unfinished(PathBuf);

impl Unfinished {
    fn remove(self) -> std::io::Result<()> {
        remove(&self.0)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    }
}
