use super::*;
use crate::reference::Reference;

fn parse(text: &str) -> Result<Registries> {
    let mut all = Registries::default();
    all.add(text)?;
    Ok(all)
}

fn name(text: &str) -> RegistryName {
    match Reference::parse(text, HUB).unwrap() {
        Reference::Registry(name) => name,
        other => panic!("{other}"),
    }
}

const EXAMPLE: &str = r#"
default-registry = "Registry.Corp.example:5000"

[[registry]]
prefix = "docker.io"
[[registry.mirror]]
location = "mirror.corp.example:5000/hub"
[[registry.mirror]]
location = "10.0.0.7"
insecure = true
pull-from-mirror = "digest-only"

[[registry]]
prefix = "docker.io/library/secret"
blocked = true

[[registry]]
prefix = "old.example/team"
location = "new.example/other/team"

[[registry]]
location = "lab.example:80"
insecure = true
foreign-layers = true

[[registry]]
prefix = "*.lab.example"
insecure = true
"#;

#[test]
fn names_lead_where_the_file_says() {
    let all = parse(EXAMPLE).unwrap();
    assert_eq!(all.default_registry(), "registry.corp.example:5000");
    let digest = format!("sha256:{}", "0a".repeat(32));
    for (asked, want) in [
        (
            "redis",
            &[
                "mirror.corp.example:5000/hub/library/redis",
                "docker.io/library/redis",
            ][..],
        ),
        (
            "a/b:1",
            &["mirror.corp.example:5000/hub/a/b", "docker.io/a/b"],
        ),
        (
            &format!("a/b@{digest}"),
            &[
                "mirror.corp.example:5000/hub/a/b",
                "10.0.0.7/a/b",
                "docker.io/a/b",
            ],
        ),
        ("old.example/team/x", &["new.example/other/team/x"]),
        ("old.example/teams/x", &["old.example/teams/x"]),
        ("else.example/x", &["else.example/x"]),
    ] {
        let places: Vec<String> = all
            .places(&name(asked))
            .unwrap()
            .iter()
            .map(|place| place.name.place())
            .collect();
        assert_eq!(places, want, "{asked}");
    }
    let error = all.places(&name("secret:3")).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.because().contains("docker.io/library/secret"));
    assert!(all.places(&name("secrets")).is_ok());
}

#[test]
fn only_the_named_hosts_are_insecure() {
    let all = parse(EXAMPLE).unwrap();
    for (host, want) in [
        ("lab.example:80", true),
        ("lab.example", false),
        ("10.0.0.7", true),
        ("10.0.0.70", false),
        ("a.lab.example", true),
        ("a.b.lab.example:5000", true),
        ("xlab.example", false),
        ("mirror.corp.example:5000", false),
        ("docker.io", false),
    ] {
        assert_eq!(all.is_insecure(host), want, "{host}");
    }
    assert!(all.allows_foreign(&name("lab.example:80/x")));
    assert!(!all.allows_foreign(&name("redis")));
}

#[test]
fn the_rule_of_the_name_decides_about_tls() {
    let all = parse(
        r#"
[[registry]]
prefix = "host.example/team"
insecure = true
[[registry]]
prefix = "host.example/team/closed"
[[registry]]
prefix = "host.example/other"
[[registry.mirror]]
location = "host.example/copies"
insecure = true
[[registry]]
prefix = "moved.example"
location = "new.example"
insecure = true
[[registry]]
prefix = "sub.open.example"
[[registry]]
prefix = "*.open.example"
insecure = true
"#,
    )
    .unwrap();
    for (asked, want) in [
        ("host.example/team/app", &[true][..]),
        ("host.example/team", &[true]),
        ("host.example/teams", &[false]),
        ("host.example/team/closed/app", &[false]),
        ("host.example/other/app", &[true, false]),
        ("host.example/app", &[false]),
        ("moved.example/app", &[true]),
        ("new.example/app", &[false]),
        ("sub.open.example/app", &[false]),
        ("else.open.example/app", &[true]),
    ] {
        let places = all.places(&name(asked)).unwrap();
        let places: Vec<bool> = places.iter().map(|place| place.insecure).collect();
        assert_eq!(places, want, "{asked}");
    }
    // Where somebody else leads, only what is said about the whole host counts.
    for (host, want) in [
        ("host.example", false),
        ("new.example", true),
        ("moved.example", false),
        ("sub.open.example", false),
        ("else.open.example", true),
    ] {
        assert_eq!(all.is_insecure(host), want, "{host}");
    }
}

#[test]
fn wrong_files_are_refused_with_their_line() {
    for (text, part) in [
        (
            "[[registry]]\nprefix = \"a.example\"\nblokced = true\n",
            "line 3: unknown field",
        ),
        ("default-registry = 7\n", "line 1: invalid type"),
        ("default-registry = \"a.example/x\"\n", "a host and a path"),
        ("[[registry]]\ninsecure = true\n", "neither"),
        ("[[registry]]\nprefix = \"https://a.example\"\n", "https"),
        ("[[registry]]\nprefix = \"a.example/\"\n", "a.example/"),
        (
            "[[registry]]\nprefix = \"a.example/B\"\n",
            "no part of an image name",
        ),
        (
            "[[registry]]\nprefix = \"*.a.example\"\nlocation = \"b.example\"\n",
            "many hosts",
        ),
        (
            "[[registry]]\nprefix = \"a.example\"\n[[registry]]\nlocation = \"A.example\"\n",
            "twice",
        ),
        (
            "[[registry]]\nprefix = \"a.example\"\n[[registry.mirror]]\nlocation = \"m.example\"\npull-from-mirror = \"never\"\n",
            "line 5: unknown variant",
        ),
        ("x", "line 1"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.because().contains(part), "{text}: {error}");
    }
}

#[test]
fn later_directories_override_prefix_by_prefix() {
    let top = std::env::temp_dir().join(format!("rkt-registries-{}", std::process::id()));
    let (system, local) = (top.join("system"), top.join("local"));
    std::fs::create_dir_all(local.join("registries.d")).unwrap();
    std::fs::create_dir_all(&system).unwrap();
    let put = |path: PathBuf, text: &str| std::fs::write(path, text).unwrap();
    put(system.join("registries.toml"), EXAMPLE);
    put(
        local.join("registries.d/one.toml"),
        "[[registry]]\nprefix = \"docker.io\"\n",
    );
    put(local.join("registries.d/README"), "not read");
    let dirs = [system, local.clone(), top.join("none")];
    let all = Registries::read(&dirs).unwrap();
    assert_eq!(all.default_registry(), "registry.corp.example:5000");
    assert_eq!(all.places(&name("redis")).unwrap().len(), 1);
    assert!(all.places(&name("secret")).is_err());
    put(
        local.join("registries.toml"),
        "[[registry]]\nprefix = \"docker.io\"\n",
    );
    let error = Registries::read(&dirs).unwrap_err().to_string();
    assert!(
        error.contains("twice") && error.contains("registries"),
        "{error}"
    );
    std::fs::remove_dir_all(&top).unwrap();
}
