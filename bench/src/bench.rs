//! One run: the engines that are there, their agents, and the names they have used.

use std::{collections::BTreeMap, io::Write as _, path::PathBuf};

use crate::{
    agent::{Agent, Cost, Pace},
    case::request,
    engine::{Engine, Words},
    fault::Result,
    place::Place,
    world::World,
};

/// An engine and its rank.
pub(crate) struct Entry {
    /// The engine.
    pub(crate) engine: Box<dyn Engine>,
    /// In which cases it is shown.
    pub(crate) rank: Rank,
}

/// Which cases show a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// All but those of walls.
    Main,
    /// Those that compare variants.
    Variant,
    /// Those that compare rkt with itself without a wall.
    Wall,
    /// Those that compare networks.
    Network,
    /// Those that compare images of one and of ten layers.
    Layers,
}

/// The state of a run.
pub(crate) struct Bench {
    /// The columns in order; the floor is the first when it is there.
    pub(crate) engines: Vec<Entry>,
    /// Peers that are not there, and why.
    pub(crate) missing: Vec<String>,
    agents: BTreeMap<&'static str, Agent>,
    env: Vec<(String, String)>,
    last_id: usize,
    desk: PathBuf,
    // Last: what the engines use is removed after the agents have ended.
    pub(crate) place: Place,
}

impl Bench {
    /// A run without engines yet.
    pub(crate) fn new(place: Place) -> Result<Self> {
        let desk = place.room("desk")?;
        Ok(Self {
            engines: Vec::new(),
            missing: Vec::new(),
            agents: BTreeMap::new(),
            env: Vec::new(),
            last_id: 0,
            desk,
            place,
        })
    }

    /// Adds an engine.
    pub(crate) fn add(&mut self, engine: impl Engine + 'static, rank: Rank) {
        self.engines.push(Entry {
            engine: Box::new(engine),
            rank,
        });
    }

    /// Gives every agent that starts from now on these variables.
    pub(crate) fn export(&mut self, env: Vec<(String, String)>) {
        self.env.extend(env);
    }

    /// The engine of column `at`.
    pub(crate) fn engine(&self, at: usize) -> &dyn Engine {
        self.engines[at].engine.as_ref()
    }

    /// A name that was not used before in this run.
    pub(crate) fn next_id(&mut self) -> String {
        self.last_id += 1;
        format!("b{}", self.last_id)
    }

    /// Runs commands in the world of column `at`; `Err` says why they do not count.
    pub(crate) fn ask(
        &mut self,
        at: usize,
        commands: Vec<Words>,
        pace: Pace,
    ) -> std::result::Result<Cost, String> {
        let world = self.engines[at].engine.world();
        self.ask_in(world, commands, pace)
    }

    /// Runs commands in `world`; `Err` says why they do not count.
    pub(crate) fn ask_in(
        &mut self,
        world: World,
        commands: Vec<Words>,
        pace: Pace,
    ) -> std::result::Result<Cost, String> {
        let agent = self.agent(world).map_err(|fault| fault.to_string())?;
        let cost = agent
            .run(&request(commands, pace))
            .map_err(|fault| fault.to_string())?;
        match cost.failed {
            Some(why) => Err(why),
            None => Ok(cost),
        }
    }

    fn agent(&mut self, world: World) -> Result<&mut Agent> {
        let key = world.name();
        if !self.agents.contains_key(key) {
            self.agents
                .insert(key, Agent::start(world, &self.desk, &self.env)?);
        }
        self.agents
            .get_mut(key)
            .ok_or_else(|| crate::fault::Fault::new("no agent"))
    }

    /// Says on the error stream how far a case is.
    pub(crate) fn progress(&self, case: &str, round: usize, rounds: usize) {
        let mut err = std::io::stderr();
        let end = if round == rounds { "\n" } else { "" };
        let _shown = write!(err, "\r{case}: round {round} of {rounds}{end}");
    }
}
