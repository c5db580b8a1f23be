//! The store itself: lists, prefixes, removal, gc, crashes, a caller without rights.

use super::fake::{Fake, Reply, Shelf};
use super::lab::{Lab, names};
use super::make::{self, three_layers};
use rkt_spec::Digest;
use rkt_spec::image::ImageConfig;
use rkt_store::{Builtin, GcReport, GcRules, HUB, Kind, OpenMode, Reference, Store};
use std::path::Path;

fn builtin(revision: &str, content: &'static [u8]) -> Builtin {
    Builtin {
        name: "probe",
        revision: revision.into(),
        files: vec![
            ("/bin/probe", 0o755, content),
            ("/etc/passwd", 0o644, b"root:x:0:0::/:/\n"),
        ],
        config: ImageConfig {
            os: "linux".into(),
            architecture: "amd64".into(),
            cmd: vec!["/bin/probe".into()],
            ..ImageConfig::default()
        },
    }
}

/// A gc that keeps all images.
pub fn gc(store: &Store, in_use: &[Digest], run_dir: &Path) -> rkt_store::Result<GcReport> {
    let rules = GcRules {
        in_use: &|| Ok(in_use.to_vec()),
        unused_for: None,
        dry_run: false,
    };
    store.gc(&rules, run_dir)
}

#[test]
fn a_built_in_image_is_made_once_for_each_revision() {
    let mut lab = Lab::new();
    lab.options.builtins = vec![builtin("1", b"one")];
    let first = lab.resolve("builtin:probe").unwrap();
    assert_eq!(first.config.cmd, ["/bin/probe"]);
    assert_eq!(lab.told().last().unwrap(), "using source");
    assert_eq!(lab.resolve("builtin:probe").unwrap().id, first.id);
    assert_eq!(lab.told(), ["using store"]);
    lab.options.builtins = vec![builtin("2", b"two")];
    let second = lab.resolve("builtin:probe").unwrap();
    assert_ne!(second.id, first.id);
    lab.options.builtins = vec![builtin("3", b"two")];
    assert_eq!(
        lab.resolve("builtin:probe").unwrap().id,
        second.id,
        "the same files are the same image"
    );
    let error = lab.resolve("builtin:other").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.because().contains("`builtin:probe`"), "{error}");
}

#[test]
fn images_are_found_by_name_id_and_prefix() {
    let mut lab = Lab::new();
    lab.options.builtins = vec![builtin("1", b"one")];
    let image = lab.resolve("builtin:probe").unwrap();
    let store = lab.store();
    let hex = image.id.hex().to_owned();
    for text in [
        "builtin:probe".to_owned(),
        hex.clone(),
        hex[..12].into(),
        format!("sha256:{hex}"),
        format!("sha256-{}", &hex[..4]),
    ] {
        let found = store.find(&text, HUB).unwrap();
        assert_eq!(found.id, image.id, "{text}");
        assert_eq!(found.names, ["builtin:probe"]);
    }
    assert_eq!(lab.resolve(&hex[..12]).unwrap().id, image.id);
    let absent = if hex.starts_with("00") {
        "sha256:11"
    } else {
        "sha256:00"
    };
    assert_eq!(store.find(absent, HUB).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(store.find("redis", HUB).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(
        store.find("UPPER", HUB).unwrap_err().kind(),
        Kind::BadReference
    );
    let twin = format!("{}{}", &hex[..6], "0".repeat(58));
    std::fs::write(
        lab.store_dir().join("images").join(format!("{twin}.json")),
        "{}",
    )
    .unwrap();
    let error = store
        .find(&format!("sha256:{}", &hex[..6]), HUB)
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Ambiguous);
}

#[test]
fn gc_takes_what_nobody_needs_and_keeps_what_a_pod_runs() {
    let lab = Lab::new();
    let run = lab.dir.join("run");
    let first = three_layers();
    let mut tars = first.tars.clone();
    tars[2] = make::tar(&[("other", b"other\n")]);
    let second = make::image(&tars);
    let mut shelf = Shelf::of("a", &first);
    shelf.add("b", &second);
    let fake = Fake::start(move |r| shelf.answer(r));
    let a = lab.resolve(&fake.name("x:a")).unwrap();
    let b = lab.resolve(&fake.name("x:b")).unwrap();
    let store = lab.store();
    assert_eq!(lab.count("layers/sha256"), 4);
    let untouched = gc(&store, &[], &run).unwrap();
    assert_eq!(
        (untouched.layers, untouched.chains, untouched.files),
        (0, 0, 0)
    );

    store.remove(&a.id).unwrap();
    assert_eq!(store.remove(&a.id).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(store.list().unwrap().len(), 1);
    // A pod still runs on it.
    let report = gc(&store, &a.chains, &run).unwrap();
    assert_eq!((report.layers, report.chains), (0, 0));
    let report = gc(&store, &[], &run).unwrap();
    assert_eq!(
        (report.layers, report.chains),
        (1, 1),
        "only the layer that they do not share"
    );
    assert!(report.bytes > 0);
    assert_eq!(lab.resolve(&fake.name("x:b")).unwrap().id, b.id);

    store
        .remove_name(&Reference::parse(&fake.name("x:b"), HUB).unwrap())
        .unwrap();
    assert_eq!(store.list().unwrap()[0].names, Vec::<String>::new());
    store.remove(&b.id).unwrap();
    std::fs::write(lab.store_dir().join("tmp/left"), [0; 5000]).unwrap();
    gc(&store, &[], &run).unwrap();
    for place in [
        "layers/sha256",
        "chains/sha256",
        "blobs/sha256",
        "distribution/sha256",
        "images",
        "refs",
        "forgotten",
        "tmp",
    ] {
        assert_eq!(lab.count(place), 0, "{place}");
    }
    assert_eq!(names(&lab.store_dir().join("locks")), ["store"]);
    // An unknown chain in use: layers stay, for nobody knows which are its own.
    lab.resolve(&fake.name("x:a")).unwrap();
    store.remove(&a.id).unwrap();
    let report = gc(&store, &[Digest::sha256(&[9; 32])], &run).unwrap();
    assert_eq!(report.layers, 0);
}

#[test]
fn gc_waits_for_others_and_then_says_so() {
    let lab = Lab::new();
    let (one, two) = (lab.store(), lab.store());
    let error = gc(&one, &[], &lab.dir.join("run")).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    drop(two);
    gc(&one, &[], &lab.dir.join("run")).unwrap();
}

#[test]
fn a_lost_layer_is_fetched_again() {
    let lab = Lab::new();
    let shelf = Shelf::of("latest", &three_layers());
    let fake = Fake::start(move |r| shelf.answer(r));
    let image = lab.resolve(&fake.name("x")).unwrap();
    std::fs::remove_dir_all(lab.store_dir().join("chains")).unwrap();
    std::fs::remove_dir_all(
        lab.store_dir()
            .join("layers/sha256")
            .join(image.layers[1].hex()),
    )
    .unwrap();
    let again = lab.resolve(&fake.name("x")).unwrap();
    let timeless = |image: &rkt_store::Image| rkt_store::Image {
        fetched_at: 0,
        last_used: 0,
        ..image.clone()
    };
    assert_eq!(timeless(&again), timeless(&image));
    assert!(again.last_used >= image.last_used);
}

#[test]
fn a_store_may_be_looked_at_without_changing_it() {
    let mut lab = Lab::new();
    assert_eq!(
        Store::open(lab.store_dir(), OpenMode::Look)
            .unwrap_err()
            .kind(),
        Kind::NotFound
    );
    lab.options.builtins = vec![builtin("1", b"one")];
    let image = lab.resolve("builtin:probe").unwrap();
    let look = Store::open(lab.store_dir(), OpenMode::Look).unwrap();
    assert_eq!(look.list().unwrap().len(), 1);
    let reference = Reference::parse("builtin:probe", HUB).unwrap();
    assert_eq!(
        look.resolve(&reference, &lab.options, &|_| {}).unwrap().id,
        image.id
    );
    let other = Reference::parse("docker://127.0.0.1:1/x", HUB).unwrap();
    assert_eq!(
        look.resolve(&other, &lab.options, &|_| {})
            .unwrap_err()
            .kind(),
        Kind::Denied
    );
    assert_eq!(
        gc(&look, &[], Path::new("/nonexistent"))
            .unwrap_err()
            .kind(),
        Kind::Denied
    );
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(lab.store_dir())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn an_image_may_be_described_without_a_store() {
    let lab = Lab::new();
    let made = three_layers();
    let shelf = Shelf::of("latest", &made);
    let fake = Fake::start(move |r| {
        if r.path.contains(&make::digest(&three_layers().layers[0])) {
            Reply::new(500, "")
        } else {
            shelf.answer(r)
        }
    });
    let reference = Reference::parse(&fake.name("x"), HUB).unwrap();
    let image = rkt_store::describe(&reference, &lab.options, &lab.dir, &|_| {}).unwrap();
    assert_eq!(image.id.to_string(), made.id());
    assert_eq!(image.chains.len(), 3);
    assert!(!lab.store_dir().exists());
}

/// Not a test of its own: the process that the next test interrupts.
#[test]
fn fetch_for_the_test_of_signals() {
    let Ok(name) = std::env::var("RKT_TEST_FETCH") else {
        return;
    };
    let mut lab = Lab::new();
    lab.options.stop_signals = vec![2, 15];
    lab.options.network.patience.stall = std::time::Duration::from_secs(60);
    std::fs::create_dir_all(lab.dir.join("at-work")).unwrap();
    println!("at {}", lab.dir.display());
    let error = lab.resolve(&name).unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted, "{error}");
    assert!(error.because().contains("SIGINT"), "{error}");
    lab.assert_nothing_half_done();
    println!("interrupted as it should be");
}

#[test]
fn a_signal_ends_a_fetch_with_nothing_half_done() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};
    let made = make::image(&[
        make::tar(&[("noise", &make::noise(4 << 20, 5))]),
        make::tar(&[("a", b"a")]),
    ]);
    let layer = make::digest(&made.layers[0]);
    let shelf = Shelf::of("latest", &made);
    let slow = layer.clone();
    let fake = Fake::start(move |r| {
        let mut reply = shelf.answer(r);
        reply.stall = r.path.ends_with(&slow).then_some(2 << 20);
        reply
    });
    // The test harness has a thread of its own, which the signal would kill: block it there too.
    let child = Command::new("env")
        .arg("--block-signal=INT")
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::fetch_for_the_test_of_signals",
            "--nocapture",
        ])
        .env("RKT_TEST_FETCH", fake.name("x"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while fake.count(&layer) == 0 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "the fetch does not start"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    let signalled = Instant::now();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        text.contains("interrupted as it should be"),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(
        signalled.elapsed() < Duration::from_secs(15),
        "{:?}",
        signalled.elapsed()
    );
}
