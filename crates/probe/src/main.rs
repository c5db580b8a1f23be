//! The app of the built-in image: prints its own confinement, and attacks it.
//!
//! One static file in an otherwise empty image; any user may run it. Without arguments it
//! makes the four attacks of rkt issue #576 on the pod that it is in and ends with the
//! number of those that worked. See `rkt-probe help`.
#![forbid(unsafe_code)]

mod attack;
mod facts;
mod hoard;
mod issue576;
mod page;
mod passing;
mod play;
mod status;
mod trial;
mod value;

use attack::{ATTACKS, Aim};
use page::Ink;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use value::Value;

const USAGE: &str = "\
rkt-probe [report] [--json] [--no-attacks] [--volume=PATH] [--canary=CGROUP] [--wait=S] [--stay=S]
    what this process may do, and the attacks of rkt issue #576; ends with how many worked
rkt-probe attack ID... | all | list  [--volume=PATH] [--canary=CGROUP] [--socket=NAME] [--file=PATH]
    rows of attacks, one line of JSON each; ends with 0 refused, 1 succeeded, 2 inconclusive
rkt-probe attack-each ID... | all | every
    single attacks, one line of JSON each; [--await=PATH] begins when PATH is there, [--stay] stays
rkt-probe sleep [SECONDS] | exit N | signal N | trap N | ignore-term | count FILE | spin
rkt-probe fork-bomb N | eat-memory BYTES | orphans N | write-output BYTES | print-tty | env | who
rkt-probe swap A B | cat FILE | list DIR | write FILE TEXT | victim SOCKET [FILE]
rkt-probe serve-fd SOCKET PATH | recv-fd SOCKET NAME | hold-up SECONDS | zombies N
rkt-probe hoard inotify|epoll|eventfd|pty|pipe|socket|queue N [stay]
rkt-probe signal-all N | fill FILE BYTES | litter DIR N | plant FILE
rkt-probe latency N | storm FILE
";

/// Exit status for words that are not understood.
const USAGE_STATUS: u8 = 64;

fn main() -> ExitCode {
    // First of all, before anything here opens a descriptor of its own.
    let fds = open_fds();
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let (flags, words): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .map(String::as_str)
        .partition(|a| a.starts_with("--"));
    let option = |name: &str| {
        flags
            .iter()
            .find_map(|f| f.strip_prefix(name))
            .map(str::to_owned)
    };
    let aim = Aim {
        volume: option("--volume=").unwrap_or_else(|| "/probe-volume".to_owned()),
        canary: option("--canary="),
        socket: option("--socket="),
        file: option("--file="),
        fds,
    };
    let wait_for = |path: Option<String>| {
        let here = |path: &String| std::fs::symlink_metadata(path).is_ok();
        while path.as_ref().is_some_and(|p| !here(p)) {
            let _ = play::rest(Some(0.01));
        }
    };
    match words.as_slice() {
        [] | ["report"] => {
            // So that apps of one pod do not talk at once, and are alive for each other's attacks.
            let pause = |name: &str| option(name).and_then(|s| s.parse().ok()).unwrap_or(0.0);
            let _ = play::rest(Some(pause("--wait=")));
            let status = report(
                &aim,
                flags.contains(&"--json"),
                !flags.contains(&"--no-attacks"),
            );
            let _ = play::rest(Some(pause("--stay=")));
            status
        }
        ["attack", ids @ ..] if !ids.is_empty() => attacks(ids, &aim, Told::Rows),
        ["attack-each", ids @ ..] if !ids.is_empty() => {
            wait_for(option("--await="));
            let status = attacks(ids, &aim, Told::Singly);
            if flags.contains(&"--stay") {
                say(io::stdout(), "done\n");
                let _ = play::rest(None);
            }
            status
        }
        ["exit", n] => ExitCode::from(n.parse().unwrap_or(USAGE_STATUS)),
        words => match role(words) {
            None => {
                say(io::stderr(), USAGE);
                ExitCode::from(USAGE_STATUS)
            }
            Some(Ok(())) => ExitCode::SUCCESS,
            Some(Err(why)) => {
                say(io::stderr(), &format!("rkt-probe: {why}\n"));
                ExitCode::FAILURE
            }
        },
    }
}

/// Plays a part; `None` when there is no such part.
fn role(words: &[&str]) -> Option<play::Played> {
    Some(match words {
        ["help"] => {
            say(io::stdout(), USAGE);
            Ok(())
        }
        ["sleep"] => play::rest(None),
        ["sleep", seconds] => play::rest(Some(seconds.parse().ok()?)),
        ["signal", n] => play::signal(n.parse().ok()?),
        ["trap", n] => play::trap(n.parse().ok()?),
        ["ignore-term"] => play::ignore_term(),
        ["count", path] => play::count(path),
        ["spin"] => play::spin(),
        ["fork-bomb", n] => play::fork_bomb(n.parse().ok()?),
        ["eat-memory", n] => play::eat_memory(n.parse().ok()?),
        ["hoard", kind, n] => hoard::hoard(kind, n.parse().ok()?, false),
        ["hoard", kind, n, "stay"] => hoard::hoard(kind, n.parse().ok()?, true),
        ["zombies", n] => hoard::zombies(n.parse().ok()?),
        ["signal-all", n] => hoard::signal_all(n.parse().ok()?),
        ["fill", path, bytes] => hoard::fill(path, bytes.parse().ok()?),
        ["litter", dir, n] => hoard::litter(dir, n.parse().ok()?),
        ["latency", n] => hoard::latency(n.parse().ok()?),
        ["storm", path] => hoard::storm(path),
        ["hold-up", seconds] => hoard::hold_up(seconds.parse().ok()?),
        ["orphans", n] => play::orphans(n.parse().ok()?),
        ["write-output", n] => play::write_output(n.parse().ok()?),
        ["print-tty"] => play::print_tty(),
        ["env"] => play::env(),
        ["who"] => play::who(),
        ["cat", path] => play::cat(path),
        ["list", path] => play::list(path),
        ["swap", a, b] => play::swap(a, b),
        ["write", path, text] => play::write(path, text),
        ["plant", path] => play::plant(path),
        ["victim", socket] => play::victim(socket, None),
        ["victim", socket, counter] => play::victim(socket, Some(counter)),
        ["serve-fd", socket, path] => play::serve_fd(socket, path),
        ["recv-fd", socket, name] => play::recv_fd(socket, name),
        _ => return None,
    })
}

/// The report: one write, so that two apps of a pod do not mix their lines.
fn report(aim: &Aim, json: bool, attack: bool) -> ExitCode {
    let facts = facts::gather(&aim.fds);
    let outcomes = if attack {
        issue576::run(aim)
    } else {
        Vec::new()
    };
    let worked = outcomes.iter().filter(|o| o.succeeded()).count();
    if json {
        let Value::Map(mut all) = facts else {
            return ExitCode::FAILURE;
        };
        let attacks = Value::List(outcomes.iter().map(issue576::Outcome::value).collect());
        all.push(("attacks".to_owned(), attacks));
        say(io::stdout(), &format!("{}\n", Value::Map(all)));
    } else {
        let ink = Ink::new(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        let mut text = page::facts(&facts, &ink);
        if attack {
            text.push_str("  attacks of rkt issue #576\n");
            text.push_str(&issue576::page(&outcomes, &ink));
            text.push_str(&format!(
                "  {worked} of {} attacks succeeded\n",
                outcomes.len()
            ));
        }
        say(io::stdout(), &text);
    }
    ExitCode::from(u8::try_from(worked).unwrap_or(u8::MAX))
}

/// How the attacks that were asked for are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// A line for each row of the suite.
    Rows,
    /// A line for each attack.
    Singly,
}

/// Makes attacks, for the tests and for `rkt selftest`.
fn attacks(ids: &[&str], aim: &Aim, told: Told) -> ExitCode {
    if ids == ["list"] {
        for a in ATTACKS {
            let line = Value::map([
                ("id", Value::text(a.id)),
                ("name", Value::text(a.name)),
                ("held", Value::words(a.held.iter().copied())),
                ("keep", Value::words(a.keep.iter().copied())),
                ("needs", Value::text(a.needs.name())),
                ("own", Value::Flag(a.own)),
            ]);
            say(io::stdout(), &format!("{line}\n"));
        }
        return ExitCode::SUCCESS;
    }
    let mut status = 0;
    let mut tell = |value: &Value, result: &str| {
        say(io::stdout(), &format!("{value}\n"));
        status = match (status, result) {
            (1, _) | (_, "succeeded") => 1,
            (2, _) | (_, "inconclusive") => 2,
            _ => status,
        };
    };
    for id in ids {
        let chosen = attack::chosen(id);
        if chosen.is_empty() {
            let words = "rkt-probe: no such attack; see `rkt-probe attack list`\n";
            say(io::stderr(), words);
            return ExitCode::from(USAGE_STATUS);
        }
        if told == Told::Singly {
            for one in chosen {
                let (value, result) = attack::outcome(one.id, one.name, &one.run(aim));
                tell(&value, result);
            }
            continue;
        }
        for row in chosen.chunk_by(|a, b| a.row() == b.row()) {
            let tries: Vec<trial::Try> = row.iter().flat_map(|a| a.run(aim)).collect();
            let (id, name) = row.first().map_or(("", ""), |a| (a.row(), a.name));
            let (value, result) = attack::outcome(id, name, &tries);
            tell(&value, result);
        }
    }
    ExitCode::from(status)
}

/// Descriptors that are open. Each name is looked up by itself: to list the directory would
/// add one. No program opens a thousand before it begins.
fn open_fds() -> Vec<i32> {
    (0..1024)
        .filter(|fd| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok())
        .collect()
}

fn say(mut to: impl Write, text: &str) {
    // A closed stdout is the reader's choice; there is nobody left to tell.
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
