//! What an app wrote, made harmless for the operator's terminal.
//!
//! Colours (`ESC [ ... m`), tabs and every printable character stay; all other control
//! characters and bytes that are no UTF-8 show as `\x1b`. Only for terminals: a file or
//! pipe gets the bytes as they are.

/// Text of strangers for one line or cell of ours: no control character at all.
pub fn line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Appends `text` to `out`, harmless.
pub fn terminal(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(n) = colour(rest) {
            out.extend_from_slice(rest.get(..n).unwrap_or(&[]));
            rest = rest.get(n..).unwrap_or(&[]);
            continue;
        }
        // Up to the next colour, at least one byte.
        let end = rest
            .iter()
            .enumerate()
            .skip(1)
            .find(|(_, b)| **b == 0x1b)
            .map_or(rest.len(), |(i, _)| i);
        let (part, after) = rest.split_at(end);
        for chunk in part.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() && c != '\t' {
                    let mut utf8 = [0u8; 4];
                    c.encode_utf8(&mut utf8).bytes().for_each(|b| hex(b, out));
                } else {
                    out.extend_from_slice(c.encode_utf8(&mut [0u8; 4]).as_bytes());
                }
            }
            chunk.invalid().iter().for_each(|b| hex(*b, out));
        }
        rest = after;
    }
}

fn hex(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
}

/// Length of the colour sequence that begins here.
fn colour(text: &[u8]) -> Option<usize> {
    let body = text.strip_prefix(b"\x1b[")?;
    let n = body
        .iter()
        .take(32)
        .take_while(|b| b.is_ascii_digit() || **b == b';' || **b == b':')
        .count();
    (body.get(n) == Some(&b'm')).then_some(n + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_everything_else_is_shown() {
        for (text, want) in [
            (&b"plain\ttext \xc3\xa4"[..], "plain\ttext ä"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            (b"\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
            (b"\x1b[6n\x1b[", "\\x1b[6n\\x1b["),
            (b"a\rb\x00\xff", "a\\x0db\\x00\\xff"),
            (b"\xc2\x9b31m", "\\xc2\\x9b31m"),
            (b"", ""),
        ] {
            let mut out = Vec::new();
            terminal(text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }
}
