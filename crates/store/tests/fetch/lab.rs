//! A store in a directory of its own, and what is looked at after each test.

use rkt_store::{
    Event, FetchOptions, HUB, Image, LayerProgram, OpenMode, Origin, Platform, Reference, Result,
    Store,
};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static NEXT: AtomicU32 = AtomicU32::new(0);

pub struct Lab {
    pub dir: PathBuf,
    pub options: FetchOptions,
    pub events: Mutex<Vec<String>>,
}

impl Lab {
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("rkt-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut options = FetchOptions::new(layer_program());
        options.platform = Platform::parse("linux/amd64").unwrap();
        // Tests share busy machines; those about silence set less.
        options.network.patience.stall = Duration::from_secs(30);
        options.network.patience.pause = Duration::from_millis(20);
        options.network.patience.tries = 3;
        options.network.cert_dirs = vec![dir.join("certs.d")];
        Self {
            dir,
            options,
            events: Mutex::default(),
        }
    }

    pub fn store_dir(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub fn store(&self) -> Store {
        Store::open(self.store_dir(), OpenMode::Use).unwrap()
    }

    pub fn resolve(&self, text: &str) -> Result<Image> {
        self.resolve_with(text, &self.options)
    }

    pub fn resolve_with(&self, text: &str, options: &FetchOptions) -> Result<Image> {
        let reference = Reference::parse(text, HUB)?;
        let image = self.store().resolve(&reference, options, &|event| {
            let line = match event {
                Event::Using {
                    from: Origin::Store,
                    ..
                } => "using store".to_owned(),
                Event::Using {
                    from: Origin::Unchanged,
                    ..
                } => "using unchanged".to_owned(),
                Event::Using {
                    from: Origin::Source,
                    ..
                } => "using source".to_owned(),
                Event::LayerStart { .. } => "start".to_owned(),
                Event::LayerResumed { from, .. } => format!("resumed {from}"),
                Event::LayerDone { .. } => "done".to_owned(),
                Event::LayerExists { .. } => "exists".to_owned(),
                Event::Message(text) => format!("message {text}"),
                Event::Resolving { .. } => "resolving".to_owned(),
                Event::Resolved { layers, .. } => format!("resolved {layers}"),
                _ => return,
            };
            self.events.lock().unwrap().push(line);
        })?;
        Ok(image.into_inner())
    }

    /// The events since the last call.
    pub fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    pub fn count(&self, place: &str) -> usize {
        names(&self.store_dir().join(place)).len()
    }

    /// After a failure: no image, no name, nothing that grows.
    pub fn assert_nothing_half_done(&self) {
        for place in ["images", "refs", "tmp", "chains/sha256"] {
            assert_eq!(
                names(&self.store_dir().join(place)),
                Vec::<String>::new(),
                "{place}"
            );
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn names(dir: &Path) -> Vec<String> {
    match std::fs::read_dir(dir) {
        Ok(list) => list
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// The reader of layers, which cargo builds for the tests.
pub fn layer_program() -> LayerProgram {
    LayerProgram {
        path: PathBuf::from(env!("CARGO_BIN_EXE_rkt-layer-reader")),
        args: Vec::new(),
    }
}

/// Whether a program is there; says so when not, and the test ends.
pub fn has(program: &str) -> bool {
    let found = ["/usr/bin", "/bin", "/usr/local/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists());
    if !found {
        eprintln!("skipped: needs the program `{program}`");
    }
    found
}
