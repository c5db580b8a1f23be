//! `rkt version`: five lines, as the original's.

use crate::args::{self, Format};
use crate::embedded;
use crate::failure::Failure;
use clap::Parser;
use rkt_store::Platform;
use std::ffi::OsString;

/// Print the version
#[derive(Debug, Parser)]
#[command(name = "rkt version")]
struct Version {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    _globals: args::Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Version = args::parse("version", words)?;
    let host = Platform::host();
    let platform = format!("{}/{}", host.os, host.architecture);
    let features = if cfg!(feature = "weaken") {
        "+WEAKEN -TPM"
    } else {
        "-WEAKEN -TPM"
    };
    let stage1 = embedded::STAGE1_SHA256.get(..12).unwrap_or("");
    let rows = [
        ("rkt Version", "version", env!("CARGO_PKG_VERSION")),
        ("appc Version", "appcVersion", "0.8.11"),
        ("Rust Version", "rustVersion", env!("RKT_RUSTC")),
        ("OS/Arch", "platform", &platform),
        ("Stage1", "stage1", stage1),
        ("Features", "features", features),
    ];
    let text = match asked.format {
        Format::Table => rows.iter().map(|(n, _, v)| format!("{n}: {v}\n")).collect(),
        format => {
            let object: serde_json::Map<String, serde_json::Value> = rows
                .iter()
                .map(|(_, key, value)| ((*key).to_owned(), (*value).into()))
                .collect();
            super::json(&object, format)?
        }
    };
    super::say(&text);
    Ok(0)
}
