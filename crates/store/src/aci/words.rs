//! The small words of appc: identifiers, versions, architectures, quantities.
//!
//! Source: appc 0.8.11, "types". Read as the original's code reads them, which is wider than the
//! prose where the two differ: images of both kinds exist.

use crate::error::{Error, Kind, Result};
use rkt_spec::quantity;

/// Longest identifier; names of images become paths and addresses.
const LONGEST: usize = 1024;

/// Bytes of a stranger's word that a message shows.
pub(crate) fn show(text: &str) -> String {
    let cut: String = text.chars().take(100).collect();
    cut.escape_debug().to_string()
}

pub(crate) fn bad(why: impl Into<String>) -> Error {
    Error::new(Kind::Corrupt, why)
}

/// An AC Identifier: `[a-z0-9-._~/]`, letters and digits at its ends.
///
/// Narrower than the original in one thing: no empty part and no `.` or `..` between slashes,
/// for names become paths of addresses and of key directories.
pub(crate) fn identifier(text: &str) -> Result<()> {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    let good = bytes.len() <= LONGEST
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| {
            b.is_ascii_lowercase()
                || b.is_ascii_digit()
                || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/')
        })
        && !text.split('/').any(|part| matches!(part, "" | "." | ".."));
    if good {
        return Ok(());
    }
    Err(bad(format!(
        "`{}` is no AC Identifier: it needs `a-z`, `0-9` and inner `-._~/`",
        show(text)
    )))
}

/// A SemVer 2.0.0 version of appc that this reader knows: 0.x, not 0.0.0.
pub(crate) fn version(text: &str) -> Result<()> {
    let core = text.split(['-', '+']).next().unwrap_or(text);
    let numbers: Vec<Option<u64>> = core
        .split('.')
        .map(|n| {
            let plain = !n.is_empty() && n.len() <= 9 && n.bytes().all(|b| b.is_ascii_digit());
            n.parse()
                .ok()
                .filter(|_| plain && (n == "0" || !n.starts_with('0')))
        })
        .collect();
    match numbers.as_slice() {
        [Some(0), Some(0), Some(0)] => Err(bad("acVersion is 0.0.0")),
        [Some(0), Some(_), Some(_)] => Ok(()),
        [Some(major), Some(_), Some(_)] => Err(Error::new(
            Kind::Unsupported,
            format!("the image is of appc version {major}, rkt knows version 0.8.11"),
        )),
        _ => Err(bad(format!("acVersion `{}` is no version", show(text)))),
    }
}

/// Architectures: appc's word, Go's word, Go's variant.
const ARCHITECTURES: &[(&str, &str, &str)] = &[
    ("amd64", "amd64", ""),
    ("i386", "386", ""),
    ("aarch64", "arm64", "v8"),
    ("aarch64_be", "arm64be", ""),
    ("armv6l", "arm", "v6"),
    ("armv7l", "arm", "v7"),
    ("armv7b", "armbe", ""),
    ("ppc64", "ppc64", ""),
    ("ppc64le", "ppc64le", ""),
    ("s390x", "s390x", ""),
    // Not in appc, which ended before them.
    ("riscv64", "riscv64", ""),
    ("loong64", "loong64", ""),
];

/// Go's architecture and variant for the label `arch` of an image for `os`.
///
/// # Errors
/// When appc does not know the pair.
pub(crate) fn architecture(os: &str, arch: &str) -> Result<(String, String)> {
    let (go, variant) = match os {
        "linux" => ARCHITECTURES
            .iter()
            .find(|(appc, ..)| *appc == arch)
            .map(|(_, go, variant)| (*go, *variant)),
        "freebsd" => [("amd64", "amd64"), ("i386", "386"), ("arm", "arm")]
            .iter()
            .find(|(appc, _)| *appc == arch)
            .map(|(_, go)| (*go, "")),
        "darwin" => [("x86_64", "amd64"), ("i386", "386")]
            .iter()
            .find(|(appc, _)| *appc == arch)
            .map(|(_, go)| (*go, "")),
        _ => {
            return Err(bad(format!(
                "label `os` is `{}`, which appc does not know",
                show(os)
            )));
        }
    }
    .ok_or_else(|| {
        bad(format!(
            "label `arch` is `{}`, which appc does not know for `{}`",
            show(arch),
            os
        ))
    })?;
    Ok((go.to_owned(), variant.to_owned()))
}

/// appc's word for Go's architecture and variant, for discovery; as it is when appc has none.
pub(crate) fn appc_architecture(go: &str, variant: &str) -> String {
    ARCHITECTURES
        .iter()
        .find(|(_, g, v)| *g == go && (*v == variant || variant.is_empty()))
        .map_or(go, |(appc, ..)| appc)
        .to_owned()
}

/// Whether appc allows it as the name of a variable.
pub(crate) fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A quantity in JSON, a string or a number, as a whole number of thousandths.
pub(crate) fn quantity(value: &serde_json::Value) -> Result<u64> {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        _ => return Err(bad("a quantity is neither text nor a number")),
    };
    Ok(quantity::milli(text.strip_prefix('+').unwrap_or(&text))?)
}

/// RFC 3339 with `T`, as far as a note needs it.
pub(crate) fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes
            .get(range)
            .is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let byte = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|b| any.contains(b));
    let shape = digits(0..4) && byte(4, b"-") && digits(5..7) && byte(7, b"-") && digits(8..10);
    let time = byte(10, b"Tt") && digits(11..13) && byte(13, b":") && digits(14..16);
    let seconds = byte(16, b":") && digits(17..19);
    let zone = text.get(19..).is_some_and(|rest| {
        let rest = match rest.strip_prefix('.') {
            Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
            None => rest,
        };
        matches!(rest, "Z" | "z") || (rest.len() == 6 && rest.starts_with(['+', '-']))
    });
    shape && time && seconds && zone
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn identifiers_are_read_as_the_original_reads_them() {
        for good in ["example.com/app", "a--b", "0", "quay.io/x/y_z~1"] {
            assert!(identifier(good).is_ok(), "{good}");
        }
        for bad in [
            "", "-a", "a-", "A", "a//b", "a/../b", "a b", "a:b", "a/", "ä", "a\n",
        ] {
            assert!(identifier(bad).is_err(), "{bad:?}");
        }
        assert!(identifier(&"a".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn versions_and_dates() {
        for good in ["0.8.11", "0.1.0", "0.8.11+git", "0.5.1-rc.1"] {
            assert!(version(good).is_ok(), "{good}");
        }
        for bad in ["", "0.8", "0.0.0", "v0.8.1", "1.0.0", "0.8.x", "0.08.1"] {
            assert!(version(bad).is_err(), "{bad}");
        }
        for (text, want) in [
            ("2014-10-27T19:32:27.67021798Z", true),
            ("2014-10-27T19:32:27+02:00", true),
            ("2014-10-27", false),
            ("2014-10-27 19:32:27Z", false),
            ("x", false),
        ] {
            assert_eq!(is_date(text), want, "{text}");
        }
    }

    #[test]
    fn architectures_go_both_ways() {
        assert_eq!(
            architecture("linux", "aarch64").unwrap(),
            ("arm64".into(), "v8".into())
        );
        assert_eq!(architecture("linux", "i386").unwrap().0, "386");
        assert!(architecture("linux", "x86_64").is_err());
        assert!(architecture("plan9", "amd64").is_err());
        assert_eq!(appc_architecture("arm64", "v8"), "aarch64");
        assert_eq!(appc_architecture("amd64", ""), "amd64");
        assert_eq!(appc_architecture("arm", "v6"), "armv6l");
    }

    #[test]
    fn quantities_are_text_or_numbers() {
        for (value, want) in [
            (json!("500m"), 500),
            (json!("1G"), 1_000_000_000_000),
            (json!(2), 2000),
            (json!("+1"), 1000),
            (json!("2e3"), 2_000_000),
        ] {
            assert_eq!(quantity(&value).unwrap(), want, "{value}");
        }
        for bad in [
            json!("-1"),
            json!("1K"),
            json!(null),
            json!([]),
            json!("1e"),
            json!("1e99"),
        ] {
            assert!(quantity(&bad).is_err(), "{bad}");
        }
    }
}
