//! `rkt trust add|list|rm`: whose signatures on App Container Images count.

use crate::args::{self, Format, Globals};
use crate::columns;
use crate::failure::{Failure, printable};
use clap::{Parser, Subcommand};
use rkt_stage0::request::InsecureOptions;
use rkt_store::{Key, KeyDirs, KeyFile, Reach};
use serde_json::json;
use std::ffi::OsString;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

/// Largest key file that is read, bytes.
const MAX_KEY: u64 = 1 << 20;

/// Say whose signatures on App Container Images count
#[derive(Debug, Parser)]
#[command(name = "rkt trust")]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Trust keys, after a look at their fingerprints
    Add(Add),
    /// List trusted keys
    #[command(visible_alias = "ls")]
    List(List),
    /// Trust keys no more
    Rm(Rm),
}

/// For which names of images.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Where {
    /// For images of this name and all below it, such as example.com/app
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,
    /// For images of any name
    #[arg(long)]
    root: bool,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Files with OpenPGP public keys; without any, those that the page of the prefix offers
    #[arg(value_name = "PUBKEY")]
    keys: Vec<String>,
    #[command(flatten)]
    to: Where,
    /// Do not ask; for scripts that know what they add
    #[arg(long)]
    skip_fingerprint_review: bool,
    /// Take keys by plain HTTP too
    #[arg(long)]
    insecure_allow_http: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Args)]
struct List {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// No line of headings
    #[arg(long)]
    no_legend: bool,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Args)]
struct Rm {
    /// Fingerprints of keys, as `rkt trust list` prints them
    #[arg(value_name = "FINGERPRINT", required = true)]
    keys: Vec<String>,
    #[command(flatten)]
    from: Where,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    // The original had no verbs here: `rkt trust --prefix=NAME KEY` adds.
    let named = ["add", "list", "ls", "rm", "help", "-h", "--help"];
    let verb = words.iter().any(|w| named.iter().any(|n| *w == **n));
    let words = match verb {
        true => words,
        false => std::iter::once("add".into()).chain(words).collect(),
    };
    match args::parse::<Words>("trust", first_verb(words))?.verb {
        Verb::Add(asked) => add(&asked),
        Verb::List(asked) => list(&asked),
        Verb::Rm(asked) => remove(&asked),
    }
}

/// The verb before the options, wherever it was typed.
fn first_verb(mut words: Vec<OsString>) -> Vec<OsString> {
    let verbs = ["add", "list", "ls", "rm"];
    if let Some(at) = words.iter().position(|w| verbs.iter().any(|v| *w == **v)) {
        let verb = words.remove(at);
        words.insert(0, verb);
    }
    words
}

impl Where {
    fn reach(&self) -> Result<Reach, Failure> {
        match &self.prefix {
            Some(prefix) => Ok(Reach::prefix(prefix)?),
            None => Ok(Reach::Root),
        }
    }
}

fn add(asked: &Add) -> Result<u8, Failure> {
    let reach = asked.to.reach()?;
    for (place, bytes) in found(asked, &reach)? {
        let doing = || Failure::usage(format!("trust key `{place}`"));
        for key in Key::read(&bytes).map_err(|e| doing().because(e.to_string()))? {
            let now = rkt_pod::time::now() / 1_000_000_000;
            key.check(now)
                .map_err(|e| doing().because(e.because().to_owned()))?;
            show(&key);
            if !asked.skip_fingerprint_review && !agreed()? {
                return Err(doing().because("it was not agreed to"));
            }
            let path = asked.globals.configs.own_keys().add(&key, &reach)?;
            tell_added(asked, &place, &reach, &key, &path)?;
        }
    }
    Ok(0)
}

/// The files of keys: those that were named, else what the page of the prefix offers.
fn found(asked: &Add, reach: &Reach) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    if !asked.keys.is_empty() {
        let read = |place: &String| {
            let bytes = read(Path::new(place)).map_err(|e| {
                Failure::usage(format!("trust key `{place}`")).because(e.to_string())
            })?;
            Ok((place.clone(), bytes))
        };
        return asked.keys.iter().map(read).collect();
    }
    let Reach::Prefix(prefix) = reach else {
        return Err(Failure::usage("trust keys for all names")
            .because("no file with a key was named, and no page speaks for all names"));
    };
    let insecure = asked.globals.insecure_options;
    let mut options = crate::registry::options(insecure, &asked.globals.configs)?;
    // Keys are more than images: `http` alone does not allow to take them in the clear.
    options.network.insecure.http =
        insecure.has(InsecureOptions::PUBKEY) || asked.insecure_allow_http;
    let keys = rkt_store::discovery::keys(&options.network, prefix)?;
    Ok(keys
        .into_iter()
        .map(|k| (printable(&k.url), k.bytes))
        .collect())
}

fn tell_added(
    asked: &Add,
    place: &str,
    reach: &Reach,
    key: &Key,
    path: &Path,
) -> Result<(), Failure> {
    let how = match asked.skip_fingerprint_review {
        true => "without fingerprint review",
        false => "after fingerprint review",
    };
    match reach {
        Reach::Prefix(prefix) => super::note(&format!(
            "Trusting \"{place}\" for prefix \"{prefix}\" {how}."
        )),
        Reach::Root => super::note(&format!("Trusting \"{place}\" for all names {how}.")),
    }
    let path = path.display();
    super::say(&match (asked.format, reach) {
        (Format::Table, Reach::Prefix(prefix)) => {
            format!("Added key for prefix \"{prefix}\" at \"{path}\"\n")
        }
        (Format::Table, Reach::Root) => format!("Added root key at \"{path}\"\n"),
        (format, _) => {
            let value = json!({
                "fingerprint": key.fingerprint(),
                "prefix": name(reach),
                "path": path.to_string(),
                "users": key.users(),
            });
            super::json(&value, format)?
        }
    });
    Ok(())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_KEY + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a person compares with what the owner of the key says.
fn show(key: &Key) {
    super::note(&format!(
        "gpg key fingerprint is: {}",
        spaced(key.fingerprint())
    ));
    for subkey in key.subkeys() {
        super::note(&format!("    subkey fingerprint: {}", spaced(&subkey)));
    }
    for user in key.users() {
        super::note(&format!("    {}", printable(&user)));
    }
}

/// Pairs of digits in capitals, as the original prints them.
fn spaced(fingerprint: &str) -> String {
    let upper = fingerprint.to_ascii_uppercase();
    let pairs: Vec<&str> = (0..upper.len())
        .step_by(2)
        .filter_map(|at| upper.get(at..at + 2))
        .collect();
    pairs.join(" ")
}

fn agreed() -> Result<bool, Failure> {
    super::note("Are you sure you want to trust this key (yes/no)?");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match read {
        Ok(0) if !std::io::stdin().is_terminal() => Err(Failure::usage("ask about the key")
            .because("there is nobody to answer")
            .hint("`--skip-fingerprint-review` does not ask")),
        Ok(_) => Ok(line.trim() == "yes"),
        Err(e) => Err(Failure::usage("ask about the key").because(e.to_string())),
    }
}

/// The prefix as text; empty for every name.
fn name(reach: &Reach) -> &str {
    match reach {
        Reach::Root => "",
        Reach::Prefix(prefix) => prefix,
    }
}

fn list(asked: &List) -> Result<u8, Failure> {
    let files = KeyDirs(asked.globals.configs.dirs()).list()?;
    let now = rkt_pod::time::now() / 1_000_000_000;
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !asked.no_legend {
        rows.push(
            ["FINGERPRINT", "PREFIX", "STATE", "USER", "FILE"]
                .map(str::to_owned)
                .into(),
        );
    }
    let mut values = Vec::new();
    for file in &files {
        let (state, users) = look(file, now);
        rows.push(vec![
            file.fingerprint.clone(),
            match &file.reach {
                Reach::Root => "*".to_owned(),
                Reach::Prefix(prefix) => prefix.clone(),
            },
            state.clone(),
            users.first().map_or("-".to_owned(), |u| printable(u)),
            file.path.display().to_string(),
        ]);
        values.push(json!({
            "fingerprint": file.fingerprint,
            "prefix": name(&file.reach),
            "root": file.reach == Reach::Root,
            "masked": file.masked,
            "state": state,
            "users": users,
            "path": file.path.display().to_string(),
        }));
    }
    super::say(&match asked.format {
        Format::Table => columns::text(&rows),
        Format::Json => {
            let lines: Result<Vec<_>, _> = values
                .iter()
                .map(|v| super::json(v, Format::Json))
                .collect();
            lines?.concat()
        }
        Format::JsonPretty => super::json(&values, Format::JsonPretty)?,
    });
    Ok(0)
}

/// What a key file is worth today, and whose it is.
fn look(file: &KeyFile, now: u64) -> (String, Vec<String>) {
    if file.masked {
        return ("masked".to_owned(), Vec::new());
    }
    let keys = read(&file.path)
        .map_err(|e| e.to_string())
        .and_then(|bytes| Key::read(&bytes).map_err(|e| e.to_string()));
    let key = keys.map(|keys| {
        keys.into_iter()
            .find(|k| k.fingerprint() == file.fingerprint)
    });
    match key {
        Ok(Some(key)) => {
            let state = match key.check(now) {
                Ok(()) => "trusted".to_owned(),
                Err(e) => e.because().to_owned(),
            };
            (state, key.users())
        }
        Ok(None) => (
            "holds another key than its name says".to_owned(),
            Vec::new(),
        ),
        Err(e) => (e, Vec::new()),
    }
}

fn remove(asked: &Rm) -> Result<u8, Failure> {
    let reach = asked.from.reach()?;
    for text in &asked.keys {
        let fingerprint = text.replace(' ', "").to_ascii_lowercase();
        let path: PathBuf = asked
            .globals
            .configs
            .own_keys()
            .remove(&fingerprint, &reach)?;
        super::say(&match asked.format {
            Format::Table => format!("removed key \"{fingerprint}\"\n"),
            format => {
                let value = json!({
                    "fingerprint": fingerprint,
                    "prefix": name(&reach),
                    "path": path.display().to_string(),
                    "masked": path.exists(),
                });
                super::json(&value, format)?
            }
        });
    }
    Ok(0)
}
