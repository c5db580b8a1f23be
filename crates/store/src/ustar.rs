//! Heads of tar entries that this crate writes itself: short names, owner root, time 0.

/// The 512 bytes before an entry's data. `name` has at most 100 bytes; a size of 8 GiB and more
/// is written in base 256, as GNU tar does.
pub(crate) fn header(name: &str, mode: u32, kind: u8, size: u64) -> [u8; 512] {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in header.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(0, name.as_bytes());
    put(100, format!("{:07o}", mode & 0o7777).as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    if size < 1 << 33 {
        put(124, format!("{size:011o}").as_bytes());
    } else {
        put(124, &[0x80]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    let text = format!("{sum:06o}\0 ");
    for (to, from) in header.iter_mut().skip(148).zip(text.as_bytes()) {
        *to = *from;
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_octal_and_from_8_gib_on_base_256() {
        assert_eq!(&header("f", 0o644, b'0', 8)[124..136], b"00000000010\0");
        let large = header("f", 0o644, b'0', 9 << 30);
        assert_eq!(large[124..136], [0x80, 0, 0, 0, 0, 0, 0, 2, 0x40, 0, 0, 0]);
    }
}
