//! Parts that a test wants an app to play: to sleep, to count, to die, to misbehave.

use crate::passing;
use crate::status::Status;
use crate::trial::{errno_name, errno_of};
use rkt_sys::raw::{self, Ipc};
use rustix::process::{getegid, geteuid, getpid, getuid};
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::thread::sleep;
use std::time::Duration;

/// Why a part could not be played, as one line.
pub(crate) type Played = Result<(), String>;

fn told<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|e| format!("{what}: {} ({e})", errno_name(errno_of(&e))))
}

fn print(text: &str) -> Played {
    let mut out = io::stdout().lock();
    told(
        "stdout",
        out.write_all(text.as_bytes()).and_then(|()| out.flush()),
    )
}

/// Sleeps so many seconds; for ever when none are given.
pub(crate) fn rest(seconds: Option<f64>) -> Played {
    match seconds {
        Some(s) => sleep(Duration::from_secs_f64(s.clamp(0.0, 1e9))),
        None => loop {
            sleep(Duration::from_secs(3600));
        },
    }
    Ok(())
}

/// Writes a number to a file ten times a second, so that a stop of the process is seen from outside.
pub(crate) fn count(path: &str) -> Played {
    for n in 0u64.. {
        told(path, fs::write(path, format!("{n}\n")))?;
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Uses a processor.
pub(crate) fn spin() -> Played {
    loop {
        std::hint::spin_loop();
    }
}

/// Makes up to `most` children that stay; tells how many there were, and why no more.
pub(crate) fn fork_bomb(most: usize) -> Played {
    let mut made = 0;
    let why = loop {
        if made == most {
            break "enough".to_owned();
        }
        match raw::fork() {
            Ok(None) => {
                let _ = rest(Some(600.0));
                raw::exit_now(0);
            }
            Ok(Some(_)) => made += 1,
            Err(errno) => break errno_name(errno),
        }
    };
    print(&format!("made {made}: {why}\n"))
}

/// Makes `n` orphans that end at once: each is its init's to reap.
pub(crate) fn orphans(n: usize) -> Played {
    for _ in 0..n {
        match raw::fork() {
            Ok(None) => {
                let _ = raw::fork();
                raw::exit_now(0);
            }
            Ok(Some(pid)) => {
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            }
            Err(errno) => return Err(format!("fork: {}", errno_name(errno))),
        }
    }
    print(&format!("made {n} orphans\n"))
}

/// Touches so many bytes and keeps them.
pub(crate) fn eat_memory(bytes: usize) -> Played {
    const STEP: usize = 1 << 20;
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    while eaten.len() * STEP < bytes {
        eaten.push(vec![1; STEP.min(bytes)]);
    }
    print(&format!("ate {} MiB\n", eaten.len()))?;
    rest(None)
}

/// Writes so many bytes to stdout, in lines of 64.
pub(crate) fn write_output(bytes: usize) -> Played {
    let block: Vec<u8> =
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\n".repeat(1024);
    let mut out = io::stdout().lock();
    let mut left = bytes;
    while left > 0 {
        let n = left.min(block.len());
        told("stdout", out.write_all(block.get(..n).unwrap_or(&[])))?;
        left -= n;
    }
    told("stdout", out.flush())
}

/// Tells whether there is a terminal, which, and how large.
pub(crate) fn print_tty() -> Played {
    let yes = |b: bool| if b { "yes" } else { "no" };
    let mut text = format!(
        "stdin {} stdout {} stderr {}\n",
        yes(io::stdin().is_terminal()),
        yes(io::stdout().is_terminal()),
        yes(io::stderr().is_terminal())
    );
    let name = rustix::termios::ttyname(rustix::stdio::stdin(), Vec::new());
    let name = name.map_or_else(errno_name, |n| n.to_string_lossy().into_owned());
    text.push_str(&format!("name {name}\n"));
    let own = OpenOptions::new().read(true).open("/dev/tty");
    text.push_str(&format!("controlling {}\n", yes(own.is_ok())));
    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        text.push_str(&format!("rows {} columns {}\n", size.ws_row, size.ws_col));
    }
    print(&text)
}

/// Prints the environment.
pub(crate) fn env() -> Played {
    for (name, value) in std::env::vars_os() {
        print(&format!(
            "{}={}\n",
            name.to_string_lossy(),
            value.to_string_lossy()
        ))?;
    }
    Ok(())
}

/// Prints a file, or stdin for `-`.
pub(crate) fn cat(path: &str) -> Played {
    let mut out = io::stdout().lock();
    if path == "-" {
        told("stdin", io::copy(&mut io::stdin().lock(), &mut out))?;
    } else {
        let mut file = told(path, fs::File::open(path))?;
        told(path, io::copy(&mut file, &mut out))?;
    }
    told("stdout", out.flush())
}

/// Lists a directory, one name a line.
pub(crate) fn list(path: &str) -> Played {
    let mut names: Vec<String> = told(path, fs::read_dir(path))?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.iter().try_for_each(|n| print(&format!("{n}\n")))
}

/// Makes the directory `a` and the link `b` to what `b` is told to lead to, and exchanges the two for
/// ever: `b` is `NAME=TARGET`.
pub(crate) fn swap(a: &str, b: &str) -> Played {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let (name, target) = b.split_once('=').ok_or("swap: NAME=TARGET")?;
    told(a, fs::create_dir_all(a))?;
    told(name, std::os::unix::fs::symlink(target, name))?;
    print("ready\n")?;
    loop {
        renameat_with(CWD, a, CWD, name, RenameFlags::EXCHANGE)
            .map_err(|e| format!("swap: {}", errno_name(e)))?;
    }
}

/// Writes a file.
pub(crate) fn write(path: &str, text: &str) -> Played {
    told(path, fs::write(path, text))
}

/// Leaves a setuid copy of the probe.
pub(crate) fn plant(path: &str) -> Played {
    use std::os::unix::fs::PermissionsExt;
    told(path, fs::copy("/proc/self/exe", path))?;
    let mode = fs::Permissions::from_mode(0o4755);
    told(path, fs::set_permissions(path, mode))
}

/// Says who it is, for a copy of the probe with special bits.
pub(crate) fn who() -> Played {
    let status = Status::own();
    let set = |name| status.capabilities(name).unwrap_or(0);
    print(&format!(
        "uid={:x} euid={:x} egid={:x} capeff={:x} capprm={:x}\n",
        getuid().as_raw(),
        geteuid().as_raw(),
        getegid().as_raw(),
        set("CapEff"),
        set("CapPrm")
    ))
}

/// Prints `ready`, then the signal when it comes, and ends with 0.
pub(crate) fn trap(signal: i32) -> Played {
    raw::block_signal(signal);
    print("ready\n")?;
    while raw::wait_signal(signal).is_err() {}
    print(&format!("got {signal}\n"))
}

/// Ignores SIGTERM, SIGINT and SIGHUP.
pub(crate) fn ignore_term() -> Played {
    for signal in [15, 2, 1] {
        raw::ignore_signal(signal);
    }
    print("ready\n")?;
    rest(None)
}

/// Kills itself.
pub(crate) fn signal(number: i32) -> Played {
    raw::default_signal(number);
    raw::signal_any(getpid().as_raw_pid(), number)
        .map_err(|e| format!("kill: {}", errno_name(e)))?;
    rest(Some(1.0))
}

/// Passes a descriptor of `path` to whoever connects to `socket`, again and again.
pub(crate) fn serve_fd(socket: &str, path: &str) -> Played {
    let failed = |what: &str, e| format!("{what}: {}", errno_name(e));
    let listener = passing::serve(socket).map_err(|e| failed(socket, e))?;
    print("ready\n")?;
    loop {
        // Who connects and goes away at once is no reason to end.
        let _ = passing::pass(&listener, path);
    }
}

/// Receives a descriptor, opens `name` below it and prints what is there.
pub(crate) fn recv_fd(socket: &str, name: &str) -> Played {
    use rustix::fs::{Mode, OFlags, openat};
    let failed = |what: &str, e| format!("{what}: {}", errno_name(e));
    let passed = passing::receive(socket).map_err(|e| failed(socket, e))?;
    let file = openat(
        passed,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| failed(name, e))?;
    told(
        name,
        io::copy(&mut fs::File::from(file), &mut io::stdout().lock()),
    )
    .map(drop)
}

/// The victim of the attacks on siblings: it owns an abstract socket, IPC objects with mode
/// 0600, a secret in its environment and in a file that anybody may read, and it counts.
pub(crate) fn victim(socket: &str, counter: Option<&str>) -> Played {
    let _ = fs::create_dir_all("/root");
    let _ = fs::write("/root/secret", "the victim's secret\n");
    let listener = passing::serve(socket).map_err(|e| format!("{socket}: {}", errno_name(e)))?;
    for kind in [Ipc::Memory, Ipc::Messages, Ipc::Semaphores] {
        raw::ipc_make(kind).map_err(|e| format!("{kind:?}: {}", errno_name(e)))?;
    }
    let queue = raw::mq_open(c"/rkt-probe-victim", true);
    print(&format!(
        "ready {}\n",
        queue
            .as_ref()
            .err()
            .map_or_else(String::new, |e| errno_name(*e))
    ))?;
    let played = match counter {
        Some(path) => count(path),
        None => rest(None),
    };
    drop((listener, queue));
    played
}
