//! `rkt logs POD[:APP]`: what the apps of a pod wrote, from the pod's own files.

use super::look;
use crate::args::{self, Format, Globals};
use crate::failure::{Failure, USAGE};
use crate::view::time;
use clap::Parser;
use rkt_pod::logs::escape;
use rkt_pod::logs::{Entry, LogReader, LogWatch, Stream};
use rkt_pod::{Pod, PodStatus};
use rkt_spec::AppName;
use serde_json::json;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// How often is looked whether the pod still lives.
const LOOK: Duration = Duration::from_millis(250);

/// Print what the apps of a pod wrote
#[derive(Debug, Parser)]
#[command(name = "rkt logs")]
struct Logs {
    /// UUID, its beginning, or a name; and an app after a colon
    #[arg(value_name = "POD[:APP]")]
    pod: String,
    /// Go on until the pod ends
    #[arg(short, long)]
    follow: bool,
    /// Only what is newer: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only the last lines of each app
    #[arg(short = 'n', long, visible_alias = "tail", value_name = "N|all", value_parser = lines)]
    lines: Option<Lines>,
    /// Only this app; may be given several times
    #[arg(long, value_name = "APP")]
    app: Vec<AppName>,
    /// Print the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

/// How many lines of the end.
#[derive(Debug, Clone, Copy)]
enum Lines {
    All,
    Last(u64),
}

fn lines(text: &str) -> Result<Lines, String> {
    match (text, text.parse()) {
        ("all" | "-1", _) => Ok(Lines::All),
        (_, Ok(n)) => Ok(Lines::Last(n)),
        _ => Err("needs a number or `all`".to_owned()),
    }
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Logs = args::parse("logs", words)?;
    let (word, app) = look::pod_and_app(&asked.pod);
    let mut wanted = asked.app.clone();
    if let Some(app) = app {
        wanted.push(AppName::new(app).map_err(|e| Failure::usage(e.to_string()))?);
    }
    let since = match &asked.since {
        Some(text) => {
            let parsed = time::since(text, rkt_pod::time::now());
            parsed.map_err(|e| Failure::usage("read --since").because(e))?
        }
        None => 0,
    };
    let pods = look::open(&asked.globals)?;
    let pod = look::find(&pods, word)?;
    let apps = choose(apps_of(&pod)?, &wanted)?;
    // Before the first read, so that nothing is missed between reading and waiting.
    let mut watch = LogWatch::open(pod.as_fd())?;
    let mut readers = Vec::new();
    for app in apps {
        let mut reader = LogReader::open(pod.as_fd(), &app)?.since(since);
        if let Some(Lines::Last(n)) = asked.lines {
            reader = reader.tail(n)?;
        }
        readers.push(Source {
            app,
            reader,
            next: None,
        });
    }
    let mut out = Printer {
        out: Vec::new(),
        prefixes: readers.len() > 1,
        timestamps: asked.timestamps,
        format: asked.format,
        terminal: std::io::stdout().is_terminal(),
        open: None,
    };
    loop {
        let alive = asked.follow && pod.is_locked()?;
        while let Some((app, entry)) = oldest(&mut readers)? {
            out.entry(&app, &entry)?;
            if !out.flush(1 << 16) {
                return Ok(0);
            }
        }
        if !alive && (out.terminal || out.prefixes) {
            // Elsewhere the bytes stay as the app wrote them: its last line has no end.
            out.end_line();
        }
        if !out.flush(0) || !alive {
            return Ok(0);
        }
        watch.wait(LOOK)?;
    }
}

/// The apps of a pod: its supervisor's word, else its manifest's.
fn apps_of(pod: &Pod) -> Result<Vec<AppName>, Failure> {
    if let Some(status) = PodStatus::read(pod.as_fd())?
        && !status.apps.is_empty()
    {
        return Ok(status.apps.into_iter().map(|a| a.name).collect());
    }
    let manifest = look::manifest(pod)?;
    Ok(manifest.map_or_else(Vec::new, |m| m.apps.into_iter().map(|a| a.name).collect()))
}

fn choose(apps: Vec<AppName>, wanted: &[AppName]) -> Result<Vec<AppName>, Failure> {
    if wanted.is_empty() {
        return Ok(apps);
    }
    if let Some(missing) = wanted.iter().find(|w| !apps.contains(w)) {
        let names: Vec<_> = apps.iter().map(AppName::as_str).collect();
        return Err(
            Failure::new(USAGE, format!("no app `{missing}` in the pod"))
                .hint(format!("its apps are: {}", names.join(", "))),
        );
    }
    Ok(apps.into_iter().filter(|a| wanted.contains(a)).collect())
}

/// The log of an app, and its entry that was read but not printed yet.
struct Source {
    app: AppName,
    reader: LogReader,
    next: Option<Entry>,
}

/// The oldest entry of all.
fn oldest(sources: &mut [Source]) -> Result<Option<(AppName, Entry)>, Failure> {
    for source in sources.iter_mut().filter(|s| s.next.is_none()) {
        source.next = source.reader.next_entry()?;
    }
    let first = sources
        .iter()
        .enumerate()
        .filter_map(|(i, s)| Some((s.next.as_ref()?.time, i)))
        .min();
    let Some((_, index)) = first else {
        return Ok(None);
    };
    let Some(source) = sources.get_mut(index) else {
        return Ok(None);
    };
    let name = source.app.clone();
    Ok(source.next.take().map(|entry| (name, entry)))
}

struct Printer {
    out: Vec<u8>,
    prefixes: bool,
    timestamps: bool,
    format: Format,
    terminal: bool,
    /// Whose line has begun and not ended.
    open: Option<(AppName, Stream)>,
}

impl Printer {
    fn entry(&mut self, app: &AppName, entry: &Entry) -> Result<(), Failure> {
        if self.format != Format::Table {
            let line = json!({
                "time": rkt_pod::time::text(entry.time),
                "app": app.as_str(),
                "stream": entry.stream.as_str(),
                "partial": !entry.full,
                "text": String::from_utf8_lossy(&entry.text),
            });
            self.out
                .extend(super::json(&line, Format::Json)?.into_bytes());
            return Ok(());
        }
        let goes_on = self
            .open
            .as_ref()
            .is_some_and(|(a, s)| a == app && *s == entry.stream);
        if !goes_on {
            self.end_line();
            if self.timestamps {
                self.out
                    .extend_from_slice(&rkt_pod::time::rfc3339(entry.time));
                self.out.push(b' ');
            }
            if self.prefixes {
                self.out.extend_from_slice(format!("{app}: ").as_bytes());
            }
        }
        if self.terminal {
            let text = entry.text.strip_suffix(b"\r").unwrap_or(&entry.text);
            escape::terminal(text, &mut self.out);
        } else {
            self.out.extend_from_slice(&entry.text);
        }
        self.open = Some((app.clone(), entry.stream));
        if entry.full {
            self.end_line();
        }
        Ok(())
    }

    /// Ends the line that has begun, if one has.
    fn end_line(&mut self) {
        if self.open.take().is_some() {
            self.out.push(b'\n');
        }
    }

    /// Writes what has come together when it is more than `more_than`; whether anybody still reads.
    fn flush(&mut self, more_than: usize) -> bool {
        if self.out.len() <= more_than {
            return true;
        }
        let mut stdout = std::io::stdout().lock();
        let done = stdout.write_all(&self.out).and_then(|()| stdout.flush());
        self.out.clear();
        done.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(time: u64, stream: Stream, full: bool, text: &str) -> Entry {
        let text = text.as_bytes().to_vec();
        Entry {
            time,
            stream,
            full,
            text,
        }
    }

    fn printer(terminal: bool) -> Printer {
        Printer {
            out: Vec::new(),
            prefixes: true,
            timestamps: false,
            format: Format::Table,
            terminal,
            open: None,
        }
    }

    #[test]
    fn parts_of_a_line_are_put_together_and_other_apps_begin_their_own() {
        let (web, log) = (AppName::new("web").unwrap(), AppName::new("log").unwrap());
        let mut p = printer(false);
        p.entry(&web, &entry(1, Stream::Stdout, false, "hel"))
            .unwrap();
        p.entry(&web, &entry(2, Stream::Stdout, true, "lo"))
            .unwrap();
        p.entry(&web, &entry(3, Stream::Stdout, false, "wai"))
            .unwrap();
        p.entry(&log, &entry(4, Stream::Stderr, true, "x\x1b[2J"))
            .unwrap();
        p.entry(&web, &entry(5, Stream::Stdout, false, "t"))
            .unwrap();
        p.end_line();
        let text = String::from_utf8(p.out).unwrap();
        assert_eq!(text, "web: hello\nweb: wai\nlog: x\x1b[2J\nweb: t\n");
    }

    #[test]
    fn a_terminal_gets_no_control_sequence_and_json_every_field() {
        let app = AppName::new("web").unwrap();
        let mut p = printer(true);
        p.prefixes = false;
        p.timestamps = true;
        p.entry(&app, &entry(0, Stream::Stdout, true, "a\x1b[2J\r"))
            .unwrap();
        p.format = Format::Json;
        p.entry(&app, &entry(0, Stream::Stderr, false, "b"))
            .unwrap();
        let text = String::from_utf8(p.out).unwrap();
        let (first, second) = text.split_once('\n').unwrap();
        assert_eq!(first, "1970-01-01T00:00:00.000000000Z a\\x1b[2J");
        let v: serde_json::Value = serde_json::from_str(second).unwrap();
        assert_eq!(
            (v["app"].as_str(), v["stream"].as_str()),
            (Some("web"), Some("stderr"))
        );
        assert_eq!(
            (v["partial"].as_bool(), v["text"].as_str()),
            (Some(true), Some("b"))
        );
    }

    #[test]
    fn an_unknown_app_is_refused_with_those_there_are() {
        let apps = || vec![AppName::new("web").unwrap(), AppName::new("log").unwrap()];
        assert_eq!(choose(apps(), &[]).unwrap().len(), 2);
        let failure = choose(apps(), &[AppName::new("x").unwrap()]).unwrap_err();
        assert!(failure.to_string().contains("its apps are: web, log"));
    }
}
