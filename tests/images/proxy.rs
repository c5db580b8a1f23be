//! Registries that only a proxy can reach: by CONNECT, with a password for the proxy that nobody
//! else gets, and around it where `no_proxy` says so.

use rkt_tests::command::run;
use rkt_tests::images::TAG;
use rkt_tests::layout::Image;
use rkt_tests::proxy::Proxy;
use rkt_tests::registry::{Registry, Setting};
use rkt_tests::tar::Entry;
use rkt_tests::tls::Ca;
use rkt_tests::{Done, Need, Rkt};
use std::fs;

const NEEDS: [Need; 3] = [
    Need::Tool("skopeo"),
    Need::Tool("docker-registry"),
    Need::Tool("openssl"),
];

/// base64 of `tunnel:open-sesame`.
const PASS: &str = "dHVubmVsOm9wZW4tc2VzYW1l";

/// A name that no host and no server of names knows.
fn name(registry: &Registry) -> String {
    let (_, port) = registry.address.split_once(':').unwrap();
    format!("registry.test:{port}")
}

/// Nobody to ask for names: what is not in the proxy's book leads nowhere, and at once.
fn without_names(me: &Rkt) {
    let file = me.file("resolv.conf");
    fs::write(
        &file,
        "nameserver 127.0.0.2\noptions timeout:1 attempts:1\n",
    )
    .unwrap();
    let mut mount = me.inside("mount");
    mount.arg("--bind").arg(&file).arg("/etc/resolv.conf");
    run(mount, None).ok();
}

fn push(me: &Rkt, registry: &Registry) {
    let layout = Image::with_probe(&[Entry::file("which", "behind\n")]).write(&me.file("layout"));
    registry.push(&layout.dir, TAG, "team/own");
}

/// `rkt WORDS` with these variables and no others of their kind.
fn with(me: &Rkt, words: &[&str], variables: &[(&str, &str)]) -> Done {
    let config = format!("--local-config={}", me.file("etc").display());
    let mut command = me.command(&[words, &[&config]].concat());
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.env("HOME", me.file("home"));
    command.env("DOCKER_CONFIG", me.file("docker"));
    command.env_remove("REGISTRY_AUTH_FILE");
    command.envs(variables.iter().copied());
    run(command, None)
}

#[test]
fn a_registry_over_tls_is_reached_through_a_proxy_or_it_is_said_why_not() {
    let Some(me) = Rkt::needs(&NEEDS) else { return };
    without_names(&me);
    let ca = Ca::new(&me.file("ca"));
    let setting = Setting {
        tls: Some(&ca),
        basic: true,
        ..Setting::default()
    };
    let registry = Registry::start_as(&me.file("registry"), &setting);
    push(&me, &registry);
    let host = name(&registry);
    for host in [&host, &registry.address] {
        let certs = me.file("etc/certs.d").join(host);
        fs::create_dir_all(&certs).unwrap();
        fs::copy(&ca.root, certs.join("ca.crt")).unwrap();
    }
    fs::create_dir_all(me.file("docker")).unwrap();
    // base64 of `me:secret`.
    let auth = format!(
        r#"{{"auths":{{"{host}":{{"auth":"bWU6c2VjcmV0"}},"{}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#,
        registry.address
    );
    fs::write(me.file("docker/config.json"), auth).unwrap();
    let proxy = Proxy::start(
        &[(&host, &registry.address)],
        Some("Basic dHVubmVsOm9wZW4tc2VzYW1l"),
    );
    let image = format!("docker://{host}/team/own:{TAG}");
    let fetch = ["fetch", "--quiet", &image];
    let right = format!("http://tunnel:open-sesame@{}", proxy.address);

    with(&me, &fetch, &[])
        .ends_with(254)
        .is_one_clear_error()
        .says("registry.test");

    // A proxy that is not there, one that does not know us, one that does not know the way.
    with(
        &me,
        &fetch,
        &[("https_proxy", "http://tunnel:open-sesame@127.0.0.1:1")],
    )
    .ends_with(254)
    .is_one_clear_error()
    .says("proxy `127.0.0.1:1`")
    .never_says("sesame");
    with(
        &me,
        &fetch,
        &[(
            "https_proxy",
            &format!("http://tunnel:wrong@{}", proxy.address),
        )],
    )
    .ends_with(254)
    .is_one_clear_error()
    .says(&format!("proxy `{}`", proxy.address))
    .says("407")
    .says("https_proxy=http://USER:PASSWORD@HOST:PORT")
    .never_says("wrong");
    with(
        &me,
        &["fetch", "docker://other.test/team/own"],
        &[("https_proxy", &right)],
    )
    .ends_with(254)
    .is_one_clear_error()
    .says(&format!("proxy `{}`", proxy.address))
    .says("502")
    .never_says("sesame");
    with(&me, &fetch, &[("https_proxy", "not a proxy: sesame")])
        .ends_with(254)
        .is_one_clear_error()
        .says("no address of a proxy")
        .never_says("sesame");

    proxy.heads();
    with(&me, &fetch, &[("https_proxy", &right)]).ok();
    let heads = proxy.heads();
    assert!(!heads.is_empty());
    for head in &heads {
        assert!(
            head.starts_with(&format!("CONNECT {host} HTTP/1.1\r\n")),
            "{head}"
        );
        assert!(head.contains(PASS), "{head}");
        assert!(
            !head.contains("bWU6c2VjcmV0"),
            "the registry's password: {head}"
        );
    }
    assert_eq!(me.run(&[&image, "--", "cat", "/which"]).ok(), "behind\n");

    // Around it: what no_proxy names, and this host always.
    let update = ["fetch", "--quiet", "--pull-policy=update", &image];
    for (variable, list) in [
        ("no_proxy", "x.example, registry.test"),
        ("NO_PROXY", ".test"),
        ("no_proxy", "*"),
    ] {
        with(&me, &update, &[("https_proxy", &right), (variable, list)])
            .ends_with(254)
            .says("registry.test");
        assert!(proxy.heads().is_empty(), "{variable}={list}");
    }
    with(
        &me,
        &update,
        &[("HTTPS_PROXY", &right), ("no_proxy", "elsewhere.test")],
    )
    .ok();
    assert!(!proxy.heads().is_empty());
    let here = format!("docker://{}/team/own:{TAG}", registry.address);
    with(
        &me,
        &["fetch", "--quiet", &here],
        &[("https_proxy", &right)],
    )
    .ok();
    assert!(proxy.heads().is_empty());
    drop(registry);
}

#[test]
fn the_proxys_password_never_reaches_the_registry() {
    let Some(me) = Rkt::needs(&NEEDS) else { return };
    without_names(&me);
    let registry = Registry::start(&me.file("registry"));
    push(&me, &registry);
    let host = name(&registry);
    // Plain HTTP, so that the proxy can read what the registry is told.
    fs::create_dir_all(me.file("etc")).unwrap();
    fs::write(
        me.file("etc/registries.toml"),
        format!("[[registry]]\nprefix = \"{host}\"\ninsecure = true\n"),
    )
    .unwrap();
    let proxy = Proxy::start(&[(&host, &registry.address)], None);
    let url = format!("http://tunnel:open-sesame@{}", proxy.address);
    let image = format!("docker://{host}/team/own:{TAG}");
    with(
        &me,
        &["fetch", "--quiet", &image],
        &[("http_proxy", &url), ("https_proxy", &url)],
    )
    .ok();
    assert_eq!(me.run(&[&image, "--", "cat", "/which"]).ok(), "behind\n");
    assert!(
        proxy.heads().iter().all(|h| h.contains(PASS)),
        "the control: the proxy got it"
    );
    let sent = proxy.sent();
    assert!(
        sent.contains("GET /v2/team/own/manifests/"),
        "the control: it is readable"
    );
    for word in ["proxy-authorization", &PASS.to_lowercase(), "sesame"] {
        assert!(!sent.to_lowercase().contains(word), "{word}");
    }
    drop(registry);
}
