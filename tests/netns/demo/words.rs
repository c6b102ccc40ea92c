//! A record in plain words.

use std::fmt::Write;

use netns::record::Record;
use owo_colors::{OwoColorize, Style};
use serde_json::Value;

/// Width of the word at the front.
const FRONT: usize = 17;

/// The record in a few lines, coloured; `None` for records that tell a viewer nothing.
pub(crate) fn of(record: &Record) -> Option<String> {
    if record.kind() != "connection" {
        return None;
    }
    let assessment = record.assessment();
    let front = format!("{:<FRONT$}", plain(assessment).to_uppercase());
    let mut text = format!("{}{}", front.style(style(assessment)), who(record));
    let mut line = |words: String| {
        // Nothing is ever refused by a string.
        let _ = write!(text, "\n{:FRONT$}{words}", "");
    };
    for words in told(record) {
        line(words);
    }
    for words in fix(record) {
        line(words.dimmed().to_string());
    }
    Some(text)
}

/// The assessment's word, without its underscore.
pub(crate) fn plain(assessment: &str) -> &str {
    match assessment {
        "unexpected_drop" => "unexpected drop",
        other => other,
    }
}

fn style(assessment: &str) -> Style {
    match assessment {
        "allowed" => Style::new().green().bold(),
        "blocked" => Style::new().cyan().bold(),
        "unenforced" => Style::new().white().on_red().bold(),
        "unexpected_drop" => Style::new().red().bold(),
        _ => Style::new().yellow().bold(),
    }
}

/// From whom, to whom, which port.
fn who(record: &Record) -> String {
    let port = record.number("/destination/port").unwrap_or_default();
    let protocol = record.text("/protocol").unwrap_or_default();
    let family = record.text("/family").unwrap_or_default();
    let name = record
        .text("/destination/port_name")
        .map_or_else(String::new, |name| format!(" {name}"));
    format!(
        "{} → {} port {port}{name} {}",
        end(record, "source").bold(),
        end(record, "destination").bold(),
        format!("({protocol}, {family})").dimmed()
    )
}

fn end(record: &Record, side: &str) -> String {
    let text = |field: &str| record.text(&format!("/{side}/{field}"));
    match (text("namespace"), text("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        _ => text("ip").unwrap_or("?").to_owned(),
    }
}

/// What happened, and why.
fn told(record: &Record) -> Vec<String> {
    match record.assessment() {
        "allowed" => vec![format!("{}, as it should. {}", went(record), allowed_by(record))],
        "refused" => vec!["It reached the pod, and nothing listens there. Policy allows it: not a policy problem.".to_owned()],
        "blocked" => vec![
            format!("Stopped ({}), as policy wants. {}", saw(record), isolated(record)),
            nearest(record),
        ],
        "unenforced" => vec![
            format!("{}, although policy forbids it. {}", went(record), isolated(record)),
            nearest(record),
        ],
        "unexpected_drop" => vec![
            format!("Dropped, although policy allows it. {}", allowed_by(record)),
            format!("The kernel says {} in {}.", record.text("/outcome/drop_reason").unwrap_or("nothing"), record.text("/outcome/where").unwrap_or("an unknown place")),
        ],
        "unanswered" => vec!["Nobody answered. Policy allows it: not a policy problem.".to_owned()],
        _ => vec![format!("Nothing is claimed: {}.", record.text("/unknown_because").unwrap_or("no reason given"))],
    }
    .into_iter()
    .filter(|line| !line.is_empty())
    .collect()
}

fn went(record: &Record) -> &'static str {
    match record.outcome() {
        "answered" => "It got an answer",
        "refused" => "It reached the pod",
        _ => "It was delivered",
    }
}

fn saw(record: &Record) -> &'static str {
    match record.text("/outcome/client_saw") {
        Some("port_unreachable" | "prohibited" | "unreachable" | "reset") => "the client was told",
        _ => "the client still waits",
    }
}

/// The side that denies, or the side with a rule that allows.
fn side(record: &Record) -> Option<(&'static str, &Value)> {
    let direction = record.text("/direction")?;
    let side = record.value.pointer(&format!("/verdict/{direction}"))?;
    Some((
        if direction == "egress" {
            "out of"
        } else {
            "into"
        },
        side,
    ))
}

fn policy(value: &Value) -> String {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    match (text("namespace"), text("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.to_owned(),
        _ => "a policy".to_owned(),
    }
}

fn allowed_by(record: &Record) -> String {
    let rules: Vec<String> = ["egress", "ingress"]
        .iter()
        .filter_map(|side| {
            record
                .value
                .pointer(&format!("/verdict/{side}/allowed_by/policy"))
        })
        .map(policy)
        .collect();
    if rules.is_empty() {
        "No policy isolates either end.".to_owned()
    } else {
        format!("Allowed by {}.", rules.join(" and "))
    }
}

fn isolated(record: &Record) -> String {
    let Some((way, side)) = side(record) else {
        return String::new();
    };
    let whom = end(
        record,
        if way == "into" {
            "destination"
        } else {
            "source"
        },
    );
    let by: Vec<String> = side
        .get("isolated_by")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(policy)
        .collect();
    format!(
        "No rule lets it {way} {whom}, isolated by {}.",
        by.join(", ")
    )
}

/// The rule that came nearest and what it missed.
fn nearest(record: &Record) -> String {
    let Some(nearest) = side(record).and_then(|(_, side)| side.get("nearest")) else {
        return String::new();
    };
    let missed: Vec<String> = nearest
        .get("missed")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(missed)
        .collect();
    let name = nearest.get("policy").map_or_else(String::new, policy);
    format!("The nearest rule, in {name}, {}.", missed.join(", and "))
}

fn missed(value: &Value) -> String {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("?");
    let (wanted, found) = (text("wanted"), text("found"));
    match text("what") {
        "pod_labels" => format!("wants a pod with {wanted} and found {found}"),
        "namespace_labels" => format!("wants a namespace with {wanted} and found {found}"),
        "namespace" => format!("looks only into namespace {wanted}, not {found}"),
        "not_a_pod" => format!("wants a pod and found {found}"),
        "except" => format!("excepts {wanted}, and {found} lies there"),
        "cidr" => format!("wants an address in {wanted}, and {found} is not"),
        "family" => format!("wants {wanted}, and this is {found}"),
        "protocol" => format!("wants {wanted}, and this is {found}"),
        "port" | "end_port" | "named_port" => format!("wants port {wanted}, and this is {found}"),
        other => format!("misses {other}: wants {wanted}, found {found}"),
    }
}

/// What to do about it.
fn fix(record: &Record) -> Vec<String> {
    let rule = side(record).and_then(|(_, side)| side.get("would_allow"));
    let text = |field: &str| {
        rule.and_then(|rule| rule.get(field))
            .and_then(Value::as_str)
    };
    match record.assessment() {
        "blocked" => {
            let (Some(field), Some(added)) = (text("field"), text("rule")) else {
                return Vec::new();
            };
            let name = rule
                .and_then(|rule| rule.get("policy"))
                .map_or_else(String::new, policy);
            let mut lines = vec![format!("Should it be allowed? Add to {field} of {name}:")];
            lines.extend(added.lines().map(|line| format!("  {line}")));
            lines
        }
        "unenforced" => vec![
            "Fix: the firewall of this node lacks a rule for that pod. Ask the CNI.".to_owned(),
        ],
        "unexpected_drop" => vec![
            "Fix: a rule on this node drops it that no policy asks for: nft list ruleset."
                .to_owned(),
        ],
        _ => Vec::new(),
    }
}
