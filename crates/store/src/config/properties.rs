//! Whatever a configuration holds is refused, or is what the words of `ImageConfig` promise.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,10}".prop_map(Value::from),
        "(/|a|\\.\\.|\\.|=|\\x00|-|[0-9]{1,6}|udp){0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(
                "([0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp|x))?|/?[a-z.]{0,3}(/[a-z.]{0,3}){0,3})",
                inner,
                0..5
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Where a configuration can be made strange.
const POINTERS: [&str; 20] = [
    "/architecture",
    "/os",
    "/variant",
    "/config",
    "/config/User",
    "/config/ExposedPorts",
    "/config/Env",
    "/config/Env/0",
    "/config/Entrypoint",
    "/config/Entrypoint/0",
    "/config/Cmd",
    "/config/Volumes",
    "/config/WorkingDir",
    "/config/Labels",
    "/config/Labels/a",
    "/config/StopSignal",
    "/rootfs",
    "/rootfs/type",
    "/rootfs/diff_ids",
    "/rootfs/diff_ids/0",
];

fn whole() -> Value {
    json!({
        "architecture": "amd64", "os": "linux", "variant": "v1",
        "config": {
            "User": "redis", "WorkingDir": "/srv", "ExposedPorts": {"80/tcp": {}},
            "Env": ["A=1"], "Entrypoint": ["/entry"], "Cmd": ["x"], "Volumes": {"/data": {}},
            "Labels": {"a": "b"}, "StopSignal": "SIGQUIT"
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", "0a".repeat(32))]},
    })
}

fn is_clean(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains('\0')
        && (path == "/"
            || path
                .split('/')
                .skip(1)
                .all(|p| !matches!(p, "" | "." | "..")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_is_read_keeps_its_word(
        changes in prop::collection::vec((0..POINTERS.len(), anything()), 0..4)
    ) {
        let mut value = whole();
        for (at, new) in changes {
            if let Some(place) = value.pointer_mut(POINTERS[at]) {
                *place = new;
            }
        }
        let Ok(read) = read(value.to_string().as_bytes()) else {
            return Ok(());
        };
        let c = &read.config;
        let names: Vec<&str> = c.env.iter().filter_map(|e| Some(e.split_once('=')?.0)).collect();
        prop_assert_eq!(names.len(), c.env.len());
        let unique: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        prop_assert_eq!(unique.len(), names.len(), "{:?}", c.env);
        prop_assert!(names.iter().all(|n| !n.is_empty()));
        prop_assert!(c.working_dir.is_empty() || is_clean(&c.working_dir), "{}", c.working_dir);
        prop_assert!(c.volumes.iter().all(|v| is_clean(v) && v.len() < 4096), "{:?}", c.volumes);
        prop_assert!(c.volumes.is_sorted() && c.ports.len() <= MOST_PORTS);
        prop_assert!(c.ports.iter().all(|p| p.port > 0));
        prop_assert!(c.stop_signal.as_ref().is_none_or(|s| signal::parse(s).is_ok()));
        prop_assert!(read.notes.len() <= MOST_NOTES + 1);
        // What we would write for it means the same.
        let again = super::read(&write(c, &read.diff_ids).unwrap()).unwrap();
        prop_assert_eq!(&again.diff_ids, &read.diff_ids);
        prop_assert_eq!(&again.config.env, &c.env);
        prop_assert_eq!(&again.config.volumes, &c.volumes);
        prop_assert_eq!(&again.config.entrypoint, &c.entrypoint);
        prop_assert_eq!(&again.config.working_dir, &c.working_dir);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = history(&bytes);
    }
}

#[test]
fn a_million_strange_words_are_a_few_lines() {
    let odd: BTreeMap<String, Value> = (0..100_000).map(|i| (format!("x{i}"), json!({}))).collect();
    let wide: BTreeMap<String, Value> = (0..64)
        .map(|i| (format!("1-{}/udp", 65_535 - i), json!({})))
        .collect();
    let mut value = whole();
    value["config"]["ExposedPorts"] = json!(odd);
    let read_odd = read(value.to_string().as_bytes()).unwrap();
    assert_eq!(read_odd.notes.len(), MOST_NOTES + 1);
    assert!(
        read_odd.notes[MOST_NOTES].contains("99984 more"),
        "{:?}",
        read_odd.notes
    );
    value["config"]["ExposedPorts"] = json!(wide);
    assert!(
        read(value.to_string().as_bytes())
            .unwrap()
            .config
            .ports
            .len()
            <= MOST_PORTS
    );
}
