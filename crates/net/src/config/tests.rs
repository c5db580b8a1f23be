use super::*;
use rkt_spec::network::MacvlanMode;
use serde_json::json;

fn conf(value: &Value) -> Result<Network, Refusal> {
    read(Path::new("/n/10-x.conf"), value.to_string().as_bytes())
}

fn list(value: &Value) -> Result<Network, Refusal> {
    read(Path::new("/n/10-x.conflist"), value.to_string().as_bytes())
}

fn of(plugins: Value) -> Result<Network, Refusal> {
    list(&json!({ "cniVersion": "1.0.0", "name": "x", "plugins": plugins }))
}

fn why(result: Result<Network, Refusal>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_originals_file_is_obeyed() {
    // From the original's Documentation/networking/overview.md.
    let network = conf(&json!({
        "name": "containers", "type": "bridge",
        "ipam": { "type": "host-local", "subnet": "10.1.0.0/16" },
    }))
    .unwrap();
    let plan = &network.plan;
    assert_eq!(network.why, [""; 0]);
    assert_eq!(plan.driver, Driver::Bridge);
    assert_eq!(plan.device, "rkt0");
    assert!(!plan.gateway && !plan.masquerade && plan.routes.is_empty());
    let pool = plan.pools.first().unwrap();
    assert_eq!(pool.subnet.to_string(), "10.1.0.0/16");
    assert_eq!(pool.gateway.unwrap().to_string(), "10.1.0.1");
    assert_eq!(pool.last.to_string(), "10.1.255.254");
    assert_eq!(network.plugins, ["bridge"]);
}

#[test]
fn a_list_of_today_is_obeyed() {
    let network = list(&json!({
        "cniVersion": "1.1.0", "cniVersions": ["0.4.0", "1.1.0"], "name": "web", "disableCheck": true,
        "plugins": [
            { "type": "bridge", "bridge": "br-web", "isDefaultGateway": true, "ipMasq": true,
              "hairpinMode": true, "mtu": 9000, "ipMasqBackend": "nftables", "promiscMode": false,
              "capabilities": { "ips": true },
              "dns": { "nameservers": ["10.9.0.53"], "search": ["web.example"] },
              "ipam": { "type": "host-local", "ranges": [
                  [{ "subnet": "10.9.0.0/24", "rangeStart": "10.9.0.10", "rangeEnd": "10.9.0.20",
                     "gateway": "10.9.0.254" }],
                  [{ "subnet": "fd09::/64" }] ],
                "routes": [{ "dst": "10.0.0.0/8", "gw": "10.9.0.3" }] } },
            { "type": "portmap", "capabilities": { "portMappings": true }, "snat": true },
            { "type": "firewall", "ingressPolicy": "isolated" },
        ],
    }))
    .unwrap();
    let plan = &network.plan;
    assert_eq!(network.why, [""; 0]);
    assert!(plan.gateway && plan.masquerade && plan.hairpin && plan.isolated);
    assert_eq!((plan.mtu, plan.device.as_str()), (9000, "br-web"));
    let pool = plan.pools.first().unwrap();
    assert_eq!(pool.first.to_string(), "10.9.0.10");
    assert_eq!(pool.gateway.unwrap().to_string(), "10.9.0.254");
    let routes: Vec<_> = plan.routes.iter().map(|r| r.to.to_string()).collect();
    assert_eq!(routes, ["10.0.0.0/8", "0.0.0.0/0", "::/0"]);
    assert_eq!(network.dns.search, ["web.example"]);
    assert_eq!(network.plugins, ["bridge", "portmap", "firewall"]);
}

#[test]
fn a_macvlan_and_a_ptp_are_obeyed() {
    let network = conf(&json!({
        "name": "lan", "type": "macvlan", "master": "eth0", "mode": "vepa",
        "mac": "02:00:5e:10:00:01",
        "ipam": { "type": "host-local", "subnet": "192.168.7.0/24" },
    }))
    .unwrap();
    assert_eq!(network.plan.macvlan, MacvlanMode::Vepa);
    assert_eq!(network.plan.device, "eth0");
    assert_eq!(network.plan.mac.unwrap().to_string(), "02:00:5e:10:00:01");
    let network = conf(&json!({
        "name": "default", "type": "ptp", "ipMasq": true, "rkt": { "restricted": true },
        "ipam": { "type": "host-local", "subnet": "10.3.0.0/24", "routes": [{ "dst": "0.0.0.0/0" }] },
    }))
    .unwrap();
    assert!(network.plan.gateway && network.plan.masquerade && network.plan.restricted);
    assert_eq!(network.plan.driver, Driver::Ptp);
}

#[test]
fn what_rkt_cannot_do_exactly_goes_to_plugins_with_the_reason() {
    let local = json!({ "type": "host-local", "subnet": "10.9.0.0/24" });
    for (plugins, reason) in [
        (
            json!([{ "type": "calico", "anything": { "goes": 1 } }]),
            "the plugin `calico`",
        ),
        (
            json!([{ "type": "ipvlan", "master": "eth0", "ipam": local }]),
            "the plugin `ipvlan`",
        ),
        (
            json!([{ "type": "bridge", "ipam": { "type": "dhcp" } }]),
            "the addresses of `dhcp`",
        ),
        (
            json!([{ "type": "bridge", "vlan": 7, "ipam": local }]),
            "VLANs of a bridge",
        ),
        (
            json!([{ "type": "bridge", "promiscMode": true, "ipam": local }]),
            "`promiscMode`",
        ),
        (
            json!([{ "type": "bridge", "args": { "cni": {} }, "ipam": local }]),
            "`args`",
        ),
        (
            json!([{ "type": "bridge", "ipMasqBackend": "iptables", "ipam": local }]),
            "`ipMasqBackend` \"iptables\"",
        ),
        (
            json!([{ "type": "bridge", "capabilities": { "bandwidth": true }, "ipam": local }]),
            "the capability `bandwidth`",
        ),
        (
            json!([{ "type": "macvlan", "ipam": local }]),
            "a macvlan without `master`",
        ),
        (
            json!([{ "type": "bridge", "ipam": local }, { "type": "bandwidth", "ingressRate": 1 }]),
            "the plugin `bandwidth`",
        ),
        (
            json!([{ "type": "bridge", "ipam": local }, { "type": "portmap", "snat": false }]),
            "`snat` false of portmap",
        ),
        (
            json!([{ "type": "bridge", "ipam": local },
                   { "type": "firewall", "backend": "iptables", "ingressPolicy": "open" }]),
            "`backend` \"iptables\"; `ingressPolicy` \"open\" of firewall",
        ),
        (
            json!([{ "type": "bridge", "ipam": { "type": "host-local", "subnet": "10.9.0.0/24",
                     "dataDir": "/x", "routes": [{ "dst": "0.0.0.0/0", "mtu": 1400 }] } }]),
            "`dataDir` of host-local; `mtu` of a route",
        ),
        (
            json!([{ "type": "ptp", "ipam": { "type": "host-local", "gateway": "fe80::1",
                     "subnet": "2001:db8::/64" } }]),
            "a gateway outside of its subnet",
        ),
        (
            json!([{ "type": "ptp", "ipam": { "type": "host-local",
                     "ranges": [[{ "subnet": "10.1.0.0/24" }, { "subnet": "10.2.0.0/24" }]] } }]),
            "a set of several `ranges`",
        ),
    ] {
        let bytes = json!({ "cniVersion": "1.0.0", "name": "x", "plugins": plugins }).to_string();
        let network = read(Path::new("x.conflist"), bytes.as_bytes())
            .unwrap_or_else(|e| panic!("{plugins}: {e}"));
        assert_eq!(network.why.join("; "), reason, "{plugins}");
        assert_eq!(network.plan.driver, Driver::Cni);
        assert_eq!(network.plan.config.0, bytes.as_bytes());
        assert!(network.plan.pools.is_empty());
    }
}

#[test]
fn what_nobody_obeys_is_refused_by_name() {
    let local = json!({ "type": "host-local", "subnet": "10.9.0.0/24" });
    for (plugins, said) in [
        (
            json!([{ "type": "bridge", "isGatway": true }]),
            "the field `isGatway` of the plugin `bridge`",
        ),
        (json!([{ "type": "portmap", "snats": true }]), "`snats`"),
        (
            json!([{ "type": "ptp", "ipam": { "type": "host-local", "subnets": [] } }]),
            "`subnets` of `ipam` `host-local`",
        ),
        (
            json!([{ "type": "bridge", "runtimeConfig": {} }]),
            "`runtimeConfig` is for rkt to fill in",
        ),
        (
            json!([{ "type": "calico", "prevResult": {} }]),
            "`prevResult`",
        ),
        (
            json!([{ "type": "bridge", "dns": { "nameserver": [] } }]),
            "`nameserver` of `dns`",
        ),
        (
            json!([{ "type": "bridge", "dns": { "nameservers": ["x"] } }]),
            "`x` is no address",
        ),
        (
            json!([{ "type": "bridge", "dns": { "search": ["a\nb"] } }]),
            "is no domain",
        ),
        (
            json!([{ "type": "bridge", "bridge": "a/b", "ipam": local }]),
            "no name of a device",
        ),
        (
            json!([{ "type": "bridge", "bridge": "sixteen-letters-", "ipam": local }]),
            "no name of a device",
        ),
        (
            json!([{ "type": "bridge", "mtu": "big", "ipam": local }]),
            "`mtu` has to be a number",
        ),
        (
            json!([{ "type": "bridge", "mtu": -1, "ipam": local }]),
            "`mtu` has to be a number",
        ),
        (
            json!([{ "type": "bridge", "mtu": 66000, "ipam": local }]),
            "68 to 65535",
        ),
        (
            json!([{ "type": "bridge", "ipMasq": "yes", "ipam": local }]),
            "`ipMasq` has to be true or false",
        ),
        (json!([{ "type": "ptp" }]), "needs `ipam`"),
        (
            json!([{ "type": "macvlan", "master": "eth0", "mode": "l2" }]),
            "no `mode` \"l2\"",
        ),
        (
            json!([{ "type": "ptp", "ipam": { "type": "host-local" } }]),
            "no `subnet`",
        ),
        (
            json!([{ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.1.2.3/24" } }]),
            "bits of a host",
        ),
        (
            json!([{ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.1.2.0/31" } }]),
            "too small",
        ),
        (
            json!([{ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.1.2.0/24", "rangeStart": "10.1.3.1" } }]),
            "`rangeStart` 10.1.3.1 is not in the subnet",
        ),
        (
            json!([{ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.3" } }]),
            "backwards",
        ),
        (
            json!([{ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.1.2.0/24", "routes": ["0.0.0.0/0"] } }]),
            "each of `routes` has to be an object",
        ),
        (
            json!([{ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.1.2.0/24", "routes": [{ "dst": "0.0.0.0/0", "gw": "fd00::1" }] } }]),
            "another family",
        ),
        (json!([{ "type": "../../bin/sh" }]), "names no program"),
        (json!([{}]), "names no program"),
        (json!(["bridge"]), "has to be an object"),
        (json!([]), "no list of `plugins`"),
    ] {
        let text = why(of(plugins.clone()));
        assert!(text.contains(said), "{plugins}: {text}");
    }
    for (value, said) in [
        (
            json!({ "cniVersion": "1.0.0", "plugins": [{ "type": "x" }] }),
            "it has no `name`",
        ),
        (
            json!({ "cniVersion": "1.0.0", "name": "a/b", "plugins": [{ "type": "x" }] }),
            "network name",
        ),
        (
            json!({ "cniVersion": "1.0.0", "name": "host", "plugins": [{ "type": "x" }] }),
            "something else to --net",
        ),
        (
            json!({ "cniVersion": "2.0.0", "name": "x", "plugins": [{ "type": "x" }] }),
            "version of CNI \"2.0.0\"",
        ),
        (
            json!({ "name": "x", "plugins": [{ "type": "x" }] }),
            "version of CNI \"\"",
        ),
        (
            json!({ "cniVersion": "1.0.0", "name": "x", "pluginz": 1, "plugins": [{ "type": "x" }] }),
            "`pluginz`",
        ),
        (
            json!({ "cniVersion": "1.0.0", "name": "x", "type": "bridge" }),
            "no list of `plugins`",
        ),
        (
            json!({ "cniVersion": "1.0.0", "name": "x", "rkt": { "restrict": true }, "plugins": [{ "type": "x" }] }),
            "`restrict` of `rkt`",
        ),
        (
            json!({ "cniVersion": "1.0.0", "name": "x", "rkt": { "restricted": true }, "plugins": [{ "type": "x" }] }),
            "what plugins cannot do",
        ),
    ] {
        let text = why(list(&value));
        assert!(text.contains(said), "{value}: {text}");
    }
    let text = why(conf(&json!({ "name": "x", "plugins": [] })));
    assert!(text.contains("*.conflist"), "{text}");
    for bytes in [&b""[..], b"{", b"[]", b"null", b"\xff", b"{\"name\": 1}"] {
        assert!(read(Path::new("x.conf"), bytes).is_err());
    }
    assert!(read(Path::new("x.txt"), b"{}").is_err());
    assert!(!is_network(Path::new("x")) && is_network(Path::new("x.conf")));
}

#[test]
fn what_is_written_is_read_back() {
    let mut wanted = Draft {
        name: NetworkName::new("a-network-with-a-long-name").unwrap(),
        driver: Driver::Bridge,
        device: None,
        subnets: vec!["10.7.0.0/24".parse().unwrap(), "fd07::/64".parse().unwrap()],
        gateways: vec!["10.7.0.254".parse().unwrap()],
        ranges: vec![("10.7.0.8".parse().unwrap(), "10.7.0.9".parse().unwrap())],
        mtu: 1400,
        internal: false,
        isolated: true,
        restricted: true,
        nameless: false,
        dns: vec!["9.9.9.9".parse().unwrap()],
    };
    let text = draft(&wanted).unwrap();
    let network = read(Path::new("x.conflist"), text.as_bytes()).unwrap();
    let plan = &network.plan;
    assert_eq!(network.why, [""; 0]);
    assert_eq!(plan.name, wanted.name);
    assert!(plan.device.starts_with("rkt-") && plan.device.len() == 12);
    assert!(plan.gateway && plan.masquerade && plan.isolated && plan.restricted);
    assert_eq!(
        (plan.pools.len(), plan.routes.len(), plan.mtu),
        (2, 2, 1400)
    );
    let pool = plan.pools.first().unwrap();
    assert_eq!(pool.first.to_string(), "10.7.0.8");
    assert_eq!(pool.gateway.unwrap().to_string(), "10.7.0.254");
    assert_eq!(network.dns.nameservers.len(), 1);

    wanted.internal = true;
    wanted.driver = Driver::Ptp;
    let text = draft(&wanted).unwrap();
    let plan = read(Path::new("x.conflist"), text.as_bytes()).unwrap().plan;
    assert!(!plan.masquerade && plan.routes.is_empty() && plan.isolated);

    wanted.driver = Driver::Macvlan;
    assert!(draft(&wanted).is_err());
    wanted.device = Some("eth0".into());
    wanted.isolated = false;
    wanted.restricted = false;
    let text = draft(&wanted).unwrap();
    let plan = read(Path::new("x.conflist"), text.as_bytes()).unwrap().plan;
    assert_eq!(plan.device, "eth0");
    assert!(plan.names);
    wanted.nameless = true;
    let text = draft(&wanted).unwrap();
    let plan = read(Path::new("x.conflist"), text.as_bytes()).unwrap().plan;
    assert!(!plan.names);

    wanted.gateways = vec!["10.8.0.1".parse().unwrap()];
    assert!(
        draft(&wanted)
            .unwrap_err()
            .to_string()
            .contains("`10.8.0.1`")
    );
}

#[test]
fn pods_of_files_have_names_where_they_reach_each_other() {
    let names = |driver: &str, own: &str| {
        let text = format!(
            r#"{{ "cniVersion": "1.0.0", "name": "n", {own} "plugins": [ {{ {driver}, "ipam": {{
                "type": "host-local", "subnet": "10.0.0.0/24" }} }} ] }}"#
        );
        let path = Path::new("n.conflist");
        read(path, text.as_bytes()).map(|network| network.plan.names)
    };
    let bridge = r#""type": "bridge", "isGateway": true"#;
    let own = |words: &str| format!(r#""rkt": {{ {words} }},"#);
    assert_eq!(names(bridge, ""), Ok(true));
    assert_eq!(names(r#""type": "ipvlan", "master": "eth9""#, ""), Ok(true));
    assert_eq!(names(bridge, &own(r#""isolated": true"#)), Ok(false));
    assert_eq!(names(bridge, &own(r#""names": false"#)), Ok(false));
    let plugins = r#""type": "ipvlan", "master": "eth9""#;
    assert_eq!(names(plugins, &own(r#""names": false"#)), Ok(false));
    assert!(names(bridge, &own(r#""names": "no""#)).is_err());
    for (mode, want) in [("bridge", true), ("private", false), ("passthru", false)] {
        let macvlan = format!(r#""type": "macvlan", "master": "eth9", "mode": "{mode}""#);
        assert_eq!(names(&macvlan, ""), Ok(want), "{mode}");
    }
}
