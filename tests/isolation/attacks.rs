//! The probe's table of attacks: made in a pod in every way that an app comes to run, with every
//! capability granted, with each defence alone, and with none. What the host sees outranks what
//! the probe says.

use rkt_tests::attack::{self, Attack, Told, Verdict, Way, record, record_absent};
use rkt_tests::host::Canary;
use rkt_tests::{Need, Pod, Rkt};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const PROBE: &str = "builtin:probe";
/// Rows whose attacks change what the next one needs: a pod for each.
const LONERS: &[&str] = &[
    "B01", "B02", "B03", "B04", "B06", "B10", "B12", "C02", "D04", "K02", "L01",
];

/// Attacks that need no stage of their own.
fn plain() -> Vec<Attack> {
    let mut all = attack::table();
    all.retain(|a| a.needs != "stage");
    let v1 = Need::V1("freezer").missing().is_none();
    let (here, absent): (Vec<Attack>, _) = all.into_iter().partition(|a| a.needs != "v1" || v1);
    for one in absent {
        record_absent(&one.id);
    }
    here
}

/// Defences that a control takes away for an attack.
fn switches(keep: &[String]) -> Vec<&'static str> {
    rkt_spec::plan::weaken::NAMES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !keep.iter().any(|k| k == name))
        .collect()
}

/// A pod of two with what there is to attack around it.
struct Scene<'a> {
    rkt: &'a Rkt,
    volume: PathBuf,
    canary: Canary,
    settings: BTreeMap<&'static str, String>,
}

/// Settings of the host that an attack might change.
const SETTINGS: &[&str] = &[
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/hostname",
];

fn settings() -> BTreeMap<&'static str, String> {
    SETTINGS
        .iter()
        .map(|path| (*path, fs::read_to_string(path).unwrap_or_default()))
        .collect()
}

impl<'a> Scene<'a> {
    fn new(rkt: &'a Rkt) -> Self {
        let volume = rkt.open_dir(&format!("volume-{}", rkt_tests::rkt::unique()));
        let scene = Self {
            rkt,
            canary: Canary::start(&volume.with_extension("canary").with_file_name("")),
            volume,
            settings: settings(),
        };
        scene.restore();
        scene
    }

    /// The volume as it was.
    fn restore(&self) {
        use std::os::unix::fs::PermissionsExt;
        for entry in fs::read_dir(&self.volume).unwrap().flatten() {
            let _ = fs::remove_file(entry.path());
        }
        let file = self.volume.join("canary");
        fs::write(&file, "sings\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    }

    /// Whether somebody wrote to the volume.
    fn is_written(&self) -> bool {
        let names = fs::read_dir(&self.volume).unwrap().flatten();
        names
            .map(|e| e.file_name())
            .any(|n| n != "canary" && n != "go")
            || fs::read_to_string(self.volume.join("canary")).unwrap() != "sings\n"
    }

    /// A pod of `blue`, the victim, and `red`, who does as told.
    fn pod(&self, weaken: &[&str], red: &[&str], command: &[&str]) -> Pod<'a> {
        let volume = format!("-v{}:/probe-volume:ro", self.volume.display());
        let weaken = format!("--weaken={}", weaken.join(","));
        let mut words = vec![volume.as_str()];
        if weaken != "--weaken=" {
            words.push(&weaken);
        }
        words.extend([PROBE, "--name=blue", "--set-env=BLUE_TOKEN=secret"]);
        words.extend(["--", "victim", "@rkt-probe-blue", "/counter"]);
        words.extend(["---", PROBE, "--name=red"]);
        words.extend(red);
        words.push("--");
        words.extend(command);
        let pod = self.rkt.start(&words);
        pod.wait_for_log("blue", "ready");
        pod
    }

    fn options(&self) -> [String; 2] {
        [
            format!("--canary={}", self.canary.cgroup),
            "--socket=@rkt-probe-blue".to_owned(),
        ]
    }

    /// Attacks by a process that enters red.
    fn attack(&self, pod: &Pod<'_>, ids: &[&str]) -> Vec<Told> {
        let options = self.options();
        let mut words = vec!["/rkt-probe", "attack-each"];
        words.extend(ids);
        words.extend(options.iter().map(String::as_str));
        Told::each(&pod.enter(Some("red"), &words).out)
    }

    /// What the host sees of an attack; `None` when it cannot see it.
    fn reached(&self, pod: &Pod<'_>, id: &str) -> Option<bool> {
        let planted = |pod: &Pod<'_>| pod.app("blue").path("/rkt-probe-planted").exists();
        match id {
            "B04.4" => None,
            id if ["B01", "B02", "B04"].iter().any(|row| id.starts_with(row)) => {
                Some(self.is_written())
            }
            "C02.1" | "C02.2" => Some(self.canary.is_frozen()),
            "D02.2" => Some(planted(pod)),
            "D04.5" => Some(self.comes_to_stop(pod)),
            _ => None,
        }
    }

    /// Whether blue is stopped, or is about to be: it has to run for that.
    fn comes_to_stop(&self, pod: &Pod<'_>) -> bool {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !pod.app("blue").field("State").starts_with('T') {
            if std::time::Instant::now() > end {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        true
    }

    /// Panics unless everything around the pod is as it was.
    #[track_caller]
    fn is_untouched(&self, pod: &Pod<'_>) {
        assert!(!self.is_written(), "the volume was written to");
        assert!(!self.canary.is_frozen() && self.canary.is_alive());
        assert_eq!(self.settings, settings());
        let blue = pod.app("blue");
        assert!(!blue.path("/rkt-probe-planted").exists());
        assert!(!blue.field("State").starts_with('T'), "blue was stopped");
        let audit = self.rkt.rkt(&["audit", &pod.uuid]);
        assert_eq!(audit.status, 0, "{audit}");
    }
}

/// Records attacks on a pod that stands; those in `own` may reach what is the app's.
#[track_caller]
fn all_refused(table: &[Attack], told: &[Told], way: Way, granted: bool, moot: &[&str]) {
    for attack in table {
        let one = told.iter().find(|t| t.id() == attack.id);
        let one = one.unwrap_or_else(|| panic!("{} was not made", attack.id));
        let of_moot = moot.contains(&attack.row()) || moot.contains(&attack.id.as_str());
        if granted && attack.own || of_moot {
            continue;
        }
        record(&attack.id, way, one.verdict);
        assert_eq!(
            one.verdict,
            Verdict::Refused,
            "{}: {:#}",
            attack.id,
            one.value
        );
    }
}

#[test]
fn no_attack_works_from_an_app_that_starts_restarts_or_is_entered() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let scene = Scene::new(&rkt);
    let table = plain();
    let options = scene.options();
    let mut command = vec!["attack-each", "all", "--stay", "--await=/probe-volume/go"];
    command.extend(options.iter().map(String::as_str));
    let pod = scene.pod(&[], &[], &command);
    fs::write(scene.volume.join("go"), "").unwrap();
    pod.wait_for_log("red", "done");
    all_refused(
        &table,
        &Told::each(&pod.logs("red")),
        Way::Walled,
        false,
        &[],
    );
    rkt.rkt(&["app", "restart", &pod.uuid, "--app=red", "--force"])
        .ok();
    rkt_tests::wait_for("the second round", 20, || {
        pod.logs("red").matches("done").count() == 2
    });
    let mut told = Told::each(&pod.logs("red"));
    assert_eq!(told.len(), 2 * table.len());
    all_refused(
        &table,
        &told.split_off(table.len()),
        Way::Walled,
        false,
        &[],
    );
    let told = scene.attack(&pod, &["all"]);
    all_refused(&table, &told, Way::Walled, false, &[]);
    scene.is_untouched(&pod);
}

#[test]
fn no_attack_works_with_every_capability_granted_or_as_a_plain_user() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let scene = Scene::new(&rkt);
    let table = plain();
    let ways: [(&[&str], bool, &[&str]); 2] = [
        (&["--caps-retain=all"], true, &[]),
        // A plain user has no way to make the program that these attacks run.
        (&["--user=1000"], false, &["A03", "A04"]),
    ];
    for (red, granted, moot) in ways {
        let pod = scene.pod(&[], red, &["sleep"]);
        let told = scene.attack(&pod, &["all"]);
        all_refused(&table, &told, Way::Harder, granted, moot);
        scene.is_untouched(&pod);
        pod.kill().ok();
    }
    layers_are_whole(&rkt);
}

/// G19: what all pods share is as it was, in the page cache too (Dirty COW and its heirs).
#[track_caller]
fn layers_are_whole(rkt: &Rkt) {
    let verify = || rkt.rkt(&["image", "verify"]);
    verify().ok();
    let data = rkt.data().display().to_string();
    let found = rkt_tests::command::tool("find", &[&data, "-type", "f", "-name", "tar"]);
    let tars: Vec<&str> = found.lines().collect();
    assert!(!tars.is_empty(), "no layers in {data}");
    for tar in &tars {
        let read = |how: &str| {
            let script = format!("dd if='{tar}' bs=1M {how} status=none | sha256sum");
            rkt_tests::command::tool("sh", &["-c", &script])
        };
        assert_eq!(
            read(""),
            read("iflag=direct"),
            "{tar}: the page cache is another"
        );
    }
    rkt_tests::host::thaw(&rkt.data());
    let mut bytes = fs::read(tars[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(tars[0], open).unwrap();
    fs::write(tars[0], bytes).unwrap();
    attack::record_held("G19.1", true, verify().status == 1);
}

/// An app whose capabilities act on the pod's own network and names: all else is as ever.
#[test]
fn no_attack_works_from_an_app_in_the_pods_user_namespace() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let scene = Scene::new(&rkt);
    let table = plain();
    let ways: [(&[&str], bool, &[&str]); 2] = [
        (&["--userns=pod"], false, &[]),
        // With every capability over the pod's namespaces these are what was granted: raw
        // sockets, the host name, IPC objects, and what PID 1 gets of the machine.
        (
            &["--userns=pod", "--caps-retain=all"],
            true,
            &["F01", "K05.17", "D10", "L04"],
        ),
    ];
    for (red, granted, moot) in ways {
        let pod = scene.pod(&[], red, &["sleep"]);
        let told = scene.attack(&pod, &["all"]);
        all_refused(&table, &told, Way::Harder, granted, moot);
        scene.is_untouched(&pod);
        pod.kill().ok();
    }
}

/// Takes every defence away: each attack must work, or the test of the others proves nothing.
fn controls(rows: &[&str]) {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let mut table = plain();
    table.retain(|a| rows.iter().any(|r| a.id.starts_with(r)));
    let together = |a: &Attack, b: &Attack| {
        a.row() == b.row() && a.keep == b.keep && !LONERS.contains(&a.row())
    };
    for some in table.chunk_by(together) {
        let scene = Scene::new(&rkt);
        let pod = scene.pod(&switches(&some[0].keep), &[], &["sleep"]);
        let ids: Vec<&str> = some.iter().map(|a| a.id.as_str()).collect();
        let told = scene.attack(&pod, &ids);
        for attack in some {
            let one = told.iter().find(|t| t.id() == attack.id);
            let one = one.unwrap_or_else(|| panic!("{} was not made", attack.id));
            if one.is_absent() {
                record_absent(&attack.id);
                continue;
            }
            record(&attack.id, Way::Control, one.verdict);
            one.succeeds();
            let reached = scene.reached(&pod, &attack.id);
            assert_ne!(
                reached,
                Some(false),
                "the host sees nothing of {}",
                attack.id
            );
        }
        scene.canary.thaw();
        pod.kill().ok();
        rkt.rkt(&["rm", &pod.uuid]).ok();
        assert_eq!(scene.settings, settings());
    }
}

#[test]
fn without_defences_the_attacks_on_ids_and_mounts_work() {
    controls(&["A", "B"]);
}

#[test]
fn without_defences_the_attacks_on_cgroups_and_others_work() {
    controls(&["C", "D", "F", "L"]);
}

#[test]
fn without_defences_the_attacks_on_the_kernel_work() {
    controls(&["K"]);
}

#[test]
fn each_defence_refuses_alone_what_it_is_said_to_hold() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let scene = Scene::new(&rkt);
    let table = plain();
    let mut groups: BTreeMap<(Vec<String>, &str), Vec<&Attack>> = BTreeMap::new();
    for attack in &table {
        assert!(!attack.held.is_empty(), "nothing holds {} alone", attack.id);
        for defence in &attack.held {
            let group = groups.entry((attack.keep.clone(), defence)).or_default();
            group.push(attack);
        }
    }
    for ((keep, defence), attacks) in groups {
        let gone: Vec<&str> = switches(&keep)
            .into_iter()
            .filter(|s| *s != defence)
            .collect();
        let pod = scene.pod(&gone, &[], &["sleep"]);
        let ids: Vec<&str> = attacks.iter().map(|a| a.id.as_str()).collect();
        for one in scene.attack(&pod, &ids) {
            record(one.id(), Way::Harder, one.verdict);
            assert_eq!(
                one.verdict,
                Verdict::Refused,
                "`{defence}` alone does not hold {}: {:#?}",
                one.id(),
                one.worked()
            );
            let reached = scene.reached(&pod, one.id());
            assert_ne!(reached, Some(true), "`{defence}` alone: {}", one.id());
        }
        pod.kill().ok();
        rkt.rkt(&["rm", &pod.uuid]).ok();
    }
    assert_eq!(scene.settings, settings());
}
