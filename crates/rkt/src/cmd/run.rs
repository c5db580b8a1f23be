//! `rkt run IMAGE..`: start a pod, or explain what would be started.

use crate::args::run::parse;
use crate::args::table::{FLAGS, Run, Value};
use crate::args::{DIR, Format};
use crate::embedded;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::registry;
use rkt_stage0::explain::explain;
use rkt_stage0::launch::{Launcher, launch};
use rkt_stage0::prepare::prepare;
use rkt_stage0::resolve::policy;
use rkt_stage0::stage1::Stage1;
use rkt_store::FetchOptions;
use serde_json::json;
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let mut run = parse(words)?;
    if run.help {
        super::say(&help());
        return Ok(0);
    }
    run.request.caller_env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    run.request.configs = run.configs.dirs();
    if run.explain {
        return explain_only(run);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::usage("cannot run as unprivileged user")
            .hint("run it as root; `--explain` shows the plan without"));
    }
    let options = options(&run)?;
    let request = run.request;
    let progress = Progress::new(request.quiet, request.debug);
    let tell = teller(request.debug);
    let prepared = prepare(&request, &options, &|event| progress.event(event), &tell)?;
    if !request.quiet {
        for note in &prepared.planned.notes {
            super::note(&format!("run: {note}"));
        }
        let networks = &prepared.planned.plan.networks;
        for obstacle in rkt_net::wire::obstacles(networks).unwrap_or_default() {
            super::note(&format!("run: {obstacle}"));
        }
    }
    let uuid = prepared.uuid;
    let notify_socket = std::env::var_os("NOTIFY_SOCKET");
    let launcher = Launcher {
        stage1: Stage1 {
            bytes: embedded::STAGE1,
            sha256: embedded::STAGE1_SHA256,
        },
        layer_program: &options.layer_program,
        notify_socket: notify_socket.as_deref(),
    };
    let ready = launch(prepared, &request, &launcher, &tell)?;
    if !ready.message.is_empty() {
        super::note(&ready.message);
    }
    if ready.exit == 0 {
        super::say(&match (run.format, &request.pod_name) {
            (Format::Table, Some(name)) => format!("{name} {uuid}\n"),
            (Format::Table, None) => format!("{uuid}\n"),
            (format, name) => super::json(&json!({ "uuid": uuid, "name": name }), format)?,
        });
    }
    Ok(ready.exit)
}

fn options(run: &Run) -> Result<FetchOptions, Failure> {
    let request = &run.request;
    // By way of stage0: in this verb, 254 could be an app's own status.
    let mut options =
        registry::options(request.insecure, &run.configs).map_err(rkt_stage0::Error::from)?;
    options.keys_from_https = run.trust_keys_from_https.then(|| run.configs.own_keys());
    options.limits = run.limits;
    options.policy = policy(request.pull);
    options.platform = registry::platform(request.os.as_deref(), request.arch.as_deref())?;
    Ok(options)
}

/// With `--debug`, a line a step with the time since the last one.
fn teller(debug: bool) -> impl Fn(&str) {
    let last = std::cell::Cell::new(Instant::now());
    move |step| {
        if debug {
            let now = Instant::now();
            let us = now.duration_since(last.replace(now)).as_micros();
            super::note(&format!("stage0: {step} ({us} us)"));
        }
    }
}

/// Decides and prints; makes nothing but what a fetch leaves in the store.
fn explain_only(mut run: Run) -> Result<u8, Failure> {
    let mut borrowed = None;
    let root = rustix::process::geteuid().is_root();
    if !root && run.request.place.dir == Path::new(DIR) {
        let dir = Temporary::new()?;
        run.request.place.dir.clone_from(&dir.0);
        borrowed = Some(dir);
    }
    let options = options(&run)?;
    let progress = Progress::new(run.request.quiet, run.request.debug);
    let tell = teller(run.request.debug);
    let prepared = prepare(
        &run.request,
        &options,
        &|event| progress.event(event),
        &tell,
    )?;
    let layers: Vec<usize> = prepared
        .images
        .iter()
        .map(|i| i.image.layers.len())
        .collect();
    let explanation = explain(&prepared.planned, Some(&prepared.manifest), &layers);
    super::say(&match run.format {
        Format::Table => explanation.table(),
        format => super::json(&explanation, format)?,
    });
    drop(borrowed);
    Ok(0)
}

/// A data directory for one explanation of a caller who has none.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("rkt-explain-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|e| {
                Failure::usage(format!("make the directory `{}`", dir.display()))
                    .because(e.to_string())
            })?;
        Ok(Self(dir))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The help, from the same table as the parser's.
fn help() -> String {
    let mut text = String::from(
        "NAME\n\trkt run - start a pod of one or more apps\n\n\
         USAGE\n\trkt run [options] IMAGE [options of the app] [-- ARGUMENT..] [--- IMAGE ..]\n\n\
         DESCRIPTION\n\
         \tAn image is docker://NAME[:TAG], oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE,\n\
         \tbuiltin:probe, or the id of one in the store. Options of an app stand after its image;\n\
         \tthose of the pod may stand anywhere. Words after -- are the program's arguments.\n\n\
         OPTIONS\n",
    );
    for flag in FLAGS.iter().filter(|f| !f.help.is_empty()) {
        let value = match flag.value {
            Value::Switch => String::new(),
            Value::Text(what) => format!("={what}"),
        };
        let short = flag.short.map_or(String::new(), |c| format!("-{c}, "));
        let also: String = flag.aliases.iter().map(|a| format!(", --{a}")).collect();
        let _ = writeln!(text, "\t{short}--{}{value}{also}", flag.name);
        for line in flag.help.lines() {
            let _ = writeln!(text, "\t\t{line}");
        }
    }
    text
}
