//! What lasts before what, should the power fail: the order of syncs and renames as strace sees it.

use super::aci::{UNSIGNED, file};
use rkt_tests::aci::Aci;
use rkt_tests::layout::Image;
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Rkt, command};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One call, with the numbers of the lines where it begins and where it ends.
struct Call {
    begin: usize,
    end: usize,
    text: String,
}

impl Call {
    fn is(&self, names: &[&str]) -> bool {
        let name = self.text.split('(').next().unwrap_or("");
        names.contains(&name) && self.text.contains(" = 0")
    }

    /// The words in quotes.
    fn words(&self) -> Vec<&str> {
        self.text.split('"').skip(1).step_by(2).collect()
    }

    /// What is synced.
    fn synced(&self) -> Option<&Path> {
        if !self.is(&["fsync", "fdatasync"]) {
            return None;
        }
        let (_, rest) = self.text.split_once('<')?;
        Some(Path::new(rest.split('>').next()?))
    }

    /// From where to where.
    fn renamed(&self) -> Option<(&Path, &Path)> {
        if !self.is(&["rename", "renameat", "renameat2"]) {
            return None;
        }
        match self.words()[..] {
            [from, to] => Some((Path::new(from), Path::new(to))),
            ref other => panic!("{other:?}"),
        }
    }
}

/// The calls of one command.
struct Trace {
    data: PathBuf,
    out: String,
    calls: Vec<Call>,
}

impl Trace {
    /// Runs `rkt WORDS` under strace.
    fn of(rkt: &Rkt, words: &[&str]) -> Self {
        let file = rkt.file(&format!("trace-{}", rkt_tests::rkt::unique()));
        let plain = rkt.command(words);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-qq", "-s", "300", "-e", "signal=none", "-e"]);
        strace.arg("trace=fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,write");
        strace.arg("-o").arg(&file);
        strace.arg(plain.get_program()).args(plain.get_args());
        let out = command::run(strace, None).ok();
        let mut begun: BTreeMap<String, (usize, String)> = BTreeMap::new();
        let mut calls = Vec::new();
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for (end, line) in text.lines().enumerate() {
            let Some((pid, text)) = line.split_once(' ') else {
                continue;
            };
            let (pid, text) = (pid.to_owned(), text.trim_start());
            let (begin, text) = if let Some(first) = text.strip_suffix(" <unfinished ...>") {
                begun.insert(pid, (end, first.to_owned()));
                continue;
            } else if let Some((_, rest)) = text.split_once(" resumed>") {
                let (begin, first) = begun.remove(&pid).unwrap();
                (begin, first + rest)
            } else {
                (end, text.to_owned())
            };
            calls.push(Call { begin, end, text });
        }
        let data = rkt.data();
        Self { data, out, calls }
    }

    /// Whether something was synced, all of it between these lines.
    fn syncs(&self, path: &Path, after: usize, before: usize) -> bool {
        let mut all = self.calls.iter();
        all.any(|c| c.synced() == Some(path) && c.begin >= after && c.end <= before)
    }

    /// Renames into a place of the store: when, from where, to where.
    fn put_into(&self, place: &str) -> Vec<(&Call, &Path, &Path)> {
        let place = self.data.join(place);
        let renamed = |c| Call::renamed(c).map(|(from, to)| (c, from, to));
        let all = self.calls.iter().filter_map(renamed);
        all.filter(|(_, _, to)| to.starts_with(&place)).collect()
    }

    fn syncs_what_it_renames(&self) {
        for place in ["layers", "chains", "blobs", "images", "refs"] {
            let renames = self.put_into(place);
            assert!(!renames.is_empty(), "nothing comes into {place}");
            for (call, from, to) in renames {
                let mut parts = vec![from.to_owned()];
                if to.is_dir() {
                    let files = fs::read_dir(to).unwrap();
                    parts.extend(files.map(|f| from.join(f.unwrap().file_name())));
                    assert!(parts.len() > 2, "{parts:?}");
                }
                for part in parts {
                    assert!(self.syncs(&part, 0, call.begin), "{part:?} of {to:?}");
                }
            }
        }
    }

    /// All that came into a place lasts before a line.
    fn lasts(&self, place: &str, before: usize) {
        for (call, _, to) in self.put_into(place) {
            if call.begin < before {
                let dir = to.parent().unwrap();
                assert!(self.syncs(dir, call.end, before), "{to:?} does not last");
            }
        }
    }

    fn keeps_its_order(&self) {
        self.syncs_what_it_renames();
        let (records, names) = (self.put_into("images"), self.put_into("refs"));
        for (record, _, _) in &records {
            for place in ["layers", "chains", "blobs"] {
                self.lasts(place, record.begin);
            }
        }
        for (name, _, _) in &names {
            self.lasts("images", name.begin);
        }
        let said = self.out.trim();
        let mut writes = self.calls.iter().filter(|c| c.text.starts_with("write(1<"));
        let said = writes.find(|c| c.text.contains(said)).unwrap();
        self.lasts("images", said.begin);
        self.lasts("refs", said.begin);
        // The directories of a new store too.
        for call in self.calls.iter().filter(|c| c.is(&["mkdir", "mkdirat"])) {
            let made = Path::new(call.words()[0]);
            let inside = made.strip_prefix(&self.data).ok();
            if inside.is_some_and(|p| {
                !p.starts_with("tmp") && !p.starts_with("partial") && !p.starts_with("distribution")
            }) {
                let above = made.parent().unwrap();
                assert!(self.syncs(above, call.end, records[0].0.begin), "{made:?}");
            }
        }
    }

    fn count(&self) -> usize {
        self.calls.iter().filter(|c| c.synced().is_some()).count()
    }
}

#[test]
fn an_image_lasts_before_its_record_and_that_before_its_id_is_said() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("strace")]) else {
        return;
    };
    let layers: Vec<[Entry; 2]> = (0..4_u8)
        .map(|n| {
            [
                Entry::dir("d"),
                Entry::file(format!("d/{n}"), vec![n; 5000]),
            ]
        })
        .collect();
    let layers: Vec<&[Entry]> = layers.iter().map(|l| &l[..]).collect();
    let layout = Image::new(&layers).write(&rkt.file("layout"));
    let name = layout.reference();
    let fetch = Trace::of(&rkt, &["fetch", "--quiet", &name]);
    fetch.keeps_its_order();
    assert_eq!(fetch.put_into("layers").len(), 4);
    // What is there already costs nothing.
    for policy in ["--pull-policy=new", "--pull-policy=update"] {
        let again = Trace::of(&rkt, &["fetch", "--quiet", policy, &name]);
        assert_eq!(again.count(), 0, "{policy}");
    }
    // A second name of the store's image, and a pin.
    for (words, place) in [
        (["image", "tag", &name, "b"].as_slice(), "refs"),
        (&["image", "pin", &name], "pins"),
    ] {
        let trace = Trace::of(&rkt, words);
        assert_eq!(trace.put_into(place).len(), 1);
        trace.lasts(place, usize::MAX);
    }
    // A record lasts nowhere when its layers go.
    rkt.rkt(&["image", "rm", "b", &name]).ok();
    let gc = Trace::of(&rkt, &["image", "gc"]);
    let gone = gc.put_into("tmp");
    assert_eq!(gone.len(), 8, "four layers, four chains");
    for place in ["images", "forgotten"] {
        let place = rkt.data().join(place);
        assert!(gc.syncs(&place, 0, gone[0].0.begin), "{place:?}");
    }
}

#[test]
fn so_does_an_aci_with_what_it_depends_on() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("strace")]) else {
        return;
    };
    let base = Aci::new("example.com/base", &[Entry::file("low", "low")]);
    let base = file(&rkt, "base", &base);
    Trace::of(&rkt, &["fetch", "--quiet", UNSIGNED, &base]).keeps_its_order();
    let top = Aci::new("example.com/top", &[Entry::file("top", "top")])
        .set("dependencies", json!([{ "imageName": "example.com/base" }]));
    let top = file(&rkt, "top", &top);
    Trace::of(&rkt, &["fetch", "--quiet", UNSIGNED, &top]).keeps_its_order();
}
