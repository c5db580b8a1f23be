//! Which fields the plugins of containernetworking know (their version 1.7).
//!
//! A plugin that is none of these is somebody else's, and so are its fields.

use super::Plugin;
use super::json::Object;
use crate::refusal::Refusal;

/// Fields of a list.
pub(super) const LIST: &[&str] = &[
    "cniVersion",
    "cniVersions",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
    "name",
    "plugins",
    "rkt",
];

/// Fields of every plugin.
const ALL: &[&str] = &[
    "args",
    "capabilities",
    "cniVersion",
    "cniVersions",
    "dns",
    "ipam",
    "name",
    "rkt",
    "type",
];

/// What only a runtime may say.
const RUNTIMES: &[&str] = &["prevResult", "runtimeConfig"];

/// Fields of the plugins, beside those of every one.
const OF: &[(&str, &[&str])] = &[
    (
        "bridge",
        &[
            "bridge",
            "disableContainerInterface",
            "enabledad",
            "forceAddress",
            "hairpinMode",
            "ipMasq",
            "ipMasqBackend",
            "isDefaultGateway",
            "isGateway",
            "macspoofchk",
            "mtu",
            "portIsolation",
            "preserveDefaultVlan",
            "promiscMode",
            "vlan",
            "vlanTrunk",
        ],
    ),
    ("ptp", &["ipMasq", "ipMasqBackend", "mtu"]),
    (
        "macvlan",
        &[
            "bcqueuelen",
            "linkInContainer",
            "mac",
            "master",
            "mode",
            "mtu",
        ],
    ),
    ("ipvlan", &["linkInContainer", "master", "mode", "mtu"]),
    ("vlan", &["linkInContainer", "master", "mtu", "vlanId"]),
    (
        "host-device",
        &[
            "device",
            "deviceID",
            "hwaddr",
            "kernelpath",
            "pciBusID",
            "runtimeConfig",
        ],
    ),
    ("loopback", &[]),
    ("dummy", &[]),
    (
        "tap",
        &[
            "bridge",
            "group",
            "mac",
            "mtu",
            "multiQueue",
            "owner",
            "selinuxContext",
        ],
    ),
    (
        "portmap",
        &[
            "backend",
            "conditionsV4",
            "conditionsV6",
            "externalSetMarkChain",
            "markMasqBit",
            "masqAll",
            "snat",
        ],
    ),
    (
        "firewall",
        &[
            "backend",
            "firewalldZone",
            "ingressPolicy",
            "iptablesAdminChainName",
        ],
    ),
    (
        "bandwidth",
        &[
            "egressBurst",
            "egressRate",
            "ingressBurst",
            "ingressRate",
            "shapedSubnets",
            "unshapedSubnets",
        ],
    ),
    (
        "tuning",
        &[
            "allmulti", "dataDir", "mac", "mtu", "promisc", "sysctl", "txQLen",
        ],
    ),
    ("sbr", &["addSourceHints", "table"]),
    ("vrf", &["table", "vrfname"]),
];

/// Fields of the plugins for addresses.
const IPAM: &[(&str, &[&str])] = &[
    (
        "host-local",
        &[
            "dataDir",
            "gateway",
            "rangeEnd",
            "rangeStart",
            "ranges",
            "resolvConf",
            "routes",
            "subnet",
        ],
    ),
    (
        "dhcp",
        &[
            "daemonSocketPath",
            "priority",
            "provide",
            "request",
            "skipDefault",
        ],
    ),
    ("static", &["addresses", "dns", "routes"]),
];

/// Refuses a field that neither rkt nor the plugin obeys.
pub(super) fn check(plugin: &Plugin<'_>) -> Result<(), Refusal> {
    let own = OF.iter().find(|(kind, _)| *kind == plugin.kind);
    for (field, _) in plugin.object.fields() {
        if RUNTIMES.contains(&field) {
            return Err(Refusal::new(format!(
                "the field `{field}` is for rkt to fill in"
            )));
        }
        let known = own.is_none_or(|(_, own)| own.contains(&field)) || ALL.contains(&field);
        if !known {
            return Err(unknown(field, &format!("of the plugin `{}`", plugin.kind)));
        }
    }
    if own.is_some()
        && let Some(ipam) = plugin.object.object("ipam")?
    {
        check_ipam(&ipam)?;
    }
    Ok(())
}

fn check_ipam(ipam: &Object<'_>) -> Result<(), Refusal> {
    let kind = ipam.text("type")?.unwrap_or_default();
    let Some((_, own)) = IPAM.iter().find(|(known, _)| *known == kind) else {
        return Ok(());
    };
    for (field, _) in ipam.fields() {
        if field != "type" && !own.contains(&field) {
            return Err(unknown(field, &format!("of `ipam` `{kind}`")));
        }
    }
    Ok(())
}

/// The refusal of a field.
pub(super) fn unknown(field: &str, of: &str) -> Refusal {
    Refusal::new(format!(
        "the field `{}` {of} is known neither to rkt nor to plugins",
        field.escape_debug()
    ))
}
