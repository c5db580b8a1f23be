//! App Container Images: read, run, stacked, refused.

mod commands;
mod dependencies;
mod discovery;
mod fetching;
mod hostile;
mod reading;
mod trust;

use rkt_tests::aci::Aci;
use rkt_tests::{Done, Rkt};

/// Takes images without a signature.
pub(crate) const UNSIGNED: &str = "--insecure-options=image";

/// Writes an image under its own file name and gives its path as text.
pub(crate) fn file(rkt: &Rkt, name: &str, aci: &Aci) -> String {
    aci.write(&rkt.file(&format!("{name}.aci")))
        .display()
        .to_string()
}

/// Runs the probe of an unsigned image with these words.
pub(crate) fn run(rkt: &Rkt, image: &str, words: &[&str]) -> Done {
    let mut all = vec![UNSIGNED, image, "--"];
    all.extend(words);
    rkt.run(&all)
}
