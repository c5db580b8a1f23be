//! Credential programs, logins, and what a registry says to them.

use super::fake::{Fake, Reply, Shelf};
use super::lab::Lab;
use super::make::three_layers;
use rkt_store::login::{self, Kept, Login};
use rkt_store::{Event, Kind};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

fn silent(_: Event<'_>) {}

/// A registry that takes `me:pw`, by `Basic`.
fn basic() -> Fake {
    let shelf = Shelf::of("latest", &three_layers());
    Fake::start(
        move |r| match (r.header("authorization"), r.path.as_str()) {
            (Some("Basic bWU6cHc="), "/v2/") => Reply::new(200, "{}"),
            (Some("Basic bWU6cHc="), _) => shelf.answer(r),
            _ => {
                Reply::error(401, "UNAUTHORIZED").with("www-authenticate", r#"Basic realm="a, b""#)
            }
        },
    )
}

#[test]
fn a_login_is_checked_before_it_is_kept() {
    let mut lab = Lab::new();
    let registry = basic();
    let host = registry.address.to_string();
    let network = &lab.options.network;
    let error = login::try_login(&host, "me", "no", network, &silent).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(!error.to_string().contains("no "), "{error}");
    let said = login::try_login(&host, "me", "pw", network, &silent).unwrap();
    assert_eq!(said, Login::Taken);
    let open = Fake::start(|_| Reply::new(200, "{}"));
    let said = login::try_login(&open.address.to_string(), "a", "b", network, &silent);
    assert_eq!(said.unwrap(), Login::NotAsked);
    let other = Fake::start(|_| Reply::new(404, ""));
    let error = login::try_login(&other.address.to_string(), "a", "b", network, &silent);
    assert!(error.unwrap_err().because().contains("no registry"));

    let file = lab.dir.join("config.json");
    assert_eq!(
        login::keep(&file, &host, "me", "pw").unwrap(),
        Kept::File(file.clone())
    );
    lab.options.network.credentials.docker_config = vec![file.clone()];
    lab.resolve(&registry.name("x")).unwrap();
    assert!(login::forget(&file, &host).unwrap().is_some());
    assert!(login::forget(&file, &host).unwrap().is_none());
}

#[test]
fn a_login_by_token_asks_for_no_repository() {
    let lab = Lab::new();
    let service = Fake::start(|r| {
        assert!(!r.path.contains("scope"), "{}", r.path);
        match r.header("authorization") {
            Some("Basic bWU6cHc=") => Reply::new(200, r#"{"token":"t"}"#),
            _ => Reply::error(401, "UNAUTHORIZED"),
        }
    });
    let address = service.address;
    let registry = Fake::start(move |r| match r.header("authorization") {
        Some("Bearer t") => Reply::new(200, "{}"),
        _ => Reply::error(401, "UNAUTHORIZED").with(
            "www-authenticate",
            format!(r#"Bearer realm="http://{address}/token",service="s""#),
        ),
    });
    let host = registry.address.to_string();
    let network = &lab.options.network;
    let said = login::try_login(&host, "me", "pw", network, &silent).unwrap();
    assert_eq!(said, Login::Taken);
    let error = login::try_login(&host, "me", "x", network, &silent).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error}");
}

/// Puts a credential program of that name where PATH has none; it is called by its path's name.
fn program(lab: &Lab, name: &str, script: &str) -> PathBuf {
    let path = lab.dir.join(format!("docker-credential-{name}"));
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn credential_programs_are_asked() {
    // The programs are found by PATH, which a test cannot change for its own process alone: it
    // runs itself again, with another one.
    let lab = Lab::new();
    if std::env::var_os("RKT_TEST_PROGRAMS").is_none() {
        program(
            &lab,
            "good",
            r#"read server; echo "$1 $server" >> "$(dirname "$0")/asked"; [ "$1" = get ] || exit 0; echo '{"ServerURL":"x","Username":"me","Secret":"pw"}'"#,
        );
        program(
            &lab,
            "none",
            "echo 'credentials not found in native keychain'; exit 1",
        );
        program(&lab, "bad", "echo no key; exit 1");
        let path = std::env::var("PATH").unwrap();
        let out = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "logins::credential_programs_are_asked",
                "--nocapture",
            ])
            .env("PATH", format!("{}:{path}", lab.dir.display()))
            .env("RKT_TEST_PROGRAMS", &lab.dir)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(
            out.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let registry = basic();
    let host = registry.address.to_string();
    let with = |text: String| {
        let mut lab = Lab::new();
        let file = lab.dir.join("config.json");
        std::fs::write(&file, text).unwrap();
        lab.options.network.credentials.docker_config = vec![file.clone()];
        (lab, file)
    };
    let (lab, _) = with(format!(r#"{{"credHelpers": {{"{host}": "good"}}}}"#));
    lab.resolve(&registry.name("x")).unwrap();
    let (lab, file) = with(r#"{"credsStore": "good"}"#.to_owned());
    lab.resolve(&registry.name("x")).unwrap();
    let kept = login::keep(&file, &host, "me", "pw").unwrap();
    assert_eq!(kept, Kept::Program("good".into()));
    assert!(!std::fs::read_to_string(&file).unwrap().contains("auths"));
    assert_eq!(
        login::forget(&file, &host).unwrap(),
        Some(Kept::Program("good".into()))
    );
    for (name, words) in [
        ("none", "does not exist"),
        ("bad", "no key"),
        ("../x", "no name"),
        ("missing", "docker-credential-missing"),
    ] {
        let (lab, _) = with(format!(r#"{{"credsStore": "{name}"}}"#));
        let error = lab.resolve(&registry.name("x")).unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthorized);
        assert!(error.because().contains(words), "{name}: {error}");
    }
    let dir = PathBuf::from(std::env::var_os("RKT_TEST_PROGRAMS").unwrap());
    let asked = std::fs::read_to_string(dir.join("asked")).unwrap();
    assert!(
        asked.contains(&format!("get {host}")) && asked.contains("erase"),
        "{asked}"
    );
}
