//! A new file of `net.d`, for `rkt network create`: a list that [`super::read`] reads back.

use crate::refusal::Refusal;
use rkt_spec::NetworkName;
use rkt_spec::network::{Driver, MAX_DEVICE_NAME, Prefix};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// A network to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its name.
    pub name: NetworkName,
    /// One of rkt's own.
    pub driver: Driver,
    /// Bridge, or parent of a macvlan; `None` names a bridge after the network.
    pub device: Option<String>,
    /// At most one a family.
    pub subnets: Vec<Prefix>,
    /// In one of the subnets each.
    pub gateways: Vec<IpAddr>,
    /// First and last address that may be given out, in one of the subnets each.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// Bytes; 0 leaves the kernel's.
    pub mtu: u32,
    /// Whether it leads nowhere beyond itself: no default route, no masquerade.
    pub internal: bool,
    /// Whether its pods are kept from each other.
    pub isolated: bool,
    /// Whether the host is out of reach but for the gateway.
    pub restricted: bool,
    /// Whether its pods are not told each other's names.
    pub nameless: bool,
    /// Name servers.
    pub dns: Vec<IpAddr>,
}

/// The text of the file.
///
/// # Errors
/// When a gateway or a range is in none of the subnets, or the driver is not one of rkt's own.
pub fn draft(draft: &Draft) -> Result<String, Refusal> {
    let mut plugin = Map::new();
    let mut set = |field: &str, value: Value| {
        plugin.insert(field.to_owned(), value);
    };
    match draft.driver {
        Driver::Bridge => {
            set("type", json!("bridge"));
            let device = draft.device.clone();
            set(
                "bridge",
                json!(device.unwrap_or_else(|| bridge(&draft.name))),
            );
            set("isGateway", json!(!draft.subnets.is_empty()));
            set("hairpinMode", json!(true));
            set("ipMasq", json!(!draft.internal));
            if draft.isolated {
                set("portIsolation", json!(true));
            }
        }
        Driver::Ptp => {
            set("type", json!("ptp"));
            set("ipMasq", json!(!draft.internal));
        }
        Driver::Macvlan => {
            set("type", json!("macvlan"));
            let device = draft.device.as_ref().ok_or_else(|| {
                Refusal::new("a macvlan needs the device of the host that it is on")
                    .hint("--device=DEVICE")
            })?;
            set("master", json!(device));
            set("mode", json!("bridge"));
        }
        Driver::Cni | Driver::Pasta => {
            return Err(Refusal::new("a network of plugins is written by hand"));
        }
    }
    if draft.mtu != 0 {
        set("mtu", json!(draft.mtu));
    }
    if !draft.dns.is_empty() {
        set("dns", json!({ "nameservers": draft.dns }));
    }
    if !draft.subnets.is_empty() {
        set("ipam", ipam(draft)?);
    }
    let mut list = json!({
        "cniVersion": "1.0.0",
        "name": draft.name.as_str(),
        "plugins": [plugin],
    });
    let mut own = Map::new();
    if draft.restricted {
        own.insert("restricted".to_owned(), json!(true));
    }
    if draft.isolated && draft.driver == Driver::Ptp {
        own.insert("isolated".to_owned(), json!(true));
    }
    if draft.nameless {
        own.insert("names".to_owned(), json!(false));
    }
    if let (Value::Object(list), false) = (&mut list, own.is_empty()) {
        list.insert("rkt".to_owned(), Value::Object(own));
    }
    serde_json::to_string_pretty(&list)
        .map(|text| text + "\n")
        .map_err(|e| Refusal::new(e.to_string()))
}

fn ipam(draft: &Draft) -> Result<Value, Refusal> {
    let stray = |address: &IpAddr| !draft.subnets.iter().any(|s| s.contains(*address));
    let both = draft.ranges.iter().flat_map(|(first, last)| [first, last]);
    if let Some(address) = draft.gateways.iter().chain(both).find(|a| stray(a)) {
        return Err(Refusal::new(format!(
            "the address `{address}` is in no subnet of the network"
        )));
    }
    let mut ranges = Vec::new();
    let mut routes = Vec::new();
    for subnet in &draft.subnets {
        let mut range = Map::new();
        range.insert("subnet".to_owned(), json!(subnet.to_string()));
        if let Some(gateway) = draft.gateways.iter().find(|g| subnet.contains(**g)) {
            range.insert("gateway".to_owned(), json!(gateway));
        }
        let of = |(first, _): &&(IpAddr, IpAddr)| subnet.contains(*first);
        if let Some((first, last)) = draft.ranges.iter().find(of) {
            range.insert("rangeStart".to_owned(), json!(first));
            range.insert("rangeEnd".to_owned(), json!(last));
        }
        ranges.push(json!([range]));
        if !draft.internal {
            let to = if subnet.address.is_ipv4() {
                "0.0.0.0/0"
            } else {
                "::/0"
            };
            routes.push(json!({ "dst": to }));
        }
    }
    Ok(json!({ "type": "host-local", "ranges": ranges, "routes": routes }))
}

/// A bridge named after its network, in the bytes that a device's name has.
fn bridge(name: &NetworkName) -> String {
    let plain = format!("rkt-{name}");
    if plain.len() <= MAX_DEVICE_NAME {
        return plain;
    }
    // FNV-1a: two long names that begin alike must not share a bridge.
    let hash = name.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("rkt-{hash:08x}")
}
