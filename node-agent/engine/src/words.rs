//! Answers in words, short enough for a cell of a table.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::connection::{Connection, Party, PartyKind};
use crate::model::Tier;
use crate::verdict::{
    Decision, LeftOpen, Missed, MissedWhat, PolicyRef, Reason, RuleRef, Side, UnknownBecause,
};

impl Side {
    /// Why this side says what it says, in a few words.
    #[must_use]
    pub fn in_words(&self) -> String {
        if let Some(policy) = self.unsupported.first() {
            return format!("{policy} is not evaluated yet");
        }
        if let (Decision::Unknown, Some(left_open)) = (self.verdict, self.left_open) {
            return format!("not known: {}", left_open.in_words());
        }
        match (self.reason, &self.nearest, self.isolated_by.as_slice()) {
            (Reason::NoRuleMatched, Some(nearest), _) => {
                format!("no rule, nearest {}", nearest.rule)
            }
            (Reason::NoRuleMatched, None, [policy]) => format!("no rule, isolated by {policy}"),
            (Reason::NoRuleMatched, None, policies) => {
                format!("no rule, isolated by {} policies", policies.len())
            }
            (reason, ..) => {
                self::reason(reason, self.allowed_by.as_ref().or(self.denied_by.as_ref()))
            }
        }
    }
}

/// Why a side says what it says; the rule is said where one decides.
pub(crate) fn reason(reason: Reason, rule: Option<&RuleRef>) -> String {
    let text = match reason {
        Reason::Rule => return rule.map_or("a rule".to_owned(), ToString::to_string),
        Reason::NotIsolated => "not isolated",
        Reason::NoRuleMatched => "no rule",
        Reason::RuleDenied => {
            return rule.map_or("a rule denies".to_owned(), |rule| {
                format!("denied by {rule}")
            });
        }
        Reason::NotSubject => "no subject of policy",
        Reason::OwnNode => "own node",
        Reason::Itself => "itself",
        Reason::Established => "established",
    };
    text.to_owned()
}

/// `shop/allow-db`; the kind is said unless it is NetworkPolicy.
impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if &*self.key.kind != "NetworkPolicy" {
            write!(f, "{} ", self.key.kind)?;
        }
        if !self.key.namespace.is_empty() {
            write!(f, "{}/", self.key.namespace)?;
        }
        f.write_str(&self.key.name)
    }
}

/// `shop/allow-db rule 0`.
impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.policy, self.rule)
    }
}

/// A word of a closed list, as records have it.
pub(crate) trait Token: Serialize {
    /// With spaces.
    fn in_words(&self) -> String {
        match serde_json::to_value(self) {
            Ok(Value::String(token)) => token.replace('_', " "),
            Ok(_) | Err(_) => String::new(),
        }
    }
}

impl Token for LeftOpen {}
impl Token for MissedWhat {}
impl Token for Tier {}
impl Token for UnknownBecause {}

/// `pod labels: app=api wanted, app=debug found`.
pub(crate) fn missed(missed: &Missed) -> String {
    let Missed {
        what,
        wanted,
        found,
    } = missed;
    let what_in_words = what.in_words();
    match what {
        MissedWhat::NamedPort => format!("{what_in_words}: {found} is not {wanted}"),
        MissedWhat::NamespaceLabels
        | MissedWhat::Namespace
        | MissedWhat::PodLabels
        | MissedWhat::NotAPod
        | MissedWhat::Port
        | MissedWhat::EndPort
        | MissedWhat::Protocol
        | MissedWhat::Cidr
        | MissedWhat::Except
        | MissedWhat::Family
        | MissedWhat::NotANode
        | MissedWhat::NodeLabels
        | MissedWhat::DomainName
        | MissedWhat::Direction => format!("{what_in_words}: {wanted} wanted, {found} found"),
    }
}

impl Connection {
    /// `port 5432/TCP`, or just the protocol.
    pub(crate) fn port_in_words(&self) -> String {
        match self.port {
            Some(port) => format!("port {port}/{}", self.protocol),
            None => self.protocol.to_string(),
        }
    }
}

impl Cluster {
    /// Who a party is: `shop/web-0 (Deployment web)`, `192.0.2.1 (outside the cluster)`.
    #[must_use]
    pub fn describe(&self, party: &Party) -> String {
        let address = party.ip.map(|ip| ip.to_string());
        let with = |name: String| match &address {
            Some(ip) => format!("{ip} ({name})"),
            None => name,
        };
        match &party.identity {
            PartyKind::Pod(key) => match self.pod(key).map(|pod| &pod.workload) {
                Some(workload) if &*workload.kind != "Pod" => format!(
                    "{}/{} ({} {})",
                    key.namespace, key.name, workload.kind, workload.name
                ),
                Some(_) | None => format!("{}/{}", key.namespace, key.name),
            },
            PartyKind::Node(name) => with(format!("node {name}")),
            PartyKind::Service(key) => with(format!("Service {}/{}", key.namespace, key.name)),
            PartyKind::World => with("outside the cluster".to_owned()),
            PartyKind::Unknown => with("nobody knows who".to_owned()),
        }
    }
}
