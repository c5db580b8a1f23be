//! Heads of tar entries that this crate writes itself.

/// What the head of an entry says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Head<'a> {
    /// At most 100 bytes.
    pub(crate) name: &'a [u8],
    /// Permission bits.
    pub(crate) mode: u32,
    /// The type flag, such as `b'0'`.
    pub(crate) kind: u8,
    /// Bytes of data; 8 GiB and more is written in base 256, as GNU tar does.
    pub(crate) size: u64,
    /// Below 2^21.
    pub(crate) uid: u32,
    /// Below 2^21.
    pub(crate) gid: u32,
    /// Seconds since 1970, below 2^33.
    pub(crate) mtime: u64,
    /// Target of a link, at most 100 bytes.
    pub(crate) link: &'a [u8],
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
}

impl Head<'_> {
    /// The 512 bytes before an entry's data.
    pub(crate) fn bytes(&self) -> [u8; 512] {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in header.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };
        put(0, self.name);
        put(100, format!("{:07o}", self.mode & 0o7777).as_bytes());
        put(108, format!("{:07o}", self.uid).as_bytes());
        put(116, format!("{:07o}", self.gid).as_bytes());
        if self.size < 1 << 33 {
            put(124, format!("{:011o}", self.size).as_bytes());
        } else {
            put(124, &[0x80]);
            put(128, &self.size.to_be_bytes());
        }
        put(136, format!("{:011o}", self.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, self.link);
        put(257, b"ustar\x0000");
        if matches!(self.kind, b'3' | b'4') {
            put(329, format!("{:07o}", self.device.0).as_bytes());
            put(337, format!("{:07o}", self.device.1).as_bytes());
        }
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        let text = format!("{sum:06o}\0 ");
        for (to, from) in header.iter_mut().skip(148).zip(text.as_bytes()) {
            *to = *from;
        }
        header
    }
}

/// A head with a short name, owner root and time 0.
pub(crate) fn header(name: &str, mode: u32, kind: u8, size: u64) -> [u8; 512] {
    Head {
        name: name.as_bytes(),
        mode,
        kind,
        size,
        ..Head::default()
    }
    .bytes()
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
