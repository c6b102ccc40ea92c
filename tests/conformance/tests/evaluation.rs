//! Every case of every suite: no wrong verdict where the specification is certain. What the engine calls
//! unknown there is wrong too.

use conformance::world::{build, connection};
use conformance::{Case, Expected};
use node_agent_engine::Profile;
use node_agent_engine::verdict::Decision;

/// Every suite, and how many certain probes it had when this was written.
const SUITES: [(&str, usize); 5] = [
    ("k8s-e2e-netpol", 506),
    ("cyclonus", 109_956),
    ("kube-network-policies", 114),
    ("cnp-conformance", 301),
    ("policy-assistant", 562),
];

#[derive(Default)]
struct Tally {
    cases: usize,
    judged: usize,
    open: usize,
    open_differs: usize,
    wrong: Vec<String>,
}

#[test]
fn no_verdict_is_wrong() {
    let mut wrong = Vec::new();
    for (suite, floor) in SUITES {
        let cases: Vec<Case> = conformance::read(suite).unwrap();
        let certain: usize = cases
            .iter()
            .map(|case| case.probes.iter().filter(|probe| probe.certain).count())
            .sum();
        let mut tally = Tally::default();
        for case in &cases {
            judge(case, &mut tally);
        }
        println!(
            "{suite}: {} cases, {} probes judged, {} wrong; {} left open, {} of them other than the suite has it",
            tally.cases,
            tally.judged,
            tally.wrong.len(),
            tally.open,
            tally.open_differs
        );
        assert_eq!(
            tally.judged, certain,
            "{suite}: every certain probe is judged"
        );
        assert!(
            tally.judged >= floor,
            "{suite}: only {} probes judged",
            tally.judged
        );
        wrong.append(&mut tally.wrong);
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong
            .iter()
            .take(40)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
}

fn judge(case: &Case, tally: &mut Tally) {
    tally.cases += 1;
    let cluster = build(case);
    for probe in &case.probes {
        let connection = connection(&cluster, probe);
        let verdict = cluster.evaluate(&connection, Profile::Generic);
        let sides = [
            ("verdict", Some(probe.expect), verdict.verdict),
            ("egress", probe.expect_egress, verdict.egress.verdict),
            ("ingress", probe.expect_ingress, verdict.ingress.verdict),
        ];
        let differs = sides
            .iter()
            .find(|(_, expected, found)| expected.is_some_and(|expected| !is(expected, *found)));
        if probe.certain {
            tally.judged += 1;
            if let Some((what, expected, _)) = differs {
                tally.wrong.push(format!(
                    "{} / {}: {probe:?}: {what} expected {expected:?}, found {verdict:?}",
                    case.suite, case.case
                ));
            }
        } else {
            tally.open += 1;
            tally.open_differs += usize::from(differs.is_some());
        }
    }
}

fn is(expected: Expected, found: Decision) -> bool {
    match expected {
        Expected::Allow => found == Decision::Allowed,
        Expected::Deny => found == Decision::Denied,
    }
}
