//! What an unknown field stands in, what is left of that without it, and where the field belongs (R43).

use serde_json::Value;

use crate::record::Direction;

/// What an unknown field stands in.
pub(super) enum Around {
    Selector(&'static str),
    Rule(Direction),
    Peer,
    Port,
    Spec,
    Other,
}

impl Around {
    /// Says what the last of these steps stands in.
    pub(super) fn of(steps: &[&str]) -> Self {
        match steps {
            [.., "podSelector", _] => Self::Selector("pod"),
            [.., "namespaceSelector", _] => Self::Selector("namespace"),
            ["spec", "ingress", _, _] => Self::Rule(Direction::Ingress),
            ["spec", "egress", _, _] => Self::Rule(Direction::Egress),
            ["spec", "ingress" | "egress", _, "from" | "to", _, _] => Self::Peer,
            ["spec", "ingress" | "egress", _, "ports", _, _] => Self::Port,
            ["spec", _] => Self::Spec,
            _ => Self::Other,
        }
    }

    /// The fields that belong there.
    pub(super) fn knows(&self, field: &str) -> bool {
        let known: &[&str] = match self {
            Self::Selector(_) => &["matchLabels", "matchExpressions"],
            Self::Rule(Direction::Ingress) => &["from", "ports"],
            Self::Rule(Direction::Egress) => &["to", "ports"],
            Self::Peer => &["podSelector", "namespaceSelector", "ipBlock"],
            Self::Port => &["protocol", "port", "endPort"],
            Self::Spec => &["podSelector", "ingress", "egress", "policyTypes"],
            Self::Other => &[],
        };
        known.contains(&field)
    }

    /// What it does without the unknown field; `remains` when it has another one.
    pub(super) fn without(&self, remains: bool) -> String {
        match (self, remains) {
            (Self::Selector(what), false) => {
                format!("the selector is empty and matches every {what}")
            }
            (Self::Selector(_), true) => "only the other requirements count".to_owned(),
            (Self::Rule(Direction::Ingress), false) => {
                "the rule is empty and lets everybody in".to_owned()
            }
            (Self::Rule(Direction::Egress), false) => {
                "the rule is empty and lets everything out".to_owned()
            }
            (Self::Rule(_), true) => "the rule is wider than written".to_owned(),
            (Self::Peer, false) => "the peer is empty and refused".to_owned(),
            (Self::Peer, true) => "the peer is wider than written".to_owned(),
            (Self::Port, false) => "every TCP port is meant".to_owned(),
            (Self::Port, true) => "the port is another one than written".to_owned(),
            (Self::Spec | Self::Other, _) => "what it says is lost".to_owned(),
        }
    }

    /// Where the field belongs, when that can be told.
    pub(super) fn fix(&self, name: &str, value: Option<&Value>) -> Option<String> {
        let fix = match (self, name) {
            (Self::Selector(_), _) => {
                let Some(Value::String(text)) = value else {
                    return None;
                };
                format!("write `matchLabels: {{{name}: {text}}}`")
            }
            (Self::Rule(Direction::Egress), "from") => "egress rules have `to`".to_owned(),
            (Self::Rule(Direction::Ingress), "to") => "ingress rules have `from`".to_owned(),
            (Self::Rule(_), "podSelector" | "namespaceSelector" | "ipBlock") => {
                format!("`{name}` is an item of the rule's list of peers")
            }
            (Self::Rule(_), "port" | "protocol" | "endPort") => {
                format!("`{name}` is part of an item of the list `ports`")
            }
            (Self::Peer, "ports" | "port" | "protocol" | "endPort") => {
                "ports stand beside the list of peers, in `ports`, not in it".to_owned()
            }
            (Self::Peer | Self::Port, "matchLabels" | "matchExpressions") => {
                format!("`{name}` stands in a podSelector or namespaceSelector; indent it")
            }
            (Self::Peer, "cidr" | "except") => format!("`{name}` stands in an ipBlock; indent it"),
            (Self::Spec, "from" | "to" | "ports") => {
                format!("`{name}` stands in an item of `ingress` or `egress`")
            }
            (Self::Spec, "matchLabels" | "matchExpressions") => {
                format!("`{name}` stands in podSelector; indent it")
            }
            (Self::Rule(_) | Self::Peer | Self::Port | Self::Spec | Self::Other, _) => return None,
        };
        Some(fix)
    }
}
