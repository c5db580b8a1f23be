//! `rkt selftest [--in POD]`: the attacks of the built-in probe from inside a pod, and what refused
//! each.
//!
//! The pod is made for it, of a victim and of the apps that attack, and goes afterwards. Whether
//! an attack worked is asked of the host where the host can see it: what the probe says of itself
//! can make a verdict worse, never better.

mod inside;
mod scene;

use super::{audit, look, stop};
use crate::args::{self, CGROUP_PARENT, Format, Globals};
use crate::embedded;
use crate::failure::{Failure, USAGE};
use crate::registry;
use crate::view::selftest::{self as view, AppReport, Attack, Outcome, Report};
use clap::Parser;
use inside::{Inside, Signals};
use rkt_net::request::NetRequest;
use rkt_pod::Pod;
use rkt_spec::manifest::{Mount, PodManifest, Volume, VolumeKind, VolumeOwner};
use rkt_spec::plan::{AppPlan, Net, Plan};
use rkt_spec::{AppName, Uuid, VolumeName};
use rkt_stage0::launch::{Launcher, launch};
use rkt_stage0::likeness;
use rkt_stage0::prepare::{Prepared, prepare};
use rkt_stage0::request::{AppRequest, Place, RunRequest};
use rkt_stage0::stage1::Stage1;
use scene::Scene;
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// Exit status when an attack works.
const BROKEN: u8 = 1;
/// The image of every app of the pod.
const PROBE: &str = "builtin:probe";
const VICTIM: &str = "selftest-victim";
const ATTACKER: &str = "attacker";
/// Where the volume lies that nobody may write to.
const VOLUME: &str = "/rkt-selftest";
/// How long the victim may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// Attack a pod from inside, and tell what refused each attack
///
/// Starts a pod of a victim and an attacker, or with --in one in the walls of another pod: its
/// grants, filters, limits, users and volumes (to read only), with the built-in probe in place of
/// its programs. The other pod itself is not touched. Exit status 1 when an attack works.
#[derive(Debug, Parser)]
#[command(name = "rkt selftest")]
struct Words {
    /// Attack from within the walls of this pod: UUID, its beginning, or a name
    #[arg(long = "in", value_name = "POD")]
    pod: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Defences to take away, for tests of this verb
    #[cfg(feature = "weaken")]
    #[arg(long, value_name = "LIST", value_delimiter = ',', hide = true)]
    weaken: Vec<String>,
    #[command(flatten)]
    globals: Globals,
}

/// The pod whose walls are worn.
struct Worn {
    uuid: Uuid,
    plan: Plan,
    manifest: PodManifest,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Words = args::parse("selftest", words)?;
    look::need_root()?;
    let worn = match &asked.pod {
        Some(word) => Some(worn(&asked.globals, word)?),
        None => None,
    };
    sweep(&asked.globals);
    let uuid = rkt_stage0::prepare::new_uuid()?;
    let scene = Scene::make(&asked.globals.run_dir, uuid)?;
    let mut request = request(&asked.globals, &scene, worn.as_ref())?;
    request.weaken = weakened(&asked)?;
    // Before there is a pod: whoever interrupts this is not left with one.
    let signals = Signals::listen()?;
    let pod = start(&asked.globals, &request, worn.as_ref())?;
    let report = attacked(&asked.globals, &scene, &pod, &signals);
    let ended = stop::kill(pod, &asked.globals);
    let mut report = report?;
    ended?;
    report.of = worn.map(|w| w.uuid);
    super::say(&match asked.format {
        Format::Table => view::table(&report),
        format => super::json(&view::value(&report), format)?,
    });
    Ok(if report.is_broken() { BROKEN } else { 0 })
}

/// Removes what self-tests left that were killed; their pods end by themselves.
pub(super) fn sweep(globals: &Globals) {
    scene::sweep(&globals.run_dir);
}

#[cfg(feature = "weaken")]
fn weakened(asked: &Words) -> Result<u64, Failure> {
    asked.weaken.iter().try_fold(0, |all, word| {
        let known = rkt_spec::plan::weaken::NAMES;
        let found = known.iter().find(|(name, _)| name == word);
        let (_, bit) =
            found.ok_or_else(|| Failure::usage(format!("no defence is called `{word}`")))?;
        Ok(all | bit)
    })
}

#[cfg(not(feature = "weaken"))]
fn weakened(_: &Words) -> Result<u64, Failure> {
    Ok(0)
}

fn worn(globals: &Globals, word: &str) -> Result<Worn, Failure> {
    let pods = look::open(globals)?;
    let pod = look::find(&pods, word)?;
    let uuid = pod.uuid();
    let fail = |because: String| {
        Failure::usage(format!("take over the walls of pod `{uuid}`")).because(because)
    };
    let bytes = pod.plan()?.ok_or_else(|| fail("it has no plan".into()))?;
    let plan = Plan::decode(&bytes)
        .map_err(|e| fail(e.to_string()).hint("a pod is tested by the rkt that started it"))?;
    let manifest = look::manifest(&pod)?.ok_or_else(|| fail("it has no manifest".into()))?;
    Ok(Worn {
        uuid,
        plan,
        manifest,
    })
}

fn request(globals: &Globals, scene: &Scene, worn: Option<&Worn>) -> Result<RunRequest, Failure> {
    let parent = globals.cgroup_parent.clone();
    let mut request = RunRequest::new(Place {
        dir: globals.dir.clone(),
        run_dir: globals.run_dir.clone(),
        cgroup_parent: (parent != CGROUP_PARENT).then_some(parent),
    });
    let name = |text: &str| AppName::new(text).map_err(|e| Failure::usage(e.to_string()));
    let app = |app: AppName, words: &[&str]| AppRequest {
        image: PROBE.to_owned(),
        name: Some(app),
        args: Some(words.iter().map(|w| (*w).to_owned()).collect()),
        ..AppRequest::default()
    };
    let socket = scene.socket();
    let mut victim = app(name(VICTIM)?, &["victim", &socket, "/counter"]);
    victim.environment = vec![("VICTIM_TOKEN".to_owned(), "secret".to_owned())];
    request.apps.push(victim);
    match worn {
        None => request.apps.push(app(name(ATTACKER)?, &["sleep"])),
        Some(worn) => request.apps.extend(
            worn.plan
                .apps
                .iter()
                .map(|a| app(a.name.clone(), &["sleep"])),
        ),
    }
    let volume = VolumeName::new("selftest").map_err(|e| Failure::usage(e.to_string()))?;
    request.volumes.push(Volume {
        name: volume.clone(),
        kind: VolumeKind::Host,
        source: Some(scene.volume().display().to_string()),
        read_only: true,
        recursive: false,
        mode: None,
        uid: 0,
        gid: 0,
        // Its files are open to everybody: modes are not what is tested.
        owner: VolumeOwner::Host,
        size: None,
    });
    request.mounts.push(Mount {
        volume,
        path: VOLUME.to_owned(),
        read_only: true,
    });
    let host_net = worn.is_some_and(|w| w.plan.net == Net::Host);
    request.net = Some(if host_net {
        NetRequest::Host
    } else {
        NetRequest::None
    });
    request.detach = true;
    request.owned = true;
    request.remove = true;
    request.quiet = true;
    Ok(request)
}

fn start(globals: &Globals, request: &RunRequest, worn: Option<&Worn>) -> Result<Pod, Failure> {
    let options = registry::options(globals.insecure_options, &globals.configs)?;
    let mut prepared: Prepared = prepare(request, &options, &|_| {}, &|_| {}).map_err(ours)?;
    if let Some(worn) = worn {
        let doing = format!("take over the walls of pod `{}`", worn.uuid);
        likeness::wear(&mut prepared, &worn.manifest, &worn.plan)
            .map_err(|e| ours(e.while_doing(doing)))?;
    }
    let uuid = prepared.uuid;
    let launcher = Launcher {
        stage1: Stage1 {
            bytes: embedded::STAGE1,
            sha256: embedded::STAGE1_SHA256,
        },
        layer_program: &options.layer_program,
        notify_socket: None,
    };
    let ready = launch(prepared, request, &launcher, &|_| {}).map_err(ours)?;
    if ready.exit != 0 {
        let text = ready.message.trim().trim_start_matches("rkt: ").to_owned();
        return Err(Failure::usage("start the pod to attack").because(text));
    }
    let gone = || Failure::usage(format!("find the pod `{uuid}` that was just started"));
    look::open(globals)?.get(uuid)?.ok_or_else(gone)
}

/// A failure to start is rkt's, whatever it would be of `run`.
fn ours(error: rkt_stage0::Error) -> Failure {
    let mut failure = Failure::from(error);
    failure.status = USAGE;
    failure
}

fn attacked(
    globals: &Globals,
    scene: &Scene,
    pod: &Pod,
    signals: &Signals,
) -> Result<Report, Failure> {
    let doing = || Failure::usage("attack the pod");
    let bytes = pod
        .plan()?
        .ok_or_else(|| doing().because("it has no plan"))?;
    let plan = Plan::decode(&bytes).map_err(|e| doing().because(e.to_string()))?;
    let (victim, attackers) = plan
        .apps
        .split_first()
        .ok_or_else(|| doing().because("it has no apps"))?;
    let upper = scene::upper(&globals.dir, pod.uuid(), &victim.name);
    let end = Instant::now() + PATIENCE;
    while !upper.join("counter").exists() {
        if Instant::now() > end || !pod.is_locked()? {
            return Err(doing().because("the victim does not come to life"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let inside = Inside {
        pod,
        plan: &plan,
        signals,
    };
    let listed = inside.run(victim, &["attack", "list"])?;
    let all: Vec<Attack> = Attack::list(&listed);
    if all.is_empty() {
        return Err(doing().because("the probe tells of no attacks"));
    }
    let (table, staged): (Vec<Attack>, Vec<Attack>) =
        all.into_iter().partition(|a| a.needs != "stage");
    let mut apps = Vec::new();
    for app in attackers {
        let mut outcomes = Vec::with_capacity(table.len());
        for attack in &table {
            let mut outcome = one(&inside, scene, app, attack)?;
            for harm in scene.harm(&upper) {
                outcome.reach(harm);
            }
            outcomes.push(outcome);
        }
        apps.push(AppReport {
            name: app.name.to_string(),
            outcomes,
        });
    }
    Ok(Report {
        pod: pod.uuid(),
        of: None,
        apps,
        drift: audit::drift_of(pod)?,
        staged: staged.len(),
    })
}

fn one(
    inside: &Inside<'_>,
    scene: &Scene,
    app: &AppPlan,
    attack: &Attack,
) -> Result<Outcome, Failure> {
    let held = attack.held_in(inside.plan, app);
    if attack.needs == "v1" && !rkt_isolate::cgroup::Canary::has_v1() {
        let words = "this host has no cgroup version 1";
        return Ok(Outcome::absent(attack, words, held));
    }
    let canary = format!("--canary={}", scene.cgroup());
    let socket = format!("--socket={}", scene.socket());
    let volume = format!("--volume={VOLUME}");
    let words = ["attack-each", &attack.id, &canary, &socket, &volume];
    let told = inside.run(app, &words)?;
    let granted = !app
        .walls
        .bounding
        .without(rkt_isolate::defaults::CAPABILITIES)
        .is_empty();
    Ok(Outcome::read(attack, &told, granted, held))
}
