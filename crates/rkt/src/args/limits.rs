//! `--layer-limits`: how much a layer may ask for.

use rkt_spec::quantity;
use rkt_store::layer::Limits;

/// The words and what they mean, for help and errors.
pub(crate) const WORDS: &str = "bytes=SIZE,ratio=N,entries=N,depth=N,metadata=SIZE";

/// Reads `bytes=128Gi,ratio=1000`; what is not named keeps its default.
///
/// # Errors
/// Says which word or number is wrong, and what would be right.
pub(crate) fn limits(text: &str) -> Result<Limits, String> {
    let mut limits = Limits::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (word, value) = part
            .split_once('=')
            .ok_or_else(|| format!("`{}` lacks its `=NUMBER`", part.escape_debug()))?;
        let number = match word {
            "bytes" | "metadata" => quantity::bytes(value),
            _ => quantity::whole(value),
        };
        let number = number.map_err(|e| format!("{word}: {e}"))?;
        let within = |low: u64, high: u64| match (low..=high).contains(&number) {
            true => Ok(number),
            false => Err(format!("{word} is {number}; needs {low} to {high}")),
        };
        match word {
            "bytes" => limits.bytes = within(1, 1 << 50)?,
            "ratio" => limits.ratio = within(1, u64::from(u32::MAX))?,
            "entries" => limits.entries = within(1, u64::from(u32::MAX))?,
            "depth" => limits.depth = u16::try_from(within(1, 2048)?).unwrap_or(2048),
            "metadata" => limits.metadata = within(1 << 20, 64 << 30)?,
            _ => {
                return Err(format!(
                    "there is no limit `{}`, only {WORDS}",
                    word.escape_debug()
                ));
            }
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_changes_and_the_rest_stays() {
        let limits = limits("bytes=128Gi,depth=2000,").unwrap();
        let wanted = Limits {
            bytes: 128 << 30,
            depth: 2000,
            ..Limits::default()
        };
        assert_eq!(limits, wanted);
        for bad in [
            "bytes",
            "bytes=x",
            "bytes=0",
            "depth=100000",
            "size=1",
            "ratio=0",
            "metadata=1",
        ] {
            assert!(super::limits(bad).is_err(), "{bad}");
        }
    }
}
