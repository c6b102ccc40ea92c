//! What `explain` says would allow a connection allows it, takes nothing away, and opens little else.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use conformance::Case;
use conformance::world::{NOW, build, connection};
use node_agent_engine::k8s::{Decode, Validation, decode};
use node_agent_engine::verdict::{Decision, Reason, Verdict};
use node_agent_engine::{Cluster, Connection, Profile};

const SUITES: [&str; 5] = [
    "k8s-e2e-netpol",
    "cyclonus",
    "kube-network-policies",
    "cnp-conformance",
    "policy-assistant",
];
/// Of so many denied connections one is fixed, and each that both sides deny: most differ from their neighbours
/// in the port only.
const FIXED_ONE_IN: usize = 3;
/// Of so many fixes one is held against all other probes of its case: all against all would take hours.
const COMPARED_ONE_IN: usize = 31;

#[derive(Default)]
struct Tally {
    denied: usize,
    fixed: usize,
    /// Of those, how many both sides denied.
    both: usize,
    compared: usize,
    opened: usize,
}

#[test]
fn fixes_allow_and_take_nothing_away() {
    let mut tally = Tally::default();
    for suite in SUITES {
        let cases: Vec<Case> = conformance::read(suite).unwrap();
        for case in &cases {
            fix_each(case, &mut tally);
        }
    }
    println!(
        "{} connections allowed by their fix, {} of them denied by both sides; {} others judged before and after, {} of them opened too",
        tally.fixed, tally.both, tally.compared, tally.opened
    );
    assert!(tally.fixed > 5_000, "only {} were fixed", tally.fixed);
    assert!(tally.both > 90, "only {} denied by both", tally.both);
    assert!(tally.compared > 10_000, "only {} compared", tally.compared);
}

fn fix_each(case: &Case, tally: &mut Tally) {
    let cluster = build(case);
    let connections: Vec<Connection> = case
        .probes
        .iter()
        .map(|probe| connection(&cluster, probe))
        .collect();
    for connection in &connections {
        let before = cluster.evaluate(connection, Profile::Generic);
        let by_both = is_denied_by_both(&before);
        tally.denied += usize::from(before.verdict == Decision::Denied);
        if !tally.denied.is_multiple_of(FIXED_ONE_IN) && !by_both {
            continue;
        }
        let explanation = cluster.explain(connection, Profile::Generic);
        assert_eq!(explanation.verdict, before.verdict);
        if before.verdict != Decision::Denied {
            assert_eq!(explanation.fix, [], "{connection:?}");
            continue;
        }
        let objects = explanation.fix.iter().map(|fix| fix.object.as_str());
        let fixed = with(&cluster, objects);
        let after = fixed.evaluate(connection, Profile::Generic);
        assert!(
            allowed_where_denied(&before, &after),
            "{}: {connection:?}\n{:?}\n{after:?}",
            case.case,
            explanation.fix
        );
        tally.fixed += 1;
        tally.both += usize::from(by_both);
        if tally.fixed.is_multiple_of(COMPARED_ONE_IN) {
            compare(case, &connections, [&cluster, &fixed], tally);
        }
    }
}

fn is_denied_by_both(verdict: &Verdict) -> bool {
    let sides = [&verdict.egress, &verdict.ingress];
    sides
        .iter()
        .all(|side| side.reason == Reason::NoRuleMatched && side.verdict == Decision::Denied)
}

/// A side that was unknown may stay so, and what a rule of another tier denies no NetworkPolicy can allow.
fn allowed_where_denied(before: &Verdict, after: &Verdict) -> bool {
    [
        (&before.egress, &after.egress),
        (&before.ingress, &after.ingress),
    ]
    .into_iter()
    .all(|(before, after)| match (before.verdict, before.reason) {
        (Decision::Denied, Reason::RuleDenied) => after.denied_by == before.denied_by,
        (Decision::Denied | Decision::Allowed, _) => after.verdict == Decision::Allowed,
        (Decision::Unknown, _) => after.verdict != Decision::Denied,
    })
}

fn compare(
    case: &Case,
    connections: &[Connection],
    [before, after]: [&Cluster; 2],
    tally: &mut Tally,
) {
    for connection in connections {
        let [old, new] =
            [before, after].map(|cluster| cluster.evaluate(connection, Profile::Generic).verdict);
        assert!(
            old != Decision::Allowed || new == Decision::Allowed,
            "{}: a fix closes {connection:?}",
            case.case
        );
        tally.compared += 1;
        tally.opened += usize::from(old != new);
    }
}

fn with<'a>(cluster: &Cluster, objects: impl Iterator<Item = &'a str>) -> Cluster {
    let options = Decode {
        validation: Validation::Off,
        ..Decode::default()
    };
    let mut fixed = cluster.clone();
    for text in objects {
        let object = serde_saphyr::from_str(text).unwrap();
        for delta in decode(&object, &options).unwrap() {
            fixed.apply(&delta, NOW);
        }
    }
    fixed
}
