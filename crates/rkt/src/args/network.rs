//! Networks, ports and names of `rkt run`.

use super::table::Refusal;
use rkt_stage0::request::RunRequest;

/// `--net`; several are one list.
pub(super) fn net(request: &mut RunRequest, value: &str) -> Result<(), Refusal> {
    let net = match request.net.take() {
        Some(earlier) => earlier.and(value),
        None => value.parse(),
    };
    request.net = Some(net.map_err(said)?);
    Ok(())
}

/// `--port`.
pub(super) fn port(request: &mut RunRequest, value: &str) -> Result<(), Refusal> {
    request.ports.push(value.parse().map_err(said)?);
    Ok(())
}

/// `--dns` and its like.
pub(super) fn dns(read: Result<(), rkt_net::Refusal>) -> Result<(), Refusal> {
    read.map_err(said)
}

/// An option's refusal has no line for a hint.
fn said(refusal: rkt_net::Refusal) -> Refusal {
    match refusal.remedy() {
        Some(hint) => format!("{refusal} ({hint})"),
        None => refusal.to_string(),
    }
}
