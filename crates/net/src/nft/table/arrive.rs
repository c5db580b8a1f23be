//! What comes from a pod carries the pod's own addresses, and is none of what pods have no business
//! with.
//!
//! These rules are met by every packet of the host, so they are in the order of who comes most: one
//! look at the first letters of the device sends all but pods on; for a pod's own packet of TCP it is
//! one look-up, of the sender, and no rule of the other family.

use super::super::DEVICES;
use super::super::expression::{Base, Expression as E, Ip, Meta, Verdict};
use super::super::transaction::Family;
use super::{
    BOTH, ICMP6, METADATA, METADATA6, NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION, Writer,
    destination, is_ether, is_ip, is_message, of, set, source, to_loopback,
};

/// Numbers of ICMP, ICMPv6 (RFC 4861, RFC 3810) and protocols above IP.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTER_ADVERTISEMENT: u8 = 134;
const REDIRECT6: u8 = 137;
const LISTENER_REPORT: u8 = 143;
const REDIRECT: u8 = 5;

const ARRIVE: &str = "arrive";
const WANTED: [&str; 2] = ["wanted4", "wanted6"];
const REST: &str = "wanted";

/// Chains of these rules.
pub(super) const CHAINS: [&str; 4] = [ARRIVE, WANTED[0], WANTED[1], REST];

/// Device, hardware address at these bytes, address by `load`: in registers 0 to 9.
fn sender(hardware: E, load: E) -> Vec<E> {
    vec![E::Meta(Meta::InName, 0), hardware, load]
}

fn ether_source() -> E {
    E::Load(Base::Link, 6, 6, 4)
}

impl Writer<'_> {
    pub(super) fn prerouting(&mut self) {
        let by_name = [
            E::Meta(Meta::InName, 0),
            E::Is(0, DEVICES.as_bytes().to_vec()),
        ];
        let arrive = [E::Then(Verdict::Jump(ARRIVE))];
        self.chain("prerouting").rule(&[&by_name, &arrive]);
        if self.family != Family::Bridge {
            let own = [E::Meta(Meta::InName, 0), E::In(set::LOCALNET, 0)];
            let v4 = is_ip(self.family, Ip::V4);
            self.refuse("loopback of the host", &[&v4, &to_loopback(), &own]);
        }
        self.arrive();
        self.wanted();
    }

    fn arrive(&mut self) {
        let family = self.family;
        let accept = [E::Then(Verdict::Accept)];
        self.chain(ARRIVE);
        for ip in BOTH {
            let sent = sender(ether_source(), source(ip, 6));
            let own = [E::In(of(ip, set::SOURCE), 0)];
            let wanted = [E::Then(Verdict::Goto(of(ip, WANTED)))];
            self.rule(&[&is_ip(family, ip), &sent, &own, &wanted]);
        }
        // A device of somebody else's that is called like ours.
        let stranger = [E::Meta(Meta::InName, 0), E::NotIn(set::LINKS, 0)];
        self.rule(&[&stranger, &[E::Then(Verdict::Return)]]);
        let own4 = [E::In(of(Ip::V4, set::SOURCE), 0)];
        let own6 = [E::In(of(Ip::V6, set::SOURCE), 0)];
        let of_target = sender(ether_source(), target());
        // The unspecified address: a pod asks whether its own address is free, or joins a group.
        let unspecified = [source(Ip::V6, 0), E::Is(0, vec![0; 16])];
        let v6 = is_ip(family, Ip::V6);
        let asks = is_message(ICMP6, 0, &[NEIGHBOR_SOLICITATION]);
        self.rule(&[&v6, &unspecified, &asks, &of_target, &own6, &accept]);
        let joins = is_message(ICMP6, 0, &[LISTENER_REPORT]);
        self.rule(&[&v6, &unspecified, &joins, &accept]);
        if family == Family::Bridge {
            // ARP: addresses of the sender are at 8 and 14 of the body, and in the frame.
            let spoken = E::Load(Base::Network, 14, 4, 6);
            let inside = sender(E::Load(Base::Network, 8, 6, 4), spoken.clone());
            let outside = sender(ether_source(), spoken);
            let arp = is_ether([0x08, 0x06]);
            self.rule(&[&arp, &inside, &own4, &outside, &own4, &accept]);
        }
        self.refuse("not the address of this pod", &[]);
    }

    fn wanted(&mut self) {
        let accept = [E::Then(Verdict::Accept)];
        self.chain(WANTED[0])
            .refuse("loopback of the host", &[&to_loopback()]);
        for (ip, of_host) in [(Ip::V4, METADATA.to_vec()), (Ip::V6, METADATA6.to_vec())] {
            let to_it = [destination(ip, 0), E::Is(0, of_host)];
            let uninvited = [source(ip, 0), E::NotIn(of(ip, set::METADATA), 0)];
            // Most of all packets: they need not be asked what else they might be.
            let tcp = [E::Meta(Meta::Transport, 0), E::Is(0, vec![TCP])];
            self.chain(of(ip, WANTED))
                .refuse("metadata of the host", &[&to_it, &uninvited])
                .rule(&[&tcp, &accept])
                .rule(&[&[E::Then(Verdict::Goto(REST))]]);
        }
        self.chain(REST);
        let v6 = is_ip(self.family, Ip::V6);
        let neighbor = is_message(ICMP6, 0, &[NEIGHBOR_ADVERTISEMENT]);
        let of_target = sender(ether_source(), target());
        let foreign = [E::NotIn(of(Ip::V6, set::SOURCE), 0)];
        self.refuse(
            "neighbor that is not this pod",
            &[&v6, &neighbor, &of_target, &foreign],
        );
        for kind in [ROUTER_ADVERTISEMENT, REDIRECT6] {
            self.refuse(
                "router that is none",
                &[&v6, &is_message(ICMP6, 0, &[kind])],
            );
        }
        let v4 = is_ip(self.family, Ip::V4);
        let redirect = is_message(ICMP, 0, &[REDIRECT]);
        self.refuse("router that is none", &[&v4, &redirect]);
        for (ip, port) in [(Ip::V4, 67u16), (Ip::V6, 547)] {
            let dhcp = is_message(UDP, 0, &port.to_be_bytes());
            self.refuse("giver of addresses", &[&is_ip(self.family, ip), &dhcp]);
        }
    }
}

/// Whom a message of neighbour discovery is about.
fn target() -> E {
    E::Load(Base::Transport, 8, 16, 6)
}
