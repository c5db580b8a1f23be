//! A macvlan: a device of the pod's own on a device of the host, as a second plug in its socket.
//!
//! The host and its macvlans do not see each other; what passes is the network's outside.

use super::One;
use super::pod::Reach;
use crate::error::{Error, Kind};
use crate::link::{self, Link};
use crate::netlink::Batch;
use rkt_spec::network::{Prefix, Wired};
use rustix::io::Errno;
use std::collections::HashSet;

impl One<'_> {
    pub(super) fn macvlan(&self, led: &mut HashSet<Prefix>) -> Result<Wired, Error> {
        let parent = self.parent()?;
        let mut batch = Batch::new();
        link::macvlan(&mut batch, parent.index, self.plan.macvlan, &self.pod_end());
        self.host.run(&batch)?;
        let mut batch = Batch::new();
        link::show(&mut batch, &self.plan.interface);
        let answers = self.site.pod.run(&batch)?;
        let own = answers.iter().find_map(Link::read);
        let own = own.ok_or_else(|| Error::new(Kind::System, "the new device is not shown"))?;
        self.set_up_pod(own.index, Reach::Link, led)?;
        Ok(self.wired(""))
    }

    fn parent(&self) -> Result<Link, Error> {
        let name = self.plan.device.as_str();
        if name.is_empty() {
            let because = "the network names no device of the host";
            return Err(Error::new(Kind::Request, because));
        }
        let mut batch = Batch::new();
        link::show(&mut batch, name);
        match self.host.run(&batch) {
            Ok(answers) => answers
                .iter()
                .find_map(Link::read)
                .ok_or_else(|| Error::new(Kind::System, "the kernel did not show the device")),
            Err(e) if e.errno() == Some(Errno::NODEV) => Err(Error::new(
                Kind::Host,
                format!("this host has no device `{name}`"),
            )
            .with_hint("`ip link` lists those it has")),
            Err(e) => Err(e),
        }
    }
}
