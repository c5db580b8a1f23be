//! The command line of the bench.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    case::CASES,
    fault::{Doing, Fault, Result},
    flows,
};

/// Help, whole.
pub(crate) const HELP: &str = "\
usage: rkt-bench run [--rkt=PATH] [--weak-rkt=PATH] [--rounds=N] [--only=CASE,...] [--out=DIR]
       rkt-bench image DIR      the large image of `pull` as an OCI layout

cases: oneshot pod3 enter restart life cycles fifty net netfifty layers flows walls memory pull
       (all without --only)
`walls` needs --weak-rkt, a released rkt with the feature `weaken`: `make bench-walls`.
Needs root, cc and busybox-static; crun, runc, podman, skopeo, umoci, containerd and docker-registry
where they are installed. --rounds is 25 by default; slower cases take a fixed part of it.
";

/// What to do.
pub(crate) enum Order {
    /// Measure.
    Run(Wish),
    /// Be the measuring process; its files go there.
    Agent(PathBuf),
    /// Make the large image.
    Image(PathBuf),
    /// Inflate and hash the layers of an image, and no more.
    Inflate(PathBuf),
    /// Be a network to measure in: its files, rkt's program and image; none for one made by hand.
    Flows(PathBuf, String, String),
    /// Take bytes.
    Take(SocketAddr),
    /// Send so many bytes.
    Send(SocketAddr, u64),
    /// Explain.
    Help,
}

/// What to measure.
pub(crate) struct Wish {
    /// rkt's program; without it only the peers are measured.
    pub(crate) rkt: Option<PathBuf>,
    /// An rkt of the tests, which can leave walls out; without it `walls` is not measured.
    pub(crate) weak_rkt: Option<PathBuf>,
    /// Rounds of the quick cases.
    pub(crate) rounds: usize,
    /// Where the samples go.
    pub(crate) out: PathBuf,
    only: Vec<String>,
}

impl Wish {
    /// Whether a case is wanted.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == case)
    }
}

/// Understands the arguments.
pub(crate) fn parse(arguments: &[String]) -> Result<Order> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", options @ ..] => wish(options).map(Order::Run),
        ["agent", desk] => Ok(Order::Agent(PathBuf::from(desk))),
        ["inflate", layout] => Ok(Order::Inflate(PathBuf::from(layout))),
        ["flows", dir, rkt, image] => Ok(Order::Flows(
            PathBuf::from(dir),
            (*rkt).to_owned(),
            (*image).to_owned(),
        )),
        ["traffic", "take", at] => Ok(Order::Take(at.parse().doing(|| format!("`{at}`"))?)),
        ["traffic", "send", to, bytes] => Ok(Order::Send(
            to.parse().doing(|| format!("`{to}`"))?,
            bytes.parse().doing(|| format!("`{bytes}`"))?,
        )),
        ["image", layout] => Ok(Order::Image(PathBuf::from(layout))),
        ["help" | "--help" | "-h"] => Ok(Order::Help),
        _ => Err(Fault::new("nothing to do; see `rkt-bench --help`")),
    }
}

fn wish(options: &[&str]) -> Result<Wish> {
    let mut wish = Wish {
        rkt: None,
        weak_rkt: None,
        rounds: 25,
        out: PathBuf::from("bench/results"),
        only: Vec::new(),
    };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        // `--name=value` or `--name value`.
        let (name, value) = match option.split_once('=') {
            Some(pair) => pair,
            None => (*option, *options.next().unwrap_or(&"")),
        };
        match name {
            "--rkt" => wish.rkt = Some(program(value)?),
            "--weak-rkt" => wish.weak_rkt = Some(program(value)?),
            "--rounds" => wish.rounds = value.parse().doing(|| format!("`{name}={value}`"))?,
            "--only" => wish.only = value.split(',').map(str::to_owned).collect(),
            "--out" => wish.out = PathBuf::from(value),
            _ => {
                return Err(Fault::new(format!(
                    "unknown option `{name}`; see `rkt-bench --help`"
                )));
            }
        }
    }
    let known = |name: &String| {
        ["memory", "pull", flows::CASE].contains(&name.as_str())
            || CASES.iter().any(|case| case.name == name)
    };
    match wish.only.iter().find(|name| !known(name)) {
        Some(name) => Err(Fault::new(format!(
            "unknown case `{name}`; see `rkt-bench --help`"
        ))),
        None => Ok(wish),
    }
}

fn program(path: &str) -> Result<PathBuf> {
    let found = PathBuf::from(path).canonicalize();
    found.doing(|| format!("find `{path}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_case_is_refused() {
        let words = ["run", "--only=oneshot,nosuch"].map(str::to_owned);
        assert!(
            parse(&words)
                .err()
                .unwrap()
                .to_string()
                .contains("`nosuch`")
        );
        let words = ["run", "--only", "oneshot,pull", "--rounds=3"].map(str::to_owned);
        let Ok(Order::Run(wish)) = parse(&words) else {
            panic!("refused")
        };
        assert!(wish.wants("pull") && !wish.wants("life") && wish.rounds == 3);
    }
}
