//! From compressed bytes to a tar, by what the bytes say and not by what somebody calls them.

use super::form::Form;
use crate::error::{Error, Kind, Result};
use std::cell::Cell;
use std::io::{self, Read};

/// Largest window of a zstd frame, as a power of two: 128 MiB, what `zstd --long` uses.
const ZSTD_WINDOW: u32 = 27;
/// Most memory for the dictionary of an xz stream, KiB: `xz -9` needs 64 MiB.
const XZ_MEMORY: u32 = 72 << 10;

/// Counts what it hands on.
struct Counted<'a, R> {
    from: R,
    taken: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.taken.set(self.taken.get() + n as u64);
        Ok(n)
    }
}

/// Looks at the first bytes and gives the inflated stream; `taken` counts compressed bytes.
///
/// # Errors
/// `Unsupported` for compressions that archives of this form must not have: xz and bzip2 are for
/// App Container Images only. An encrypted image is refused by its name.
pub(crate) fn open<'a>(
    mut from: impl Read + 'a,
    taken: &'a Cell<u64>,
    form: Form,
) -> Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 6];
    let mut known = 0;
    while let Some(rest) = magic.get_mut(known..).filter(|r| !r.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => known += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    let magic = magic.get(..known).unwrap_or(&[]).to_vec();
    let whole = |magic: Vec<u8>| Counted {
        from: io::Cursor::new(magic).chain(from),
        taken,
    };
    match magic.as_slice() {
        [0x1f, 0x8b, ..] => {
            let buffered = io::BufReader::with_capacity(64 << 10, whole(magic));
            Ok(Box::new(flate2::bufread::MultiGzDecoder::new(buffered)))
        }
        // A frame, or a skippable one before it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::stream::read::Decoder::new(whole(magic))?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Ok(Box::new(decoder))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] if form == Form::Aci => Ok(Box::new(
            lzma_rust2::XzReader::new_mem_limit(whole(magic), true, XZ_MEMORY),
        )),
        [b'B', b'Z', b'h', ..] if form == Form::Aci => {
            Ok(Box::new(bzip2::read::MultiBzDecoder::new(whole(magic))))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(refused("xz")),
        [b'B', b'Z', b'h', ..] => Err(refused("bzip2")),
        // An OpenPGP message: symmetric-key encrypted session key, or its armour.
        [0x8c | 0xc3, ..] | [b'-', b'-', b'-', b'-', b'-', b'B'] if form == Form::Aci => {
            Err(Error::new(
                Kind::Unsupported,
                "the image is encrypted, or is no image; rkt reads no encrypted ones",
            ))
        }
        _ => Ok(Box::new(whole(magic))),
    }
}

fn refused(name: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("the layer is compressed by {name}; layers are gzip, zstd or plain"),
    )
}

/// Tells a broken stream from a broken system.
pub(crate) fn failure(error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code).into(),
        None => Error::new(
            Kind::Corrupt,
            format!("its compressed stream is damaged or cut short: {error}"),
        ),
    }
}
