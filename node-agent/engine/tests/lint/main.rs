//! Each check of lint on cases that must trigger it and on cases that must not: `cases/N01.yaml` and so on.
//!
//! A case has a name, what the check finds (`severity field`, nothing when empty), and objects; `cluster: true`
//! adds those of `cluster.yaml`, a small cluster of which everything is known.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use node_agent_engine::lint::{Check, Options, lint};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    finds: Vec<String>,
    #[serde(default)]
    cluster: bool,
    #[serde(default)]
    pattern: Option<String>,
    /// A part of the message or of the fix of what is found.
    #[serde(default)]
    says: Option<String>,
    objects: Vec<Value>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lint")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn options(pattern: Option<&str>) -> Options {
    Options {
        default_namespace: "shop".into(),
        disabled: BTreeSet::new(),
        name_pattern: pattern.map(|pattern| pattern.parse().unwrap()),
    }
}

fn cases(check: Check) -> Vec<Case> {
    let path = folder().join(format!("cases/{check}.yaml"));
    serde_saphyr::from_str(&read(&path)).unwrap_or_else(|error| panic!("{check}: {error}"))
}

fn cluster() -> Vec<Value> {
    serde_saphyr::from_multiple(&read(&folder().join("cluster.yaml"))).unwrap()
}

#[test]
fn each_check_finds_what_it_must_and_no_more() {
    let mut wrong = Vec::new();
    let cluster = cluster();
    for check in Check::ALL {
        for case in cases(*check) {
            let mut objects = case.objects;
            if case.cluster {
                objects.extend(cluster.iter().cloned());
            }
            let report = lint(&objects, &options(case.pattern.as_deref()));
            let found = || {
                report
                    .findings
                    .iter()
                    .filter(|finding| finding.check == *check)
            };
            let mut fields: Vec<String> = found()
                .map(|finding| {
                    format!("{} {}", finding.severity, finding.field)
                        .trim_end()
                        .to_owned()
                })
                .collect();
            let mut expected = case.finds;
            fields.sort();
            expected.sort();
            if fields != expected {
                wrong.push(format!(
                    "{check} {}: {fields:?}, not {expected:?}",
                    case.name
                ));
            }
            if let Some(says) = case.says {
                let text = |finding: &node_agent_engine::lint::Finding| {
                    format!(
                        "{} {}",
                        finding.message(),
                        finding.fix.as_deref().unwrap_or_default()
                    )
                };
                if !found().any(|finding| text(finding).contains(&says)) {
                    let texts: Vec<String> = found().map(text).collect();
                    wrong.push(format!(
                        "{check} {}: {texts:?} do not say {says:?}",
                        case.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_check_has_cases_of_both_kinds() {
    for check in Check::ALL {
        let cases = cases(*check);
        assert!(
            cases.iter().any(|case| !case.finds.is_empty()),
            "{check} is never triggered"
        );
        assert!(
            cases.iter().any(|case| case.finds.is_empty()),
            "{check} is always triggered"
        );
    }
}

#[test]
fn a_disabled_check_finds_nothing() {
    for check in Check::ALL {
        let mut options = options(None);
        options.disabled.insert(*check);
        for case in cases(*check) {
            let report = lint(&case.objects, &options);
            assert!(
                report
                    .findings
                    .iter()
                    .all(|finding| finding.check != *check),
                "{check}"
            );
        }
    }
}

#[test]
fn a_good_cluster_has_no_findings() {
    let report = lint(&cluster(), &options(None));
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|finding| format!("{} {} {}", finding.check, finding.field, finding.message()))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(report.policies, 0);
}

#[test]
fn what_is_no_policy_and_cannot_be_read_is_left_out_and_said() {
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 7}});
    let report = lint(&[pod], &options(None));
    assert_eq!(report.left_out.len(), 1);
    assert_eq!(report.left_out[0].0, 0);
}

#[test]
fn checks_are_known_by_their_numbers() {
    assert_eq!("n07".parse(), Ok(Check::N07));
    for unknown in ["N32", "N33", "N36", "7", ""] {
        assert!(unknown.parse::<Check>().is_err(), "{unknown}");
    }
    let numbers: BTreeSet<&str> = Check::ALL.iter().map(|check| check.number()).collect();
    assert_eq!(numbers.len(), 33);
}
