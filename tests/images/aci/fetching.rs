//! How archives come: on from where a download broke, past a host that wants a password, with a
//! signature that lies somewhere else.

use super::discovery::{HOST, Lab};
use super::{UNSIGNED, file};
use rkt_tests::aci::{Aci, Squeeze};
use rkt_tests::tar::Entry;
use rkt_tests::wait_for;
use rkt_tests::web::Page;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

/// A large image that says this; `noise` does not compress.
fn large(lab: &Lab, text: &str) -> Vec<u8> {
    let mut state = 7_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(4 << 20)
    .collect();
    let entries = [Entry::file("noise", noise), Entry::file("which", text)];
    let aci = Aci::with_probe("example.com/app", &entries).squeeze(Squeeze::Plain);
    fs::read(aci.write(&lab.rkt.file("large.aci"))).unwrap()
}

/// What is kept of downloads that broke, in bytes.
fn kept(lab: &Lab) -> u64 {
    let dir = lab.rkt.data().join("partial/sha256");
    fs::read_dir(dir).map_or(0, |list| {
        list.map(|e| e.unwrap().metadata().unwrap().len()).sum()
    })
}

/// Fetches, and kills rkt with -9 when so much has come and no more does.
fn kill_after(lab: &Lab, url: &str, bytes: u64) {
    let mut command = lab.command(&["fetch", UNSIGNED, url]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for("the first part", 20, || kept(lab) >= bytes);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(kept(lab), bytes);
}

#[test]
fn a_download_that_was_killed_goes_on_where_it_stopped() {
    let Some(lab) = Lab::new() else { return };
    let image = large(&lab, "first\n");
    let half = 3 << 20;
    let url = format!("https://{HOST}/x.aci");
    let page = |image: &[u8], tag: &str| Page::new(image).header("ETag", tag);
    lab.web.put("https/x.aci", page(&image, "\"a\"").hold(half));
    kill_after(&lab, &url, half as u64);
    lab.web.put("https/x.aci", page(&image, "\"a\""));
    lab.web.heads();
    lab.call(&["fetch", UNSIGNED, &url]).ok();
    let heads = lab.web.heads();
    let ranged: Vec<&String> = heads.iter().filter(|h| h.contains("range: ")).collect();
    assert_eq!(ranged.len(), 1, "{heads:?}");
    assert!(
        ranged[0].contains(&format!("\r\nrange: bytes={half}-\r\n")),
        "{heads:?}"
    );
    assert!(ranged[0].contains("\r\nif-range: \"a\"\r\n"), "{heads:?}");
    assert_eq!(lab.which(&[UNSIGNED], &url).ok(), "first\n");
    assert_eq!(kept(&lab), 0, "and then it goes");
    assert_eq!(
        lab.call(&["image", "verify", "--format=json", &url]).json()["ok"],
        true
    );
}

#[test]
fn two_states_of_a_file_are_never_mixed() {
    let Some(lab) = Lab::new() else { return };
    let (first, second) = (large(&lab, "first\n"), large(&lab, "other\n"));
    assert_eq!(first.len(), second.len());
    let url = format!("https://{HOST}/x.aci");
    let page = |image: &[u8], tag: &str| Page::new(image).header("ETag", tag);
    let half = 3 << 20;
    lab.web.put("https/x.aci", page(&first, "\"a\"").hold(half));
    kill_after(&lab, &url, half as u64);
    // It has changed since: all of it is fetched, and what was kept is not looked at.
    lab.web.put("https/x.aci", page(&second, "\"b\""));
    assert_eq!(
        lab.which(&[UNSIGNED, "--pull-policy=update"], &url).ok(),
        "other\n"
    );
    // It changes between two requests of one fetch: what `If-Range` is for.
    lab.web.put("https/y.aci", page(&first, "\"a\"").hold(half));
    let url = format!("https://{HOST}/y.aci");
    lab.call(&["image", "gc", "--grace-period=0s"]);
    kill_after(&lab, &url, half as u64);
    lab.web.put(
        "https/y.aci",
        page(&first, "\"a\"").then(page(&second, "\"b\"")),
    );
    assert_eq!(lab.which(&[UNSIGNED], &url).ok(), "first\n");
    // A server that does not say which state it has is asked for all of it.
    lab.web.put("https/z.aci", Page::new(&first[..]).hold(half));
    let url = format!("https://{HOST}/z.aci");
    lab.call(&["image", "gc", "--grace-period=0s"]);
    let mut command = lab.command(&["fetch", UNSIGNED, &url]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for("the request", 20, || lab.web.held() > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(kept(&lab), 0);
    lab.web.put("https/z.aci", Page::new(&first[..]));
    lab.web.heads();
    assert_eq!(lab.which(&[UNSIGNED], &url).ok(), "first\n");
    assert!(lab.web.heads().iter().all(|h| !h.contains("range: ")));
}

/// The `Authorization` that came with each request, by host and path.
fn shown(lab: &Lab) -> Vec<(String, String)> {
    let field = |head: &str, name: &str| {
        head.lines()
            .find_map(|l| l.strip_prefix(name))
            .unwrap_or("")
            .to_owned()
    };
    let heads = lab.web.heads();
    heads
        .iter()
        .map(|h| {
            let path = h.split(' ').nth(1).unwrap_or("");
            let place = format!("{}{path}", field(h, "host: "));
            (place, field(h, "authorization: "))
        })
        .collect()
}

#[test]
fn credentials_of_auth_d_go_to_their_host_alone() {
    let Some(lab) = Lab::new() else { return };
    let other = format!("other.{HOST}");
    let auth = |dir: &str, name: &str, value: serde_json::Value| {
        let dir = lab.rkt.file(dir).join("auth.d");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), value.to_string()).unwrap();
    };
    let basic = |password: &str| {
        json!({ "rktKind": "auth", "rktVersion": "v1", "domains": [HOST], "type": "basic",
            "credentials": { "user": "me", "password": password } })
    };
    auth("system", "a.json", basic("old"));
    auth("local", "b.json", basic("secret"));
    auth(
        "local",
        "c.json",
        json!({ "rktKind": "auth", "rktVersion": "v1", "domains": [other], "type": "oauth",
            "credentials": { "token": "t0ken" } }),
    );
    fs::write(lab.rkt.file("local/auth.d/README"), "no JSON").unwrap();
    let key = lab.gpg.key("good", "ed25519", "never", &[]);
    let exported = lab.gpg.export(&key);
    lab.call(&[
        "trust",
        "add",
        "--root",
        "--skip-fingerprint-review",
        exported.to_str().unwrap(),
    ])
    .ok();
    let image = lab.image("example.com/app", "1.0", "locked\n");
    let (file, signature) = (Page::new(&image[..]), Page::new(lab.sign(&key, &image)));
    // Image and signature are elsewhere: who sent us there does not vouch for the place.
    for (name, page) in [("x.aci", &file), ("x.aci.asc", &signature)] {
        let away = Page::new("")
            .status(302)
            .header("Location", &format!("https://{other}/y/{name}"));
        lab.web.put(&format!("https/{name}"), away);
        lab.web.put(&format!("https/y/{name}"), page.clone());
    }
    let url = format!("https://{HOST}/x.aci");
    assert_eq!(lab.which(&[], &url).ok(), "locked\n");
    // base64 of `me:secret`.
    let basic_header = "Basic bWU6c2VjcmV0";
    for (place, authorization) in shown(&lab) {
        let want = if place.starts_with(HOST) {
            basic_header
        } else {
            ""
        };
        assert_eq!(authorization, want, "{place}");
    }
    // Asked for by its own name, the other host gets what is its own.
    assert_eq!(
        lab.which(&[], &format!("https://{other}/y/x.aci")).ok(),
        "locked\n"
    );
    let all = shown(&lab);
    assert_eq!(all.len(), 2, "image and signature: {all:?}");
    assert!(all.iter().all(|(_, a)| a == "Bearer t0ken"), "{all:?}");
    // Nothing by plain HTTP.
    lab.web.put("http/x.aci", file.clone());
    lab.which(
        &["--insecure-options=image,http"],
        &format!("http://{HOST}/x.aci"),
    )
    .ok();
    let all = shown(&lab);
    assert!(
        !all.is_empty() && all.iter().all(|(_, a)| a.is_empty()),
        "{all:?}"
    );
    // Wrong ones: the server's word; a kind that rkt does not know; a file that is none.
    lab.web.put("https/closed.aci", Page::new("").status(401));
    lab.which(&[UNSIGNED], &format!("https://{HOST}/closed.aci"))
        .ends_with(125)
        .is_one_clear_error()
        .says("wants credentials")
        .never_says("secret");
    auth(
        "local",
        "c.json",
        json!({ "rktKind": "auth", "rktVersion": "v1", "domains": [other], "type": "aws",
            "credentials": { "accessKeyID": "k", "secretAccessKey": "sesame" } }),
    );
    lab.which(&[UNSIGNED], &format!("https://{other}/y/new.aci"))
        .ends_with(125)
        .is_one_clear_error()
        .says("type `aws`")
        .never_says("sesame");
    auth(
        "local",
        "c.json",
        json!({ "rktKind": "auth", "rktVersion": "v1", "password": "sesame" }),
    );
    lab.which(&[UNSIGNED], &url)
        .ends_with(125)
        .is_one_clear_error()
        .says("c.json")
        .never_says("sesame");
}

#[test]
fn a_signature_may_lie_in_another_file() {
    let Some(lab) = Lab::new() else { return };
    let key = lab.gpg.key("good", "ed25519", "never", &[]);
    let exported = lab.gpg.export(&key);
    lab.call(&[
        "trust",
        "add",
        "--root",
        "--skip-fingerprint-review",
        exported.to_str().unwrap(),
    ])
    .ok();
    let signed = |name: &str, text: &str| -> (String, PathBuf) {
        let aci = Aci::with_probe("example.com/app", &[Entry::file("which", text)]);
        let path = file(&lab.rkt, name, &aci);
        let beside = lab.gpg.sign(&key, path.as_ref(), &["--armor"]);
        let away = lab.rkt.file(&format!("{name}.signature"));
        fs::rename(beside, &away).unwrap();
        (path, away)
    };
    let (image, signature) = signed("one", "one\n");
    let (other, others) = signed("two", "two\n");
    let option = |file: &PathBuf| format!("--signature={}", file.display());
    lab.call(&["fetch", &image])
        .ends_with(254)
        .says("error opening signature file");
    lab.call(&["fetch", &option(&others), &image])
        .ends_with(254)
        .is_one_clear_error()
        .says("has not signed these bytes");
    lab.call(&["fetch", &option(&signature), &image])
        .says(&format!("signed by the trusted key {key}"))
        .ok();
    assert_eq!(lab.which(&[], &image).ok(), "one\n");
    // What is in the store is looked at anew when a signature is given: never passed over.
    lab.call(&["fetch", &option(&others), &image])
        .ends_with(254);
    lab.call(&["fetch", &option(&signature), "--pull-policy=never", &image])
        .ends_with(254)
        .is_one_clear_error()
        .says("leave out");
    // At a start it goes with its image.
    let words = |signature: &PathBuf| {
        let option = option(signature);
        lab.call(&[
            "run",
            "--rm",
            "--quiet",
            "--net=none",
            &other,
            &option,
            "--",
            "cat",
            "/which",
        ])
    };
    words(&signature).ends_with(125).is_one_clear_error();
    assert_eq!(words(&others).ok(), "two\n");
    // Where it means nothing it is refused.
    lab.call(&["fetch", &option(&signature), &image, &other])
        .ends_with(254)
        .says("for one image");
    lab.call(&["fetch", &option(&signature), "builtin:probe"])
        .ends_with(254)
        .is_one_clear_error()
        .says("App Container Images");
    lab.call(&["fetch", &option(&lab.rkt.file("none")), &image])
        .ends_with(254)
        .is_one_clear_error()
        .says("error opening signature file");
}
