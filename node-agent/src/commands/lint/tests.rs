//! From files to what is printed.

use clap::Parser;
use serde_json::Value;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: LintArgs,
}

const POLICIES: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: v1
kind: List
items:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata:
    name: scrape
  spec:
    podSelector: {}
    ingress:
    - from:
      - namespaceSelector:
          matchLabels: {name: monitoring}
    egress: []
";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn printed(folder: &tempfile::TempDir, format: Format) -> String {
    let (manifests, notices) = Manifests::read(&[folder.path().to_owned()]).unwrap();
    assert_eq!(notices, []);
    let options = Options {
        default_namespace: "shop".into(),
        disabled: BTreeSet::new(),
        name_pattern: None,
    };
    let report = lint::lint(manifests.values(), &options);
    let located: Vec<_> = report
        .findings
        .iter()
        .map(|finding| Located {
            file: "p.yaml".to_owned(),
            ..locate(&manifests, finding)
        })
        .collect();
    let mut out = anstream::StripStream::new(Vec::new());
    write_as(format, &mut out, &located).unwrap();
    String::from_utf8(out.into_inner()).unwrap()
}

fn run_on(flags: &str, folder: &tempfile::TempDir) -> Result<Found, Error> {
    let path = folder.path().to_str().unwrap();
    let words = ["lint", "--cluster", path]
        .into_iter()
        .chain(flags.split_whitespace());
    run(Cli::try_parse_from(words)
        .unwrap_or_else(|error| panic!("{error}"))
        .args)
}

#[test]
fn text_says_what_where_so_what_and_how_to_mend_it() {
    let text = printed(&folder(&[("p.yaml", POLICIES)]), Format::Text);
    let expected = "\
p.yaml:16:9: error N01: no namespace has name=monitoring
    in   NetworkPolicy shop/scrape, spec.ingress[0].from[0].namespaceSelector
    so   this peer is nobody
    fix  namespace monitoring is there without that label: write `kubernetes.io/metadata.name: monitoring`, which every namespace has, or label it

p.yaml:18:5: warning N13: an empty egress list without policyTypes
    in   NetworkPolicy shop/scrape, spec.egress
    so   the policy is for ingress only, and all egress stays allowed
    fix  write `policyTypes: [Ingress, Egress]`, or [Egress] alone
";
    assert_eq!(text, expected);
}

#[test]
fn json_is_one_object_a_line() {
    let text = printed(&folder(&[("p.yaml", POLICIES)]), Format::Json);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["check"], "N01");
    assert_eq!(lines[0]["severity"], "error");
    assert_eq!(
        lines[0]["object"],
        serde_json::json!({"kind": "NetworkPolicy", "namespace": "shop", "name": "scrape"})
    );
    assert_eq!(
        lines[0]["field"],
        "spec.ingress[0].from[0].namespaceSelector"
    );
    assert!(
        lines[0]["message"]
            .as_str()
            .unwrap()
            .contains("name=monitoring")
    );
    assert!(
        lines[0]["fix"]
            .as_str()
            .unwrap()
            .contains("kubernetes.io/metadata.name")
    );
    assert_eq!(
        (&lines[0]["line"], &lines[1]["line"]),
        (&16.into(), &18.into())
    );
}

#[test]
fn sarif_has_what_code_scanning_needs() {
    let text = printed(&folder(&[("p.yaml", POLICIES)]), Format::Sarif);
    let log: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "netverdict");
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for (result, (rule, level, line)) in results
        .iter()
        .zip([("N01", "error", 16), ("N13", "warning", 18)])
    {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(result["ruleId"], rule);
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], rule);
        assert_eq!(result["level"], level);
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "p.yaml");
        assert_eq!(place["region"]["startLine"], line);
    }
}

#[test]
fn nothing_found_is_still_a_log() {
    let text = printed(
        &folder(&[("p.yaml", "{apiVersion: v1, kind: Secret}")]),
        Format::Sarif,
    );
    let log: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(log["runs"][0]["results"], Value::Array(Vec::new()));
}

#[test]
fn what_is_found_decides_the_exit_code() {
    let warning = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, egress: []}}";
    let table = [
        (POLICIES, "", Found::Something),
        (POLICIES, "--fail-on error", Found::Something),
        (POLICIES, "--fail-on error --disable N01", Found::Nothing),
        (POLICIES, "--disable N01,n13", Found::Nothing),
        (warning, "", Found::Something),
        (warning, "--fail-on warning", Found::Something),
        (warning, "--fail-on error", Found::Nothing),
        (
            warning,
            "--disable N13 --policy-name-pattern ^p$",
            Found::Nothing,
        ),
        (
            warning,
            "--disable N13 --policy-name-pattern ^q$",
            Found::Something,
        ),
    ];
    for (text, flags, expected) in table {
        let found = run_on(flags, &folder(&[("p.yaml", text)])).unwrap();
        assert_eq!(found, expected, "{flags}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    for files in [
        &[][..],
        &[("a.yaml", "a: [")],
        &[("a.json", "{")],
        &[("a.yaml", "# later\n")],
    ] {
        assert!(run_on("", &folder(files)).is_err(), "{files:?}");
    }
}

#[test]
fn bad_flags_are_refused() {
    for flags in [
        "--disable N99",
        "--policy-name-pattern (",
        "--fail-on never",
        "-o xml",
    ] {
        let words = ["lint", "--cluster", "x"]
            .into_iter()
            .chain(flags.split_whitespace());
        assert!(Cli::try_parse_from(words).is_err(), "{flags}");
    }
    assert!(Cli::try_parse_from(["lint"]).is_err());
}
