//! An app's environment: where each variable comes from, and which texts are refused.

use crate::error::{Doing, Error};
use crate::request::RunRequest;
use rkt_spec::manifest::Pair;
use std::io::Read;
use std::path::Path;

/// `PATH` of an app whose image has none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An environment file is refused when it is larger, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Variables whose values programs copy into files of lines; these may hold no control character.
const PLAIN: [&str; 7] = [
    "HOME", "USER", "LOGNAME", "SHELL", "PATH", "TERM", "HOSTNAME",
];

/// Checks the name of a variable.
///
/// # Errors
/// When it is empty, or holds `=`, a NUL or another control character.
pub fn check_name(name: &str) -> Result<(), rkt_spec::Error> {
    if name.is_empty() || name.contains('=') || name.chars().any(char::is_control) {
        return Err(rkt_spec::Error::new(
            "environment variable",
            name,
            "needs a name without `=` and control characters",
        ));
    }
    Ok(())
}

/// Checks a variable.
///
/// Values may be of several lines, except those that programs copy into files of lines
/// (`HOME` in /etc/passwd: CVE-2022-4318).
///
/// # Errors
/// As [`check_name`], and when the value holds a NUL or, for `HOME` and its like, any
/// control character.
pub fn check(name: &str, value: &str) -> Result<(), rkt_spec::Error> {
    check_name(name)?;
    if value.contains('\0') || PLAIN.contains(&name) && value.chars().any(char::is_control) {
        return Err(rkt_spec::Error::new(
            "environment variable",
            format!("{name}={value}"),
            "its value may hold no control character",
        ));
    }
    Ok(())
}

/// Variables in order; a later value replaces an earlier one in its place.
#[derive(Debug, Default)]
pub struct Environment(Vec<Pair>);

impl Environment {
    /// Sets a variable.
    ///
    /// # Errors
    /// As [`check`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), rkt_spec::Error> {
        check(name, value)?;
        match self.0.iter_mut().find(|p| p.name == name) {
            Some(pair) => value.clone_into(&mut pair.value),
            None => self.0.push(Pair {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
        }
        Ok(())
    }

    /// Whether there is a variable of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|p| p.name == name)
    }

    /// The variables, in order.
    pub fn into_pairs(self) -> Vec<Pair> {
        self.0
    }
}

/// What `--set-env-file` and `--set-env` say, in this order: for every app, over all else.
///
/// # Errors
/// When a file cannot be read, or a variable in it is wrong or there twice.
pub fn of_pod(request: &RunRequest) -> Result<Vec<(String, String)>, Error> {
    let mut list: Vec<(String, String)> = Vec::new();
    for path in &request.env_files {
        let what = || format!("read the environment file `{}`", path.display());
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in parse_file(&read(path).doing(what)?).doing(what)? {
            if seen.contains(&name) {
                return Err(Error::new(format!("`{name}` is set twice")).while_doing(what()));
            }
            if let Some(value) = value.or_else(|| callers(request, &name)) {
                list.push((name.clone(), value));
            }
            seen.push(name);
        }
    }
    for (name, value) in &request.set_env {
        if let Some(value) = value.clone().or_else(|| callers(request, name)) {
            list.push((name.clone(), value));
        }
    }
    Ok(list)
}

fn callers(request: &RunRequest, name: &str) -> Option<String> {
    let found = request.caller_env.iter().find(|(n, _)| n == name);
    found.map(|(_, value)| value.clone())
}

fn read(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::new("it is larger than 1 MiB"));
    }
    Ok(text)
}

type Line = (String, Option<String>);

/// `NAME=VALUE` a line; blank lines and those that begin with `#` or `;` are skipped.
fn parse_file(text: &str) -> Result<Vec<Line>, rkt_spec::Error> {
    let mut list = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line.trim_end(), None),
        };
        check(name, value.unwrap_or(""))?;
        list.push((name.to_owned(), value.map(str::to_owned)));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_homes_of_several_lines_are_refused() {
        assert!(check("A", "two\nlines").is_ok());
        for (name, value) in [
            ("", ""),
            ("A\n", ""),
            ("A", "\0"),
            ("HOME", "/root\nroot::0:0::/:/bin/sh"),
            ("PATH", "\x1b[2J"),
        ] {
            assert!(check(name, value).is_err(), "{name:?}={value:?}");
        }
    }

    #[test]
    fn an_environment_file_is_lines() {
        let lines = parse_file("# c\n; c\n\nA=1=2\n  B=x \nC\n").unwrap();
        let want = [("A", Some("1=2")), ("B", Some("x ")), ("C", None)];
        let want: Vec<Line> = want
            .map(|(n, v)| (n.to_owned(), v.map(str::to_owned)))
            .into();
        assert_eq!(lines, want);
        assert!(parse_file("=x").is_err());
    }

    #[test]
    fn a_later_value_takes_the_place_of_an_earlier_one() {
        let mut env = Environment::default();
        env.set("A", "1").unwrap();
        env.set("B", "2").unwrap();
        env.set("A", "3").unwrap();
        let names: Vec<_> = env
            .into_pairs()
            .into_iter()
            .map(|p| format!("{}={}", p.name, p.value))
            .collect();
        assert_eq!(names, ["A=3", "B=2"]);
    }
}
