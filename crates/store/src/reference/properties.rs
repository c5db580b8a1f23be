//! Whatever is typed is refused, or is a reference that reads the same again.

use super::*;
use crate::error::Kind;
use proptest::prelude::*;

const HEX: &str = "[0-9a-f]{64}";

/// Text over the words and bytes that mean something.
fn typed() -> impl Strategy<Value = String> {
    let scheme = "(docker://|oci:|oci-archive:|docker-archive:|builtin:|sha256:|sha256-|sha512-|aci:|file://|https?://|docker:|dir:)?";
    let rest = "([a-z0-9]|A|/|:|@|\\.|-|_|__|\\[|\\]|~|%|,|=| |\\.\\.|\\.aci|sha256:|localhost|latest|\\x00|\u{e9}){0,24}";
    (scheme, rest, prop::option::of(HEX)).prop_map(|(scheme, rest, hex)| match hex {
        None => format!("{scheme}{rest}"),
        Some(hex) => format!("{scheme}{rest}@sha256:{hex}"),
    })
}

fn host() -> impl Strategy<Value = String> {
    let name =
        "(localhost|[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z0-9]{1,6}){1,3}|\\[(::1|fd00::7)\\])";
    (name, prop::option::of(1..=u16::MAX)).prop_map(|(name, port)| match port {
        Some(port) => format!("{name}:{port}"),
        // Brackets alone are no host by docker's rule.
        None if name.starts_with('[') => format!("{name}:5000"),
        None => name,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_passes_reads_the_same_again(text in typed()) {
        if let Ok(reference) = Reference::parse(&text, HUB) {
            let canonical = reference.canonical();
            let again = Reference::parse(&canonical, "other.example");
            prop_assert!(again.is_ok(), "{} of {}", canonical, text);
            prop_assert_eq!(again.unwrap().canonical(), canonical);
            let file = reference.file_name();
            prop_assert!(!file.is_empty() && file.len() <= 200, "{}", file);
            prop_assert!(!file.contains('/') && !file.starts_with('.'), "{}", file);
            let _ = reference.short_name();
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}", registry in "\\PC{0,20}") {
        if let Err(e) = Reference::parse(&text, &registry) {
            prop_assert!(matches!(e.kind(), Kind::BadReference | Kind::Unsupported), "{}", e);
        }
    }

    #[test]
    fn a_good_name_keeps_all_its_parts(
        host in host(),
        path in "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}){0,2}",
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"),
        hex in prop::option::of(HEX),
    ) {
        let mut text = format!("docker://{host}/{path}");
        if let Some(tag) = &tag {
            text.push_str(&format!(":{tag}"));
        }
        if let Some(hex) = &hex {
            text.push_str(&format!("@sha256:{hex}"));
        }
        let Ok(Reference::Registry(name)) = Reference::parse(&text, HUB) else {
            return Err(TestCaseError::fail(text));
        };
        prop_assert_eq!(&name.registry, &host);
        prop_assert_eq!(&name.repository, &path);
        prop_assert_eq!(name.digest.as_ref().map(Digest::hex), hex.as_deref());
        let latest = hex.is_none().then(|| "latest".to_owned());
        prop_assert_eq!(name.tag.clone(), tag.or(latest));
        prop_assert!(!name.assumed.registry);
    }

    #[test]
    fn different_paths_never_share_a_file_name(a in "(/[a-z%.]{1,4}|/x{300}){1,3}", b in "(/[a-z%.]{1,4}|/x{300}){1,3}") {
        let name = |path: &str| Reference::parse(&format!("oci:{path}"), HUB).unwrap().file_name();
        prop_assert_eq!(a == b, name(&a) == name(&b));
    }
}

#[test]
fn what_is_longer_than_any_name_is_not_looked_at() {
    for text in ["a", "a/", "oci:/", ":", "@sha256:", ",a=b"] {
        let text = text.repeat(2 << 20);
        let error = Reference::parse(&text, HUB).unwrap_err();
        assert!(error.because().contains("too long"), "{}", error.because());
    }
}
