//! The verbs: one row each, one module each. Only the chosen row's parser is built.
//!
//! Exit statuses: 0, the app's own (`run`, `enter`), 125 when rkt fails in those two,
//! 126 and 127 for a program that cannot be executed or found, 254 for wrong use and for
//! failures of every other verb.

mod app;
mod ask;
mod audit;
mod auth;
mod cat_manifest;
mod cp;
mod doctor;
mod enter;
mod erofs_probe;
mod explain;
mod export;
mod fetch;
mod frozen_probe;
mod gc;
mod help;
mod image;
mod leave;
mod list;
mod logs;
mod look;
mod net_probe;
mod network;
mod port;
mod rm;
mod run;
mod selftest;
mod status;
mod stop;
mod system;
mod trust;
mod version;
mod why;

use crate::failure::Failure;
use std::ffi::OsString;

/// A verb of the command line.
pub(crate) struct Verb {
    /// What is typed.
    pub(crate) name: &'static str,
    /// Other spellings.
    pub(crate) aliases: &'static [&'static str],
    /// Words put before the user's own (`images` is `image list`).
    prefix: &'static [&'static str],
    /// One line for the overview; empty hides the row.
    pub(crate) about: &'static str,
    /// Takes the words after the verb; the status to exit with.
    run: fn(Vec<OsString>) -> Result<u8, Failure>,
}

/// A row with no aliases and no prefix.
const fn verb(
    name: &'static str,
    aliases: &'static [&'static str],
    about: &'static str,
    run: fn(Vec<OsString>) -> Result<u8, Failure>,
) -> Verb {
    Verb {
        name,
        aliases,
        prefix: &[],
        about,
        run,
    }
}

/// Every verb, in the order of the overview.
pub(crate) const VERBS: &[Verb] = &[
    verb("run", &[], "Start a pod of one or more apps", run::run),
    verb("list", &["ps"], "List pods", list::run),
    verb("status", &[], "Tell the state of a pod", status::run),
    verb("logs", &[], "Print what the apps of a pod wrote", logs::run),
    verb(
        "enter",
        &["exec"],
        "Run a program in an app, confined like the app",
        enter::run,
    ),
    verb(
        "cp",
        &[],
        "Copy files into an app of a running pod, or out of it",
        cp::run,
    ),
    verb(
        "app",
        &[],
        "Restart an app of a pod while the others go on",
        app::run,
    ),
    verb(
        "port",
        &[],
        "Open, close and list ports of the host that lead into a running pod",
        port::run,
    ),
    verb(
        "audit",
        &[],
        "Compare the running processes of pods with their plan",
        audit::run,
    ),
    verb(
        "explain",
        &[],
        "Tell what was wanted of a pod and what holds it",
        explain::run,
    ),
    verb(
        "why",
        &[],
        "Tell which system calls of an app were refused, and why",
        why::run,
    ),
    verb(
        "selftest",
        &[],
        "Attack a pod from inside, and tell what refused each attack",
        selftest::run,
    ),
    verb("stop", &[], "Stop pods", stop::run),
    verb("rm", &[], "Remove stopped pods", rm::run),
    verb("gc", &[], "Remove what old pods left", gc::run),
    verb(
        "cat-manifest",
        &[],
        "Print the manifest of a pod",
        cat_manifest::run,
    ),
    verb(
        "export",
        &[],
        "Write an app of a pod that has ended as an image",
        export::run,
    ),
    verb(
        "fetch",
        &["pull"],
        "Bring images into the store",
        fetch::run,
    ),
    verb(
        "image",
        &[],
        "List, show, check, write and remove images",
        image::run,
    ),
    verb(
        "system",
        &[],
        "Tell what lies on the disk and what is mounted",
        system::run,
    ),
    verb(
        "network",
        &[],
        "List, check, create and remove networks",
        network::run,
    ),
    verb(
        "trust",
        &[],
        "Say whose signatures on App Container Images count",
        trust::run,
    ),
    verb(
        "auth",
        &[],
        "Log in to registries, and out again",
        auth::run,
    ),
    verb(
        "doctor",
        &[],
        "Tell what this host can and cannot give",
        doctor::run,
    ),
    verb("version", &[], "Print the version", version::run),
    verb("help", &[], "Print help about rkt or a verb", help::run),
    Verb {
        name: "restart",
        aliases: &[],
        prefix: &["restart"],
        about: "",
        run: app::run,
    },
    Verb {
        name: "images",
        aliases: &[],
        prefix: &["list"],
        about: "",
        run: image::run,
    },
    Verb {
        name: "tag",
        aliases: &[],
        prefix: &["tag"],
        about: "",
        run: image::run,
    },
    Verb {
        name: "history",
        aliases: &[],
        prefix: &["history"],
        about: "",
        run: image::run,
    },
    Verb {
        name: "save",
        aliases: &[],
        prefix: &["export"],
        about: "",
        run: image::run,
    },
    Verb {
        name: "login",
        aliases: &[],
        prefix: &["login"],
        about: "",
        run: auth::run,
    },
    Verb {
        name: "logout",
        aliases: &[],
        prefix: &["logout"],
        about: "",
        run: auth::run,
    },
    Verb {
        name: "rmi",
        aliases: &[],
        prefix: &["rm"],
        about: "",
        run: image::run,
    },
];

/// Finds the verb among the words and runs it with the others.
pub(crate) fn dispatch(argv: Vec<OsString>) -> Result<u8, Failure> {
    let at = crate::args::verb_position(&argv);
    let Some(word) = at.and_then(|at| argv.get(at)) else {
        return help::without_verb(&argv);
    };
    let word = word.to_string_lossy().into_owned();
    let chosen = find(&word)?;
    (chosen.run)(reorder(chosen, argv, at.unwrap_or(0)))
}

/// The words for a verb that stood at `at`: its prefix, what stood before it, what stood behind.
/// `app`, `image`, `network` and `system` have verbs of their own, which come before any option.
fn reorder(verb: &Verb, mut argv: Vec<OsString>, at: usize) -> Vec<OsString> {
    let mut behind = argv.split_off(at).into_iter().skip(1).peekable();
    let mut words: Vec<OsString> = verb.prefix.iter().map(OsString::from).collect();
    if matches!(
        verb.name,
        "app" | "auth" | "image" | "network" | "port" | "system" | "trust"
    ) {
        words.extend(behind.next_if(|word| !word.to_string_lossy().starts_with('-')));
    }
    words.extend(argv);
    words.extend(behind);
    words
}

/// A verb by name, alias or unique beginning.
pub(crate) fn find(word: &str) -> Result<&'static Verb, Failure> {
    let exact = VERBS
        .iter()
        .find(|v| v.name == word || v.aliases.contains(&word));
    if let Some(verb) = exact {
        return Ok(verb);
    }
    let mut begins = VERBS
        .iter()
        .filter(|v| !v.about.is_empty() && v.name.starts_with(word));
    if let (Some(verb), None) = (begins.next(), begins.next()) {
        return Ok(verb);
    }
    let mut failure = Failure::usage(format!("unknown command `{word}`"));
    let names = VERBS
        .iter()
        .flat_map(|v| std::iter::once(&v.name).chain(v.aliases))
        .copied();
    failure = match crate::args::nearest(word, names) {
        Some(name) => failure.hint(format!("did you mean `rkt {name}`?")),
        None => failure.hint("run `rkt help` for the list"),
    };
    Err(failure)
}

/// Writes data on stdout. A reader that went away (`rkt list | head`) is no failure.
pub(crate) fn say(text: &str) {
    say_bytes(text.as_bytes());
}

/// As [`say`], for data that may be no text.
pub(crate) fn say_bytes(bytes: &[u8]) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Says what was proved about an image.
pub(crate) fn note_proof(globals: &crate::args::Globals, image: &rkt_store::Image) {
    if !globals.quiet {
        note(&format!("image: {} {}", image.title(), image.proof));
    }
}

/// Writes a line on stderr.
pub(crate) fn note(text: &str) {
    use std::io::Write;
    let text = crate::failure::printable(text);
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A value as one line of JSON, or as several.
pub(crate) fn json(
    value: &impl serde::Serialize,
    format: crate::args::Format,
) -> Result<String, Failure> {
    let text = match format {
        crate::args::Format::JsonPretty => serde_json::to_string_pretty(value),
        _ => serde_json::to_string(value),
    };
    match text {
        Ok(text) => Ok(text + "\n"),
        Err(error) => Err(Failure::usage("write JSON").because(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_options_may_stand_before_the_verb() {
        for (line, want) in [
            ("--dir /x image list -q", "list --dir /x -q"),
            ("--dir /x images", "list --dir /x"),
            ("--dir /x enter web -- id", "--dir /x web -- id"),
            ("image --dir /x list", "--dir /x list"),
        ] {
            let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let at = crate::args::verb_position(&argv).unwrap();
            let verb = find(&argv[at].to_string_lossy()).unwrap();
            let got = reorder(verb, argv, at).join(std::ffi::OsStr::new(" "));
            assert_eq!(got.to_str(), Some(want), "{line}");
        }
    }
}
