//! Mirrors, insecure hosts, blocked names, layers kept elsewhere: what `registries.toml` says.

use super::fake::{Fake, Reply, Request, Shelf};
use super::lab::Lab;
use super::make::{self, Made, OCI_MANIFEST, digest, image, noise, tar, three_layers};
use rkt_store::{Kind, PullPolicy, Registries, Secret};
use serde_json::{Value, json};

impl Lab {
    fn registries(&mut self, text: &str) {
        std::fs::write(self.dir.join("registries.toml"), text).unwrap();
        self.options.network.registries =
            Registries::read(std::slice::from_ref(&self.dir)).unwrap();
    }
}

fn good(made: &Made) -> Fake {
    let shelf = Shelf::of("latest", made);
    Fake::start(move |r| shelf.answer(r))
}

/// A registry, and a mirror of it below `/m`.
fn pair(lab: &mut Lab, mirror: &Fake, registry: &Fake) -> String {
    lab.registries(&format!(
        "[[registry]]\nprefix = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/m\"\n",
        registry.address, mirror.address
    ));
    registry.name("team/x")
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_not_at_all() {
    let mut lab = Lab::new();
    let made = three_layers();
    let (mirror, registry) = (good(&made), good(&made));
    let name = pair(&mut lab, &mirror, &registry);
    let image = lab.resolve(&name).unwrap();
    assert_eq!(
        image.name,
        format!("{name}:latest"),
        "the name stays the asked one"
    );
    assert_eq!(registry.log().len(), 0);
    assert!(
        mirror
            .log()
            .iter()
            .all(|r| r.path.starts_with("/v2/m/team/x/"))
    );
    lab.options.policy = PullPolicy::Update;
    let before = mirror.log().len();
    lab.resolve(&name).unwrap();
    assert_eq!(
        mirror.log().len(),
        before + 1,
        "the same again is one request"
    );
}

#[test]
fn a_mirror_that_fails_is_passed_over() {
    let made = three_layers();
    type Way = fn(&Request) -> Reply;
    let ways: [Way; 3] = [
        |_| Reply::error(404, "MANIFEST_UNKNOWN"),
        |_| Reply::new(500, ""),
        |_| Reply::new(200, "<html>").with("docker-content-digest", digest(b"else")),
    ];
    for way in ways {
        let mut lab = Lab::new();
        let (mirror, registry) = (Fake::start(way), good(&made));
        let name = pair(&mut lab, &mirror, &registry);
        lab.resolve(&name).unwrap();
        let told = lab.told();
        assert!(told.iter().any(|t| t.contains("mirror")), "{told:?}");
    }
    // One that is not there, and one that has the manifest and half of a layer.
    let mut lab = Lab::new();
    let registry = good(&made);
    lab.registries(&format!(
        "[[registry]]\nprefix = \"{}\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:1\"\n",
        registry.address
    ));
    lab.resolve(&registry.name("x")).unwrap();

    let made = image(&[tar(&[("noise", &noise(3 << 20, 5))])]);
    let mut lab = Lab::new();
    let shelf = Shelf::of("latest", &made);
    let layer = digest(&made.layers[0]);
    let mirror = Fake::start(move |r| {
        let mut reply = shelf.answer(r);
        if r.path.ends_with(&layer) {
            reply.cut = Some(if r.nth == 1 { 1_500_000 } else { 0 });
        }
        reply
    });
    let registry = good(&made);
    let name = pair(&mut lab, &mirror, &registry);
    lab.resolve(&name).unwrap();
    let asked = registry.log();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let last = made.layers[0].len() - 1;
    let range = format!("bytes=1500000-{last}");
    assert_eq!(asked[0].header("range"), Some(range.as_str()), "it goes on");
}

#[test]
fn a_mirror_that_lies_about_a_layer_is_not_the_end() {
    let mut lab = Lab::new();
    let made = three_layers();
    let shelf = Shelf::of("latest", &made);
    let layer = digest(&made.layers[1]);
    let mirror = Fake::start(move |r| {
        let mut reply = shelf.answer(r);
        if r.path.ends_with(&layer) {
            reply.body[70_000] ^= 1;
        }
        reply
    });
    let registry = good(&made);
    let name = pair(&mut lab, &mirror, &registry);
    assert_eq!(lab.resolve(&name).unwrap().id.to_string(), made.id());
}

#[test]
fn a_mirror_sees_no_password_of_the_registry() {
    let mut lab = Lab::new();
    let made = three_layers();
    let mirror = Fake::start(|_| {
        Reply::error(401, "UNAUTHORIZED").with("www-authenticate", "Basic realm=x")
    });
    let shelf = Shelf::of("latest", &made);
    let registry = Fake::start(move |r| match r.header("authorization") {
        Some("Basic bWU6cHc=") => shelf.answer(r),
        _ => Reply::error(401, "UNAUTHORIZED").with("www-authenticate", "Basic realm=x"),
    });
    let name = pair(&mut lab, &mirror, &registry);
    lab.options.network.credentials.by_host.insert(
        registry.address.to_string(),
        Secret::Password {
            user: "me".into(),
            password: "pw".into(),
        },
    );
    lab.resolve(&name).unwrap();
    assert!(
        mirror
            .log()
            .iter()
            .all(|r| r.header("authorization").is_none())
    );
}

#[test]
fn blocked_names_are_not_asked_for() {
    let mut lab = Lab::new();
    let registry = good(&three_layers());
    lab.registries(&format!(
        "[[registry]]\nprefix = \"{}/team\"\nblocked = true\n",
        registry.address
    ));
    let error = lab.resolve(&registry.name("team/x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.because().contains("blocked"), "{error}");
    assert_eq!(registry.log().len(), 0);
    lab.resolve(&registry.name("other/x")).unwrap();
}

#[test]
fn only_a_host_that_is_named_insecure_is_asked_in_the_open() {
    let mut lab = Lab::new();
    let registry = good(&three_layers());
    let hosts = lab.dir.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 one.corp.example two.corp.example\n").unwrap();
    lab.options.network.hosts = hosts;
    let port = registry.address.port();
    lab.registries(&format!(
        "[[registry]]\nprefix = \"one.corp.example:{port}\"\ninsecure = true\n"
    ));
    lab.resolve(&format!("docker://one.corp.example:{port}/x"))
        .unwrap();
    let error = lab
        .resolve(&format!("docker://two.corp.example:{port}/x"))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
}

#[test]
fn an_insecure_prefix_leaves_the_rest_of_its_host_on_tls() {
    let mut lab = Lab::new();
    let registry = good(&three_layers());
    let hosts = lab.dir.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 corp.example\n").unwrap();
    lab.options.network.hosts = hosts;
    let host = format!("corp.example:{}", registry.address.port());
    lab.registries(&format!(
        "[[registry]]\nprefix = \"{host}/team\"\ninsecure = true\n\
         [[registry]]\nprefix = \"{host}/team/closed\"\n\
         [[registry]]\nprefix = \"{host}/other\"\n"
    ));
    for path in ["other/x", "team/closed/x", "teams/x", "x"] {
        let name = format!("docker://{host}/{path}");
        let error = lab.resolve(&name).unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    }
    assert_eq!(registry.count("/v2/"), 0, "nothing was asked in the open");
    lab.resolve(&format!("docker://{host}/team/x")).unwrap();
}

/// An image whose layer is not in the registry, but at `url`.
fn foreign(made: &Made, url: &str) -> (Shelf, Vec<u8>) {
    let mut manifest: Value = serde_json::from_slice(&made.manifest).unwrap();
    manifest["layers"][0]["urls"] = json!(["ftp://x.example/", url]);
    manifest["layers"][0]["mediaType"] =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
    let mut shelf = Shelf::of("old", made);
    shelf.document("latest", OCI_MANIFEST, manifest.to_string().as_bytes());
    let blob = shelf.blobs.remove(&digest(&made.layers[0])).unwrap();
    (shelf, blob)
}

#[test]
fn foreign_layers_come_from_their_address_when_that_is_allowed() {
    let mut lab = Lab::new();
    let made = image(&[tar(&[("noise", &make::noise(2 << 20, 9))])]);
    let bytes = made.layers[0].clone();
    let elsewhere = Fake::start(move |r| match r.path.as_str() {
        "/layer" if r.nth == 1 => Reply {
            cut: Some(1_200_000),
            ..Reply::new(200, bytes.clone())
        },
        "/layer" => {
            let rest = bytes[1_200_000..].to_vec();
            let range = format!("bytes 1200000-{}/{}", bytes.len() - 1, bytes.len());
            Reply::new(206, rest).with("content-range", range)
        }
        _ => Reply::new(404, ""),
    });
    let (shelf, _) = foreign(&made, &format!("http://{}/layer", elsewhere.address));
    let registry = Fake::start(move |r| match r.header("authorization") {
        Some("Basic bWU6cHc=") => shelf.answer(r),
        _ => Reply::error(401, "UNAUTHORIZED").with("www-authenticate", "Basic realm=x"),
    });
    lab.options.network.credentials.by_host.insert(
        registry.address.to_string(),
        Secret::Password {
            user: "me".into(),
            password: "pw".into(),
        },
    );
    let error = lab.resolve(&registry.name("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(
        error.remedy().unwrap().contains("foreign-layers"),
        "{error}"
    );
    assert_eq!(elsewhere.log().len(), 0, "nobody is asked without leave");
    lab.registries(&format!(
        "[[registry]]\nprefix = \"{}\"\nforeign-layers = true\n",
        registry.address
    ));
    lab.resolve(&registry.name("x")).unwrap();
    assert_eq!(elsewhere.log().len(), 2);
    assert!(
        elsewhere
            .log()
            .iter()
            .all(|r| r.header("authorization").is_none()),
        "CVE-2020-15157"
    );
}
