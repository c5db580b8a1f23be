//! What a fetch shows while it runs: a bar a layer on a terminal, lines elsewhere, nothing
//! with `--quiet`. All of it on stderr; nothing is set up before there is something to show.

use crate::columns::size;
use crate::failure::printable;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rkt_spec::Digest;
use rkt_store::{Event, Origin};
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Silent,
    Lines,
    Bars,
}

/// Takes the events of a fetch.
pub(crate) struct Progress {
    mode: Mode,
    /// Whether what came from the store is worth a line too.
    debug: bool,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    bars: Option<MultiProgress>,
    layers: HashMap<Digest, ProgressBar>,
    sizes: HashMap<Digest, u64>,
}

impl Progress {
    /// A terminal gets bars unless every step is told anyway.
    pub(crate) fn new(quiet: bool, debug: bool) -> Self {
        let mode = if quiet {
            Mode::Silent
        } else if !debug && std::io::stderr().is_terminal() {
            Mode::Bars
        } else {
            Mode::Lines
        };
        Self {
            mode,
            debug,
            shown: Mutex::default(),
        }
    }

    /// Shows one event.
    pub(crate) fn event(&self, event: Event<'_>) {
        if self.mode == Mode::Silent {
            return;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Resolving { reference } => {
                shown.line(&format!("searching for {reference}"));
            }
            Event::Resolved { layers, bytes, .. } => {
                let much = bytes.map_or(String::new(), |b| format!(", {}", size(b)));
                shown.line(&format!(
                    "{layers} layer{}{much}",
                    if layers == 1 { "" } else { "s" }
                ));
            }
            Event::LayerExists { layer } if self.mode == Mode::Lines => {
                shown.line(&format!("layer {}: in the store", layer.short()));
            }
            Event::LayerStart { layer, bytes } => match self.mode {
                Mode::Bars => shown.start(layer, bytes),
                _ => {
                    shown.line(&format!("layer {}: fetching", layer.short()));
                }
            },
            Event::LayerProgress { layer, bytes } => {
                shown.sizes.insert(layer.clone(), bytes);
                if let Some(bar) = shown.layers.get(layer) {
                    bar.set_position(bytes);
                }
            }
            Event::LayerDone { layer } => match shown.layers.remove(layer) {
                Some(bar) => {
                    bar.set_position(bar.length().unwrap_or(0));
                    bar.abandon();
                }
                None => {
                    let much = shown.sizes.remove(layer).map(size).unwrap_or_default();
                    shown.line(format!("layer {}: done {much}", layer.short()).trim_end());
                }
            },
            Event::Using {
                reference,
                image,
                from,
            } => match from {
                Origin::Store if !self.debug => {}
                Origin::Store => shown.line(&format!(
                    "using image from local store for image name {reference}"
                )),
                Origin::Unchanged | Origin::Source => {
                    shown.line(&format!("using {reference} ({})", image.short()));
                }
            },
            Event::Message(text) => shown.line(text),
            _ => {}
        }
    }
}

impl Shown {
    fn line(&self, text: &str) {
        let text = format!("image: {}", printable(text));
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(text);
            }
            None => {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
        }
    }

    fn start(&mut self, layer: &Digest, bytes: Option<u64>) {
        let bars = self.bars.get_or_insert_with(|| {
            MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))
        });
        let bar = match bytes {
            Some(bytes) => ProgressBar::new(bytes).with_style(style(
                "{prefix} [{bar:32}] {bytes:>10}/{total_bytes} {bytes_per_sec}",
            )),
            None => ProgressBar::no_length().with_style(style("{prefix} {bytes} {bytes_per_sec}")),
        };
        let bar = bars.add(bar.with_prefix(layer.short().to_owned()));
        self.layers.insert(layer.clone(), bar);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
