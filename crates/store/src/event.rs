//! What a fetch tells while it runs; crate `rkt` draws it.

use rkt_spec::Digest;

/// One step of a fetch. Digests of layers are diff ids: of the uncompressed tar.
///
/// Events come from several threads at a time and in any order between layers.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The source is asked for this name.
    Resolving {
        /// Canonical reference.
        reference: &'a str,
    },
    /// The image is known: this many layers, of which some may be in the store.
    Resolved {
        /// Id of the image.
        image: &'a Digest,
        /// All its layers.
        layers: usize,
        /// Bytes to transfer when every layer is missing; `None` when the source does not say.
        bytes: Option<u64>,
    },
    /// A layer is in the store already.
    LayerExists {
        /// Which.
        layer: &'a Digest,
    },
    /// A layer starts to flow.
    LayerStart {
        /// Which.
        layer: &'a Digest,
        /// Bytes to transfer, as the source says.
        bytes: Option<u64>,
    },
    /// The beginning of a layer is here since an earlier fetch.
    LayerResumed {
        /// Which.
        layer: &'a Digest,
        /// Bytes that need not be fetched again.
        from: u64,
    },
    /// A layer flows; at most some ten times a second.
    LayerProgress {
        /// Which.
        layer: &'a Digest,
        /// Transferred so far.
        bytes: u64,
    },
    /// A layer is checked and in the store.
    LayerDone {
        /// Which.
        layer: &'a Digest,
    },
    /// The image is in the store and will be used.
    Using {
        /// Canonical reference, or what was asked for.
        reference: &'a str,
        /// Id of the image.
        image: &'a Digest,
        /// Where it came from.
        from: Origin,
    },
    /// Something worth a line, such as a retry; no newline at its end.
    Message(&'a str),
}

/// Where an image came from this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The store, without asking anybody.
    Store,
    /// The source was asked, and the store had everything.
    Unchanged,
    /// It was fetched now.
    Source,
}

/// Takes the events of a fetch.
pub type Events<'a> = &'a (dyn Fn(Event<'_>) + Sync);
