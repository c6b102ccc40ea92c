//! Every case of every suite: no wrong verdict where the specification is certain. What the engine calls
//! unknown there is wrong too, and so is an answer without reasons that is another.

use conformance::world::{between, build, connection};
use conformance::{Case, Expected};
use node_agent_engine::verdict::{Decision, Verdict};
use node_agent_engine::{Between, Brief, Cluster, Profile};

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
    /// Asked by addresses alone as well.
    in_brief: usize,
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
            "{suite}: {} cases, {} probes judged, {} of them in brief too, {} wrong; {} left open, {} of them other than the suite has it",
            tally.cases,
            tally.judged,
            tally.in_brief,
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
        assert!(
            tally.in_brief >= floor * 9 / 10,
            "{suite}: only {} probes asked in brief",
            tally.in_brief
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
    let mut cluster = build(case);
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
            if let Some(between) = between(&cluster, &connection) {
                tally.in_brief += 1;
                let wrong = wrong_in_brief(&mut cluster, &between, &verdict);
                tally
                    .wrong
                    .extend(wrong.map(|wrong| {
                        format!("{} / {}: {probe:?}: {wrong}", case.suite, case.case)
                    }));
            }
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

/// Without reasons the verdict is the same, walked anew, kept from before, or for the first time.
fn wrong_in_brief(cluster: &mut Cluster, between: &Between, verdict: &Verdict) -> Option<String> {
    let expected = Brief::from(verdict);
    let mut briefs = vec![cluster.decide_anew(between, Profile::Generic)];
    briefs.extend([(); 2].map(|()| cluster.decide(between, Profile::Generic)));
    let differs = briefs.iter().any(|brief| *brief != expected);
    differs.then(|| format!("in brief {briefs:?}, with reasons {verdict:?}"))
}

fn is(expected: Expected, found: Decision) -> bool {
    match expected {
        Expected::Allow => found == Decision::Allowed,
        Expected::Deny => found == Decision::Denied,
    }
}
