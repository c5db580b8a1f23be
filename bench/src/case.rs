//! What is timed: the table of cases, and the loop that runs one.
//!
//! Columns are interleaved: every round runs every column once, and ratios are taken inside a
//! round, so that a busy minute of the machine touches all columns alike.

use serde::Serialize;

use crate::{
    agent::{Pace, Request},
    bench::{Bench, Rank},
    engine::{Engine, Words},
};

/// A verb of the engine.
type Verb = fn(&dyn Engine, &str) -> Vec<Words>;

/// One timed step.
struct Step {
    label: &'static str,
    pace: Pace,
    verb: Verb,
}

/// One table of the report.
pub(crate) struct Case {
    /// Its name, for `--only`.
    pub(crate) name: &'static str,
    /// What is timed, in words.
    pub(crate) about: &'static str,
    /// How many rounds of every hundred that were asked for; cases of many commands need fewer.
    rounds_percent: usize,
    /// Whose columns it shows.
    ranks: &'static [Rank],
    setup: Verb,
    steps: &'static [Step],
    teardown: Verb,
}

/// One cell's samples over the rounds: microseconds; `None` where a round failed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Series {
    /// Case.
    pub(crate) case: &'static str,
    /// Heading of the column.
    pub(crate) column: String,
    /// Step of the case.
    pub(crate) step: &'static str,
    /// Wall time of each round.
    pub(crate) wall_us: Vec<Option<f64>>,
    /// Processor time of each round.
    pub(crate) cpu_us: Vec<Option<f64>>,
    /// The last failure.
    pub(crate) failed: Option<String>,
}

const fn nothing(_engine: &dyn Engine, _id: &str) -> Vec<Words> {
    Vec::new()
}

fn end(engine: &dyn Engine, id: &str) -> Vec<Words> {
    [engine.stop(id), engine.remove(id)].concat()
}

fn each(count: usize, id: &str, verb: impl Fn(&str) -> Vec<Words>) -> Vec<Words> {
    (0..count)
        .flat_map(|n| verb(&format!("{id}n{n}")))
        .collect()
}

const fn step(label: &'static str, verb: Verb) -> Step {
    Step {
        label,
        pace: Pace::InTurn,
        verb,
    }
}

/// Every case.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "oneshot",
        about: "a static `true`, up and gone",
        rounds_percent: 100,
        ranks: &[Rank::Main, Rank::Variant],
        setup: nothing,
        steps: &[step("run", |e, id| e.run_true(id))],
        teardown: nothing,
    },
    Case {
        name: "pod3",
        about: "a pod of three sleepers",
        rounds_percent: 60,
        ranks: &[Rank::Main],
        setup: nothing,
        steps: &[
            step("up", |e, id| e.pod_up(id)),
            step("down", |e, id| e.pod_down(id)),
        ],
        teardown: nothing,
    },
    Case {
        name: "enter",
        about: "`true` inside a running pod",
        rounds_percent: 100,
        ranks: &[Rank::Main],
        setup: |e, id| e.up(id),
        steps: &[step("enter", |e, id| e.enter(id))],
        teardown: end,
    },
    Case {
        name: "restart",
        about: "an app's program once more in its pod",
        rounds_percent: 60,
        ranks: &[Rank::Main],
        setup: |e, id| e.up(id),
        steps: &[step("restart", |e, id| e.restart(id))],
        teardown: end,
    },
    Case {
        name: "life",
        about: "a sleeper detached, killed, removed",
        rounds_percent: 60,
        ranks: &[Rank::Main],
        setup: nothing,
        steps: &[
            step("up", |e, id| e.up(id)),
            step("stop", |e, id| e.stop(id)),
            step("rm", |e, id| e.remove(id)),
        ],
        teardown: nothing,
    },
    Case {
        name: "cycles",
        about: "100 times up, stop and rm",
        rounds_percent: 8,
        ranks: &[Rank::Main],
        setup: nothing,
        steps: &[step("all 100", |e, id| {
            each(100, id, |id| [e.up(id), e.stop(id), e.remove(id)].concat())
        })],
        teardown: nothing,
    },
    Case {
        name: "fifty",
        about: "50 of `oneshot` at once",
        rounds_percent: 20,
        ranks: &[Rank::Main, Rank::Variant],
        setup: nothing,
        steps: &[Step {
            label: "all 50",
            pace: Pace::Together,
            verb: |e, id| each(50, id, |id| e.run_true(id)),
        }],
        teardown: nothing,
    },
    Case {
        name: "net",
        about: "`oneshot` with the engine's default network, and without one",
        rounds_percent: 100,
        ranks: &[Rank::Network],
        setup: nothing,
        steps: &[step("run", |e, id| e.run_true(id))],
        teardown: nothing,
    },
    Case {
        name: "netfifty",
        about: "50 of `net` at once",
        rounds_percent: 20,
        ranks: &[Rank::Network],
        setup: nothing,
        steps: &[Step {
            label: "all 50",
            pace: Pace::Together,
            verb: |e, id| each(50, id, |id| e.run_true(id)),
        }],
        teardown: nothing,
    },
    Case {
        name: "layers",
        about: "`oneshot` from an image of one layer, and of ten",
        rounds_percent: 100,
        ranks: &[Rank::Layers],
        setup: nothing,
        steps: &[step("run", |e, id| e.run_true(id))],
        teardown: nothing,
    },
    Case {
        name: "walls",
        about: "`oneshot` without the walls that a column names",
        rounds_percent: 200,
        ranks: &[Rank::Wall],
        setup: nothing,
        steps: &[step("run", |e, id| e.run_true(id))],
        teardown: nothing,
    },
];

/// How often a column may fail before it is left out.
const PATIENCE: usize = 3;

/// One column while its case runs.
struct Column {
    at: usize,
    id: String,
    failures: usize,
    series: Vec<Series>,
}

impl Case {
    /// Runs the case in `bench`; the first, uncounted round warms up and sorts out who can.
    pub(crate) fn run(&self, bench: &mut Bench, rounds: usize) -> Vec<Series> {
        let rounds = (rounds * self.rounds_percent).div_ceil(100).max(1);
        let mut columns = Vec::new();
        for at in 0..bench.engines.len() {
            if !self.ranks.contains(&bench.engines[at].rank) {
                continue;
            }
            let series = self.blank(bench.engine(at).name());
            columns.push(Column {
                at,
                id: bench.next_id(),
                failures: 0,
                series,
            });
        }
        for column in &mut columns {
            let commands = (self.setup)(bench.engine(column.at), &column.id);
            if let Err(why) = bench.ask(column.at, commands, Pace::InTurn) {
                column.fail(0, why, PATIENCE);
            }
        }
        for round in 0..=rounds {
            // Who comes first changes, so that nobody always follows the same neighbour.
            columns.rotate_left(1);
            for column in columns
                .iter_mut()
                .filter(|column| column.failures < PATIENCE)
            {
                self.round(bench, column, round == 0);
            }
            bench.progress(self.name, round, rounds);
        }
        for column in &mut columns {
            let commands = (self.teardown)(bench.engine(column.at), &column.id);
            let _ended = bench.ask(column.at, commands, Pace::InTurn);
        }
        columns.sort_by_key(|column| column.at);
        columns
            .into_iter()
            .flat_map(|column| column.series)
            .collect()
    }

    fn blank(&self, name: &str) -> Vec<Series> {
        let series = |step: &Step| Series {
            case: self.name,
            column: name.to_owned(),
            step: step.label,
            wall_us: Vec::new(),
            cpu_us: Vec::new(),
            failed: None,
        };
        self.steps.iter().map(series).collect()
    }

    fn round(&self, bench: &mut Bench, column: &mut Column, warming: bool) {
        // A case with a setup works on that one pod; the others make a new one each round.
        let fresh = bench.next_id();
        let has_setup = !(self.setup)(bench.engine(column.at), "x").is_empty();
        let id = if has_setup { column.id.clone() } else { fresh };
        for (nth, step) in self.steps.iter().enumerate() {
            let engine = bench.engine(column.at);
            let commands = (step.verb)(engine, &id);
            let by_byte = self.name == "pod3" && step.label == "up" && engine.pod_ends_itself();
            let pace = if by_byte { Pace::UntilByte } else { step.pace };
            if commands.is_empty() {
                continue;
            }
            match bench.ask(column.at, commands, pace) {
                Ok(_) if warming => {}
                Ok(cost) => {
                    column.series[nth].wall_us.push(Some(cost.wall_us));
                    column.series[nth].cpu_us.push(Some(cost.cpu_us));
                    if let (Some(rest), Some(next)) = (cost.rest_us, column.series.get_mut(nth + 1))
                    {
                        next.wall_us.push(Some(rest));
                    }
                }
                Err(why) => {
                    column.fail(nth, why, if warming { PATIENCE } else { 1 });
                    let leftover = [
                        end(bench.engine(column.at), &id),
                        bench.engine(column.at).pod_down(&id),
                    ];
                    for command in leftover.concat() {
                        let _gone = bench.ask(column.at, vec![command], Pace::InTurn);
                    }
                    return;
                }
            }
        }
    }
}

impl Column {
    fn fail(&mut self, nth: usize, why: String, weight: usize) {
        self.failures += weight;
        if let Some(series) = self.series.get_mut(nth) {
            series.wall_us.push(None);
            series.cpu_us.push(None);
            series.failed = Some(why);
        }
    }
}

/// The request of `commands`.
pub(crate) const fn request(commands: Vec<Words>, pace: Pace) -> Request {
    Request { commands, pace }
}
