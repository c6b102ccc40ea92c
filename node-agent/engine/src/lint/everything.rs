//! Rules that allow more, or less, than their reader thinks: N05, N23.

use serde_json::Value;

use super::exposure;
use super::overlap::rule_covers;
use super::policy::{DIRECTIONS, NetPol, list, rule_field};
use super::rule::{Peer, Peers, Port, Ports, Rule};
use super::world::World;
use super::{Check, Facts, Finding, Severity};
use crate::model::{NamespaceMatch, PortSpec, Protocol};
use crate::record::Direction;

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for policy in &facts.policies {
        let words = Words::of(&policy.key.name);
        for direction in DIRECTIONS {
            for (index, rule) in policy.rules(direction).iter().enumerate() {
                let place = RulePlace {
                    policy,
                    direction,
                    rule,
                    field: rule_field(direction, index),
                };
                findings.extend(place.anyone(facts, &words));
                findings.extend(place.empty_list());
                findings.extend(place.unrestricted(&words));
                findings.extend(place.redundant(index));
            }
        }
    }
}

struct RulePlace<'a> {
    policy: &'a NetPol<'a>,
    direction: Direction,
    rule: &'a Rule,
    field: String,
}

impl RulePlace<'_> {
    /// N05: an empty selector is every pod, and nobody else.
    fn anyone(&self, facts: &Facts<'_>, words: &Words<'_>) -> Option<Finding> {
        let Peers::Of(peers) = &self.rule.peers else {
            return None;
        };
        let namespaces = peers.iter().filter_map(empty_selector).collect::<Vec<_>>();
        if namespaces.len() != peers.len() {
            return None;
        }
        let whom = if namespaces
            .iter()
            .any(|match_| matches!(match_, NamespaceMatch::Matching(_)))
        {
            "every pod of the cluster".to_owned()
        } else {
            format!("every pod of namespace {}", self.policy.key.namespace)
        };
        let (severity, why) = match self.direction {
            _ if words.mean_outside() => (
                Severity::Error,
                "and the policy's name speaks of more".to_owned(),
            ),
            Direction::Egress => {
                let port = self.web_port_nobody_has(&facts.world, &namespaces)?;
                (
                    Severity::Warning,
                    format!("and none of them says that it listens on {port}"),
                )
            }
            Direction::Ingress => {
                let service = exposure::closed_to_outside(facts, self.policy, self.rule)?;
                (
                    Severity::Error,
                    format!("but {} brings clients from outside", service.shown()),
                )
            }
        };
        let finding = self.policy.finding(
            Check::N05,
            severity,
            format!("{}.{}", self.field, list(self.direction)),
            format!("an empty selector is {whom}, {why}"),
            "addresses outside the cluster are never matched by a selector",
        );
        Some(finding.with_fix(
            "for the world outside write an ipBlock: `cidr: 0.0.0.0/0` and another with `::/0`",
        ))
    }

    /// A rule for the web's ports only, on which no pod that it can mean listens.
    fn web_port_nobody_has(&self, world: &World, namespaces: &[&NamespaceMatch]) -> Option<u16> {
        let Ports::Of(ports) = &self.rule.ports else {
            return None;
        };
        let numbers: Vec<u16> = ports.iter().filter_map(web_port).collect();
        if numbers.len() != ports.len() {
            return None;
        }
        for namespaces in namespaces {
            let own = &self.policy.key.namespace;
            let pods = world.peer_pods(own, namespaces, &Default::default())?;
            let declared =
                |number: &u16| pods.iter().any(|pod| pod.declares(*number, Protocol::Tcp));
            if numbers.iter().any(declared) {
                return None;
            }
        }
        numbers.first().copied()
    }

    /// N23: a list that is there and empty is as good as none (R10).
    fn empty_list(&self) -> Option<Finding> {
        let list = list(self.direction);
        let field = format!("{}.{list}", self.field);
        let empty = match super::path::at(self.policy.written, &field)? {
            Value::Null => "null",
            Value::Array(peers) if peers.is_empty() => "empty",
            _ => return None,
        };
        let effect = match self.direction {
            Direction::Ingress => "it lets everybody in, from outside the cluster too",
            Direction::Egress => "it lets everything out, to anywhere",
        };
        let finding = self.policy.finding(
            Check::N23,
            Severity::Warning,
            field,
            format!("`{list}` is {empty}, which is not nobody but anybody"),
            effect,
        );
        Some(finding.with_fix(format!(
            "for nobody leave out the rule; for anybody leave out `{list}`"
        )))
    }

    /// N23: everything, by a policy whose name says that it restricts this direction.
    fn unrestricted(&self, words: &Words<'_>) -> Option<Finding> {
        let is_all = is_everything(self.rule);
        if !is_all || !words.restrict(self.direction) {
            return None;
        }
        if self.restricts_other_way() && !words.name(self.direction) {
            return None;
        }
        let what = match self.direction {
            Direction::Ingress => "lets everybody in on every port",
            Direction::Egress => "lets everything out to anywhere",
        };
        Some(
            self.policy
                .finding(
                    Check::N23,
                    Severity::Warning,
                    &self.field,
                    format!("the empty rule in `{}`", self.policy.key.name),
                    format!("it {what}, whatever the policy's name says"),
                )
                .with_fix("to deny everything leave the list of rules empty: `[]`, not `[{}]`"),
        )
    }

    /// Whether the policy restricts after all: the other direction.
    fn restricts_other_way(&self) -> bool {
        let other = match self.direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        let side = self.policy.side(other);
        side.isolates && !side.rules.iter().any(is_everything)
    }

    /// N23: all that it allows, another rule of the policy allows too. Equal rules are N24.
    fn redundant(&self, index: usize) -> Option<Finding> {
        let rules = self.policy.rules(self.direction);
        let (by, _) = rules.iter().enumerate().find(|(other, wide)| {
            *other != index && rule_covers(wide, self.rule) && !rule_covers(self.rule, wide)
        })?;
        let finding = self.policy.finding(
            Check::N23,
            Severity::Warning,
            &self.field,
            format!(
                "all it allows is allowed by {} too",
                rule_field(self.direction, by)
            ),
            "it restricts nothing: rules only add up",
        );
        Some(finding.with_fix("leave out this rule, or narrow the other one"))
    }
}

fn is_everything(rule: &Rule) -> bool {
    matches!((&rule.peers, &rule.ports), (Peers::Any, Ports::Any))
}

/// The namespaces of a peer that takes all their pods.
fn empty_selector(peer: &Peer) -> Option<&NamespaceMatch> {
    let Peer::Pods { namespaces, pods } = peer else {
        return None;
    };
    let all = match namespaces {
        NamespaceMatch::Own => true,
        NamespaceMatch::Matching(selector) => selector.requirements.is_empty(),
    };
    (all && pods.requirements.is_empty()).then_some(namespaces)
}

fn web_port(port: &Port) -> Option<u16> {
    let PortSpec::Range { first, last } = port.port else {
        return None;
    };
    let is_web = port.protocol == Protocol::Tcp && first == last && [80, 443].contains(&first);
    is_web.then_some(first)
}

/// The words of a policy's name.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn of(name: &'a str) -> Self {
        Self(name.split(['-', '.']).collect())
    }

    fn has(&self, words: &[&str]) -> bool {
        self.0.iter().any(|word| words.contains(word))
    }

    /// Whether the world outside the cluster is meant; other words may make it something inside.
    fn mean_outside(&self) -> bool {
        let outside = ["internet", "external", "world", "anywhere", "outside"];
        let inside = [
            "dns",
            "secrets",
            "namespace",
            "namespaces",
            "ns",
            "internal",
            "deny",
            "no",
        ];
        self.has(&outside) && !self.has(&inside)
    }

    /// Whether they name a direction.
    fn name(&self, direction: Direction) -> bool {
        self.has(&[match direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }])
    }

    /// Whether a restriction is meant for a direction.
    fn restrict(&self, direction: Direction) -> bool {
        let restrict = [
            "deny",
            "restrict",
            "restricted",
            "block",
            "isolate",
            "isolation",
            "lockdown",
            "limit",
            "only",
            "forbid",
        ];
        let other = match direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        let is_other = self.name(other) && !self.name(direction);
        self.has(&restrict) && !self.has(&["allow"]) && !is_other
    }
}
