//! Whatever a registry answers is refused, or is a document in which everything was checked.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const TYPES: [&str; 8] = [
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    DOCKER_CONFIG,
    LAYER_TYPES[1],
    "application/vnd.docker.distribution.manifest.v1+json",
];

fn media_type() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(&TYPES[..]).prop_map(str::to_owned),
        1 => "[a-z/.+]{0,12}",
    ]
}

fn digest() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[0-9a-f]{64}".prop_map(|hex| format!("sha256:{hex}")),
        1 => "[0-9a-f]{128}".prop_map(|hex| format!("sha512:{hex}")),
        1 => "(sha256:)?[0-9A-Fa-f./]{0,70}",
    ]
}

/// Anything, not too deep.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        media_type().prop_map(Value::from),
        digest().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(digest|size|mediaType|os|urls|[a-z]{0,3})", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn descriptor() -> impl Strategy<Value = Value> {
    let platform = prop::option::of((
        "(linux|windows|unknown|)",
        "(amd64|arm64|arm|unknown|)",
        "(v[0-9]{1,12}|)",
        prop::collection::vec("[a-z]{1,4}", 0..2),
    ));
    let urls = prop::collection::vec("https?://[a-z]{1,6}/x", 0..2);
    (media_type(), digest(), any::<i64>(), platform, urls).prop_map(
        |(media_type, digest, size, platform, urls)| {
            let mut value = json!({"mediaType": media_type, "digest": digest, "size": size});
            if let Some((os, architecture, variant, features)) = platform {
                value["platform"] = json!({"os": os, "architecture": architecture,
                    "variant": variant, "os.features": features});
            }
            if !urls.is_empty() {
                value["urls"] = json!(urls);
            }
            value
        },
    )
}

/// Each key as it should be, or anything, or absent.
fn document() -> impl Strategy<Value = Value> {
    let list = || prop::collection::vec(descriptor(), 0..5).prop_map(Value::from);
    let one = |good: BoxedStrategy<Value>| {
        prop::option::of(prop_oneof![8 => good, 1 => anything().boxed()])
    };
    (
        one(prop_oneof![9 => Just(json!(2)), 1 => any::<u8>().prop_map(Value::from)].boxed()),
        one(media_type().prop_map(Value::from).boxed()),
        one(list().boxed()),
        one(descriptor().boxed()),
        one(list().boxed()),
        prop::option::weighted(0.1, anything()),
    )
        .prop_map(|(version, media_type, manifests, config, layers, fs)| {
            let keys = [
                ("schemaVersion", version),
                ("mediaType", media_type),
                ("manifests", manifests),
                ("config", config),
                ("layers", layers),
                ("fsLayers", fs),
            ];
            let there = keys
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)));
            Value::Object(there.collect())
        })
}

fn platform() -> impl Strategy<Value = Platform> {
    "(linux|windows)/(amd64|arm64|arm)(/v[0-9]{1,2})?"
        .prop_map(|text| Platform::parse(&text).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_is_read_was_checked(
        value in document(), content in prop::option::of(media_type()), wanted in platform(),
    ) {
        let there = |key: &str| value.get(key).is_some_and(|v| !v.is_null());
        match read(value.to_string().as_bytes(), content.as_deref()) {
            Err(e) => prop_assert!(
                matches!(e.kind(), Kind::Corrupt | Kind::Unsupported | Kind::TooLarge), "{}", e
            ),
            Ok(Document::Image(image)) => {
                // CVE-2021-41190: nobody else may see an index here.
                prop_assert!(!there("manifests"));
                prop_assert!(content.as_deref().and_then(claim) != Some(Claim::Index));
                prop_assert!(image.layers.len() <= MOST_LAYERS);
                for layer in &image.layers {
                    prop_assert!(LAYER_TYPES.contains(&layer.media_type.as_str()));
                }
            }
            Ok(Document::Index(entries)) => {
                prop_assert!(!there("config") && !there("layers"));
                prop_assert!(content.as_deref().and_then(claim) != Some(Claim::Image));
                let choice = choose(&entries, &wanted);
                if let Some(chosen) = choice.image {
                    prop_assert!(!chosen.special);
                    prop_assert!(chosen.platform.as_ref().is_none_or(|p| wanted.distance(p).is_some()));
                    prop_assert!(entries.iter().any(|e| e.blob == chosen.blob));
                    // None that fits better was passed over.
                    let distance = |e: &Entry| e.platform.as_ref().and_then(|p| wanted.distance(p));
                    let better = entries.iter().filter(|e| !e.special
                        && matches!(e.blob.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST)
                        && distance(e).is_some_and(|d| distance(&chosen).is_none_or(|c| d < c)));
                    prop_assert_eq!(better.count(), 0);
                }
                for index in choice.indexes {
                    prop_assert!(matches!(index.blob.media_type.as_str(), OCI_INDEX | DOCKER_LIST));
                }
            }
        }
    }

    #[test]
    fn a_good_manifest_keeps_its_blobs_in_their_order(
        layers in prop::collection::vec(("[0-9a-f]{64}", 0..i64::MAX, prop::sample::select(&LAYER_TYPES[..])), 0..6),
        config in ("[0-9a-f]{64}", 0..i64::MAX),
    ) {
        let descriptor = |media_type: &str, hex: &str, size: i64| {
            json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": size})
        };
        let value = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config.0, config.1),
            "layers": layers.iter().map(|(hex, size, t)| descriptor(t, hex, *size)).collect::<Vec<_>>(),
        });
        let Ok(Document::Image(image)) = read(value.to_string().as_bytes(), Some(OCI_MANIFEST)) else {
            return Err(TestCaseError::fail(value.to_string()));
        };
        prop_assert_eq!(image.config.digest.hex(), config.0);
        prop_assert_eq!(image.config.size, config.1.cast_unsigned());
        let got: Vec<_> = image.layers.iter()
            .map(|l| (l.digest.hex().to_owned(), l.size.cast_signed(), l.media_type.as_str())).collect();
        let want: Vec<_> = layers.iter().map(|(hex, size, t)| (hex.clone(), *size, *t)).collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, None);
    }
}

#[test]
fn depth_and_number_end_somewhere() {
    for text in [
        "[".repeat(4 << 20),
        "{\"config\":".repeat(400_000),
        format!("{{\"manifests\":{}", "[".repeat(1 << 20)),
    ] {
        assert_eq!(
            read(text.as_bytes(), None).unwrap_err().kind(),
            Kind::Corrupt
        );
    }
    let layer = json!({"mediaType": LAYER_TYPES[1], "digest": format!("sha256:{}", "0a".repeat(32)), "size": 1});
    let many = json!({
        "schemaVersion": 2, "layers": vec![layer.clone(); MOST_LAYERS + 1],
        "config": {"mediaType": OCI_CONFIG, "digest": layer["digest"], "size": 1},
    });
    let error = read(many.to_string().as_bytes(), None).unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
}
