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
