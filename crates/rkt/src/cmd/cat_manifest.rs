//! `rkt cat-manifest POD`: the pod manifest.

use super::look;
use crate::args::{self, Globals};
use crate::failure::{Failure, USAGE};
use clap::Parser;
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;

/// Print the manifest of a pod
#[derive(Debug, Parser)]
#[command(name = "rkt cat-manifest")]
struct CatManifest {
    /// UUID, its beginning, or a name
    #[arg(value_name = "POD")]
    pod: Option<String>,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
    /// Whether to print on several lines
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    pretty_print: bool,
    /// How to print
    #[arg(long, value_enum)]
    format: Option<args::Format>,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: CatManifest = args::parse("cat-manifest", words)?;
    let typed = asked.pod.into_iter().collect();
    let words = look::words(typed, asked.uuid_file.as_deref(), USAGE)?;
    let [word] = words.as_slice() else {
        return Err(Failure::usage("one pod at a time, by name or by file"));
    };
    let pods = look::open(&asked.globals)?;
    let pod = look::find(&pods, word)?;
    let Some(manifest) = look::manifest(&pod)? else {
        return Err(Failure::usage(format!(
            "pod `{}` has no manifest yet",
            pod.uuid()
        )));
    };
    let pretty = match asked.format {
        Some(format) => format != args::Format::Json,
        None => asked.pretty_print,
    };
    super::say(&text(&manifest, pretty)?);
    Ok(0)
}

/// JSON indented by tabs, as the original's, or on one line.
fn text(value: &impl Serialize, pretty: bool) -> Result<String, Failure> {
    if !pretty {
        return super::json(value, args::Format::Json);
    }
    let mut out = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let done = value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, tabs));
    done.map_err(|e| Failure::usage("write JSON").because(e.to_string()))?;
    out.push(b'\n');
    String::from_utf8(out).map_err(|e| Failure::usage("write JSON").because(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_indented_by_tabs() {
        let value = serde_json::json!({ "a": [1] });
        assert_eq!(
            text(&value, true).unwrap(),
            "{\n\t\"a\": [\n\t\t1\n\t]\n}\n"
        );
        assert_eq!(text(&value, false).unwrap(), "{\"a\":[1]}\n");
    }
}
