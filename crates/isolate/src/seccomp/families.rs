//! Names of socket families (`socket(2)`, `linux/socket.h`).

use super::profile::FAMILIES;
use crate::error::{Error, Kind};

/// Names and numbers; none that Linux has dropped.
pub const NAMES: &[(&str, u32)] = &[
    ("AF_UNIX", 1),
    ("AF_INET", 2),
    ("AF_AX25", 3),
    ("AF_IPX", 4),
    ("AF_APPLETALK", 5),
    ("AF_NETROM", 6),
    ("AF_X25", 9),
    ("AF_INET6", 10),
    ("AF_ROSE", 11),
    ("AF_KEY", 15),
    ("AF_NETLINK", 16),
    ("AF_PACKET", 17),
    ("AF_RDS", 21),
    ("AF_PPPOX", 24),
    ("AF_LLC", 26),
    ("AF_IB", 27),
    ("AF_MPLS", 28),
    ("AF_CAN", 29),
    ("AF_TIPC", 30),
    ("AF_BLUETOOTH", 31),
    ("AF_RXRPC", 33),
    ("AF_ISDN", 34),
    ("AF_PHONET", 35),
    ("AF_IEEE802154", 36),
    ("AF_CAIF", 37),
    ("AF_ALG", 38),
    ("AF_NFC", 39),
    ("AF_VSOCK", 40),
    ("AF_KCM", 41),
    ("AF_QIPCRTR", 42),
    ("AF_SMC", 43),
    ("AF_XDP", 44),
    ("AF_MCTP", 45),
];

/// Reads a name, with or without `AF_`, in any case.
///
/// # Errors
/// When Linux has no such family.
pub fn parse(text: &str) -> Result<u32, Error> {
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("AF_").unwrap_or(&upper);
    let found = NAMES
        .iter()
        .find(|(name, _)| name.strip_prefix("AF_") == Some(bare));
    found.map(|(_, number)| *number).ok_or_else(|| {
        let why = format!("there is no socket family `{}`", text.escape_debug());
        Error::new(Kind::Request, why).with_hint("such as AF_VSOCK or AF_PACKET; see socket(2)")
    })
}

/// The usual families with some added and some taken away.
///
/// # Errors
/// For an unknown name, and for one that is both added and taken away.
pub fn chosen(add: &[String], remove: &[String]) -> Result<Vec<u32>, Error> {
    let mut all = FAMILIES.to_vec();
    for name in add {
        let family = parse(name)?;
        if !all.contains(&family) {
            all.push(family);
        }
    }
    for name in remove {
        let family = parse(name)?;
        if add.iter().any(|a| parse(a).is_ok_and(|a| a == family)) {
            let why = format!("the socket family `{name}` is both added and taken away");
            return Err(Error::new(Kind::Request, why));
        }
        all.retain(|f| *f != family);
    }
    Ok(all)
}

/// The names of families, without `AF_`.
pub fn words(families: &[u32]) -> String {
    let name = |family: &u32| {
        let found = NAMES.iter().find(|(_, number)| number == family);
        found.map_or("?", |(name, _)| name.strip_prefix("AF_").unwrap_or(name))
    };
    match families {
        [] => "none".to_owned(),
        some => some.iter().map(name).collect::<Vec<_>>().join(" "),
    }
}
