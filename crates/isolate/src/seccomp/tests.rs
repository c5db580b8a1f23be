//! The compiled program against the table it was compiled from, call by call, by an
//! interpreter of our own; the kernel's verdict is in `tests/kernel.rs`.

use super::compile::{
    self, AND, DATA_ARCH, DATA_ARGS, DATA_NUMBER, JUMP, JUMP_ABOVE, JUMP_AT_LEAST, JUMP_BITS,
    JUMP_EQUAL, LOAD, RET_ALLOW, RET_ERRNO, RET_KILL, RETURN, verdicts,
};
use super::*;

#[derive(Clone, Copy)]
pub(super) struct Call {
    arch: u32,
    number: u32,
    args: [u64; 6],
}

/// What the kernel would return, and how many instructions it took.
pub(super) fn run(program: &[Instruction], call: Call) -> (u32, usize) {
    let (mut a, mut at, mut steps) = (0u32, 0usize, 0usize);
    loop {
        let i = program[at];
        steps += 1;
        at += 1;
        let jump = |holds: bool| usize::from(if holds { i.jt } else { i.jf });
        match i.code {
            LOAD => {
                a = match i.k {
                    DATA_NUMBER => call.number,
                    DATA_ARCH => call.arch,
                    k => {
                        let (arg, half) = ((k - DATA_ARGS) / 8, (k - DATA_ARGS) % 8);
                        (call.args[arg as usize] >> (8 * half)) as u32
                    }
                }
            }
            AND => a &= i.k,
            JUMP_ABOVE => at += jump(a > i.k),
            JUMP_EQUAL => at += jump(a == i.k),
            JUMP_AT_LEAST => at += jump(a >= i.k),
            JUMP_BITS => at += jump(a & i.k != 0),
            JUMP => at += i.k as usize,
            RETURN => return (i.k, steps),
            other => panic!("instruction {other:#x}"),
        }
    }
}

pub(super) fn native(number: u32, args: [u64; 6]) -> Call {
    Call {
        arch: NATIVE.audit(),
        number,
        args,
    }
}

pub(super) fn number(name: &str) -> u32 {
    let found = NATIVE.numbers().iter().find(|(n, _)| *n == name);
    found.unwrap_or_else(|| panic!("{name}")).1
}

/// What the table says, computed without a compiler.
fn expected(action: Action<'_>, args: [u64; 6]) -> u32 {
    let fail = |errno: u16| RET_ERRNO | u32::from(errno);
    let tests = match action {
        Action::Allow => return RET_ALLOW,
        Action::Errno(errno) => return fail(errno),
        Action::Args(tests) => tests,
    };
    for test in tests {
        match *test {
            Test::Among { arg, values, errno } => {
                if !values.contains(&(args[arg as usize] as u32)) {
                    return fail(errno);
                }
            }
            Test::NotAmong { arg, values, errno } => {
                if values.contains(&(args[arg as usize] as u32)) {
                    return fail(errno);
                }
            }
            Test::NoBits { arg, bits, errno } => {
                if args[arg as usize] as u32 & bits != 0 {
                    return fail(errno);
                }
            }
            Test::Only { arg, value } => {
                if args[arg as usize] as u32 != value {
                    return RET_ALLOW;
                }
            }
        }
    }
    RET_ALLOW
}

/// First arguments worth trying: every value that a test names, its neighbours, high halves.
fn interesting() -> Vec<u64> {
    let mut values: Vec<u64> = (0..48).collect();
    for v in [
        0x5412u64,
        0x541c,
        0x2_0000,
        0xffff_ffff,
        0x7e02_0000,
        0x1000_0000,
        0x2_0000,
        0x80,
        0x11,
    ] {
        values.extend([v - 1, v, v + 1, v | 1 << 32, v | 0xdead_beef << 32]);
    }
    values.push(u64::MAX);
    values
}

fn agree(profile: &Profile, caps: u64, arch: Arch) -> usize {
    let program = compile::compile(profile, caps, arch).unwrap();
    let table = verdicts(profile, caps, arch).unwrap();
    let mut longest = 0;
    for number in (0..1024).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0009, u32::MAX]) {
        let unknown = Action::Errno(profile::ENOSYS);
        let action = table.get(number as usize).copied().unwrap_or(unknown);
        let tried: &[u64] = match action {
            Action::Args(_) => &interesting(),
            _ => &[0, 7],
        };
        for first in tried {
            for third in [0, 1, 4, 5, 15, 16, 17, 1 << 32] {
                for args in [
                    [*first, 0, third, 0, 0, 0],
                    [0, *first, third, 0, 0, 0],
                    [*first, *first, third, 0, 0, 0],
                ] {
                    let call = Call {
                        arch: arch.audit(),
                        number,
                        args,
                    };
                    let (got, steps) = run(&program, call);
                    assert_eq!(got, expected(action, args), "call {number} {args:x?}");
                    longest = longest.max(steps);
                }
            }
        }
    }
    assert!(program.len() < 300, "{} instructions", program.len());
    longest
}

#[test]
fn program_and_table_agree_on_every_call() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for caps in [0, crate::defaults::CAPABILITIES.0, CapSet::ALL.0, 1 << 21] {
            let longest = agree(&DEFAULT, caps, arch);
            assert!(longest < 32, "{longest} steps for one call");
        }
    }
}

#[test]
fn the_build_time_program_is_the_default_one() {
    assert_eq!(COMPILED, compile(&DEFAULT, CapSet::EMPTY).unwrap());
    let usual = default_program(crate::defaults::CAPABILITIES).unwrap();
    assert!(matches!(usual, Cow::Borrowed(_)));
    assert_eq!(
        usual,
        compile(&DEFAULT, crate::defaults::CAPABILITIES).unwrap()
    );
    let more = default_program(CapSet::ALL).unwrap();
    assert_ne!(usual, more);
}

#[test]
fn foreign_architectures_are_killed_and_x32_does_not_exist() {
    let program = compile::compile(&DEFAULT, CapSet::ALL.0, NATIVE).unwrap();
    for arch in [0x4000_0003, 0xc000_00b7, 0, u32::MAX] {
        if arch == NATIVE.audit() {
            continue;
        }
        for number in 0..500 {
            let call = Call {
                arch,
                number,
                args: [0; 6],
            };
            assert_eq!(run(&program, call).0, RET_KILL);
        }
    }
    let x32 = native(0x4000_0000 | number("read"), [0; 6]);
    assert_eq!(run(&program, x32).0, RET_ERRNO | 38);
}

#[test]
fn what_the_last_steps_before_exec_need_is_allowed() {
    let program = compile::compile(&DEFAULT, 0, NATIVE).unwrap();
    for name in [
        "capset",
        "capget",
        "setresuid",
        "setresgid",
        "setgroups",
        "execve",
        "execveat",
        "write",
        "close",
        "close_range",
        "exit_group",
        "openat2",
        "prctl",
        "chdir",
        "fchdir",
        "umask",
        "setsid",
        "prlimit64",
        "landlock_restrict_self",
        "seccomp",
        "rt_sigprocmask",
    ] {
        let call = native(number(name), [24, 0, 0, 0, 0, 0]);
        assert_eq!(run(&program, call).0, RET_ALLOW, "{name}");
    }
}

#[test]
fn what_breaks_out_is_refused_whatever_is_granted() {
    let program = compile::compile(&DEFAULT, CapSet::ALL.0, NATIVE).unwrap();
    for name in [
        "mount",
        "umount2",
        "unshare",
        "setns",
        "pivot_root",
        "fsopen",
        "fsmount",
        "fsconfig",
        "fspick",
        "move_mount",
        "open_tree",
        "open_tree_attr",
        "mount_setattr",
        "add_key",
        "request_key",
        "keyctl",
        "userfaultfd",
        "kexec_load",
        "kexec_file_load",
        "swapon",
        "swapoff",
        "vmsplice",
    ] {
        let call = native(number(name), [0; 6]);
        assert_eq!(run(&program, call).0, RET_ERRNO | 1, "{name}");
    }
    for name in [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "clone3",
    ] {
        let call = native(number(name), [0; 6]);
        assert_eq!(run(&program, call).0, RET_ERRNO | 38, "{name}");
    }
}

#[test]
fn arguments_decide() {
    let program = compile::compile(&DEFAULT, 0, NATIVE).unwrap();
    let verdict = |name: &str, a: u64, b: u64, c: u64| {
        let (value, _) = run(&program, native(number(name), [a, b, c, 0, 0, 0]));
        if value == RET_ALLOW {
            0
        } else {
            value & 0xffff
        }
    };
    for (family, want) in [
        (1, 0),
        (2, 0),
        (10, 0),
        (17, 97),
        (38, 97),
        (40, 97),
        (9, 97),
    ] {
        assert_eq!(verdict("socket", family, 2, 0), want, "family {family}");
        assert_eq!(verdict("socketpair", family, 2, 0), want, "pair {family}");
    }
    for protocol in 0..32 {
        let want = if [0, 4, 15, 16].contains(&protocol) {
            0
        } else {
            93
        };
        assert_eq!(
            verdict("socket", 16, 3, protocol),
            want,
            "netlink {protocol}"
        );
    }
    // The kernel looks at the low half only, and so does the filter.
    assert_eq!(verdict("ioctl", 0, 0x1_0000_5412, 0), 1);
    assert_eq!(verdict("ioctl", 0, 0x541c, 0), 1);
    assert_eq!(verdict("ioctl", 0, 0x5413, 0), 0);
    assert_eq!(verdict("clone", 0x11, 0, 0), 0);
    for bit in [
        0x2_0000,
        0x400_0000,
        0x800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        assert_eq!(verdict("clone", 0x11 | bit, 0, 0), 1, "{bit:#x}");
    }
    assert_eq!(verdict("personality", 0xffff_ffff, 0, 0), 0);
    assert_eq!(verdict("personality", 0x4_0000, 0, 0), 1);
    assert_eq!(verdict("prctl", 35, 0, 0), 1);
    assert_eq!(verdict("prctl", 38, 0, 0), 0);
}

#[test]
fn capabilities_open_what_they_are_for() {
    for (cap, name) in [
        (18, "chroot"),
        (19, "kcmp"),
        (25, "settimeofday"),
        (2, "open_by_handle_at"),
    ] {
        let call = native(number(name), [0; 6]);
        let without = compile::compile(&DEFAULT, 0, NATIVE).unwrap();
        assert_eq!(run(&without, call).0, RET_ERRNO | 1, "{name}");
        let with = compile::compile(&DEFAULT, 1 << cap, NATIVE).unwrap();
        assert_eq!(run(&with, call).0, RET_ALLOW, "{name}");
    }
}

#[test]
fn long_programs_still_reach_their_verdicts() {
    // The worst shape: no two neighbours alike, so that there are as many ranges as calls and
    // the jumps of the tree are too long for one byte.
    const NAMES: [&[&str]; 330] = {
        let mut names: [&[&str]; 330] = [&[]; 330];
        let mut i = 0;
        while i < 330 {
            names[i] = std::slice::from_ref(&x86_64::NUMBERS[i].0);
            i += 1;
        }
        names
    };
    static RULES: [Rule; 330] = {
        let mut rules = [Rule {
            names: &[],
            action: Action::Allow,
            needs: 0,
        }; 330];
        let mut i = 0;
        while i < 330 {
            rules[i] = Rule {
                names: NAMES[i],
                action: match i % 3 {
                    0 => Action::Allow,
                    1 => Action::Errno(i as u16 + 1),
                    _ => Action::Args(&[Test::NotAmong {
                        arg: 1,
                        values: &[1, 2, 3],
                        errno: 9,
                    }]),
                },
                needs: 0,
            };
            i += 1;
        }
        rules
    };
    let profile = Profile {
        rules: &RULES,
        other: Action::Errno(1),
    };
    let program = compile::compile(&profile, 0, Arch::X86_64).unwrap();
    assert!(program.len() > 512, "{}", program.len());
    let table = verdicts(&profile, 0, Arch::X86_64).unwrap();
    for number in 0..600u32 {
        let unknown = Action::Errno(profile::ENOSYS);
        let action = table.get(number as usize).copied().unwrap_or(unknown);
        for second in 0..5 {
            let args = [0, second, 0, 0, 0, 0];
            let call = Call {
                arch: Arch::X86_64.audit(),
                number,
                args,
            };
            assert_eq!(run(&program, call).0, expected(action, args), "{number}");
        }
    }
}

#[test]
fn a_name_that_is_no_call_is_refused() {
    static RULES: [Rule; 1] = [Rule {
        names: &["opne"],
        action: Action::Allow,
        needs: 0,
    }];
    let profile = Profile {
        rules: &RULES,
        other: Action::Errno(1),
    };
    assert!(
        compile(&profile, CapSet::EMPTY)
            .unwrap_err()
            .to_string()
            .contains("opne")
    );
}

#[test]
fn numbers_are_ascending_and_names_unique() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let table = arch.numbers();
        assert!(table.windows(2).all(|w| w[0].1 < w[1].1));
        let names: std::collections::HashSet<_> = table.iter().map(|(n, _)| n).collect();
        assert_eq!(names.len(), table.len());
    }
}

#[test]
fn the_default_program_is_short() {
    let program = compile::compile(&DEFAULT, 0, NATIVE).unwrap();
    let all = compile::compile(&DEFAULT, CapSet::ALL.0, NATIVE).unwrap();
    assert!(program.len() <= 200, "{} instructions", program.len());
    assert!(all.len() <= 200, "{} instructions", all.len());
}
