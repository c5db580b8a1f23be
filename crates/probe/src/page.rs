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
            page.truncate(page.trim_end().len());
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
    mounts(&mut page, facts);
    page
}

/// Mounts a line each; masks, of which there are many, together.
fn mounts(page: &mut String, facts: &Value) {
    let Some(Value::List(list)) = facts.get("mounts") else {
        return;
    };
    let is_mask = |m: &Value| {
        let path = plain(m, "path");
        let kernels = path.starts_with("/proc/") || path.starts_with("/sys/");
        kernels && path != "/sys/fs/cgroup" && plain(m, "type") != "proc"
    };
    let seen = list.iter().filter(|m| !is_mask(m));
    for (i, mount) in seen.enumerate() {
        let label = if i == 0 { "mounts" } else { "" };
        let words = format!(
            "{:20} {:8} {}",
            plain(mount, "path"),
            plain(mount, "type"),
            plain(mount, "flags")
        );
        let _ = writeln!(page, "  {label:LABEL$}{words}");
    }
    let masked: Vec<String> = list
        .iter()
        .filter(|m| is_mask(m))
        .map(|m| plain(m, "path"))
        .collect();
    if !masked.is_empty() {
        line(page, "masked", &masked.join(" "));
    }
}

fn rows(page: &mut String, facts: &Value, name: &str, show: impl Fn(&Value) -> String) {
    if let Some(Value::List(list)) = facts.get(name) {
        let words: Vec<String> = list.iter().map(show).collect();
        line(page, name, &words.join(", "));
    }
}

/// How one attack ended: a line for it, and a few for the attempts of each of its rows, what
/// worked first.
pub(crate) fn attack(number: usize, name: &str, rows: &[Vec<Try>], ink: &Ink) -> String {
    const LINES: usize = 9;
    const WHAT: usize = 62;
    let mut page = String::new();
    let all = rows.concat();
    let verdict = crate::trial::verdict(&all);
    let _ = writeln!(
        page,
        "  {} {} {}",
        ink.bold(&number.to_string()),
        ink.bold(&format!("{name:69}")),
        ink.verdict(verdict, 0)
    );
    let each = (LINES / rows.len().max(1)).max(2);
    let mut shown = 0;
    for row in rows {
        for attempt in telling(row, each) {
            let _ = writeln!(
                page,
                "    {} {:WHAT$} {}",
                ink.verdict(attempt.verdict(), 12),
                shorten(&attempt.what, WHAT),
                attempt.note()
            );
            shown += 1;
        }
    }
    if all.len() > shown {
        let _ = writeln!(page, "    and {} more attempts", all.len() - shown);
    }
    page
}

/// The attempts that tell most: those that worked, then those refused with different words.
fn telling(row: &[Try], most: usize) -> Vec<&Try> {
    let mut chosen: Vec<&Try> = row.iter().filter(|t| t.broke()).collect();
    let refused = || row.iter().filter(|t| t.verdict() == "refused");
    for attempt in refused() {
        if chosen.iter().all(|c| c.note() != attempt.note()) {
            chosen.push(attempt);
        }
    }
    for attempt in refused() {
        if chosen.len() < most && !chosen.contains(&attempt) {
            chosen.push(attempt);
        }
    }
    if chosen.is_empty() {
        chosen.extend(row);
    }
    chosen.truncate(most);
    // In the order in which they were made.
    chosen.sort_by_key(|c| row.iter().position(|t| t == *c));
    chosen
}

/// The same, or its beginning and `..`.
fn shorten(words: &str, width: usize) -> String {
    if words.chars().count() <= width {
        return words.to_owned();
    }
    let start: String = words.chars().take(width.saturating_sub(2)).collect();
    format!("{start}..")
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
    fn attempts_are_told_in_their_order() {
        let tries = [
            Try::new("a", End::Held("inside".into())),
            Try::new("b", End::Broke("out".into())),
        ];
        let page = attack(1, "leave", &[tries.into()], &Ink::new(false));
        let lines: Vec<&str> = page.lines().collect();
        assert!(lines[0].ends_with("SUCCEEDED"));
        assert!(lines[1].ends_with("inside"));
        assert!(lines[2].contains("SUCCEEDED") && lines[2].ends_with("out"));
    }

    #[test]
    fn what_worked_is_never_left_out() {
        let mut tries: Vec<Try> = (0..30)
            .map(|n| Try::new(format!("{n}"), End::Held(n.to_string())))
            .collect();
        tries.push(Try::new("last", End::Broke("out".into())));
        let page = attack(1, "leave", &[tries], &Ink::new(false));
        assert!(
            page.contains("last") && page.contains("and 22 more attempts"),
            "{page}"
        );
    }
}
