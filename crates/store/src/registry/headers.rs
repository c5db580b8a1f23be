//! Header fields whose values we compute with. What cannot be read counts as absent.

use std::time::{Duration, SystemTime};

/// The part of a whole that `Content-Range` names (RFC 9110, 14.4): first and last byte, and how
/// many there are in all when the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) whole: Option<u64>,
}

impl Part {
    /// Reads `bytes 5-9/10` or `bytes 5-9/*`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(char::is_whitespace)?;
        let (range, whole) = rest.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let part = Self {
            first: number(first)?,
            last: number(last)?,
            whole: match whole {
                "*" => None,
                digits => Some(number(digits)?),
            },
        };
        let sound = part.first <= part.last && part.whole.is_none_or(|whole| part.last < whole);
        (unit.eq_ignore_ascii_case("bytes") && sound).then_some(part)
    }

    /// Whether it goes on at `offset`, in a whole of `size` bytes where that is known.
    pub(super) fn goes_on(&self, offset: u64, size: Option<u64>) -> bool {
        self.first == offset
            && match (self.whole, size) {
                (Some(whole), Some(size)) => whole == size,
                _ => true,
            }
    }
}

/// Digits only: `parse` alone takes a sign.
fn number(text: &str) -> Option<u64> {
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    }
}

/// The pause of `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
pub(super) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Some(seconds) = number(text) {
        return Some(Duration::from_secs(seconds));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    Some(then.duration_since(now).unwrap_or_default())
}

/// Seconds that `Cache-Control` allows; 0 for `no-cache` and `no-store`.
pub(super) fn max_age(text: &str) -> Option<u64> {
    let mut age = None;
    for word in text.split(',').map(str::trim) {
        let word = word.to_ascii_lowercase();
        if matches!(word.as_str(), "no-cache" | "no-store") {
            return Some(0);
        }
        if let Some(seconds) = word.strip_prefix("max-age=") {
            age = number(seconds.trim_matches('"'));
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cache_control_is_read() {
        for (text, want) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"7\"", Some(7)),
            ("no-cache, max-age=60", Some(0)),
            ("private", None),
            ("max-age=x", None),
            ("max-age=+7", None),
        ] {
            assert_eq!(max_age(text), want, "{text}");
        }
    }

    #[test]
    fn ranges_that_contradict_themselves_are_none() {
        for text in [
            "",
            "bytes",
            "bytes 5-",
            "bytes 5-9",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes +5-9/10",
            "bytes */10",
            "items 5-9/10",
            "bytes 5-9/18446744073709551616",
        ] {
            assert_eq!(Part::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_range_is_read_as_it_is_written(
            a in any::<u64>(), b in any::<u64>(), more in prop::option::of(1..1000_u64),
            unit in "bytes|BYTES|Bytes", gap in "[ \t]{1,3}",
        ) {
            let (first, last) = (a.min(b), a.max(b));
            let whole = more.and_then(|more| last.checked_add(more));
            let end = whole.map_or("*".to_owned(), |w| w.to_string());
            let part = Part::parse(&format!("{unit}{gap}{first}-{last}/{end}"));
            prop_assert_eq!(part, Some(Part { first, last, whole }));
            prop_assert!(part.is_some_and(|p| p.goes_on(first, whole)));
            prop_assert!(!part.is_some_and(|p| p.goes_on(first.wrapping_add(1), whole)));
            if let Some(whole) = whole {
                prop_assert!(!part.is_some_and(|p| p.goes_on(first, Some(whole ^ 1))));
            }
        }

        #[test]
        fn any_text_is_a_sound_range_or_none(
            text in "(bytes|b|)[ \t]{0,2}[-+0-9/*x\u{e9}]{0,24}"
        ) {
            if let Some(part) = Part::parse(&text) {
                prop_assert!(part.first <= part.last, "{}", text);
                prop_assert!(part.whole.is_none_or(|whole| part.last < whole), "{}", text);
            }
        }

        #[test]
        fn a_pause_is_read_as_it_is_written(seconds in any::<u64>(), now in 0..4_000_000_000_u64, ahead in 0..1_000_000_u64) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            prop_assert_eq!(retry_after(&format!(" {seconds}\t"), now), Some(Duration::from_secs(seconds)));
            let date = httpdate::fmt_http_date(now + Duration::from_secs(ahead));
            prop_assert_eq!(retry_after(&date, now), Some(Duration::from_secs(ahead)));
            let past = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH);
            prop_assert_eq!(retry_after(&past, now), Some(Duration::ZERO));
        }

        #[test]
        fn any_text_is_a_pause_or_none(text in "([-+0-9]{0,30}|(Sun|Sat|Tue), [0-9 :]{0,30}(Nov|Jan|GMT| )*[0-9 :]{0,30}(GMT)?|\\PC{0,40})") {
            let _ = retry_after(&text, SystemTime::UNIX_EPOCH);
        }

        #[test]
        fn an_age_is_found_among_other_words(
            age in any::<u64>(), before in "(public|private|must-revalidate|s-maxage=1|, ){0,3}", quote in "\"?",
        ) {
            let text = format!("{before},Max-Age={quote}{age}{quote}");
            prop_assert_eq!(max_age(&text), Some(age));
            prop_assert_eq!(max_age(&format!("{text}, No-Store")), Some(0));
        }

        #[test]
        fn any_text_is_an_age_or_none(text in "(max-age|no-cache|=|,|\"|[0-9]{1,30}|\\PC){0,20}") {
            let _ = max_age(&text);
        }
    }
}
