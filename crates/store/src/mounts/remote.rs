//! The same by a child, for callers with more than one thread: they cannot change namespaces.

use super::{Way, attach_here, inside, pinned};
use crate::error::{Doing, Error, Kind, Result};
use crate::layer::ChainId;
use crate::options::LayerProgram;
use rkt_spec::Digest;
use rkt_spec::codec::{Bytes, Record};
use rkt_spec::record;
use rkt_sys::socket;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The word after the hidden verb.
pub(crate) const WORD: &str = "mounts";
const MAX_MESSAGE: usize = 128 << 10;

record! {
    /// What the child is to do.
    #[derive(Debug)]
    pub struct Request {
        /// 0 attach, 1 list, 2 unmount.
        pub what: u8,
        /// 0..=3, a [`Way`].
        pub way: u8,
        /// The store's directory.
        pub store: Bytes,
        /// The run directory.
        pub run_dir: Bytes,
        /// The chains it is about.
        pub chains: Vec<Digest>,
    }
}

record! {
    /// What came of it.
    #[derive(Debug)]
    pub struct Reply {
        /// Why not; empty when all is well.
        pub error: String,
        /// Whether the error is one of privilege, of the host, or of a missing chain (1, 2, 3).
        pub kind: u8,
        /// Messages with descriptors that follow.
        pub messages: u32,
        /// Chains, for a list.
        pub chains: Vec<Digest>,
        /// Number of unmounted layers.
        pub count: u32,
    }
}

const WAYS: [Way; 4] = [Way::Best, Way::File, Way::Loop, Way::Directory];
const KINDS: [Kind; 5] = [
    Kind::System,
    Kind::Denied,
    Kind::Unsupported,
    Kind::NotFound,
    Kind::Corrupt,
];

fn ask(program: &LayerProgram, request: &Request) -> Result<(Reply, Vec<OwnedFd>)> {
    let (ours, theirs) = socket::pair()?;
    let mut child = Command::new(&program.path)
        .args(&program.args)
        .arg(WORD)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .doing(|| format!("start `{}`", program.path.display()))?;
    let answer = talk(ours, request);
    if answer.is_err() {
        let _ = child.kill();
    }
    let _ = child.wait();
    answer
}

fn talk(socket: OwnedFd, request: &Request) -> Result<(Reply, Vec<OwnedFd>)> {
    socket::send(&socket, &request.to_bytes(), &[])?;
    let mut buffer = vec![0; MAX_MESSAGE];
    let (n, _) = socket::recv(&socket, &mut buffer)?;
    let reply = Reply::from_bytes(buffer.get(..n).unwrap_or(&[]))
        .doing(|| "ask the child that mounts layers".into())?;
    if !reply.error.is_empty() {
        let kind = KINDS.get(usize::from(reply.kind)).copied();
        return Err(Error::new(kind.unwrap_or(Kind::System), reply.error));
    }
    let mut fds = Vec::new();
    for _ in 0..reply.messages {
        let (n, more) = socket::recv(&socket, &mut buffer)?;
        if n == 0 {
            return Err(inside::vanished());
        }
        fds.extend(more);
    }
    Ok((reply, fds))
}

fn request(what: u8, store: &Path, run_dir: &Path, chains: &[ChainId]) -> Request {
    Request {
        what,
        way: 0,
        store: Bytes(store.as_os_str().as_bytes().to_vec()),
        run_dir: Bytes(run_dir.as_os_str().as_bytes().to_vec()),
        chains: chains.iter().map(|c| c.digest().clone()).collect(),
    }
}

pub(super) fn attach(
    store: &Path,
    run_dir: &Path,
    program: &LayerProgram,
    way: Way,
    chains: &[ChainId],
) -> Result<Vec<OwnedFd>> {
    let mut request = request(0, store, run_dir, chains);
    request.way = WAYS.iter().position(|w| *w == way).unwrap_or(0) as u8;
    let (_, fds) = ask(program, &request)?;
    if fds.len() == chains.len() {
        Ok(fds)
    } else {
        Err(inside::vanished())
    }
}

pub(super) fn list(store: &Path, run_dir: &Path, program: &LayerProgram) -> Result<Vec<ChainId>> {
    let (reply, _) = ask(program, &request(1, store, run_dir, &[]))?;
    Ok(reply.chains.into_iter().map(ChainId::from_digest).collect())
}

pub(super) fn unmount(
    store: &Path,
    run_dir: &Path,
    program: &LayerProgram,
    chains: Vec<ChainId>,
) -> Result<usize> {
    let (reply, _) = ask(program, &request(2, store, run_dir, &chains))?;
    Ok(reply.count as usize)
}

/// The child: one request on standard input, one reply, and the mounts.
pub(crate) fn serve() -> i32 {
    let socket = rustix::stdio::stdin();
    let mut buffer = vec![0; MAX_MESSAGE];
    let got = socket::recv(socket, &mut buffer).map_err(Error::from);
    let done = got.and_then(|(n, _)| {
        let request = Request::from_bytes(buffer.get(..n).unwrap_or(&[]))?;
        work(&request)
    });
    let (reply, fds) = match done {
        Ok(done) => done,
        Err(error) => {
            let kind = KINDS.iter().position(|k| *k == error.kind()).unwrap_or(0) as u8;
            let reply = Reply {
                error: error.to_string(),
                kind,
                messages: 0,
                chains: Vec::new(),
                count: 0,
            };
            (reply, Vec::new())
        }
    };
    let failed = reply.error.is_empty();
    if socket::send(socket, &reply.to_bytes(), &[]).is_err() {
        return 1;
    }
    for part in fds.chunks(socket::MAX_FDS) {
        let part: Vec<_> = part.iter().map(AsFd::as_fd).collect();
        if socket::send(socket, b"m", &part).is_err() {
            return 1;
        }
    }
    i32::from(!failed)
}

fn work(request: &Request) -> Result<(Reply, Vec<OwnedFd>)> {
    let store = Path::new(OsStr::from_bytes(&request.store.0));
    let run_dir = Path::new(OsStr::from_bytes(&request.run_dir.0));
    let chains: Vec<ChainId> = request
        .chains
        .iter()
        .cloned()
        .map(ChainId::from_digest)
        .collect();
    let mut reply = Reply {
        error: String::new(),
        kind: 0,
        messages: 0,
        chains: Vec::new(),
        count: 0,
    };
    if request.what == 0 {
        let way = WAYS
            .get(usize::from(request.way))
            .copied()
            .unwrap_or_default();
        let fds = attach_here(store, run_dir, way, &chains)?;
        reply.messages = fds.len().div_ceil(socket::MAX_FDS) as u32;
        return Ok((reply, fds));
    }
    // The lock is the parent's.
    let name = pinned::name(store)?;
    if let Some(pin) = pinned::find(run_dir, &name)? {
        if request.what == 1 {
            let all = pinned::inside(&pin, inside::list)?;
            reply.chains = all.iter().map(|c| c.digest().clone()).collect();
        } else {
            let count = pinned::inside(&pin, || inside::unmount(&chains, &|_| false))?;
            reply.count = count as u32;
        }
    }
    Ok((reply, Vec::new()))
}
