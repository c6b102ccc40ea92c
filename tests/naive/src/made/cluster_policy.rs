//! Policies of the whole cluster, in the three kinds that there are.

use serde_json::{Value, json};

use super::{Choices, PORTS};

/// How a kind writes things.
struct Kind {
    name: &'static str,
    version: &'static str,
    actions: &'static [&'static str],
    ports: &'static str,
}

const CLUSTER: Kind = Kind {
    name: "ClusterNetworkPolicy",
    version: "v1alpha2",
    actions: &["Deny", "Accept", "Pass"],
    ports: "protocols",
};
const ADMIN: Kind = Kind {
    name: "AdminNetworkPolicy",
    version: "v1alpha1",
    actions: &["Deny", "Allow", "Pass"],
    ports: "ports",
};
const BASELINE: Kind = Kind {
    name: "BaselineAdminNetworkPolicy",
    actions: &["Deny", "Allow"],
    ..ADMIN
};

impl Choices<'_> {
    pub(super) fn cluster_policy(&mut self) -> Value {
        let (kind, tier) = match self.below(8) {
            0..=3 => (CLUSTER, Some("Admin")),
            4 | 5 => (CLUSTER, Some("Baseline")),
            6 => (ADMIN, None),
            _ => (BASELINE, None),
        };
        let mut name = self.word(&["p", "q"]);
        let mut spec = json!({"subject": self.pods_of_the_cluster()});
        if let Some(tier) = tier {
            spec["tier"] = tier.into();
        }
        if kind.name == BASELINE.name {
            name = "default";
        } else {
            spec["priority"] = self.below(3).into();
        }
        for (rules, peers) in [("egress", "to"), ("ingress", "from")] {
            let many = [1, 1, 2, 0].get(self.below(4)).copied().unwrap_or(1);
            let made: Vec<Value> = (0..many).map(|_| self.tiered_rule(&kind, peers)).collect();
            spec[rules] = made.into();
        }
        json!({"apiVersion": format!("policy.networking.k8s.io/{}", kind.version), "kind": kind.name,
            "metadata": {"name": name}, "spec": spec})
    }

    fn pods_of_the_cluster(&mut self) -> Value {
        let selector = |selector: Option<Value>| selector.unwrap_or(json!({}));
        match self.below(4) {
            0 => json!({"namespaces": {}}),
            1 => json!({"namespaces": selector(self.selector())}),
            _ => {
                let pods = selector(self.selector());
                json!({"pods": {"podSelector": pods, "namespaceSelector": selector(self.selector())}})
            }
        }
    }

    fn tiered_rule(&mut self, kind: &Kind, peers: &str) -> Value {
        let action = self.word(kind.actions);
        // Addresses have no named ports.
        let has_pods = peers == "from" || self.once_in(2);
        let made: Vec<Value> = (0..=self.below(2))
            .map(|_| match (self.once_in(24), has_pods) {
                // Of a version that is not known yet.
                (true, _) => json!({"future": {}}),
                (false, true) => self.pods_of_the_cluster(),
                (false, false) => self.addresses(),
            })
            .collect();
        let mut rule = json!({"action": action});
        rule[peers] = made.into();
        if self.once_in(2) {
            rule[kind.ports] = match kind.ports {
                "ports" => json!([self.old_port(has_pods)]),
                _ => json!([self.protocol(has_pods)]),
            };
        }
        rule
    }

    fn addresses(&mut self) -> Value {
        match self.below(3) {
            0 => json!({"nodes": self.selector().unwrap_or(json!({}))}),
            1 => json!({"domainNames": [self.word(&[
                "example.org",
                "*.example.org",
                "*.a.example.org",
                "example.com.",
            ])]}),
            _ => json!({"networks": [self.word(&[
                "0.0.0.0/0",
                "10.0.0.0/30",
                "192.0.2.0/24",
                "::/0",
                "fd00::/120",
                "203.0.113.7/32",
            ])]}),
        }
    }

    fn protocol(&mut self, may_be_named: bool) -> Value {
        let number = self.of(&PORTS);
        match self.below(6) {
            0 => json!({"udp": {"destinationPort": {"number": number}}}),
            1 => json!({"sctp": {"destinationPort": {"range": {"start": 1, "end": 80}}}}),
            2 => json!({"tcp": {"destinationPort": {"range": {"start": 53, "end": 443}}}}),
            3 if may_be_named => json!({"destinationNamedPort": self.word(&["web", "dns"])}),
            _ => json!({"tcp": {"destinationPort": {"number": number}}}),
        }
    }

    fn old_port(&mut self, may_be_named: bool) -> Value {
        let number = self.of(&PORTS);
        match self.below(4) {
            0 => json!({"portNumber": {"protocol": "UDP", "port": number}}),
            1 => json!({"portRange": {"protocol": "TCP", "start": 53, "end": 443}}),
            2 if may_be_named => json!({"namedPort": self.word(&["web", "dns"])}),
            _ => json!({"portNumber": {"port": number}}),
        }
    }
}
