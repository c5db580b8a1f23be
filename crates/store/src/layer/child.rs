//! The child's side: take a job, read bytes of strangers, answer.

use super::apply::{Apply, LOWER_INDEX, Lower};
use super::below::{Below, Found};
use super::confine::lock_in;
use super::filter;
use super::form::{Filter, Form};
use super::growing::Growing;
use super::inflate;
use super::info::Layer;
use super::input::{Budget, Input, Kept, Stream};
use super::settle::{has_implicit, settle, spell_out_opaque_root};
use super::tar::Tar;
use super::tree::{ROOT, Sealed, Tree};
use super::wire::{Answer, Bounds, Build, BuiltChain, Job, ReadLayer, Reindex};
use crate::blob::Hasher;
use crate::erofs::{self, Index, kind};
use crate::error::{Error, Kind, Result};
use rkt_spec::Digest;
use rkt_spec::codec::Record;
use rustix::fd::OwnedFd;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

/// Most bytes of `/etc/passwd` and of `/etc/group` that are kept; a longer file counts as none.
const MAX_ACCOUNTS: u64 = 1 << 20;

/// Most lookups in lower layers for one chain entry; a microsecond or two each.
const MAX_LOOKUPS: u64 = 4_000_000;

/// Serves jobs until the parent closes the socket on standard input.
pub(super) fn serve() -> i32 {
    let socket = rustix::stdio::stdin();
    let mut child = match start() {
        Ok(Some(child)) => child,
        Ok(None) => return 0,
        Err(error) => {
            let _ = Answer::failed(&error).send(socket);
            return 1;
        }
    };
    loop {
        let answer = match Job::receive(socket) {
            Ok(None) => return 0,
            Ok(Some((job, fds))) => child.work(job, fds),
            Err(error) => Err(error),
        };
        let (answer, status) = match answer {
            Ok(None) => continue,
            Ok(Some(answer)) => (answer, 0),
            Err(error) => (Answer::failed(&error), 1),
        };
        if answer.send(socket).is_err() || status != 0 {
            return status;
        }
    }
}

fn start() -> Result<Option<Child>> {
    match Job::receive(rustix::stdio::stdin())? {
        None => Ok(None),
        Some((Job::Start(bounds), _)) => {
            lock_in(&bounds)?;
            Ok(Some(Child {
                bounds,
                tars: HashMap::new(),
                below: Below::default(),
                devices: Vec::new(),
            }))
        }
        Some(_) => Err(Error::new(Kind::System, "the first job has no limits")),
    }
}

struct Child {
    bounds: Bounds,
    tars: HashMap<Digest, File>,
    below: Below,
    /// For each layer below (topmost first) the tars that its index names.
    devices: Vec<Vec<Digest>>,
}

/// Takes descriptors off the list that came with a job.
fn descriptors<const N: usize>(fds: Vec<OwnedFd>) -> Result<[File; N]> {
    let files: Vec<File> = fds.into_iter().map(File::from).collect();
    files.try_into().map_err(|_| {
        Error::new(
            Kind::System,
            "a job came with other descriptors than it needs",
        )
    })
}

impl Child {
    fn work(&mut self, job: Job, fds: Vec<OwnedFd>) -> Result<Option<Answer>> {
        match job {
            Job::Start(_) => Err(Error::new(Kind::System, "the limits came twice")),
            Job::Layer => {
                let [from, tar, index] = descriptors(fds)?;
                let layer = self.layer(from, tar, index, None)?;
                Ok(Some(Answer::Layer(layer)))
            }
            Job::Growing => {
                let [ticks, file, tar, index] = descriptors(fds)?;
                let layer = self.layer(Growing::new(ticks, file), tar, index, None)?;
                Ok(Some(Answer::Layer(layer)))
            }
            Job::Aci => {
                let [from, tar, index, manifest] = descriptors(fds)?;
                let layer = self.layer(from, tar, index, Some(manifest))?;
                Ok(Some(Answer::Layer(layer)))
            }
            Job::Reindex(Reindex { diff, tar_bytes }) => {
                let form = Form::of(&diff);
                let mut fds = fds;
                let manifest = match form {
                    Form::Oci => None,
                    Form::Aci => fds.pop().map(File::from),
                };
                let [tar, index] = descriptors(fds)?;
                let mut apply = Apply::new(self.tree(), form, None);
                collect(Kept::new(&tar, tar_bytes), &mut apply, self.bounds.entries)?;
                if let Some(manifest) = manifest {
                    copy_out(&tar, apply.manifest_place()?, &manifest)?;
                }
                let layer = index_layer(apply, diff, tar_bytes, &tar, index)?;
                Ok(Some(Answer::Layer(layer)))
            }
            Job::Tar(diff) => {
                let [tar] = descriptors(fds)?;
                self.tars.insert(diff, tar);
                Ok(None)
            }
            Job::Have(devices) => {
                let [index] = descriptors(fds)?;
                self.push(Index::open(index)?, devices);
                Ok(None)
            }
            Job::Build(build) => {
                let mut fds = fds;
                let ready = if build.ready {
                    fds.pop().map(File::from)
                } else {
                    None
                };
                let filter = match build.filtered {
                    true => fds.pop().map(|fd| read_filter(&fd.into())).transpose()?,
                    false => None,
                };
                let [index, passwd, group] = descriptors(fds)?;
                let built = self.build(&build, index, ready.as_ref(), filter.as_ref())?;
                for (name, mut to) in [("passwd", passwd), ("group", group)] {
                    to.write_all(&self.account(name)?)?;
                }
                Ok(Some(Answer::Chain(built)))
            }
        }
    }

    fn push(&mut self, index: Index, devices: Vec<Digest>) {
        self.below.push(index);
        self.devices.insert(0, devices);
    }

    fn tree(&self) -> Tree {
        Tree::new(self.bounds.metadata, self.bounds.depth)
    }

    /// Reads a layer as it comes: inflate, hash, keep, parse; then its index, if that is the same
    /// whatever lies below (or nothing does).
    /// An App Container Image comes with a file for its manifest.
    fn layer(
        &self,
        from: impl Read,
        mut tar: File,
        index: File,
        manifest: Option<File>,
    ) -> Result<ReadLayer> {
        let form = match manifest {
            Some(_) => Form::Aci,
            None => Form::Oci,
        };
        let taken = Cell::new(0);
        let budget = Budget {
            bytes: self.bounds.bytes,
            ratio: self.bounds.ratio,
            room: self.bounds.room,
        };
        let inflated = inflate::open(from, &taken, form)?;
        let stream = Stream::new(
            inflated,
            &taken,
            &mut tar,
            Hasher::new(form.algorithm()),
            budget,
        );
        let mut apply = Apply::new(self.tree(), form, None);
        let stream = collect(stream, &mut apply, self.bounds.entries)?;
        let (diff, tar_bytes) = stream.finish();
        rustix::fs::ftruncate(&tar, tar_bytes.next_multiple_of(512))?;
        if let Some(manifest) = manifest {
            copy_out(&tar, apply.manifest_place()?, &manifest)?;
        }
        index_layer(apply, diff, tar_bytes, &tar, index)
    }

    /// Makes a chain entry on what is below, and puts it on top of that.
    fn build(
        &mut self,
        build: &Build,
        mut to: File,
        ready: Option<&File>,
        filter: Option<&Filter>,
    ) -> Result<BuiltChain> {
        self.below.refuel(MAX_LOOKUPS);
        let tar = self.tars.get(&build.diff).ok_or_else(no_tar)?;
        let padded = build.tar_bytes.next_multiple_of(512);
        let mut devices: Vec<Digest> = Vec::new();
        if padded != 0 {
            devices.push(build.diff.clone());
        }
        let root = self.below.root()?.into_iter().next();
        let plain_root = match &root {
            Some((layer, root)) => self.below.index(*layer)?.xattrs(root)?.is_empty(),
            None => true,
        };
        let (index_bytes, index) = match ready {
            Some(ready) if plain_root || !build.patch_root => {
                let root = root.filter(|_| build.patch_root).map(|(_, root)| root);
                copy_index(ready, &mut to, root.as_ref())?
            }
            _ => {
                let lower = Lower {
                    below: &self.below,
                    devices: self.devices.clone(),
                };
                let mut apply = Apply::new(self.tree(), Form::of(&build.diff), Some(lower));
                collect(
                    Kept::new(tar, build.tar_bytes),
                    &mut apply,
                    self.bounds.entries,
                )?;
                devices.extend(apply.borrowed);
                spell_out_opaque_root(&mut apply.tree, &self.below)?;
                let mut sealed = apply.tree.seal()?;
                if let Some(filter) = filter {
                    filter::apply(&mut sealed, filter)?;
                }
                settle(&mut sealed, &self.below)?;
                let mut sizes = Vec::new();
                for device in &devices {
                    sizes.push(
                        rustix::fs::fstat(self.tar(device)?)?
                            .st_size
                            .cast_unsigned(),
                    );
                }
                let mut read = |device: u16, at: u64, into: &mut [u8]| {
                    if let Some(lower) = device.checked_sub(LOWER_INDEX) {
                        return self.below.index(lower)?.read_own(at, into);
                    }
                    let name = usize::from(device)
                        .checked_sub(1)
                        .and_then(|n| devices.get(n));
                    let tar = self.tar(name.ok_or_else(no_tar)?)?;
                    Ok(tar.read_exact_at(into, at)?)
                };
                write_index(sealed, &sizes, &build.chain, &mut to, &mut read)?
            }
        };
        self.push(Index::open(to)?, devices.clone());
        Ok(BuiltChain {
            devices,
            index_bytes,
            index,
        })
    }

    fn tar(&self, diff: &Digest) -> Result<&File> {
        self.tars.get(diff).ok_or_else(no_tar)
    }

    /// The bytes of `/etc/NAME` of the merged tree; none unless it is a regular file of bounded
    /// size (CVE-2024-9676).
    fn account(&self, name: &str) -> Result<Vec<u8>> {
        match self.below.resolve(&[b"etc", name.as_bytes()])? {
            Some(found) if found.inode.kind() == kind::FILE && found.inode.size <= MAX_ACCOUNTS => {
                self.data(&found)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn data(&self, found: &Found) -> Result<Vec<u8>> {
        let index = self.below.index(found.layer)?;
        let devices = self.devices.get(usize::from(found.layer));
        let mut bytes = vec![0; found.inode.size as usize];
        for piece in index.pieces(&found.inode)? {
            let place = piece.offset as usize..(piece.offset + piece.length) as usize;
            let Some(into) = bytes.get_mut(place) else {
                continue;
            };
            match usize::from(piece.device).checked_sub(1) {
                None => index.read_own(piece.at, into)?,
                Some(number) => {
                    let name = devices.and_then(|d| d.get(number)).ok_or_else(no_tar)?;
                    self.tar(name)?.read_exact_at(into, piece.at)?;
                }
            }
        }
        Ok(bytes)
    }
}

/// Copies a bounded part of the tar to a file of its own.
fn copy_out(tar: &File, (at, size): (u64, u64), mut to: &File) -> Result<()> {
    let mut bytes = vec![0; size as usize];
    tar.read_exact_at(&mut bytes, at)?;
    Ok(to.write_all(&bytes)?)
}

fn read_filter(from: &File) -> Result<Filter> {
    let size = rustix::fs::fstat(from)?.st_size.cast_unsigned();
    let mut bytes = vec![0; size as usize];
    from.read_exact_at(&mut bytes, 0)?;
    Ok(Filter::from_bytes(&bytes)?)
}

fn no_tar() -> Error {
    Error::new(Kind::System, "a tar that a chain needs was not handed over")
}

/// Applies every entry, and reads the input to its end.
fn collect<I: Input>(input: I, apply: &mut Apply<'_>, max_entries: u64) -> Result<I> {
    let mut tar = Tar::new(input, max_entries);
    while let Some(entry) = tar.next()? {
        apply.entry(&entry)?;
    }
    Ok(tar.into_input())
}

/// Writes the index of a layer alone, if there is one.
fn index_layer(
    apply: Apply<'_>,
    diff: Digest,
    tar_bytes: u64,
    tar: &File,
    mut index: File,
) -> Result<ReadLayer> {
    let padded = tar_bytes.next_multiple_of(512);
    let mut layer = ReadLayer {
        diff,
        tar_bytes,
        entries: apply.entries,
        index_bytes: 0,
        needs_lower: true,
        has_root: apply.tree.inode(ROOT)?.explicit,
    };
    if apply.unresolved || apply.whiteouts {
        return Ok(layer);
    }
    let sealed = apply.tree.seal()?;
    layer.needs_lower = has_implicit(&sealed)?;
    let devices: &[u64] = if padded == 0 { &[] } else { &[padded] };
    let mut read = |_: u16, at: u64, into: &mut [u8]| Ok(tar.read_exact_at(into, at)?);
    layer.index_bytes = write_index(sealed, devices, &layer.diff, &mut index, &mut read)?.0;
    Ok(layer)
}

/// Hashes what it writes.
struct Hashed<'a> {
    to: BufWriter<&'a mut File>,
    hash: Sha256,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hash.update(bytes.get(..n).unwrap_or(&[]));
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Writes an index and gives its length and hash.
fn write_index(
    mut tree: Sealed,
    devices: &[u64],
    name: &Digest,
    to: &mut File,
    read: &mut erofs::ReadDevice<'_>,
) -> Result<(u64, Digest)> {
    tree.count_links()?;
    let mut to = Hashed {
        to: BufWriter::with_capacity(128 << 10, to),
        hash: Sha256::new(),
    };
    let bytes = erofs::write(&tree, devices, uuid(name), &mut to, read)?;
    to.flush()?;
    Ok((bytes, Digest::sha256(&to.hash.finalize().into())))
}

/// A uuid (version 8) from the name of what is in the index.
fn uuid(name: &Digest) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(name.to_string()).into();
    let mut uuid = [0; 16];
    uuid.copy_from_slice(hash.get(..16).unwrap_or(&[0; 16]));
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// Copies a ready index, with the attributes of the lower root where the layer has none.
fn copy_index(from: &File, to: &mut File, root: Option<&erofs::Inode>) -> Result<(u64, Digest)> {
    let mut bytes = vec![0; 128 << 10];
    let (mut at, mut hash) = (0, Sha256::new());
    loop {
        let n = from.read_at(&mut bytes, at)?;
        if n == 0 {
            break;
        }
        let part = bytes.get_mut(..n).unwrap_or(&mut []);
        if at == 0
            && let Some(root) = root
        {
            erofs::set_root(part, root)?;
        }
        to.write_all(part)?;
        hash.update(&*part);
        at += n as u64;
    }
    Ok((at, Digest::sha256(&hash.finalize().into())))
}

/// The record of a layer that was just read.
pub(super) fn record(layer: &ReadLayer) -> Layer {
    let info = super::LayerInfo {
        diff_id: layer.diff.clone(),
        tar_bytes: layer.tar_bytes,
        entries: layer.entries,
        needs_lower: layer.needs_lower,
    };
    Layer::new(&info, layer.index_bytes, layer.has_root)
}
