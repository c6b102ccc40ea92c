//! The packets of one 5-tuple, what address translation made of them, and who sends them.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::Protocol;

/// The packets of one 5-tuple, oriented: its source opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    /// Who opened it.
    pub source: IpAddr,
    /// Whom it was opened to.
    pub destination: IpAddr,
    /// The client's port.
    pub source_port: u16,
    /// The port that policies look at.
    pub destination_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl Flow {
    /// The packets that go the other way.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

/// A connection as conntrack remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracked {
    /// Its packets as its source sent them.
    pub original: Flow,
    /// Those of its answer as they leave whoever answers.
    pub reply: Flow,
}

/// A process of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number, in the first namespace of processes.
    pub pid: u32,
    /// The name of its command, as the process has it: at most 15 bytes, and its own choice.
    pub command: Arc<str>,
    /// UID of the pod that it belongs to, when its cgroup is one's.
    pub pod_uid: Option<Arc<str>>,
    /// The runtime's name of its container.
    pub container: Option<Arc<str>>,
}
