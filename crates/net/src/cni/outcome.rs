//! What plugins answer: results of every version, and errors.

use super::exec::Said;
use super::list::Version;
use super::record::Request;
use crate::refusal::Refusal;
use crate::resolv;
use rkt_spec::network::{Mac, Prefix, Route, Wired};
use serde_json::Value;
use std::net::IpAddr;

/// Longest text of a plugin that is shown, characters.
const SHOWN: usize = 400;
/// Most name servers, search domains or options of a result.
const MAX_DNS: usize = 32;

/// A plugin's own words, made one line.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect()
}

/// Why a plugin failed: its error object, else how it ended and what it complained of.
pub(super) fn reason(said: &Said) -> String {
    let error: Option<Value> = serde_json::from_slice(&said.out).ok();
    let text = |key: &str| {
        let value = error
            .as_ref()
            .and_then(|e| e.get(key))
            .and_then(Value::as_str);
        one_line(value.unwrap_or_default())
    };
    let (message, details) = (text("msg"), text("details"));
    match (message.is_empty(), details.is_empty()) {
        (false, true) => return message,
        (false, false) => return format!("{message} ({details})"),
        _ => {}
    }
    let complaint = one_line(&String::from_utf8_lossy(&said.err));
    match complaint.is_empty() {
        true => format!("it ended with status {} and no word", said.status),
        false => format!("it ended with status {}: {complaint}", said.status),
    }
}

/// The code of a plugin's error; 0 when it gave none.
pub(super) fn code(said: &Said) -> u64 {
    let error: Option<Value> = serde_json::from_slice(&said.out).ok();
    error.and_then(|e| e.get("code")?.as_u64()).unwrap_or(0)
}

/// What the last plugin's result says was made.
///
/// # Errors
/// When it is no result.
pub(super) fn wired(result: &[u8], version: Version, request: &Request) -> Result<Wired, String> {
    let result: Value = serde_json::from_slice(result).map_err(|e| e.to_string())?;
    let mut wired = Wired {
        name: request.network.name.clone(),
        interface: request.network.interface.clone(),
        host_device: String::new(),
        mac: None,
        addresses: Vec::new(),
        gateways: Vec::new(),
        routes: Vec::new(),
        nameservers: Vec::new(),
        domain: String::new(),
        search: Vec::new(),
        options: Vec::new(),
    };
    if version < Version(0, 3) {
        for family in ["ip4", "ip6"] {
            if let Some(ip) = result.get(family).filter(|ip| !ip.is_null()) {
                address(ip, "ip", &mut wired)?;
                routes(ip, &mut wired)?;
            }
        }
    } else {
        devices(&result, &mut wired)?;
        routes(&result, &mut wired)?;
    }
    names(&result, &mut wired)?;
    Ok(wired)
}

fn texts<'a>(value: &'a Value, key: &str) -> Result<Vec<&'a str>, String> {
    let wrong = || format!("`{key}` is no list of texts");
    match value.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(all)) => all.iter().map(|v| v.as_str().ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// Most routes of a result.
const MAX_ROUTES: usize = 256;

fn routes(from: &Value, wired: &mut Wired) -> Result<(), String> {
    let all = match from.get("routes") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(all)) if all.len() <= MAX_ROUTES => all,
        Some(Value::Array(_)) => return Err(format!("it has more than {MAX_ROUTES} routes")),
        Some(_) => return Err("`routes` is no list".to_owned()),
    };
    for route in all {
        let to = text(route, "dst");
        let wrong = |_| format!("`{}` is no destination of a route", one_line(to));
        let to: Prefix = to.parse().map_err(wrong)?;
        let via = match text(route, "gw") {
            "" => {
                let mut own = wired.gateways.iter();
                own.find(|g| g.is_ipv4() == to.address.is_ipv4()).copied()
            }
            gateway => {
                let wrong = |_| format!("`{}` is no address of a gateway", one_line(gateway));
                Some(gateway.parse().map_err(wrong)?)
            }
        };
        wired.routes.push(Route { to, via });
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn names(result: &Value, wired: &mut Wired) -> Result<(), String> {
    let Some(dns) = result.get("dns") else {
        return Ok(());
    };
    let few = |key: &str| {
        let words = texts(dns, key)?;
        match words.len() > MAX_DNS {
            true => Err(format!("`{key}` has more than {MAX_DNS} words")),
            false => Ok(words),
        }
    };
    // These go into a file of the pod: a word is a word.
    let wrong = |refusal: Refusal| refusal.to_string();
    for server in few("nameservers")? {
        let wrong = |_| format!("`{}` is no address of a name server", one_line(server));
        wired.nameservers.push(server.parse().map_err(wrong)?);
    }
    let domain = text(dns, "domain");
    if !domain.is_empty() {
        wired.domain = resolv::domain(domain).map_err(wrong)?;
    }
    for word in few("search")? {
        wired.search.push(resolv::domain(word).map_err(wrong)?);
    }
    for word in few("options")? {
        wired.options.push(resolv::option(word).map_err(wrong)?);
    }
    Ok(())
}

fn address(ip: &Value, key: &str, wired: &mut Wired) -> Result<(), String> {
    let prefix: Prefix = text(ip, key)
        .parse()
        .map_err(|e: rkt_spec::Error| e.to_string())?;
    wired.addresses.push(prefix);
    let gateway = text(ip, "gateway");
    if gateway.is_empty() {
        return Ok(());
    }
    let wrong = |_| format!("`{}` is no address of a gateway", one_line(gateway));
    let gateway: IpAddr = gateway.parse().map_err(wrong)?;
    if !wired
        .gateways
        .iter()
        .any(|g| g.is_ipv4() == gateway.is_ipv4())
    {
        wired.gateways.push(gateway);
    }
    Ok(())
}

/// Since 0.3.0: `interfaces`, those of the host without a `sandbox`, and `ips` that may name one.
fn devices(result: &Value, wired: &mut Wired) -> Result<(), String> {
    let none = Vec::new();
    let list = |key: &str| match result.get(key) {
        None | Some(Value::Null) => Ok(&none),
        Some(Value::Array(all)) => Ok(all),
        Some(_) => Err(format!("`{key}` is no list")),
    };
    let all = list("interfaces")?;
    let in_pod = |v: &Value| !text(v, "sandbox").is_empty();
    let own = all
        .iter()
        .position(|v| in_pod(v) && text(v, "name") == wired.interface);
    if let Some(device) = own.and_then(|at| all.get(at)) {
        wired.mac = text(device, "mac").parse::<Mac>().ok();
    }
    // Before the pod's end comes the host's: a bridge is named earlier still.
    let mut before = all.iter().take(own.unwrap_or(0)).filter(|v| !in_pod(v));
    if let Some(device) = before.next_back() {
        let name = text(device, "name");
        let plain = name.len() <= rkt_spec::network::MAX_DEVICE_NAME
            && name.chars().all(|c| c.is_ascii_graphic() && c != '/');
        if plain {
            name.clone_into(&mut wired.host_device);
        }
    }
    for ip in list("ips")? {
        let of = ip.get("interface").and_then(Value::as_u64);
        let other = of.is_some_and(|n| usize::try_from(n).ok() != own);
        if !other || own.is_none() {
            address(ip, "address", wired)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::run::tests::request;

    fn read(text: &str, version: Version) -> Result<Wired, String> {
        let mut request = request("{}");
        request.network.interface = "eth0".into();
        wired(text.as_bytes(), version, &request)
    }

    #[test]
    fn results_of_every_version_are_read() {
        let old = read(
            r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.2/16","gateway":"10.1.0.1",
                "routes":[{"dst":"0.0.0.0/0"}]},
                "ip6":{"ip":"fd00::2/64","routes":[{"dst":"fd01::/64","gw":"fd00::9"}]},"dns":{"nameservers":["9.9.9.9"],"search":["a.b"]}}"#,
            Version(0, 2),
        )
        .unwrap();
        assert_eq!(old.addresses[0].to_string(), "10.1.0.2/16");
        assert_eq!(old.addresses.len(), 2);
        assert_eq!(old.gateways.len(), 1);
        let route = |wired: &Wired, at: usize| {
            let route = &wired.routes[at];
            (route.to.to_string(), route.via.unwrap().to_string())
        };
        assert_eq!(route(&old, 0), ("0.0.0.0/0".into(), "10.1.0.1".into()));
        assert_eq!(route(&old, 1), ("fd01::/64".into(), "fd00::9".into()));
        assert_eq!(old.search, ["a.b"]);
        let new = read(
            r#"{"cniVersion":"1.0.0","interfaces":[{"name":"cni0","mac":"00:11:22:33:44:55"},
                {"name":"veth12","mac":"55:44:33:22:11:10"},
                {"name":"eth0","mac":"56:44:33:22:11:12","sandbox":"/proc/1/ns/net"}],
                "ips":[{"interface":2,"address":"10.1.0.5/16","gateway":"10.1.0.1"},
                {"interface":0,"address":"10.1.0.1/16"}],"routes":[{"dst":"0.0.0.0/0"}],"dns":{}}"#,
            Version(1, 0),
        )
        .unwrap();
        assert_eq!(new.host_device, "veth12");
        assert_eq!(new.mac.unwrap().to_string(), "56:44:33:22:11:12");
        assert_eq!(new.addresses.len(), 1);
        assert_eq!(route(&new, 0), ("0.0.0.0/0".into(), "10.1.0.1".into()));
        let bare = read(r#"{"ips":[{"address":"10.1.0.5/16"}]}"#, Version(0, 4)).unwrap();
        assert_eq!(bare.addresses.len(), 1);
        assert!(bare.host_device.is_empty());
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for text in [
            "",
            "nonsense",
            r#"{"ips":{}}"#,
            r#"{"ips":[{"address":"10.1.0.5"}]}"#,
            r#"{"ips":[{"address":"10.1.0.5/99"}]}"#,
            r#"{"ips":[{"address":"10.1.0.5/8","gateway":"x"}]}"#,
            r#"{"dns":{"nameservers":["a\nb"]}}"#,
            r#"{"dns":{"search":["a\nnameserver 6.6.6.6"]}}"#,
            r#"{"dns":{"domain":"a b"}}"#,
        ] {
            assert!(read(text, Version(1, 0)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_plugin_tells_why_it_failed() {
        let said = |status, out: &str, err: &str| Said {
            status,
            out: out.into(),
            err: err.into(),
        };
        let object = r#"{"cniVersion":"1.0.0","code":7,"msg":"no\n\u001b[31mlink","details":"x"}"#;
        assert_eq!(reason(&said(1, object, "")), "no [31mlink (x)");
        assert_eq!(code(&said(1, object, "")), 7);
        assert_eq!(
            reason(&said(2, "", "oops\n")),
            "it ended with status 2: oops"
        );
        assert_eq!(
            reason(&said(139, "{}", "")),
            "it ended with status 139 and no word"
        );
    }
}
