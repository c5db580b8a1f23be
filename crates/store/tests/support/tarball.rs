//! Writing tars, good ones and bad ones.

/// A tar that grows.
#[derive(Default, Clone)]
pub struct Tarball(pub Vec<u8>);

/// One header, with fields that a test may twist before it is put.
#[derive(Clone)]
pub struct Header {
    pub name: Vec<u8>,
    pub kind: u8,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: i64,
    pub data: Vec<u8>,
    /// Size in the header, when it is not the data's.
    pub size: Option<u64>,
    pub major: u64,
    pub minor: u64,
    /// Records of an extended header before it.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
}

pub fn header(name: impl AsRef<[u8]>, kind: u8) -> Header {
    Header {
        name: name.as_ref().to_vec(),
        kind,
        link: Vec::new(),
        mode: if kind == b'5' { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        mtime: 1_700_000_000,
        data: Vec::new(),
        size: None,
        major: 0,
        minor: 0,
        pax: Vec::new(),
    }
}

pub fn file(name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Header {
    Header {
        data: data.as_ref().to_vec(),
        ..header(name, b'0')
    }
}

pub fn dir(name: impl AsRef<[u8]>) -> Header {
    header(name, b'5')
}

pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Header {
    header(name, b'2').link(target)
}

pub fn hard(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Header {
    header(name, b'1').link(target)
}

impl Header {
    pub fn link(mut self, target: impl AsRef<[u8]>) -> Self {
        self.link = target.as_ref().to_vec();
        self
    }
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }
    pub fn mtime(mut self, mtime: i64) -> Self {
        self.mtime = mtime;
        self
    }
    pub fn device(mut self, major: u64, minor: u64) -> Self {
        (self.major, self.minor) = (major, minor);
        self
    }
    pub fn pax(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.pax
            .push((key.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }
    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(format!("SCHILY.xattr.{name}"), value)
    }

    /// The 512 bytes of this header alone.
    pub fn block(&self) -> [u8; 512] {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, &number(self.uid, 8));
        put(116, &number(self.gid, 8));
        put(
            124,
            &number(self.size.unwrap_or(self.data.len() as u64), 12),
        );
        put(136, &time(self.mtime));
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, &number(self.major, 8));
        put(337, &number(self.minor, 8));
        seal(&mut block);
        block
    }
}

/// Puts the right sum into a header.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn number(value: u64, len: usize) -> Vec<u8> {
    let text = format!("{value:0width$o}", width = len - 1);
    if text.len() < len {
        return [text.as_bytes(), &[0]].concat();
    }
    let mut out = vec![0; len];
    out[len - 8..].copy_from_slice(&value.to_be_bytes());
    if len > 8 {
        out[0] = 0x80;
    } else {
        out[0] |= 0x80;
    }
    out
}

fn time(value: i64) -> Vec<u8> {
    match u64::try_from(value) {
        Ok(value) => number(value, 12),
        Err(_) => [&[0xff; 4][..], &value.to_be_bytes()].concat(),
    }
}

impl Tarball {
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an entry, with an extended header where its words do not fit.
    pub fn put(mut self, entry: Header) -> Self {
        let mut entry = entry;
        if entry.name.len() > 100 {
            entry = entry.clone().pax("path", &entry.name);
        }
        if entry.link.len() > 100 {
            entry = entry.clone().pax("linkpath", &entry.link);
        }
        if !entry.pax.is_empty() {
            let mut records = Vec::new();
            for (key, value) in &entry.pax {
                records.extend(record(key, value));
            }
            let mut pax = header("pax", b'x');
            pax.data = records;
            self = self.raw(&pax);
        }
        self.raw(&entry)
    }

    /// Puts a header and its data as they are.
    pub fn raw(mut self, header: &Header) -> Self {
        self.0.extend(header.block());
        self.0.extend(&header.data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}
