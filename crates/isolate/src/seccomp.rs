//! seccomp: which system calls an app may make.
//!
//! [`DEFAULT`] is a table of names; [`default_program`] is it compiled, at build time for the
//! usual capabilities. Loading is `rkt_sys::seccomp::load`'s, after the fork.

mod aarch64;
pub mod compile;
pub mod families;
mod floor;
mod init;
pub mod list;
pub mod profile;
pub mod sets;
pub mod trace;
mod x86_64;

pub use compile::{Arch, Instruction};
pub use floor::FLOOR;
pub use init::program as init_program;
pub use list::{List, Openings, Within};
pub use profile::{Action, DEFAULT, Profile, Rule, Test};

use crate::error::{Error, Kind};
use rkt_spec::capability::CapSet;
use std::borrow::Cow;

/// The default profile for apps whose capabilities it does not look at.
static COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/default.bpf"));

/// The architecture of this build.
pub const NATIVE: Arch = if cfg!(target_arch = "aarch64") {
    Arch::Aarch64
} else {
    Arch::X86_64
};

/// Compiles a profile for an app that is granted `caps`, for this architecture: `sock_filter`s
/// of 8 bytes in host order. Pure, below a millisecond.
///
/// # Errors
/// When the profile names a system call that no architecture has, or grows beyond the kernel's
/// 4096 instructions.
pub fn compile(profile: &Profile, caps: CapSet) -> Result<Vec<u8>, Error> {
    finished(compile::compile(profile, caps.0, NATIVE))
}

fn finished(program: Result<Vec<Instruction>, String>) -> Result<Vec<u8>, Error> {
    let fail = |because: String| {
        Error::new(Kind::Request, because).while_doing("compile a seccomp profile")
    };
    let program = program.map_err(fail)?;
    if program.len() > rkt_sys::seccomp::MAX_INSTRUCTIONS {
        return Err(fail(format!(
            "{} instructions are more than the kernel's {}",
            program.len(),
            rkt_sys::seccomp::MAX_INSTRUCTIONS
        )));
    }
    Ok(compile::bytes(&program))
}

/// Capabilities that change what the default profile allows.
pub fn conditions(profile: &Profile) -> CapSet {
    CapSet(profile.rules.iter().fold(0, |all, rule| all | rule.needs))
}

/// The default profile for an app that is granted `caps`; compiled at build time unless one of
/// them matters.
///
/// # Errors
/// As [`compile()`].
pub fn default_program(caps: CapSet) -> Result<Cow<'static, [u8]>, Error> {
    if caps.0 & conditions(&DEFAULT).0 == 0 {
        Ok(Cow::Borrowed(COMPILED))
    } else {
        compile(&DEFAULT, caps).map(Cow::Owned)
    }
}

/// A program other than the default one: a list of the user's or an image's, families added,
/// nesting allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Special<'a> {
    /// The list; `None` is the default one.
    pub list: Option<&'a List>,
    /// How far it may go.
    pub within: Within,
    /// What is opened of the floor.
    pub openings: &'a Openings,
    /// Capabilities of the app.
    pub caps: CapSet,
}

impl Special<'_> {
    /// What the program depends on, for a cache: equal keys are equal programs.
    pub fn key(&self) -> Vec<u8> {
        let caps = self.caps.0 & (conditions(&DEFAULT).0 | conditions(&FLOOR).0);
        let mut key = format!(
            "rkt seccomp 1 {NATIVE:?} {caps:x} {:?} {:?} {:?} {:?}",
            self.within, self.openings, self.list, FLOOR
        )
        .into_bytes();
        key.extend_from_slice(COMPILED);
        key
    }

    /// Compiles it. Pure; some milliseconds at most.
    ///
    /// # Errors
    /// When it would be longer than what the kernel takes.
    pub fn compile(&self) -> Result<Vec<u8>, Error> {
        finished(list::compile(
            self.list,
            self.within,
            self.openings,
            self.caps.0,
            NATIVE,
        ))
    }
}

#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod tests;
