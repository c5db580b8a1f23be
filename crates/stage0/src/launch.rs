//! From a decided pod to a running one: its directory, its layers, the exec into stage1.

use crate::error::{Doing, Error};
use crate::explain::explain;
use crate::hand_over::HandOver;
use crate::plugins;
use crate::prepare::Prepared;
use crate::request::RunRequest;
use crate::sockets;
use crate::stage1::Stage1;
use rkt_pod::{Locked, PodDir, Pods, dir};
use rkt_spec::Uuid;
use rkt_spec::plan::Ready;
use rkt_store::LayerProgram;
use rkt_sys::fd::number;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What the launch needs besides the pod.
#[derive(Debug, Clone, Copy)]
pub struct Launcher<'a> {
    /// The supervisor's program.
    pub stage1: Stage1,
    /// Who mounts layers where this process may not leave its namespace.
    pub layer_program: &'a LayerProgram,
    /// `NOTIFY_SOCKET` of the caller.
    pub notify_socket: Option<&'a OsStr>,
}

/// Makes the pod's directory and becomes its supervisor.
///
/// In the foreground this returns only with an error. With `--detach` it returns when every
/// app runs, or with what the supervisor says went wrong. Needs root.
///
/// # Errors
/// When the name is taken, the layers cannot be mounted, the disk is full; the pod's directory
/// is gone then.
pub fn launch(
    prepared: Prepared,
    request: &RunRequest,
    launcher: &Launcher<'_>,
    tell: &dyn Fn(&str),
) -> Result<Ready, Error> {
    let program = launcher.stage1.unpacked(&request.place.dir)?;
    let Prepared {
        uuid,
        manifest,
        planned,
        images,
        sources,
        store,
    } = prepared;
    let counts: Vec<usize> = images.iter().map(|i| i.image.layers.len()).collect();
    let told = explain(&planned, None, &counts);
    let (mut plan, scope) = (planned.plan, planned.scope);
    let ports = sockets::open(&mut plan, &request.place.dir)?;
    let pod = Pods::make(&request.place.dir)?.create(uuid)?.to_prepare()?;
    if let Some(name) = &manifest.name {
        pod.claim_name(name)?;
    }
    let json = serde_json::to_vec(&manifest)
        .map_err(|e| Error::new(e.to_string()).while_doing("write the pod manifest"))?;
    pod.write_manifest(&json)?;
    tell("wrote the pod's directory");
    let mut layers: Vec<Vec<OwnedFd>> = Vec::with_capacity(images.len());
    for image in &images {
        let mounts = store
            .attach(
                &image.image,
                &request.place.run_dir,
                launcher.layer_program,
                request.layers,
            )
            .doing(|| format!("mount the layers of image `{}`", image.image.name))?;
        layers.push(mounts);
    }
    tell("mounted the layers");
    for (app, layers) in plan.apps.iter_mut().zip(&layers) {
        app.layers = layers.iter().map(number).collect();
    }
    for (volume, source) in plan.volumes.iter_mut().zip(&sources) {
        volume.source = source.as_ref().map_or(-1, |s| number(&s.fd));
    }
    plan.lock_fd = number(pod.fd()?);
    let rkt = plugins::program(&plan)?;
    plan.rkt_fd = rkt.as_ref().map(number);
    write(&pod, dir::PLAN, &plan.encode())?;
    let told = serde_json::to_vec(&told)
        .map_err(|e| Error::new(e.to_string()).while_doing("write the explanation"))?;
    write(&pod, dir::EXPLANATION, &told)?;
    if let Some(path) = &request.uuid_file {
        std::fs::write(path, uuid.to_string())
            .doing(|| format!("write the UUID to `{}`", path.display()))?;
    }
    let lock = pod.to_run()?.into_fd()?;
    tell("starting the supervisor");
    let descriptors: Vec<BorrowedFd<'_>> = layers
        .iter()
        .flatten()
        .map(AsFd::as_fd)
        .chain(sources.iter().flatten().map(|s| s.fd.as_fd()))
        .chain(ports.iter().map(AsFd::as_fd))
        .chain(rkt.iter().map(AsFd::as_fd))
        .chain([lock.as_fd()])
        .collect();
    let over = HandOver {
        program: &program,
        plan,
        descriptors,
        scope,
        notify_socket: launcher.notify_socket,
        owned: request.owned,
    };
    let outcome = if request.detach {
        over.detach()
    } else {
        Err(over.exec())
    };
    outcome.map_err(|error| undo(error, lock, uuid))
}

/// stage1 never was: what it would have removed goes now.
fn undo(error: Error, lock: OwnedFd, uuid: Uuid) -> Error {
    match Locked::adopt(lock, uuid).and_then(Locked::remove) {
        Ok(()) => error,
        Err(left) => error.hint(format!("`rkt gc` removes what is left of the pod ({left})")),
    }
}

/// A file of the pod's directory, which nobody has yet.
fn write(pod: &PodDir<dir::Prepare>, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let doing = || format!("write the file `{name}` of the pod");
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = rustix::fs::openat(pod.fd()?, Path::new(name), flags, mode).doing(doing)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest).doing(doing)?;
        rest = rest.get(n..).unwrap_or(&[]);
    }
    Ok(())
}
