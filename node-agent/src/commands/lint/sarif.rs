//! Findings as SARIF 2.1.0, which code scanning reads.
//!
//! Of the format only what a finding fills: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>.

use std::io::{self, Write};

use node_agent_engine::lint::{Check, Severity};
use serde::Serialize;

use super::Located;
use crate::shown::pretty_json;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool,
    column_kind: &'static str,
    results: Vec<SarifResult<'a>>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    short_description: Message,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult<'a> {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: [Location<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location<'a> {
    physical_location: PhysicalLocation,
    logical_locations: [LogicalLocation<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u64,
    start_column: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation<'a> {
    name: &'a str,
    fully_qualified_name: String,
    kind: &'static str,
}

/// Writes one log with one run.
pub(super) fn write(out: &mut impl Write, findings: &[Located<'_>]) -> io::Result<()> {
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool { driver: driver() },
            column_kind: "unicodeCodePoints",
            results: findings.iter().map(result).collect(),
        }],
    };
    let json = serde_json::to_string_pretty(&log)?;
    writeln!(out, "{}", pretty_json(&json))
}

fn driver() -> Driver {
    let rule = |check: &Check| Rule {
        id: check.number(),
        short_description: Message {
            text: check.title().to_owned(),
        },
    };
    Driver {
        name: "netverdict",
        version: env!("CARGO_PKG_VERSION"),
        rules: Check::ALL.iter().map(rule).collect(),
    }
}

fn result<'a>(located: &Located<'a>) -> SarifResult<'a> {
    let finding = located.finding;
    let rule_index = Check::ALL.iter().position(|check| *check == finding.check);
    let fix = finding.fix.as_ref();
    let fix = fix.map(|fix| format!(" Fix: {fix}")).unwrap_or_default();
    let object = &finding.object;
    SarifResult {
        rule_id: finding.check.number(),
        rule_index: rule_index.unwrap_or_default(),
        level: match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "note",
        },
        message: Message {
            text: format!("{}.{fix}", finding.message()),
        },
        locations: [Location {
            physical_location: PhysicalLocation {
                artifact_location: ArtifactLocation {
                    uri: uri(&located.file),
                },
                region: located.place.map(|place| Region {
                    start_line: place.line,
                    start_column: place.column,
                }),
            },
            logical_locations: [LogicalLocation {
                name: &object.name,
                fully_qualified_name: format!(
                    "{}/{}/{}/{}",
                    object.kind, object.namespace, object.name, finding.field
                ),
                kind: "object",
            }],
        }],
    }
}

/// A path as a URI: relative ones stay so, which is what code scanning resolves in its checkout.
fn uri(file: &str) -> String {
    let mut uri = String::new();
    if file.starts_with('/') {
        uri += "file://";
    }
    for byte in file.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri += &format!("%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        let table = [
            ("stdin", "stdin"),
            ("./a/b.yaml", "a/b.yaml"),
            ("a b/ü.yaml", "a%20b/%C3%BC.yaml"),
            ("/a.yaml", "file:///a.yaml"),
        ];
        for (file, expected) in table {
            assert_eq!(uri(file), expected);
        }
    }
}
