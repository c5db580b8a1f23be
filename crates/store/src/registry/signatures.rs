//! Signatures that cosign keeps beside an image: an image of its own, tagged `sha256-HEX.sig`.
//!
//! Each of its layers is a payload that was signed; the signature is an annotation. Nothing of it
//! is believed here.

use super::Registry;
use crate::credentials;
use crate::error::{Doing, Error, Kind, Result};
use crate::manifest::Blob;
use crate::source::Documents;
use rkt_spec::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Largest payload, bytes; real ones have some 250.
const MAX_PAYLOAD: u64 = 64 << 10;
/// Most signatures of one image that are looked at.
const MOST: usize = 32;

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What somebody says to have signed.
pub(crate) struct Claim {
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Registry<'_> {
    /// The signatures of the manifest or index with this digest; none is no error.
    pub(crate) fn signatures(&self, digest: &Digest) -> Result<Vec<Claim>> {
        let tag = format!("{}-{}.sig", digest.algorithm().as_str(), digest.hex());
        let bytes = match self.fetch_manifest(&tag, None) {
            Ok(fetched) => fetched.bytes,
            Err(e) if e.kind() == Kind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e.while_doing(format!("ask for signatures `{tag}`"))),
        };
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(Kind::Corrupt, e.to_string()))
            .doing(|| format!("read signatures `{tag}`"))?;
        let mut claims = Vec::new();
        for layer in manifest.layers.into_iter().take(MOST) {
            let signature = layer.annotations.get(SIGNATURE).map(|s| s.trim());
            let Some(signature) = signature.and_then(credentials::base64_decode) else {
                continue;
            };
            if layer.media_type != PAYLOAD || layer.size > MAX_PAYLOAD {
                continue;
            }
            let payload = self.config(&Blob {
                media_type: layer.media_type,
                digest: layer.digest,
                size: layer.size,
                urls: Vec::new(),
            })?;
            claims.push(Claim { payload, signature });
        }
        Ok(claims)
    }
}
