//! The page for people: what this process may do, and how the attacks ended.

use crate::trial::Try;
use crate::value::Value;
use std::fmt::Write;

/// Columns of a line, the label included.
const WIDTH: usize = 100;
const LABEL: usize = 13;

/// How bold and coloured words are made on a terminal.
pub(crate) struct Ink(bool);

impl Ink {
    /// Colours only if `yes`.
    pub(crate) fn new(yes: bool) -> Self {
        Self(yes)
    }

    fn paint(&self, code: &str, words: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{words}\x1b[0m")
        } else {
            words.to_owned()
        }
    }

    fn bold(&self, words: &str) -> String {
        self.paint("1", words)
    }

    fn verdict(&self, verdict: &str, width: usize) -> String {
        match verdict {
            "succeeded" => self.paint("1;31", &format!("{:width$}", "SUCCEEDED")),
            "refused" => self.paint("32", &format!("{verdict:width$}")),
            _ => self.paint("33", &format!("{verdict:width$}")),
        }
    }
}

/// One line, continued below itself where it is too long.
fn line(page: &mut String, label: &str, words: &str) {
    let mut column = LABEL + 2;
    let _ = write!(page, "  {label:LABEL$}");
    for word in words.split(' ') {
        if column + word.len() > WIDTH && column > LABEL + 2 {
            let _ = write!(page, "\n  {:LABEL$}", "");
            column = LABEL + 2;
        }
        let _ = write!(page, "{word} ");
        column += word.len() + 1;
    }
    while page.ends_with(' ') {
        page.pop();
    }
    page.push('\n');
}

fn plain(facts: &Value, name: &str) -> String {
    facts.get(name).map(Value::plain).unwrap_or_default()
}

/// An id with what it is on the host.
fn id(facts: &Value, name: &str, map: &str) -> String {
    let here = plain(facts, name);
    let rows = match facts.get(map) {
        Some(Value::List(rows)) => rows.as_slice(),
        _ => &[],
    };
    let outside = rows.iter().find_map(|row| {
        let row: Vec<u64> = row
            .plain()
            .split(' ')
            .filter_map(|n| n.parse().ok())
            .collect();
        let [first, outside, count] = row.as_slice() else {
            return None;
        };
        let offset = here.parse::<u64>().ok()?.checked_sub(*first)?;
        (offset < *count).then(|| outside + offset)
    });
    match outside {
        Some(outside) => format!("{name} {here} (outside {outside})"),
        None => format!("{name} {here}"),
    }
}

/// What the process is.
pub(crate) fn facts(facts: &Value, ink: &Ink) -> String {
    let mut page = String::new();
    let app = plain(facts, "app");
    let title = if app.is_empty() {
        "rkt-probe".to_owned()
    } else {
        format!("rkt-probe in app {app}")
    };
    let _ = writeln!(page, "{}", ink.bold(&title));
    let who = format!(
        "pid {}, {}, {}, groups {}",
        plain(facts, "pid"),
        id(facts, "uid", "uid_map"),
        id(facts, "gid", "gid_map"),
        plain(facts, "groups")
    );
    line(&mut page, "who", &who);
    line(
        &mut page,
        "host",
        &format!(
            "{}, kernel {}",
            plain(facts, "hostname"),
            plain(facts, "kernel")
        ),
    );
    for set in [
        "effective",
        "permitted",
        "inheritable",
        "ambient",
        "bounding",
    ] {
        let same = set == "permitted" || set == "bounding";
        let words = plain(facts, set);
        let words = if same && words != "none" && words == plain(facts, "effective") {
            "as effective".to_owned()
        } else {
            words
        };
        line(&mut page, set, &words);
    }
    let walls = format!(
        "no_new_privs {}, seccomp {} ({} loaded), Landlock {} layers (version {})",
        plain(facts, "no_new_privs"),
        plain(facts, "seccomp"),
        plain(facts, "seccomp_filters"),
        plain(facts, "landlock_layers"),
        plain(facts, "landlock_version")
    );
    line(&mut page, "walls", &walls);
    line(&mut page, "namespaces", &plain(facts, "namespaces"));
    line(&mut page, "cgroups", &plain(facts, "cgroups"));
    line(&mut page, "limits", &plain(facts, "limits"));
    let rest = format!(
        "umask {}, working directory {}",
        plain(facts, "umask"),
        plain(facts, "cwd")
    );
    line(&mut page, "process", &rest);
    line(&mut page, "environment", &plain(facts, "environment"));
    rows(&mut page, facts, "descriptors", |d| {
        format!("{} -> {}", plain(d, "fd"), plain(d, "is"))
    });
    rows(&mut page, facts, "processes", |p| {
        format!("{} {}", plain(p, "pid"), plain(p, "name"))
    });
    if let Some(Value::List(mounts)) = facts.get("mounts") {
        for (i, mount) in mounts.iter().enumerate() {
            let label = if i == 0 { "mounts" } else { "" };
            let words = format!(
                "{:28} {:9} {}",
                plain(mount, "path"),
                plain(mount, "type"),
                plain(mount, "flags")
            );
            let _ = writeln!(page, "  {label:LABEL$}{words}");
        }
    }
    page
}

fn rows(page: &mut String, facts: &Value, name: &str, show: impl Fn(&Value) -> String) {
    if let Some(Value::List(list)) = facts.get(name) {
        let words: Vec<String> = list.iter().map(show).collect();
        line(page, name, &words.join(", "));
    }
}

/// How one attack ended: a line for it, and one for each attempt that says something new.
pub(crate) fn attack(number: usize, name: &str, verdict: &str, tries: &[Try], ink: &Ink) -> String {
    const LINES: usize = 12;
    let mut page = String::new();
    let _ = writeln!(
        page,
        "  {number} {:62} {}",
        ink.bold(name),
        ink.verdict(verdict, 0)
    );
    // What worked comes first, then what was refused; the rest only when there is nothing else.
    let mut order: Vec<&Try> = tries.iter().filter(|t| t.broke()).collect();
    order.extend(tries.iter().filter(|t| t.verdict() == "refused"));
    if order.is_empty() {
        order.extend(tries);
    }
    for attempt in order.iter().take(LINES) {
        let _ = writeln!(
            page,
            "      {} {:58} {}",
            ink.verdict(attempt.verdict(), 12),
            attempt.what,
            attempt.note()
        );
    }
    if order.len() > LINES {
        let _ = writeln!(
            page,
            "      and {} more, {verdict} alike",
            order.len() - LINES
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::End;

    #[test]
    fn ids_are_shown_with_the_hosts() {
        let row = Value::List([0u64, 720_896, 65_536].map(Value::Number).into());
        let facts = Value::map([
            ("uid", Value::Number(33)),
            ("uid_map", Value::List(vec![row])),
        ]);
        assert_eq!(id(&facts, "uid", "uid_map"), "uid 33 (outside 720929)");
    }

    #[test]
    fn long_lists_are_continued() {
        let mut page = String::new();
        line(&mut page, "x", &"word ".repeat(40));
        assert!(page.lines().all(|l| l.len() <= WIDTH + 6), "{page}");
        assert_eq!(page.lines().count(), 3);
    }

    #[test]
    fn what_worked_is_shown_first() {
        let tries = [
            Try::new("a", End::Held("inside".into())),
            Try::new("b", End::Broke("out".into())),
        ];
        let page = attack(1, "leave", "succeeded", &tries, &Ink::new(false));
        let lines: Vec<&str> = page.lines().collect();
        assert!(lines[0].ends_with("SUCCEEDED"));
        assert!(lines[1].contains("SUCCEEDED") && lines[1].ends_with("out"));
    }
}
