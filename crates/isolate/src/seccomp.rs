//! seccomp: which system calls an app may make.
//!
//! [`DEFAULT`] is a table of names; [`default_program`] is it compiled, at build time for the
//! usual capabilities. Loading is `rkt_sys::seccomp::load`'s, after the fork.

mod aarch64;
pub mod compile;
pub mod profile;
mod x86_64;

pub use compile::{Arch, Instruction};
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
    let fail = |because: String| {
        Error::new(Kind::Request, because).while_doing("compile a seccomp profile")
    };
    let program = compile::compile(profile, caps.0, NATIVE).map_err(fail)?;
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

#[cfg(test)]
mod tests;
