//! `rkt cp` into an app and out of it: whose files arrive, what stays behind, and that no app leads it
//! astray.

use rkt_tests::command::{Done, run};
use rkt_tests::{Need, Pod, Rkt};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PROBE: &str = "builtin:probe";
/// Copies in, and as many out, while an app swaps a directory for a link.
const COPIES: u32 = 1000;

fn cp(rkt: &Rkt, words: &[&str]) -> Done {
    let mut all = vec!["cp"];
    all.extend(words);
    rkt.rkt(&all)
}

/// A tree with a bit of everything.
fn tree(rkt: &Rkt) -> PathBuf {
    let top = rkt.open_dir("tree");
    fs::create_dir(top.join("sub")).unwrap();
    fs::write(top.join("a"), "hello\n").unwrap();
    fs::set_permissions(top.join("a"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::write(top.join("sub/b"), vec![7; 300_000]).unwrap();
    symlink("/etc/passwd", top.join("link")).unwrap();
    top
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn names_or_none(dir: &Path) -> Vec<String> {
    if dir.is_dir() { names(dir) } else { Vec::new() }
}

#[track_caller]
fn refused(done: &Done, words: &str) {
    assert_eq!(done.status, 254, "{done}");
    assert!(done.err.contains(words), "{done}");
}

fn two(rkt: &Rkt) -> Pod<'_> {
    let volume = rkt.open_dir("volume");
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(&volume, Some(4321), Some(4321)).unwrap();
    let volume = format!("--volume=data,kind=host,source={}", volume.display());
    rkt.start(&[
        &volume,
        "--volume=shared,kind=empty,mode=0777",
        PROBE,
        "--name=web",
        "--user=1000",
        "--mount=volume=data,target=/data",
        "--mount=volume=shared,target=/shared",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=db",
        "--mount=volume=shared,target=/shared",
        "--",
        "sleep",
    ])
}

#[test]
fn files_go_in_and_out_and_are_their_new_owners() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (pod, top) = (two(&rkt), tree(&rkt));
    let source = top.display().to_string();
    let at = |path: &str| format!("{}:{path}", pod.uuid);
    cp(&rkt, &[&source, &at("db:/new")]).ok();
    let db = pod.app("db");
    let inside = db.path("/new");
    assert_eq!(names(&inside), ["a", "link", "sub"]);
    assert_eq!(fs::read(inside.join("sub/b")).unwrap(), vec![7; 300_000]);
    assert_eq!(
        fs::read_link(inside.join("link")).unwrap(),
        Path::new("/etc/passwd")
    );
    let file = fs::metadata(inside.join("a")).unwrap();
    // The app's root, and without the setuid bit.
    assert_eq!((file.uid(), file.mode() & 0o7777), (db.uids()[0], 0o751));
    assert_ne!(file.uid(), 0);
    // Once more goes into the directory that is there now, as with cp.
    cp(&rkt, &[&source, &at("db:/new/")]).ok();
    assert_eq!(names(&inside), ["a", "link", "sub", "tree"]);
    cp(&rkt, &[&format!("{source}/."), &at("db:/content")]).ok();
    assert_eq!(names(&db.path("/content")), ["a", "link", "sub"]);
    // A plain user's app gets files of its user, also where a volume knows no other id.
    cp(&rkt, &[&format!("{source}/a"), &at("web:/data/renamed")]).ok();
    let file = fs::metadata(rkt.file("volume/renamed")).unwrap();
    assert_eq!((file.uid(), file.gid()), (4321, 4321));
    // Both apps know the owner of what lies in a volume that they share.
    cp(&rkt, &[&format!("{source}/a"), &at("web:/shared/")]).ok();
    let owner = |app: &str| {
        let process = pod.app(app);
        fs::metadata(process.path("/shared/a")).unwrap().uid() - slot(&process)
    };
    assert_eq!((owner("web"), owner("db")), (1000, 1000));
    // And out: the caller's.
    let out = rkt.file("out");
    cp(&rkt, &[&at("db:/new"), &out.display().to_string()]).ok();
    assert_eq!(names(&out), ["a", "link", "sub", "tree"]);
    assert_eq!(fs::read(out.join("sub/b")).unwrap(), vec![7; 300_000]);
    assert_eq!(fs::metadata(out.join("a")).unwrap().uid(), 0);
    assert!(fs::symlink_metadata(out.join("link")).unwrap().is_symlink());
    // With --archive the app's own numbers.
    cp(
        &rkt,
        &["-a", &at("web:/shared/a"), &out.display().to_string()],
    )
    .ok();
    assert_eq!(fs::metadata(out.join("a")).unwrap().uid(), 1000);
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    rkt.leaves_nothing();
}

/// First host id of an app.
fn slot(process: &rkt_tests::eyes::Process) -> u32 {
    let map = fs::read_to_string(format!("/proc/{}/uid_map", process.pid)).unwrap();
    map.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn tars_go_through_stdin_and_stdout() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (pod, top) = (two(&rkt), tree(&rkt));
    let tar = |words: &[&str]| {
        let mut command = Command::new("tar");
        command.arg("-C").arg(top.parent().unwrap()).args(words);
        command
    };
    let made = tar(&["-cf", "-", "tree"]).output().unwrap();
    let target = format!("{}:db:/", pod.uuid);
    rkt.rkt_with(&["cp", "-", &target], &made.stdout).ok();
    assert_eq!(names(&pod.app("db").path("/tree")), ["a", "link", "sub"]);
    let source = format!("{}:db:/tree", pod.uuid);
    let out = rkt.command(&["cp", &source, "-"]).output().unwrap();
    assert!(out.status.success());
    let file = rkt.file("out.tar");
    fs::write(&file, &out.stdout).unwrap();
    let listed = run(tar(&["-tf", file.to_str().unwrap()]), None).ok();
    assert_eq!(listed, "tree/\ntree/a\ntree/link\ntree/sub/\ntree/sub/b\n");
    // A tar of somebody who means harm goes nowhere else, and one that is cut is no success.
    symlink("/", top.join("up")).unwrap();
    let made = tar(&["-cf", "-", "tree/up"]).output().unwrap().stdout;
    rkt.rkt_with(&["cp", "-", &target], &made).ok();
    fs::remove_file(top.join("up")).unwrap();
    fs::create_dir(top.join("up")).unwrap();
    fs::write(top.join("up/planted"), "").unwrap();
    let made = tar(&["-cf", "-", "tree/up/planted"])
        .output()
        .unwrap()
        .stdout;
    refused(&rkt.rkt_with(&["cp", "-", &target], &made), "on the way");
    assert!(!pod.app("db").path("/planted").exists());
    let made = tar(&["-cf", "-", "tree/a"]).output().unwrap().stdout;
    let cut = made.get(..515).unwrap();
    refused(&rkt.rkt_with(&["cp", "-", &target], cut), "the tar ends");
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    rkt.leaves_nothing();
}

#[test]
fn what_cannot_be_copied_is_said_or_stays_behind() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (pod, top) = (two(&rkt), tree(&rkt));
    let source = top.display().to_string();
    let at = |path: &str| format!("{}:{path}", pod.uuid);
    refused(&cp(&rkt, &["/no/such", &at("db:/x")]), "No such file");
    refused(&cp(&rkt, &[&source, &at("/x")]), "its apps are: web, db");
    refused(&cp(&rkt, &[&source, &at("cache:/x")]), "no app `cache`");
    refused(&cp(&rkt, &[&source, &at("db:/no/where")]), "No such file");
    refused(
        &cp(&rkt, &[&source, &at("db:/rkt-probe")]),
        "Not a directory",
    );
    refused(&cp(&rkt, &[&source, &at("db:/proc")]), "shows the kernel");
    refused(
        &cp(&rkt, &[&at("db:/sys"), "/tmp/never"]),
        "shows the kernel",
    );
    refused(&cp(&rkt, &[&at("db:/a"), &at("web:/a")]), "one of the two");
    refused(&cp(&rkt, &["/a", "/b"]), "neither of the two");
    let large = format!("{source}/sub/b");
    refused(
        &cp(&rkt, &["--max-size=1Ki", &large, &at("db:/x")]),
        "--max-size",
    );
    assert!(!pod.app("db").path("/x").exists());
    assert_eq!(
        names(&pod.app("db").path("/"))
            .iter()
            .filter(|n| n.starts_with(".rkt"))
            .count(),
        0
    );
    let devices = rkt.file("devices");
    let done = cp(&rkt, &[&at("db:/dev"), &devices.display().to_string()]);
    assert_eq!(done.status, 1, "{done}");
    assert!(
        done.err.contains("stay behind") && !devices.join("null").exists(),
        "{done}"
    );
    pod.kill().ok();
    refused(&cp(&rkt, &[&source, &at("db:/x")]), "exited");
    rkt.rkt(&["rm", &pod.uuid]).ok();
    rkt.leaves_nothing();
}

#[test]
fn an_app_that_swaps_directories_for_links_leads_no_copy_out() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let host = rkt.open_dir("host");
    fs::set_permissions(&host, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(host.join("f0"), "the host's").unwrap();
    let link = format!("/swap-link={}", host.display());
    let pod = rkt.start(&[PROBE, "--", "swap", "/swap", &link]);
    pod.wait_for_log("probe", "ready");
    let source = rkt.open_dir("source");
    for n in 0..3 {
        fs::write(source.join(format!("f{n}")), "the caller's").unwrap();
    }
    let source = format!("{}/.", source.display());
    let target = format!("{}:/swap", pod.uuid);
    // Control: whoever goes by paths is led astray at once.
    let swapped = pod.app("probe").path("/swap/naive");
    let end = Instant::now() + Duration::from_secs(30);
    while !host.join("naive").exists() {
        let _ = fs::write(&swapped, "");
        assert!(Instant::now() < end, "the control is not led astray");
    }
    fs::remove_file(host.join("naive")).unwrap();
    let into = || {
        let done = cp(&rkt, &[&source, &target]);
        assert!(done.status == 0 || done.status == 254, "{done}");
        done.status == 0
    };
    let out_of = |out: &Path| {
        let _ = fs::remove_dir_all(out);
        let done = cp(&rkt, &[&format!("{target}/."), &out.display().to_string()]);
        assert!(done.status == 0 || done.status == 254, "{done}");
        for name in names_or_none(out).iter().filter(|n| n.starts_with('f')) {
            let text = fs::read_to_string(out.join(name)).unwrap();
            assert!(
                text.is_empty() || text == "the caller's",
                "{name}: {text:?}"
            );
        }
    };
    // Several at once.
    let next = AtomicU32::new(0);
    let arrived = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let out = rkt.file(&format!("out-{worker}"));
            let (next, arrived, into, out_of) = (&next, &arrived, &into, &out_of);
            scope.spawn(move || {
                while next.fetch_add(1, Ordering::Relaxed) < COPIES {
                    arrived.fetch_add(u32::from(into()), Ordering::Relaxed);
                    out_of(&out);
                }
            });
        }
    });
    assert!(arrived.into_inner() > 0, "no copy of {COPIES} arrived");
    let same =
        names(&host) == ["f0"] && fs::read_to_string(host.join("f0")).unwrap() == "the host's";
    rkt_tests::attack::record_held("E06.1", same, true);
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    rkt.leaves_nothing();
}

#[test]
fn a_copy_runs_no_program_and_loads_nothing_of_the_app() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("strace")]) else {
        return;
    };
    let (pod, top) = (two(&rkt), tree(&rkt));
    let out = rkt.file("out");
    let (inside, out) = (
        format!("{}:db:/copied", pod.uuid),
        out.display().to_string(),
    );
    for words in [[top.to_str().unwrap(), &inside], [&inside, &out]] {
        let trace = rkt.file("trace");
        let plain = rkt.command(&["cp", words[0], words[1]]);
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-e",
            "trace=execve,execveat,chroot,pivot_root,mmap",
            "-o",
        ]);
        command
            .arg(&trace)
            .arg(plain.get_program())
            .args(plain.get_args());
        run(command, None).ok();
        let text = fs::read_to_string(&trace).unwrap();
        let calls = |name: &str| text.lines().filter(|l| l.contains(name)).count();
        // What runs rkt in a mount namespace of its own is a program too; the last one is rkt.
        let (_, after) = text.rsplit_once("execve(").unwrap();
        assert!(calls("chroot(") + calls("pivot_root(") == 0, "{text}");
        assert!(
            !after.contains("PROT_EXEC"),
            "something was loaded: {after}"
        );
    }
    pod.kill().ok();
}
