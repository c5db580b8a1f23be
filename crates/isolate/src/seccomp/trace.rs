//! Denials told: the same filter with a question instead of an error, and what the answer is.
//!
//! A traced app waits at a refused call until its supervisor has noted it and given the error
//! that the filter would have given. Nothing is decided anew: the answer is the filter's own, from
//! numbers that the kernel copied, so that no other thread can change what was looked at.

use super::compile::{
    AND, DATA_ARCH, DATA_ARGS, DATA_NUMBER, JUMP, JUMP_ABOVE, JUMP_AT_LEAST, JUMP_BITS, JUMP_EQUAL,
    LOAD, RET_ALLOW, RET_ERRNO, RET_KILL, RETURN,
};
use super::families;
use super::floor::FLOOR;
use super::profile::{Action, DEFAULT, ENOSYS};
use super::{NATIVE, Rule};
use rkt_spec::capability::CapSet;

/// `SECCOMP_RET_USER_NOTIF`.
const RET_NOTIFY: u32 = 0x7fc0_0000;
/// The high half of a verdict.
const ACTION: u32 = 0xffff_0000;

/// A call as the kernel shows it to a filter (`struct seccomp_data`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Number.
    pub number: u32,
    /// Arguments.
    pub args: [u64; 6],
}

fn instructions(program: &[u8]) -> impl Iterator<Item = (u16, u8, u8, u32)> {
    program.chunks_exact(8).filter_map(|c| {
        let [a, b, jt, jf, k @ ..] = *c.first_chunk::<8>()?;
        Some((u16::from_ne_bytes([a, b]), jt, jf, u32::from_ne_bytes(k)))
    })
}

/// The program with a question in place of each error but ENOSYS.
pub fn traced(program: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(program.len());
    for (code, jt, jf, k) in instructions(program) {
        let error = code == RETURN && k & ACTION == RET_ERRNO && k != RET_ERRNO | u32::from(ENOSYS);
        let k = if error { RET_NOTIFY } else { k };
        out.extend_from_slice(&code.to_ne_bytes());
        out.extend_from_slice(&[jt, jf]);
        out.extend_from_slice(&k.to_ne_bytes());
    }
    out
}

/// What a program of rkt's compiler answers: jumps lead forward only, so it ends. What is no
/// such program kills.
pub fn verdict(program: &[u8], call: &Call) -> u32 {
    let (mut a, mut at) = (0u32, 0usize);
    while let Some((code, jt, jf, k)) = program.get(8 * at..).and_then(|p| instructions(p).next()) {
        at += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            LOAD => {
                a = match k {
                    DATA_NUMBER => call.number,
                    DATA_ARCH => call.arch,
                    k if k >= DATA_ARGS => {
                        let (arg, half) = ((k - DATA_ARGS) / 8, (k - DATA_ARGS) % 8);
                        let arg = call.args.get(arg as usize).copied().unwrap_or(0);
                        (arg >> (8 * half)) as u32
                    }
                    _ => return RET_KILL,
                }
            }
            AND => a &= k,
            JUMP_EQUAL => at += jump(a == k),
            JUMP_AT_LEAST => at += jump(a >= k),
            JUMP_ABOVE => at += jump(a > k),
            JUMP_BITS => at += jump(a & k != 0),
            JUMP => at = at.saturating_add(k as usize),
            RETURN => return k,
            _ => return RET_KILL,
        }
    }
    RET_KILL
}

/// The error that a refused call gets; `None` when the program does not refuse it by an error.
pub fn errno(program: &[u8], call: &Call) -> Option<u16> {
    let value = verdict(program, call);
    (value & ACTION == RET_ERRNO).then_some(value as u16)
}

/// Whether a program lets a call pass whose arguments do not matter to it.
pub fn allows(program: &[u8], name: &str) -> bool {
    let number = NATIVE.numbers().iter().find(|(n, _)| *n == name);
    number.is_some_and(|(_, number)| {
        let call = Call {
            arch: NATIVE.audit(),
            number: *number,
            args: [0; 6],
        };
        verdict(program, &call) == RET_ALLOW
    })
}

/// Which argument tells calls of one number apart; `None` when none does.
pub fn telling(number: u32) -> Option<usize> {
    match name(number) {
        "socket" | "socketpair" | "clone" | "unshare" | "prctl" | "personality" => Some(0),
        "ioctl" => Some(1),
        _ => None,
    }
}

/// Name of a number.
pub fn name(number: u32) -> &'static str {
    let found = NATIVE.numbers().iter().find(|(_, n)| *n == number);
    found.map_or("unknown", |(name, _)| name)
}

/// Why a call was refused, and the flag that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The rule.
    pub rule: String,
    /// What the user could say.
    pub flag: String,
}

fn needs(rules: &[Rule], name: &str) -> CapSet {
    let open = rules
        .iter()
        .filter(|r| r.action == Action::Allow && r.names.contains(&name));
    CapSet(open.fold(0, |all, r| all | r.needs))
}

/// Says why a call is refused; `arg` is the telling argument.
pub fn why(number: u32, arg: u64) -> Why {
    let name = name(number);
    let why = |rule: String, flag: String| Why { rule, flag };
    match name {
        "socket" | "socketpair" => {
            let family = arg as u32;
            if family == super::profile::AF_NETLINK {
                return why(
                    "this netlink protocol is none of ROUTE, SOCK_DIAG, KOBJECT_UEVENT, GENERIC"
                        .into(),
                    "--seccomp=unconfined".into(),
                );
            }
            let word = families::words(&[family]);
            return why(
                format!("the socket family {word} ({family}) is not open"),
                format!("--socket-family=+AF_{word}"),
            );
        }
        "clone" | "unshare" => {
            return why(
                "an app makes no namespaces".into(),
                "--userns-nested=N".into(),
            );
        }
        "ioctl" => {
            return why(
                "it types into a terminal".into(),
                "--seccomp=unconfined".into(),
            );
        }
        _ => {}
    }
    let floor = FLOOR
        .rules
        .iter()
        .any(|r| r.needs == 0 && r.names.contains(&name));
    let caps = needs(DEFAULT.rules, name);
    let all: Vec<&str> = caps.names().collect();
    match (all.first(), floor) {
        (Some(first), _) => why(
            format!("it is for apps with {}", all.join(" or ")),
            format!("--caps-retain=..,{first}"),
        ),
        (None, true) => why(
            "rkt always refuses it".into(),
            "--seccomp=unconfined".into(),
        ),
        (None, false) => why(
            "the list of system calls does not have it".into(),
            "--seccomp=FILE or mode=remove,..".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::compile::{bytes, compile};

    fn call(name: &str, args: [u64; 6]) -> Call {
        let number = NATIVE.numbers().iter().find(|(n, _)| *n == name).unwrap().1;
        Call {
            arch: NATIVE.audit(),
            number,
            args,
        }
    }

    #[test]
    fn a_traced_program_asks_where_the_other_refuses() {
        let plain = bytes(&compile(&DEFAULT, 0, NATIVE).unwrap());
        let asks = traced(&plain);
        assert_eq!(asks.len(), plain.len());
        for (name, _) in NATIVE.numbers() {
            for first in [0, 2, 40] {
                let call = call(name, [first, 0x5412, 0, 0, 0, 0]);
                let (before, after) = (verdict(&plain, &call), verdict(&asks, &call));
                match errno(&plain, &call) {
                    Some(e) if e != ENOSYS => assert_eq!(after, RET_NOTIFY, "{name}"),
                    _ => assert_eq!(after, before, "{name}"),
                }
            }
        }
        assert_eq!(errno(&plain, &call("mount", [0; 6])), Some(1));
        assert_eq!(
            errno(&plain, &call("socket", [40, 0, 0, 0, 0, 0])),
            Some(97)
        );
        assert!(allows(&plain, "sendmsg") && !allows(&plain, "mount"));
        let foreign = Call {
            arch: 1,
            ..call("read", [0; 6])
        };
        assert_eq!(verdict(&plain, &foreign), RET_KILL);
        // Nonsense ends too.
        assert_eq!(verdict(&[0xff; 24], &foreign), RET_KILL);
        assert_eq!(verdict(&[], &foreign), RET_KILL);
    }

    #[test]
    fn every_refusal_has_a_reason_and_a_flag() {
        let number = |name: &str| call(name, [0; 6]).number;
        for (name, arg, word, flag) in [
            ("socket", 40, "VSOCK", "--socket-family=+AF_VSOCK"),
            ("unshare", 0, "namespaces", "--userns-nested"),
            ("chroot", 0, "SYS_CHROOT", "--caps-retain=..,SYS_CHROOT"),
            ("settimeofday", 0, "SYS_TIME", "--caps-retain"),
            ("mount", 0, "always", "unconfined"),
            ("keyctl", 0, "always", "unconfined"),
            ("vmsplice", 0, "list", "mode=remove"),
            ("modify_ldt", 0, "list", "--seccomp=FILE"),
        ] {
            let told = why(number(name), arg);
            assert!(
                told.rule.contains(word) && told.flag.contains(flag),
                "{name}: {told:?}"
            );
        }
    }
}
