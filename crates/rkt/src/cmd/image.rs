//! `rkt image VERB`: what is in the store, and what can be done with it. A module a verb.

mod cat_manifest;
mod gc;
mod list;
mod rm;
mod verify;

use crate::args;
use crate::failure::Failure;
use clap::{Parser, Subcommand};
use std::ffi::OsString;

/// List, show, check and remove images of the store
#[derive(Debug, Parser)]
#[command(name = "rkt image")]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List images
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Remove images
    Rm(rm::Rm),
    /// Give back the layers that no image and no pod needs
    #[command(visible_alias = "prune")]
    Gc(gc::Gc),
    /// Print what an image says about itself
    #[command(visible_alias = "inspect")]
    CatManifest(cat_manifest::CatManifest),
    /// Compare every byte of images with their ids
    Verify(verify::Verify),
    /// Bring images into the store
    #[command(hide = true)]
    Fetch {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    match args::parse::<Words>("image", words)?.verb {
        Verb::List(asked) => list::run(&asked),
        Verb::Rm(asked) => rm::run(&asked),
        Verb::Gc(asked) => gc::run(&asked),
        Verb::CatManifest(asked) => cat_manifest::run(&asked),
        Verb::Verify(asked) => verify::run(&asked),
        Verb::Fetch { words } => super::fetch::run(words),
    }
}
