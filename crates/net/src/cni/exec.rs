//! One run of a plugin: what it is given, how long it may take, how much it may say.

use rkt_sys::process::{self, CStrings, Cloned, Ended};
use rkt_sys::{cred, fd, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest result, bytes.
const MAX_OUT: usize = 1 << 20;
/// What is kept of its complaints, bytes.
const MAX_ERR: usize = 64 << 10;
/// How long what it left behind may keep its output open once it has ended.
const AFTER_END: Duration = Duration::from_millis(200);

/// Where plugins find `iptables`, `modprobe` and the like.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a plugin said until its end.
#[derive(Debug)]
pub(super) struct Said {
    /// As a shell has it.
    pub(super) status: u8,
    pub(super) out: Vec<u8>,
    pub(super) err: Vec<u8>,
}

/// Runs a program with this input and these variables, and nothing else of ours: no descriptor, no
/// session, no other variable. It dies with the calling thread, and after `patience`, with all
/// of its session that is in its process group.
///
/// # Errors
/// `ETIMEDOUT` when it did not end in time, `EFBIG` when it says too much, what execve gives.
pub(super) fn run(
    program: &Path,
    input: &[u8],
    variables: &[(&str, String)],
    patience: Duration,
) -> io::Result<Said> {
    let path = CString::new(program.as_os_str().as_bytes())
        .map_err(|_| io::Error::from(rustix::io::Errno::INVAL))?;
    let argv = CStrings::new([program.as_os_str().as_bytes()])?;
    let set = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let envp = CStrings::new(set.chain([PATH.to_owned()]))?;
    let input = fd::sealed_memfd("cni", input)?;
    let (out, out_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let (err, err_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let (pid, pidfd) = match process::clone3(0, None)? {
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
        Cloned::Child => {
            let given = [&input, &out_theirs, &err_theirs];
            let error = become_plugin(given, &path, &argv, &envp);
            // The parent tells exec's failure by this status and these words.
            let _ = rustix::io::write(&err_theirs, error.to_string().as_bytes());
            process::exit(127)
        }
    };
    drop((out_theirs, err_theirs));
    let running = Running {
        pid,
        pidfd,
        reaped: false,
    };
    running.hear([out, err], Instant::now() + patience)
}

fn become_plugin(
    given: [&OwnedFd; 3],
    path: &CString,
    argv: &CStrings,
    envp: &CStrings,
) -> io::Error {
    let prepared = cred::die_with_parent()
        .and_then(|()| Ok(rustix::process::setsid().map(drop)?))
        .and_then(|()| Ok(rustix::process::chdir(c"/")?))
        .and_then(|()| {
            (0..)
                .zip(given)
                .try_for_each(|(number, from)| fd::onto_stdio(from.as_fd(), number))
        })
        .and_then(|()| fd::cloexec_from(3));
    if let Err(error) = prepared {
        return error;
    }
    signal::default_all();
    signal::unblock_all();
    process::execve(path, argv, envp)
}

/// A plugin that runs or has ended; with what it started it is killed, then reaped, when this is
/// dropped. Not before: until then nobody else has its number.
struct Running {
    pid: u32,
    pidfd: OwnedFd,
    reaped: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.end();
        }
    }
}

impl Running {
    /// It leads its own process group: what it has started goes with it.
    fn end(&mut self) -> io::Result<Ended> {
        let pid = i32::try_from(self.pid).ok();
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        let _ = signal::send(self.pidfd.as_fd(), 9);
        self.reaped = true;
        process::wait_pidfd(self.pidfd.as_fd())
    }

    fn hear(mut self, pipes: [OwnedFd; 2], deadline: Instant) -> io::Result<Said> {
        let limits = [MAX_OUT, MAX_ERR];
        let mut said = [Vec::new(), Vec::new()];
        let mut open = pipes.map(Some);
        let mut late = deadline;
        let mut ended = false;
        while !ended || open.iter().any(Option::is_some) {
            let left = late.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let mut sources: Vec<(usize, &OwnedFd)> = (0..)
                .zip(&open)
                .filter_map(|(n, fd)| Some((n, fd.as_ref()?)))
                .collect();
            if !ended {
                sources.push((END, &self.pidfd));
            }
            for n in ready(&sources, left)? {
                if n == END {
                    ended = true;
                    late = late.min(Instant::now() + AFTER_END);
                } else {
                    take(&mut open, &mut said, n, limits)?;
                }
            }
        }
        if !ended {
            return Err(rustix::io::Errno::TIMEDOUT.into());
        }
        let [out, err] = said;
        let status = self.end()?.status();
        Ok(Said { status, out, err })
    }
}

/// Stands for the end of the process among what is waited for.
const END: usize = usize::MAX;

/// Those that can be read, or have ended; none after a while.
fn ready(sources: &[(usize, &OwnedFd)], left: Duration) -> io::Result<Vec<usize>> {
    let fds = sources
        .iter()
        .map(|(_, fd)| PollFd::new(*fd, PollFlags::IN));
    let mut fds: Vec<PollFd<'_>> = fds.collect();
    let timeout = Timespec::try_from(left).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let pairs = sources.iter().zip(&fds);
    let ready = pairs.filter(|(_, fd)| !fd.revents().is_empty());
    Ok(ready.map(|((n, _), _)| *n).collect())
}

/// Reads what is there of one pipe; complaints beyond the limit are read and forgotten.
fn take(
    open: &mut [Option<OwnedFd>; 2],
    said: &mut [Vec<u8>; 2],
    n: usize,
    limits: [usize; 2],
) -> io::Result<()> {
    let (Some(slot), Some(all), Some(limit)) = (open.get_mut(n), said.get_mut(n), limits.get(n))
    else {
        return Ok(());
    };
    let Some(pipe) = slot else { return Ok(()) };
    let mut buffer = [0u8; 8192];
    match rustix::io::read(&*pipe, &mut buffer) {
        Ok(0) => *slot = None,
        Ok(count) => {
            let room = limit.saturating_sub(all.len()).min(count);
            all.extend_from_slice(buffer.get(..room).unwrap_or(&[]));
            if room < count && n == 0 {
                return Err(rustix::io::Errno::FBIG.into());
            }
        }
        Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &[u8], patience: Duration) -> io::Result<Said> {
        let dir = std::env::temp_dir().join(format!("rkt-cni-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let name = format!("{:?}", std::thread::current().id());
        let path = dir.join(name.replace(['(', ')'], "-"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        run(&path, input, &[("A", "b".into())], patience)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_plugin_has_its_input_its_variables_and_nothing_else() {
        let said = sh(
            "cat; env | sort; ls /proc/self/fd >&2; exit 3",
            b"in\n",
            LONG,
        )
        .unwrap();
        let out = String::from_utf8(said.out).unwrap();
        assert_eq!(said.status, 3);
        let mut names: Vec<_> = out
            .lines()
            .skip(1)
            .filter_map(|l| l.split('=').next())
            .collect();
        names.retain(|n| !["PWD", "SHLVL", "_", "OLDPWD"].contains(n));
        assert_eq!((out.lines().next(), names), (Some("in"), vec!["A", "PATH"]));
        // ls has opened the directory it lists.
        let fds = String::from_utf8(said.err).unwrap();
        assert_eq!(
            fds.split_whitespace().collect::<Vec<_>>(),
            ["0", "1", "2", "3"]
        );
    }

    #[test]
    fn one_that_does_not_end_or_says_too_much_is_ended() {
        let late = sh("sleep 1000 & sleep 1000", b"", Duration::from_millis(300));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let loud = sh("cat /dev/zero", b"", LONG).unwrap_err();
        assert_eq!(
            loud.raw_os_error(),
            Some(rustix::io::Errno::FBIG.raw_os_error())
        );
        // What it leaves behind does not hold us up.
        let begin = Instant::now();
        assert_eq!(sh("sleep 1000 & echo x", b"", LONG).unwrap().out, b"x\n");
        assert!(begin.elapsed() < Duration::from_secs(50));
    }
}
