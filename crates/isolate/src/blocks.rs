//! Id blocks: which host ids a pod uses, so that no two pods ever share one.
//!
//! One file per host, one byte of it locked per block. The lock is the reservation: there is
//! no list to keep, and the kernel frees it however the holder ends.

use crate::error::{Doing, Error, Kind};
use rkt_spec::plan::{BLOCK_SLOTS, SLOT_IDS};
use rkt_sys::lock;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::Read;
use std::path::Path;

/// Ids of one block.
pub const BLOCK_IDS: u32 = BLOCK_SLOTS * SLOT_IDS;
/// Number of the lowest block: the first multiple of [`BLOCK_IDS`] above 524288, below which
/// distributions hand out ids themselves.
const FIRST: u32 = 1;
/// One past the highest: a block ends below 2^31, where ids stop to work in ping_group_range.
const END: u32 = (1 << 31) / BLOCK_IDS - 1;
/// Name of the file in the directory given.
const FILE: &str = "ids";
/// Most bytes read of /etc/subuid and /etc/subgid.
const SUBID_LIMIT: u64 = 1 << 20;

/// A reserved range of host ids.
#[derive(Debug)]
pub struct Block {
    /// First id: a multiple of [`BLOCK_IDS`], 524288 or more.
    pub base: u32,
    /// Slots reserved: a multiple of 16, at least what was asked for.
    pub slots: u32,
    /// Holds the reservation. Whoever keeps a copy of this descriptor across a fork keeps the
    /// block, so launchers close it.
    pub lock: OwnedFd,
}

/// Reserves the lowest free block of at least `slots` slots, without waiting.
///
/// `dir` is the directory that all pods of the host share for this, normally `/run/rkt`; it must
/// exist. Ranges named in /etc/subuid and /etc/subgid are left alone.
///
/// # Errors
/// When every block is taken (`Kind::Full`), or the file cannot be opened (needs write access).
pub fn reserve(dir: &Path, slots: u32) -> Result<Block, Error> {
    let mut taken = Vec::new();
    for path in ["/etc/subuid", "/etc/subgid"] {
        taken.extend(subordinate(Path::new(path))?);
    }
    reserve_around(dir, slots, &taken)
}

/// As [`reserve`], leaving alone the id ranges of `taken` (start, count).
///
/// # Errors
/// As [`reserve`].
pub fn reserve_around(dir: &Path, slots: u32, taken: &[(u64, u64)]) -> Result<Block, Error> {
    let path = dir.join(FILE);
    let file = rustix::fs::open(
        &path,
        OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::RUSR | Mode::WUSR,
    )
    .doing(|| format!("open the id lock `{}`", path.display()))?;
    let wanted = slots.max(1).div_ceil(BLOCK_SLOTS);
    let mut number = FIRST;
    while number.saturating_add(wanted) <= END {
        let base = number * BLOCK_IDS;
        if let Some(end) = overlap(base, wanted * BLOCK_IDS, taken) {
            number = next_block(end).max(number + 1);
            continue;
        }
        match lock::try_lock(file.as_fd(), number, wanted) {
            Ok(()) => {
                return Ok(Block {
                    base,
                    slots: wanted * BLOCK_SLOTS,
                    lock: file,
                });
            }
            Err(Errno::AGAIN) => number += 1,
            Err(e) => {
                return Err(Error::from(e).while_doing(format!("lock ids in `{}`", path.display())));
            }
        }
    }
    Err(Error::new(
        Kind::Full,
        format!("every block of {} ids is taken", wanted * BLOCK_IDS),
    )
    .while_doing("reserve ids for the pod"))
}

/// Number of the first block that starts at or after id `end`.
fn next_block(end: u64) -> u32 {
    u32::try_from(end.div_ceil(u64::from(BLOCK_IDS))).unwrap_or(END)
}

/// One past the last id of a taken range that overlaps `count` ids from `base`.
fn overlap(base: u32, count: u32, taken: &[(u64, u64)]) -> Option<u64> {
    let (from, to) = (u64::from(base), u64::from(base) + u64::from(count));
    taken
        .iter()
        .filter(|(start, length)| *start < to && from < start.saturating_add(*length))
        .map(|(start, length)| start.saturating_add(*length))
        .max()
}

/// Ranges of a `subuid(5)` file; a missing file has none, lines that are no range are skipped as
/// shadow's own reader does.
fn subordinate(path: &Path) -> Result<Vec<(u64, u64)>, Error> {
    let doing = || format!("read `{}`", path.display());
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::from(e).while_doing(doing())),
    };
    let mut bytes = Vec::new();
    file.take(SUBID_LIMIT)
        .read_to_end(&mut bytes)
        .doing(doing)?;
    Ok(bytes
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let line = std::str::from_utf8(line).ok()?;
            let mut fields = line.split(':').skip(1);
            let start = fields.next()?.trim().parse().ok()?;
            let count = fields.next()?.trim().parse().ok()?;
            Some((start, count))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir =
                std::env::temp_dir().join(format!("rkt-blocks-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn blocks_are_lowest_first_disjoint_and_freed_by_closing() {
        let dir = Dir::new("order");
        let a = reserve_around(&dir.0, 16, &[]).unwrap();
        let b = reserve_around(&dir.0, 1, &[]).unwrap();
        let big = reserve_around(&dir.0, 33, &[]).unwrap();
        assert_eq!((a.base, a.slots), (1 << 20, 16));
        assert_eq!((b.base, b.slots), (2 << 20, 16));
        assert_eq!((big.base, big.slots), (3 << 20, 48));
        drop(a);
        // Two blocks do not fit into the hole of one.
        let wide = reserve_around(&dir.0, 17, &[]).unwrap();
        assert_eq!(wide.base, 6 << 20);
        let again = reserve_around(&dir.0, 16, &[]).unwrap();
        assert_eq!(again.base, 1 << 20);
    }

    #[test]
    fn ranges_of_others_are_left_alone() {
        let dir = Dir::new("subid");
        // One id into block 1, and all of blocks 2 and 3.
        let taken = [(1_048_575, 2), (2 << 20, 2 << 20)];
        let block = reserve_around(&dir.0, 16, &taken).unwrap();
        assert_eq!(block.base, 4 << 20);
        assert!(
            reserve_around(&dir.0, 16, &[(0, 1 << 31)])
                .unwrap_err()
                .kind()
                == Kind::Full
        );
        let file = dir.0.join("subuid");
        std::fs::write(&file, "a:100000:65536\n# x\nb:200000\n1000:1048576:65536\n").unwrap();
        assert_eq!(
            subordinate(&file).unwrap(),
            vec![(100_000, 65_536), (1_048_576, 65_536)]
        );
        assert!(subordinate(&dir.0.join("none")).unwrap().is_empty());
    }

    #[test]
    fn the_last_block_ends_below_2_to_the_31() {
        let dir = Dir::new("last");
        let below = u64::from((END - 1) * BLOCK_IDS);
        let last = reserve_around(&dir.0, 16, &[(0, below)]).unwrap();
        assert_eq!(u64::from(last.base), below);
        assert!(u64::from(last.base) + u64::from(last.slots * SLOT_IDS) < 1 << 31);
        assert!(reserve_around(&dir.0, 16, &[(0, below)]).is_err());
    }
}
