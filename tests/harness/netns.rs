//! Network namespaces of a test's own: rkt in one, the world around it in others.
//!
//! Nothing of a test touches the host's network, and no packet leaves the machine.

use crate::command::{Done, run};
use std::ffi::OsStr;
use std::fs;
use std::process::{Child, Command, Stdio};

/// A network namespace, with `lo` up. Ends when this is dropped, or the test is killed.
pub struct Netns {
    holder: Child,
}

impl Netns {
    /// A new one.
    pub fn new() -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        let namespace = Self { holder };
        crate::wait_for("a network namespace", 10, || {
            fs::read_link(namespace.path()).is_ok_and(|l| l != ours)
        });
        namespace.ip("link set lo up");
        namespace
    }

    /// Where it is.
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        enter(&self.path(), program)
    }

    /// Runs a program in it to the end; words are split at spaces.
    #[track_caller]
    pub fn run(&self, line: &str) -> Done {
        run_words(&self.path(), line)
    }

    /// `ip WORDS` in it, which must end well.
    #[track_caller]
    pub fn ip(&self, words: &str) -> String {
        self.run(&format!("ip {words}")).ok()
    }

    /// A setting of it, below `/proc/sys/net`.
    #[track_caller]
    pub fn sysctl(&self, path: &str) -> String {
        self.run(&format!("cat /proc/sys/net/{path}"))
            .ok()
            .trim()
            .to_owned()
    }

    /// A device pair between this and another, up: names and addresses (`10.0.0.1/24`) of each end.
    #[track_caller]
    pub fn link(&self, (here, address): (&str, &str), other: &Self, (there, far): (&str, &str)) {
        let peer = other.holder.id();
        self.ip(&format!(
            "link add {here} type veth peer name {there} netns {peer}"
        ));
        for (namespace, device, address) in [(self, here, address), (other, there, far)] {
            namespace.ip(&format!("addr add {address} dev {device} nodad"));
            namespace.ip(&format!("link set {device} up"));
        }
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn enter(path: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={path}")).arg("--").arg(program);
    command
}

/// Runs a program to its end in the network namespace of a process.
#[track_caller]
pub fn run_in(pid: i32, line: &str) -> Done {
    run_words(&format!("/proc/{pid}/ns/net"), line)
}

#[track_caller]
fn run_words(path: &str, line: &str) -> Done {
    let mut words = line.split_whitespace();
    let mut command = enter(path, words.next().unwrap());
    command.args(words);
    run(command, None)
}
