//! Clock and calendar: nanoseconds since 1970, and RFC 3339 in UTC.
//!
//! Written here because the supervisor prints one timestamp for each line an app writes:
//! no time zone, no allocation, no library.

use rustix::time::{ClockId, clock_gettime};

const SECOND: u64 = 1_000_000_000;

/// Length of what [`rfc3339`] prints: `2026-11-23T21:10:00.123456789Z`.
pub const RFC3339_LEN: usize = 30;

/// Nanoseconds since 1970 (`CLOCK_REALTIME`); 0 when the clock stands before.
pub fn now() -> u64 {
    let t = clock_gettime(ClockId::Realtime);
    u64::try_from(t.tv_sec).unwrap_or(0) * SECOND + u64::try_from(t.tv_nsec).unwrap_or(0)
}

/// Nanoseconds since 1970 from what `stat(2)` says.
pub(crate) fn of<N: TryInto<u64>>(seconds: i64, nanoseconds: N) -> Option<u64> {
    u64::try_from(seconds)
        .ok()?
        .checked_mul(SECOND)?
        .checked_add(nanoseconds.try_into().ok()?)
}

/// A moment as the calendar has it, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// 1970..=2554 (the range of nanoseconds in 64 bits).
    pub year: u16,
    /// 1..=12.
    pub month: u8,
    /// 1..=31.
    pub day: u8,
    /// 0..=23.
    pub hour: u8,
    /// 0..=59.
    pub minute: u8,
    /// 0..=59; Unix time has no leap seconds.
    pub second: u8,
    /// 0..=999_999_999.
    pub nanosecond: u32,
}

/// Splits nanoseconds since 1970 into calendar fields.
///
/// Years are counted from March, so that the leap day is the last of its year, in eras of
/// 400 years (146 097 days), which repeat exactly.
pub fn civil(ns: u64) -> Civil {
    let seconds = ns / SECOND;
    // Days since 0000-03-01; 719 468 of them had passed on 1970-01-01.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 31 30 31 30 31 days, five at a time 153.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let of_day = seconds % 86_400;
    // Each value is in the range its field documents, far inside the type.
    Civil {
        year: year as u16,
        month: month as u8,
        day: day as u8,
        hour: (of_day / 3600) as u8,
        minute: (of_day / 60 % 60) as u8,
        second: (of_day % 60) as u8,
        nanosecond: (ns % SECOND) as u32,
    }
}

/// `2026-11-23T21:10:00.123456789Z`: always 30 bytes, so texts sort like times.
pub fn rfc3339(ns: u64) -> [u8; RFC3339_LEN] {
    let c = civil(ns);
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    let mut put = |at: std::ops::Range<usize>, mut value: u32| {
        for digit in out.get_mut(at).unwrap_or_default().iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0..4, c.year.into());
    put(5..7, c.month.into());
    put(8..10, c.day.into());
    put(11..13, c.hour.into());
    put(14..16, c.minute.into());
    put(17..19, c.second.into());
    put(20..29, c.nanosecond);
    out
}

/// [`rfc3339`] as text.
pub fn text(ns: u64) -> String {
    rfc3339(ns).iter().map(|b| char::from(*b)).collect()
}

/// Days from 1970-01-01 to a date; `None` when the date is before, or is none.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let long = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last =
        *long.get(usize::try_from(month.checked_sub(1)?).ok()?)? + u64::from(leap && month == 2);
    if !(1..=last).contains(&day) || year < 1970 {
        return None;
    }
    let from_march = (month + 9) % 12;
    let y = year - u64::from(month <= 2);
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    (y * 365 + y / 4 - y / 100 + y / 400 + day_of_year).checked_sub(719_468)
}

/// Reads RFC 3339: `2026-11-23T21:10:00[.123][Z|+01:00]`; `T` may be a space, no zone is UTC, and
/// the time of day may be missing.
pub fn parse(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |at: std::ops::Range<usize>| -> Option<u64> {
        let part = bytes.get(at)?;
        part.iter().all(u8::is_ascii_digit).then_some(())?;
        std::str::from_utf8(part).ok()?.parse().ok()
    };
    let is = |at: usize, what: &[u8]| bytes.get(at).is_some_and(|b| what.contains(b));
    if !is(4, b"-") || !is(7, b"-") {
        return None;
    }
    let mut seconds = days(number(0..4)?, number(5..7)?, number(8..10)?)? * 86_400;
    let mut nanos = 0;
    if bytes.len() > 10 {
        if !is(10, b"Tt ") || !is(13, b":") || !is(16, b":") {
            return None;
        }
        let (h, m, s) = (number(11..13)?, number(14..16)?, number(17..19)?);
        if h > 23 || m > 59 || s > 60 {
            return None;
        }
        seconds += h * 3600 + m * 60 + s;
        let mut at = 19;
        if is(at, b".") {
            let digits = bytes.get(20..)?.iter().take_while(|b| b.is_ascii_digit());
            let n = digits.count();
            if n == 0 || n > 9 {
                return None;
            }
            nanos = number(20..20 + n)? * 10u64.pow(u32::try_from(9 - n).ok()?);
            at = 20 + n;
        }
        match bytes.get(at..)? {
            b"" | b"Z" | b"z" => {}
            [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
                let offset = number(at + 1..at + 3)? * 3600 + number(at + 4..at + 6)? * 60;
                seconds = match sign {
                    b'+' => seconds.checked_sub(offset)?,
                    _ => seconds + offset,
                };
            }
            _ => return None,
        }
    }
    seconds.checked_mul(SECOND)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_print_as_everybody_prints_them() {
        for (ns, want) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400 * SECOND, "2000-02-29T00:00:00.000000000Z"),
            (1_709_164_800 * SECOND + 1, "2024-02-29T00:00:00.000000001Z"),
            (4_107_542_399 * SECOND, "2100-02-28T23:59:59.000000000Z"),
            (4_107_542_400 * SECOND, "2100-03-01T00:00:00.000000000Z"),
            (1_795_468_200_123_456_789, "2026-11-23T21:10:00.123456789Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(text(ns), want);
            assert_eq!(parse(want), Some(ns), "{want}");
        }
    }

    #[test]
    fn every_day_of_five_centuries_follows_the_one_before() {
        let mut last = civil(0);
        for day in 1..213_000u64 {
            let c = civil(day * 86_400 * SECOND);
            let next = match (c.day, c.month) {
                (1, 1) => (last.day, last.month, last.year + 1) == (31, 12, c.year),
                (1, m) => last.month + 1 == m && last.day >= 28 && last.year == c.year,
                (d, m) => (last.day + 1, last.month, last.year) == (d, m, c.year),
            };
            assert!(next, "{last:?} {c:?}");
            assert_eq!(
                parse(&text(day * 86_400 * SECOND)),
                Some(day * 86_400 * SECOND)
            );
            last = c;
        }
    }

    #[test]
    fn other_spellings_are_read_and_nonsense_is_not() {
        let noon = parse("2026-11-23T12:00:00Z").unwrap();
        for same in [
            "2026-11-23 12:00:00",
            "2026-11-23T13:00:00+01:00",
            "2026-11-23T12:00:00.000",
            "2026-11-23T07:30:00-04:30",
        ] {
            assert_eq!(parse(same), Some(noon), "{same}");
        }
        assert_eq!(parse("2026-11-23"), parse("2026-11-23T00:00:00Z"));
        for bad in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-11-23T24:00:00",
            "1969-01-01",
            "2026-11-23T12:00:00+1",
            "2026-11-23T12:00:00.Z",
            "2026-11-23T+1:00:00",
            "9999-01-01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
