use super::*;
use serde_json::json;

fn read_json(value: &serde_json::Value) -> Result<Read> {
    read(value.to_string().as_bytes())
}

#[test]
fn a_whole_configuration_is_read() {
    let diff = format!("sha256:{}", "0a".repeat(32));
    let read = read_json(&json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {
            "User": "redis:redis", "WorkingDir": "data/../srv",
            "ExposedPorts": {"6379/tcp": {}, "53": null, "8000-8002/udp": {}, "x/tcp": {}, "0": {}},
            "Env": ["PATH=/bin", "NOEQ", "A=1", "PATH=/usr/bin", "=x"],
            "Entrypoint": ["/entry"], "Cmd": "redis-server --port 1",
            "Volumes": {"/data": {}, "/": {}, "cache/": {}},
            "Labels": {"a": "b", "c": null}, "StopSignal": "SIGQUIT", "OnBuild": ["x"]
        },
        "rootfs": {"type": "layers", "diff_ids": [diff]},
        "history": [{"empty_layer": true}]
    }))
    .unwrap();
    let c = &read.config;
    assert_eq!(c.env, ["PATH=/usr/bin", "A=1"]);
    assert_eq!(c.working_dir, "/srv");
    assert_eq!(c.volumes, ["/cache", "/data"]);
    assert_eq!(c.cmd, ["/bin/sh", "-c", "redis-server --port 1"]);
    let ports: Vec<_> = c.ports.iter().map(|p| (p.name.as_str(), p.port)).collect();
    assert_eq!(
        ports,
        [
            ("53", 53),
            ("6379-tcp", 6379),
            ("8000-udp", 8000),
            ("8001-udp", 8001),
            ("8002-udp", 8002)
        ]
    );
    assert_eq!(c.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(read.diff_ids.len(), 1);
    assert_eq!(read.notes.len(), 3, "{:?}", read.notes);
}

#[test]
fn nulls_and_absences_are_defaults() {
    for value in [
        json!({}),
        json!({"config": null, "rootfs": null, "os": null}),
        json!({"config": {"Env": null, "Cmd": null, "Labels": null, "User": null}}),
    ] {
        let read = read_json(&value).unwrap();
        assert_eq!(read.config, ImageConfig::default());
        assert!(read.notes.is_empty());
    }
}

#[test]
fn strange_configurations_are_refused() {
    for value in [
        json!({"config": {"Env": "x"}}),
        json!({"config": {"Cmd": ["a\u{0}b"]}}),
        json!({"rootfs": {"diff_ids": ["sha256:xx"]}}),
        json!({"rootfs": {"type": "tree"}}),
    ] {
        assert!(read_json(&value).is_err(), "{value}");
    }
}

#[test]
fn our_own_configuration_reads_back() {
    let config = ImageConfig {
        os: "linux".into(),
        architecture: "amd64".into(),
        entrypoint: vec!["/probe".into()],
        env: vec!["A=1".into()],
        volumes: vec!["/v".into()],
        ports: vec![Port {
            name: "80-tcp".into(),
            protocol: "tcp".into(),
            port: 80,
        }],
        ..ImageConfig::default()
    };
    let diff = Digest::sha256(&[7; 32]);
    let read = read(&write(&config, std::slice::from_ref(&diff)).unwrap()).unwrap();
    assert_eq!(read.config, config);
    assert_eq!(read.diff_ids, [diff]);
}
