//! Images that are part of the program: one layer, made in memory from bytes of the caller.

use crate::blob;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::options::Builtin;
use crate::platform::Platform;
use crate::source::{self, Candidate, Layer, Source};
use crate::ustar::header;
use std::collections::BTreeSet;
use std::io::Write;

/// The source of one built-in image. The same files give the same image, byte for byte.
pub(crate) struct BuiltinSource {
    tar: Vec<u8>,
    config: Vec<u8>,
    stamp: String,
}

impl BuiltinSource {
    pub(crate) fn new(builtin: &Builtin) -> Result<Self> {
        let tar = tar(builtin)?;
        let config = config::write(&builtin.config, &[blob::sha256(&tar)])?;
        Ok(Self {
            tar,
            config,
            stamp: stamp(builtin),
        })
    }
}

pub(crate) fn stamp(builtin: &Builtin) -> String {
    format!("builtin:{}", builtin.revision)
}

impl Source for BuiltinSource {
    fn candidate(&self, platform: &Platform) -> Result<Candidate> {
        let size = u64::try_from(self.tar.len()).ok();
        source::candidate_of(
            self.config.clone(),
            vec![(None, size, String::new())],
            self.stamp.clone(),
            platform,
        )
    }

    fn stream(&self, _layer: &Layer, sink: &mut dyn Write) -> Result<()> {
        Ok(sink.write_all(&self.tar)?)
    }
}

/// A ustar of the files and the directories above them; owner root, time 0.
fn tar(builtin: &Builtin) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut dirs = BTreeSet::new();
    for (path, mode, bytes) in &builtin.files {
        let name = path.trim_start_matches('/');
        let bad = name.is_empty()
            || name.len() > 100
            || name.split('/').any(|p| matches!(p, "" | "." | ".."));
        if bad {
            return Err(Error::new(
                Kind::System,
                format!(
                    "built-in image `{}` has the bad path `{path}`",
                    builtin.name
                ),
            ));
        }
        for (i, _) in name.match_indices('/') {
            let dir = name.get(..=i).unwrap_or("");
            if dirs.insert(dir.to_owned()) {
                out.extend_from_slice(&header(dir, 0o755, b'5', 0));
            }
        }
        let size = u64::try_from(bytes.len()).unwrap_or(0);
        out.extend_from_slice(&header(name, *mode, b'0', size));
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    Ok(out)
}
