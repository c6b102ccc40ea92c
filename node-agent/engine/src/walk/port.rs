//! Whether a port of a rule is the connection's.

use std::sync::Arc;

use super::{Fit, Notes, Question, Who};
use crate::connection::Profile;
use crate::model::{NamedPort, PortMatch, PortSpec, Protocol};
use crate::verdict::{LeftOpen, Missed, MissedWhat};

impl Question<'_> {
    /// How one item of a rule's ports fits. It never fits another protocol (R20).
    pub(crate) fn port_fit(&self, wanted: &PortMatch, notes: &mut impl Notes) -> Fit {
        let other = wanted
            .protocol
            .filter(|protocol| *protocol != self.protocol);
        if let Some(other) = other {
            notes.miss(|| Missed {
                what: MissedWhat::Protocol,
                wanted: other.to_string(),
                found: self.protocol.to_string(),
            });
        }
        let number = match &wanted.port {
            PortSpec::Any => Fit::Matches,
            PortSpec::Range { first, last } => self.range_fit(*first, *last, notes),
            PortSpec::Named(name) => {
                // A name without a protocol has the connection's (R54).
                self.named_fit(name, wanted.protocol.unwrap_or(self.protocol), notes)
            }
        };
        Fit::when(other.is_none()).min(number)
    }

    fn range_fit(&self, first: u16, last: u16, notes: &mut impl Notes) -> Fit {
        let Some(port) = self.port else {
            return self.without_port(notes, || (MissedWhat::Port, range(first, last)));
        };
        let inside = (first..=last).contains(&port);
        if !inside {
            notes.miss(|| Missed {
                what: if first == last {
                    MissedWhat::Port
                } else {
                    MissedWhat::EndPort
                },
                wanted: range(first, last),
                found: port.to_string(),
            });
        }
        Fit::when(inside)
    }

    /// The name counts on the destination of this connection only, with its protocol (R23, R24, R25).
    fn named_fit(&self, name: &Arc<str>, protocol: Protocol, notes: &mut impl Notes) -> Fit {
        let Some(port) = self.port else {
            return self.without_port(notes, || {
                (MissedWhat::NamedPort, format!("{name}/{protocol}"))
            });
        };
        let is_it =
            |candidate: &NamedPort| candidate.name == *name && candidate.protocol == protocol;
        let fit = match &self.destination.who {
            Who::Pod { class, .. } => {
                let mut ports = class.traits.ports.iter();
                Fit::when(ports.any(|candidate| is_it(candidate) && candidate.port == port))
            }
            Who::Node { name: node, pod } => {
                let has = |ports: &[NamedPort]| {
                    ports
                        .iter()
                        .any(|candidate| is_it(candidate) && candidate.port == port)
                };
                let open = match (self.profile, pod) {
                    (Profile::Generic | Profile::Disputed, Some(pod)) => has(&pod.pod.ports),
                    (Profile::Generic | Profile::Disputed, None) => {
                        self.cluster.host_pods(node).any(|pod| has(&pod.pod.ports))
                    }
                    (Profile::KubeRouter | Profile::Calico | Profile::Cilium, _) => false,
                };
                if open {
                    Fit::Open(LeftOpen::HostNetwork)
                } else {
                    Fit::Misses
                }
            }
            Who::World => Fit::Misses,
            Who::Unknown => Fit::Open(LeftOpen::Unidentified),
        };
        if fit == Fit::Misses {
            notes.miss(|| Missed {
                what: MissedWhat::NamedPort,
                wanted: named(name, protocol, &self.numbers(is_it)),
                found: port.to_string(),
            });
        }
        fit
    }

    /// The numbers of such ports on the destination.
    fn numbers(&self, is_it: impl Fn(&NamedPort) -> bool) -> Vec<u16> {
        match &self.destination.who {
            Who::Pod { state, .. } => {
                let ports = state.pod.ports.iter().filter(|port| is_it(port));
                ports.map(|port| port.port).collect()
            }
            Who::Node { .. } | Who::World | Who::Unknown => Vec::new(),
        }
    }

    /// ICMP has no port and matches none; of other protocols the port is just not known.
    fn without_port(
        &self,
        notes: &mut impl Notes,
        wanted: impl FnOnce() -> (MissedWhat, String),
    ) -> Fit {
        match self.protocol {
            Protocol::Icmp | Protocol::Icmpv6 => {
                notes.miss(|| {
                    let (what, wanted) = wanted();
                    Missed {
                        what,
                        wanted,
                        found: "no port".to_owned(),
                    }
                });
                Fit::Misses
            }
            Protocol::Tcp | Protocol::Udp | Protocol::Sctp => Fit::Open(LeftOpen::NoPort),
        }
    }
}

fn range(first: u16, last: u16) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

fn named(name: &str, protocol: Protocol, numbers: &[u16]) -> String {
    if numbers.is_empty() {
        return format!("{name}/{protocol}, which the destination does not have");
    }
    let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
    format!("{name}/{protocol}, there {}", numbers.join(" or "))
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
            Self::Icmpv6 => "ICMPv6",
        })
    }
}
