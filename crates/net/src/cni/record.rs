//! What the supervisor asks of the child that runs plugins, and what that answers. No JSON.

use rkt_spec::Uuid;
use rkt_spec::codec::Bytes;
use rkt_spec::network::{NetworkPlan, PortPlan, Wired};
use std::fmt;

rkt_spec::record_enum! {
    /// What is asked of the plugins of a network.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Command {
        /// Make the device and what leads to it; plugins in order.
        Add = 0,
        /// Whether it is still as it was made; in order.
        Check = 1,
        /// Take it away; in reverse order.
        Del = 2,
        /// Take away what belongs to none of [`Request::valid`]; in order.
        Gc = 3,
        /// Whether the plugins could add now; in order.
        Status = 4,
        /// Whether the plugins know the configuration's version; in order.
        Version = 5,
    }
}

impl Command {
    /// `CNI_COMMAND`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Check => "CHECK",
            Self::Del => "DEL",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

rkt_spec::record! {
    /// A device of a pod on a network.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Attachment {
        /// The pod.
        pub pod: Uuid,
        /// The device in it.
        pub interface: String,
    }
}

rkt_spec::record! {
    /// One command for one network of one pod.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Request {
        /// What to do.
        pub command: Command,
        /// For which pod (`CNI_CONTAINERID`).
        pub pod: Uuid,
        /// On which network.
        pub network: NetworkPlan,
        /// Descriptor (inherited) of the pod's network namespace; -1 when it is gone.
        pub namespace: i32,
        /// Ports of the host that lead into the pod.
        pub ports: Vec<PortPlan>,
        /// The pod's `/etc/resolv.conf`, for plugins that want to know its name servers.
        pub resolv_conf: Bytes,
        /// The result of the last plugin when the device was made; empty when there is none.
        pub result: Bytes,
        /// Directories to look for plugins in, before [`super::DIRECTORIES`].
        pub directories: Vec<String>,
        /// For [`Command::Gc`]: what stays.
        pub valid: Vec<Attachment>,
    }
}

rkt_spec::record! {
    /// Why a command was not done.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Refusal {
        /// What was being done.
        pub doing: String,
        /// Why it stopped.
        pub because: String,
        /// What to try; empty when nothing is sure.
        pub hint: String,
    }
}

impl Refusal {
    /// Without a hint.
    pub fn new(doing: impl Into<String>, because: impl Into<String>) -> Self {
        Self {
            doing: doing.into(),
            because: because.into(),
            hint: String::new(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.because)
    }
}

rkt_spec::record! {
    /// What became of a [`Request`].
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Answer {
        /// Why it failed; `None` when it was done.
        pub refusal: Option<Refusal>,
        /// Whether something may be left of an [`Command::Add`] that failed.
        pub left: bool,
        /// After [`Command::Add`]: what was made.
        pub wired: Option<Wired>,
        /// After [`Command::Add`]: to be kept for the other commands.
        pub result: Bytes,
        /// After [`Command::Add`]: whether a plugin has seen to the ports.
        pub ports_done: bool,
    }
}
