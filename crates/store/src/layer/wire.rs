//! What parent and child say to each other: one message a job, one answer to each.

use crate::error::{Error, Kind, Result};
use rkt_spec::Digest;
use rkt_spec::codec::{Reader, Record};
use rkt_spec::record;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest message.
pub(crate) const MAX_MESSAGE: usize = 64 << 10;

record! {
    /// The limits of the job.
    #[derive(Debug, Clone, Copy)]
    pub struct Bounds {
        /// As in [`super::Limits`].
        pub bytes: u64,
        /// As in [`super::Limits`].
        pub entries: u64,
        /// As in [`super::Limits`].
        pub metadata: u64,
        /// As in [`super::Limits`].
        pub ratio: u64,
        /// As in [`super::Limits`].
        pub depth: u16,
        /// Bytes that the disk has room for.
        pub room: u64,
    }
}

record! {
    /// How to make the index of one chain entry.
    #[derive(Debug, Clone)]
    pub struct Build {
        /// The layer.
        pub diff: Digest,
        /// Bytes of its tar as hashed.
        pub tar_bytes: u64,
        /// The chain, which gives the index its uuid.
        pub chain: Digest,
        /// Whether a finished index comes along, which has to be copied at most.
        pub ready: bool,
        /// Whether the root of that index is to be as the lower layers have it.
        pub patch_root: bool,
        /// Whether a [`super::Filter`] comes along.
        pub filtered: bool,
    }
}

/// A job of the child, with what descriptors come along.
#[derive(Debug)]
pub(crate) enum Job {
    /// First of all: how much may be asked for. No descriptors, no answer.
    Start(Bounds),
    /// Read a layer: compressed bytes, tar, index. Answer [`Answer::Layer`].
    Layer,
    /// Read a layer whose compressed bytes grow in a file: how many are there (eight bytes each
    /// time, little-endian), the file, tar, index. Answer [`Answer::Layer`].
    Growing,
    /// Read an App Container Image: compressed bytes, tar, index, manifest. Answer [`Answer::Layer`].
    Aci,
    /// A tar on disk, for data: the tar. No answer.
    Tar(Digest),
    /// A chain entry that is there already, from the lowest up: its index. No answer.
    Have(Vec<Digest>),
    /// Make a chain entry: index, passwd, group, and the ready index or the filter if there is
    /// one. Answer [`Answer::Chain`].
    Build(Build),
    /// Index a tar that is kept and was hashed: the tar, index. Answer [`Answer::Layer`].
    Reindex(Reindex),
}

record! {
    /// What is known of a tar that is indexed once more.
    #[derive(Debug, Clone)]
    pub struct Reindex {
        /// The layer.
        pub diff: Digest,
        /// Bytes of its tar as hashed.
        pub tar_bytes: u64,
    }
}

record! {
    /// A layer was read.
    #[derive(Debug, Clone)]
    pub struct ReadLayer {
        /// Digest of the tar.
        pub diff: Digest,
        /// Bytes of the tar as hashed.
        pub tar_bytes: u64,
        /// Entries.
        pub entries: u64,
        /// Bytes of the index; 0 for none.
        pub index_bytes: u64,
        /// As in [`super::info::Layer`].
        pub needs_lower: bool,
        /// As in [`super::info::Layer`].
        pub has_root: bool,
    }
}

record! {
    /// A chain entry was made.
    #[derive(Debug, Clone)]
    pub struct BuiltChain {
        /// The tars that the index names, in order.
        pub devices: Vec<Digest>,
        /// Bytes of the index.
        pub index_bytes: u64,
        /// SHA-256 of the index.
        pub index: Digest,
    }
}

/// What the child has to say.
#[derive(Debug)]
pub(crate) enum Answer {
    Layer(ReadLayer),
    Chain(BuiltChain),
    /// Why not: kind, what was being done (widest first), the cause.
    Failed(Kind, Vec<String>, String),
}

impl Job {
    fn put(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Start(bounds) => {
                out.push(0);
                bounds.put(&mut out);
            }
            Self::Layer => out.push(1),
            Self::Growing => out.push(7),
            Self::Aci => out.push(6),
            Self::Tar(diff) => {
                out.push(2);
                diff.put(&mut out);
            }
            Self::Have(devices) => {
                out.push(3);
                devices.put(&mut out);
            }
            Self::Build(build) => {
                out.push(4);
                build.put(&mut out);
            }
            Self::Reindex(reindex) => {
                out.push(5);
                reindex.put(&mut out);
            }
        }
        out
    }

    fn take(bytes: &[u8]) -> Result<Self> {
        let mut from = Reader::new(bytes);
        let job = match u8::take(&mut from)? {
            0 => Self::Start(Record::take(&mut from)?),
            1 => Self::Layer,
            7 => Self::Growing,
            6 => Self::Aci,
            2 => Self::Tar(Record::take(&mut from)?),
            3 => Self::Have(Record::take(&mut from)?),
            4 => Self::Build(Record::take(&mut from)?),
            5 => Self::Reindex(Record::take(&mut from)?),
            _ => return Err(unknown()),
        };
        from.finish()?;
        Ok(job)
    }

    /// Sends it with its descriptors.
    pub(crate) fn send(&self, socket: impl AsFd, fds: &[BorrowedFd<'_>]) -> Result<()> {
        Ok(rkt_sys::socket::send(socket, &self.put(), fds)?)
    }

    /// Receives one; `None` when the parent is gone.
    pub(crate) fn receive(socket: impl AsFd) -> Result<Option<(Self, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let (n, fds) = rkt_sys::socket::recv(socket, &mut buffer)?;
        match buffer.get(..n) {
            Some(bytes) if n != 0 => Ok(Some((Self::take(bytes)?, fds))),
            _ => Ok(None),
        }
    }
}

impl Answer {
    /// What went wrong, as a message of bounded length.
    pub(crate) fn failed(error: &Error) -> Self {
        let short = |text: &str| text.chars().take(1000).collect::<String>();
        Self::Failed(
            error.kind(),
            error.doing().take(16).map(short).collect(),
            short(error.because()),
        )
    }

    pub(crate) fn send(&self, socket: impl AsFd) -> Result<()> {
        let mut out = Vec::new();
        match self {
            Self::Layer(layer) => {
                out.push(0);
                layer.put(&mut out);
            }
            Self::Chain(chain) => {
                out.push(1);
                chain.put(&mut out);
            }
            Self::Failed(kind, doing, because) => {
                out.push(2);
                out.push(KINDS.iter().position(|k| k == kind).unwrap_or(0) as u8);
                doing.put(&mut out);
                because.put(&mut out);
            }
        }
        Ok(rkt_sys::socket::send(socket, &out, &[])?)
    }

    /// Receives one; `None` when the child is gone. A failure of the child is an error here.
    pub(crate) fn receive(socket: impl AsFd) -> Result<Option<Self>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let (n, _) = match rkt_sys::socket::recv(socket, &mut buffer) {
            Ok(got) => got,
            // Killed with messages of ours unread.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else {
            return Ok(None);
        };
        let mut from = Reader::new(bytes);
        let answer = match u8::take(&mut from)? {
            0 => Self::Layer(Record::take(&mut from)?),
            1 => Self::Chain(Record::take(&mut from)?),
            2 => {
                let kind = KINDS.get(usize::from(u8::take(&mut from)?)).copied();
                let doing = Vec::<String>::take(&mut from)?;
                let because = String::take(&mut from)?;
                let mut error = Error::new(kind.unwrap_or(Kind::System), because);
                for doing in doing.into_iter().rev() {
                    error = error.while_doing(doing);
                }
                return Err(error);
            }
            _ => return Err(unknown()),
        };
        from.finish()?;
        Ok(Some(answer))
    }
}

/// Kinds that travel, by their number.
const KINDS: [Kind; 6] = [
    Kind::System,
    Kind::Corrupt,
    Kind::Unsupported,
    Kind::TooLarge,
    Kind::NoSpace,
    Kind::Denied,
];

fn unknown() -> Error {
    Error::new(
        Kind::System,
        "the reader of layers is of another version of rkt",
    )
}
