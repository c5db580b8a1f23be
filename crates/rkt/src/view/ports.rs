//! How ports of a pod look: a line for people, JSON for programs.

use rkt_spec::network::{PortPlan, PortWay};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// `127.0.0.1:8080->80/tcp`.
pub(crate) fn line(port: &PortPlan) -> String {
    let host = SocketAddr::new(port.host, port.host_port);
    let protocol = port.protocol.as_str();
    match port.way {
        PortWay::Nat => format!("{host}->{}/{protocol}", port.pod_port),
        PortWay::Socket => format!("{host}->socket/{protocol}"),
    }
}

/// The same for programs.
pub(crate) fn value(port: &PortPlan) -> Value {
    let via = match port.way {
        PortWay::Nat => "nat",
        PortWay::Socket => "socket",
    };
    let mut value = json!({
        "name": port.name,
        "protocol": port.protocol.as_str(),
        "hostIP": port.host,
        "hostPort": port.host_port,
        "podPort": port.pod_port,
        "via": via,
    });
    if let (Some(app), Some(map)) = (&port.app, value.as_object_mut()) {
        map.insert("app".into(), json!(app));
    }
    value
}
