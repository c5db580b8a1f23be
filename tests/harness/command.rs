//! Programs that are run to their end, and what they said.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest that any command may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// The command, for messages.
    pub line: String,
    /// Exit status as a shell has it.
    pub status: i32,
    /// stdout.
    pub out: String,
    /// stderr.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

impl Done {
    /// Its stdout, when it ended with 0.
    #[track_caller]
    pub fn ok(self) -> String {
        self.ends_with(0).out
    }

    /// Itself, when it ended with this status.
    #[track_caller]
    pub fn ends_with(self, status: i32) -> Self {
        assert_eq!(self.status, status, "\n{self}");
        self
    }

    /// Itself, when stderr has these words.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.err.contains(words), "stderr lacks `{words}`\n{self}");
        self
    }

    /// Itself, when neither stdout nor stderr has this word: a secret.
    #[track_caller]
    pub fn never_says(self, word: &str) -> Self {
        let said = self.err.contains(word) || self.out.contains(word);
        assert!(!said, "a secret is said\n{self}");
        self
    }

    /// Itself, when stderr is an error as rkt tells one: what was done, because, and a hint if
    /// one is sure; one line each, and no other noise.
    #[track_caller]
    pub fn is_one_clear_error(self) -> Self {
        let lines: Vec<&str> = self.err.lines().collect();
        let begins = lines.iter().filter(|l| l.starts_with("rkt: ")).count();
        assert_eq!(begins, 1, "one error, begun by `rkt: `\n{self}");
        assert!(!self.err.contains("panicked"), "{self}");
        assert!(!self.err.contains("error: error"), "{self}");
        self
    }

    /// Its stdout as JSON, when it ended with 0.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.clone().ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON: {e}\n{self}"))
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}", self.line)?;
        writeln!(f, "exit {} after {} ms", self.status, self.took.as_millis())?;
        for (name, text) in [("out", &self.out), ("err", &self.err)] {
            for line in text.lines().take(60) {
                writeln!(f, "{name}| {line}")?;
            }
        }
        Ok(())
    }
}

/// Exit status as a shell has it: 128 and the signal for one that was killed.
pub fn shell_status(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Runs to the end with this on stdin; kills it after [`PATIENCE`], which is a failure.
#[track_caller]
pub fn run(command: Command, stdin: Option<&[u8]>) -> Done {
    run_for(command, stdin, PATIENCE)
}

/// As [`run`], with another patience.
#[track_caller]
pub fn run_for(mut command: Command, stdin: Option<&[u8]>, patience: Duration) -> Done {
    let line = format!("{command:?}").replace('"', "");
    let input = if stdin.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    let start = Instant::now();
    let mut child = command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{line}: {e}"));
    if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
        let bytes = bytes.to_vec();
        // The reader may be gone before all of it is written; that is no failure of ours.
        std::thread::spawn(move || drop(pipe.write_all(&bytes)));
    }
    let out = collect(child.stdout.take().unwrap());
    let err = collect(child.stderr.take().unwrap());
    let status = wait(&mut child, patience);
    let text = |t: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&t.join().unwrap()).into_owned()
    };
    let done = Done {
        status: status.map_or(-1, shell_status),
        out: text(out),
        err: text(err),
        took: start.elapsed(),
        line,
    };
    assert!(status.is_some(), "not done within {patience:?}\n{done}");
    done
}

/// Reads a pipe to its end, beside everything else.
pub fn collect(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for a child; kills it and returns `None` when it takes longer.
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a tool of the host and returns its stdout; panics when it fails.
#[track_caller]
pub fn tool(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args);
    run(command, None).ok()
}
