//! What selectors, blocks, ports and rules have to do with each other, as far as their text tells.

use ipnet::IpNet;

use super::rule::{Peer, Peers, Port, Ports, Rule};
use crate::model::{NamespaceMatch, Operator, PortSpec, Protocol, Requirement, Selector};

/// Whether whatever the narrow selector matches is surely matched by the wide one too.
pub(super) fn covers(wide: &Selector, narrow: &Selector) -> bool {
    wide.requirements.iter().all(|wanted| {
        narrow
            .requirements
            .iter()
            .any(|given| is_implied(wanted, given))
    })
}

fn is_implied(wanted: &Requirement, given: &Requirement) -> bool {
    if wanted.key != given.key {
        return false;
    }
    match (&wanted.operator, &given.operator) {
        (Operator::In(wide), Operator::In(narrow)) => {
            narrow.iter().all(|value| wide.contains(value))
        }
        (Operator::Exists, Operator::In(_) | Operator::Exists)
        | (Operator::DoesNotExist | Operator::NotIn(_), Operator::DoesNotExist) => true,
        (Operator::NotIn(few), Operator::NotIn(many)) => {
            few.iter().all(|value| many.contains(value))
        }
        (Operator::NotIn(without), Operator::In(values)) => {
            values.iter().all(|value| !without.contains(value))
        }
        (Operator::In(_) | Operator::Exists | Operator::DoesNotExist | Operator::NotIn(_), _) => {
            false
        }
    }
}

/// Whether surely nothing is matched by both.
pub(super) fn is_disjoint(one: &Selector, other: &Selector) -> bool {
    let excludes = |a: &Requirement, b: &Requirement| {
        a.key == b.key
            && match (&a.operator, &b.operator) {
                (Operator::In(these), Operator::In(those)) => {
                    !these.iter().any(|value| those.contains(value))
                }
                (Operator::In(these), Operator::NotIn(those))
                | (Operator::NotIn(those), Operator::In(these)) => {
                    these.iter().all(|value| those.contains(value))
                }
                (Operator::In(_) | Operator::Exists, Operator::DoesNotExist)
                | (Operator::DoesNotExist, Operator::In(_) | Operator::Exists) => true,
                (
                    Operator::In(_)
                    | Operator::NotIn(_)
                    | Operator::Exists
                    | Operator::DoesNotExist,
                    _,
                ) => false,
            }
    };
    one.requirements
        .iter()
        .any(|a| other.requirements.iter().any(|b| excludes(a, b)))
}

/// Whether a rule allows all that the other one does.
pub(super) fn rule_covers(wide: &Rule, narrow: &Rule) -> bool {
    ports_cover(&wide.ports, &narrow.ports) && peers_cover(&wide.peers, &narrow.peers)
}

fn peers_cover(wide: &Peers, narrow: &Peers) -> bool {
    match (wide, narrow) {
        (Peers::Any, Peers::Any | Peers::Of(_)) => true,
        (Peers::Of(_), Peers::Any) => false,
        (Peers::Of(wide), Peers::Of(narrow)) => narrow
            .iter()
            .all(|narrow| wide.iter().any(|wide| peer_covers(wide, narrow))),
    }
}

fn peer_covers(wide: &Peer, narrow: &Peer) -> bool {
    match (wide, narrow) {
        (
            Peer::Pods { namespaces, pods },
            Peer::Pods {
                namespaces: narrow_namespaces,
                pods: narrow_pods,
            },
        ) => namespaces_cover(namespaces, narrow_namespaces) && covers(pods, narrow_pods),
        (
            Peer::Block { cidr, except },
            Peer::Block {
                cidr: narrow,
                except: narrow_except,
            },
        ) => {
            let is_open = |hole: &IpNet| {
                !overlap(hole, narrow) || narrow_except.iter().any(|except| except.contains(hole))
            };
            cidr.contains(narrow) && except.iter().all(is_open)
        }
        (Peer::Pods { .. } | Peer::Block { .. }, _) => false,
    }
}

fn namespaces_cover(wide: &NamespaceMatch, narrow: &NamespaceMatch) -> bool {
    match (wide, narrow) {
        (NamespaceMatch::Own, NamespaceMatch::Own) => true,
        (NamespaceMatch::Own, NamespaceMatch::Matching(_)) => false,
        (NamespaceMatch::Matching(selector), NamespaceMatch::Own) => {
            selector.requirements.is_empty()
        }
        (NamespaceMatch::Matching(wide), NamespaceMatch::Matching(narrow)) => covers(wide, narrow),
    }
}

/// Whether a list of ports allows all that the other one does.
pub(super) fn ports_cover(wide: &Ports, narrow: &Ports) -> bool {
    match (wide, narrow) {
        (Ports::Any, Ports::Any | Ports::Of(_)) => true,
        (Ports::Of(_), Ports::Any) => false,
        (Ports::Of(wide), Ports::Of(narrow)) => narrow
            .iter()
            .all(|narrow| wide.iter().any(|wide| port_covers(wide, narrow))),
    }
}

fn port_covers(wide: &Port, narrow: &Port) -> bool {
    wide.protocol == narrow.protocol
        && match (&wide.port, &narrow.port) {
            (PortSpec::Any, _) => true,
            (
                PortSpec::Range { first, last },
                PortSpec::Range {
                    first: narrow_first,
                    last: narrow_last,
                },
            ) => first <= narrow_first && narrow_last <= last,
            (PortSpec::Named(wide), PortSpec::Named(narrow)) => wide == narrow,
            (PortSpec::Range { .. } | PortSpec::Named(_), _) => false,
        }
}

/// Whether some port may be allowed by both; a name may be any number.
pub(super) fn ports_meet(one: &Ports, other: &Ports) -> bool {
    match (one, other) {
        (Ports::Any, Ports::Any | Ports::Of(_)) | (Ports::Of(_), Ports::Any) => true,
        (Ports::Of(one), Ports::Of(other)) => one
            .iter()
            .any(|one| other.iter().any(|other| port_meets(one, other))),
    }
}

fn port_meets(one: &Port, other: &Port) -> bool {
    one.protocol == other.protocol
        && match (&one.port, &other.port) {
            (
                PortSpec::Range { first, last },
                PortSpec::Range {
                    first: other_first,
                    last: other_last,
                },
            ) => first <= other_last && other_first <= last,
            (PortSpec::Any | PortSpec::Named(_) | PortSpec::Range { .. }, _) => true,
        }
}

impl Rule {
    /// Whether it allows a port for some peer.
    pub(super) fn ports_have(&self, number: u16, protocol: Protocol) -> bool {
        match &self.ports {
            Ports::Any => true,
            Ports::Of(ports) => ports.iter().any(|port| {
                port.protocol == protocol
                    && match &port.port {
                        PortSpec::Any => true,
                        PortSpec::Range { first, last } => (first..=last).contains(&&number),
                        PortSpec::Named(_) => false,
                    }
            }),
        }
    }
}

/// Whether two blocks have an address in common.
pub(super) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(requirements: &[(&str, Operator)]) -> Selector {
        let requirements = requirements
            .iter()
            .map(|(key, operator)| Requirement {
                key: (*key).into(),
                operator: operator.clone(),
            })
            .collect();
        Selector { requirements }
    }

    fn one_of(values: &[&str]) -> Operator {
        Operator::In(values.iter().map(|value| (*value).into()).collect())
    }

    fn none_of(values: &[&str]) -> Operator {
        Operator::NotIn(values.iter().map(|value| (*value).into()).collect())
    }

    #[test]
    fn what_covers_and_what_excludes() {
        use Operator::{DoesNotExist, Exists};
        let all = selector(&[]);
        let web = selector(&[("app", one_of(&["web"]))]);
        let web_or_api = selector(&[("app", one_of(&["web", "api"]))]);
        let web_one = selector(&[("app", one_of(&["web"])), ("tier", one_of(&["1"]))]);
        let not_web = selector(&[("app", none_of(&["web"]))]);
        let some = selector(&[("app", Exists)]);
        let none = selector(&[("app", DoesNotExist)]);
        // Wide, narrow: does the first cover the second, do they exclude each other.
        let table = [
            (&all, &web, true, false),
            (&web, &all, false, false),
            (&web_or_api, &web, true, false),
            (&web, &web_or_api, false, false),
            (&web, &web_one, true, false),
            (&web_one, &web, false, false),
            (&some, &web, true, false),
            (&not_web, &none, true, false),
            (&not_web, &web, false, true),
            (&none, &web, false, true),
            (&not_web, &web_or_api, false, false),
        ];
        for (wide, narrow, covering, excluding) in table {
            assert_eq!(covers(wide, narrow), covering, "{wide} covers {narrow}");
            assert_eq!(
                is_disjoint(wide, narrow),
                excluding,
                "{wide} excludes {narrow}"
            );
        }
    }
}
