//! Tokens that end, tokens for tokens, and services that may not be asked.

use super::fake::{Fake, Reply, Request, Shelf};
use super::lab::Lab;
use super::make::{Made, digest, image, noise, tar, three_layers};
use rkt_store::Kind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Which token is good now, by its number.
type Good = Arc<Mutex<usize>>;

/// A registry that takes one token, and its service, which gives out a new one each time.
fn registry(
    made: &Made,
    seconds: u32,
    good: Good,
    tweak: impl Fn(&Request, &Good, Reply) -> Reply + Send + Sync + 'static,
) -> (Fake, Fake) {
    let service = Fake::start(move |r| {
        let token = format!(r#"{{"token":"tok{}","expires_in":{seconds}}}"#, r.nth);
        Reply::new(200, token)
    });
    let realm = service.address;
    let shelf = Shelf::of("latest", made);
    let fake = Fake::start(move |r| {
        let wanted = format!("Bearer tok{}", good.lock().unwrap());
        match r.header("authorization") {
            Some(shown) if shown == wanted => tweak(r, &good, shelf.answer(r)),
            _ => Reply::error(401, "UNAUTHORIZED").with(
                "www-authenticate",
                format!(r#"Bearer realm="http://{realm}/token",service="s""#),
            ),
        }
    });
    (fake, service)
}

/// What was shown with each request for a layer, and the part that was asked for.
fn shown(fake: &Fake, layer: &str) -> Vec<(String, bool)> {
    let of = |r: Request| {
        let shown = r.header("authorization").unwrap_or("").to_owned();
        (shown, r.header("range").is_some())
    };
    let log = fake.log().into_iter();
    log.filter(|r| r.path.ends_with(layer)).map(of).collect()
}

fn big() -> (Made, String) {
    let made = image(&[tar(&[("noise", &noise(2 << 20, 3))])]);
    let layer = digest(&made.layers[0]);
    (made, layer)
}

#[test]
fn a_token_that_ends_in_the_middle_of_a_layer_is_renewed() {
    let lab = Lab::new();
    let (made, layer) = big();
    let end = layer.clone();
    // The connection breaks, and by then the token is good no more, whatever it said of itself.
    let (fake, service) = registry(
        &made,
        300,
        Good::new(1.into()),
        move |r, good, mut reply| {
            if r.path.ends_with(&end) && r.header("range").is_none() {
                *good.lock().unwrap() += 1;
                reply.cut = Some(700_000);
            }
            reply
        },
    );
    lab.resolve(&fake.name("x")).unwrap();
    let token = |n: u32| format!("Bearer tok{n}");
    assert_eq!(
        shown(&fake, &layer),
        [(token(1), false), (token(1), true), (token(2), true)],
        "refused, renewed, and on from where it broke"
    );
    assert_eq!(service.log().len(), 2);
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    let lab = Lab::new();
    let (made, layer) = big();
    let end = layer.clone();
    let (fake, service) = registry(&made, 10, Good::new(1.into()), move |r, good, mut reply| {
        if r.path.ends_with(&end) && r.header("range").is_none() {
            // Less than it has, more than is left when a careful client asks for a new one.
            std::thread::sleep(Duration::from_millis(8500));
            *good.lock().unwrap() += 1;
            reply.cut = Some(700_000);
        }
        reply
    });
    lab.resolve(&fake.name("x")).unwrap();
    let token = |n: u32| format!("Bearer tok{n}");
    assert_eq!(
        shown(&fake, &layer),
        [(token(1), false), (token(2), true)],
        "no request with a token that has ended"
    );
    assert_eq!(service.log().len(), 2);
}

#[test]
fn a_token_that_is_never_good_enough_is_one_clear_error() {
    let lab = Lab::new();
    let good = Good::new(0.into());
    let (fake, service) = registry(&three_layers(), 300, good, |_, _, reply| reply);
    let error = lab.resolve(&fake.name("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error}");
    assert!(service.log().len() <= 3, "{}", service.log().len());
    lab.assert_nothing_half_done();
}

#[test]
fn an_identity_token_is_posted_to_the_service_and_shown_nowhere_else() {
    let mut lab = Lab::new();
    let service = Fake::start(|r| match (r.method.as_str(), r.body.as_str()) {
        ("POST", body) if body.contains("refresh_token=id%2Btok%3D") => {
            Reply::new(200, r#"{"access_token":"t","expires_in":300}"#)
        }
        _ => Reply::error(401, "UNAUTHORIZED"),
    });
    let realm = service.address;
    let shelf = Shelf::of("latest", &three_layers());
    let fake = Fake::start(move |r| {
        match r.header("authorization") {
        Some("Bearer t") => shelf.answer(r),
        _ => Reply::error(401, "UNAUTHORIZED").with(
            "www-authenticate",
            format!(
                r#"Bearer realm="http://{realm}/token?a=b",service="a service",scope="repository:team/x:pull""#
            ),
        ),
    }
    });
    let config = lab.dir.join("config.json");
    let write = |token: &str| {
        let host = fake.address;
        let text = format!(r#"{{"auths":{{"{host}":{{"identitytoken":"{token}"}}}}}}"#);
        std::fs::write(&config, text).unwrap();
    };
    lab.options.network.credentials.docker_config = vec![config.clone()];
    write("wrong");
    let error = lab.resolve(&fake.name("team/x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    lab.assert_nothing_half_done();

    write("id+tok=");
    lab.resolve(&fake.name("team/x")).unwrap();
    let asked = service.log();
    let asked = asked.last().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/token?a=b")
    );
    assert_eq!(
        asked.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert!(asked.header("authorization").is_none());
    let mut fields: Vec<&str> = asked.body.split('&').collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "client_id=rkt",
            "grant_type=refresh_token",
            "refresh_token=id%2Btok%3D",
            "scope=repository%3Ateam%2Fx%3Apull",
            "service=a%20service",
        ]
    );
    for request in fake.log() {
        let told = format!("{request:?}");
        assert!(
            !told.contains("id+tok=") && !told.contains("id%2Btok"),
            "{told}"
        );
    }
    // A service that sends it somewhere else is not followed there.
    let other = Fake::start(|_| Reply::new(200, r#"{"token":"t"}"#));
    let to = other.address;
    let away = Fake::start(move |_| Reply::new(307, "").with("location", format!("http://{to}/")));
    let realm = away.address;
    let fake = Fake::start(move |_| {
        let bearer = format!(r#"Bearer realm="http://{realm}/token",service="s""#);
        Reply::error(401, "UNAUTHORIZED").with("www-authenticate", bearer)
    });
    let host = fake.address;
    let text = format!(r#"{{"auths":{{"{host}":{{"identitytoken":"id+tok="}}}}}}"#);
    std::fs::write(&config, text).unwrap();
    let error = lab.resolve(&fake.name("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert_eq!(other.log().len(), 0);
}
