//! `rkt image VERB`: what is in the store, and what can be done with it. A module a verb.

mod cat_manifest;
mod export;
mod gc;
mod history;
mod in_use;
mod list;
pub(super) mod place;
mod render;
mod rm;
mod tag;
mod verify;

pub(super) use in_use::{by_pod, in_use};

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
    /// Give back images that nobody used for long, and what no image and no pod needs
    #[command(visible_alias = "prune")]
    Gc(gc::Gc),
    /// Print what an image says about itself
    #[command(visible_alias = "inspect")]
    CatManifest(cat_manifest::CatManifest),
    /// Compare every byte of images with their ids
    Verify(verify::Verify),
    /// Write the files of an image to a directory
    Extract(render::Render),
    /// Write the files of an image, with all it stands on, to a directory
    Render(render::Render),
    /// Write an image to a file that other engines read
    #[command(visible_alias = "save")]
    Export(export::Export),
    /// Give an image more names
    Tag(tag::Tag),
    /// Have gc keep images however long nobody uses them
    Pin(tag::Pin),
    /// Take the pin off images
    Unpin(tag::Pin),
    /// Tell how an image was made
    History(history::Words),
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
        Verb::Extract(asked) => render::run(&asked, render::Verb::Extract),
        Verb::Render(asked) => render::run(&asked, render::Verb::Render),
        Verb::Export(asked) => export::run(&asked),
        Verb::Tag(asked) => tag::tag(&asked),
        Verb::Pin(asked) => tag::pin(&asked, tag::Change::Pin),
        Verb::Unpin(asked) => tag::pin(&asked, tag::Change::Unpin),
        Verb::History(asked) => history::run(&asked),
        Verb::Fetch { words } => super::fetch::run(words),
    }
}
