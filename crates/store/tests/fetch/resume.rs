//! What an earlier fetch has brought is not asked for again, and never believed.

use super::fake::{Fake, Reply, Request, Shelf};
use super::lab::{Lab, names};
use super::make::{Made, digest, image, noise, tar};
use rkt_store::Kind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn big() -> Made {
    image(&[tar(&[("noise", &noise(3 << 20, 11))])])
}

/// A registry that breaks its one layer after 2 000 000 bytes until `well` is set; then `then`
/// has the last word.
fn breaking(
    made: &Made,
    well: Arc<AtomicBool>,
    then: impl Fn(&Request, Reply, &[u8]) -> Reply + Send + Sync + 'static,
) -> Fake {
    let shelf = Shelf::of("latest", made);
    let layer = made.layers[0].clone();
    let name = digest(&layer);
    Fake::start(move |r| {
        let mut reply = shelf.answer(r);
        if !r.path.ends_with(&name) {
            return reply;
        }
        if well.load(Ordering::Relaxed) {
            return then(r, reply, &layer);
        }
        match r.header("range") {
            None => reply.cut = Some(2_000_000),
            Some(_) => reply.cut = Some(0),
        }
        reply
    })
}

/// Breaks a first fetch; what is left is one file of 2 000 000 bytes.
fn broken(lab: &Lab, fake: &Fake, made: &Made) -> PathBuf {
    let error = lab.resolve(&fake.name("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    lab.assert_nothing_half_done();
    let name = digest(&made.layers[0]);
    let path = lab
        .store_dir()
        .join("partial/sha256")
        .join(name.strip_prefix("sha256:").unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 2_000_000);
    path
}

fn ranges(fake: &Fake, made: &Made, from: usize) -> Vec<Option<String>> {
    let name = digest(&made.layers[0]);
    let log = fake.log();
    log.iter()
        .skip(from)
        .filter(|r| r.path.ends_with(&name))
        .map(|r| r.header("range").map(str::to_owned))
        .collect()
}

fn nothing_partial(lab: &Lab) {
    let left = names(&lab.store_dir().join("partial/sha256"));
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn the_next_fetch_asks_only_for_the_rest() {
    let (lab, made) = (Lab::new(), big());
    let well = Arc::new(AtomicBool::new(false));
    let fake = breaking(&made, well.clone(), |_, reply, _| reply);
    broken(&lab, &fake, &made);
    let before = fake.log().len();
    well.store(true, Ordering::Relaxed);
    let image = lab.resolve(&fake.name("x")).unwrap();
    assert_eq!(image.id.to_string(), made.id());
    let last = made.layers[0].len() - 1;
    assert_eq!(
        ranges(&fake, &made, before),
        [Some(format!("bytes=2000000-{last}"))]
    );
    assert!(lab.told().contains(&"resumed 2000000".to_owned()));
    nothing_partial(&lab);
}

#[test]
fn a_layer_that_is_here_to_its_last_byte_is_not_asked_for() {
    let (lab, made) = (Lab::new(), big());
    let fake = breaking(&made, Arc::default(), |_, reply, _| reply);
    let path = broken(&lab, &fake, &made);
    std::fs::write(path, &made.layers[0]).unwrap();
    let before = fake.log().len();
    lab.resolve(&fake.name("x")).unwrap();
    assert_eq!(ranges(&fake, &made, before), []);
    nothing_partial(&lab);
}

#[test]
fn registries_with_other_ideas_of_ranges_are_asked_for_the_whole() {
    type Then = fn(&Request, Reply, &[u8]) -> Reply;
    let ways: [(&str, Then); 3] = [
        ("no ranges", |_, _, whole| Reply::new(200, whole)),
        ("416", |r, reply, _| match r.header("range") {
            Some(_) => Reply::new(416, ""),
            None => reply,
        }),
        ("another part", |r, reply, _| match r.header("range") {
            Some(_) => reply.with("content-range", "bytes 0-99/100"),
            None => reply,
        }),
    ];
    for (what, then) in ways {
        let (lab, made) = (Lab::new(), big());
        let well = Arc::new(AtomicBool::new(false));
        let fake = breaking(&made, well.clone(), then);
        broken(&lab, &fake, &made);
        well.store(true, Ordering::Relaxed);
        let image = lab.resolve(&fake.name("x"));
        assert_eq!(image.expect(what).id.to_string(), made.id());
        nothing_partial(&lab);
    }
}

#[test]
fn spoilt_bytes_are_found_and_fetched_again() {
    for spoil in [
        |bytes: &mut Vec<u8>| bytes[1_000_000..].fill(0),
        |bytes: &mut Vec<u8>| bytes.fill(0),
        |bytes: &mut Vec<u8>| bytes.resize(9_000_000, 7),
    ] {
        let (lab, made) = (Lab::new(), big());
        let well = Arc::new(AtomicBool::new(false));
        let fake = breaking(&made, well.clone(), |_, reply, _| reply);
        let path = broken(&lab, &fake, &made);
        let mut bytes = std::fs::read(&path).unwrap();
        spoil(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        well.store(true, Ordering::Relaxed);
        let image = lab.resolve(&fake.name("x")).unwrap();
        assert_eq!(image.id.to_string(), made.id());
        nothing_partial(&lab);
    }
}

#[test]
fn bytes_that_lead_nowhere_are_not_kept() {
    let (lab, made) = (Lab::new(), big());
    let well = Arc::new(AtomicBool::new(true));
    let fake = breaking(&made, well, |_, mut reply, _| {
        let middle = reply.body.len() / 2;
        reply.body[middle] ^= 1;
        reply
    });
    let error = lab.resolve(&fake.name("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    lab.assert_nothing_half_done();
    nothing_partial(&lab);
}

#[test]
fn gc_takes_what_is_left_of_a_fetch() {
    let (lab, made) = (Lab::new(), big());
    let fake = breaking(&made, Arc::default(), |_, reply, _| reply);
    broken(&lab, &fake, &made);
    let report = super::store::gc(&lab.store(), &[], &lab.dir).unwrap();
    assert!(report.bytes >= 2_000_000 && report.files >= 1, "{report:?}");
    nothing_partial(&lab);
}

#[test]
fn a_server_that_drips_is_given_up() {
    let mut lab = Lab::new();
    lab.options.network.patience.stall = std::time::Duration::from_millis(1500);
    let made = big();
    let shelf = Shelf::of("latest", &made);
    let layer = digest(&made.layers[0]);
    let fake = Fake::start(move |r| {
        let mut reply = shelf.answer(r);
        if r.path.ends_with(&layer) {
            reply.drip = Some(std::time::Duration::from_millis(100));
        }
        reply
    });
    let error = lab.resolve(&fake.name("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.because().contains("hardly anything"), "{error}");
}
