//! A record in plain words.

use std::fmt::Write;

use netns::record::Record;
use owo_colors::{OwoColorize, Style};
use serde_json::Value;

/// Width of the word at the front.
const FRONT: usize = 17;
/// Longest line of prose.
const WIDTH: usize = 110;

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
    for words in told(record).iter().flat_map(|text| wrapped(text)) {
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

/// The text in lines that fit beside the word at the front.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= WIDTH - FRONT => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
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
    let text = |pointer: &str| record.text(pointer);
    let lines = match record.assessment() {
        "allowed" => vec![format!("{}. {}", went(record), allowed_by(record))],
        "refused" => {
            vec!["It arrived, and nothing listens there. No policy stands in its way.".to_owned()]
        }
        "blocked" => vec![
            format!(
                "Stopped, as policy wants; {}. {}",
                saw(record),
                isolated(record)
            ),
            nearest(record),
        ],
        "unenforced" => vec![
            format!(
                "{}, although policy forbids it. {}",
                went(record),
                isolated(record)
            ),
            nearest(record),
        ],
        "unexpected_drop" => vec![
            format!("Dropped, although policy allows it. {}", allowed_by(record)),
            format!(
                "The kernel's reason is {}, in {}.",
                text("/outcome/drop_reason").unwrap_or("not known"),
                text("/outcome/where").unwrap_or("a place not known")
            ),
        ],
        "unanswered" => vec!["Nobody answered. No policy stands in its way.".to_owned()],
        _ => vec![format!(
            "Nothing is claimed: {}.",
            text("/unknown_because").unwrap_or("no reason given")
        )],
    };
    lines.into_iter().filter(|line| !line.is_empty()).collect()
}

fn went(record: &Record) -> &'static str {
    match record.outcome() {
        "answered" => "Answered",
        "refused" => "It arrived",
        _ => "It arrived",
    }
}

fn saw(record: &Record) -> &'static str {
    match record.text("/outcome/client_saw") {
        Some("port_unreachable" | "prohibited" | "unreachable" | "reset") => {
            "the client was told so"
        }
        _ => "the client waits in vain",
    }
}

/// The side that denies, or the side with a rule that allows.
fn side(record: &Record) -> Option<(&'static str, &Value)> {
    let direction = record.text("/direction")?;
    let side = record.value.pointer(&format!("/verdict/{direction}"))?;
    Some((if direction == "egress" { "out" } else { "in" }, side))
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

/// Why nothing lets it pass.
fn isolated(record: &Record) -> String {
    let Some((way, side)) = side(record) else {
        return String::new();
    };
    if let Some(denying) = side.get("denied_by") {
        let rule = denying.get("rule").and_then(Value::as_u64).unwrap_or(0);
        let name = denying.get("policy").map_or_else(String::new, policy);
        return format!("Rule {rule} of {name} denies it; no other policy can allow it.");
    }
    let by: Vec<String> = side
        .get("isolated_by")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(policy)
        .collect();
    match by.as_slice() {
        [only] => format!("{only} does not let it {way}."),
        _ => format!("No rule of {} policies lets it {way}.", by.len()),
    }
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
    format!("Nearest: {name} {}.", missed.join(", and "))
}

fn missed(value: &Value) -> String {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("?");
    let (wanted, found) = (text("wanted"), text("found"));
    match text("what") {
        "pod_labels" => format!("wants a pod with {wanted}, this one has {found}"),
        "namespace_labels" => format!("wants a namespace with {wanted}, this one has {found}"),
        "namespace" => format!("looks only into namespace {wanted}, not {found}"),
        "not_a_pod" => format!("wants a pod, this is {found}"),
        "except" => format!("excepts {wanted}, where {found} lies"),
        "cidr" => format!("wants an address in {wanted}, this is {found}"),
        "family" => format!("wants {wanted}, this is {found}"),
        "protocol" => format!("wants {wanted}, this is {found}"),
        "port" | "end_port" | "named_port" => format!("wants port {wanted}, this is {found}"),
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
            let mut lines = vec![format!("To allow it, add to {field} of {name}:")];
            lines.extend(added.lines().map(|line| format!("  {line}")));
            lines
        }
        "unenforced" => vec![
            "To fix: this node has no firewall rule that stops it. Look at what the CNI loaded for that pod.".to_owned(),
        ],
        "unexpected_drop" => vec![
            "To fix: find the rule that no policy asks for, with `nft list ruleset` on the node."
                .to_owned(),
        ],
        _ => Vec::new(),
    }
}
