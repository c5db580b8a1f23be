//! The compiler: a profile and a set of capabilities become a BPF program.
//!
//! The kernel checks, translates and (for its cache of always-allowed calls) runs a program
//! once for each call number when it is loaded, so the shape decides what a start costs: a
//! binary search over ranges of numbers with one verdict, not a list of comparisons.
//!
//! This file is compiled into the build script too: it names nothing of the crate but its
//! sibling tables.

use super::profile::{Action, Profile, Test};
use super::{aarch64, x86_64};

/// An architecture that programs are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64 without x32.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// `AUDIT_ARCH_*` of the calls that pass.
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Names and numbers of its system calls.
    pub const fn numbers(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::X86_64 => x86_64::NUMBERS,
            Self::Aarch64 => aarch64::NUMBERS,
        }
    }
}

/// One instruction (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Constant.
    pub k: u32,
}

/// `BPF_LD | BPF_W | BPF_ABS`.
pub const LOAD: u16 = 0x20;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
pub const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGE | BPF_K`.
pub const JUMP_AT_LEAST: u16 = 0x35;
/// `BPF_JMP | BPF_JSET | BPF_K`.
pub const JUMP_BITS: u16 = 0x45;
/// `BPF_JMP | BPF_JGT | BPF_K`.
pub const JUMP_ABOVE: u16 = 0x25;
/// `BPF_ALU | BPF_AND | BPF_K`.
pub const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
pub const JUMP: u16 = 0x05;
/// `BPF_RET | BPF_K`.
pub const RETURN: u16 = 0x06;

/// `SECCOMP_RET_ALLOW`.
pub const RET_ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO`; the errno in the low 16 bits.
pub const RET_ERRNO: u32 = 0x0005_0000;
/// `SECCOMP_RET_KILL_PROCESS`.
pub const RET_KILL: u32 = 0x8000_0000;

/// Offset of the call's number in `struct seccomp_data`.
pub const DATA_NUMBER: u32 = 0;
/// Offset of its architecture.
pub const DATA_ARCH: u32 = 4;
/// Offset of its first argument; 8 bytes each.
pub const DATA_ARGS: u32 = 16;

/// What each number gets: verdicts of 0, 1, ... up to the highest number that is named in the
/// architecture's table. Above it and in its gaps, `ENOSYS`.
pub fn verdicts(profile: &Profile, caps: u64, arch: Arch) -> Result<Vec<Action<'static>>, String> {
    let numbers = arch.numbers();
    let top = numbers.last().map_or(0, |(_, n)| *n as usize);
    let mut table = vec![Action::Errno(super::profile::ENOSYS); top + 1];
    for (_, number) in numbers {
        if let Some(slot) = table.get_mut(*number as usize) {
            *slot = profile.other;
        }
    }
    for rule in profile.rules {
        if rule.needs != 0 && rule.needs & caps == 0 {
            continue;
        }
        for name in rule.names {
            let Some((_, number)) = numbers.iter().find(|(n, _)| n == name) else {
                let elsewhere = [Arch::X86_64, Arch::Aarch64]
                    .iter()
                    .any(|a| a.numbers().iter().any(|(n, _)| n == name));
                if elsewhere {
                    continue;
                }
                return Err(format!("no architecture has a system call `{name}`"));
            };
            if let Some(slot) = table.get_mut(*number as usize) {
                *slot = rule.action;
            }
        }
    }
    Ok(table)
}

/// Compiles `profile` for an app that is granted `caps` (bits).
///
/// # Errors
/// When a name is no system call of any architecture, or a list of tests is malformed.
pub fn compile(profile: &Profile, caps: u64, arch: Arch) -> Result<Vec<Instruction>, String> {
    let table = verdicts(profile, caps, arch)?;
    assemble(
        &table,
        Action::Errno(super::profile::ENOSYS),
        arch,
        |out, action| out.leaf(action),
    )
}

/// Puts a program together from what each number gets; `above` is for numbers above the table:
/// those of a newer kernel, and all of x32 (bit 30 set).
pub fn assemble<A: Copy + PartialEq>(
    table: &[A],
    above: A,
    arch: Arch,
    mut leaf: impl FnMut(&mut Backwards, A) -> Result<Label, String>,
) -> Result<Vec<Instruction>, String> {
    let mut ranges: Vec<(u32, A)> = Vec::new();
    for (number, action) in table.iter().enumerate() {
        if ranges.last().is_none_or(|(_, last)| last != action) {
            let number = u32::try_from(number).map_err(|_| "too many system calls")?;
            ranges.push((number, *action));
        }
    }
    let end = u32::try_from(table.len()).map_err(|_| "too many system calls")?;
    if ranges.last().is_none_or(|(_, last)| *last != above) {
        ranges.push((end, above));
    }
    let mut out = Backwards::default();
    let tree = out.tree(&ranges, &mut leaf)?;
    out.jump_to(tree);
    out.push(LOAD, 0, 0, DATA_NUMBER);
    // A foreign architecture gets no answer at all: its numbers mean other calls.
    let load = out.here();
    let kill = out.verdict(RET_KILL);
    let fail = out.distance(kill)?;
    let pass = out.distance(load)?;
    out.push(JUMP_EQUAL, pass, fail, arch.audit());
    out.push(LOAD, 0, 0, DATA_ARCH);
    Ok(out.finish())
}

/// The program as the kernel takes it: 8 bytes an instruction, host order.
pub fn bytes(program: &[Instruction]) -> Vec<u8> {
    let mut out = Vec::with_capacity(program.len() * 8);
    for i in program {
        out.extend_from_slice(&i.code.to_ne_bytes());
        out.push(i.jt);
        out.push(i.jf);
        out.extend_from_slice(&i.k.to_ne_bytes());
    }
    out
}

/// An instruction by how many instructions follow it, itself counted: stable while a program
/// grows at its front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

/// A program under construction, last instruction first. Jumps only lead forward in BPF, so
/// building backwards every target is known when its jump is made.
#[derive(Debug, Default)]
pub struct Backwards {
    reversed: Vec<Instruction>,
    /// The nearest place that returns each verdict.
    verdicts: Vec<(u32, Label)>,
}

impl Backwards {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jt, jf, k });
        self.here()
    }

    /// The instruction pushed last, the first of the program so far.
    fn here(&self) -> Label {
        Label(self.reversed.len())
    }

    /// What an instruction pushed now has to skip to reach `label`.
    fn gap(&self, label: Label) -> usize {
        self.reversed.len() - label.0
    }

    fn distance(&self, label: Label) -> Result<u8, String> {
        u8::try_from(self.gap(label)).map_err(|_| "a jump is too long".to_owned())
    }

    /// A place that returns `value`, near enough for the next few jumps; made here when there is
    /// none.
    pub fn verdict(&mut self, value: u32) -> Label {
        if let Some((_, label)) = self.verdicts.iter().find(|(v, _)| *v == value)
            && self.gap(*label) < 240
        {
            return *label;
        }
        let label = self.push(RETURN, 0, 0, value);
        self.verdicts.retain(|(v, _)| *v != value);
        self.verdicts.push((value, label));
        label
    }

    /// Falls through to `label`, by a jump unless it comes next anyway.
    fn jump_to(&mut self, label: Label) -> Label {
        match self.gap(label) {
            0 => label,
            gap => {
                let gap = u32::try_from(gap).unwrap_or(u32::MAX);
                self.push(JUMP, 0, 0, gap)
            }
        }
    }

    /// `label`, or a place near here that jumps there.
    pub fn near(&mut self, label: Label) -> Label {
        if self.gap(label) < 240 {
            label
        } else {
            self.jump_to(label)
        }
    }

    /// Binary search over ranges (first number, action); returns its entry.
    fn tree<A: Copy>(
        &mut self,
        ranges: &[(u32, A)],
        leaf: &mut impl FnMut(&mut Self, A) -> Result<Label, String>,
    ) -> Result<Label, String> {
        match ranges {
            [] => Err("a profile without calls".to_owned()),
            [(_, action)] => leaf(self, *action),
            _ => {
                let (left, right) = ranges.split_at(ranges.len() / 2);
                let split = right.first().map_or(0, |(n, _)| *n);
                let high = self.tree(right, leaf)?;
                let low = self.tree(left, leaf)?;
                // A detour for one branch may push the other one out of reach, so look twice.
                let high = self.near(high);
                let low = self.near(low);
                let high = self.near(high);
                let (jt, jf) = (self.distance(high)?, self.distance(low)?);
                Ok(self.push(JUMP_AT_LEAST, jt, jf, split))
            }
        }
    }

    /// What `action` does with a call; returns its entry.
    pub fn leaf(&mut self, action: Action<'_>) -> Result<Label, String> {
        match action {
            Action::Allow => Ok(self.verdict(RET_ALLOW)),
            Action::Errno(errno) => Ok(self.verdict(RET_ERRNO | u32::from(errno))),
            Action::Args(tests) => self.tests(tests, RET_ALLOW),
        }
    }

    /// A list of tests; who passes them gets `pass`.
    pub fn tests(&mut self, tests: &[Test<'_>], pass: u32) -> Result<Label, String> {
        let mut next = self.verdict(pass);
        for test in tests.iter().rev() {
            next = self.test(*test, next, pass)?;
        }
        Ok(next)
    }

    /// Whether both halves of an argument, masked first, are these; returns the entry.
    pub fn both_halves(
        &mut self,
        arg: u8,
        mask: Option<(u32, u32)>,
        (low, high): (u32, u32),
        hit: Label,
        miss: Label,
    ) -> Result<Label, String> {
        let (jt, jf) = (self.distance(hit)?, self.distance(miss)?);
        self.push(JUMP_EQUAL, jt, jf, low);
        if let Some((mask, _)) = mask {
            self.push(AND, 0, 0, mask);
        }
        let then = self.load_half(arg, 0);
        let (jt, jf) = (self.distance(then)?, self.distance(miss)?);
        self.push(JUMP_EQUAL, jt, jf, high);
        if let Some((_, mask)) = mask {
            self.push(AND, 0, 0, mask);
        }
        Ok(self.load_half(arg, 4))
    }

    /// Whether an argument is above a value, or equal to it where `equal` says so; returns the
    /// entry.
    pub fn halves_in_order(
        &mut self,
        arg: u8,
        equal: bool,
        (low, high): (u32, u32),
        hit: Label,
        miss: Label,
    ) -> Result<Label, String> {
        let code = if equal { JUMP_AT_LEAST } else { JUMP_ABOVE };
        let (jt, jf) = (self.distance(hit)?, self.distance(miss)?);
        self.push(code, jt, jf, low);
        let then = self.load_half(arg, 0);
        let (jt, jf) = (self.distance(then)?, self.distance(miss)?);
        let same = self.push(JUMP_EQUAL, jt, jf, high);
        let (jt, jf) = (self.distance(hit)?, self.distance(same)?);
        self.push(JUMP_ABOVE, jt, jf, high);
        Ok(self.load_half(arg, 4))
    }

    fn load_half(&mut self, arg: u8, half: u32) -> Label {
        self.push(LOAD, 0, 0, DATA_ARGS + 8 * u32::from(arg) + half)
    }

    /// One test that goes on at `next`.
    fn test(&mut self, test: Test<'_>, next: Label, pass: u32) -> Result<Label, String> {
        let (arg, code, values, hit, miss) = match test {
            Test::Among { arg, values, errno } => {
                let fail = self.verdict(RET_ERRNO | u32::from(errno));
                (arg, JUMP_EQUAL, values, next, fail)
            }
            Test::NotAmong { arg, values, errno } => {
                let fail = self.verdict(RET_ERRNO | u32::from(errno));
                (arg, JUMP_EQUAL, values, fail, next)
            }
            Test::NoBits { arg, bits, errno } => {
                let fail = self.verdict(RET_ERRNO | u32::from(errno));
                let (jt, jf) = (self.distance(fail)?, self.distance(next)?);
                self.push(JUMP_BITS, jt, jf, bits);
                return self.load_argument(arg);
            }
            Test::Only { arg, value } => {
                let allow = self.verdict(pass);
                let (jt, jf) = (self.distance(next)?, self.distance(allow)?);
                self.push(JUMP_EQUAL, jt, jf, value);
                return self.load_argument(arg);
            }
        };
        let mut otherwise = miss;
        for value in values.iter().rev() {
            let (jt, jf) = (self.distance(hit)?, self.distance(otherwise)?);
            otherwise = self.push(code, jt, jf, *value);
        }
        // With no value at all nothing was compared: the load then leads straight to `miss`.
        if values.is_empty() {
            self.jump_to(miss);
        }
        self.load_argument(arg)
    }

    fn load_argument(&mut self, arg: u8) -> Result<Label, String> {
        if arg > 5 {
            return Err(format!("a system call has no argument {arg}"));
        }
        // Both architectures are little-endian: the low half comes first.
        Ok(self.push(LOAD, 0, 0, DATA_ARGS + 8 * u32::from(arg)))
    }

    fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }
}
