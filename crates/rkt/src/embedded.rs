//! The programs that are part of this one: stage1, and the app of `builtin:probe`.

use rkt_spec::image::ImageConfig;
use rkt_store::{Builtin, Platform};

/// The supervisor.
pub(crate) static STAGE1: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rkt-stage1"));
/// SHA-256 of [`STAGE1`], 64 hex digits; names the directory it is unpacked to.
pub(crate) const STAGE1_SHA256: &str = env!("RKT_STAGE1_SHA256");

static PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rkt-probe"));
const PROBE_SHA256: &str = env!("RKT_PROBE_SHA256");

/// The images that need no source.
pub(crate) fn images() -> Vec<Builtin> {
    let host = Platform::host();
    vec![Builtin {
        name: "probe",
        // The number rises with the configuration below.
        revision: format!("1-{PROBE_SHA256}"),
        files: vec![("/rkt-probe", 0o555, PROBE)],
        config: ImageConfig {
            os: host.os,
            architecture: host.architecture,
            variant: host.variant,
            entrypoint: vec!["/rkt-probe".to_owned()],
            working_dir: "/".to_owned(),
            ..ImageConfig::default()
        },
    }]
}
