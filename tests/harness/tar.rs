//! A writer of tar archives that lets one write anything, however wrong.

/// Type of an entry, as the byte in its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A hard link to the entry's link name.
    Hard,
    /// A symbolic link to the entry's link name.
    Symbolic,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// Any other byte.
    Other(u8),
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::File => b'0',
            Self::Hard => b'1',
            Self::Symbolic => b'2',
            Self::Character => b'3',
            Self::Block => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
            Self::Other(byte) => byte,
        }
    }
}

/// One entry; the defaults make a file of mode 0644 and user 0.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path, as bytes.
    pub path: Vec<u8>,
    /// Type.
    pub kind: Kind,
    /// Link name.
    pub link: Vec<u8>,
    /// Content.
    pub data: Vec<u8>,
    /// The size that the head claims, if it is not the content's.
    pub claimed: Option<u64>,
    /// Permission bits.
    pub mode: u32,
    /// User.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Device numbers.
    pub device: (u32, u32),
    /// PAX records of this entry.
    pub pax: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// Of this path and type.
    pub fn new(path: impl AsRef<[u8]>, kind: Kind) -> Self {
        Self {
            path: path.as_ref().to_vec(),
            kind,
            link: Vec::new(),
            data: Vec::new(),
            claimed: None,
            mode: if kind == Kind::Directory {
                0o755
            } else {
                0o644
            },
            uid: 0,
            gid: 0,
            device: (0, 0),
            pax: Vec::new(),
        }
    }

    /// A file with content.
    pub fn file(path: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        let mut entry = Self::new(path, Kind::File);
        entry.data = data.as_ref().to_vec();
        entry
    }

    /// A directory.
    pub fn dir(path: impl AsRef<[u8]>) -> Self {
        Self::new(path, Kind::Directory)
    }

    /// A symbolic link.
    pub fn link(path: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        let mut entry = Self::new(path, Kind::Symbolic);
        entry.link = to.as_ref().to_vec();
        entry
    }

    /// A hard link.
    pub fn hard(path: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        let mut entry = Self::new(path, Kind::Hard);
        entry.link = to.as_ref().to_vec();
        entry
    }

    /// The same with these permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The same with this owner.
    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// The same with a PAX record more.
    #[must_use]
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }
}

/// The whole archive.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        put(entry, &mut out);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

fn put(entry: &Entry, out: &mut Vec<u8>) {
    let mut pax = entry.pax.clone();
    for (key, bytes) in [("path", &entry.path), ("linkpath", &entry.link)] {
        if bytes.len() > 100 {
            pax.push((key.to_owned(), bytes.clone()));
        }
    }
    if !pax.is_empty() {
        let body: Vec<u8> = pax.iter().flat_map(|(k, v)| record(k, v)).collect();
        let mut head = Entry::new("pax", Kind::Other(b'x'));
        head.data = body;
        block(&head, out);
    }
    block(entry, out);
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut out = format!("{length} {key}=").into_bytes();
    out.extend_from_slice(value);
    out.push(b'\n');
    out
}

fn block(entry: &Entry, out: &mut Vec<u8>) {
    let mut head = [0u8; 512];
    let mut set = |at: usize, bytes: &[u8], most: usize| {
        let n = bytes.len().min(most);
        head[at..at + n].copy_from_slice(&bytes[..n]);
    };
    let octal = |n: u64, digits: usize| format!("{n:0digits$o}").into_bytes();
    set(0, &entry.path, 100);
    set(100, &octal(u64::from(entry.mode), 7), 7);
    set(108, &octal(entry.uid, 7), 7);
    set(116, &octal(entry.gid, 7), 7);
    set(
        124,
        &octal(entry.claimed.unwrap_or(entry.data.len() as u64), 11),
        11,
    );
    set(136, &octal(1_700_000_000, 11), 11);
    set(156, &[entry.kind.byte()], 1);
    set(157, &entry.link, 100);
    set(257, b"ustar\x0000", 8);
    set(329, &octal(u64::from(entry.device.0), 7), 7);
    set(337, &octal(u64::from(entry.device.1), 7), 7);
    head[148..156].fill(b' ');
    let sum: u64 = head.iter().map(|b| u64::from(*b)).sum();
    head[148..154].copy_from_slice(&octal(sum, 6));
    head[154] = 0;
    out.extend_from_slice(&head);
    out.extend_from_slice(&entry.data);
    out.resize(out.len().next_multiple_of(512), 0);
}
