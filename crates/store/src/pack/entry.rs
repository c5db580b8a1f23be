//! The head of one entry, with an extended header (pax) where ustar has no room.

use crate::error::Result;
use crate::ustar::Head;
use rustix::fd::BorrowedFd;
use rustix::fs::Stat;
use rustix::io::Errno;

/// Owners of one app: as many as a slot of a pod's block has.
const IDS: u32 = 65_536;
/// Largest number in seven octal digits.
const MOST: u32 = 0o7_777_777;

/// From owners on the host to those that the app knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owners(Option<u32>);

impl Owners {
    pub(super) fn new(base: Option<u32>) -> Self {
        Self(base)
    }

    /// The app's id for an id of the disk; one that is not the app's stays.
    pub(super) fn own(self, id: u32) -> u32 {
        match self.0.and_then(|base| id.checked_sub(base)) {
            Some(own) if own < IDS => own,
            _ => id,
        }
    }
}

/// An entry of the archive.
pub(super) struct Entry<'a> {
    pub(super) path: Vec<u8>,
    pub(super) kind: u8,
    pub(super) link: &'a [u8],
    pub(super) stat: &'a Stat,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Names and values.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry<'_> {
    /// All that comes before the data.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut pax = Vec::new();
        let long = |bytes: &[u8]| bytes.len() > 100;
        if long(&self.path) {
            record(&mut pax, b"path", &self.path);
        }
        if long(self.link) {
            record(&mut pax, b"linkpath", self.link);
        }
        for (key, id) in [(b"uid", self.uid), (b"gid", self.gid)] {
            if id > MOST {
                record(&mut pax, key, id.to_string().as_bytes());
            }
        }
        let (seconds, nanoseconds) = (self.stat.st_mtime, self.stat.st_mtime_nsec.cast_signed());
        let plain = nanoseconds == 0 && (0..1 << 33).contains(&seconds);
        if !plain {
            record(&mut pax, b"mtime", time(seconds, nanoseconds).as_bytes());
        }
        for (name, value) in &self.xattrs {
            record(
                &mut pax,
                &[b"SCHILY.xattr.", name.as_slice()].concat(),
                value,
            );
        }
        let mut out = Vec::new();
        if !pax.is_empty() {
            let size = pax.len() as u64;
            let head = Head {
                name: b"pax",
                mode: 0o644,
                kind: b'x',
                size,
                ..Head::default()
            };
            out.extend_from_slice(&head.bytes());
            pax.resize(pax.len().next_multiple_of(512), 0);
            out.append(&mut pax);
        }
        let short = |bytes: &'_ [u8]| bytes.get(..100).map(<[u8]>::to_vec);
        let path = short(&self.path).unwrap_or_else(|| self.path.clone());
        let link = short(self.link).unwrap_or_else(|| self.link.to_vec());
        let small = |id| if id > MOST { 0 } else { id };
        let device = self.stat.st_rdev;
        let head = Head {
            name: &path,
            mode: self.stat.st_mode & 0o7777,
            kind: self.kind,
            size: match self.kind {
                b'0' => self.stat.st_size.cast_unsigned(),
                _ => 0,
            },
            uid: small(self.uid),
            gid: small(self.gid),
            mtime: if plain { seconds.cast_unsigned() } else { 0 },
            link: &link,
            device: (rustix::fs::major(device), rustix::fs::minor(device)),
        };
        out.extend_from_slice(&head.bytes());
        out
    }
}

/// One record of an extended header, which begins with its own length.
fn record(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    to.extend_from_slice(format!("{length} ").as_bytes());
    to.extend_from_slice(key);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}

/// Seconds with their fraction; before 1970 the fraction counts towards it.
fn time(seconds: i64, nanoseconds: i64) -> String {
    let text = match (seconds < 0, nanoseconds) {
        (_, 0) => return seconds.to_string(),
        (false, part) => format!("{seconds}.{part:09}"),
        (true, part) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - part),
    };
    text.trim_end_matches('0').to_owned()
}

/// The attributes that an image can keep, by name.
pub(super) fn xattrs(of: BorrowedFd<'_>, owners: &Owners) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = vec![0_u8; 64 << 10];
    let n = match rustix::fs::flistxattr(of, &mut list[..]) {
        Ok(n) => n,
        Err(Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for name in list.get(..n).unwrap_or(&[]).split(|b| *b == 0) {
        let own = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        let kept = own || name == b"security.capability" || name.starts_with(b"system.posix_acl_");
        if name.is_empty() || !kept {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        let n = match rustix::fs::fgetxattr(of, name, &mut value[..]) {
            Ok(n) => n,
            Err(Errno::NODATA) => continue,
            Err(e) => return Err(e.into()),
        };
        value.truncate(n);
        match name {
            b"security.capability" => value = capability(value, owners),
            _ if !own => acl(&mut value, owners),
            _ => {}
        }
        if !value.is_empty() || own {
            found.push((name.to_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

/// A file capability that was given inside the app says whose root it is for: the app's own, in
/// an image. One for another root is nobody's here.
fn capability(mut value: Vec<u8>, owners: &Owners) -> Vec<u8> {
    if let (Some([_, _, _, 3]), Some([a, b, c, d])) = (value.get(..4), value.get(20..24)) {
        let root = u32::from_le_bytes([*a, *b, *c, *d]);
        if owners.own(root) != 0 {
            return Vec::new();
        }
        value.truncate(20);
        if let Some(revision) = value.get_mut(3) {
            *revision = 2;
        }
    }
    value
}

/// Ids in an access control list (version, then tag, permissions and id of each entry).
fn acl(value: &mut [u8], owners: &Owners) {
    for entry in value.get_mut(4..).unwrap_or(&mut []).chunks_exact_mut(8) {
        let (tag, id) = entry.split_at_mut(4);
        // ACL_USER and ACL_GROUP; other entries have no id.
        if let ([2 | 8, 0, ..], [a, b, c, d]) = (&*tag, &*id) {
            let own = owners.own(u32::from_le_bytes([*a, *b, *c, *d]));
            id.copy_from_slice(&own.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for length in [1, 80, 92, 93, 94, 95, 990, 9990] {
            let mut out = Vec::new();
            record(&mut out, b"path", &vec![b'x'; length]);
            let told: usize = std::str::from_utf8(&out)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(told, out.len());
        }
    }

    #[test]
    fn times_are_decimal() {
        assert_eq!(time(1, 500_000_000), "1.5");
        assert_eq!(time(-2, 500_000_000), "-1.5");
        assert_eq!(time(-1, 750_000_000), "-0.25");
        assert_eq!(time(-7, 0), "-7");
        assert_eq!(time(10, 1), "10.000000001");
    }

    #[test]
    fn only_the_ids_of_the_app_become_its_own() {
        let owners = Owners::new(Some(1 << 20));
        assert_eq!(owners.own(1 << 20), 0);
        assert_eq!(owners.own((1 << 20) + 999), 999);
        assert_eq!(owners.own(33), 33);
        assert_eq!(owners.own((1 << 20) + IDS), (1 << 20) + IDS);
        assert_eq!(Owners::new(None).own(1 << 20), 1 << 20);
    }

    #[test]
    fn capabilities_of_the_app_lose_their_root_and_those_of_others_go() {
        let owners = Owners::new(Some(1 << 20));
        let mut third = vec![1, 0, 0, 3];
        third.extend_from_slice(&[7; 16]);
        third.extend_from_slice(&(1_u32 << 20).to_le_bytes());
        let second = capability(third.clone(), &owners);
        assert_eq!((second.len(), second[3]), (20, 2));
        third[20..].copy_from_slice(&7_u32.to_le_bytes());
        assert!(capability(third, &owners).is_empty());
    }
}
