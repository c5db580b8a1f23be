//! Images made from Debian's packages, from each kind of source.

use rkt_tests::command::tool;
use rkt_tests::images::{BUSYBOX, DEBIAN, NGINX, REDIS, Recipe, TAG, TOOLS};
use rkt_tests::layout::{Image, Pack};
use rkt_tests::registry::Registry;
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Rkt, wait_for};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;

/// One name for each kind: OCI layout, both archives, and a registry.
fn names(rkt: &Rkt, registry: &Registry, recipe: &Recipe) -> Vec<String> {
    let dir = rkt.open_dir(recipe.name);
    vec![
        recipe.oci(),
        recipe.docker_archive(&dir),
        recipe.oci_archive(&dir),
        registry.push(&recipe.layout(), TAG, recipe.name),
    ]
}

fn needs() -> Vec<Need> {
    let mut needs = TOOLS.to_vec();
    needs.push(Need::Tool("docker-registry"));
    needs
}

#[test]
fn busybox_runs_from_every_source() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    for name in names(&rkt, &registry, &BUSYBOX) {
        let out = rkt
            .run(&[
                &name,
                "--",
                "sh",
                "-c",
                "echo $((6*7)); id -u; cat /etc/group | wc -l",
            ])
            .ok();
        assert_eq!(out, "42\n0\n3\n", "{name}");
    }
    let user = rkt.run(&[&BUSYBOX.oci(), "--user=web", "--", "id"]).ok();
    assert!(
        user.contains("uid=33(web)") && user.contains("44(log)"),
        "{user}"
    );
    // It is in this rkt's directory, but not of rkt.
    drop(registry);
    rkt.leaves_nothing();
}

#[test]
fn debian_runs_from_every_source() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    for name in names(&rkt, &registry, &DEBIAN) {
        let script = "set -e; . /etc/os-release; echo $ID; apt-get --version | head -n 1; dpkg -l | grep -c ^ii; ls -l /bin/bash | cut -c1-10";
        let out = rkt.run(&[&name, "--", "bash", "-c", script]).ok();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "debian", "{name}: {out}");
        assert!(lines[1].starts_with("apt "), "{out}");
        assert!(lines[2].parse::<u32>().unwrap() > 40, "{out}");
        assert_eq!(lines[3], "-rwxr-xr-x", "{out}");
    }
}

/// Asks over HTTP from inside the pod's network, where the host cannot.
const ASK: &str =
    "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; head -n 1 <&3";

#[test]
fn nginx_serves_on_port_80_of_the_pods_own_network() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    for name in names(&rkt, &registry, &NGINX) {
        let pod = rkt.start(&["--pids=200", &name, "--name=web"]);
        let mut answer = String::new();
        wait_for("nginx", 20, || {
            answer = pod.enter(Some("web"), &["bash", "-c", ASK]).out;
            answer.contains("200 OK")
        });
        // The master is root of its own namespace, the workers are www-data; nobody is more.
        let processes = pod.app_processes("web");
        let base = u32::try_from(pod.app("web").base()).unwrap();
        assert!(
            processes.iter().any(|p| p.uids()[0] == base + 33),
            "{processes:?}"
        );
        for process in &processes {
            assert_eq!(
                process.all_capabilities()[2] & rkt_tests::eyes::SYS_ADMIN,
                0
            );
            assert!(process.uids().iter().all(|u| *u >= 524_288), "{process:?}");
        }
        pod.stop().ok();
        assert_eq!(
            pod.status()["apps"][0]["exit_code"],
            0,
            "nginx ends in order on its own stop signal"
        );
        rkt.rkt(&["rm", &pod.uuid]).ok();
    }
    // It is in this rkt's directory, but not of rkt.
    drop(registry);
    rkt.leaves_nothing();
}

#[test]
fn redis_drops_to_its_own_user() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    for name in names(&rkt, &registry, &REDIS) {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let port_word = port.to_string();
        let pod = rkt.start(&[
            "--net=host",
            &name,
            "--name=db",
            "--",
            "redis-server",
            "--port",
            &port_word,
        ]);
        let mut answer = Vec::new();
        wait_for("redis", 20, || {
            assert_eq!(pod.state(), "running", "{}", pod.logs("db"));
            let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else {
                return false;
            };
            socket.write_all(b"SET a 1\r\nGET a\r\nQUIT\r\n").unwrap();
            answer.clear();
            let _ = socket.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).contains("$1\r\n1\r\n")
        });
        let app = pod.app("db");
        let base = u32::try_from(app.base()).unwrap();
        let passwd = std::fs::read_to_string(app.path("/etc/passwd")).unwrap();
        let user: u32 = passwd
            .lines()
            .find(|l| l.starts_with("redis:"))
            .unwrap()
            .split(':')
            .nth(2)
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(app.uids(), [base + user; 4], "{name}");
        assert_eq!(app.all_capabilities()[..3], [0, 0, 0], "{name}");
        pod.stop().ok();
        assert_eq!(
            pod.status()["apps"][0]["exit_code"],
            0,
            "{}",
            pod.logs("db")
        );
        rkt.rkt(&["rm", &pod.uuid]).ok();
    }
}

#[test]
fn layers_packed_by_zstd_are_understood() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    let mut image = Image::with_probe(&[Entry::file("which", "packed\n")]);
    image.pack = Pack::Plain;
    let layout = image.write(&rkt.file("plain"));
    // skopeo packs what is not packed.
    let options = ["--dest-compress-format=zstd"];
    let name = registry.push_as(&layout.dir, TAG, "packed", &options);
    let manifest = tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &name]);
    assert!(
        manifest.contains("+zstd"),
        "skopeo has packed otherwise: {manifest}"
    );
    assert_eq!(rkt.run(&[&name, "--", "cat", "/which"]).ok(), "packed\n");
}

#[test]
fn fetch_takes_the_platform_that_is_asked_for() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let mut layout = Image::new(&[&[Entry::file("which", "amd64")]]).write(&rkt.file("index"));
    let mut manifests = Vec::new();
    let mut ids = std::collections::BTreeMap::new();
    for (os, arch) in [("linux", "amd64"), ("linux", "arm64"), ("freebsd", "amd64")] {
        let mut image = Image::new(&[&[Entry::file("which", format!("{os} {arch}"))]]);
        image.config["os"] = json!(os);
        image.config["architecture"] = json!(arch);
        let one = image.write(&rkt.file(&format!("{os}-{arch}")));
        let manifest = one.manifest();
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let digest = part["digest"].as_str().unwrap();
            std::fs::copy(one.blob_path(digest), layout.blob_path(digest)).unwrap();
        }
        let mut entry = layout.blob(manifest.to_string().as_bytes(), MANIFEST);
        entry["platform"] = json!({ "os": os, "architecture": arch });
        manifests.push(entry);
        let id = manifest["config"]["digest"].as_str().unwrap().to_owned();
        ids.insert(format!("{os}/{arch}"), id);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let mut entry = layout.blob(index.to_string().as_bytes(), INDEX);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "many" });
    layout.write_index(&json!({ "schemaVersion": 2, "manifests": [entry] }));
    let name = format!("{}:many", layout.reference());
    let fetch = |words: &[&str]| {
        let mut all = vec!["fetch", "--quiet"];
        all.extend(words);
        all.push(&name);
        rkt.rkt(&all)
    };
    for (words, want) in [
        (&["--arch=arm64"][..], "linux/arm64"),
        (&["--arch=amd64"], "linux/amd64"),
        (&["--os=freebsd", "--arch=amd64"], "freebsd/amd64"),
        (&["--os=linux", "--arch=arm64"], "linux/arm64"),
        // By the names that appc and the kernel have for it.
        (&["--arch=aarch64"], "linux/arm64"),
    ] {
        assert_eq!(fetch(words).ok().trim(), ids[want], "{words:?}");
        let told = fetch(&[words, &["--format=json"]].concat()).json();
        let told = format!("{}/{}", told["os"], told["arch"]).replace('"', "");
        assert_eq!(told, want, "{words:?}");
    }
    for (words, asked) in [
        (&["--arch=s390x"][..], "linux/s390x"),
        (&["--os=freebsd", "--arch=arm64"], "freebsd/arm64"),
    ] {
        fetch(words)
            .ends_with(254)
            .is_one_clear_error()
            .says(&format!("`{asked}`"))
            .says("it has `freebsd/amd64`, `linux/amd64`, `linux/arm64`");
    }
    fetch(&["--arch=../x"]).ends_with(254).is_one_clear_error();
}

#[test]
fn an_index_gives_the_image_of_this_machine() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut layout =
        Image::with_probe(&[Entry::file("which", "this one\n")]).write(&rkt.file("index"));
    let own = layout.manifest_digest();
    let mut other = layout.manifest();
    other["annotations"] = json!({ "of": "another machine" });
    let other = layout.blob(
        other.to_string().as_bytes(),
        "application/vnd.oci.image.manifest.v1+json",
    );
    let size = std::fs::metadata(layout.blob_path(&own)).unwrap().len();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            { "mediaType": other["mediaType"], "digest": other["digest"], "size": other["size"],
              "platform": { "os": "linux", "architecture": "riscv64" } },
            { "mediaType": other["mediaType"], "digest": own, "size": size,
              "platform": { "os": "linux", "architecture": "amd64" } },
        ],
    });
    let mut entry = layout.blob(
        index.to_string().as_bytes(),
        "application/vnd.oci.image.index.v1+json",
    );
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "many" });
    layout.write_index(&json!({ "schemaVersion": 2, "manifests": [entry] }));
    let name = format!("{}:many", layout.reference());
    assert_eq!(rkt.run(&[&name, "--", "cat", "/which"]).ok(), "this one\n");
    let wrong = rkt
        .run(&["--platform=linux/s390x", &name, "--", "cat", "/which"])
        .ends_with(125);
    wrong.is_one_clear_error().says("s390x");
}
