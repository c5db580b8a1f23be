//! What `--explain` prints, byte for byte. `RKT_BLESS=1` writes the files anew.
// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

use rkt_isolate::cgroup::{Controller, Layout};
use rkt_isolate::host::{Host, ResourcePrivilege};
use rkt_spec::image::{Accounts, ImageConfig, Port};
use rkt_spec::manifest::{Isolator, Mount, Volume, VolumeKind};
use rkt_spec::{AppName, PodName, Uuid, VolumeName};
use rkt_stage0::explain::explain;
use rkt_stage0::merge::{ImageFacts, manifest};
use rkt_stage0::networks::Forwards;
use rkt_stage0::plan::{Facts, build};
use rkt_stage0::request::{AppRequest, InsecureOptions, Place, RunRequest, Stdin};
use std::path::Path;

fn host() -> Host {
    Host {
        kernel: (6, 18),
        landlock_abi: 7,
        seccomp: true,
        user_namespaces: 1000,
        resource_privilege: ResourcePrivilege::Held,
        rlimits: Vec::new(),
        nr_open: 1 << 20,
        oom_score_adj: 0,
        throttled_cpus: 0,
        cgroups: Layout {
            v2: Some("/sys/fs/cgroup".into()),
            v2_controllers: Controller::ALL.to_vec(),
            v1: Vec::new(),
        },
    }
}

fn app(image: &str, name: &str) -> AppRequest {
    AppRequest {
        image: image.to_owned(),
        name: Some(AppName::new(name).unwrap()),
        ..AppRequest::default()
    }
}

fn image(user: &str) -> ImageFacts {
    ImageFacts {
        id: format!("sha256:{}", "ab".repeat(32)),
        short_name: Some("redis".to_owned()),
        chains: Vec::new(),
        config: ImageConfig {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            entrypoint: vec!["/entry.sh".to_owned()],
            cmd: vec!["serve".to_owned(), "it's fast".to_owned()],
            env: vec!["VERSION=7 \x1b[2J".to_owned()],
            user: user.to_owned(),
            working_dir: "/data".to_owned(),
            volumes: vec!["/data".to_owned()],
            ports: vec![Port {
                name: "80-tcp".to_owned(),
                protocol: "tcp".to_owned(),
                port: 80,
            }],
            stop_signal: Some("SIGQUIT".to_owned()),
            ..ImageConfig::default()
        },
        accounts: Some(Accounts {
            passwd: b"redis:x:999:1000::/home/redis:/bin/sh\n".to_vec(),
            group: b"tty:x:5:redis\n".to_vec(),
        }),
    }
}

fn request(apps: Vec<AppRequest>) -> RunRequest {
    let mut request = RunRequest::new(Place {
        dir: "/var/lib/rkt".into(),
        run_dir: "/run/rkt".into(),
        cgroup_parent: None,
    });
    request.apps = apps;
    request.net = Some("none".parse().unwrap());
    request
}

fn compare(name: &str, request: &RunRequest, images: &[ImageFacts], host: Host) {
    let uuid = Uuid::from_random([7; 16]);
    let manifest = manifest(request, images, uuid).unwrap();
    let facts = Facts {
        host,
        hosts: Some(b"127.0.0.1 localhost\n".to_vec()),
        resolv_conf: None,
        low_port: 1024,
        terminal: true,
        forwards: Forwards::default(),
        networks: Vec::new(),
        systemd: false,
    };
    let planned = build(request, &manifest, uuid, &[], &facts).unwrap();
    let table = explain(&planned, Some(&manifest), &vec![3; images.len()]).table();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/explain")
        .join(name);
    if std::env::var_os("RKT_BLESS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap();
    assert_eq!(table, want, "{}", path.display());
}

#[test]
fn two_apps_with_every_default() {
    let mut request = request(vec![
        app("docker://redis", "db"),
        app("docker://log", "log"),
    ]);
    request.pod_name = Some(PodName::new("shop").unwrap());
    compare(
        "two-apps.txt",
        &request,
        &[image("redis"), image("")],
        host(),
    );
}

#[test]
fn one_app_with_walls_taken_down_on_a_poor_host() {
    let mut one = app("oci:/srv/redis", "db");
    one.read_only = true;
    one.isolators = vec![
        Isolator::Memory {
            limit: "67108864".to_owned(),
        },
        Isolator::CapabilitiesRetain {
            set: vec!["CAP_CHOWN".to_owned(), "CAP_SYS_CHROOT".to_owned()],
        },
        Isolator::NoNewPrivileges(false),
    ];
    one.mounts = vec![Mount {
        volume: VolumeName::new("conf").unwrap(),
        path: "/etc/redis".to_owned(),
        read_only: true,
    }];
    let mut request = request(vec![one]);
    request.volumes = vec![Volume {
        name: VolumeName::new("conf").unwrap(),
        kind: VolumeKind::Host,
        source: Some("/srv/conf".to_owned()),
        read_only: false,
        recursive: false,
        mode: None,
        uid: 0,
        gid: 0,
        owner: Default::default(),
        size: None,
    }];
    request.net = Some("host".parse().unwrap());
    request.stdin = Stdin::Auto;
    request.detach = true;
    request.remove = true;
    request.landlock = false;
    request.insecure = InsecureOptions::SECCOMP.with(InsecureOptions::PATHS);
    let mut host = host();
    host.resource_privilege = ResourcePrivilege::Missing;
    host.cgroups.v2_controllers = vec![Controller::Memory];
    compare("walls-down.txt", &request, &[image("")], host);
}
