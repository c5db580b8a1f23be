//! Finding the last lines of a log from its end, block by block.

use super::record;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

const BLOCK: u64 = 64 * 1024;

/// Where the last `lines` lines of `files` (oldest first) begin: how many files to skip,
/// and the offset in the next.
///
/// A line is one or more records, the last of them tagged `F`; so the wanted lines begin
/// behind the `F` record that ends the line before them.
pub(super) fn start(files: &[OwnedFd], lines: u64) -> Result<(usize, u64), Errno> {
    let Some(last) = files.len().checked_sub(1) else {
        return Ok((0, 0));
    };
    let mut ends_to_pass = lines;
    let mut at_end = true;
    for (index, file) in files.iter().enumerate().rev() {
        let size = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
        if lines == 0 {
            return Ok((last, size));
        }
        let mut found = None;
        backwards(file, size, |begin, end, full| {
            if !full && at_end {
                // A last line that has not ended yet is one of the wanted ones.
                ends_to_pass -= 1;
            }
            at_end = false;
            if full {
                if ends_to_pass == 0 {
                    found = Some(end);
                    return true;
                }
                ends_to_pass -= 1;
            }
            let _ = begin;
            false
        })?;
        if let Some(offset) = found {
            return Ok((index, offset));
        }
    }
    Ok((0, 0))
}

/// Calls `each` with begin, end and tag of every record, last first, until it says stop.
fn backwards(
    file: &OwnedFd,
    size: u64,
    mut each: impl FnMut(u64, u64, bool) -> bool,
) -> Result<(), Errno> {
    let mut block = vec![0u8; BLOCK as usize];
    let mut block_end = size;
    // End of the record whose beginning is looked for: behind its line end.
    let mut end: Option<u64> = None;
    while block_end > 0 {
        let block_begin = block_end.saturating_sub(BLOCK);
        let bytes = block
            .get_mut(..(block_end - block_begin) as usize)
            .unwrap_or_default();
        read_exact(file, bytes, block_begin)?;
        for (i, _) in bytes.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let line_end = block_begin + i as u64 + 1;
            if let Some(end) = end
                && let Some(full) = tag(file, line_end)?
                && each(line_end, end, full)
            {
                return Ok(());
            }
            end = Some(line_end);
        }
        block_end = block_begin;
    }
    if let Some(end) = end
        && let Some(full) = tag(file, 0)?
    {
        each(0, end, full);
    }
    Ok(())
}

/// The tag of the record that begins at `offset`.
fn tag(file: &OwnedFd, offset: u64) -> Result<Option<bool>, Errno> {
    let mut head = [0u8; record::HEAD];
    let n = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut head, offset))?;
    Ok(record::is_full(head.get(..n).unwrap_or(&[])))
}

fn read_exact(file: &OwnedFd, mut bytes: &mut [u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let n = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *bytes, offset))?;
        if n == 0 {
            // Cut off meanwhile (a failed write is): what is not there holds no line end.
            bytes.fill(0);
            return Ok(());
        }
        bytes = bytes.get_mut(n..).unwrap_or_default();
        offset += n as u64;
    }
    Ok(())
}
