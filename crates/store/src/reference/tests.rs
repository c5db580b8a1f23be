use super::*;
use crate::error::Kind;

fn parse(text: &str) -> Result<Reference> {
    Reference::parse(text, HUB)
}

#[test]
fn what_people_type_becomes_one_canonical_name() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    for (text, want) in [
        (
            "docker://redis",
            "docker://docker.io/library/redis:latest".to_owned(),
        ),
        ("redis", "docker://docker.io/library/redis:latest".into()),
        ("redis:7.2", "docker://docker.io/library/redis:7.2".into()),
        ("me/app", "docker://docker.io/me/app:latest".into()),
        (
            "index.docker.io/redis:1",
            "docker://docker.io/library/redis:1".into(),
        ),
        ("docker://localhost/a", "docker://localhost/a:latest".into()),
        (
            "docker://127.0.0.1:5000/redis",
            "docker://127.0.0.1:5000/redis:latest".into(),
        ),
        (
            "Quay.IO/a/b--c__d:v1",
            "docker://quay.io/a/b--c__d:v1".into(),
        ),
        (
            "docker://[::1]:5000/x",
            "docker://[::1]:5000/x:latest".into(),
        ),
        ("oci:/tmp/x", "oci:/tmp/x".into()),
        (
            "oci:x:docker.io/library/redis:7",
            "oci:x:docker.io/library/redis:7".into(),
        ),
        (
            "docker-archive:a.tar:redis:7",
            "docker-archive:a.tar:redis:7".into(),
        ),
        ("oci-archive:a.tar", "oci-archive:a.tar".into()),
        ("builtin:probe", "builtin:probe".into()),
        ("sha256:ab", "sha256:ab".into()),
        ("sha256-abcd", "sha256:abcd".into()),
        ("abcdef012345", "sha256:abcdef012345".into()),
    ] {
        let reference = parse(text).unwrap();
        assert_eq!(reference.canonical(), want, "{text}");
        let again = Reference::parse(&want, "elsewhere.example").unwrap();
        assert_eq!(again.canonical(), want, "{text} is stable");
    }
    let Reference::Registry(name) = parse(&format!("a.example/b:tag@{digest}")).unwrap() else {
        panic!("a registry name")
    };
    assert_eq!(name.wanted(), digest, "the digest wins");
    assert_eq!(name.tag.as_deref(), Some("tag"));
}

#[test]
fn what_was_assumed_is_known() {
    let assumed = |t: &str| parse(t).unwrap().assumed();
    assert_eq!(
        assumed("redis"),
        Assumed {
            registry: true,
            tag: true
        }
    );
    assert_eq!(
        assumed("docker://redis"),
        Assumed {
            registry: false,
            tag: true
        }
    );
    assert_eq!(assumed("localhost/redis:1"), Assumed::default());
    let bare = Reference::parse("web:1", "hub.corp.example:8443").unwrap();
    assert_eq!(bare.canonical(), "docker://hub.corp.example:8443/web:1");
}

#[test]
fn app_images_have_names_of_four_kinds() {
    for (text, canonical, short) in [
        ("/srv/x.aci", "file:///srv/x.aci", Some("x")),
        ("file:///srv/x.aci", "file:///srv/x.aci", Some("x")),
        (
            "https://a.example/b/c.aci?d",
            "https://a.example/b/c.aci?d",
            Some("c"),
        ),
        ("aci:a.example/b:1", "aci:a.example/b:1", Some("b")),
        (
            "a.example/b:1,os=linux",
            "aci:a.example/b:1,os=linux",
            Some("b"),
        ),
        ("sha512-abcd", "sha512-abcd", None),
    ] {
        let read = Reference::parse(text, HUB).unwrap();
        assert_eq!(read.canonical(), canonical);
        assert_eq!(read.short_name(), short, "{text}");
        assert_eq!(Reference::parse(canonical, HUB).unwrap(), read);
        assert!(!read.file_name().contains('/'));
    }
    let file = Reference::parse("./x.aci", HUB).unwrap();
    assert!(file.absolute().unwrap().canonical().starts_with("file:///"));
    assert!(matches!(
        Reference::parse("a.example/b:1", HUB),
        Ok(Reference::Registry(_))
    ));
}

#[test]
fn what_is_no_name_is_refused_with_the_rule() {
    let long = "a".repeat(256);
    for text in [
        "",
        ":",
        "@",
        "/",
        "//",
        "docker://",
        "docker:///x",
        "docker://a..b/c",
        "UPPER",
        "a/../b",
        "a//b",
        "a:",
        "a:-x",
        "a@sha256:abc",
        "a@md5:00",
        "host.example:0/x",
        "host.example:99999/x",
        "host.example:/x",
        "[::1/x",
        "[zz]/x",
        "[::1]x/y",
        "oci:",
        "oci::tag",
        "oci:dir:",
        "builtin:",
        "builtin:../x",
        "sha256:",
        "sha256:xyz",
        "sha256-a",
        "./dir",
        "/abs",
        "-a",
        "a-",
        "a___b",
        "a\nb",
        "\u{1b}[2J",
        "a b",
        "docker:redis",
        "docker-daemon:x",
        "https://x.example/a.tar",
        "https://x.example/a.aci#x",
        "file://x.aci",
        "file:///x",
        "aci:",
        "aci:UPPER",
        "sha512-zz",
        "sha512-a",
        "a.b/c,d",
        &long,
        "ü",
        "host.example/ü",
        "user:pw@host.example/x",
    ] {
        let error = parse(text).unwrap_err();
        assert!(
            matches!(error.kind(), Kind::BadReference | Kind::Unsupported),
            "{text}: {error}"
        );
        assert!(!error.to_string().contains('\u{1b}'), "{text}");
    }
}

#[test]
fn file_names_are_safe_and_distinct() {
    let mut seen = std::collections::BTreeSet::new();
    for text in [
        "a:b",
        "a/b",
        "oci:/tmp/x:y",
        "oci:/tmp/x%3ay",
        "builtin:a",
        "sha256:aa",
    ] {
        let name = parse(text).unwrap().file_name();
        assert!(
            !name.contains('/') && !name.starts_with('.') && name.len() <= 200,
            "{name}"
        );
        assert!(seen.insert(name));
    }
    let one = parse(&format!("oci:/{}", "x".repeat(3000)))
        .unwrap()
        .file_name();
    let two = parse(&format!("oci:/{}y", "x".repeat(3000)))
        .unwrap()
        .file_name();
    assert!(one.len() <= 200 && one != two);
}

#[test]
fn short_names_name_the_image() {
    for (text, want) in [
        ("docker://redis:7", Some("redis")),
        ("oci:/srv/nginx:latest", Some("nginx")),
        ("oci:/srv/x:docker.io/library/web:1", Some("web")),
        ("docker-archive:/tmp/app.tar", Some("app")),
        ("docker-archive:/tmp/app.tar:7.2", Some("app")),
        ("builtin:probe", Some("probe")),
        ("sha256:abcd", None),
        ("oci:/", None),
    ] {
        assert_eq!(parse(text).unwrap().short_name(), want, "{text}");
    }
}
