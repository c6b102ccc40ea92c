//! Policies, with every way there is to write nothing.

use serde_json::{Value, json};

use super::{APPS, Choices, NAMESPACES, PORTS, PROTOCOLS};

impl Choices<'_> {
    pub(super) fn policy(&mut self) -> Value {
        let mut spec = json!({});
        if let Some(subject) = self.selector() {
            spec["podSelector"] = subject;
        }
        match self.below(8) {
            0 => {}
            1 => spec["policyTypes"] = json!([]),
            2 => spec["policyTypes"] = json!(["Egress"]),
            3 => spec["policyTypes"] = json!(["Ingress"]),
            _ => spec["policyTypes"] = json!(["Ingress", "Egress"]),
        }
        if let Some(rules) = self.rules("from") {
            spec["ingress"] = rules;
        }
        if let Some(rules) = self.rules("to") {
            spec["egress"] = rules;
        }
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": self.word(&NAMESPACES), "name": self.word(&["p", "q", "r"])},
            "spec": spec})
    }

    fn rules(&mut self, peers: &str) -> Option<Value> {
        match self.below(8) {
            0 => None,
            1 => Some(Value::Null),
            2 => Some(json!([])),
            7 => Some(json!([self.rule(peers), self.rule(peers)])),
            _ => Some(json!([self.rule(peers)])),
        }
    }

    fn rule(&mut self, peers: &str) -> Value {
        let mut rule = json!({});
        match self.below(8) {
            0 => {}
            1 => rule[peers] = json!([]),
            2 => rule[peers] = json!([self.peer(), self.peer()]),
            _ => rule[peers] = json!([self.peer()]),
        }
        match self.below(8) {
            0..=2 => {}
            3 => rule["ports"] = Value::Null,
            4 => rule["ports"] = json!([self.port(), self.port()]),
            _ => rule["ports"] = json!([self.port()]),
        }
        rule
    }

    fn peer(&mut self) -> Value {
        let selector = |selector: Option<Value>| selector.unwrap_or(json!({}));
        match self.below(5) {
            0 => json!({"podSelector": selector(self.selector())}),
            1 => json!({"namespaceSelector": selector(self.selector())}),
            2 => {
                json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.word(&NAMESPACES)}}})
            }
            3 => {
                json!({"namespaceSelector": selector(self.selector()), "podSelector": selector(self.selector())})
            }
            _ => json!({"ipBlock": self.block()}),
        }
    }

    fn block(&mut self) -> Value {
        let (cidr, hole) = self
            .of(&[
                ("10.0.0.0/24", "10.0.0.2/31"),
                ("0.0.0.0/0", "10.0.0.0/16"),
                ("::/0", "fd00::/64"),
                ("fd00::/120", "fd00::1/128"),
                ("192.0.2.0/24", "192.0.2.2/32"),
                ("10.0.0.1/32", ""),
            ])
            .unwrap_or_default();
        if hole.is_empty() || self.once_in(2) {
            json!({"cidr": cidr})
        } else {
            json!({"cidr": cidr, "except": [hole]})
        }
    }

    fn port(&mut self) -> Value {
        let mut port = json!({});
        if !self.once_in(3) {
            port["protocol"] = self.word(&PROTOCOLS).into();
        }
        match self.below(5) {
            0 => port["port"] = self.of(&PORTS).into(),
            1 => port["port"] = self.word(&["web", "dns"]).into(),
            2 => {
                port["port"] = json!(53);
                port["endPort"] = self.of(&[80_u16, 53, 8080]).into();
            }
            3 => port["port"] = Value::Null,
            _ => {}
        }
        port
    }

    /// Absent one time in ten.
    pub(super) fn selector(&mut self) -> Option<Value> {
        let expression = |choices: &mut Self| {
            let key = choices.word(&["app", "tier", "team"]);
            match choices.below(4) {
                0 => json!({"key": key, "operator": "NotIn", "values": [choices.word(&APPS), "1"]}),
                1 => {
                    json!({"key": key, "operator": "In", "values": [choices.word(&APPS), choices.word(&["1", "2"])]})
                }
                2 => json!({"key": key, "operator": "Exists"}),
                _ => json!({"key": key, "operator": "DoesNotExist"}),
            }
        };
        match self.below(10) {
            0 | 8 | 9 => Some(json!({})),
            1..=3 => Some(json!({"matchLabels": {"app": self.word(&APPS)}})),
            4 => Some(
                json!({"matchLabels": {"app": self.word(&APPS), "tier": self.word(&["1", "2"])}}),
            ),
            5 => Some(json!({"matchExpressions": [expression(self)]})),
            6 => Some(
                json!({"matchLabels": {"app": self.word(&APPS)}, "matchExpressions": [expression(self), expression(self)]}),
            ),
            _ => None,
        }
    }
}
