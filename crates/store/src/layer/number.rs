//! Numbers and strings of tar headers.

/// A number field: octal digits between spaces and NULs, or GNU's base-256. `None` for anything
/// else, negative numbers and ones past 2^63 included.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Bit 6 is the sign.
        if first & 0x40 != 0 {
            return None;
        }
        let mut value = u64::from(first & 0x3f);
        for byte in rest {
            if value >> 55 != 0 {
                return None;
            }
            value = value << 8 | u64::from(*byte);
        }
        return Some(value);
    }
    octal(field)
}

/// A time field: as [`number`], and base-256 may be negative.
pub(crate) fn time(field: &[u8]) -> Option<i64> {
    match field.split_first()? {
        (first, rest) if first & 0xc0 == 0xc0 => {
            let mut value = i64::from((first | 0xc0).cast_signed());
            for byte in rest {
                if value < i64::MIN >> 9 {
                    return None;
                }
                value = value << 8 | i64::from(*byte);
            }
            Some(value)
        }
        _ => i64::try_from(number(field)?).ok(),
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let is_pad = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !is_pad(b)).unwrap_or(field.len());
    let digits = field.get(start..)?;
    let end = digits.iter().position(is_pad).unwrap_or(digits.len());
    let (digits, after) = digits.split_at(end);
    if !after.iter().all(is_pad) {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'7' if value >> 60 == 0 => Some(value << 3 | u64::from(byte - b'0')),
        _ => None,
    })
}

/// A string field: up to the first NUL.
pub(crate) fn string(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    field.get(..end).unwrap_or(&[])
}

/// Decimal digits only.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Decimal seconds with a sign and a fraction, as whole seconds and nanoseconds towards +∞.
/// Digits past the ninth are cut.
pub(crate) fn seconds(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        text => (false, text),
    };
    let point = text.iter().position(|b| *b == b'.');
    let (whole, fraction) = match point {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, &[][..]),
    };
    let whole = i64::try_from(decimal(whole)?).ok()?;
    let mut nanos = 0u32;
    for index in 0..9 {
        let digit = match fraction.get(index) {
            Some(b @ b'0'..=b'9') => u32::from(b - b'0'),
            Some(_) => return None,
            None => 0,
        };
        nanos = nanos * 10 + digit;
    }
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(match (negative, nanos) {
        (false, n) => (whole, n),
        (true, 0) => (-whole, 0),
        (true, n) => (-whole - 1, 1_000_000_000 - n),
    })
}

/// Bytes of standard base64, with or without its padding.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |n| n + 1);
    let mut out = Vec::with_capacity(end / 4 * 3 + 2);
    for group in text.get(..end)?.chunks(4) {
        let mut value = 0u32;
        for byte in group {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            value = value << 6 | u32::from(digit);
        }
        let missing = 4 - group.len();
        if missing > 2 {
            return None;
        }
        let bytes = (value << (6 * missing)).to_be_bytes();
        out.extend_from_slice(bytes.get(1..4 - missing)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256_and_never_negative() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b" 644 \0\0 ", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"12x4", None),
            (b"12 34", None),
            (b"89", None),
            (b"", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
        assert_eq!(time(&[0xff; 12]), Some(-1));
        assert_eq!(time(b"\xff\0\0\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(time(b"00000000017\0"), Some(15));
    }

    #[test]
    fn seconds_round_down_and_keep_their_fraction() {
        for (text, value) in [
            ("1.25", Some((1, 250_000_000))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-2", Some((-2, 0))),
            ("0.123456789999", Some((0, 123_456_789))),
            ("17179869183", Some((17_179_869_183, 0))),
            ("1.", Some((1, 0))),
            ("", None),
            ("1.x", None),
            ("1e9", None),
            ("--1", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn base64_reads_with_and_without_padding() {
        assert_eq!(base64(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64(b"aGVsbG8").unwrap(), b"hello");
        assert_eq!(base64(b"").unwrap(), b"");
        assert!(base64(b"a").is_none());
        assert!(base64(b"a*==").is_none());
    }
}
