//! Lists: what the program answers beside what the list and the floor say.

use super::list::{Compare, Effect, List, ListRule, Op, Openings, Return, Within, compile};
use super::sets::{self, Mode};
use super::tests::{native, number, run};
use super::*;
use rkt_spec::manifest::SeccompSet;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;

fn errno(n: u32) -> u32 {
    0x0005_0000 | n
}

fn set(names: &[&str], errno: &str) -> SeccompSet {
    SeccompSet {
        set: names.iter().map(|n| (*n).to_owned()).collect(),
        errno: errno.to_owned(),
        by: Default::default(),
    }
}

/// A program of this machine, asked by name and arguments.
struct Asked(Vec<Instruction>);

impl Asked {
    fn of(list: &List, within: Within, caps: u64) -> Self {
        let openings = Openings::default();
        Self(compile(Some(list), within, &openings, caps, NATIVE).unwrap())
    }

    fn set(mode: Mode, names: &[&str], errno: &str) -> Self {
        let list = sets::list(mode, &set(names, errno)).unwrap();
        Self::of(&list, Within::Floor, 0)
    }

    fn call(&self, name: &str, args: [u64; 6]) -> u32 {
        run(&self.0, native(number(name), args)).0
    }

    fn plain(&self, name: &str) -> u32 {
        self.call(name, [0; 6])
    }
}

#[test]
fn a_retain_set_is_exact() {
    let asked = Asked::set(Mode::Retain, &["read", "modify_ldt"], "");
    for (name, want) in [
        ("read", ALLOW),
        ("modify_ldt", ALLOW),
        ("write", ALLOW),
        ("execve", ALLOW),
        ("exit_group", ALLOW),
        ("openat", KILL),
        ("mount", KILL),
        // What does not exist is no reason to die: C libraries try it first.
        ("clone3", errno(38)),
        ("io_uring_setup", errno(38)),
    ] {
        assert_eq!(asked.plain(name), want, "{name}");
    }
    let asked = Asked::set(Mode::Retain, &["read"], "ENOTTY");
    assert_eq!(asked.plain("openat"), errno(25));
}

#[test]
fn a_remove_set_takes_away_and_the_floor_stays() {
    let asked = Asked::set(Mode::Remove, &["chmod"], "EACCES");
    for (name, want) in [
        ("chmod", errno(13)),
        ("read", ALLOW),
        // Wider than the default list, as in the original.
        ("vmsplice", ALLOW),
        ("mount", errno(1)),
        ("unshare", errno(1)),
        ("keyctl", errno(1)),
        ("bpf", errno(1)),
        ("clone3", errno(38)),
    ] {
        assert_eq!(asked.plain(name), want, "{name}");
    }
    assert_eq!(asked.call("socket", [40, 0, 0, 0, 0, 0]), errno(97));
    assert_eq!(asked.call("clone", [0x1000_0000, 0, 0, 0, 0, 0]), errno(1));
    assert_eq!(asked.call("ioctl", [0, 0x5412, 0, 0, 0, 0]), errno(1));
}

#[test]
fn wildcards_are_rkts_own_lists() {
    let white = Asked::set(Mode::Retain, &["@docker/default-whitelist"], "EPERM");
    let default = compile::compile(&DEFAULT, 0, NATIVE).unwrap();
    for (name, n) in NATIVE.numbers() {
        // Newer than docker's list: the default says that they do not exist.
        if name.starts_with("file_") {
            continue;
        }
        for first in [0, 2, 40, 0x2_0000, 0x4_0000, 0x1000_0000] {
            let call = native(*n, [first, 35, 0, 0, 0, 0]);
            assert_eq!(
                run(&white.0, call).0,
                run(&default, call).0,
                "{name} {first:#x}"
            );
        }
    }
    let empty = Asked::set(Mode::Remove, &["@appc.io/empty"], "");
    let black = Asked::set(Mode::Remove, &["@rkt/default-blacklist"], "EPERM");
    for name in ["read", "vmsplice", "mount", "adjtimex"] {
        let call = native(number(name), [0; 6]);
        assert_eq!(empty.plain(name), run(&default, call).0, "{name}");
        assert_eq!(black.plain(name), run(&default, call).0, "{name}");
    }
    let all = Asked::set(Mode::Retain, &["@appc.io/all"], "");
    assert_eq!(
        (all.plain("vmsplice"), all.plain("mount")),
        (ALLOW, errno(1))
    );
    let none = Asked::set(Mode::Retain, &["@appc.io/empty"], "EPERM");
    assert_eq!(
        (none.plain("read"), none.plain("execve")),
        (errno(1), ALLOW)
    );
}

#[test]
fn an_images_list_stays_within_the_default() {
    let list = sets::list(Mode::Remove, &set(&["chmod"], "EPERM")).unwrap();
    let asked = Asked::of(&list, Within::Default, 0);
    assert_eq!(asked.plain("vmsplice"), errno(1));
    assert_eq!(
        (asked.plain("read"), asked.plain("chmod")),
        (ALLOW, errno(1))
    );
    let names = set(&["read", "vmsplice", "@appc.io/all"], "");
    assert_eq!(
        sets::beyond_default(Mode::Retain, &names).unwrap(),
        ["vmsplice"]
    );
}

#[test]
fn grants_and_flags_open_their_own_part_of_the_floor() {
    let list = sets::list(Mode::Retain, &set(&["@appc.io/all"], "")).unwrap();
    let with = Asked::of(&list, Within::Floor, 1 << 18 | 1 << 25);
    assert_eq!(with.plain("chroot"), ALLOW);
    assert_eq!(with.plain("settimeofday"), ALLOW);
    assert_eq!(with.plain("reboot"), errno(1));
    let open = Openings {
        families: vec![1, 40],
        nested: true,
    };
    for list in [None, Some(&list)] {
        let asked = Asked(compile(list, Within::Floor, &open, 0, NATIVE).unwrap());
        assert_eq!(asked.call("socket", [40, 1, 0, 0, 0, 0]), ALLOW);
        assert_eq!(asked.call("socket", [2, 1, 0, 0, 0, 0]), errno(97));
        assert_eq!(asked.call("clone", [0x1000_0011, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(asked.plain("unshare"), ALLOW);
        assert_eq!(asked.plain("clone3"), errno(38));
        assert_eq!(asked.plain("mount"), errno(1));
    }
}

fn holds(c: Compare, args: [u64; 6]) -> bool {
    let a = args[usize::from(c.arg)];
    match c.op {
        Op::Equal => a == c.value,
        Op::NotEqual => a != c.value,
        Op::Less => a < c.value,
        Op::AtMost => a <= c.value,
        Op::AtLeast => a >= c.value,
        Op::More => a > c.value,
        Op::Masked(mask) => a & mask == c.value,
    }
}

#[test]
fn what_a_list_names_in_vain_is_told() {
    let list = sets::list(
        Mode::Retain,
        &set(&["mount", "keyctl", "read", "clone3"], ""),
    )
    .unwrap();
    let usual = Openings::default();
    let told = list::overruled(&list, &usual, 0, NATIVE).unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    let nesting = sets::list(Mode::Retain, &set(&["unshare", "reboot"], "")).unwrap();
    let open = Openings {
        nested: true,
        ..Openings::default()
    };
    let left = list::overruled(&nesting, &open, 1 << 22, NATIVE).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn arguments_are_compared_with_all_their_bits() {
    let edges = [
        0,
        1,
        7,
        0xffff_ffff,
        1 << 32,
        (1 << 32) + 7,
        9 << 32,
        u64::MAX,
    ];
    let mask = 0xf_0000_0007;
    let ops = [
        Op::Equal,
        Op::NotEqual,
        Op::Less,
        Op::AtMost,
        Op::AtLeast,
        Op::More,
        Op::Masked(mask),
    ];
    for op in ops {
        for value in edges {
            let value = if matches!(op, Op::Masked(_)) {
                value & mask
            } else {
                value
            };
            let first = Compare { arg: 1, op, value };
            let second = Compare {
                arg: 3,
                op: Op::AtLeast,
                value: 5,
            };
            let list = List {
                default: Return::Errno(7),
                rules: vec![
                    ListRule {
                        names: vec!["read".into()],
                        effect: Effect::Return(Return::Allow),
                        args: vec![first, second],
                    },
                    ListRule {
                        names: vec!["read".into()],
                        effect: Effect::Return(Return::Trap),
                        args: vec![Compare {
                            arg: 0,
                            op: Op::Equal,
                            value: 3,
                        }],
                    },
                ],
            };
            let asked = Asked::of(&list, Within::Floor, 0);
            for a in edges {
                for b in [0, 5, 1 << 40] {
                    for zero in [0, 3] {
                        let args = [zero, a, 0, b, 0, 0];
                        let want = if holds(first, args) && holds(second, args) {
                            ALLOW
                        } else if zero == 3 {
                            0x0003_0000
                        } else {
                            errno(7)
                        };
                        assert_eq!(
                            asked.call("read", args),
                            want,
                            "{op:?} {value:#x} {args:x?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_strictest_of_several_rules_without_comparison_wins() {
    let rule = |given| ListRule {
        names: vec!["read".into(), "no_such_call".into()],
        effect: Effect::Return(given),
        args: vec![],
    };
    let list = List {
        default: Return::Allow,
        rules: vec![
            rule(Return::Errno(5)),
            rule(Return::Log),
            rule(Return::Trap),
        ],
    };
    let asked = Asked::of(&list, Within::Floor, 0);
    assert_eq!(asked.plain("read"), 0x0003_0000);
    assert_eq!(list::unknown(&list), ["no_such_call"]);
    let log = List {
        default: Return::Log,
        rules: vec![],
    };
    let asked = Asked::of(&log, Within::Floor, 0);
    assert_eq!(asked.plain("read"), 0x7ffc_0000);
    assert_eq!(asked.call("socket", [2, 0, 0, 0, 0, 0]), 0x7ffc_0000);
    assert_eq!(asked.plain("mount"), errno(1));
}

#[test]
fn a_long_list_still_reaches_its_verdicts() {
    // Every call with six alternatives of its own: jumps of one byte do not reach far.
    let rules = (0..6u64)
        .flat_map(|n| {
            NATIVE
                .numbers()
                .iter()
                .step_by(9)
                .map(move |(name, number)| ListRule {
                    names: vec![(*name).to_owned()],
                    effect: Effect::Return(Return::Errno((n + 100) as u16)),
                    args: vec![Compare {
                        arg: 2,
                        op: Op::Equal,
                        value: n << 33 | u64::from(*number),
                    }],
                })
        })
        .collect();
    let list = List {
        default: Return::Errno(9),
        rules,
    };
    let asked = Asked::of(&list, Within::Floor, 0);
    assert!(asked.0.len() > 600, "{}", asked.0.len());
    for (name, number) in NATIVE.numbers().iter().step_by(9) {
        if ["clone3"].contains(name) || name.starts_with("io_uring") {
            continue;
        }
        for n in 0..7u64 {
            let args = [0, 0, n << 33 | u64::from(*number), 0, 0, 0];
            let want = if n < 6 {
                errno(n as u32 + 100)
            } else {
                errno(9)
            };
            assert_eq!(asked.call(name, args), want, "{name} {n}");
        }
    }
}

#[test]
fn the_floor_and_the_default_agree_on_grants() {
    // What the floor refuses without a grant, the default refuses without the same grant.
    let table = |profile, caps| compile::verdicts(profile, caps, NATIVE).unwrap();
    for cap in 0..41 {
        let (floor, default) = (table(&FLOOR, 1 << cap), table(&DEFAULT, 1 << cap));
        for (name, number) in NATIVE.numbers() {
            let at = *number as usize;
            let refused = matches!(floor[at], Action::Errno(_));
            let passes = default[at] == Action::Allow;
            assert!(!(refused && passes), "{name} with capability {cap}");
        }
    }
}
