//! What a user gets wrong: one clear error, the documented exit status, and nothing left.

use rkt_tests::layout::Image;
use rkt_tests::tar::Entry;
use rkt_tests::{Done, Need, Rkt};
use serde_json::json;
use std::fs;

const PROBE: &str = "builtin:probe";
/// rkt could not do it.
const RKT: i32 = 125;
/// Found, but it cannot be executed.
const NOT_EXECUTABLE: i32 = 126;
/// Not found.
const NOT_FOUND: i32 = 127;
/// Usage and state.
const USAGE: i32 = 254;

#[track_caller]
fn fails(rkt: &Rkt, words: &[&str], status: i32, said: &str) -> Done {
    let mut all = vec!["run", "--rm", "--quiet", "--net=none"];
    all.extend(words);
    let done = rkt
        .rkt(&all)
        .ends_with(status)
        .is_one_clear_error()
        .says(said);
    rkt.leaves_nothing();
    done
}

#[test]
fn unknown_words_are_named() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    fails(&rkt, &["--nosuch", PROBE], USAGE, "--nosuch");
    fails(&rkt, &[], USAGE, "image");
    fails(&rkt, &[PROBE, "--memory=lots"], USAGE, "--memory=lots");
    fails(&rkt, &[PROBE, "--caps-retain=CAP_ROOT"], USAGE, "CAP_ROOT");
    fails(&rkt, &[PROBE, "--privileged"], USAGE, "--privileged");
    fails(&rkt, &[PROBE, "--port=80:80"], USAGE, "network");
    rkt.rkt(&["nosuch"])
        .ends_with(USAGE)
        .is_one_clear_error()
        .says("nosuch");
    rkt.rkt::<&str>(&[]).ends_with(2);
}

#[test]
fn unknown_images_are_named() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    fails(&rkt, &["builtin:nosuch"], RKT, "nosuch");
    fails(&rkt, &["oci:/nowhere/layout"], RKT, "/nowhere/layout");
    fails(&rkt, &["docker-archive:/nowhere.tar"], RKT, "/nowhere.tar");
    fails(&rkt, &["sha512-0123456789"], RKT, "0123456789");
    let empty = rkt.open_dir("empty");
    fails(
        &rkt,
        &[&format!("oci:{}", empty.display())],
        RKT,
        "index.json",
    );
    let layout = Image::with_probe(&[]).write(&rkt.file("layout"));
    fails(
        &rkt,
        &[&format!("{}:nosuchtag", layout.reference())],
        RKT,
        "nosuchtag",
    );
}

#[test]
fn an_unreachable_registry_is_said_soon() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let done = fails(
        &rkt,
        &[&format!("docker://127.0.0.1:{port}/x")],
        RKT,
        &format!("127.0.0.1:{port}"),
    );
    assert!(done.took.as_secs() < 20, "{done}");
    fails(
        &rkt,
        &["docker://registry.invalid/x"],
        RKT,
        "registry.invalid",
    );
}

#[test]
fn a_missing_volume_source_is_named() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    fails(
        &rkt,
        &["-v/nowhere/at/all:/data", PROBE],
        RKT,
        "/nowhere/at/all",
    );
    fails(
        &rkt,
        &[PROBE, "--mount=volume=nosuch,target=/data"],
        USAGE,
        "nosuch",
    );
    fails(&rkt, &["-vrelative:/data:rw:x", PROBE], USAGE, "relative");
    fails(&rkt, &["-v/tmp:relative", PROBE], USAGE, "relative");
}

#[test]
fn a_wrong_digest_or_size_is_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let image = Image::with_probe(&[Entry::file("etc/hello", "hello\n")]);
    for (at, change) in [
        ("layers", "digest"),
        ("layers", "size"),
        ("config", "digest"),
        ("config", "size"),
    ] {
        let dir = rkt.file(&format!("{at}-{change}"));
        let mut layout = image.write(&dir);
        let mut manifest = layout.manifest();
        let blob = if at == "layers" {
            &mut manifest["layers"][0]
        } else {
            &mut manifest["config"]
        };
        match change {
            "size" => blob["size"] = json!(blob["size"].as_u64().unwrap() - 1),
            _ => {
                // The right name over wrong bytes.
                let path = layout.blob_path(blob["digest"].as_str().unwrap());
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        layout.tag(&manifest, "wrong");
        fails(
            &rkt,
            &[&format!("{}:wrong", layout.reference())],
            RKT,
            change,
        );
        let images = rkt.rkt(&["image", "list", "--no-legend"]).ok();
        assert_eq!(images, "", "a half image is left");
    }
}

#[test]
fn a_layer_that_is_not_what_its_image_says_is_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut layout = Image::with_probe(&[]).write(&rkt.file("diffid"));
    let manifest = layout.manifest();
    let path = layout.blob_path(manifest["config"]["digest"].as_str().unwrap());
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    config["rootfs"]["diff_ids"] = json!([format!("sha256:{}", "1".repeat(64))]);
    let blob = layout.blob(
        config.to_string().as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    );
    let mut manifest = manifest;
    manifest["config"] = blob;
    layout.tag(&manifest, "wrong");
    fails(
        &rkt,
        &[&format!("{}:wrong", layout.reference())],
        RKT,
        "1111111111",
    );
}

#[test]
fn an_image_for_another_architecture_is_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut image = Image::with_probe(&[]);
    image.config["architecture"] = json!("riscv64");
    let layout = image.write(&rkt.file("riscv"));
    let done = fails(&rkt, &[&layout.reference()], RKT, "riscv64");
    assert!(
        done.err.contains("amd64") || done.err.contains("x86"),
        "{done}"
    );
}

/// A program of the image that cannot run: its own status, its own cause, never 1.
#[test]
fn programs_that_cannot_run_say_why() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // The host's own, which wants a loader that the image does not have.
    let loaderless = fs::read("/bin/true").unwrap();
    let image = Image::with_probe(&[
        Entry::dir("bin"),
        Entry::file("bin/plain", "just text, and no `#!`\n").mode(0o755),
        Entry::file("bin/noexec", "#!/rkt-probe\n"),
        Entry::file("bin/crlf", "#!/bin/sh\r\necho hello\r\n").mode(0o755),
        Entry::file("bin/shebang", "#!/usr/bin/nosuch-interpreter -x\n").mode(0o755),
        Entry::file("bin/dynamic", loaderless).mode(0o755),
        Entry::file("bin/arm", arm()).mode(0o755),
        Entry::file("bin/empty", "").mode(0o755),
        Entry::link("bin/dangling", "/nowhere/at/all"),
    ]);
    let name = image.write(&rkt.file("layout")).reference();
    for (program, status, said) in [
        ("/bin/nosuch", NOT_FOUND, "/bin/nosuch"),
        ("nosuch-word", NOT_FOUND, "nosuch-word"),
        ("/bin/dangling", NOT_FOUND, "/bin/dangling"),
        ("/bin/noexec", NOT_EXECUTABLE, "/bin/noexec"),
        ("/bin", NOT_EXECUTABLE, "not a file"),
        ("/bin/dynamic", NOT_EXECUTABLE, "ld-linux-x86-64.so.2"),
        (
            "/bin/shebang",
            NOT_EXECUTABLE,
            "/usr/bin/nosuch-interpreter",
        ),
        ("/bin/crlf", NOT_EXECUTABLE, "line end"),
        ("/bin/plain", NOT_EXECUTABLE, "/bin/plain"),
        ("/bin/empty", NOT_EXECUTABLE, "empty"),
        ("/bin/arm", NOT_EXECUTABLE, "aarch64"),
    ] {
        fails(&rkt, &[&name, &format!("--exec={program}")], status, said);
    }
}

/// The head of a program for another processor.
fn arm() -> Vec<u8> {
    let mut bytes = fs::read("/bin/true").unwrap();
    bytes[18] = 183;
    bytes
}

#[test]
fn in_a_detached_start_the_same_errors_come_before_the_prompt() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let words = [
        "run",
        "--detach",
        "--rm",
        "--quiet",
        "--net=none",
        PROBE,
        "--exec=/nosuch",
    ];
    rkt.rkt(&words)
        .ends_with(NOT_FOUND)
        .is_one_clear_error()
        .says("/nosuch");
    rkt.leaves_nothing();
}

#[test]
fn without_root_the_remedy_is_told() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setpriv")]) else {
        return;
    };
    let copy = rkt.file("rkt");
    fs::copy(rkt_tests::need::binary().unwrap(), &copy).unwrap();
    let dir = rkt.open_dir("nobody");
    let mut command = rkt.inside("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
    ]);
    command.arg(&copy).arg(format!("--dir={}", dir.display()));
    command.args(["run", "--net=none", PROBE]);
    rkt_tests::command::run(command, None)
        .ends_with(USAGE)
        .is_one_clear_error()
        .says("unprivileged user")
        .says("hint: ");
}

#[test]
fn a_second_pod_of_the_same_name_is_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&["--pod-name=web", PROBE, "--", "sleep"]);
    let words = [
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        "--pod-name=web",
        PROBE,
    ];
    rkt.rkt(&words)
        .ends_with(RKT)
        .is_one_clear_error()
        .says("web");
    assert_eq!(rkt.pod_dirs().len(), 1);
    assert_eq!(pod.state(), "running");
    let words = [
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        PROBE,
        "--name=a",
        "---",
        PROBE,
        "--name=a",
    ];
    rkt.rkt(&words).ends_with(USAGE).is_one_clear_error();
}

#[test]
fn a_full_disk_is_said_and_nothing_is_half_written() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let small = rkt.open_dir("small");
    let mut mount = rkt.inside("mount");
    mount.args([
        "-t",
        "tmpfs",
        "-o",
        "size=512k,mode=755",
        "none",
        &small.display().to_string(),
    ]);
    rkt_tests::command::run(mount, None).ok();
    let layout =
        Image::with_probe(&[Entry::file("big", vec![7; 2 << 20])]).write(&rkt.file("layout"));
    let mut command = rkt.inside(rkt_tests::need::binary().unwrap());
    command.arg(format!("--dir={}", small.join("data").display()));
    command.arg(format!("--run-dir={}", rkt.run_dir().display()));
    command.args(["fetch", "--quiet", &layout.reference()]);
    rkt_tests::command::run(command, None)
        .ends_with(USAGE)
        .is_one_clear_error()
        .says("space");
    // Nothing of it stays: the blobs that did not fit are gone.
    let mut du = rkt.inside("du");
    du.args(["-sk", &small.display().to_string()]);
    let used: u64 = rkt_tests::command::run(du, None)
        .ok()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(used < 200, "{used} KiB are left");
}

#[test]
fn control_c_during_a_pull_leaves_nothing() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // A registry that begins to answer and then says no more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (reached, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let held: Vec<_> = listener
            .incoming()
            .take(8)
            .inspect(|_| {
                let _ = reached.send(());
            })
            .collect();
        drop(held);
    });
    let mut command = rkt.command(&[
        "run",
        "--rm",
        "--net=none",
        &format!("docker://{address}/slow"),
    ]);
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    asked
        .recv_timeout(std::time::Duration::from_secs(20))
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    rkt_tests::host::signal(pid, rustix::process::Signal::INT);
    let status = rkt_tests::command::wait(&mut child, std::time::Duration::from_secs(10));
    let status = status.map(rkt_tests::command::shell_status);
    assert_eq!(status, Some(130), "128 + SIGINT");
    rkt.leaves_nothing();
    assert_eq!(rkt.rkt(&["image", "list", "--no-legend"]).ok(), "");
}
