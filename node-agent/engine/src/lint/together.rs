//! What policies make of each other, because they only add up: N20, N24.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::overlap::{is_disjoint, overlap, ports_cover, ports_meet};
use super::policy::{DIRECTIONS, NetPol, PlacedPeer, rule_field};
use super::rule::{Peer, Peers, Rule};
use super::world::text_at;
use super::{Check, Facts, Finding, Severity};
use crate::model::ObjectKey;

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let mut by_name: BTreeMap<&ObjectKey, &NetPol<'_>> = BTreeMap::new();
    let mut by_content: BTreeMap<String, &NetPol<'_>> = BTreeMap::new();
    for policy in &facts.policies {
        let content = content(policy);
        if let Some(first) = by_name.insert(&policy.key, policy) {
            if self::content(first) != content {
                findings.push(same_name(policy));
            } else if !is_one_object(first, policy) {
                findings.push(given_twice(policy));
            }
        } else if let Some(first) = by_content.get(&content) {
            findings.push(same_content(policy, first));
        }
        by_content.entry(content).or_insert(policy);
        for direction in DIRECTIONS {
            findings.extend(same_rules(policy, policy.rules(direction), |at| {
                rule_field(direction, at)
            }));
        }
        for placed in policy.peers() {
            if let Peer::Block { cidr, except } = placed.peer {
                findings.extend(reopened(facts, policy, &placed, cidr, except));
            }
        }
    }
}

/// A policy without its name, so that equal ones read alike.
fn content(policy: &NetPol<'_>) -> String {
    let mut text = format!("{} {:?}", policy.key.namespace, policy.subject);
    for direction in DIRECTIONS {
        let mut rules: Vec<String> = policy
            .rules(direction)
            .iter()
            .map(|rule| format!("{rule:?}"))
            .collect();
        rules.sort();
        text += &format!(
            " {direction:?} {} {rules:?}",
            policy.side(direction).isolates
        );
    }
    text
}

fn same_name(policy: &NetPol<'_>) -> Finding {
    let finding = policy.finding(
        Check::N24,
        Severity::Warning,
        "metadata.name",
        "another policy of this namespace has the same name and says something else",
        "the one applied last replaces the other",
    );
    finding.with_fix("give one of them another name")
}

/// Whether an API server gave both: then somebody reads one object from two files.
fn is_one_object(one: &NetPol<'_>, other: &NetPol<'_>) -> bool {
    let [one, other] = [one, other].map(|policy| text_at(policy.written, &["metadata", "uid"]));
    one.is_some() && one == other
}

fn given_twice(policy: &NetPol<'_>) -> Finding {
    let finding = policy.finding(
        Check::N24,
        Severity::Warning,
        "metadata.name",
        "this policy is there twice, with the same name and the same rules",
        "there is one in the end, and somebody who changes one of them forgets the other",
    );
    finding.with_fix("leave out one of them")
}

fn same_content(policy: &NetPol<'_>, first: &NetPol<'_>) -> Finding {
    let finding = policy.finding(
        Check::N24,
        Severity::Warning,
        "",
        format!("says the same as policy {}", first.key.name),
        "it changes nothing, and somebody who changes one forgets the other",
    );
    finding.with_fix("leave out one of them")
}

fn same_rules(
    policy: &NetPol<'_>,
    rules: &[Rule],
    field: impl Fn(usize) -> String,
) -> Option<Finding> {
    let (at, rule) = rules
        .iter()
        .enumerate()
        .find(|(at, rule)| rules.iter().take(*at).any(|earlier| earlier == *rule))?;
    let first = rules.iter().position(|earlier| earlier == rule)?;
    let finding = policy.finding(
        Check::N24,
        Severity::Warning,
        field(at),
        format!("the same rule as {}", field(first)),
        "it changes nothing",
    );
    Some(finding.with_fix("leave out one of them"))
}

/// N20: an exception holds for its own peer only (R12).
fn reopened(
    facts: &Facts<'_>,
    policy: &NetPol<'_>,
    placed: &PlacedPeer<'_>,
    cidr: &IpNet,
    except: &[IpNet],
) -> Option<Finding> {
    for (at, hole) in except.iter().enumerate() {
        let own = facts.policies_in(&policy.key.namespace);
        for other in own.filter(|other| meet(facts, policy, other)) {
            for (index, rule) in other.rules(placed.direction).iter().enumerate() {
                if std::ptr::eq(rule, placed.rule) && is_only_peer(rule) {
                    continue;
                }
                let Some(how) = opens(rule, placed, cidr, hole) else {
                    continue;
                };
                let place = rule_field(placed.direction, index);
                let by = if std::ptr::eq(other, policy) {
                    place
                } else {
                    format!("{place} of policy {}", other.key.name)
                };
                return Some(how.finding(policy, placed, at, hole, &by));
            }
        }
    }
    None
}

/// How much of an exception another rule opens.
enum Opened {
    All,
    Part(IpNet),
    /// A part for fewer ports, as somebody opens it who knows of the exception.
    OnPurpose(IpNet),
}

impl Opened {
    fn finding(
        &self,
        policy: &NetPol<'_>,
        placed: &PlacedPeer<'_>,
        at: usize,
        hole: &IpNet,
        by: &str,
    ) -> Finding {
        let in_part =
            |part: &IpNet| format!("{hole} is excepted here, and {part} of it allowed by {by}");
        let (severity, wrong) = match self {
            Self::All => (
                Severity::Warning,
                format!("{hole} is excepted here and allowed by {by}"),
            ),
            Self::Part(part) => (Severity::Warning, in_part(part)),
            Self::OnPurpose(part) => (Severity::Info, in_part(part)),
        };
        let finding = policy.finding(
            Check::N20,
            severity,
            format!("{}.ipBlock.except[{at}]", placed.field),
            wrong,
            "`except` denies nothing, it only leaves addresses out of this one peer",
        );
        finding.with_fix("except it there too; there is no rule that denies")
    }
}

/// What a rule opens of an exception; none when it means other ports.
fn opens(rule: &Rule, placed: &PlacedPeer<'_>, cidr: &IpNet, hole: &IpNet) -> Option<Opened> {
    if !ports_meet(&rule.ports, &placed.rule.ports) {
        return None;
    }
    let Peers::Of(peers) = &rule.peers else {
        return Some(Opened::All);
    };
    let others = peers
        .iter()
        .filter(|peer| !std::ptr::eq(*peer, placed.peer));
    let mut part = None;
    for peer in others {
        let Peer::Block {
            cidr: open,
            except: closed,
        } = peer
        else {
            continue;
        };
        if !overlap(open, hole) || closed.iter().any(|closed| closed.contains(hole)) {
            continue;
        }
        if open.contains(hole) {
            return Some(Opened::All);
        }
        if !closed.iter().any(|closed| closed.contains(open)) && open != cidr {
            let is_as_wide = ports_cover(&rule.ports, &placed.rule.ports);
            part = Some(if is_as_wide {
                Opened::Part(*open)
            } else {
                Opened::OnPurpose(*open)
            });
        }
    }
    part
}

fn is_only_peer(rule: &Rule) -> bool {
    matches!(&rule.peers, Peers::Of(peers) if peers.len() == 1)
}

/// Whether two policies hold for the same pod, as far as can be known.
fn meet(facts: &Facts<'_>, one: &NetPol<'_>, other: &NetPol<'_>) -> bool {
    if is_disjoint(&one.subject, &other.subject) {
        return false;
    }
    match facts.world.subjects(one) {
        Some(pods) => pods.iter().any(|pod| pod.fits(&other.subject)),
        None => {
            super::overlap::covers(&one.subject, &other.subject)
                || super::overlap::covers(&other.subject, &one.subject)
        }
    }
}
