//! The packets of one 5-tuple, and what address translation made of them.

use std::net::IpAddr;

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
