//! Layouts and archives, made by skopeo and by hand.

use super::lab::{Lab, has};
use super::make::{self, Made, OCI_INDEX, OCI_MANIFEST, digest, entry, gzip, three_layers};
use rkt_store::{Kind, PullPolicy};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes a layout directory by hand; `names` are the ref names of its images.
pub fn layout(dir: &Path, images: &[(&str, &Made)]) -> PathBuf {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        std::fs::write(
            blobs.join(digest(bytes).strip_prefix("sha256:").unwrap()),
            bytes,
        )
        .unwrap()
    };
    let mut list = Vec::new();
    for (name, made) in images {
        put(&made.config);
        put(&made.manifest);
        made.layers.iter().for_each(|l| put(l));
        list.push(json!({"mediaType": OCI_MANIFEST, "digest": digest(&made.manifest), "size": made.manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": name}}));
    }
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(
        dir.join("index.json"),
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list}).to_string(),
    )
    .unwrap();
    dir.to_owned()
}

fn skopeo(args: &[&str]) {
    let out = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--override-arch=amd64", "-q"])
        .args(args)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn a_layout_is_read_by_tag() {
    let lab = Lab::new();
    let (one, two) = (three_layers(), make::image(&[make::tar(&[("a", b"a")])]));
    let dir = layout(
        &lab.dir.join("layout"),
        &[("1.0", &one), ("docker.io/library/web:2.0", &two)],
    );
    let text = |tag: &str| format!("oci:{}{tag}", dir.display());
    assert_eq!(lab.resolve(&text(":1.0")).unwrap().id.to_string(), one.id());
    assert_eq!(lab.resolve(&text(":2.0")).unwrap().id.to_string(), two.id());
    assert_eq!(
        lab.resolve(&text(":docker.io/library/web:2.0"))
            .unwrap()
            .id
            .to_string(),
        two.id()
    );
    let error = lab.resolve(&text("")).unwrap_err();
    assert_eq!(error.kind(), Kind::Ambiguous);
    assert!(
        error
            .because()
            .contains("`1.0`, `docker.io/library/web:2.0`"),
        "{error}"
    );
    let error = lab.resolve(&text(":3.0")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    lab.told();
    lab.resolve(&text(":1.0")).unwrap();
    assert_eq!(
        lab.told(),
        ["using store"],
        "an unchanged layout is not read again"
    );

    layout(&dir, &[("1.0", &two)]);
    assert_eq!(
        lab.resolve(&text(":1.0")).unwrap().id.to_string(),
        two.id(),
        "a changed one is"
    );
    assert_eq!(
        lab.resolve(&text("")).unwrap().id.to_string(),
        two.id(),
        "a lone image needs no tag"
    );
}

#[test]
fn a_layout_that_lies_or_lacks_is_refused() {
    let made = three_layers();
    let blob = |bytes: &[u8]| {
        format!(
            "blobs/sha256/{}",
            digest(bytes).strip_prefix("sha256:").unwrap()
        )
    };
    type Spoil<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: [(&str, Kind, Spoil<'_>); 6] = [
        (
            "another byte in a layer",
            Kind::Corrupt,
            Box::new(|d| {
                let path = d.join(blob(&made.layers[1]));
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[1000] ^= 1;
                std::fs::write(path, bytes).unwrap();
            }),
        ),
        (
            "another manifest",
            Kind::Corrupt,
            Box::new(|d| std::fs::write(d.join(blob(&made.manifest)), "{}").unwrap()),
        ),
        (
            "a missing layer",
            Kind::NotFound,
            Box::new(|d| std::fs::remove_file(d.join(blob(&made.layers[0]))).unwrap()),
        ),
        (
            "a layer out of the layout",
            Kind::Corrupt,
            Box::new(|d| {
                let path = d.join(blob(&made.layers[0]));
                std::fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
            }),
        ),
        (
            "a FIFO",
            Kind::Corrupt,
            Box::new(|d| {
                std::fs::remove_file(d.join("index.json")).unwrap();
                assert!(
                    Command::new("mkfifo")
                        .arg(d.join("index.json"))
                        .status()
                        .unwrap()
                        .success()
                );
            }),
        ),
        (
            "no layout",
            Kind::Corrupt,
            Box::new(|d| std::fs::remove_file(d.join("oci-layout")).unwrap()),
        ),
    ];
    for (what, kind, spoil) in cases {
        let lab = Lab::new();
        let dir = layout(&lab.dir.join("layout"), &[("x", &made)]);
        spoil(&dir);
        let error = lab.resolve(&format!("oci:{}", dir.display())).unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
        lab.assert_nothing_half_done();
    }
    let lab = Lab::new();
    let error = lab.resolve("oci:/nonexistent").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("/nonexistent"), "{error}");
}

#[test]
fn archives_of_skopeo_hold_the_same_image() {
    if !has("skopeo") {
        return;
    }
    let lab = Lab::new();
    let made = three_layers();
    let dir = layout(&lab.dir.join("layout"), &[("x", &made)]);
    let from = format!("oci:{}:x", dir.display());
    let path = |name: &str| lab.dir.join(name).display().to_string();
    skopeo(&[&from, &format!("oci-archive:{}:tag", path("oci.tar"))]);
    skopeo(&[
        &from,
        &format!("docker-archive:{}:web:7", path("docker.tar")),
    ]);
    skopeo(&[&from, &format!("oci:{}:tag", path("copied"))]);
    let want = lab.resolve(&from).unwrap();
    for text in [
        format!("oci-archive:{}", path("oci.tar")),
        format!("oci-archive:{}:tag", path("oci.tar")),
        format!("oci:{}:tag", path("copied")),
    ] {
        let image = lab.resolve(&text).unwrap();
        assert_eq!(image.id, want.id, "{text}");
        assert_eq!(image.layers, want.layers);
    }
    let fresh = Lab::new();
    for text in ["", ":web:7", ":7", ":docker.io/library/web:7"] {
        let image = fresh
            .resolve(&format!("docker-archive:{}{text}", path("docker.tar")))
            .unwrap();
        assert_eq!(image.layers, want.layers, "{text}");
        assert_eq!(image.config.cmd, want.config.cmd);
        assert_eq!(image.config.user, "app");
    }
    let zipped = gzip(&std::fs::read(path("docker.tar")).unwrap());
    std::fs::write(path("docker.tar.gz"), zipped).unwrap();
    let image = fresh
        .resolve(&format!("docker-archive:{}", path("docker.tar.gz")))
        .unwrap();
    assert_eq!(image.layers, want.layers);
    assert_eq!(fresh.count("tmp"), 0);
    fresh.told();
    fresh
        .resolve(&format!("docker-archive:{}", path("docker.tar.gz")))
        .unwrap();
    assert_eq!(
        fresh.told(),
        ["using store"],
        "an unchanged archive is not inflated again"
    );
    let error = fresh
        .resolve(&format!("docker-archive:{}:other", path("docker.tar")))
        .unwrap_err();
    assert!(
        error.because().contains("but `") && error.because().contains("web:7`"),
        "{error}"
    );
    let error = fresh
        .resolve(&format!("docker-archive:{}", path("oci.tar")))
        .unwrap_err();
    assert!(error.remedy().unwrap().contains("oci-archive:"), "{error}");
    assert_eq!(
        fresh
            .resolve(&format!("oci-archive:{}", path("docker.tar")))
            .unwrap_err()
            .kind(),
        Kind::Corrupt
    );
    assert_eq!(
        fresh
            .resolve(&format!("docker-archive:{}", dir.display()))
            .unwrap_err()
            .kind(),
        Kind::BadReference
    );
    assert_eq!(
        fresh
            .resolve("docker-archive:/nonexistent.tar")
            .unwrap_err()
            .kind(),
        Kind::NotFound
    );

    std::fs::remove_file(path("docker.tar.gz")).unwrap();
    let mut never = fresh.options.clone();
    never.policy = PullPolicy::Never;
    assert!(
        fresh
            .resolve_with(&format!("docker-archive:{}", path("docker.tar.gz")), &never)
            .is_ok()
    );
}

/// What docker before 1.10 and after 25 write: links to layers, and the table at the end.
#[test]
fn docker_archives_of_all_ages_are_read() {
    let made = three_layers();
    let hex = |bytes: &[u8]| digest(bytes).strip_prefix("sha256:").unwrap().to_owned();
    let config = format!("{}.json", hex(&made.config));
    let legacy = {
        let table = json!([{"Config": config, "RepoTags": ["web:1"], "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"]}]).to_string();
        [
            entry("a/", b'5', 0o755, b"", ""),
            entry("a/VERSION", b'0', 0o644, b"1.0", ""),
            entry("a/layer.tar", b'0', 0o644, &made.tars[0], ""),
            entry("b/layer.tar", b'2', 0o777, b"", "../d/layer.tar"),
            entry("d/layer.tar", b'0', 0o644, &made.layers[1], ""),
            entry("c/layer.tar", b'0', 0o644, &made.tars[2], ""),
            entry(&config, b'0', 0o644, &made.config, ""),
            entry("repositories", b'0', 0o644, b"{}", ""),
            entry("manifest.json", b'0', 0o644, table.as_bytes(), ""),
            vec![0; 1024],
        ]
        .concat()
    };
    let modern = {
        let blob = |bytes: &[u8]| {
            entry(
                &format!("blobs/sha256/{}", hex(bytes)),
                b'0',
                0o644,
                bytes,
                "",
            )
        };
        let layers: Vec<String> = made
            .tars
            .iter()
            .map(|t| format!("blobs/sha256/{}", hex(t)))
            .collect();
        let table = json!([{"Config": format!("blobs/sha256/{}", hex(&made.config)), "RepoTags": null, "Layers": layers}]).to_string();
        [
            made.tars.iter().flat_map(|t| blob(t)).collect(),
            blob(&made.config),
            entry(
                "index.json",
                b'0',
                0o644,
                br#"{"schemaVersion":2,"manifests":[]}"#,
                "",
            ),
            entry("manifest.json", b'0', 0o644, table.as_bytes(), ""),
            entry(
                "oci-layout",
                b'0',
                0o644,
                br#"{"imageLayoutVersion":"1.0.0"}"#,
                "",
            ),
            vec![0; 1024],
        ]
        .concat()
    };
    for bytes in [legacy, modern.clone()] {
        let lab = Lab::new();
        let path = lab.dir.join("x.tar");
        std::fs::write(&path, bytes).unwrap();
        let image = lab
            .resolve(&format!("docker-archive:{}", path.display()))
            .unwrap();
        assert_eq!(image.id.to_string(), made.id());
    }
    // A byte of a layer changed: there is no digest of blobs there, but the diff ids speak.
    let lab = Lab::new();
    let path = lab.dir.join("x.tar");
    let at = modern.windows(4).position(|w| w == b"root").unwrap();
    let mut spoiled = modern.clone();
    spoiled[at] = b'R';
    std::fs::write(&path, spoiled).unwrap();
    let error = lab
        .resolve(&format!("docker-archive:{}", path.display()))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    lab.assert_nothing_half_done();
    std::fs::write(&path, &modern[..modern.len() / 2]).unwrap();
    assert_eq!(
        lab.resolve(&format!("docker-archive:{}", path.display()))
            .unwrap_err()
            .kind(),
        Kind::Corrupt
    );
    std::fs::write(&path, gzip(&modern[..modern.len() / 2])).unwrap();
    assert_eq!(
        lab.resolve(&format!("docker-archive:{}", path.display()))
            .unwrap_err()
            .kind(),
        Kind::Corrupt
    );
    std::fs::write(&path, &gzip(&modern)[..50_000]).unwrap();
    assert!(
        lab.resolve(&format!("docker-archive:{}", path.display()))
            .is_err()
    );
    lab.assert_nothing_half_done();
}
