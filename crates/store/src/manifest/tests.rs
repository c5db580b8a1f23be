use super::*;
use serde_json::json;

fn d(n: u8) -> String {
    format!("sha256:{}", format!("{n:02x}").repeat(32))
}

fn image_json() -> serde_json::Value {
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": d(1), "size": 10},
        "layers": [{"mediaType": LAYER_TYPES[1], "digest": d(2), "size": 20}],
    })
}

fn read_json(value: &serde_json::Value, content: Option<&str>) -> Result<Document> {
    read(value.to_string().as_bytes(), content)
}

#[test]
fn an_image_is_read_from_either_family() {
    let Document::Image(image) = read_json(&image_json(), Some(OCI_MANIFEST)).unwrap() else {
        panic!("an image")
    };
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.config.size, 10);
    let mut docker = image_json();
    docker["mediaType"] = json!(DOCKER_MANIFEST);
    docker["config"]["mediaType"] = json!("application/octet-stream");
    assert!(read_json(&docker, Some(DOCKER_MANIFEST)).is_ok());
    assert!(
        read_json(&docker, Some("text/plain")).is_ok(),
        "an unknown server type says nothing"
    );
}

#[test]
fn a_document_of_two_kinds_is_refused() {
    let mut both = image_json();
    both["manifests"] = json!([]);
    let index_as_image = json!({"schemaVersion": 2, "manifests": []});
    for (value, content) in [
        (both, None),
        (image_json(), Some(OCI_INDEX)),
        (image_json(), Some(DOCKER_MANIFEST)),
        (index_as_image, Some(OCI_MANIFEST)),
        (json!({"schemaVersion": 2}), None),
    ] {
        let error = read_json(&value, content).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{value} {error}");
    }
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    let mut helm = image_json();
    helm["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    let mut xz = image_json();
    xz["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+xz");
    let schema1 = json!({"schemaVersion": 1, "fsLayers": [], "history": []});
    for value in [helm, xz, schema1] {
        assert_eq!(
            read_json(&value, None).unwrap_err().kind(),
            Kind::Unsupported
        );
    }
    let mut negative = image_json();
    negative["layers"][0]["size"] = json!(-1);
    let mut path = image_json();
    path["layers"][0]["digest"] = json!("sha256:../../../etc/passwd");
    let deep = "[".repeat(100_000);
    for text in [
        negative.to_string(),
        path.to_string(),
        deep,
        "null".into(),
        "{}".into(),
        String::new(),
    ] {
        assert_eq!(
            read(text.as_bytes(), None).unwrap_err().kind(),
            Kind::Corrupt
        );
    }
}

fn index(platforms: &[Option<&str>]) -> Vec<Entry> {
    platforms
        .iter()
        .enumerate()
        .map(|(i, platform)| Entry {
            blob: Blob {
                media_type: OCI_MANIFEST.into(),
                digest: Digest::new(&d(u8::try_from(i).unwrap())).unwrap(),
                size: 1,
                urls: Vec::new(),
            },
            platform: platform.map(|p| Platform::parse(p).unwrap()),
            special: false,
            annotations: BTreeMap::new(),
        })
        .collect()
}

#[test]
fn the_best_platform_wins() {
    let pick = |list: &[Option<&str>], wanted: &str| {
        choose(&index(list), &Platform::parse(wanted).unwrap())
            .image
            .map(|e| e.blob.digest.to_string())
    };
    let list = [
        Some("linux/arm64"),
        Some("linux/amd64"),
        Some("linux/amd64/v2"),
        Some("linux/amd64/v3"),
        Some("unknown/unknown"),
    ];
    assert_eq!(pick(&list, "linux/amd64"), Some(d(1)));
    assert_eq!(pick(&list, "linux/amd64/v2"), Some(d(2)));
    assert_eq!(pick(&list, "linux/arm64/v8"), Some(d(0)));
    assert_eq!(pick(&list, "linux/s390x"), None);
    assert_eq!(
        pick(&[None], "linux/s390x"),
        Some(d(0)),
        "a lone image is taken and checked later"
    );
    assert_eq!(pick(&[None, None], "linux/s390x"), None);
    assert_eq!(pick(&[], "linux/amd64"), None);
    let choice = choose(&index(&list), &Platform::parse("linux/s390x").unwrap());
    assert!(!choice.there.contains("unknown/unknown"));
    let error = wrong_platform(
        &Platform::parse("linux/s390x").unwrap(),
        choice.there.iter().map(String::as_str),
    );
    assert!(
        error
            .to_string()
            .contains("`linux/amd64/v2`, `linux/amd64/v3`, `linux/arm64`"),
        "{error}"
    );
}

#[test]
fn an_image_for_others_is_refused_by_its_own_words() {
    let host = Platform::parse("linux/amd64").unwrap();
    assert!(check_platform(&host, &Platform::parse("linux/arm64").unwrap()).is_err());
    let silent = Platform {
        os: String::new(),
        architecture: String::new(),
        variant: String::new(),
    };
    assert!(check_platform(&host, &silent).is_ok());
}
