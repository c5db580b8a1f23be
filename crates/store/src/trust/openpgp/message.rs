//! Signed OpenPGP messages: data and the signatures over it in one file, as `gpg --sign` makes.

use super::{MAX_PACKETS, MAX_SIGNATURE, Signature};
use crate::disk;
use crate::error::{Error, Kind, Result};
use pgp::packet::{Packet, PacketParser};
use std::io::BufRead;

/// Largest data of a message, bytes, also when it was compressed.
const MAX_DATA: u64 = 64 << 10;

/// What somebody says to have signed.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) data: Vec<u8>,
    pub(crate) signature: Signature,
}

fn bad(why: impl Into<String>) -> Error {
    let why = why.into();
    Error::new(
        Kind::Corrupt,
        format!("it is no signed OpenPGP message: {why}"),
    )
}

impl Message {
    /// Reads a binary message; one compression around it is undone, a second is refused.
    ///
    /// # Errors
    /// `Corrupt` when it is none, `TooLarge`.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_SIGNATURE {
            return Err(Error::new(
                Kind::TooLarge,
                "it is too large for a signature",
            ));
        }
        let mut packets = PacketParser::new(bytes);
        match packets.next() {
            Some(Ok(Packet::CompressedData(outer))) => {
                let inside = outer.decompress().map_err(|e| bad(e.to_string()))?;
                let inside = disk::read_limited(inside, MAX_DATA + MAX_SIGNATURE)?;
                Self::of(PacketParser::new(inside.as_slice()))
            }
            _ => Self::of(PacketParser::new(bytes)),
        }
    }

    fn of(packets: PacketParser<impl BufRead>) -> Result<Self> {
        let mut data = None;
        let mut signatures = Vec::new();
        for packet in packets {
            match packet.map_err(|e| bad(e.to_string()))? {
                // What is to come; the signature itself says it all again.
                Packet::OnePassSignature(_) | Packet::Marker(_) | Packet::Padding(_) => {}
                Packet::LiteralData(literal) if data.is_none() => {
                    data = Some(literal.data().to_vec());
                }
                Packet::Signature(signature) if signatures.len() < MAX_PACKETS => {
                    signatures.push(signature);
                }
                _ => return Err(bad("there is something else in it")),
            }
        }
        match data {
            Some(data) if !signatures.is_empty() => Ok(Self {
                data,
                signature: Signature(signatures),
            }),
            Some(_) => Err(bad("nobody has signed it")),
            None => Err(bad("there is nothing in it that is signed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet of the new format with a short or long length.
    fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![0xc0 | tag, 0xff];
        out.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        out.extend(body);
        out
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::read(&bytes);
        }

        #[test]
        fn any_packets_are_read_or_refused(
            packets in prop::collection::vec((0_u8..64, prop::collection::vec(any::<u8>(), 0..60)), 0..6),
            again in any::<bool>(),
        ) {
            let mut bytes: Vec<u8> = packets.iter().flat_map(|(tag, body)| packet(*tag, body)).collect();
            if again {
                // Uncompressed data inside a compressed packet, twice.
                bytes = packet(8, &[&[0], packet(8, &[&[0], bytes.as_slice()].concat()).as_slice()].concat());
                prop_assert!(Message::read(&bytes).is_err());
            }
            let _ = Message::read(&bytes);
        }
    }

    #[test]
    fn data_that_nobody_signed_is_refused() {
        let literal = packet(11, b"b\0\0\0\0\0{}");
        let why = |bytes: &[u8]| Message::read(bytes).unwrap_err().because().to_owned();
        assert!(why(&literal).contains("nobody has signed"));
        assert!(why(&[literal.clone(), literal].concat()).contains("something else"));
        assert!(why(&[]).contains("nothing in it"));
        assert!(why(&vec![0; 65 << 10]).contains("too large"));
    }
}
