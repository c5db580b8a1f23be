//! From plugins' words to a network of rkt's own drivers, with every reason why that is not exact.

use super::json::Object;
use super::{Own, Plugin, resolver};
use crate::builtin;
use crate::refusal::Refusal;
use crate::resolv::Resolver;
use rkt_spec::NetworkName;
use rkt_spec::codec::Bytes;
use rkt_spec::network::{Driver, MAX_DEVICE_NAME, MacvlanMode, NetworkPlan, Pool, Prefix, Route};
use serde_json::Value;
use std::net::IpAddr;

/// Bridge of a file in the original's form that names none.
const OLD_BRIDGE: &str = "rkt0";
/// Bridge of a file of CNI that names none (the plugin's own default).
const BRIDGE: &str = "cni0";

/// A network, and why rkt's own drivers would not do exactly what its file says.
pub(super) struct Built {
    pub(super) plan: NetworkPlan,
    pub(super) dns: Resolver,
    /// Empty when they would.
    pub(super) why: Vec<String>,
}

/// A network with nothing said.
pub(super) fn plain(name: NetworkName, driver: Driver) -> NetworkPlan {
    NetworkPlan {
        name,
        interface: String::new(),
        driver,
        device: String::new(),
        macvlan: MacvlanMode::Bridge,
        mtu: 0,
        gateway: false,
        masquerade: false,
        isolated: false,
        hairpin: false,
        restricted: false,
        names: false,
        pools: Vec::new(),
        routes: Vec::new(),
        mac: None,
        config: Bytes(Vec::new()),
        args: String::new(),
    }
}

/// Translates; what is wrong for every driver and plugin is an error, not a reason.
pub(super) fn build(
    name: &NetworkName,
    plugins: &[Plugin<'_>],
    version: &str,
    own: Own,
) -> Result<Built, Refusal> {
    let mut built = Built {
        plan: plain(name.clone(), Driver::Cni),
        dns: Resolver::default(),
        why: Vec::new(),
    };
    let Some((main, chain)) = plugins.split_first() else {
        return Err(Refusal::new("it has no plugin"));
    };
    built.dns = resolver(&main.object)?;
    match main.kind {
        "bridge" => bridge(&mut built, &main.object, version)?,
        "ptp" => ptp(&mut built, &main.object)?,
        "macvlan" => macvlan(&mut built, &main.object)?,
        other => {
            built.why.push(format!("the plugin `{other}`"));
            return Ok(built);
        }
    }
    built.shared(&main.object)?;
    built.addresses(&main.object)?;
    for plugin in chain {
        match plugin.kind {
            "portmap" => built.portmap(&plugin.object)?,
            "firewall" => built.firewall(&plugin.object)?,
            other => built.why.push(format!("the plugin `{other}`")),
        }
    }
    built.plan.restricted = own.restricted;
    built.plan.isolated |= own.isolated;
    if built.plan.driver == Driver::Macvlan && own.walls() {
        return Err(Refusal::new(
            "`rkt` says of a macvlan what happens outside of this host's reach",
        ));
    }
    Ok(built)
}

fn bridge(built: &mut Built, object: &Object<'_>, version: &str) -> Result<(), Refusal> {
    built.plan.driver = Driver::Bridge;
    let default = if version.is_empty() {
        OLD_BRIDGE
    } else {
        BRIDGE
    };
    let said = object.text("bridge")?.filter(|b| !b.is_empty());
    built.plan.device = device("bridge", said.unwrap_or(default))?;
    let default_gateway = object.flag("isDefaultGateway")?;
    built.plan.gateway = object.flag("isGateway")? || default_gateway;
    built.plan.hairpin = object.flag("hairpinMode")?;
    built.plan.isolated = object.flag("portIsolation")?;
    for field in [
        "promiscMode",
        "forceAddress",
        "enabledad",
        "disableContainerInterface",
    ] {
        if object.flag(field)? {
            built.why.push(format!("`{field}`"));
        }
    }
    // Who may send what is checked on every link of rkt's own: it can be said, or not.
    object.flag("macspoofchk")?;
    if object.number("vlan")? != 0 || !object.list("vlanTrunk")?.is_empty() {
        built.why.push("VLANs of a bridge".to_owned());
    }
    if default_gateway && object.get("ipam").is_none() {
        return Err(Refusal::new("`isDefaultGateway` needs `ipam`"));
    }
    Ok(())
}

fn ptp(built: &mut Built, object: &Object<'_>) -> Result<(), Refusal> {
    built.plan.driver = Driver::Ptp;
    built.plan.gateway = true;
    match object.get("ipam") {
        Some(_) => Ok(()),
        None => Err(Refusal::new("a network of type `ptp` needs `ipam`")),
    }
}

fn macvlan(built: &mut Built, object: &Object<'_>) -> Result<(), Refusal> {
    built.plan.driver = Driver::Macvlan;
    match object.text("master")?.filter(|m| !m.is_empty()) {
        Some(master) => built.plan.device = device("master", master)?,
        None => built.why.push("a macvlan without `master`".to_owned()),
    }
    built.plan.macvlan = match object.text("mode")?.unwrap_or_default() {
        "" | "bridge" => MacvlanMode::Bridge,
        "private" => MacvlanMode::Private,
        "vepa" => MacvlanMode::Vepa,
        "passthru" => MacvlanMode::Passthru,
        other => {
            return Err(Refusal::new(format!(
                "a macvlan has no `mode` \"{}\"",
                other.escape_debug()
            ))
            .hint("it is one of bridge, private, vepa, passthru"));
        }
    };
    if let Some(mac) = object.text("mac")?.filter(|m| !m.is_empty()) {
        built.plan.mac = Some(mac.parse()?);
    }
    if object.flag("linkInContainer")? {
        built.why.push("`linkInContainer`".to_owned());
    }
    if object.get("bcqueuelen").is_some() {
        built.why.push("`bcqueuelen`".to_owned());
    }
    Ok(())
}

/// A device's name as the kernel takes it.
fn device(field: &str, name: &str) -> Result<String, Refusal> {
    let ok = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%');
    let good = (1..=MAX_DEVICE_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(ok);
    match good {
        true => Ok(name.to_owned()),
        false => Err(Refusal::new(format!(
            "`{field}` \"{}\" is no name of a device: 1 to {MAX_DEVICE_NAME} letters, digits and the like",
            name.escape_debug()
        ))),
    }
}

impl Built {
    /// What the three drivers have in common.
    fn shared(&mut self, object: &Object<'_>) -> Result<(), Refusal> {
        self.plan.mtu = object.number("mtu")?;
        if self.plan.mtu != 0 && !(68..=65_535).contains(&self.plan.mtu) {
            return Err(Refusal::new(format!(
                "`mtu` {} is not 68 to 65535",
                self.plan.mtu
            )));
        }
        self.plan.masquerade = object.flag("ipMasq")?;
        self.backend(object, "ipMasqBackend")?;
        self.capabilities(object, &["portMappings", "ips", "mac"])?;
        if object.get("args").is_some() {
            self.why.push("`args`".to_owned());
        }
        Ok(())
    }

    /// rkt's own rules are nftables'; who asks for others has plugins.
    fn backend(&mut self, object: &Object<'_>, field: &str) -> Result<(), Refusal> {
        match object.text(field)?.unwrap_or_default() {
            "" | "nftables" => {}
            other => self.why.push(format!("`{field}` \"{other}\"")),
        }
        Ok(())
    }

    fn capabilities(&mut self, object: &Object<'_>, held: &[&str]) -> Result<(), Refusal> {
        let Some(capabilities) = object.object("capabilities")? else {
            return Ok(());
        };
        for (name, _) in capabilities.fields() {
            if capabilities.flag(name)? && !held.contains(&name) {
                self.why.push(format!("the capability `{name}`"));
            }
        }
        Ok(())
    }

    fn portmap(&mut self, object: &Object<'_>) -> Result<(), Refusal> {
        self.backend(object, "backend")?;
        self.capabilities(object, &["portMappings"])?;
        for field in [
            "conditionsV4",
            "conditionsV6",
            "externalSetMarkChain",
            "markMasqBit",
        ] {
            if object.get(field).is_some() {
                self.why.push(format!("`{field}` of portmap"));
            }
        }
        if object.flag("masqAll")? {
            self.why.push("`masqAll` of portmap".to_owned());
        }
        if object.get("snat").is_some() && !object.flag("snat")? {
            self.why.push("`snat` false of portmap".to_owned());
        }
        Ok(())
    }

    fn firewall(&mut self, object: &Object<'_>) -> Result<(), Refusal> {
        self.backend(object, "backend")?;
        self.capabilities(object, &[])?;
        for field in ["firewalldZone", "iptablesAdminChainName"] {
            if object.get(field).is_some() {
                self.why.push(format!("`{field}` of firewall"));
            }
        }
        match object.text("ingressPolicy")?.unwrap_or_default() {
            // What rkt does anyway: networks are kept from each other.
            "" | "same-bridge" => {}
            "isolated" => self.plan.isolated = true,
            other => self
                .why
                .push(format!("`ingressPolicy` \"{other}\" of firewall")),
        }
        Ok(())
    }

    /// `ipam`.
    fn addresses(&mut self, object: &Object<'_>) -> Result<(), Refusal> {
        let Some(ipam) = object.object("ipam")? else {
            return Ok(());
        };
        let kind = ipam.text("type")?.unwrap_or_default();
        if kind != "host-local" {
            // A network of a switch without addresses: CNI writes `"ipam": {}` for it.
            if !(kind.is_empty() && self.plan.driver != Driver::Ptp) {
                self.why.push(format!("the addresses of `{kind}`"));
            }
            return Ok(());
        }
        for field in ["dataDir", "resolvConf"] {
            if ipam.text(field)?.is_some_and(|text| !text.is_empty()) {
                self.why.push(format!("`{field}` of host-local"));
            }
        }
        if ipam.get("subnet").is_some() {
            let pool = pool(&ipam)?;
            self.add(pool);
        }
        for set in ipam.list("ranges")? {
            match set {
                Value::Array(set) => match set.as_slice() {
                    [one] => {
                        let pool = pool(&Object::of(one, "a range of host-local")?)?;
                        self.add(pool);
                    }
                    [] => return Err(Refusal::new("a set of `ranges` is empty")),
                    _ => self.why.push("a set of several `ranges`".to_owned()),
                },
                _ => return Err(Refusal::new("`ranges` has to be a list of lists")),
            }
        }
        if self.plan.pools.is_empty() && self.why.is_empty() {
            return Err(Refusal::new(
                "`ipam` host-local has no `subnet` and no `ranges`",
            ));
        }
        self.routes(&ipam)?;
        if object.flag("isDefaultGateway")? {
            self.default_routes()?;
        }
        Ok(())
    }

    fn add(&mut self, pool: Pool) {
        let gateway = pool.gateway.is_none_or(|g| pool.subnet.contains(g));
        if !gateway {
            self.why.push("a gateway outside of its subnet".to_owned());
        }
        let same = |p: &Pool| p.subnet.address.is_ipv4() == pool.subnet.address.is_ipv4();
        if self.plan.pools.iter().any(same) {
            self.why.push("several subnets of one family".to_owned());
        }
        self.plan.pools.push(pool);
    }

    fn routes(&mut self, ipam: &Object<'_>) -> Result<(), Refusal> {
        for route in ipam.list("routes")? {
            let route = Object::of(route, "each of `routes`")?;
            for (field, _) in route.fields() {
                match field {
                    "dst" | "gw" => {}
                    "mtu" | "advmss" | "priority" | "table" | "scope" => {
                        self.why.push(format!("`{field}` of a route"));
                    }
                    _ => return Err(super::fields::unknown(field, "of a route")),
                }
            }
            let to = route.text("dst")?.unwrap_or_default().parse::<Prefix>()?;
            let via = route.text("gw")?.map(address).transpose()?;
            let same = |a: IpAddr, b: IpAddr| a.is_ipv4() == b.is_ipv4();
            if via.is_some_and(|via| !same(via, to.address)) {
                return Err(Refusal::new(format!(
                    "the route to `{to}` has a gateway of another family"
                )));
            }
            if let Some(via) = via
                && !self.plan.pools.iter().any(|p| p.subnet.contains(via))
            {
                self.why
                    .push("a route's gateway outside of the subnet".to_owned());
            }
            if via.is_none()
                && !self
                    .plan
                    .pools
                    .iter()
                    .any(|p| same(p.subnet.address, to.address))
            {
                self.why
                    .push(format!("a route to `{to}` without a gateway of its family"));
            }
            self.plan.routes.push(Route { to, via });
        }
        Ok(())
    }

    /// `isDefaultGateway`: the bridge is the way out, for each family once.
    fn default_routes(&mut self) -> Result<(), Refusal> {
        for pool in &self.plan.pools {
            let to = match pool.subnet.address {
                IpAddr::V4(_) => "0.0.0.0/0".parse::<Prefix>()?,
                IpAddr::V6(_) => "::/0".parse::<Prefix>()?,
            };
            if !self.plan.routes.iter().any(|r| r.to == to) {
                self.plan.routes.push(Route { to, via: None });
            }
        }
        Ok(())
    }
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    text.parse()
        .map_err(|_| Refusal::new(format!("`{}` is no address", text.escape_debug())))
}

/// A subnet of host-local with its bounds.
fn pool(range: &Object<'_>) -> Result<Pool, Refusal> {
    let subnet = range
        .text("subnet")?
        .ok_or_else(|| Refusal::new("a range of host-local has no `subnet`"))?
        .parse::<Prefix>()?;
    let mut pool = builtin::pool(subnet.address, subnet.length)?;
    let within = |field: &str| -> Result<Option<IpAddr>, Refusal> {
        let Some(found) = range.text(field)?.filter(|t| !t.is_empty()) else {
            return Ok(None);
        };
        let found = address(found)?;
        match subnet.contains(found) {
            true => Ok(Some(found)),
            false => Err(Refusal::new(format!(
                "`{field}` {found} is not in the subnet `{subnet}`"
            ))),
        }
    };
    if let Some(first) = within("rangeStart")? {
        pool.first = first;
    }
    if let Some(last) = within("rangeEnd")? {
        pool.last = last;
    }
    if pool.last < pool.first {
        return Err(Refusal::new(format!(
            "the range {} to {} runs backwards",
            pool.first, pool.last
        )));
    }
    if let Some(gateway) = range.text("gateway")?.filter(|g| !g.is_empty()) {
        pool.gateway = Some(address(gateway)?);
    }
    if pool.first == pool.last && pool.gateway == Some(pool.first) {
        return Err(Refusal::new(
            "the gateway has the only address of the range",
        ));
    }
    Ok(pool)
}
