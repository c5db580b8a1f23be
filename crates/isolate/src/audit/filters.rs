//! Whether the filter that a process lives behind is the planned one: read from the kernel with
//! `PTRACE_SECCOMP_GET_FILTER`, which takes a stop of a few microseconds.
//!
//! A stop interrupts the call that a thread waits in. Most are begun again by the kernel and nobody
//! sees it; `epoll_wait` and a few more return `EINTR`. So of an app only a thread is stopped that
//! waits in one of the first kind: filters are inherited and never taken off, one thread tells of all
//! that were there when the app began.

use super::compare::{Finding, Group};
use super::facts::{Facts, Task};
use crate::seccomp::trace;
use rkt_sys::seccomp::{INSTRUCTION, Seen, programs_of};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;
use std::time::Duration;

/// How long a thread has to stop. One that waits for a disk does not.
const PATIENCE: Duration = Duration::from_millis(50);
/// Calls that begin again after a stop, or look as if they had never been left.
const BEGIN_AGAIN: [&str; 7] = [
    "wait4",
    "waitid",
    "rt_sigsuspend",
    "pause",
    "select",
    "pselect6",
    "ppoll",
];
/// Calls that the kernel goes on with by `restart_syscall`, which the filter has to let pass.
const GO_ON: [&str; 5] = [
    "futex",
    "poll",
    "nanosleep",
    "clock_nanosleep",
    "restart_syscall",
];

/// What came of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// As planned, or gone meanwhile.
    Fine,
    /// Another filter.
    Drift(Finding),
    /// Not seen, and why.
    Unseen(String),
}

/// Compares the filters of one thread of the process with the programs of which it must have one. With
/// `any_call` it does not matter what it waits in.
///
/// A call that is gone on with by `restart_syscall` counts only for a thread that has no more than the
/// `planned` number of filters: one that the app has put on itself may kill it for that call.
pub(super) fn look(facts: &Facts, programs: &[&[u8]], planned: u32, any_call: bool) -> Look {
    let Some((proc, same)) = super::read::held(facts) else {
        return Look::Fine;
    };
    let allowed = programs.iter().all(|p| trace::allows(p, "restart_syscall"));
    let waits = |task: &&Task| {
        any_call || {
            let restarts = allowed && task.filters == Some(planned);
            let line = super::read::text(&proc, &format!("task/{}/syscall", task.id));
            line.is_ok_and(|line| is_harmless(&line, restarts))
        }
    };
    let Some(task) = facts.tasks.iter().find(waits) else {
        return Look::Unseen(
            "no thread of it waits in a call that a stop would leave as it is".to_owned(),
        );
    };
    if !same() {
        return Look::Fine;
    }
    match read(&proc, task.id) {
        Ok(Seen::Gone) => Look::Fine,
        Ok(Seen::Busy) => Look::Unseen("its thread did not stop in time".to_owned()),
        Ok(Seen::Programs(found)) => judge(&found, programs),
        Err(Errno::PERM) => Look::Unseen(
            "something else traces it, or the host's policy (Yama) allows no tracing".to_owned(),
        ),
        Err(Errno::ACCESS) => Look::Unseen(
            "the kernel shows filters only to a process with CAP_SYS_ADMIN that has none itself"
                .to_owned(),
        ),
        Err(Errno::IO | Errno::INVAL) => {
            Look::Unseen("this kernel was built without CONFIG_CHECKPOINT_RESTORE".to_owned())
        }
        Err(e) => Look::Unseen(format!("the kernel does not tell: {e}")),
    }
}

/// In a thread of its own, with whose end the kernel lets go of what it held.
fn read(proc: &OwnedFd, id: i32) -> Result<Seen, Errno> {
    let Some(thread) = Pid::from_raw(id) else {
        return Ok(Seen::Gone);
    };
    // The directory belongs to the process and not to its number; a thread that is in it and that is
    // traced from here is the one that was meant.
    let is_it = || {
        let status = super::read::text(proc.as_fd(), &format!("task/{id}/status"));
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        status.is_ok_and(|status| super::facts::tracer(&status) == Some(own))
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| programs_of(thread, PATIENCE, is_it));
        reader.join().unwrap_or(Err(Errno::IO))
    })
}

/// Reads `/proc/PID/task/TID/syscall`: the number of the call, or `running`.
fn is_harmless(line: &str, restarts: bool) -> bool {
    let number = line.split_whitespace().next().and_then(|n| n.parse().ok());
    let Some(name) = number.map(trace::name) else {
        return false;
    };
    BEGIN_AGAIN.contains(&name) || restarts && GO_ON.contains(&name)
}

/// More filters than planned refuse more, never less.
fn judge(found: &[Vec<u8>], programs: &[&[u8]]) -> Look {
    if found.iter().any(|f| programs.contains(&f.as_slice())) {
        return Look::Fine;
    }
    let names = |all: &[&[u8]]| {
        let all: Vec<String> = all.iter().map(|p| name(p)).collect();
        all.join(" or ")
    };
    let have: Vec<&[u8]> = found.iter().map(Vec::as_slice).collect();
    Look::Drift(Finding {
        group: Group::Privileges,
        field: "seccomp filter".to_owned(),
        wanted: names(programs),
        found: names(&have),
    })
}

/// A short name of a program (64-bit FNV-1a), to tell it from others in a report. Compared are bytes.
fn name(program: &[u8]) -> String {
    let hash = program
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!(
        "{hash:016x} of {} instructions",
        program.len() / INSTRUCTION
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_stopped_only_where_the_call_goes_on() {
        let number = |name: &str| {
            let all = crate::seccomp::NATIVE.numbers().iter();
            all.clone().find(|(n, _)| *n == name).unwrap().1
        };
        for (name, harmless, without) in [
            ("wait4", true, true),
            ("rt_sigsuspend", true, true),
            ("ppoll", true, true),
            ("futex", true, false),
            ("clock_nanosleep", true, false),
            ("epoll_pwait", false, false),
            ("rt_sigtimedwait", false, false),
            ("accept4", false, false),
            ("read", false, false),
        ] {
            let line = format!("{} 0x1 0x2 0x0 0x0 0x0 0x0 0x7ffc 0x7f1d\n", number(name));
            assert_eq!(is_harmless(&line, true), harmless, "{name}");
            assert_eq!(is_harmless(&line, false), without, "{name}");
        }
        for line in ["running\n", "-1 0x7ffc 0x7f1d\n", ""] {
            assert!(!is_harmless(line, true), "{line:?}");
        }
    }

    #[test]
    fn one_filter_has_to_be_the_planned_one() {
        let (own, other) = (vec![1; 16], vec![2; 8]);
        let programs: [&[u8]; 1] = [&own];
        assert_eq!(judge(std::slice::from_ref(&own), &programs), Look::Fine);
        assert_eq!(judge(&[other.clone(), own.clone()], &programs), Look::Fine);
        let Look::Drift(finding) = judge(&[other], &programs) else {
            panic!("another filter is drift");
        };
        assert_eq!(finding.field, "seccomp filter");
        assert!(
            finding.wanted.ends_with(" of 2 instructions"),
            "{finding:?}"
        );
        assert!(finding.found.ends_with(" of 1 instructions"), "{finding:?}");
        assert!(matches!(judge(&[], &programs), Look::Drift(_)));
    }
}
