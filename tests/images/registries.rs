//! Debian's docker-registry as people have it: with a password over TLS, with tokens, with blobs
//! elsewhere; and what is said when name, password or certificate are wrong.

use super::equality::pulled;
use rkt_tests::command::tool;
use rkt_tests::images::{BUSYBOX, TAG};
use rkt_tests::layout::Image;
use rkt_tests::registry::{Registry, Setting};
use rkt_tests::tar::Entry;
use rkt_tests::tls::{self, Ca, Tokens};
use rkt_tests::{Done, Need, Rkt};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const NEEDS: [Need; 6] = [
    Need::Tool("skopeo"),
    Need::Tool("umoci"),
    Need::Tool("docker-registry"),
    Need::Tool("openssl"),
    Need::Tool("busybox"),
    Need::Tool("setcap"),
];

/// An image of ours, and one that umoci has made further; both print `word`.
fn push(rkt: &Rkt, registry: &Registry, word: &str) -> [String; 2] {
    let layout = Image::with_probe(&[Entry::file("which", word)]).write(&rkt.file("layout"));
    let own = registry.push(&layout.dir, TAG, "team/own");
    let file = rkt.file("more");
    fs::write(&file, word).unwrap();
    let image = format!("{}:{TAG}", layout.dir.display());
    let file = file.display().to_string();
    tool("umoci", &["insert", "--image", &image, &file, "/which"]);
    [own, registry.push(&layout.dir, TAG, "team/umoci")]
}

/// An image of a Debian package, made further by umoci, comes as it is.
fn a_package_comes_whole(me: &Rkt, registry: &Registry) {
    let layout = me.file("package");
    fs::create_dir_all(&layout).unwrap();
    let from = format!("{}/.", BUSYBOX.layout().display());
    tool("cp", &["-r", &from, &layout.display().to_string()]);
    let odd = me.file("odd");
    let script = "set -e; mkdir -p \"$0\"; cd \"$0\"
        echo one > one; chown 12:34 one; chmod 4711 one; ln one again; ln -s /nowhere dangling
        truncate -s 3M sparse; printf data | dd of=sparse bs=1 seek=1048576 conv=notrunc status=none
        mkfifo fifo; mkdir -m 1777 sticky; touch -d '2001-02-03 UTC' one sticky
        cp one capable; setcap cap_net_raw+ep capable
        printf x > \"$(printf 'odd \\377\\001 name')\"";
    let mut command = std::process::Command::new("bash");
    command.args(["-c", script]).arg(&odd);
    rkt_tests::command::run(command, None).ok();
    let image = format!("{}:{TAG}", layout.display());
    tool(
        "umoci",
        &[
            "insert",
            "--image",
            &image,
            &odd.display().to_string(),
            "/odd",
        ],
    );
    let name = registry.push(&layout, TAG, "team/package");
    rkt(me, &["fetch", "--quiet", &name], b"").ok();
    pulled(me, &name, &layout, TAG, |_| {});
}

/// rkt with a configuration and a docker configuration of its own.
fn rkt(rkt: &Rkt, words: &[&str], stdin: &[u8]) -> Done {
    let mut all = words.to_vec();
    let config = format!("--local-config={}", rkt.file("etc").display());
    all.push(&config);
    let mut command = rkt.command(&all);
    command.env("DOCKER_CONFIG", rkt.file("docker"));
    for name in ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "SSL_CERT_FILE"] {
        command.env_remove(name);
    }
    command.env("HOME", rkt.file("home"));
    rkt_tests::command::run(command, Some(stdin))
}

fn trust(rkt: &Rkt, ca: &Ca, address: &str) {
    let dir = rkt.file("etc/certs.d").join(address);
    fs::create_dir_all(&dir).unwrap();
    fs::copy(&ca.root, dir.join("ca.crt")).unwrap();
}

fn login(me: &Rkt, address: &str, password: &str) -> Done {
    let words = [
        "auth",
        "login",
        "--username=me",
        "--password-stdin",
        address,
    ];
    rkt(me, &words, format!("{password}\n").as_bytes())
}

/// Wrong authority, no login, wrong login, right login, run, logout: in that order.
fn the_whole_way(me: &Rkt, ca: &Ca, registry: &Registry, service: Option<&str>) {
    let names = push(me, registry, "locked\n");
    let address = &registry.address;
    let other = Ca::new(&me.file("other"));
    trust(me, &other, address);
    rkt(me, &["fetch", &names[0]], b"")
        .ends_with(254)
        .is_one_clear_error()
        .says("is not believed")
        .says("certs.d");
    trust(me, ca, address);
    if let Some(service) = service {
        trust(me, ca, service);
    }
    rkt(me, &["fetch", &names[0]], b"")
        .ends_with(254)
        .is_one_clear_error()
        .says(&format!("rkt auth login {address}"));
    let refused = login(me, address, "guess").ends_with(254);
    assert!(!format!("{refused}").contains("guess"));
    refused
        .is_one_clear_error()
        .says("does not take our user and password");
    let file = me.file("docker/config.json");
    assert!(!file.exists(), "what is refused is not kept");
    login(me, address, "secret").ok();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for name in &names {
        rkt(me, &["fetch", "--quiet", name], b"").ok();
        let out = me.run(&[name, "--", "cat", "/which"]).ok();
        assert_eq!(out, "locked\n");
    }
    a_package_comes_whole(me, registry);
    // skopeo reads the same login.
    let auth = format!("--authfile={}", file.display());
    tool(
        "skopeo",
        &["inspect", "--raw", "--tls-verify=false", &auth, &names[0]],
    );
    let out = rkt(me, &["auth", "logout", "--format=json", address], b"").json();
    assert_eq!(out["registry"], **address);
    rkt(me, &["auth", "logout", address], b"")
        .ends_with(254)
        .says("there is none");
    rkt(me, &["fetch", &names[0]], b"").ends_with(254);
}

#[test]
fn a_plain_registry() {
    let Some(me) = Rkt::needs(&NEEDS) else { return };
    let registry = Registry::start(&me.file("registry"));
    a_package_comes_whole(&me, &registry);
    drop(registry);
}

#[test]
fn a_registry_with_a_password_over_tls() {
    let Some(me) = Rkt::needs(&NEEDS) else { return };
    let ca = Ca::new(&me.file("ca"));
    let setting = Setting {
        tls: Some(&ca),
        basic: true,
        ..Setting::default()
    };
    let registry = Registry::start_as(&me.file("registry"), &setting);
    the_whole_way(&me, &ca, &registry, None);
    drop(registry);
}

#[test]
fn a_registry_with_tokens_over_tls() {
    let Some(me) = Rkt::needs(&NEEDS) else { return };
    let ca = Ca::new(&me.file("ca"));
    let tokens = Tokens::start(&ca);
    let setting = Setting {
        tls: Some(&ca),
        tokens: Some(&tokens.address),
        ..Setting::default()
    };
    let registry = Registry::start_as(&me.file("registry"), &setting);
    the_whole_way(&me, &ca, &registry, Some(&tokens.address));
    let asked = tokens.asked();
    assert!(
        asked
            .iter()
            .any(|a| a.contains("scope=repository%3Ateam%2Fown%3Apull")),
        "{asked:?}"
    );
    drop(registry);
}

#[test]
fn a_registry_that_sends_its_clients_away_for_blobs() {
    let Some(me) = Rkt::needs(&NEEDS) else { return };
    let dir = me.file("registry");
    let (elsewhere, heads) = tls::files(&dir.join("store"));
    let setting = Setting {
        basic: true,
        redirect: Some(&elsewhere),
        ..Setting::default()
    };
    let registry = Registry::start_as(&dir, &setting);
    let names = push(&me, &registry, "away\n");
    login(&me, &registry.address, "secret").ok();
    heads.lock().unwrap().clear();
    for name in &names {
        rkt(&me, &["fetch", "--quiet", name], b"").ok();
        assert_eq!(me.run(&[name, "--", "cat", "/which"]).ok(), "away\n");
    }
    a_package_comes_whole(&me, &registry);
    let heads = heads.lock().unwrap().clone();
    assert!(heads.len() >= 3, "{heads:?}");
    assert!(
        heads
            .iter()
            .all(|h| !h.to_ascii_lowercase().contains("authorization")),
        "the password stays at home: {heads:?}"
    );
    drop(registry);
}

#[test]
fn a_name_without_a_registry_goes_to_the_default_one_and_that_is_said() {
    let Some(me) = Rkt::needs(&NEEDS) else { return };
    let registry = Registry::start(&me.file("registry"));
    push(&me, &registry, "default\n");
    let etc = me.file("etc");
    fs::create_dir_all(&etc).unwrap();
    let put = |text: &str| fs::write(Path::new(&etc).join("registries.toml"), text).unwrap();
    put(&format!("default-registry = \"{}\"\n", registry.address));
    rkt(&me, &["fetch", "team/own"], b"")
        .says(&format!(
            "no registry was named, so `{}` is asked",
            registry.address
        ))
        .ok();
    let config = format!("--local-config={}", etc.display());
    me.rkt(&["image", "verify", &config, "team/own"]).ok();
    put("[[registry]]\nprefix = \"docker.io\"\nblokced = true\n");
    rkt(&me, &["fetch", "team/own"], b"")
        .ends_with(254)
        .is_one_clear_error()
        .says("registries.toml")
        .says("line 3");
    drop(registry);
}
