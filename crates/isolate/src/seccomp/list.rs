//! Lists of the user's or an image's: data, and the program they become together with the floor.
//!
//! A list says what it allows; the floor ([`super::FLOOR`]) says what no list opens. A call passes
//! when both let it pass. What the floor answers with ENOSYS does not exist, whatever the list says,
//! so that C libraries fall back.

use super::compile::{Arch, Backwards, Instruction, Label, assemble, verdicts};
use super::compile::{RET_ALLOW, RET_ERRNO, RET_KILL};
use super::floor::FLOOR;
use super::profile::{
    AF_NETLINK, Action, DEFAULT, EAFNOSUPPORT, ENOSYS, EPROTONOSUPPORT, FAMILIES,
    NETLINK_PROTOCOLS, Test,
};
use std::collections::BTreeMap;

/// What a call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Return {
    /// It is made.
    Allow,
    /// It is made, and the kernel's log tells.
    Log,
    /// It fails with this errno.
    Errno(u16),
    /// A SIGSYS that the program may catch.
    Trap,
    /// The thread ends.
    KillThread,
    /// The process ends by SIGSYS.
    KillProcess,
}

impl Return {
    const fn value(self) -> u32 {
        match self {
            Self::Allow => RET_ALLOW,
            Self::Log => 0x7ffc_0000,
            Self::Errno(errno) => RET_ERRNO | errno as u32,
            Self::Trap => 0x0003_0000,
            Self::KillThread => 0,
            Self::KillProcess => RET_KILL,
        }
    }

    const fn passes(self) -> bool {
        matches!(self, Self::Allow | Self::Log)
    }

    /// Of two the stricter one, as the kernel has it for two filters.
    fn stricter(self, other: Self) -> Self {
        let rank = |r: Self| match r {
            Self::KillProcess => 0,
            Self::KillThread => 1,
            Self::Trap => 2,
            Self::Errno(_) => 3,
            Self::Log => 4,
            Self::Allow => 5,
        };
        if rank(self) <= rank(other) {
            self
        } else {
            other
        }
    }
}

/// How an argument is compared: all 64 bits, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `>`
    More,
    /// `& mask ==`
    Masked(u64),
}

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Compare {
    /// Argument, 0..=5.
    pub arg: u8,
    /// How.
    pub op: Op,
    /// With what.
    pub value: u64,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// This.
    Return(Return),
    /// What rkt's default list does.
    AsDefault,
}

/// One rule: names, and comparisons that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRule {
    /// System calls.
    pub names: Vec<String>,
    /// What they get.
    pub effect: Effect,
    /// When; always without any.
    pub args: Vec<Compare>,
}

/// A list. Rules with comparisons are asked in order, then the strictest of those without, then
/// the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// What a call gets that no rule is about.
    pub default: Return,
    /// The rules.
    pub rules: Vec<ListRule>,
}

/// What is opened of the floor, or closed beyond it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Openings {
    /// Socket families that can be made.
    pub families: Vec<u32>,
    /// Whether user namespaces may be nested.
    pub nested: bool,
}

impl Default for Openings {
    fn default() -> Self {
        Self {
            families: FAMILIES.to_vec(),
            nested: false,
        }
    }
}

impl Openings {
    fn socket(&self) -> [Test<'_>; 3] {
        [
            Test::Among {
                arg: 0,
                values: &self.families,
                errno: EAFNOSUPPORT,
            },
            Test::Only {
                arg: 0,
                value: AF_NETLINK,
            },
            Test::Among {
                arg: 2,
                values: NETLINK_PROTOCOLS,
                errno: EPROTONOSUPPORT,
            },
        ]
    }

    fn apply<'a>(&self, table: &mut [Action<'a>], arch: Arch, socket: &'a [Test<'a>]) {
        let own = self.families != FAMILIES;
        for (name, number) in arch.numbers() {
            let Some(slot) = table.get_mut(*number as usize) else {
                continue;
            };
            match *name {
                "socket" | "socketpair" if own => *slot = Action::Args(socket),
                "clone" | "unshare" | "chroot" if self.nested => *slot = Action::Allow,
                _ => {}
            }
        }
    }
}

/// How far a list may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// As far as the floor lets it.
    Floor,
    /// Not beyond rkt's default list.
    Default,
}

/// What one number gets.
#[derive(Debug, Clone, PartialEq)]
struct Decision<'a> {
    alternatives: Vec<(Vec<Compare>, Return)>,
    last: Return,
    floor: Action<'a>,
}

/// Names of a list that no architecture has as a system call.
pub fn unknown(list: &List) -> Vec<&str> {
    let known = |name: &str| {
        let archs = [Arch::X86_64, Arch::Aarch64];
        archs
            .iter()
            .any(|a| a.numbers().iter().any(|(n, _)| *n == name))
    };
    let names = list.rules.iter().flat_map(|r| &r.names);
    let mut all: Vec<&str> = names.map(String::as_str).filter(|n| !known(n)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether a list lets a call pass, whatever its arguments.
pub fn passes(list: &List, name: &str) -> bool {
    let rules: Vec<&ListRule> = list
        .rules
        .iter()
        .filter(|r| r.names.iter().any(|n| n == name))
        .collect();
    let d = decide(list, &rules, Action::Allow, Action::Allow);
    d.last.passes() && d.alternatives.iter().all(|(_, r)| r.passes())
}

/// Calls that a list lets pass by name and the floor refuses all the same.
///
/// # Errors
/// None with rkt's own tables.
pub fn overruled(
    list: &List,
    openings: &Openings,
    caps: u64,
    arch: Arch,
) -> Result<Vec<&'static str>, String> {
    let socket = openings.socket();
    let mut floor = verdicts(&FLOOR, caps, arch)?;
    openings.apply(&mut floor, arch, &socket);
    let named = |name: &str| {
        let own = list.rules.iter().filter(|r| r.args.is_empty());
        let mut own = own.filter(|r| r.names.iter().any(|n| n == name));
        own.any(|r| matches!(r.effect, Effect::Return(given) if given.passes()))
    };
    let refused = |number: &u32| {
        let verdict = floor.get(*number as usize);
        matches!(verdict, Some(Action::Errno(errno)) if *errno != ENOSYS)
    };
    let all = arch.numbers().iter();
    let all = all.filter(|(name, number)| refused(number) && named(name));
    Ok(all.map(|(name, _)| *name).collect())
}

fn decide<'a>(
    list: &List,
    rules: &[&ListRule],
    floor: Action<'a>,
    default: Action<'a>,
) -> Decision<'a> {
    if floor == Action::Errno(ENOSYS) {
        return Decision {
            alternatives: Vec::new(),
            last: Return::Errno(ENOSYS),
            floor: Action::Allow,
        };
    }
    let mut alternatives = Vec::new();
    let mut last: Option<Return> = None;
    let mut floor = floor;
    for rule in rules {
        let given = match rule.effect {
            Effect::Return(given) => given,
            Effect::AsDefault => {
                floor = default;
                Return::Allow
            }
        };
        if rule.args.is_empty() {
            last = Some(last.map_or(given, |l| l.stricter(given)));
        } else {
            alternatives.push((rule.args.clone(), given));
        }
    }
    Decision {
        alternatives,
        last: last.unwrap_or(list.default),
        floor,
    }
}

/// Compiles a list for an app that is granted `caps` (bits); without one, the default with what
/// is opened.
///
/// # Errors
/// When the program grows out of what BPF can jump over.
pub fn compile(
    list: Option<&List>,
    within: Within,
    openings: &Openings,
    caps: u64,
    arch: Arch,
) -> Result<Vec<Instruction>, String> {
    let socket = openings.socket();
    let mut default = verdicts(&DEFAULT, caps, arch)?;
    openings.apply(&mut default, arch, &socket);
    let above = Action::Errno(ENOSYS);
    let Some(list) = list else {
        return assemble(&default, above, arch, |out, action| out.leaf(action));
    };
    let mut floor = match within {
        Within::Floor => verdicts(&FLOOR, caps, arch)?,
        Within::Default => default.clone(),
    };
    openings.apply(&mut floor, arch, &socket);
    let mut rules: BTreeMap<&str, Vec<&ListRule>> = BTreeMap::new();
    for rule in &list.rules {
        for name in &rule.names {
            rules.entry(name).or_default().push(rule);
        }
    }
    // Numbers in the gaps of the table are no calls: they stay ENOSYS.
    let mut decisions = vec![Decision {
        alternatives: Vec::new(),
        last: Return::Errno(ENOSYS),
        floor: Action::Allow,
    }];
    let mut table = vec![0usize; floor.len()];
    for (name, number) in arch.numbers() {
        let at = *number as usize;
        let (Some(slot), Some(floor), Some(default)) =
            (table.get_mut(at), floor.get(at), default.get(at))
        else {
            continue;
        };
        let own = rules.get(name).map_or(&[][..], Vec::as_slice);
        let decision = decide(list, own, *floor, *default);
        *slot = match decisions.iter().position(|d| *d == decision) {
            Some(at) => at,
            None => {
                decisions.push(decision);
                decisions.len() - 1
            }
        };
    }
    assemble(&table, 0, arch, |out, at| match decisions.get(at) {
        Some(decision) => leaf(out, decision),
        None => Err("a call without a decision".to_owned()),
    })
}

fn leaf(out: &mut Backwards, decision: &Decision<'_>) -> Result<Label, String> {
    let mut next = give(out, decision.last, decision.floor)?;
    for (compares, given) in decision.alternatives.iter().rev() {
        let mut hit = give(out, *given, decision.floor)?;
        for compare in compares.iter().rev() {
            next = out.near(next);
            hit = out.near(hit);
            next = out.near(next);
            hit = one(out, *compare, hit, next)?;
        }
        next = hit;
    }
    Ok(next)
}

/// The entry of what the list gives a call, with the floor below what passes.
fn give(out: &mut Backwards, given: Return, floor: Action<'_>) -> Result<Label, String> {
    match (given.passes(), floor) {
        (true, Action::Errno(errno)) => Ok(out.verdict(RET_ERRNO | u32::from(errno))),
        (true, Action::Args(tests)) => out.tests(tests, given.value()),
        _ => Ok(out.verdict(given.value())),
    }
}

/// One comparison of 64 bits in two halves; both architectures are little-endian.
fn one(out: &mut Backwards, c: Compare, hit: Label, miss: Label) -> Result<Label, String> {
    if c.arg > 5 {
        return Err(format!("a system call has no argument {}", c.arg));
    }
    let (low, high) = (c.value as u32, (c.value >> 32) as u32);
    match c.op {
        Op::Equal => out.both_halves(c.arg, None, (low, high), hit, miss),
        Op::NotEqual => out.both_halves(c.arg, None, (low, high), miss, hit),
        Op::Masked(mask) => {
            let mask = (mask as u32, (mask >> 32) as u32);
            out.both_halves(c.arg, Some(mask), (low, high), hit, miss)
        }
        Op::AtLeast => out.halves_in_order(c.arg, true, (low, high), hit, miss),
        Op::Less => out.halves_in_order(c.arg, true, (low, high), miss, hit),
        Op::More => out.halves_in_order(c.arg, false, (low, high), hit, miss),
        Op::AtMost => out.halves_in_order(c.arg, false, (low, high), miss, hit),
    }
}
