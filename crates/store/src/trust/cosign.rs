//! Keys of cosign, and what they sign: the digest of an image in a registry, by its name.
//!
//! Source: the "simple signing" payload of containers/image and cosign's use of it. Keys are
//! ECDSA over P-256 with SHA-256, as `cosign generate-key-pair` makes them.

use crate::blob;
use crate::error::{Error, Kind, Result};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rkt_spec::Digest;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
/// What stands before the point of a P-256 key (RFC 5480).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A public key of cosign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// `sha256:...` of its DER form.
    pub(super) name: String,
    point: Vec<u8>,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
    identity: Identity,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

impl Key {
    /// Whether a file is one of these keys, by its first line.
    pub(super) fn is_pem(bytes: &[u8]) -> bool {
        let text = bytes.trim_ascii_start();
        text.starts_with(b"-----BEGIN ") && !text.starts_with(b"-----BEGIN PGP ")
    }

    /// Reads `-----BEGIN PUBLIC KEY-----`.
    pub(super) fn parse(pem: &[u8]) -> Result<Self> {
        if pem.trim_ascii_start().starts_with(b"-----BEGIN PGP ") {
            return Err(Error::new(Kind::Corrupt, "it is a key of OpenPGP")
                .hint("with `lookaside` the policy says where its signatures are"));
        }
        let bad = || {
            Error::new(
                Kind::Corrupt,
                "it is no public key as cosign makes them (PEM, ECDSA P-256)",
            )
        };
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| bad())?;
        let point = der.strip_prefix(&P256[..]).filter(|p| p.len() == 65);
        Ok(Self {
            name: blob::sha256(&der).to_string(),
            point: point.ok_or_else(bad)?.to_vec(),
        })
    }

    /// Whether the key says that the image with this digest is the one of this name.
    pub(super) fn vouches(
        &self,
        payload: &[u8],
        signature: &[u8],
        place: &str,
        digest: &Digest,
    ) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point);
        // First the signature, then what it is over: strangers' JSON is not looked at.
        if key.verify(payload, signature).is_err() {
            return false;
        }
        let Ok(Payload { critical }) = serde_json::from_slice(payload) else {
            return false;
        };
        critical.kind == "cosign container image signature"
            && critical.image.digest == digest.to_string()
            && same_place(&critical.identity.reference, place)
    }
}

/// Whether cosign means the same repository; it calls the Hub by its old name.
fn same_place(theirs: &str, ours: &str) -> bool {
    let theirs = theirs.strip_prefix("index.").unwrap_or(theirs);
    let (theirs, _) = theirs.split_once('@').unwrap_or((theirs, ""));
    let last = theirs.rfind('/').unwrap_or(0);
    let end = theirs
        .get(last..)
        .and_then(|tail| tail.find(':'))
        .map_or(theirs.len(), |at| last + at);
    theirs.get(..end) == Some(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_repositories() {
        for (theirs, same) in [
            ("docker.io/library/redis", true),
            ("index.docker.io/library/redis", true),
            ("docker.io/library/redis:7", true),
            ("docker.io/library/redis7", false),
            ("evil.example/library/redis", false),
        ] {
            assert_eq!(
                same_place(theirs, "docker.io/library/redis"),
                same,
                "{theirs}"
            );
        }
        assert!(same_place("localhost:5000/a:b", "localhost:5000/a"));
        assert!(
            Key::parse(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").is_err()
        );
    }
}
