//! Signal names, as images and flags write them.

use crate::error::Error;

const NAMES: [(&str, u8); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Reads `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3` (Linux numbers, 1..=64).
///
/// # Errors
/// When it is no signal.
pub fn parse(text: &str) -> Result<u8, Error> {
    let bad = || {
        Error::new(
            "signal",
            text,
            "needs a name such as `SIGTERM` or a number 1 to 64",
        )
    };
    if let Ok(n) = text.parse::<u8>() {
        return if (1..=64).contains(&n) {
            Ok(n)
        } else {
            Err(bad())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        // The C libraries keep the first two real-time signals for themselves: RTMIN is 34.
        let n = rest
            .strip_prefix('+')
            .map_or(Ok(0), str::parse::<u8>)
            .map_err(|_| bad())?;
        return if n <= 30 { Ok(34 + n) } else { Err(bad()) };
    }
    NAMES
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, v)| *v)
        .ok_or_else(bad)
}

/// `SIGTERM` for 15; `signal 40` for one without a name.
pub fn name(number: u8) -> String {
    NAMES
        .iter()
        .find(|(_, v)| *v == number)
        .map_or_else(|| format!("signal {number}"), |(n, _)| format!("SIG{n}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, want) in [
            ("SIGTERM", 15),
            ("quit", 3),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("SIGWINCH", 28),
        ] {
            assert_eq!(parse(text).unwrap(), want);
        }
        for bad in ["", "0", "65", "SIGFOO", "RTMIN+31", "-1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(name(9), "SIGKILL");
    }
}
