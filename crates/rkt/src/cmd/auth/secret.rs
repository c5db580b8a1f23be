//! Where name and password come from: standard input, or questions on the terminal. Never from
//! an argument, which every user of the host can read in /proc.

use crate::failure::Failure;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read, Write};

/// What a shell expects after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Longest password, bytes.
const LONGEST: u64 = 64 << 10;

/// Name and password.
///
/// # Errors
/// Usage failures that say which option is missing.
pub(super) fn ask(
    host: &str,
    user: Option<&str>,
    from_stdin: bool,
) -> Result<(String, String), Failure> {
    let doing = || Failure::usage(format!("log in to `{host}`"));
    let stdin = std::io::stdin();
    if from_stdin {
        let user = user.ok_or_else(|| {
            doing()
                .because("a password from standard input needs a user")
                .hint("add `--username=NAME`")
        })?;
        let mut text = String::new();
        stdin
            .lock()
            .take(LONGEST)
            .read_to_string(&mut text)
            .map_err(|e| doing().because(format!("read the password: {e}")))?;
        return check(doing, user, text.trim_end_matches(['\r', '\n']));
    }
    if !stdin.is_terminal() {
        return Err(doing()
            .because("standard input is no terminal to ask on")
            .hint(
                "pipe the password in: `... | rkt auth login --username=NAME --password-stdin`",
            ));
    }
    let user = match user {
        Some(user) => user.to_owned(),
        None => line("user: ").map_err(|e| doing().because(e.to_string()))?,
    };
    let hidden = Hidden::new().map_err(|e| doing().because(e.to_string()))?;
    let typed = hidden_line("password: ");
    drop(hidden);
    let _ = writeln!(std::io::stderr().lock());
    match typed.map_err(|e| doing().because(e.to_string()))? {
        Some(password) => check(doing, &user, &password),
        None => Err(Failure::new(INTERRUPTED, format!("log in to `{host}`"))
            .because("it was stopped by SIGINT")),
    }
}

fn check(
    doing: impl Fn() -> Failure,
    user: &str,
    password: &str,
) -> Result<(String, String), Failure> {
    if user.is_empty() || user.contains(':') || user.contains(char::is_control) {
        return Err(doing().because("a user needs a name without `:` and control characters"));
    }
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err(doing().because("the password is empty, or more than one line"));
    }
    Ok((user.to_owned(), password.to_owned()))
}

fn line(question: &str) -> std::io::Result<String> {
    let mut err = std::io::stderr().lock();
    let _ = err
        .write_all(question.as_bytes())
        .and_then(|()| err.flush());
    let mut text = String::new();
    std::io::stdin().lock().take(LONGEST).read_line(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A line from a terminal that hands on every key: `None` after Ctrl-C.
fn hidden_line(question: &str) -> std::io::Result<Option<String>> {
    let mut err = std::io::stderr().lock();
    let _ = err
        .write_all(question.as_bytes())
        .and_then(|()| err.flush());
    let mut text = Vec::new();
    for byte in std::io::stdin().lock().take(LONGEST).bytes() {
        match byte? {
            b'\r' | b'\n' | 0x04 => break,
            0x03 => return Ok(None),
            0x7f | 0x08 => {
                // A letter may be several bytes: take its first one too.
                while text.pop().is_some_and(|b| b & 0xc0 == 0x80) {}
            }
            0x15 => text.clear(),
            other => text.push(other),
        }
    }
    String::from_utf8(text)
        .map(Some)
        .map_err(|_| std::io::Error::other("the password is not UTF-8"))
}

/// The terminal does not show what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn new() -> std::io::Result<Self> {
        let old = tcgetattr(std::io::stdin())?;
        let mut new = old.clone();
        // Ctrl-C must not leave the terminal mute, so it comes as a key.
        new.local_modes
            .remove(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &new)?;
        Ok(Self(old))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}
