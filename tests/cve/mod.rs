//! Known holes of other engines, by their numbers; see docs/cve.md.

use rkt_tests::attack::record_held;
use rkt_tests::layout::Image;
use rkt_tests::tar::{Entry, Kind};
use rkt_tests::{Done, Rkt};
use serde_json::json;
use std::fs;

mod images;

const PROBE: &str = "builtin:probe";

#[track_caller]
fn run(rkt: &Rkt, image: &Image, words: &[&str]) -> Done {
    let layout = image.write(&rkt.file(&format!("layout-{}", rkt_tests::rkt::unique())));
    let name = layout.reference();
    let mut all = vec![name.as_str()];
    all.extend(words);
    rkt.run(&all)
}

#[test]
fn cve_2024_21626_a_working_directory_by_descriptor_leads_nowhere() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for fd in 3..20 {
        let dir = format!("/proc/self/fd/{fd}");
        let image = Image::with_probe(&[]).set("WorkingDir", json!(dir));
        let done = run(&rkt, &image, &["--", "report", "--json", "--no-attacks"]);
        if done.status == 0 {
            let cwd = done.json()["cwd"].as_str().unwrap().to_owned();
            assert!(cwd.starts_with('/'), "{cwd}");
            assert!(!cwd.contains(&rkt.top.display().to_string()), "{cwd}");
        } else {
            done.is_one_clear_error();
        }
    }
    for dir in ["/proc/1/cwd", "/proc/1/root", "/proc/self/cwd/../../.."] {
        let done = rkt.run(&[PROBE, &format!("--working-dir={dir}"), "--", "list", "."]);
        assert!(
            done.status != 0 || !done.out.contains("etc"),
            "{dir}\n{done}"
        );
    }
    // A directory that an image names is where its app begins.
    let image = Image::with_probe(&[Entry::dir("here")]).set("WorkingDir", json!("/here"));
    let done = run(&rkt, &image, &["--", "report", "--json", "--no-attacks"]);
    record_held("G13.1", true, done.json()["cwd"] == "/here");
    rkt.leaves_nothing();
}

#[test]
fn cve_2024_40635_users_that_overflow_are_not_root() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for user in [
        "4294967296",
        "-1",
        "1000:4294967295",
        "0x0",
        "65536",
        "4294967295",
        "1000:-1",
        " 0",
        "+0",
    ] {
        let image = Image::with_probe(&[]).set("User", json!(user));
        run(&rkt, &image, &["--", "who"])
            .ends_with(125)
            .is_one_clear_error();
    }
    let image = Image::with_probe(&[]).set("User", json!("1000"));
    let done = run(&rkt, &image, &["--", "who"]);
    record_held("A11.1", true, done.ok().contains("euid=3e8 "));
    rkt.leaves_nothing();
}

#[test]
fn cve_2026_47262_a_hostile_passwd_file_costs_nothing() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut endless = Entry::new("etc/passwd", Kind::Fifo);
    endless.mode = 0o644;
    let huge = "x:x:1:1:::\n".repeat(400_000);
    for (name, entry) in [
        ("fifo", endless),
        ("link", Entry::link("etc/passwd", "/dev/zero")),
        ("directory", Entry::dir("etc/passwd")),
        ("huge", Entry::file("etc/passwd", huge)),
        ("loop", Entry::link("etc/passwd", "passwd")),
    ] {
        let image = Image::with_probe(&[Entry::dir("etc"), entry]).set("User", json!("somebody"));
        let done = run(&rkt, &image, &["--", "who"])
            .ends_with(125)
            .is_one_clear_error();
        assert!(done.took.as_secs() < 5, "{name}\n{done}");
    }
    let users = Entry::file("etc/passwd", "somebody:x:1000:1000::/:\n");
    let image = Image::with_probe(&[Entry::dir("etc"), users]).set("User", json!("somebody"));
    let done = run(&rkt, &image, &["--", "who"]);
    record_held("A12.1", true, done.ok().contains("euid=3e8 "));
}

#[test]
fn cve_2022_24769_inheritable_capabilities_are_empty() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    assert_eq!(pod.app("a").capabilities("CapInh"), 0);
    let told = pod.enter(None, &["/rkt-probe", "attack", "A05"]);
    rkt_tests::attack::Told::read(&told).is_refused();
}

#[test]
fn cve_2026_41579_a_dev_that_is_a_symlink_is_not_followed() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let outside = rkt.open_dir("outside");
    for name in ["dev", "proc", "sys", "dev/pts", "dev/shm"] {
        let mut entries = Vec::new();
        if let Some((parent, _)) = name.split_once('/') {
            entries.push(Entry::dir(parent));
        }
        entries.push(Entry::link(name, outside.display().to_string()));
        let done = run(&rkt, &Image::with_probe(&entries), &["--", "exit", "0"]);
        assert!([0, 125].contains(&done.status), "{name}\n{done}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
    }
    record_held("G11.1", true, naive_walk_arrives(&rkt, "dev"));
}

/// Who makes directories by path, below a root in which a name is a link, makes them elsewhere.
fn naive_walk_arrives(rkt: &Rkt, name: &str) -> bool {
    let (root, outside) = (rkt.open_dir("naive"), rkt.open_dir("naive-outside"));
    std::os::unix::fs::symlink(&outside, root.join(name)).unwrap();
    fs::create_dir_all(root.join(name).join("here")).unwrap();
    outside.join("here").exists()
}

/// Whether a file is the host's null device, the number of which no image can give.
fn is_null(path: &std::path::Path) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = fs::symlink_metadata(path);
    meta.is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == rustix::fs::makedev(1, 3))
}

#[test]
fn cve_2025_31133_nodes_of_the_image_are_never_ours() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let outside = rkt.open_dir("outside");
    let target = outside.join("pattern");
    fs::write(&target, "of the host\n").unwrap();
    let image = Image::with_probe(&[
        Entry::dir("dev"),
        Entry::link("dev/null", "/proc/sys/kernel/core_pattern"),
        Entry::link("dev/console", target.display().to_string()),
        Entry::link("dev/ptmx", "/proc/sysrq-trigger"),
        Entry::link("dev/zero", target.display().to_string()),
    ]);
    let pattern = || fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let before = pattern();
    let done = run(&rkt, &image, &["--", "attack", "K09", "K11"]);
    assert!(
        !done.out.contains("\"result\":\"succeeded\",\"errno\""),
        "{done}"
    );
    let layout = image.write(&rkt.file("kept"));
    let pod = rkt.start(&[&layout.reference(), "--name=a", "--", "sleep"]);
    let app = pod.app("a");
    // The node, and what hides files: those of them that this kernel has.
    let masks = [
        "/proc/kcore",
        "/proc/keys",
        "/proc/kallsyms",
        "/proc/timer_list",
    ];
    let masks = masks.into_iter().filter(|p| fs::metadata(p).is_ok());
    let nodes: Vec<&str> = ["/dev/null"].into_iter().chain(masks).collect();
    let others: Vec<&&str> = nodes.iter().filter(|p| !is_null(&app.path(p))).collect();
    assert!(
        nodes.len() > 1 && others.is_empty(),
        "{others:?} of {nodes:?}"
    );
    let console = fs::symlink_metadata(app.path("/dev/console")).is_err();
    for path in ["/dev/null", "/dev/zero", nodes[1]] {
        pod.enter(None, &["/rkt-probe", "write", path, "|/planted"]);
    }
    let same = pattern() == before && fs::read_to_string(&target).unwrap() == "of the host\n";
    // Who takes the image's own for a node writes to what it leads to.
    let root = rkt.open_dir("naive");
    fs::create_dir(root.join("dev")).unwrap();
    std::os::unix::fs::symlink(&target, root.join("dev/null")).unwrap();
    fs::write(root.join("dev/null"), "|/planted").unwrap();
    let naive = fs::read_to_string(&target).unwrap() == "|/planted";
    record_held("G12.1", console && same, naive);
    pod.kill().ok();
}

#[test]
fn cve_2019_19921_volumes_on_proc_are_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("fake");
    for target in [
        "/proc",
        "/proc/self",
        "/proc/self/attr",
        "/sys",
        "/dev",
        "/",
    ] {
        let flag = format!("-v{}:{target}", dir.display());
        let done = rkt.run(&[&flag, PROBE, "--", "exit", "0"]);
        assert!([125, 254].contains(&done.status), "{target}\n{done}");
        done.is_one_clear_error().says(target);
    }
    let image = Image::with_probe(&[]).set("Volumes", json!({ "/proc": {} }));
    let done = run(&rkt, &image, &["--", "exit", "0"]);
    assert!(done.status != 0, "{done}");
    let flag = format!("-v{}:/elsewhere", dir.display());
    let done = rkt.run(&[&flag, PROBE, "--", "list", "/elsewhere"]);
    record_held("G14.1", true, done.status == 0);
    rkt.leaves_nothing();
}

#[test]
fn cve_2024_45310_targets_of_volumes_stay_inside() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let outside = rkt.open_dir("outside");
    let source = rkt.open_dir("source");
    let flag = format!("-v{}:/data/here", source.display());
    for to in [
        outside.display().to_string(),
        "../../../../../../tmp".to_owned(),
        "/proc/self/root".to_owned(),
        "/nowhere".to_owned(),
    ] {
        let image = Image::with_probe(&[Entry::link("data", &to)]);
        let layout = image.write(&rkt.file(&format!("layout-{}", rkt_tests::rkt::unique())));
        let done = rkt.run(&[&flag, &layout.reference(), "--", "exit", "0"]);
        assert!([0, 125].contains(&done.status), "{to}\n{done}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{to}");
    }
    record_held("G10.1", true, naive_walk_arrives(&rkt, "data"));
}

#[test]
fn cve_2021_30465_a_target_that_is_swapped_meanwhile_stays_inside() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (outside, shared) = (rkt.open_dir("outside"), rkt.open_dir("shared"));
    // Nobody may make it later: no id of rkt's own is in the volume's map.
    rkt.open_dir("shared/here");
    rkt.open_dir("shared/here/below");
    let flag = format!("-v{}:/shared", shared.display());
    let link = format!("/shared/link={}", outside.display());
    let swapper = rkt.start(&[&flag, PROBE, "--", "swap", "/shared/here", &link]);
    swapper.wait_for_log("probe", "ready");
    // On a loaded machine the swapper may have been put aside with the link in place each time.
    let (mut started, mut tried) = (0, 0);
    while tried < 30 || started == 0 && tried < 300 {
        tried += 1;
        let done = rkt.run(&[
            &flag,
            "--volume=new,kind=empty",
            PROBE,
            "--mount=volume=new,target=/shared/here/below",
            "--",
            "exit",
            "0",
        ]);
        assert!([0, 125].contains(&done.status), "{done}");
        started += u32::from(done.status == 0);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
    let left = fs::read_dir(&shared).unwrap().count();
    assert_eq!(left, 2, "rkt replaced something of the host's volume");
    assert!(started > 0, "no pod of {tried} started");
    swapper.kill().ok();
}

#[test]
fn cve_2022_23648_a_volume_of_the_image_that_is_a_link_shows_nothing_of_the_host() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let outside = rkt.open_dir("outside");
    fs::write(outside.join("secret"), "of the host\n").unwrap();
    let up = "../".repeat(12);
    let far = format!("{up}{}", outside.display());
    let own = Entry::file("own", "of the image\n");
    let mut led = Vec::new();
    for to in [
        outside.display().to_string(),
        far,
        "/proc/self/root".to_owned(),
        "/".to_owned(),
        up,
        "/proc/1/root".to_owned(),
    ] {
        let image = Image::with_probe(&[Entry::link("data", &to), own.clone()]);
        let image = image.set("Volumes", json!({ "/data": {} }));
        // What is copied up, listed or written is the image's own, if anything is.
        let secret = format!("/data/{}/secret", outside.display());
        for words in [["list", "/data"], ["cat", "/data/secret"], ["cat", &secret]] {
            let mut all = vec!["--"];
            all.extend(words);
            let done = run(&rkt, &image, &all);
            let told = done.out.contains("secret") || done.out.contains("of the host");
            led.extend(told.then(|| format!("{to}\n{done}")));
        }
        let done = run(&rkt, &image, &["--", "write", "/data/planted", "x"]);
        if fs::read_dir(&outside).unwrap().count() != 1 {
            led.push(format!("{to}\n{done}"));
        }
    }
    assert!(led.is_empty(), "{led:?}");
    // Who copies by path, in a root that an image has made, copies what is the host's.
    let root = rkt.open_dir("naive");
    std::os::unix::fs::symlink(&outside, root.join("data")).unwrap();
    let copied = fs::read_dir(root.join("data")).unwrap().flatten();
    let naive = copied.map(|e| e.file_name()).any(|n| n == "secret");
    record_held("G09.1", led.is_empty(), naive);
    rkt.leaves_nothing();
}

#[test]
fn cve_2026_15809_names_with_newlines_go_into_no_file() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for words in [
        &["--set-env=HOME=/x\nroot2:x:0:0::/:/bin/sh", PROBE][..],
        &["--hostname=a\n127.0.0.1 evil", PROBE],
        &["--pod-name=a\nb", PROBE],
        &[PROBE, "--name=a\x1b[2J"],
        &[PROBE, "--user=root\nevil"],
    ] {
        let done = rkt.run(words);
        if done.status == 0 {
            continue;
        }
        assert!([125, 254].contains(&done.status), "{done}");
        assert!(
            !done.err.contains('\x1b'),
            "an escape reaches the terminal: {:?}",
            done.err
        );
    }
    let image = Image::with_probe(&[]).set("Env", json!(["HOME=/x\nroot2:x:0:0::/:/bin/sh"]));
    let done = run(&rkt, &image, &["--", "cat", "/etc/passwd"]);
    assert!(!done.out.contains("root2"), "{done}");
    let image = Image::with_probe(&[]).set("Env", json!(["HOME=/x"]));
    let done = run(&rkt, &image, &["--", "env"]);
    record_held("G22.1", true, done.ok().contains("HOME=/x\n"));
}

#[test]
fn cve_2026_53488_labels_of_an_image_are_no_options() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let image = Image::with_probe(&[]).set("Labels", json!({
        "net": "host", "privileged": "true", "caps-retain": "all", "rkt.weaken": "caps", "io.rkt.net": "host",
        "org.systemd.property.Delegate": "false", "os/unix/sysctl": "kernel.shmmax=1",
    }));
    let facts = run(&rkt, &image, &["--", "report", "--json", "--no-attacks"]).json();
    assert!(!facts["effective"].to_string().contains("SYS_ADMIN"));
    let own = rkt_tests::eyes::Process::own().namespace("net");
    assert_ne!(facts["namespaces"]["net"], own);
    // The same words as flags are options.
    let words = [
        "run",
        "--rm",
        "--quiet",
        "--net=host",
        "--caps-retain=all",
        PROBE,
        "--",
        "report",
        "--json",
        "--no-attacks",
    ];
    let facts = rkt.rkt(&words).json();
    let works =
        facts["namespaces"]["net"] == own && facts["effective"].to_string().contains("SYS_ADMIN");
    record_held("G23.1", true, works);
}

#[test]
fn cve_2021_41190_an_index_that_is_also_a_manifest_is_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut layout = Image::with_probe(&[]).write(&rkt.file("polyglot"));
    let mut both = layout.manifest();
    both["manifests"] = json!([{ "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": layout.manifest_digest(), "size": 1 }]);
    layout.tag(&both, "both");
    rkt.run(&[&format!("{}:both", layout.reference())])
        .ends_with(125)
        .is_one_clear_error();
}

/// G20: names of images, pods and apps, and labels, that drive a terminal, lead elsewhere or
/// are without end.
#[test]
fn no_names_with_escapes_reach_a_terminal() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let clean = |done: &Done| {
        let bad = |text: &str| {
            text.chars()
                .any(|c| c.is_control() && c != '\n' && c != '\t')
        };
        assert!(
            !bad(&done.out) && !bad(&done.err),
            "{:?} {:?}",
            done.out,
            done.err
        );
    };
    let image = Image::with_probe(&[]).set("Entrypoint", json!(["/bin/\x1b[2Jgone"]));
    clean(&run(&rkt, &image, &[]).ends_with(127));
    let long = "a".repeat(4096);
    for name in ["\x1b[2J", "a\nb", "../../x", "..", "a/b", "\u{9b}2J", &long] {
        for words in [
            &[PROBE, &format!("--name={name}")][..],
            &[&format!("--pod-name={name}"), PROBE],
            &[&format!("--volume={name},kind=empty"), PROBE],
            &[&format!("docker://127.0.0.1:1/{name}")],
            &[&format!("--user-label={name}"), PROBE],
        ] {
            let done = rkt.run(words);
            assert!([125, 254].contains(&done.status), "{done}");
            clean(&done);
        }
        for words in [
            ["status", name],
            ["logs", name],
            ["rm", name],
            ["audit", name],
        ] {
            let done = rkt.rkt(&words);
            assert!(done.status != 0, "{done}");
            clean(&done);
        }
    }
    // Words that have to be taken are shown without their powers.
    let evil = "dir\x1b[2J\x1b]0;title\x07\nx";
    let label = format!("--user-label=who={evil}");
    let own = format!("--user-annotation=why={evil}");
    let value = format!("--environment=WHO={evil}");
    let pod = rkt.start(&[&label, PROBE, &own, &value, "--name=a", "--", "sleep"]);
    let uuid = pod.uuid.as_str();
    let mut shown = 0;
    for words in [
        &["list"][..],
        &["list", "--full"],
        &["list", "--format=json"],
        &["status", uuid],
        &["status", uuid, "--format=json"],
        &["explain", uuid],
        &["cat-manifest", uuid],
    ] {
        let done = rkt.rkt(words);
        shown += usize::from(done.out.contains("title"));
        clean(&done);
    }
    assert!(shown >= 5, "it is shown {shown} times");
    let status = rkt.rkt(&["status", uuid]).ok();
    assert!(status.contains("user-label-who=dir"), "{status}");
    let told = pod.status();
    assert_eq!(told["user_labels"]["who"], evil);
    assert_eq!(told["apps"][0]["user_annotations"]["why"], evil);
    pod.kill().ok();
    // Who prints it as it is.
    fs::write(rkt.file(evil), "").unwrap();
    let raw = rkt_tests::command::tool("ls", &[&rkt.file("").display().to_string()]);
    record_held("G20.1", true, raw.contains("\x1b[2J"));
}
