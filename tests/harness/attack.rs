//! Attacks by the probe, and what the defences are worth: each alone, none, and all together.

use crate::command::Done;
use crate::rkt::Rkt;
use serde_json::Value;

/// How an attack ended, as the probe tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing worked.
    Refused,
    /// Something worked.
    Succeeded,
    /// There was nothing to attack: the test is wrong, not the defence.
    Inconclusive,
}

/// What the probe printed about one attack.
#[derive(Debug, Clone)]
pub struct Told {
    /// How it ended.
    pub verdict: Verdict,
    /// The whole line.
    pub value: Value,
}

impl Told {
    /// Reads the one line of an `attack`.
    #[track_caller]
    pub fn read(done: &Done) -> Self {
        let line = done
            .out
            .lines()
            .find(|l| l.starts_with('{'))
            .unwrap_or_else(|| panic!("no verdict\n{done}"));
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}\n{done}"));
        let verdict = match value["result"].as_str() {
            Some("refused") => Verdict::Refused,
            Some("succeeded") => Verdict::Succeeded,
            _ => Verdict::Inconclusive,
        };
        Self { verdict, value }
    }

    /// Every line of an `attack-each`, in the order in which the attacks were made.
    pub fn each(text: &str) -> Vec<Self> {
        text.lines()
            .filter_map(|l| serde_json::from_str(l.get(l.find('{')?..)?).ok())
            .map(|value: Value| Self {
                verdict: match value["result"].as_str() {
                    Some("refused") => Verdict::Refused,
                    Some("succeeded") => Verdict::Succeeded,
                    _ => Verdict::Inconclusive,
                },
                value,
            })
            .collect()
    }

    /// Its id in the suite.
    pub fn id(&self) -> &str {
        self.value["id"].as_str().unwrap_or_default()
    }

    /// Whether every attempt found that the kernel has no such call: not on this host.
    pub fn is_absent(&self) -> bool {
        let tries = self.value["tries"].as_array().cloned().unwrap_or_default();
        !tries.is_empty() && tries.iter().all(|t| t["note"] == "ENOSYS")
    }

    /// Attempts that worked.
    pub fn worked(&self) -> Vec<String> {
        let tries = self.value["tries"].as_array().cloned().unwrap_or_default();
        tries
            .iter()
            .filter(|t| t["result"] == "succeeded")
            .map(|t| {
                format!(
                    "{}: {}",
                    t["what"].as_str().unwrap_or(""),
                    t["note"].as_str().unwrap_or("")
                )
            })
            .collect()
    }

    /// Whether an attempt whose text has these words was refused with this errno.
    pub fn refused_with(&self, what: &str, errno: &str) -> bool {
        let tries = self.value["tries"].as_array().cloned().unwrap_or_default();
        tries
            .iter()
            .any(|t| t["what"].as_str().is_some_and(|w| w.contains(what)) && t["note"] == errno)
    }

    /// Panics unless it was refused.
    #[track_caller]
    pub fn is_refused(&self) {
        assert_eq!(self.verdict, Verdict::Refused, "{:#?}", self.worked());
    }

    /// Panics unless it worked: the positive control.
    #[track_caller]
    pub fn succeeds(&self) {
        assert_eq!(
            self.verdict,
            Verdict::Succeeded,
            "the positive control fails: {:#}",
            self.value
        );
    }
}

/// An attack of the probe's table.
#[derive(Debug, Clone)]
pub struct Attack {
    /// Its id: a row of the suite, a point, a number.
    pub id: String,
    /// Switches of defences each of which refuses it alone.
    pub held: Vec<String>,
    /// Switches that its control does not use.
    pub keep: Vec<String>,
    /// `pod`, `v1` or `stage`.
    pub needs: String,
    /// Whether, with every capability granted, it reaches what is the app's own.
    pub own: bool,
}

impl Attack {
    /// The row of the suite.
    pub fn row(&self) -> &str {
        self.id.split('.').next().unwrap_or_default()
    }
}

/// The probe, as the test binaries have it.
pub fn probe() -> std::path::PathBuf {
    crate::need::binary().unwrap().with_file_name("rkt-probe")
}

/// Every attack that the probe knows.
pub fn table() -> Vec<Attack> {
    let mut command = std::process::Command::new(probe());
    command.args(["attack", "list"]);
    let text = crate::command::run(command, None).ok();
    let words = |v: &Value| -> Vec<String> {
        let list = v.as_array().cloned().unwrap_or_default();
        list.iter()
            .filter_map(|w| w.as_str().map(str::to_owned))
            .collect()
    };
    text.lines()
        .map(|line| {
            let v: Value = serde_json::from_str(line).unwrap();
            Attack {
                id: v["id"].as_str().unwrap().to_owned(),
                held: words(&v["held"]),
                keep: words(&v["keep"]),
                needs: v["needs"].as_str().unwrap().to_owned(),
                own: v["own"] == true,
            }
        })
        .collect()
}

/// In which circumstances an attack was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Against a pod as it is.
    Walled,
    /// Against one with every capability granted, or with one defence alone.
    Harder,
    /// With the defences taken away, or outside a pod: it must succeed.
    Control,
}

/// Writes how an attack ended into the file that `RKT_TEST_ATTACKS` names; `make test` sums it up
/// (`tests/attacks.sh`). What is neither refused nor, as a control, succeeded, is told there.
pub fn record(id: &str, way: Way, verdict: Verdict) {
    write_record(id, way, &format!("{verdict:?}"));
}

/// As [`record`]: this kernel or host does not have what is attacked.
pub fn record_absent(id: &str) {
    write_record(id, Way::Control, "Absent");
}

fn write_record(id: &str, way: Way, verdict: &str) {
    use std::io::Write;
    let Some(path) = std::env::var_os("RKT_TEST_ATTACKS") else {
        return;
    };
    let line = format!("{id} {way:?} {verdict}\n");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    file.and_then(|mut f| f.write_all(line.as_bytes())).unwrap();
}

/// Records an attack that a test has made itself: it held in a pod, and it works without.
#[track_caller]
pub fn record_held(id: &str, refused: bool, control_works: bool) {
    let verdict = |refused| {
        if refused {
            Verdict::Refused
        } else {
            Verdict::Succeeded
        }
    };
    record(id, Way::Walled, verdict(refused));
    record(id, Way::Control, verdict(!control_works));
    assert!(refused, "{id} works");
    assert!(control_works, "{id}: the positive control fails");
}

/// Makes one attack in a pod of one app; `pod` are words for `run` before the image, `options`
/// words for the probe.
#[track_caller]
pub fn alone(rkt: &Rkt, pod: &[&str], id: &str, options: &[&str]) -> Told {
    let mut words = pod.to_vec();
    words.extend(["builtin:probe", "--", "attack", id]);
    words.extend(options);
    Told::read(&rkt.run(&words))
}

/// A defence that stands alone is tested with the others off: each of `defences` alone must
/// refuse the attack, none must let it through (else the test proves nothing), and all together
/// must refuse. `off` are off in all but the last run: no defence against this attack, or no
/// defence by itself. `host_is_fine` looks at the host after each run and returns whether the attack
/// left it alone; its answer outranks the probe's.
#[track_caller]
pub fn each_defence_alone(
    off: &[&str],
    defences: &[&str],
    mut attack: impl FnMut(&str) -> Told,
    mut host_is_fine: impl FnMut() -> bool,
) {
    let weaken = |kept: Option<&str>| {
        let gone = defences.iter().filter(|d| Some(**d) != kept);
        let gone: Vec<&str> = off.iter().chain(gone).copied().collect();
        format!("--weaken={}", gone.join(","))
    };
    let none = attack(&weaken(None));
    let fine = host_is_fine();
    none.succeeds();
    assert!(
        !fine,
        "the probe says that it worked, the host does not see it: {:?}",
        none.worked()
    );
    for defence in defences {
        let told = attack(&weaken(Some(defence)));
        assert!(
            host_is_fine(),
            "`{defence}` alone lets the attack reach the host: {:?}",
            told.worked()
        );
        assert_eq!(
            told.verdict,
            Verdict::Refused,
            "`{defence}` alone: {:?}",
            told.worked()
        );
    }
    let all = attack("");
    assert!(host_is_fine(), "all together let the attack reach the host");
    all.is_refused();
}
