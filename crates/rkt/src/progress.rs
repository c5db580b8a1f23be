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
use std::time::{Duration, Instant};

/// Without a terminal, a layer says this often that it still flows.
const HEARTBEAT: Duration = Duration::from_secs(10);

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
    layers: HashMap<Digest, Layer>,
}

/// A layer under way.
struct Layer {
    bar: Option<ProgressBar>,
    begun: Instant,
    told: Instant,
    /// Bytes that were here before.
    from: u64,
    bytes: u64,
    total: Option<u64>,
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
            Event::LayerStart { layer, bytes } => shown.start(self.mode, layer, bytes),
            Event::LayerResumed { layer, from } => shown.resume(layer, from),
            Event::LayerProgress { layer, bytes } => shown.advance(layer, bytes),
            Event::LayerDone { layer } => shown.done(layer),
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

    fn start(&mut self, mode: Mode, layer: &Digest, total: Option<u64>) {
        let bar = match mode {
            Mode::Bars => Some(self.bar(layer, total)),
            _ => {
                self.line(&format!("layer {}: fetching", layer.short()));
                None
            }
        };
        let now = Instant::now();
        let row = Layer {
            bar,
            begun: now,
            told: now,
            from: 0,
            bytes: 0,
            total,
        };
        self.layers.insert(layer.clone(), row);
    }

    fn bar(&mut self, layer: &Digest, total: Option<u64>) -> ProgressBar {
        let bars = self.bars.get_or_insert_with(|| {
            MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))
        });
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style(
                "{prefix} [{bar:24}] {bytes:>10}/{total_bytes:10} {bytes_per_sec:>12} {eta:>4}",
            )),
            None => ProgressBar::no_length()
                .with_style(style("{prefix} {bytes:>10} {bytes_per_sec:>12}")),
        };
        bars.add(bar.with_prefix(layer.short().to_owned()))
    }

    fn resume(&mut self, layer: &Digest, from: u64) {
        let Some(row) = self.layers.get_mut(layer) else {
            return;
        };
        row.from = from;
        match &row.bar {
            Some(bar) => {
                bar.set_position(from);
                // Old bytes are no speed.
                bar.reset_eta();
            }
            None => {
                let name = layer.short();
                self.line(&format!("layer {name}: going on after {}", size(from)));
            }
        }
    }

    fn advance(&mut self, layer: &Digest, bytes: u64) {
        let Some(row) = self.layers.get_mut(layer) else {
            return;
        };
        row.bytes = bytes;
        if let Some(bar) = &row.bar {
            bar.set_position(bytes);
        } else if row.told.elapsed() >= HEARTBEAT {
            row.told = Instant::now();
            let text = format!("layer {}: {}", layer.short(), row.text());
            self.line(&text);
        }
    }

    fn done(&mut self, layer: &Digest) {
        let Some(mut row) = self.layers.remove(layer) else {
            return;
        };
        match &row.bar {
            Some(bar) => {
                bar.set_position(bar.length().unwrap_or(0));
                bar.abandon();
            }
            None => {
                row.bytes = row.total.unwrap_or(row.bytes);
                let much = size(row.bytes);
                self.line(&format!("layer {}: done {much}", layer.short()));
            }
        }
    }
}

impl Layer {
    /// `3.0MiB of 12MiB, 1.0MiB/s, 9 s left`
    fn text(&self) -> String {
        let mut text = size(self.bytes);
        let fresh = u128::from(self.bytes.saturating_sub(self.from));
        let rate = fresh * 1000 / self.begun.elapsed().as_millis().max(1);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        if let Some(total) = self.total {
            text.push_str(&format!(" of {}", size(total)));
        }
        text.push_str(&format!(", {}/s", size(rate)));
        if let Some(left) = self.total.and_then(|t| t.checked_sub(self.bytes))
            && let Some(seconds) = left.checked_div(rate)
        {
            text.push_str(&format!(", {seconds} s left"));
        }
        text
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
