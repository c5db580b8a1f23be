//! Networks of a pod, resolved: what stage0 decides, stage1 wires, and status tells.
//!
//! Addresses, prefixes and ports as data. What configuration files say (`net.d`, CNI) is read by
//! stage0 and is not here; a network of foreign plugins carries its configuration as bytes that
//! stage1 hands on without reading them.

use crate::codec::{Bytes, Reader, Record};
use crate::error::Error;
use crate::name::{AppName, NetworkName};
use std::fmt;
use std::net::IpAddr;

/// Longest name of a network device, bytes (`IFNAMSIZ` less its NUL).
pub const MAX_DEVICE_NAME: usize = 15;

crate::record! {
    /// One network of a pod: a device in the pod's namespace and what leads to it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NetworkPlan {
        /// Its name in the configuration.
        pub name: NetworkName,
        /// Device in the pod: `eth0`, `eth1`, ... in the order asked for.
        pub interface: String,
        /// Who makes the device.
        pub driver: Driver,
        /// Device on the host: the bridge, or the parent of a macvlan; empty for other drivers.
        pub device: String,
        /// How a macvlan's devices see each other.
        pub macvlan: MacvlanMode,
        /// Maximum transmission unit, bytes; 0 leaves the kernel's.
        pub mtu: u32,
        /// Whether the bridge carries the gateways' addresses.
        pub gateway: bool,
        /// Whether what leaves the host carries the host's address.
        pub masquerade: bool,
        /// Whether pods on this network are kept from each other.
        pub isolated: bool,
        /// Whether a packet may leave by the bridge port it came in by.
        pub hairpin: bool,
        /// Whether the host itself (its loopback services, its own addresses but the gateway) is
        /// out of reach.
        pub restricted: bool,
        /// Whether pods on it find each other by name.
        pub names: bool,
        /// Pools: one address is taken from each.
        pub pools: Vec<Pool>,
        /// Routes in the pod.
        pub routes: Vec<Route>,
        /// Hardware address that was asked for.
        pub mac: Option<Mac>,
        /// For [`Driver::Cni`]: the configuration list (JSON), handed on unread.
        pub config: Bytes,
        /// For [`Driver::Cni`]: `CNI_ARGS`.
        pub args: String,
    }
}

crate::record_enum! {
    /// Who makes a network's device.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Driver {
        /// rkt: a veth pair, its host end on a bridge.
        Bridge = 0,
        /// rkt: a veth pair, its host end routed.
        Ptp = 1,
        /// rkt: a macvlan of a device of the host.
        Macvlan = 2,
        /// Plugins to the Container Network Interface.
        Cni = 3,
        /// `pasta`: a tap device and a process that translates to sockets of the host.
        Pasta = 4,
    }
}

crate::record_enum! {
    /// How the devices of one parent see each other (`IFLA_MACVLAN_MODE`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum MacvlanMode {
        /// They do.
        #[default]
        Bridge = 0,
        /// They do not.
        Private = 1,
        /// By the switch outside.
        Vepa = 2,
        /// The one device takes all.
        Passthru = 3,
    }
}

crate::record! {
    /// A pool of addresses.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Pool {
        /// The subnet they are in.
        pub subnet: Prefix,
        /// First that may be given out.
        pub first: IpAddr,
        /// Last that may be given out.
        pub last: IpAddr,
        /// The gateway, which is never given out.
        pub gateway: Option<IpAddr>,
        /// The one address that was asked for.
        pub wanted: Option<IpAddr>,
    }
}

crate::record! {
    /// A route in the pod.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Route {
        /// Where to.
        pub to: Prefix,
        /// By which gateway; `None` takes that of the pool of the same family.
        pub via: Option<IpAddr>,
    }
}

crate::record! {
    /// A port of the host that leads into the pod.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PortPlan {
        /// Name of the image's port, or the words of the option.
        pub name: String,
        /// The app whose port it is, when that is known.
        pub app: Option<AppName>,
        /// Its protocol.
        pub protocol: Protocol,
        /// Address of the host to listen on; unspecified is all of that family.
        pub host: IpAddr,
        /// Port of the host, 1..=65535.
        pub host_port: u16,
        /// Port in the pod, 1..=65535.
        pub pod_port: u16,
        /// How it leads there.
        pub way: PortWay,
        /// Descriptor (inherited) of the bound socket that holds the port; -1 until it is open.
        pub socket: i32,
    }
}

impl PortPlan {
    /// What `LISTEN_FDNAMES` calls the socket (`sd_listen_fds(3)`: no colon, no control character,
    /// at most 255 bytes): the port's name, or protocol and port in the pod, such as `tcp-80`.
    pub fn listen_name(&self) -> String {
        let plain = |c: char| c.is_ascii_graphic() && c != ':' && c != '=';
        let name = self.name.as_str();
        if !name.is_empty() && name.len() <= 255 && name.chars().all(plain) {
            return name.to_owned();
        }
        format!("{}-{}", self.protocol.as_str(), self.pod_port)
    }
}

crate::record_enum! {
    /// A transport protocol.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Protocol {
        /// TCP, IP protocol 6.
        Tcp = 6,
        /// UDP, IP protocol 17.
        Udp = 17,
        /// SCTP, IP protocol 132.
        Sctp = 132,
    }
}

impl Protocol {
    /// The word of images and options.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl std::str::FromStr for Protocol {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::new("protocol", text, "is none of tcp, udp, sctp")),
        }
    }
}

crate::record_enum! {
    /// How a port of the host leads into the pod.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum PortWay {
        /// The kernel rewrites the destination (nftables); the pod sees the true source.
        Nat = 0,
        /// The app gets the listening socket (`LISTEN_FDS`, `sd_listen_fds(3)`).
        Socket = 1,
    }
}

crate::record! {
    /// What became of a [`NetworkPlan`].
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Wired {
        /// Name of the network.
        pub name: NetworkName,
        /// Device in the pod.
        pub interface: String,
        /// Device on the host that is this pod's alone; empty when there is none.
        pub host_device: String,
        /// Its hardware address.
        pub mac: Option<Mac>,
        /// Its addresses, with the length of their subnets.
        pub addresses: Vec<Prefix>,
        /// Gateways, at most one a family.
        pub gateways: Vec<IpAddr>,
        /// Routes of the pod by it, beside those to its own subnets.
        pub routes: Vec<Route>,
        /// Name servers that the network itself brought (plugins).
        pub nameservers: Vec<IpAddr>,
        /// Domain that the network brought; empty when none.
        pub domain: String,
        /// Search list that the network brought.
        pub search: Vec<String>,
        /// Resolver options that the network brought.
        pub options: Vec<String>,
    }
}

crate::record! {
    /// An address and how many of its bits name a network.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Prefix {
        /// An address in the network; the host's bits may be set.
        pub address: IpAddr,
        /// 0..=32, or 0..=128.
        pub length: u8,
    }
}

impl Prefix {
    /// # Errors
    /// When `length` is more bits than the address has.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, Error> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if length > bits {
            return Err(Error::new(
                "prefix",
                format!("{address}/{length}"),
                format!("has more than {bits} bits"),
            ));
        }
        Ok(Self { address, length })
    }

    /// Whether `other` is of the same family and in the same network.
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let mask = u32::MAX
                    .checked_shl(32u32.saturating_sub(self.length.into()))
                    .unwrap_or(0);
                u32::from(a) & mask == u32::from(b) & mask
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let mask = u128::MAX
                    .checked_shl(128u32.saturating_sub(self.length.into()))
                    .unwrap_or(0);
                u128::from(a) & mask == u128::from(b) & mask
            }
            _ => false,
        }
    }

    /// The last address of the network: the host's bits set.
    pub fn last(&self) -> IpAddr {
        match self.network() {
            IpAddr::V4(a) => {
                let host = u32::MAX.checked_shr(self.length.into()).unwrap_or(0);
                IpAddr::V4((u32::from(a) | host).into())
            }
            IpAddr::V6(a) => {
                let host = u128::MAX.checked_shr(self.length.into()).unwrap_or(0);
                IpAddr::V6((u128::from(a) | host).into())
            }
        }
    }

    /// The network itself: the host's bits cleared.
    pub fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX
                    .checked_shl(32u32.saturating_sub(self.length.into()))
                    .unwrap_or(0);
                IpAddr::V4((u32::from(a) & mask).into())
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX
                    .checked_shl(128u32.saturating_sub(self.length.into()))
                    .unwrap_or(0);
                IpAddr::V6((u128::from(a) & mask).into())
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl std::str::FromStr for Prefix {
    type Err = Error;
    /// `ADDRESS/LENGTH`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = text
            .split_once('/')
            .and_then(|(address, length)| Some((address.parse().ok()?, length.parse().ok()?)));
        match parsed {
            Some((address, length)) => Self::new(address, length),
            None => Err(Error::new("prefix", text, "is not ADDRESS/LENGTH")),
        }
    }
}

/// A hardware address of six bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Mac {
    type Err = Error;
    /// Six bytes in hexadecimal with colons. The address of a group is refused.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::new("hardware address", text, why);
        let mut bytes = [0u8; 6];
        let mut words = text.split(':');
        for byte in &mut bytes {
            *byte = words
                .next()
                .filter(|w| w.len() == 2)
                .and_then(|w| u8::from_str_radix(w, 16).ok())
                .ok_or_else(|| wrong("is not six bytes such as 02:00:5e:10:00:01"))?;
        }
        if words.next().is_some() {
            return Err(wrong("is not six bytes such as 02:00:5e:10:00:01"));
        }
        if bytes.first().is_some_and(|b| b & 1 != 0) {
            return Err(wrong("is the address of a group"));
        }
        Ok(Self(bytes))
    }
}

impl Record for Mac {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
        let raw = from.bytes(6, "hardware address")?;
        let bytes = raw
            .try_into()
            .map_err(|_| Error::new("record", "hardware address", "is not six bytes"))?;
        Ok(Self(bytes))
    }
}

impl Record for IpAddr {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(a) => {
                out.push(4);
                out.extend_from_slice(&a.octets());
            }
            Self::V6(a) => {
                out.push(6);
                out.extend_from_slice(&a.octets());
            }
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
        let short = |_| Error::new("record", "address", "the bytes end too early");
        match u8::take(from)? {
            4 => {
                let raw: [u8; 4] = from.bytes(4, "address")?.try_into().map_err(short)?;
                Ok(Self::from(raw))
            }
            6 => {
                let raw: [u8; 16] = from.bytes(16, "address")?.try_into().map_err(short)?;
                Ok(Self::from(raw))
            }
            _ => Err(Error::new("record", "address", "is of no known family")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_know_their_networks() {
        let p: Prefix = "172.16.28.5/24".parse().unwrap();
        assert_eq!(p.network().to_string(), "172.16.28.0");
        assert!(p.contains("172.16.28.255".parse().unwrap()));
        assert_eq!(p.last().to_string(), "172.16.28.255");
        assert!(!p.contains("172.16.29.0".parse().unwrap()));
        assert!(!p.contains("::1".parse().unwrap()));
        let all: Prefix = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.1.2.3".parse().unwrap()));
        let six: Prefix = "fd00::1/64".parse().unwrap();
        assert!(six.contains("fd00::ffff".parse().unwrap()));
        assert!(!six.contains("fd00:0:0:1::".parse().unwrap()));
        assert_eq!(six.network().to_string(), "fd00::");
        assert_eq!(six.last().to_string(), "fd00::ffff:ffff:ffff:ffff");
        assert_eq!(all.last().to_string(), "255.255.255.255");
        let one: Prefix = "10.0.0.1/32".parse().unwrap();
        assert_eq!(one.last(), one.address);
        for bad in ["1.2.3.4/33", "::/129", "1.2.3.4", "x/8", "1.2.3.4/-1"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_round_trip() {
        for text in ["127.0.0.1", "fd00::2"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from_bytes(&address.to_bytes()).unwrap(), address);
        }
        assert!(IpAddr::from_bytes(&[5, 0, 0, 0, 0]).is_err());
        assert!(IpAddr::from_bytes(&[4, 0]).is_err());
        let mac: Mac = "02:00:5e:10:00:01".parse().unwrap();
        assert_eq!(Mac::from_bytes(&mac.to_bytes()).unwrap(), mac);
        assert_eq!(mac.to_string(), "02:00:5e:10:00:01");
        for bad in [
            "",
            "02:00:5e:10:00",
            "01:00:5e:10:00:01",
            "02:00:5e:10:00:01:02",
            "2:0:5:1:0:1",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }
}
