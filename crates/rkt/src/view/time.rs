//! Times and durations as the original prints and reads them. All times are UTC.

use rkt_pod::time::civil;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 30 * DAY;
const YEAR: u64 = 12 * MONTH;

/// How long ago a moment was: `now`, `3 minutes ago`. Both are nanoseconds since 1970.
pub(crate) fn ago(then: u64, now: u64) -> String {
    let seconds = now.saturating_sub(then) / SECOND;
    let (unit, name) = match seconds {
        0 => return "now".to_owned(),
        1..MINUTE => (1, "second"),
        MINUTE..HOUR => (MINUTE, "minute"),
        HOUR..DAY => (HOUR, "hour"),
        DAY..WEEK => (DAY, "day"),
        WEEK..MONTH => (WEEK, "week"),
        MONTH..YEAR => (MONTH, "month"),
        _ => (YEAR, "year"),
    };
    let n = seconds / unit;
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {name}{plural} ago")
}

/// `2026-11-23 21:10:00.123 +0000 UTC`: the fraction without trailing zeros.
pub(crate) fn full(ns: u64) -> String {
    let c = civil(ns);
    let mut fraction = format!(".{:03}", c.nanosecond / 1_000_000);
    while fraction.ends_with(['0', '.']) {
        fraction.pop();
    }
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{fraction} +0000 UTC",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    )
}

/// Reads `1h30m`, `1.5s`, `300ms`, `2d`; a bare number is seconds.
///
/// # Errors
/// Says what would be right.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || {
        format!(
            "`{}` is no duration, such as `30s` or `1h30m`",
            text.escape_debug()
        )
    };
    let mut rest = text;
    let mut total = 0.0f64;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "" if rest.len() == text.len() => 1.0,
            _ => return Err(bad()),
        };
        total += number.parse::<f64>().map_err(|_| bad())? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(total).map_err(|_| bad())
}

/// A duration as Go prints it: `30m0s`, `1h0m0s`, `500ms`.
pub(crate) fn span(time: Duration) -> String {
    let whole = time.as_secs();
    if whole == 0 && !time.is_zero() {
        return format!("{}ms", time.as_millis());
    }
    let (h, m, s) = (whole / HOUR, whole % HOUR / MINUTE, whole % MINUTE);
    match (h, m) {
        (0, 0) => format!("{s}s"),
        (0, m) => format!("{m}m{s}s"),
        (h, m) => format!("{h}h{m}m{s}s"),
    }
}

/// Whether and how long to wait: `true`, `false` or a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// For ever.
    Ever,
    /// At most so long.
    AtMost(Duration),
}

/// Reads the value of `--wait`.
///
/// # Errors
/// Says what would be right.
pub(crate) fn wait(text: &str) -> Result<Wait, String> {
    match text {
        "true" => Ok(Wait::Ever),
        "false" => Ok(Wait::No),
        text => duration(text).map(Wait::AtMost),
    }
}

/// Reads a moment: RFC 3339, or a duration before `now`; nanoseconds since 1970.
///
/// # Errors
/// Says what would be right.
pub(crate) fn since(text: &str, now: u64) -> Result<u64, String> {
    if let Some(ns) = rkt_pod::time::parse(text) {
        return Ok(ns);
    }
    let Ok(before) = duration(text) else {
        return Err(format!(
            "`{}` is no time, such as `5m` (ago) or `2026-11-23T12:00:00Z`",
            text.escape_debug()
        ));
    };
    Ok(now.saturating_sub(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_say_them() {
        for (seconds, want) in [
            (0, "now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (3 * 60 + 59, "3 minutes ago"),
            (7200, "2 hours ago"),
            (86_400, "1 day ago"),
            (8 * 86_400, "1 week ago"),
            (61 * 86_400, "2 months ago"),
            (800 * 86_400, "2 years ago"),
        ] {
            assert_eq!(ago(SECOND, SECOND * (1 + seconds)), want);
        }
        assert_eq!(ago(5 * SECOND, 0), "now");
    }

    #[test]
    fn whole_times_have_a_trimmed_fraction() {
        let t = 1_795_468_200 * SECOND;
        assert_eq!(full(t), "2026-11-23 21:10:00 +0000 UTC");
        assert_eq!(full(t + 120_000_000), "2026-11-23 21:10:00.12 +0000 UTC");
        assert_eq!(full(t + 1_999_999), "2026-11-23 21:10:00.001 +0000 UTC");
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, ms) in [
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            ("300ms", 300),
            ("2d", 172_800_000),
            ("10", 10_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in [
            "",
            "s",
            "1x",
            "-5s",
            "1h30",
            "1..2s",
            "1e400s",
            "99999999999999999999h",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for (ms, want) in [
            (0, "0s"),
            (500, "500ms"),
            (1_800_000, "30m0s"),
            (3_661_000, "1h1m1s"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), want);
        }
        assert_eq!(wait("true"), Ok(Wait::Ever));
        assert_eq!(wait("1s"), Ok(Wait::AtMost(Duration::from_secs(1))));
        assert!(wait("yes").is_err());
        let noon = rkt_pod::time::parse("2026-11-23T12:00:00Z").unwrap();
        assert_eq!(since("1h", noon), Ok(noon - 3600 * SECOND));
        assert_eq!(since("2026-11-23T12:00:00Z", 0), Ok(noon));
        assert!(since("yesterday", noon).is_err());
    }
}
