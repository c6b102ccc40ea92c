//! A rule as YAML, in flow style where it is short.

use std::fmt::Write as _;

use crate::model::{
    NamespaceMatch, Operator, Peer, Peers, PortMatch, PortSpec, Ports, Requirement, Rule, Selector,
};

/// The rule as an item of `spec.ingress` or `spec.egress`; `list` is `from` or `to`.
pub(super) fn rule(list: &str, rule: &Rule) -> String {
    let mut fields = Vec::new();
    match &rule.peers {
        Peers::Any => {}
        Peers::Of(peers) => fields.push(format!("{list}: [{}]", each(peers, peer))),
    }
    match &rule.ports {
        Ports::Any => {}
        Ports::Of(ports) => fields.push(format!("ports: [{}]", each(ports, port))),
    }
    if fields.is_empty() {
        return "- {}".to_owned();
    }
    format!("- {}", fields.join("\n  "))
}

fn each<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
    items.iter().map(write).collect::<Vec<_>>().join(", ")
}

fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Pods {
            namespaces: NamespaceMatch::Own,
            pods,
        } => format!("{{podSelector: {}}}", selector(pods)),
        Peer::Pods {
            namespaces: NamespaceMatch::Matching(namespaces),
            pods,
        } => {
            format!(
                "{{namespaceSelector: {}, podSelector: {}}}",
                selector(namespaces),
                selector(pods)
            )
        }
        Peer::Block { cidr, except } if except.is_empty() => {
            format!("{{ipBlock: {{cidr: {}}}}}", scalar(&cidr.to_string()))
        }
        Peer::Block { cidr, except } => {
            let except = each(except, |hole| scalar(&hole.to_string()));
            format!(
                "{{ipBlock: {{cidr: {}, except: [{except}]}}}}",
                scalar(&cidr.to_string())
            )
        }
        Peer::OwnNetworkPods { namespaces, pods } => {
            format!(
                "{{pods: {{namespaceSelector: {}, podSelector: {}}}}}",
                selector(namespaces),
                selector(pods)
            )
        }
        Peer::Nodes(nodes) => format!("{{nodes: {}}}", selector(nodes)),
        Peer::Networks(networks) => {
            let networks = each(networks, |network| scalar(&network.to_string()));
            format!("{{networks: [{networks}]}}")
        }
        Peer::Domains(domains) => {
            let domains = each(domains, |domain| scalar(&domain.to_string()));
            format!("{{domainNames: [{domains}]}}")
        }
    }
}

fn port(port: &PortMatch) -> String {
    let protocol = port
        .protocol
        .map(|protocol| format!("protocol: {protocol}"));
    let number = match &port.port {
        PortSpec::Any => None,
        PortSpec::Range { first, last } if first == last => Some(format!("port: {first}")),
        PortSpec::Range { first, last } => Some(format!("port: {first}, endPort: {last}")),
        PortSpec::Named(name) => Some(format!("port: {}", scalar(name))),
    };
    let fields: Vec<String> = protocol.into_iter().chain(number).collect();
    format!("{{{}}}", fields.join(", "))
}

fn selector(selector: &Selector) -> String {
    let mut labels = Vec::new();
    let mut expressions = Vec::new();
    for Requirement { key, operator } in &selector.requirements {
        let key = scalar(key);
        let values = |values: &[std::sync::Arc<str>]| each(values, |value| scalar(value));
        match operator {
            Operator::In(list) => match list.as_slice() {
                [value] => labels.push(format!("{key}: {}", scalar(value))),
                several => expressions.push(format!(
                    "{{key: {key}, operator: In, values: [{}]}}",
                    values(several)
                )),
            },
            Operator::NotIn(list) => expressions.push(format!(
                "{{key: {key}, operator: NotIn, values: [{}]}}",
                values(list)
            )),
            Operator::Exists => expressions.push(format!("{{key: {key}, operator: Exists}}")),
            Operator::DoesNotExist => {
                expressions.push(format!("{{key: {key}, operator: DoesNotExist}}"))
            }
        }
    }
    let mut fields = Vec::new();
    if !labels.is_empty() {
        fields.push(format!("matchLabels: {{{}}}", labels.join(", ")));
    }
    if !expressions.is_empty() {
        fields.push(format!("matchExpressions: [{}]", expressions.join(", ")));
    }
    format!("{{{}}}", fields.join(", "))
}

/// A string that YAML 1.1 and 1.2 both read as that string: plain when nothing can go wrong, else quoted.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 10] = [
        "true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan",
    ];
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    // A block of IPv4 addresses has two dots and a slash: no number in any YAML.
    let is_block = text.contains('/') && text.parse::<ipnet::Ipv4Net>().is_ok();
    if is_block || (begins && !word && text.chars().all(harmless)) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::scalar;

    #[test]
    fn scalars_stay_strings() {
        let table = [
            ("kasm-agent", "kasm-agent"),
            ("app.kubernetes.io/name", "app.kubernetes.io/name"),
            ("10.0.0.1/32", "10.0.0.1/32"),
            ("2001:db8::1/128", "\"2001:db8::1/128\""),
            ("true", "\"true\""),
            ("No", "\"No\""),
            ("1.5", "\"1.5\""),
            ("1e3", "\"1e3\""),
            ("", "\"\""),
        ];
        for (text, expected) in table {
            assert_eq!(scalar(text), expected);
        }
    }
}
