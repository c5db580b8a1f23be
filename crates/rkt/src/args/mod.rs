//! Words of the command line. Nothing here touches a file or asks the kernel.

pub(crate) mod limits;
mod network;
pub(crate) mod run;
pub(crate) mod table;
mod volume;
mod walls;

use crate::failure::{Failure, USAGE};
use clap::Parser;
use rkt_stage0::request::InsecureOptions;
use std::ffi::OsString;
use std::path::PathBuf;

/// Options that every verb takes, before or after its name.
///
/// A verb's own struct takes them with `#[command(flatten)] globals: Globals`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Directory of images and pods
    #[arg(long, value_name = "DIR", default_value = DIR)]
    pub(crate) dir: PathBuf,
    /// Directory of pinned namespaces and locks
    #[arg(long, value_name = "DIR", default_value = RUN_DIR, hide = true)]
    pub(crate) run_dir: PathBuf,
    /// Cgroup below which pods' cgroups are made
    #[arg(long, value_name = "NAME", default_value = CGROUP_PARENT, hide = true)]
    pub(crate) cgroup_parent: String,
    #[command(flatten)]
    pub(crate) configs: Configs,
    /// Tell every step on stderr
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set,
          hide_default_value = true, hide_possible_values = true)]
    pub(crate) debug: bool,
    /// No progress and no notes, errors only
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Trust the keys that the page of an image offers over HTTPS, when none is trusted yet
    #[arg(long)]
    pub(crate) trust_keys_from_https: bool,
    /// Checks to leave out: none,image,tls,http,pubkey,capabilities,paths,seccomp,all-fetch,all-run,all
    #[arg(long, value_name = "LIST", value_parser = insecure, default_value = "none", hide_default_value = true)]
    pub(crate) insecure_options: InsecureOptions,
}

/// Directories with configuration; a later one overrides an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub(crate) struct Configs {
    /// Directory of the distribution's configuration
    #[arg(long, value_name = "DIR", default_value = SYSTEM_CONFIG, hide = true)]
    pub(crate) system_config: PathBuf,
    /// Directory of this host's configuration
    #[arg(long, value_name = "DIR", default_value = LOCAL_CONFIG)]
    pub(crate) local_config: PathBuf,
    /// Directory of the user's own configuration
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) user_config: Option<PathBuf>,
}

impl Default for Configs {
    fn default() -> Self {
        Self {
            system_config: SYSTEM_CONFIG.into(),
            local_config: LOCAL_CONFIG.into(),
            user_config: None,
        }
    }
}

impl Configs {
    /// The directories of keys that rkt writes to: never a user's own, as in the original.
    pub(crate) fn own_keys(&self) -> rkt_store::KeyDirs {
        rkt_store::KeyDirs(vec![self.system_config.clone(), self.local_config.clone()])
    }

    /// In order: the system's, this host's, the user's.
    pub(crate) fn dirs(&self) -> Vec<PathBuf> {
        [&self.system_config, &self.local_config]
            .into_iter()
            .chain(&self.user_config)
            .cloned()
            .collect()
    }
}

/// Default of `--system-config`.
pub(crate) const SYSTEM_CONFIG: &str = "/usr/lib/rkt";
/// Default of `--local-config`.
pub(crate) const LOCAL_CONFIG: &str = "/etc/rkt";
/// Default of `--dir`.
pub(crate) const DIR: &str = "/var/lib/rkt";
/// Default of `--run-dir`.
pub(crate) const RUN_DIR: &str = "/run/rkt";
/// Default of `--cgroup-parent`.
pub(crate) const CGROUP_PARENT: &str = rkt_stage0::request::CGROUP_PARENT;

fn insecure(text: &str) -> Result<InsecureOptions, rkt_spec::Error> {
    InsecureOptions::parse(text)
}

/// How a verb prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON value a line.
    Json,
    /// JSON on several lines.
    JsonPretty,
}

/// Reads the words of a verb other than `run` (`words` begins after the verb's name).
///
/// `--help` is printed here and ends in `Err` with status 0.
pub(crate) fn parse<T: Parser>(verb: &str, words: Vec<OsString>) -> Result<T, Failure> {
    let command = T::command();
    let help = |word: &OsString| word == "--help" || word == "-h";
    if command.has_subcommands()
        && !words.is_empty()
        && verb_position(&words).is_none()
        && !words.iter().any(help)
    {
        // clap would complain about the options instead.
        let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
        let names: Vec<&str> = shown.map(clap::Command::get_name).collect();
        let told = format!("`rkt {verb}` needs one of: {}", names.join(", "));
        return Err(Failure::usage(told));
    }
    let argv = std::iter::once(OsString::from(format!("rkt {verb}"))).chain(words);
    T::try_parse_from(argv).map_err(|error| {
        if error.use_stderr() {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            Failure::new(USAGE, text.to_owned())
        } else {
            let _ = error.print();
            Failure::silent(0)
        }
    })
}

/// The global options as the overview prints them.
pub(crate) const GLOBAL_HELP: &str = "\
\t--dir=DIR                 directory of images and pods (default /var/lib/rkt)
\t--local-config=DIR        directory of this host's configuration (default /etc/rkt; --system-config
\t                          /usr/lib/rkt comes before it, --user-config after it)
\t--debug                   tell every step on stderr
\t--quiet                   no progress and no notes, errors only
\t--insecure-options=LIST   checks to leave out: none, image, tls, http, pubkey, capabilities,
\t                          paths, seccomp, all-fetch, all-run, all
";

/// Where the verb stands: the first word that is neither an option nor an option's value.
pub(crate) fn verb_position(argv: &[OsString]) -> Option<usize> {
    let mut i = 0;
    while let Some(word) = argv.get(i) {
        let word = word.to_string_lossy();
        if !word.starts_with('-') || word == "-" {
            return Some(i);
        }
        if word == "--" {
            return None;
        }
        let takes_next = !word.contains('=') && takes_value(&word);
        i += if takes_next { 2 } else { 1 };
    }
    None
}

fn takes_value(word: &str) -> bool {
    let long = word.strip_prefix("--");
    let short = word.strip_prefix('-').and_then(|w| w.chars().next());
    table::FLAGS
        .iter()
        .find(|f| match long {
            Some(name) => f.name == name || f.aliases.contains(&name),
            None => f.short == short,
        })
        .is_some_and(|f| match (f.value, long) {
            (table::Value::Text(_), Some(_)) => true,
            // `-e A=b` takes the next word, `-eA` does not.
            (table::Value::Text(_), None) => word.len() == 2,
            (table::Value::Switch, _) => false,
        })
}

/// The candidate that `word` was probably meant to be: at most two slips of the keyboard away.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (distance(word, c), c))
        .filter(|(d, c)| *d <= 2 && *d < c.len().max(2) - 1)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// How many slips of the keyboard lie between two words, in bytes: one too many, one too few,
/// another one, or two neighbours swapped (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // rows[i][j] is the distance of the first i bytes of `a` to the first j of `b`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    let at = |rows: &[Vec<usize>], i: usize, j: usize| {
        rows.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0)
    };
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (at(&rows, i, j) + usize::from(x != y))
                .min(at(&rows, i, j + 1) + 1)
                .min(row.last().map_or(0, |left| left + 1));
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(at(&rows, i - 1, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    at(&rows, a.len(), b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_is_the_first_word_that_is_no_options_value() {
        let at = |line: &str| {
            let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            verb_position(&argv)
        };
        assert_eq!(at("run x"), Some(0));
        assert_eq!(at("--debug --dir /x fetch y"), Some(3));
        assert_eq!(at("--dir=/x list"), Some(1));
        assert_eq!(at("--net none -e A=b --rm run img"), Some(5));
        assert_eq!(at("--help"), None);
    }

    #[test]
    fn slips_of_the_keyboard_are_recognised() {
        assert_eq!(nearest("fecth", ["fetch", "list"]), Some("fetch"));
        assert_eq!(nearest("wbe", ["log", "web"]), Some("web"));
        assert_eq!(distance("abcd", "acbd"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("zzzzzz", ["fetch", "list"]), None);
    }
}
