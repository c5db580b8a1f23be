//! Quantities of resources, as appc writes them: `500m`, `64Mi`, `1.5G`.

use crate::error::Error;

/// Reads a quantity in thousandths of its unit, rounded up.
///
/// Suffixes: `n u m` (10^-9, -6, -3), none, `k M G T P E` (10^3..18), `Ki Mi Gi Ti Pi Ei`
/// (2^10..60), `eN` and `EN` (10^N). Source: appc 0.8.11, "resource quantities"; lower-case `k` only.
///
/// # Errors
/// When the text is no number with a known suffix, is negative, or does not fit.
pub fn milli(text: &str) -> Result<u64, Error> {
    let bad = || {
        Error::new(
            "quantity",
            text,
            "needs a number with one of `m k M G T P E Ki Mi Gi Ti Pi Ei`, such as `64Mi` or `500m`",
        )
    };
    let digits = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    let (number, suffix) = text.split_at_checked(digits).ok_or_else(bad)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return Err(bad());
    }
    let scale: u128 = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => 1_000_000_000,
        "k" => 1_000_000_000_000,
        "M" => 10u128.pow(15),
        "G" => 10u128.pow(18),
        "T" => 10u128.pow(21),
        "P" => 10u128.pow(24),
        "E" => 10u128.pow(27),
        "Ki" => 1_000_000_000 << 10,
        "Mi" => 1_000_000_000 << 20,
        "Gi" => 1_000_000_000 << 30,
        "Ti" => 1_000_000_000 << 40,
        "Pi" => 1_000_000_000 << 50,
        "Ei" => 1_000_000_000 << 60,
        other => exponent(other).ok_or_else(bad)?,
    };
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| bad())?
    };
    let fraction_value: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().map_err(|_| bad())?
    };
    let nano = whole.checked_mul(scale).ok_or_else(bad)?
        + (fraction_value * scale).div_ceil(10u128.pow(u32::try_from(fraction.len()).unwrap_or(0)));
    u64::try_from(nano.div_ceil(1_000_000)).map_err(|_| bad())
}

/// The scale, in 10^-9, of a decimal exponent such as `e3` or `E-2`.
fn exponent(suffix: &str) -> Option<u128> {
    let digits = suffix.strip_prefix(['e', 'E'])?;
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    if digits.is_empty() || digits.len() > 2 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u32 = digits.parse().ok()?;
    let power = if negative {
        9u32.checked_sub(n)?
    } else {
        9 + n
    };
    if power > 27 {
        return None;
    }
    Some(10u128.pow(power))
}

/// Reads a quantity in whole units (bytes, tasks), rounded up.
///
/// # Errors
/// As [`milli`].
pub fn whole(text: &str) -> Result<u64, Error> {
    Ok(milli(text)?.div_ceil(1000))
}

/// Reads a size in bytes; besides appc's suffixes docker's `k m g` with optional `b` in any case, and
/// `KiB MiB GiB TiB`.
///
/// `64m` is 64 MiB here, because that is what docker's users mean by `--memory=64m`; appc's
/// own `500m` (half a unit) makes no sense for bytes.
///
/// # Errors
/// As [`milli`].
pub fn bytes(text: &str) -> Result<u64, Error> {
    let lower = text.to_ascii_lowercase();
    let stem = lower.strip_suffix("ib").or(lower.strip_suffix('b'));
    let stem = stem.unwrap_or(&lower);
    for (suffix, shift) in [("k", 10u32), ("m", 20), ("g", 30), ("t", 40)] {
        if let Some(number) = stem.strip_suffix(suffix)
            && (text.ends_with(['k', 'm', 'g', 't', 'b', 'B']))
        {
            let thousandths = milli(number)?;
            return thousandths
                .checked_mul(1 << shift)
                .map(|v| v.div_ceil(1000))
                .ok_or_else(|| Error::new("size", text, "is too large"));
        }
    }
    whole(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_appc_and_docker() {
        for (text, want) in [
            ("500m", 500),
            ("1", 1000),
            ("0.5", 500),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("1n", 1),
            ("2e3", 2_000_000),
            ("5E-1", 500),
        ] {
            assert_eq!(milli(text).unwrap(), want, "{text}");
        }
        for (text, want) in [
            ("64Mi", 64 << 20),
            ("64m", 64 << 20),
            ("1g", 1 << 30),
            ("512kb", 512 << 10),
            ("1MiB", 1 << 20),
            ("1.5GiB", 3 << 29),
            ("4096", 4096),
            ("1G", 1_000_000_000),
        ] {
            assert_eq!(bytes(text).unwrap(), want, "{text}");
        }
        for bad in [
            "",
            "m",
            "1K",
            "1.2.3",
            "-1",
            "1e9x",
            "99999999999999999999E",
            "1 Mi",
        ] {
            assert!(milli(bad).is_err(), "{bad}");
        }
    }
}
