//! Whatever bytes come, the reader ends, does not panic, and what it takes can be indexed.

use super::Tar;
use crate::error::Result;
use crate::layer::apply::Apply;
use crate::layer::form::Form;
use crate::layer::input::Input;
use crate::layer::tree::Tree;
use proptest::prelude::*;

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/support/tarball.rs"]
mod tarball;

use tarball::{Tarball, dir, file, hard, header, seal, symlink};

/// Bytes in memory.
struct Memory<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input for Memory<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let end = (self.at as u64).saturating_add(bytes);
        if end > self.bytes.len() as u64 {
            return Err(super::corrupt("cut short"));
        }
        self.at = end as usize;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.at as u64
    }
}

/// Reads all of it as a layer and writes its index; how many entries there were.
fn read(bytes: &[u8]) -> Result<u64> {
    let mut tar = Tar::new(Memory { bytes, at: 0 }, 10_000);
    let mut apply = Apply::new(Tree::new(4 << 20, 64), Form::Oci, None);
    while let Some(entry) = tar.next()? {
        apply.entry(&entry)?;
    }
    let entries = apply.entries;
    let mut sealed = apply.tree.seal()?;
    sealed.count_links()?;
    let device = (bytes.len() as u64).next_multiple_of(512).max(512);
    let mut read = |_: u16, at: u64, into: &mut [u8]| {
        let rest = bytes.get(at as usize..).unwrap_or(&[]);
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        Ok(())
    };
    let mut index = Vec::new();
    crate::erofs::write(&sealed, &[device], [0; 16], &mut index, &mut read)?;
    Ok(entries)
}

/// One of everything that the reader knows.
fn seeds() -> Vec<u8> {
    let mut sparse = b"2\n0\n10\n600\n20\n".to_vec();
    sparse.resize(512, 0);
    sparse.extend([7; 30]);
    Tarball::new()
        .put(dir("d").xattr("user.k", "v"))
        .put(file("d/f", [1; 700]).pax("mtime", "1.5").pax("uid", "7"))
        .put(file("n".repeat(150), "long"))
        .put(symlink("s", "d"))
        .put(hard("h", "d/f"))
        .put(header("c", b'3').device(1, 3))
        .put(header("p", b'6'))
        .put(
            file("sparse", sparse)
                .pax("GNU.sparse.major", "1")
                .pax("GNU.sparse.minor", "0")
                .pax("GNU.sparse.realsize", "700"),
        )
        .put(
            file("old-sparse", [3; 20])
                .pax("GNU.sparse.map", "0,10,50,10")
                .pax("GNU.sparse.size", "100"),
        )
        .put(file("d/.wh.gone", ""))
        .put(file("d/.wh..wh..opq", ""))
        .end()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn noise_ends_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let _ = read(&bytes);
    }

    /// Bytes changed anywhere, and the sums of headers made right again: past the first check.
    #[test]
    fn changed_tars_end_and_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = seeds();
        prop_assert_eq!(read(&bytes).unwrap(), 11);
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
            let start = at / 512 * 512;
            let block: &mut [u8; 512] = (&mut bytes[start..start + 512]).try_into().unwrap();
            if &block[257..262] == b"ustar" {
                seal(block);
            }
        }
        if let Some(cut) = cut {
            let cut = cut.index(bytes.len());
            bytes.truncate(cut);
        }
        let _ = read(&bytes);
    }

    /// Extended headers with any records.
    #[test]
    fn extended_headers_end_and_never_panic(
        records in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "path", "linkpath", "size", "uid", "mtime", "GNU.sparse.major",
                    "GNU.sparse.minor", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.offset",
                    "GNU.sparse.numbytes", "GNU.sparse.realsize", "GNU.sparse.name",
                    "SCHILY.xattr.user.a", "SCHILY.xattr.security.capability",
                    "SCHILY.xattr.system.posix_acl_access", "LIBARCHIVE.xattr.user.b",
                ]),
                prop_oneof![
                    prop::collection::vec(prop::sample::select(b"0123456789,".to_vec()), 0..40),
                    prop::collection::vec(prop::sample::select(b"-.0123456789".to_vec()), 0..24),
                    prop::collection::vec(prop::sample::select(b"az/.".to_vec()), 0..40),
                    prop::collection::vec(any::<u8>(), 0..60),
                ],
            ),
            0..6,
        ),
        data in prop::collection::vec(any::<u8>(), 0..1200),
        kind in prop::sample::select(b"01234567SgxLK".to_vec()),
    ) {
        let mut entry = header("x", kind);
        entry.data = data;
        for (key, value) in records {
            entry = entry.pax(key, value);
        }
        let _ = read(&Tarball::new().put(entry).put(file("after", "y")).end());
    }
}
