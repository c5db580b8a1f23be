//! A registry as it should be: tokens, indexes, parallel layers, policies.

use super::fake::{Fake, Reply, Request, Shelf};
use super::lab::Lab;
use super::make::{self, OCI_INDEX, ZSTD_LAYER, digest, image_with, index, three_layers};
use rkt_store::{Kind, PullPolicy, Secret};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

#[test]
fn an_image_is_fetched_once_and_then_nobody_is_asked() {
    let lab = Lab::new();
    let made = three_layers();
    let shelf = Shelf::of("latest", &made);
    let fake = Fake::start(move |r| shelf.answer(r));
    let name = fake.name("team/web");

    let image = lab.resolve(&name).unwrap();
    assert_eq!(image.id.to_string(), made.id());
    assert_eq!(image.name, format!("{name}:latest"));
    assert_eq!(image.layers.len(), 3);
    assert_eq!(image.chains.len(), 3);
    assert_eq!(image.config.cmd, ["/bin/app"]);
    assert_eq!(
        image.manifest.as_ref().unwrap().to_string(),
        digest(&made.manifest)
    );
    let told = lab.told();
    assert_eq!(told.iter().filter(|t| *t == "done").count(), 3, "{told:?}");
    assert_eq!(told.last().unwrap(), "using source");
    assert_eq!(
        fake.log().len(),
        5,
        "a manifest, a configuration, three layers"
    );
    for (diff, tar) in image.layers.iter().zip(&made.tars) {
        let path = lab
            .store_dir()
            .join("layers/sha256")
            .join(diff.hex())
            .join("tar");
        assert_eq!(&std::fs::read(path).unwrap()[..tar.len()], tar.as_slice());
    }

    assert_eq!(lab.resolve(&name).unwrap().id, image.id);
    assert_eq!(lab.told(), ["using store"]);
    assert_eq!(fake.log().len(), 5);

    let mut update = lab.options.clone();
    update.policy = PullPolicy::Update;
    lab.resolve_with(&name, &update).unwrap();
    assert_eq!(lab.told(), ["resolving", "using unchanged"]);
    assert_eq!(fake.log().len(), 6);
    assert_eq!(fake.log()[5].method, "HEAD");

    let mut never = lab.options.clone();
    never.policy = PullPolicy::Never;
    assert_eq!(lab.resolve_with(&name, &never).unwrap().id, image.id);
    let error = lab
        .resolve_with(&fake.name("team/other"), &never)
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(fake.log().len(), 6);

    let accounts = lab.store().accounts(&image).unwrap();
    assert!(accounts.passwd.starts_with(b"root:x:0:0"), "{accounts:?}");
    assert_eq!(lab.count("tmp"), 0);
}

#[test]
fn a_moved_tag_brings_only_what_is_new() {
    let lab = Lab::new();
    let first = three_layers();
    let mut tars = first.tars.clone();
    tars[2] = make::tar(&[("data/newer", b"newer\n")]);
    let second = make::image(&tars);
    let shelf = Arc::new(Mutex::new(Shelf::of("v", &first)));
    let shared = shelf.clone();
    let fake = Fake::start(move |r| shared.lock().unwrap().answer(r));
    lab.resolve(&fake.name("web:v")).unwrap();
    shelf.lock().unwrap().add("v", &second);
    let mut update = lab.options.clone();
    update.policy = PullPolicy::Update;
    let image = lab.resolve_with(&fake.name("web:v"), &update).unwrap();
    assert_eq!(image.id.to_string(), second.id());
    let told = lab.told();
    assert_eq!(
        told.iter().filter(|t| *t == "exists").count(),
        2,
        "{told:?}"
    );
    assert_eq!(lab.store().list().unwrap().len(), 2);
    assert_eq!(lab.count("refs"), 1);
}

#[test]
fn zstd_layers_and_repeated_layers_are_taken() {
    let lab = Lab::new();
    let one = make::tar(&[("a", b"a")]);
    let made = image_with(
        &[one.clone(), make::tar(&[("b", b"b")]), one],
        &make::Recipe {
            media_type: ZSTD_LAYER,
            ..make::Recipe::default()
        },
    );
    let shelf = Shelf::of("latest", &made);
    let fake = Fake::start(move |r| shelf.answer(r));
    let image = lab.resolve(&fake.name("x")).unwrap();
    assert_eq!(image.layers.len(), 3);
    assert_eq!(lab.count("layers/sha256"), 2);
    assert_eq!(lab.count("chains/sha256"), 3);
}

#[test]
fn the_platform_is_chosen_from_an_index() {
    let lab = Lab::new();
    let ours = three_layers();
    let theirs = image_with(
        &[make::tar(&[("x", b"x")])],
        &make::Recipe {
            architecture: "arm64",
            ..make::Recipe::default()
        },
    );
    let mut shelf = Shelf::default();
    shelf.add("a", &ours);
    shelf.add("b", &theirs);
    shelf.document(
        "both",
        OCI_INDEX,
        &index(&[("linux/arm64", &theirs), ("linux/amd64", &ours)]),
    );
    shelf.document(
        "arm",
        OCI_INDEX,
        &index(&[("linux/arm64", &theirs), ("linux/s390x", &theirs)]),
    );
    let inner = index(&[("linux/amd64", &ours)]);
    let outer = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_INDEX, "digest": digest(&inner), "size": inner.len()}]});
    shelf.document("inner", OCI_INDEX, &inner);
    shelf.document("nested", OCI_INDEX, outer.to_string().as_bytes());
    let by_digest = digest(&shelf.manifests["both"].1);
    let fake = Fake::start(move |r| shelf.answer(r));
    for tag in [
        ":both".to_owned(),
        ":nested".into(),
        format!("@{by_digest}"),
    ] {
        assert_eq!(
            lab.resolve(&fake.name(&format!("x{tag}")))
                .unwrap()
                .id
                .to_string(),
            ours.id(),
            "{tag}"
        );
    }
    let error = lab.resolve(&fake.name("x:arm")).unwrap_err();
    assert_eq!(error.kind(), Kind::WrongPlatform);
    assert!(
        error
            .because()
            .contains("`linux/amd64`; it has `linux/arm64`, `linux/s390x`"),
        "{error}"
    );
    let error = lab.resolve(&fake.name("x:b")).unwrap_err();
    assert_eq!(error.kind(), Kind::WrongPlatform, "{error}");

    let mut arm = lab.options.clone();
    arm.platform = rkt_store::Platform::parse("linux/arm64").unwrap();
    let other = lab.resolve_with(&fake.name("x:both"), &arm).unwrap();
    assert_eq!(
        other.id.to_string(),
        theirs.id(),
        "the same name for another platform is fetched anew"
    );
}

/// A registry behind a token service; `realm` is where the service is.
fn token_handler(
    shelf: Shelf,
    secret: Option<&'static str>,
    port: Arc<Mutex<u16>>,
) -> impl Fn(&Request) -> Reply {
    move |r| {
        if r.path.starts_with("/token") {
            if r.header("authorization") != secret {
                return Reply::error(401, "UNAUTHORIZED");
            }
            assert!(
                r.path.contains("service=the%20service")
                    && r.path.contains("scope=repository%3Ax%3Apull"),
                "{}",
                r.path
            );
            return Reply::new(
                200,
                format!(r#"{{"access_token":"tok{}","expires_in":300}}"#, r.nth),
            );
        }
        match r.header("authorization") {
            Some("Bearer tok1") => shelf.answer(r),
            _ => Reply::error(401, "UNAUTHORIZED").with(
                "www-authenticate",
                format!(r#"Bearer realm="http://127.0.0.1:{}/token",service="the service",scope="repository:x:pull""#, port.lock().unwrap()),
            ),
        }
    }
}

#[test]
fn anonymous_tokens_are_asked_for_once() {
    let lab = Lab::new();
    let port = Arc::new(Mutex::new(0));
    let fake = Fake::start(token_handler(
        Shelf::of("latest", &three_layers()),
        None,
        port.clone(),
    ));
    *port.lock().unwrap() = fake.address.port();
    lab.resolve(&fake.name("x")).unwrap();
    assert_eq!(fake.count("/token"), 1);
    assert!(
        fake.log()[0].header("authorization").is_none(),
        "the first request shows nothing"
    );
    assert!(
        fake.log()
            .iter()
            .all(|r| r.header("accept-encoding") == Some("identity"))
    );
}

#[test]
fn passwords_go_to_the_token_service_only() {
    let mut lab = Lab::new();
    let config = lab.dir.join("config.json");
    let port = Arc::new(Mutex::new(0));
    // base64 of `me:pw`.
    let fake = Fake::start(token_handler(
        Shelf::of("latest", &three_layers()),
        Some("Basic bWU6cHc="),
        port.clone(),
    ));
    *port.lock().unwrap() = fake.address.port();
    let error = lab.resolve(&fake.name("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(
        error.remedy().unwrap().contains("rkt auth login"),
        "{error}"
    );
    lab.assert_nothing_half_done();

    std::fs::write(
        &config,
        format!(
            r#"{{"auths":{{"{}":{{"auth":"bWU6cHc="}}}}}}"#,
            fake.address
        ),
    )
    .unwrap();
    lab.options.network.credentials.docker_config = vec![config];
    lab.options.policy = PullPolicy::Update;
    // The counter of tokens went on, so the handler's first token is not ours: a new registry.
    let fake2 = Fake::start(token_handler(
        Shelf::of("latest", &three_layers()),
        Some("Basic bWU6cHc="),
        port.clone(),
    ));
    *port.lock().unwrap() = fake2.address.port();
    lab.options.network.credentials.by_host.insert(
        fake2.address.to_string(),
        Secret::Password {
            user: "me".into(),
            password: "pw".into(),
        },
    );
    lab.resolve(&fake2.name("x")).unwrap();
    for request in fake2.log().iter().filter(|r| !r.path.starts_with("/token")) {
        assert!(
            request
                .header("authorization")
                .is_none_or(|a| a.starts_with("Bearer ")),
            "{request:?}"
        );
    }
}

#[test]
fn basic_is_answered_and_a_wrong_password_is_said() {
    let mut lab = Lab::new();
    let shelf = Shelf::of("latest", &three_layers());
    let fake = Fake::start(move |r| match r.header("authorization") {
        Some("Basic bWU6cHc=") => shelf.answer(r),
        _ => Reply::error(401, "UNAUTHORIZED").with("www-authenticate", r#"Basic realm="x, y""#),
    });
    let host = fake.address.to_string();
    let secret = |password: &str| Secret::Password {
        user: "me".into(),
        password: password.into(),
    };
    lab.options
        .network
        .credentials
        .by_host
        .insert(host.clone(), secret("wrong"));
    let error = lab.resolve(&fake.name("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(
        error.because().contains("does not take our user"),
        "{error}"
    );
    assert!(!error.to_string().contains("wrong"));
    assert_eq!(fake.log().len(), 2, "a refused password is not shown again");
    lab.options
        .network
        .credentials
        .by_host
        .insert(host, secret("pw"));
    lab.resolve(&fake.name("x")).unwrap();
}

#[test]
fn layers_come_at_the_same_time() {
    let lab = Lab::new();
    let tars: Vec<Vec<u8>> = (0..4_u8).map(|n| make::tar(&[("f", &[n][..])])).collect();
    let made = make::image(&tars);
    let shelf = Shelf::of("latest", &made);
    let layers: Vec<String> = made.layers.iter().map(|l| digest(l)).collect();
    let waiting = (Mutex::new(0_usize), Condvar::new());
    let fake = Fake::start(move |r| {
        if layers.iter().any(|l| r.path.ends_with(l)) {
            // No layer is given until all four have been asked for.
            let (count, changed) = &waiting;
            let mut count = count.lock().unwrap();
            *count += 1;
            changed.notify_all();
            let patience = Duration::from_secs(20);
            let (_count, late) = changed
                .wait_timeout_while(count, patience, |c| *c < layers.len())
                .unwrap();
            if late.timed_out() {
                return Reply::error(404, "BLOB_UNKNOWN");
            }
        }
        shelf.answer(r)
    });
    lab.resolve(&fake.name("x")).unwrap();
}

#[test]
fn two_fetches_of_one_image_bring_each_layer_once() {
    let lab = Lab::new();
    let shelf = Shelf::of("latest", &three_layers());
    let fake = Fake::start(move |r| {
        std::thread::sleep(Duration::from_millis(100));
        shelf.answer(r)
    });
    let name = fake.name("x");
    std::thread::scope(|scope| {
        let hands: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| lab.resolve(&name).unwrap()))
            .collect();
        let ids: Vec<_> = hands.into_iter().map(|h| h.join().unwrap().id).collect();
        assert!(ids.windows(2).all(|w| w[0] == w[1]));
    });
    for layer in &three_layers().layers {
        assert_eq!(fake.count(&digest(layer)), 1);
    }
}
