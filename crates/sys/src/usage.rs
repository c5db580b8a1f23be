//! What ended children have cost, for the bench.

use std::{mem::MaybeUninit, time::Duration};

/// Processor time, user and system together, of every child that has ended and was waited for,
/// and of theirs (`getrusage(RUSAGE_CHILDREN)`). Needs no privilege; zero if the kernel refuses.
#[must_use]
pub fn ended_children() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes at most one `rusage` into room of exactly that size.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    // SAFETY: a `rusage` is plain integers, so the zeros it began with are one too.
    let usage = unsafe { usage.assume_init() };
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// A kernel's `timeval` as a duration; it is never negative here.
fn of(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn an_ended_child_is_counted() {
        let before = ended_children();
        let busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
        assert!(
            Command::new("sh")
                .args(["-c", busy])
                .status()
                .unwrap()
                .success()
        );
        assert!(ended_children() > before);
    }
}
