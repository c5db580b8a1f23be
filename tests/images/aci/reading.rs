//! What an App Container Image says is what its app gets.

use super::{UNSIGNED, file, run};
use rkt_tests::aci::{Aci, Squeeze};
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Rkt};
use serde_json::json;
use std::fs;

#[test]
fn an_image_runs_whatever_its_compression() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("xz"), Need::Tool("bzip2")]) else {
        return;
    };
    for squeeze in [Squeeze::Plain, Squeeze::Gzip, Squeeze::Bzip2, Squeeze::Xz] {
        let text = format!("{squeeze:?}\n");
        let entries = [
            Entry::dir("etc"),
            Entry::file("etc/which", &text).mode(0o640),
            Entry::link("etc/soft", "which"),
            Entry::hard("etc/hard", "etc/which"),
            // No whiteout: appc has none, so it is a file like any other.
            Entry::file("etc/.wh.which", "kept\n"),
        ];
        let aci = Aci::with_probe("example.com/app", &entries).squeeze(squeeze);
        let path = file(&rkt, &format!("{squeeze:?}"), &aci);
        for name in ["which", "soft", "hard"] {
            let words = ["cat", &format!("/etc/{name}")];
            assert_eq!(run(&rkt, &path, &words).ok(), text, "{squeeze:?} {name}");
        }
        assert_eq!(run(&rkt, &path, &["cat", "/etc/.wh.which"]).ok(), "kept\n");
        // The archive's own manifest is not in the root.
        assert!(!run(&rkt, &path, &["list", "/"]).ok().contains("manifest"));
    }
    rkt.leaves_nothing();
}

#[test]
fn every_way_to_name_a_file_leads_to_it() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let aci = Aci::with_probe("example.com/app", &[]);
    let path = file(&rkt, "x", &aci);
    // Entering a mount namespace leads to its root, so the way to the file comes after.
    let mut command = rkt.inside("sh");
    let script = format!("cd {} && exec \"$@\"", rkt.file("").display());
    command.args(["-c", &script, "sh"]);
    let own = rkt.command(&["run", "--rm", "--quiet", "--net=none", UNSIGNED, "./x.aci"]);
    command.args(own.get_args().skip_while(|a| *a != "--").skip(1));
    command.args(["--", "exit", "7"]);
    assert_eq!(rkt_tests::command::run(command, None).status, 7);
    run(&rkt, &format!("file://{path}"), &["exit", "7"]).ends_with(7);
    run(&rkt, "/nosuch/x.aci", &["exit", "7"])
        .ends_with(125)
        .is_one_clear_error()
        .says("No such file");
}

#[test]
fn the_id_is_the_hash_of_the_archive_as_in_the_original() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let aci = Aci::with_probe("example.com/app", &[]);
    let path = file(&rkt, "x", &aci);
    let printed = rkt.rkt(&["fetch", "--quiet", UNSIGNED, &path]).ok();
    let id = aci.id();
    assert_eq!(printed.trim(), &id[..71], "64 digits of it");
    let list = rkt.rkt(&["image", "list"]).ok();
    assert!(
        list.contains(&id[..19]) && list.contains("example.com/app:1.0"),
        "{list}"
    );
    let value = rkt.rkt(&["image", "list", "--format=json"]).json();
    assert_eq!(value["id"], id[..71]);
    assert_eq!(value["trust"]["verdict"], "unchecked");
    for name in [
        &id,
        &id[..71],
        &id[..12],
        "aci:example.com/app",
        "aci:example.com/app:1.0",
        &path,
    ] {
        let manifest = rkt.rkt(&["image", "cat-manifest", name]).json();
        assert_eq!(manifest, aci.manifest, "{name}");
        rkt.run(&[UNSIGNED, name, "--", "exit", "3"]).ends_with(3);
    }
    rkt.run(&[
        UNSIGNED,
        "--pull-policy=never",
        "aci:example.com/app:2.0",
        "--",
        "exit",
        "3",
    ])
    .ends_with(125)
    .is_one_clear_error();
    // Every byte of it, and the image as it came.
    rkt.rkt(&["image", "verify", &id]).ok();
    let out = rkt.file("out.aci");
    rkt.rkt(&["image", "export", &id, out.to_str().unwrap()])
        .ok();
    assert_eq!(fs::read(&out).unwrap(), aci.tar());
    rkt.rkt(&["image", "export", "--format=oci", &id, "y"])
        .ends_with(254)
        .is_one_clear_error()
        .says("not converted");
    rkt.rkt(&["image", "rm", &id]).ok();
    assert_eq!(rkt.rkt(&["image", "list", "--no-legend"]).ok(), "");
    rkt.rkt(&["image", "gc"]).ok();
    let layers = rkt.data().join("layers/sha512");
    assert_eq!(
        fs::read_dir(layers).unwrap().count(),
        0,
        "gc takes the archive too"
    );
}

#[test]
fn an_unsigned_image_is_refused_and_so_is_one_that_was_let_in() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let aci = Aci::with_probe("example.com/app", &[]);
    let path = file(&rkt, "x", &aci);
    rkt.rkt(&["fetch", &path])
        .ends_with(254)
        .is_one_clear_error()
        .says("--insecure-options=image");
    rkt.rkt(&["fetch", "--quiet", UNSIGNED, &path]).ok();
    for name in [&path, &aci.id()] {
        rkt.run(&[name.as_str(), "--", "exit", "3"])
            .ends_with(125)
            .is_one_clear_error()
            .says("--insecure-options=image");
    }
}

#[test]
fn what_the_app_section_says_is_what_the_app_gets() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let entries = [
        Entry::dir("work").owner(33, 44),
        Entry::dir("etc"),
        Entry::file("etc/passwd", "root:x:0:0::/:\nweb:x:33:33::/work:\n"),
        Entry::file("etc/group", "root:x:0:\nlog:x:44:\nmore:x:55:web\n"),
    ];
    let aci = Aci::with_probe("example.com/some-app", &entries)
        .app("exec", json!(["/rkt-probe", "report", "--json"]))
        .app("user", json!("web"))
        .app("group", json!("log"))
        .app("supplementaryGIDs", json!([400, 500]))
        .app("workingDirectory", json!("/work"))
        .app(
            "environment",
            json!([{ "name": "A", "value": "from the image" }]),
        )
        .app(
            "ports",
            json!([{ "name": "www", "protocol": "tcp", "port": 8080, "count": 2 }]),
        );
    let path = file(&rkt, "x", &aci);
    let pod = rkt.start(&[UNSIGNED, &path, "--exec=/rkt-probe", "--", "sleep"]);
    // The name of the app is the last part of the image's.
    let app = pod.app("some-app");
    let base = u32::try_from(app.base()).unwrap();
    assert_eq!(app.uids(), [base + 33; 4]);
    assert_eq!(
        app.groups(),
        [base + 400, base + 500],
        "and not those of /etc/group"
    );
    let manifest = rkt.rkt(&["cat-manifest", &pod.uuid]).json();
    let app = &manifest["apps"][0];
    assert_eq!(app["app"]["workingDirectory"], "/work");
    assert_eq!(app["app"]["group"], "44");
    assert_eq!(app["app"]["ports"][1]["port"], 8081);
    assert_eq!(app["image"]["id"], aci.id()[..71]);
    pod.stop().ok();
    // Words after `--` are put after the image's own, as the original does.
    let env = aci.app("exec", json!(["/rkt-probe"]));
    let path = file(&rkt, "env", &env);
    let out = run(&rkt, &path, &["env"]).ok();
    assert!(
        out.contains("A=from the image") && out.contains("AC_APP_NAME=some-app"),
        "{out}"
    );
}

#[test]
fn mount_points_are_volumes() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let entries = [
        Entry::dir("data"),
        Entry::file("data/hidden", "of the image\n"),
    ];
    let aci = Aci::with_probe("example.com/app", &entries).app(
        "mountPoints",
        json!([{ "name": "db", "path": "/data" }, { "name": "conf", "path": "/conf", "readOnly": true }]),
    );
    let path = file(&rkt, "x", &aci);
    // Nobody gave one: new, empty, and gone with the pod.
    assert_eq!(run(&rkt, &path, &["list", "/data"]).ok(), "");
    let dir = rkt.open_dir("db");
    fs::write(dir.join("given"), "by the user\n").unwrap();
    let volume = format!("--volume=db,kind=host,source={}", dir.display());
    let with = |words: &[&str]| {
        let mut all = vec![UNSIGNED, &volume, &path, "--"];
        all.extend(words);
        rkt.run(&all)
    };
    assert_eq!(with(&["cat", "/data/given"]).ok(), "by the user\n");
    with(&["write", "/data/new", "text"]).ok();
    assert_eq!(fs::read_to_string(dir.join("new")).unwrap(), "text");
    assert_ne!(
        with(&["write", "/conf/new", "text"]).status,
        0,
        "read-only by the image's word"
    );
}

#[test]
fn isolators_are_obeyed_or_refused_by_name() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let with = |isolators: serde_json::Value| {
        let aci = Aci::with_probe("example.com/app", &[]).app("isolators", isolators);
        file(&rkt, &format!("i{}", rkt_tests::rkt::unique()), &aci)
    };
    let path = with(json!([
        { "name": "resource/memory", "value": { "limit": "64Mi" } },
        { "name": "os/linux/capabilities-retain-set", "value": { "set": ["CAP_KILL", "CAP_CHOWN"] } },
        { "name": "os/linux/oom-score-adj", "value": 300 },
    ]));
    let pod = rkt.start(&[UNSIGNED, &path, "--name=a", "--", "sleep"]);
    let bounding = pod.app("a").capabilities("CapBnd");
    assert_eq!(bounding, (1 << 5) | 1, "CAP_KILL and CAP_CHOWN");
    let manifest = rkt.rkt(&["cat-manifest", &pod.uuid]).json();
    let isolators = manifest["apps"][0]["app"]["isolators"].to_string();
    assert!(isolators.contains("67108864"), "{isolators}");
    pod.stop().ok();
    // Less weight than others an image may ask for, not more.
    if Need::Controller("cpu").missing().is_none() {
        let shares = |n: u32| with(json!([{ "name": "os/linux/cpu-shares", "value": n }]));
        let weight = |pod: &rkt_tests::Pod<'_>| {
            let root = rkt_tests::host::controller_root("cpu").unwrap();
            let group = root.join(&rkt.cgroup).join(&pod.uuid).join("app-a");
            let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
            read("cpu.shares").or_else(|| read("cpu.weight")).unwrap()
        };
        let pod = rkt.start(&[UNSIGNED, &shares(512), "--name=a", "--", "sleep"]);
        assert!(["512", "20"].contains(&weight(&pod).trim()));
        pod.stop().ok();
        let greedy = shares(4096);
        rkt.run(&[UNSIGNED, &greedy, "--name=a", "--", "exit", "0"])
            .ends_with(125)
            .is_one_clear_error()
            .says("--cpu-shares=4096");
        let granted = [UNSIGNED, &greedy, "--cpu-shares=4096", "--name=a"];
        let pod = rkt.start(&[&granted[..], &["--", "sleep"]].concat());
        assert!(["4096", "157"].contains(&weight(&pod).trim()));
        pod.stop().ok();
    }
    // A list of system calls of the image: within the default one, and the user's replaces it.
    let list = json!([{ "name": "os/linux/seccomp-remove-set", "value": { "set": ["getcwd"], "errno": "EPERM" } }]);
    let path_of_list = with(list);
    let pod = rkt.start(&[UNSIGNED, &path_of_list, "--name=a", "--", "sleep"]);
    assert_eq!(pod.app("a").seccomp(), 2);
    let told = rkt.rkt(&["cat-manifest", &pod.uuid]).ok();
    assert!(
        told.contains("seccomp-remove-set") && told.contains("\"by\""),
        "{told}"
    );
    rkt.rkt(&["audit", &pod.uuid]).ok();
    pod.stop().ok();
    let own = [
        UNSIGNED,
        &path_of_list,
        "--name=a",
        "--seccomp=unconfined",
        "--",
        "sleep",
    ];
    let pod = rkt.start(&own);
    assert_eq!(pod.app("a").seccomp(), 0);
    pod.stop().ok();
    // The user's word takes the place of the image's.
    let pod = rkt.start(&[
        UNSIGNED,
        &path,
        "--name=a",
        "--caps-retain=CAP_KILL",
        "--",
        "sleep",
    ]);
    assert_eq!(pod.app("a").capabilities("CapBnd"), 1 << 5);
    pod.stop().ok();
    for (isolator, why) in [
        (
            json!({ "name": "os/linux/selinux-context", "value": {} }),
            "selinux-context",
        ),
        (
            json!({ "name": "resource/network-bandwidth", "value": { "default": true, "limit": "1G" } }),
            "network-bandwidth",
        ),
        (
            json!({ "name": "example.com/unheard-of", "value": 1 }),
            "unheard-of",
        ),
        (
            json!({ "name": "os/linux/seccomp-retain-set", "value": { "set": ["read", "vmsplice"] } }),
            "--seccomp=mode=retain,read,vmsplice",
        ),
        (
            json!({ "name": "os/linux/seccomp-retain-set", "value": { "set": ["raed"] } }),
            "`raed`",
        ),
        (
            json!({ "name": "os/linux/capabilities-retain-set", "value": { "set": ["CAP_KILL", "CAP_NET_RAW"] } }),
            "--caps-retain=CAP_KILL",
        ),
        (
            json!({ "name": "os/linux/capabilities-retain-set", "value": { "set": ["CAP_SYS_ADMIN"] } }),
            "--caps-retain=CAP_SYS_ADMIN",
        ),
    ] {
        run(&rkt, &with(json!([isolator])), &["exit", "3"])
            .ends_with(125)
            .is_one_clear_error()
            .says(why);
    }
}

#[test]
fn wishes_that_rkt_does_not_fulfil_are_reasons_not_to_run() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let plain = || Aci::with_probe("example.com/app", &[]);
    let handlers = json!([{ "name": "pre-start", "exec": ["/bin/x"] }]);
    let socket = json!([{ "name": "www", "protocol": "tcp", "port": 80, "socketActivated": true }]);
    let label = |name: &str| json!([{ "name": name, "value": if name == "os" { "linux" } else { "amd64" } }]);
    for (aci, why) in [
        (
            plain().app("eventHandlers", handlers),
            "event handler `pre-start`",
        ),
        (plain().app("ports", socket), "port `www`"),
        (
            plain().set("labels", json!([])),
            "missing os label in the image manifest",
        ),
        (
            plain().set("labels", label("os")),
            "missing arch label in the image manifest",
        ),
        (plain().app("exec", json!([])), "empty \"exec\""),
        (
            plain().app("user", json!("nobody-here")),
            "\"nobody-here\" user not found",
        ),
        (
            plain().app("user", json!("/rkt-probe")),
            "neither a name nor a number",
        ),
    ] {
        let path = file(&rkt, &format!("w{}", rkt_tests::rkt::unique()), &aci);
        // It can be kept and looked at all the same.
        rkt.rkt(&["fetch", "--quiet", UNSIGNED, &path]).ok();
        let done = rkt.run(&[UNSIGNED, &path]);
        assert!(matches!(done.status, 125 | 254), "{done}");
        done.is_one_clear_error().says(why);
    }
    let other = plain().set(
        "labels",
        json!([{ "name": "os", "value": "freebsd" }, { "name": "arch", "value": "amd64" }]),
    );
    let path = file(&rkt, "freebsd", &other);
    run(&rkt, &path, &["exit", "3"])
        .ends_with(125)
        .is_one_clear_error()
        .says("freebsd");
}
