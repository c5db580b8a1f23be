//! Registries that break, lie, stall and send us away: one clear error each, nothing half done.

use super::fake::{Fake, Reply, Request, Shelf};
use super::lab::Lab;
use super::make::{
    self, Made, OCI_INDEX, OCI_MANIFEST, digest, image, image_with, noise, tar, three_layers,
};
use rkt_store::{Error, Kind, Secret};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn big() -> Made {
    image(&[tar(&[("noise", &noise(2 << 20, 3))])])
}

/// A registry with one image, whose layer is answered by `tweak`.
fn with_layer(
    made: &Made,
    tweak: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
) -> Fake {
    let shelf = Shelf::of("latest", made);
    let layer = digest(&made.layers[0]);
    Fake::start(move |r| {
        let reply = shelf.answer(r);
        if r.path.ends_with(&layer) {
            tweak(r, reply)
        } else {
            reply
        }
    })
}

/// Fetches `x` and expects a failure that leaves nothing.
fn fails(lab: &Lab, fake: &Fake, kind: Kind) -> Error {
    let error = lab.resolve(&fake.name("x")).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(
        error
            .doing()
            .next()
            .unwrap()
            .starts_with("fetch image `docker://127.0.0.1"),
        "{error}"
    );
    lab.assert_nothing_half_done();
    error
}

#[test]
fn a_cut_transfer_goes_on_where_it_broke() {
    let lab = Lab::new();
    let made = big();
    let fake = with_layer(&made, |r, mut reply| {
        if r.nth < 3 {
            reply.cut = Some(700_000);
        }
        reply
    });
    let image = lab.resolve(&fake.name("x")).unwrap();
    assert_eq!(image.id.to_string(), made.id());
    let layer = digest(&made.layers[0]);
    let ranges: Vec<_> = fake
        .log()
        .into_iter()
        .filter(|r| r.path.ends_with(&layer))
        .map(|r| r.header("range").map(str::to_owned))
        .collect();
    let last = made.layers[0].len() - 1;
    assert_eq!(
        ranges,
        [
            None,
            Some(format!("bytes=700000-{last}")),
            Some(format!("bytes=1400000-{last}"))
        ]
    );
    assert!(
        lab.told()
            .iter()
            .any(|t| t.starts_with("message") && t.contains("trying again"))
    );
}

#[test]
fn a_server_without_ranges_is_read_again_from_the_start() {
    let lab = Lab::new();
    let made = big();
    let whole = made.layers[0].clone();
    let fake = with_layer(&made, move |r, _| {
        let mut reply = Reply::new(200, whole.clone());
        reply.cut = (r.nth == 1).then_some(900_000);
        reply
    });
    lab.resolve(&fake.name("x")).unwrap();
}

#[test]
fn a_stalled_transfer_ends_in_time() {
    let mut lab = Lab::new();
    lab.options.network.patience.stall = Duration::from_millis(500);
    let fake = with_layer(&big(), |_, mut reply| {
        reply.stall = Some(if reply.status == 206 { 0 } else { 1000 });
        reply
    });
    let start = Instant::now();
    let error = fails(&lab, &fake, Kind::Unreachable);
    assert!(
        error.because().contains("stopped to send") || error.because().contains("in time"),
        "{error}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(25),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn bytes_that_are_not_what_they_are_called_are_refused() {
    for (what, tweak) in [
        (
            "another digest",
            (|mut b: Vec<u8>| {
                let n = b.len() / 2;
                b[n] ^= 1;
                b
            }) as fn(Vec<u8>) -> Vec<u8>,
        ),
        ("too long", |mut b| {
            b.push(0);
            b
        }),
        ("too short", |mut b| {
            b.pop();
            b
        }),
        ("nothing", |_| Vec::new()),
    ] {
        let lab = Lab::new();
        let fake = with_layer(&three_layers(), move |_, mut reply| {
            reply.body = tweak(reply.body);
            reply
        });
        let error = fails(&lab, &fake, Kind::Corrupt);
        assert!(
            error.doing().any(|d| d.starts_with("fetch layer")),
            "{what}: {error}"
        );
    }
    // Without a length, more and more bytes come.
    let lab = Lab::new();
    let fake = with_layer(&three_layers(), |_, mut reply| {
        reply.body.resize(10 << 20, 0);
        reply
    });
    fails(&lab, &fake, Kind::Corrupt);
}

#[test]
fn a_configuration_that_lies_about_its_layers_is_refused() {
    let lab = Lab::new();
    let tars = [tar(&[("a", b"a")])];
    let liar = image_with(
        &tars,
        &make::Recipe {
            diff_ids: Some(vec![digest(b"else")]),
            ..make::Recipe::default()
        },
    );
    let shelf = Shelf::of("latest", &liar);
    let fake = Fake::start(move |r| shelf.answer(r));
    let error = fails(&lab, &fake, Kind::Corrupt);
    assert!(
        error.because().contains("the image's configuration says"),
        "{error}"
    );

    let lab = Lab::new();
    let short = image_with(
        &tars,
        &make::Recipe {
            diff_ids: Some(vec![]),
            ..make::Recipe::default()
        },
    );
    let shelf = Shelf::of("latest", &short);
    let fake = Fake::start(move |r| shelf.answer(r));
    fails(&lab, &fake, Kind::Corrupt);
}

#[test]
fn layers_that_are_no_archives_are_refused() {
    let lab = Lab::new();
    let junk = image(&[noise(100_000, 9)]);
    let shelf = Shelf::of("latest", &junk);
    let fake = Fake::start(move |r| shelf.answer(r));
    fails(&lab, &fake, Kind::Corrupt);
}

#[test]
fn manifests_that_are_not_what_they_are_called_are_refused() {
    let made = three_layers();
    let both = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "manifests": [], "layers": []}).to_string();
    let schema1 = serde_json::json!({"schemaVersion": 1, "fsLayers": []}).to_string();
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(5 << 20));
    let digest_lie = Reply::new(200, made.manifest.clone())
        .with("content-type", OCI_MANIFEST)
        .with("docker-content-digest", digest(b"else"));
    let index_lie = Reply::new(200, made.manifest.clone()).with("content-type", OCI_INDEX);
    for (reply, kind) in [
        (
            Reply::new(200, both).with("content-type", OCI_MANIFEST),
            Kind::Corrupt,
        ),
        (
            Reply::new(200, schema1).with(
                "content-type",
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
            ),
            Kind::Unsupported,
        ),
        (Reply::new(200, large), Kind::TooLarge),
        (Reply::new(200, "<html>"), Kind::Corrupt),
        (Reply::new(200, "[".repeat(1 << 20)), Kind::Corrupt),
        (digest_lie, Kind::Corrupt),
        (index_lie, Kind::Corrupt),
        (Reply::error(404, "MANIFEST_UNKNOWN"), Kind::NotFound),
        (Reply::error(403, "DENIED"), Kind::Unauthorized),
        (Reply::new(418, "\x1b[2Jtea"), Kind::Refused),
        (Reply::new(500, "x"), Kind::Unreachable),
        (
            Reply::error(429, "TOOMANYREQUESTS").with("retry-after", "3600"),
            Kind::Refused,
        ),
        (Reply::new(302, ""), Kind::Refused),
    ] {
        let lab = Lab::new();
        let fake = Fake::start(move |_| reply.clone());
        let error = fails(&lab, &fake, kind);
        assert!(!error.to_string().contains('\x1b'));
    }
    // By digest, other bytes than asked for.
    let lab = Lab::new();
    let other = made.manifest;
    let fake =
        Fake::start(move |_| Reply::new(200, other.clone()).with("content-type", OCI_MANIFEST));
    let error = lab
        .resolve(&fake.name(&format!("x@{}", digest(b"wanted"))))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}

#[test]
fn a_busy_registry_is_asked_again_when_it_says_so() {
    let lab = Lab::new();
    let shelf = Shelf::of("latest", &three_layers());
    let fake = Fake::start(move |r| match r.nth {
        1 => Reply::error(429, "TOOMANYREQUESTS").with("retry-after", "0"),
        2 => Reply::new(503, "").with("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT"),
        _ => shelf.answer(r),
    });
    lab.resolve(&fake.name("x")).unwrap();
}

#[test]
fn a_registry_is_left_alone_as_long_as_it_says() {
    // Of itself the lab would wait a hundredth of that.
    let lab = Lab::new();
    let shelf = Shelf::of("latest", &three_layers());
    let fake = Fake::start(move |r| match r.nth {
        1 if r.path.contains("/manifests/") => {
            Reply::error(429, "TOOMANYREQUESTS").with("retry-after", "2")
        }
        _ => shelf.answer(r),
    });
    let start = Instant::now();
    lab.resolve(&fake.name("x")).unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(fake.count("/manifests/"), 2);

    let lab = Lab::new();
    let fake = Fake::start(|_| Reply::error(429, "TOOMANYREQUESTS").with("retry-after", "3600"));
    let start = Instant::now();
    fails(&lab, &fake, Kind::Refused);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(
        fake.log().len(),
        1,
        "an hour is not waited, and nobody asks before"
    );
}

#[test]
fn redirects_are_followed_without_the_password() {
    let mut lab = Lab::new();
    let made = three_layers();
    let shelf = Shelf::of("latest", &made);
    let elsewhere = {
        let shelf = shelf.clone();
        Fake::start(move |r| shelf.answer(r))
    };
    let target = elsewhere.address;
    let fake = Fake::start(move |r| {
        if r.header("authorization") != Some("Basic bWU6cHc=") {
            return Reply::error(401, "UNAUTHORIZED").with("www-authenticate", "Basic realm=x");
        }
        if r.path.contains("/blobs/") {
            return Reply::new(307, "").with(
                "location",
                format!("http://{target}{}?sig=1", r.path).replace("?sig=1", ""),
            );
        }
        shelf.answer(r)
    });
    lab.options.network.credentials.by_host.insert(
        fake.address.to_string(),
        Secret::Password {
            user: "me".into(),
            password: "pw".into(),
        },
    );
    lab.resolve(&fake.name("x")).unwrap();
    assert_eq!(elsewhere.log().len(), 4);
    assert!(
        elsewhere
            .log()
            .iter()
            .all(|r| r.header("authorization").is_none()),
        "the password stays at home"
    );

    let lab = Lab::new();
    let ring = Fake::start(|r| Reply::new(302, "").with("location", format!("{}0", r.path)));
    let error = fails(&lab, &ring, Kind::Refused);
    assert!(error.because().contains("more than 10 times"), "{error}");

    let lab = Lab::new();
    let away = Fake::start(|_| Reply::new(302, "").with("location", "file:///etc/passwd"));
    fails(&lab, &away, Kind::Refused);
    let lab = Lab::new();
    let plain = Fake::start(|_| Reply::new(302, "").with("location", "http://192.0.2.1/x"));
    let error = fails(&lab, &plain, Kind::Refused);
    assert!(error.remedy().unwrap().contains("--insecure-options=http"));
}

#[test]
fn nobody_at_home_is_said_at_once() {
    let lab = Lab::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let start = Instant::now();
    let error = lab
        .resolve(&format!("docker://127.0.0.1:{port}/x"))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.because().contains("nobody listens"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
    lab.assert_nothing_half_done();
}

#[test]
fn plain_http_leaves_this_host_only_when_allowed() {
    let mut lab = Lab::new();
    let shelf = Shelf::of("latest", &three_layers());
    let fake = Fake::start(move |r| shelf.answer(r));
    let hosts = lab.dir.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 registry.corp.example\n").unwrap();
    lab.options.network.hosts = hosts;
    let name = format!("docker://registry.corp.example:{}/x", fake.address.port());
    let error = lab.resolve(&name).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(
        fake.log().iter().all(|r| !r.path.starts_with("/v2/")),
        "nothing was asked in the open"
    );
    lab.assert_nothing_half_done();
    lab.options.network.insecure.http = true;
    lab.resolve(&name).unwrap();
}

#[test]
fn a_name_that_leads_nowhere_is_said() {
    let mut lab = Lab::new();
    let conf = lab.dir.join("resolv.conf");
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    std::fs::write(
        &conf,
        format!(
            "nameserver {}\noptions timeout:1 attempts:1\n",
            deaf.local_addr().unwrap()
        ),
    )
    .unwrap();
    lab.options.network.resolv_conf = conf;
    lab.options.network.patience.connect = Duration::from_millis(800);
    let error = lab.resolve("docker://no.such.host.example/x").unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.because().contains("leads nowhere"), "{error}");
}
