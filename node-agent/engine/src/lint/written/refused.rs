//! What to write instead of what the API server refuses (V1 to V14), where that can be told.

use std::net::IpAddr;

use serde_json::Value;

use crate::k8s::Rejection;
use crate::lint::path::{at, parent};

/// What to write in place of what is refused in an object.
pub(super) fn fix(object: &Value, rejection: &Rejection) -> Option<String> {
    let Rejection {
        field,
        rule,
        message,
        ..
    } = rejection;
    let found = at(object, field);
    let text = found.and_then(Value::as_str).unwrap_or_default();
    let fix = match *rule {
        "V1" => protocol(text),
        "V2" => "write a number from 1 to 65535; for every port leave out `port`".to_owned(),
        "V3" => port_name(text),
        "V4" => "write `port` too: the range begins there".to_owned(),
        "V5" => "write the number instead of the name: a range has two numbers".to_owned(),
        "V6" => return range(parent(object, field)?),
        "V7" if object.get("kind").is_some_and(|kind| kind != "NetworkPolicy") => {
            "write `namespaces`, or `pods` with both of its selectors; `namespaces: {}` is everybody"
                .to_owned()
        }
        "V7" => {
            "write a podSelector, a namespaceSelector or an ipBlock; if everybody is meant, leave out the list"
                .to_owned()
        }
        "V8" => "make two items of it: the ipBlock is one, the selector another".to_owned(),
        "V9" | "V10" => return block(text, message),
        "V12" => return policy_type(field, found?),
        "V13" => return name(text),
        "V14" => return other_type(message, found?),
        _ => return None,
    };
    Some(fix)
}

fn protocol(text: &str) -> String {
    let known = ["TCP", "UDP", "SCTP"];
    match known
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(text))
    {
        Some(known) => format!("write `protocol: {known}`"),
        None => "write TCP, UDP and SCTP ports; policies cannot name another protocol, and a rule \
                 without ports is for all"
            .to_owned(),
    }
}

fn port_name(text: &str) -> String {
    match text.parse::<u16>() {
        Ok(number) => format!("write `port: {number}`: in quotes it is a port's name"),
        Err(_) => "write the number, or the name that the container gives its port".to_owned(),
    }
}

/// Two numbers of which the first is greater.
fn range(port: &Value) -> Option<String> {
    let number = |field: &str| port.get(field).and_then(Value::as_u64);
    let (first, last) = (number("port")?, number("endPort")?);
    (last < first && last > 0).then(|| format!("write `port: {last}` and `endPort: {first}`"))
}

fn block(text: &str, message: &str) -> Option<String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        let length = if ip.is_ipv4() { 32 } else { 128 };
        return Some(format!(
            "write `{ip}/{length}` if this one address is meant"
        ));
    }
    message.contains("strict subset").then(|| {
        "leave it out, or except a block that lies inside `cidr` and is smaller".to_owned()
    })
}

fn policy_type(field: &str, found: &Value) -> Option<String> {
    let is_rule = found.get("from").or_else(|| found.get("to")).is_some();
    if field.starts_with("spec.policyTypes[") && is_rule {
        return Some(RULE_AS_TYPE.to_owned());
    }
    let text = found.as_str()?;
    let known = ["Ingress", "Egress"];
    let known = known
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(text))?;
    Some(format!("write `{known}`"))
}

const RULE_AS_TYPE: &str =
    "a rule stands in the list policyTypes: write `ingress:` or `egress:` above it";

/// The same in the letters that a name may have.
fn name(text: &str) -> Option<String> {
    let is_legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
    let letters = text.chars();
    let name: String = letters
        .map(|letter| {
            if is_legal(letter) {
                letter.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let name = name.trim_matches(['-', '.']);
    (!name.is_empty() && name.len() <= 253)
        .then(|| format!("write `{name}`: names have small letters, digits, - and ."))
}

/// A value of another type than the field has.
fn other_type(message: &str, found: &Value) -> Option<String> {
    if let Value::Object(fields) = found
        && (fields.contains_key("from") || fields.contains_key("to"))
        && message.starts_with("must be a string")
    {
        return Some(RULE_AS_TYPE.to_owned());
    }
    let fix = match (message.strip_prefix("must be ")?, found) {
        (wanted, Value::Bool(_) | Value::Number(_)) if wanted.starts_with("a string") => {
            "put it in quotes: YAML reads yes, no, on, off, y, n and numbers otherwise"
        }
        (wanted, Value::String(text))
            if wanted.starts_with("a whole number") && text.parse::<u64>().is_ok() =>
        {
            "take it out of quotes: this field is a number"
        }
        (wanted, Value::Object(_)) if wanted.starts_with("a list") => {
            "write `- ` before it: it is an item of a list"
        }
        (wanted, Value::Array(_)) if wanted.starts_with("an object") => {
            "leave out the `- ` before it: there is just one"
        }
        _ => return None,
    };
    Some(fix.to_owned())
}
