//! What a pod's `/etc/hosts` and `/etc/resolv.conf` say. Pure text.

/// `/etc/hosts` of a pod without the host's network: localhost and the pod's own name.
///
/// The lines are the original's (`rkt-hosts` fallback).
pub fn hosts(hostname: &str) -> String {
    let names = "localhost localhost.domain localhost4 localhost4.localdomain4";
    let names6 = "localhost localhost.domain localhost6 localhost6.localdomain6";
    format!("127.0.0.1\t{names} {hostname}\n::1\t{names6} {hostname}\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_pod_knows_its_own_name() {
        let text = super::hosts("rkt-1");
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|l| l.ends_with(" rkt-1")));
    }
}
