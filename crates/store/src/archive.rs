//! Images in one file: what `docker save` and `skopeo copy` write.
//!
//! The file is never unpacked. Its headers are walked once and remembered (name, place,
//! length); layers are then read from where they lie. A compressed file is first inflated into
//! a file without a name in the store.

mod docker;
mod index;

pub(crate) use docker::DockerArchive;
pub(crate) use index::Tar;

use crate::disk::Growing;
use crate::error::{Doing, Error, Kind, Result};
use crate::event::{Event, Events};
use crate::oci;
use flate2::read::MultiGzDecoder;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Largest inflated archive: 64 GiB.
const LARGEST: u64 = 64 << 30;

/// Opens an archive and reads its headers. `scratch` is the store's directory.
pub(crate) fn open(path: &Path, scratch: &Path, events: Events<'_>) -> Result<Tar> {
    let what = || format!("open archive `{}`", path.display());
    let mut file = File::from(
        rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .doing(what)?,
    );
    if !file.metadata().doing(what)?.is_file() {
        return Err(Error::new(Kind::BadReference, "it is not a regular file")
            .while_doing(what())
            .hint("for a directory write `oci:DIR`"));
    }
    let mut magic = [0_u8; 6];
    let n = file.read(&mut magic).doing(what)?;
    file.seek(SeekFrom::Start(0)).doing(what)?;
    let file = match magic.get(..n).unwrap_or(&[]) {
        [0x1f, 0x8b, ..] => inflate(file, scratch, events).doing(what)?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(compressed("zstd").while_doing(what())),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(compressed("xz").while_doing(what())),
        [b'B', b'Z', b'h', ..] => return Err(compressed("bzip2").while_doing(what())),
        _ => file,
    };
    Tar::read(file).doing(what)
}

fn compressed(with: &'static str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("the whole archive is compressed with {with}"),
    )
    .hint(format!("decompress it first: `{with} -d FILE`"))
}

fn inflate(file: File, scratch: &Path, events: Events<'_>) -> Result<File> {
    events(Event::Message(
        "the archive is compressed as a whole: inflating it first",
    ));
    // Without a name from the start: whatever ends this process, nothing is left.
    let mut inflated = Growing::new(scratch)?.into_nameless()?;
    let mut limited = MultiGzDecoder::new(file).take(LARGEST + 1);
    oci::copy(&mut limited, &mut inflated).doing(|| "inflate it".into())?;
    if limited.limit() == 0 {
        return Err(Error::new(
            Kind::TooLarge,
            format!("it inflates to more than {LARGEST} bytes"),
        ));
    }
    Ok(inflated)
}
