//! PID 1 of the pod: reaps, and nothing else.
//!
//! It has no capability, an id of its own that no app maps, an empty read-only root, no
//! command to obey and five system calls. It is this program executed once more, so that it
//! holds no copy of the plan.

use rkt_isolate::seccomp::init_program;
use rkt_sys::{cred, seccomp, signal};
use rustix::fd::AsFd;

/// Runs as PID 1. Descriptor 3 is the ready pipe: one byte when every wall stands.
pub(crate) fn main() -> i32 {
    const CHLD: i32 = 17;
    signal::block_all();
    let Ok(ready) = rkt_sys::fd::inherit(3) else {
        return 1;
    };
    cred::set_name(c"rkt-init");
    let walls = cred::set_dumpable(false)
        .and_then(|()| cred::die_with_parent())
        .and_then(|()| cred::no_new_privs());
    if walls.is_err() || seccomp::load(&init_program()).is_err() {
        return 1;
    }
    if rustix::io::write(ready.as_fd(), &[1]) != Ok(1) {
        return 1;
    }
    loop {
        while rkt_sys::process::reap_one() {}
        let _ = signal::wait_for(&[CHLD]);
    }
}
