use super::*;
use crate::aci::config::config;
use crate::error::Kind;
use proptest::prelude::*;
use serde_json::json;

fn whole() -> Value {
    json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/reduce-worker",
        "labels": [
            { "name": "version", "value": "1.0.0" },
            { "name": "arch", "value": "amd64" },
            { "name": "os", "value": "linux" },
        ],
        "app": {
            "exec": ["/usr/bin/worker", "--quiet"],
            "user": "100", "group": "300", "supplementaryGIDs": [400, 500],
            "eventHandlers": [{ "name": "pre-start", "exec": ["/usr/bin/downloader"] }],
            "workingDirectory": "/opt/work",
            "environment": [{ "name": "DEBUG", "value": "true" }],
            "isolators": [{ "name": "resource/cpu", "value": { "request": "250m", "limit": "500m" } }],
            "mountPoints": [{ "name": "work", "path": "/var/lib/work", "readOnly": true }],
            "ports": [{ "name": "health", "port": 4000, "protocol": "tcp", "socketActivated": true },
                      { "name": "range", "port": 5000, "count": 3, "protocol": "udp" }],
            "userLabels": { "a": "b" },
        },
        "dependencies": [{
            "imageName": "example.com/base",
            "imageID": format!("sha512-{}", "a".repeat(128)),
            "labels": [{ "name": "os", "value": "linux" }],
            "size": 22017258,
        }],
        "pathWhitelist": ["/etc/ca/example.com/crt", "//usr/./bin/map"],
        "annotations": [
            { "name": "authors", "value": "A <a@example.com>" },
            { "name": "created", "value": "2014-10-27T19:32:27.67021798Z" },
            { "name": "documentation", "value": "https://example.com/docs" },
        ],
    })
}

fn read(value: &Value) -> Result<Manifest> {
    Manifest::read(value.to_string().as_bytes())
}

#[test]
fn every_key_of_the_specification_is_read() {
    let manifest = read(&whole()).unwrap();
    assert_eq!(manifest.label("version"), Some("1.0.0"));
    assert_eq!(
        manifest.whitelist,
        ["/etc/ca/example.com/crt", "/usr/bin/map"]
    );
    let dependency = &manifest.dependencies[0];
    assert_eq!(dependency.size, Some(22017258));
    assert_eq!(dependency.id.as_deref().map(str::len), Some(128));
    let (config, notes) = config(&manifest).unwrap();
    assert_eq!(
        (config.os.as_str(), config.architecture.as_str()),
        ("linux", "amd64")
    );
    assert_eq!(config.user, "100:300");
    assert_eq!(config.groups, [400, 500]);
    assert_eq!(config.env, ["DEBUG=true"]);
    assert_eq!(config.entrypoint.len(), 2);
    assert!(config.mount_points[0].read_only);
    let ports: Vec<_> = config
        .ports
        .iter()
        .map(|p| (p.name.as_str(), p.port))
        .collect();
    assert_eq!(
        ports,
        [
            ("health", 4000),
            ("range", 5000),
            ("range-1", 5001),
            ("range-2", 5002)
        ]
    );
    let unmet: Vec<_> = config.unmet.iter().map(|u| u.wish.as_str()).collect();
    assert_eq!(
        unmet,
        ["event handler `pre-start`", "port `health` opened for it"]
    );
    assert_eq!(notes.len(), 1, "{notes:?}");
}

#[test]
fn little_is_needed_and_null_is_nothing() {
    let mut value = json!({ "acKind": "ImageManifest", "acVersion": "0.7.0", "name": "a" });
    read(&value).unwrap();
    for key in [
        "labels",
        "app",
        "annotations",
        "dependencies",
        "pathWhitelist",
    ] {
        value[key] = Value::Null;
    }
    let manifest = read(&value).unwrap();
    assert_eq!(manifest.app, None);
    let (config, _) = config(&manifest).unwrap();
    assert!(
        config
            .unmet
            .iter()
            .any(|u| u.why.contains("missing os label"))
    );
}

#[test]
fn what_breaks_a_rule_is_refused_by_name() {
    for (pointer, value, why) in [
        ("/acKind", json!("PodManifest"), "ImageManifest"),
        ("/acVersion", json!("banana"), "acVersion"),
        ("/acVersion", json!("2.0.0"), "appc version 2"),
        ("/name", json!("../../etc"), "AC Identifier"),
        ("/name", json!("a\u{1b}[2J"), "AC Identifier"),
        ("/labels/0/name", json!("name"), "no label"),
        ("/labels/0/name", json!("os"), "twice"),
        ("/labels/2/value", json!("plan9"), "plan9"),
        ("/labels/1/value", json!("x86_64"), "x86_64"),
        ("/app/user", json!(""), "names no user"),
        ("/app/group", json!(""), "names no group"),
        ("/app/workingDirectory", json!("opt"), "not absolute"),
        ("/app/environment/0/name", json!("1A"), "no variable"),
        ("/app/environment/0/name", json!("A=B"), "no variable"),
        ("/app/eventHandlers/0/name", json!("on-fire"), "on-fire"),
        ("/app/mountPoints/0/path", json!("x"), "not absolute"),
        ("/app/mountPoints/0/name", json!("A"), "volume name"),
        ("/app/ports/0/port", json!(0), "out of range"),
        ("/app/ports/0/port", json!(70000), "not readable"),
        ("/app/ports/1/count", json!(65000), "out of range"),
        ("/app/ports/1/name", json!("health"), "twice"),
        ("/app/ports/0/protocol", json!("carrier-pigeon"), "unknown"),
        ("/app/isolators/0/value", json!(7), "no object"),
        ("/app/supplementaryGIDs", json!([-1]), "not readable"),
        ("/dependencies/0/imageID", json!("sha512-../x"), "image id"),
        ("/dependencies/0/imageName", json!("-"), "AC Identifier"),
        ("/pathWhitelist/0", json!("etc"), "whitelist"),
        ("/pathWhitelist/0", json!("/etc/../.."), "whitelist"),
        ("/annotations/1/value", json!("yesterday"), "yesterday"),
        ("/annotations/2/value", json!("javascript:x"), "javascript"),
    ] {
        let mut manifest = whole();
        *manifest.pointer_mut(pointer).unwrap() = value.clone();
        let error = read(&manifest).and_then(|m| config(&m)).unwrap_err();
        assert!(
            error.to_string().contains(why),
            "{pointer} = {value}: {error}"
        );
        assert!(
            matches!(error.kind(), Kind::Corrupt | Kind::Unsupported),
            "{error}"
        );
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
    let deep = format!("{{\"acKind\":{}", "[".repeat(100_000));
    assert_eq!(
        Manifest::read(deep.as_bytes()).unwrap_err().kind(),
        Kind::Corrupt
    );
}

/// Any JSON of bounded size.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("ImageManifest")),
        Just(json!("a")),
        Just(json!("/a/../b")),
    ];
    leaf.prop_recursive(3, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(name|value|set|limit|path|exec|.{0,4})", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Where a manifest can be made wrong.
const POINTERS: &[&str] = &[
    "/acKind",
    "/acVersion",
    "/name",
    "/labels",
    "/labels/0",
    "/labels/0/value",
    "/app",
    "/app/exec",
    "/app/user",
    "/app/group",
    "/app/supplementaryGIDs",
    "/app/eventHandlers",
    "/app/workingDirectory",
    "/app/environment",
    "/app/environment/0/name",
    "/app/isolators",
    "/app/isolators/0/name",
    "/app/isolators/0/value",
    "/app/isolators/0/value/limit",
    "/app/mountPoints",
    "/app/mountPoints/0/path",
    "/app/ports",
    "/app/ports/0/port",
    "/app/ports/1/count",
    "/dependencies",
    "/dependencies/0/imageID",
    "/dependencies/0/size",
    "/pathWhitelist",
    "/pathWhitelist/0",
    "/annotations",
    "/annotations/1/value",
];

proptest! {
    #[test]
    fn a_manifest_with_anything_anywhere_is_read_or_refused(
        changes in prop::collection::vec((0..POINTERS.len(), any_json()), 1..4)
    ) {
        let mut manifest = whole();
        for (at, value) in changes {
            if let Some(place) = manifest.pointer_mut(POINTERS[at]) {
                *place = value;
            }
        }
        if let Ok(read) = read(&manifest) {
            // What was read has the form that others rely on.
            prop_assert!(crate::aci::words::identifier(&read.name).is_ok());
            for path in &read.whitelist {
                prop_assert!(path.starts_with('/') && !path.split('/').any(|p| p == ".."), "{}", path);
            }
            if let Ok((config, _)) = config(&read) {
                prop_assert!(config.env.iter().all(|e| e.contains('=')));
                prop_assert!(config.mount_points.iter().all(|p| p.path.starts_with('/')));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::read(&bytes);
    }
}
