//! Detached OpenPGP signatures: whether a trusted key has made one, now and over these bytes.
//!
//! The crate `pgp` does the mathematics. What a signature is worth is decided here: keys that
//! are expired, revoked or not for signing, weak hashes and weak keys count for nothing.

mod message;

pub(super) use message::Message;

use crate::error::{Error, Kind, Result};
use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature as Packet, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams, Tag};
use rkt_spec::digest::hex;
use std::io::Read;

/// Largest signature file, bytes.
pub(crate) const MAX_SIGNATURE: u64 = 64 << 10;
/// Largest key file, bytes: some keys carry hundreds of other people's signatures.
pub(crate) const MAX_KEY: u64 = 1 << 20;
/// Most signatures of one file that are looked at.
const MAX_PACKETS: usize = 8;
/// Most keys of one file.
const MAX_KEYS: usize = 64;
/// Seconds by which another clock may be ahead of ours.
const SKEW: u64 = 3600;
/// Bytes of the public part of an RSA key of 2048 bits.
const RSA_2048: usize = 256;

fn untrusted(why: impl Into<String>) -> Error {
    Error::new(Kind::Untrusted, why)
}

/// A public key with what its owner says about it.
#[derive(Debug, Clone)]
pub struct Key {
    inner: SignedPublicKey,
    fingerprint: String,
}

impl Key {
    /// Reads all keys of a file, armoured or not.
    ///
    /// # Errors
    /// `Corrupt` when there is none, `TooLarge`.
    pub fn read(bytes: &[u8]) -> Result<Vec<Self>> {
        let bad =
            |e: pgp::errors::Error| Error::new(Kind::Corrupt, format!("it is no OpenPGP key: {e}"));
        if bytes.len() as u64 > MAX_KEY {
            return Err(Error::new(Kind::TooLarge, "it is too large for a key"));
        }
        let (keys, _) = SignedPublicKey::from_reader_many(bytes).map_err(bad)?;
        let mut list = Vec::new();
        for key in keys.take(MAX_KEYS) {
            let inner = key.map_err(bad)?;
            let fingerprint = hex(inner.primary_key.fingerprint().as_bytes());
            list.push(Self { inner, fingerprint });
        }
        if list.is_empty() {
            return Err(Error::new(Kind::Corrupt, "there is no OpenPGP key in it"));
        }
        Ok(list)
    }

    /// 40 or 64 lower-case hex digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Fingerprints of its subkeys.
    pub fn subkeys(&self) -> Vec<String> {
        let subkeys = self.inner.public_subkeys.iter();
        subkeys
            .map(|s| hex(s.key.fingerprint().as_bytes()))
            .collect()
    }

    /// Names of its owner, as the key says them: strangers' text.
    pub fn users(&self) -> Vec<String> {
        let users = self.inner.details.users.iter();
        users
            .map(|u| String::from_utf8_lossy(u.id.id()).into_owned())
            .collect()
    }

    /// The key in its armour, as it is kept.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn armored(&self) -> Result<Vec<u8>> {
        self.inner
            .to_armored_bytes(pgp::composed::ArmorOptions::default())
            .map_err(|e| Error::new(Kind::System, format!("write the key: {e}")))
    }

    /// Why the key is worth nothing today; `Ok` when it may sign.
    ///
    /// # Errors
    /// `Untrusted`, with the reason.
    pub fn check(&self, now: u64) -> Result<()> {
        self.primary(now).map(|_| ())
    }

    /// Whether its owner has taken it back.
    pub fn is_revoked(&self) -> bool {
        let taken_back = |s: &&Packet| s.typ() == Some(SignatureType::KeyRevocation);
        let signatures = &self.inner.details.revocation_signatures;
        let mut found = signatures.iter().filter(taken_back);
        found.any(|s| s.verify_key(&self.inner.primary_key).is_ok())
    }

    /// The newest valid statement of the owner about the primary key.
    fn primary(&self, now: u64) -> Result<&Packet> {
        let key = &self.inner.primary_key;
        let name = &self.fingerprint;
        let details = &self.inner.details;
        if self.is_revoked() {
            return Err(untrusted(format!("the key `{name}` is revoked")));
        }
        let direct = details
            .direct_signatures
            .iter()
            .filter(|s| s.verify_key(key).is_ok());
        let by_user = details.users.iter().flat_map(|user| {
            let own = |s: &&Packet| s.verify_certification(key, Tag::UserId, &user.id).is_ok();
            let valid: Vec<&Packet> = user.signatures.iter().filter(own).collect();
            // A name that was taken back says nothing any more.
            let newest = valid
                .into_iter()
                .max_by_key(|s| s.created().map_or(0, pgp::types::Timestamp::as_secs));
            newest.filter(|s| s.typ() != Some(SignatureType::CertRevocation))
        });
        let newest = direct
            .chain(by_user)
            .max_by_key(|s| s.created().map_or(0, pgp::types::Timestamp::as_secs))
            .ok_or_else(|| {
                untrusted(format!(
                    "the key `{name}` says nothing about itself that holds"
                ))
            })?;
        strong(key.public_params(), name)?;
        alive(name, key, newest, now)?;
        Ok(newest)
    }

    /// Whether the key, or a subkey of it, is the one that is meant, and may sign.
    fn signer(&self, signature: &Packet, now: u64) -> Option<Result<Signer<'_>>> {
        let meant = |key: &dyn KeyDetails| {
            let (ids, prints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
            match prints.is_empty() {
                true => ids.iter().any(|id| **id == key.legacy_key_id()),
                false => prints.iter().any(|p| **p == key.fingerprint()),
            }
        };
        if meant(&self.inner.primary_key) {
            return Some(self.primary(now).and_then(|about| {
                // Without the subpacket, old keys may do everything.
                let flags = about.key_flags();
                if flags.sign() || is_unset(&flags) {
                    Ok(Signer::Primary)
                } else {
                    Err(untrusted(format!(
                        "the key `{}` is not for signing",
                        self.fingerprint
                    )))
                }
            }));
        }
        let subkey = self.inner.public_subkeys.iter().find(|s| meant(&s.key))?;
        Some(self.primary(now).and_then(|_| self.subkey(subkey, now)))
    }

    fn subkey<'a>(&'a self, subkey: &'a SignedPublicSubKey, now: u64) -> Result<Signer<'a>> {
        let name = hex(subkey.key.fingerprint().as_bytes());
        let key = &self.inner.primary_key;
        let valid: Vec<&Packet> = subkey
            .signatures
            .iter()
            .filter(|s| s.verify_subkey_binding(key, &subkey.key).is_ok())
            .collect();
        if valid
            .iter()
            .any(|s| s.typ() == Some(SignatureType::SubkeyRevocation))
        {
            return Err(untrusted(format!("the subkey `{name}` is revoked")));
        }
        let newest = valid
            .into_iter()
            .max_by_key(|s| s.created().map_or(0, pgp::types::Timestamp::as_secs))
            .ok_or_else(|| untrusted(format!("the subkey `{name}` does not belong to its key")))?;
        strong(subkey.key.public_params(), &name)?;
        alive(&name, &subkey.key, newest, now)?;
        // Both ways: else a stranger's signing key could be claimed as one's own subkey.
        let back = newest.embedded_signature().is_some_and(|s| {
            s.typ() == Some(SignatureType::KeyBinding)
                && s.verify_primary_key_binding(&subkey.key, key).is_ok()
        });
        if newest.key_flags().sign() && back {
            Ok(Signer::Subkey(subkey))
        } else {
            Err(untrusted(format!("the subkey `{name}` is not for signing")))
        }
    }
}

enum Signer<'a> {
    Primary,
    Subkey(&'a SignedPublicSubKey),
}

fn is_unset(flags: &pgp::packet::KeyFlags) -> bool {
    !(flags.sign()
        || flags.certify()
        || flags.encrypt_comms()
        || flags.encrypt_storage()
        || flags.authentication())
}

/// Refuses keys that can be computed by others.
fn strong(params: &PublicParams, name: &str) -> Result<()> {
    let good = match params {
        PublicParams::RSA(rsa) => rsa.write_len() >= RSA_2048,
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => true,
        _ => false,
    };
    if good {
        return Ok(());
    }
    Err(untrusted(format!(
        "the key `{name}` is too weak, or of a kind that does not sign"
    )))
}

/// Refuses a key before its time and after.
fn alive(name: &str, key: &dyn KeyDetails, about: &Packet, now: u64) -> Result<()> {
    let created = u64::from(key.created_at().as_secs());
    if created > now.saturating_add(SKEW) {
        return Err(untrusted(format!(
            "the key `{name}` is from the future; look at the clock"
        )));
    }
    let lifetime = about
        .key_expiration_time()
        .map_or(0, |d| u64::from(d.as_secs()));
    if lifetime != 0 && created.saturating_add(lifetime) <= now {
        return Err(untrusted(format!("the key `{name}` has expired")));
    }
    Ok(())
}

/// The signatures of a file.
#[derive(Debug)]
pub(crate) struct Signature(Vec<Packet>);

impl Signature {
    /// Reads a signature file, armoured or not.
    ///
    /// # Errors
    /// `Corrupt` when it is none.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let bad =
            |why: String| Error::new(Kind::Corrupt, format!("it is no OpenPGP signature: {why}"));
        if bytes.len() as u64 > MAX_SIGNATURE {
            return Err(Error::new(
                Kind::TooLarge,
                "it is too large for a signature",
            ));
        }
        let (found, _) =
            DetachedSignature::from_reader_many(bytes).map_err(|e| bad(e.to_string()))?;
        let list: Vec<Packet> = found
            .take(MAX_PACKETS)
            .filter_map(|s| s.ok().map(|s| s.signature))
            .collect();
        if list.is_empty() {
            return Err(bad("there is none in it".to_owned()));
        }
        Ok(Self(list))
    }

    /// Who says to have signed, for messages.
    fn issuers(&self) -> String {
        let name = |s: &Packet| {
            let print = s.issuer_fingerprint().first().map(|p| hex(p.as_bytes()));
            print.or_else(|| s.issuer_key_id().first().map(|id| hex(id.as_ref())))
        };
        let names: Vec<String> = self
            .0
            .iter()
            .filter_map(name)
            .map(|n| format!("`{n}`"))
            .collect();
        names.join(", ")
    }

    /// Finds, among trusted keys, one that says to have signed and may sign now.
    ///
    /// # Errors
    /// `Untrusted`: nobody known, or why the known one does not count.
    pub(crate) fn signer<'a>(&'a self, keys: &'a [Key], now: u64) -> Result<Claim<'a>> {
        let mut reason = None;
        for packet in &self.0 {
            for key in keys {
                match key.signer(packet, now) {
                    None => {}
                    Some(Err(e)) => reason = reason.or(Some(e)),
                    Some(Ok(signer)) => match acceptable(packet, now) {
                        Err(e) => reason = reason.or(Some(e)),
                        Ok(()) => {
                            return Ok(Claim {
                                packet,
                                key,
                                signer,
                            });
                        }
                    },
                }
            }
        }
        Err(reason.unwrap_or_else(|| {
            untrusted(format!(
                "openpgp: signature made by unknown entity: {}",
                self.issuers()
            ))
        }))
    }
}

/// Refuses signatures of other things, by weak hashes, and out of their time.
fn acceptable(packet: &Packet, now: u64) -> Result<()> {
    if packet.typ() != Some(SignatureType::Binary) {
        return Err(untrusted("the signature is not one over a file"));
    }
    let hash = packet.hash_alg();
    if !matches!(
        hash,
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha224
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    ) {
        return Err(untrusted("the signature is over a weak hash"));
    }
    let created = packet
        .created()
        .map(|t| u64::from(t.as_secs()))
        .ok_or_else(|| untrusted("the signature does not say when it was made"))?;
    if created > now.saturating_add(SKEW) {
        return Err(untrusted(
            "the signature is from the future; look at the clock",
        ));
    }
    let lifetime = packet
        .signature_expiration_time()
        .map_or(0, |d| u64::from(d.as_secs()));
    if lifetime != 0 && created.saturating_add(lifetime) <= now {
        return Err(untrusted("the signature has expired"));
    }
    Ok(())
}

/// A signature and the trusted key that it names; not yet proved.
pub(crate) struct Claim<'a> {
    packet: &'a Packet,
    key: &'a Key,
    signer: Signer<'a>,
}

impl Claim<'_> {
    /// Reads all of the data and proves or refutes the claim; gives the key's fingerprint.
    ///
    /// # Errors
    /// `Untrusted` when the key has not signed these bytes. A failure of `data` is not told here:
    /// the caller knows it.
    pub(crate) fn prove(&self, data: impl Read) -> Result<String> {
        let proved = match self.signer {
            Signer::Primary => self.packet.verify(&self.key.inner.primary_key, data),
            Signer::Subkey(subkey) => self.packet.verify(&subkey.key, data),
        };
        match proved {
            Ok(()) => Ok(self.key.fingerprint.clone()),
            Err(_) => Err(untrusted(format!(
                "openpgp: invalid signature: the key `{}` has not signed these bytes",
                self.key.fingerprint
            ))),
        }
    }
}
