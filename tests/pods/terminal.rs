//! A pod on a terminal: the app's is its own, never the operator's.

use rkt_tests::{Need, Rkt, wait_for};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A terminal that the test sits at, with a command on it.
struct Terminal {
    keys: File,
    screen: Arc<Mutex<String>>,
    child: Child,
    /// The operator's side, to change its size.
    size: OwnedFd,
}

impl Terminal {
    fn run(rkt: &Rkt, words: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let open = || {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap()
        };
        tcsetwinsize(
            &master,
            Winsize {
                ws_row: 33,
                ws_col: 111,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )
        .unwrap();
        let inner = rkt.command(words);
        // A session of its own with the pty for its terminal, as a login gives one.
        let mut command = std::process::Command::new("setsid");
        command
            .args(["--ctty", "--wait"])
            .arg(inner.get_program())
            .args(inner.get_args());
        command
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()));
        command.env("TERM", "xterm");
        let child = command.spawn().unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let mut reader = File::from(rustix::io::fcntl_dupfd_cloexec(&master, 3).unwrap());
        let copy = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                copy.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        let size = rustix::io::fcntl_dupfd_cloexec(&master, 3).unwrap();
        Self {
            keys: File::from(master),
            screen,
            child,
            size,
        }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    fn wait_for(&self, words: &str) {
        for _ in 0..1500 {
            if self.screen().contains(words) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("`{words}` does not appear:\n{}", self.screen());
    }

    fn end(mut self) -> (i32, String) {
        let status = rkt_tests::command::wait(&mut self.child, Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
        let screen = self.screen();
        (
            status.map_or_else(
                || panic!("it does not end:\n{screen}"),
                rkt_tests::command::shell_status,
            ),
            screen,
        )
    }
}

const RUN: [&str; 6] = [
    "run",
    "--rm",
    "--quiet",
    "--net=none",
    "-it",
    "builtin:probe",
];

fn words<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut all = RUN.to_vec();
    all.push("--");
    all.extend(more);
    all
}

#[test]
fn an_app_on_a_terminal_has_one_of_its_own_of_the_operators_size() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setsid")]) else {
        return;
    };
    let terminal = Terminal::run(&rkt, &words(&["print-tty"]));
    let (status, screen) = terminal.end();
    assert_eq!(status, 0, "{screen}");
    assert!(
        screen.contains("stdin yes stdout yes stderr yes"),
        "{screen}"
    );
    assert!(screen.contains("controlling yes"), "{screen}");
    assert!(screen.contains("rows 33 columns 111"), "{screen}");
    assert!(
        screen.contains("name /dev/pts/") || screen.contains("name /dev/console"),
        "{screen}"
    );
}

#[test]
fn a_change_of_the_window_reaches_the_app() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setsid")]) else {
        return;
    };
    const SIGWINCH: &str = "28";
    let terminal = Terminal::run(&rkt, &words(&["trap", SIGWINCH]));
    terminal.wait_for("ready");
    tcsetwinsize(
        &terminal.size,
        Winsize {
            ws_row: 50,
            ws_col: 60,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
    terminal.wait_for("got 28");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn control_c_reaches_the_app_as_a_signal() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setsid")]) else {
        return;
    };
    let mut terminal = Terminal::run(&rkt, &words(&["trap", "2"]));
    terminal.wait_for("ready");
    terminal.keys.write_all(b"\x03").unwrap();
    terminal.wait_for("got 2");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn keys_and_colours_pass_unchanged() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setsid")]) else {
        return;
    };
    let mut terminal = Terminal::run(&rkt, &words(&["cat", "-"]));
    std::thread::sleep(Duration::from_millis(700));
    terminal.keys.write_all(b"\x1b[31mred\x1b[0m\n").unwrap();
    terminal.wait_for("red");
    terminal.keys.write_all(b"\x04").unwrap();
    let (status, screen) = terminal.end();
    assert_eq!(status, 0, "{screen}");
    assert!(
        screen.matches("red").count() >= 2,
        "echo and copy: {screen:?}"
    );
}

#[test]
fn the_operators_terminal_never_enters_the_pod() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setsid")]) else {
        return;
    };
    let terminal = Terminal::run(&rkt, &words(&["trap", "10"]));
    terminal.wait_for("ready");
    let outside = rustix::fs::stat(ptsname(&terminal.size, Vec::new()).unwrap()).unwrap();
    let pids = rkt_tests::host::cgroup_processes(&rkt_tests::host::v2_root().join(&rkt.cgroup));
    assert!(!pids.is_empty());
    let mut apps = Vec::new();
    for pid in pids {
        let process = rkt_tests::eyes::Process::read(pid).unwrap();
        for fd in process.descriptors().into_keys() {
            let path = format!("/proc/{pid}/fd/{fd}");
            if let Ok(stat) = rustix::fs::stat(&path) {
                assert!(
                    stat.st_ino != outside.st_ino || stat.st_dev != outside.st_dev,
                    "descriptor {fd} of {pid} is the operator's terminal"
                );
            }
        }
        if process.inner_pid() != 1 {
            apps.push(pid);
        }
    }
    // Each has been looked at: with the first of them the pod ends.
    for pid in apps {
        rkt_tests::host::signal(pid, rustix::process::Signal::USR1);
    }
    wait_for("the end", 10, || terminal.screen().contains("got 10"));
    terminal.end();
}

#[test]
fn the_terminal_is_as_before_when_the_pod_is_gone() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setsid")]) else {
        return;
    };
    let terminal = Terminal::run(&rkt, &words(&["trap", "2"]));
    let before = rustix::termios::tcgetattr(&terminal.size).unwrap();
    terminal.wait_for("ready");
    for pid in rkt_tests::host::cgroup_processes(&rkt_tests::host::v2_root().join(&rkt.cgroup)) {
        if rkt_tests::eyes::Process::read(pid).is_some_and(|p| p.inner_pid() != 1) {
            rkt_tests::host::kill(pid);
        }
    }
    let size = rustix::io::fcntl_dupfd_cloexec(&terminal.size, 3).unwrap();
    assert_eq!(terminal.end().0, 137);
    let after = rustix::termios::tcgetattr(&size).unwrap();
    assert!(
        after
            .local_modes
            .contains(rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO)
    );
    assert_eq!(
        before
            .input_modes
            .contains(rustix::termios::InputModes::ICRNL),
        after
            .input_modes
            .contains(rustix::termios::InputModes::ICRNL)
    );
}

#[test]
fn output_that_is_no_terminal_is_refused_for_tty_but_not_for_interactive() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let text = [
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        "--interactive",
        "builtin:probe",
        "--",
        "cat",
        "-",
    ];
    assert_eq!(rkt.rkt_with(&text, b"piped\n").ok(), "piped\n");
}
