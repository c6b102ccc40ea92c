//! Which rule came nearest, which place of a rule matched, and what is said of each condition that missed.

use node_agent_engine::Profile;
use node_agent_engine::explain::{ExplainedItem, RuleFit};
use node_agent_engine::verdict::{MissedWhat, RuleRef};
use serde_json::{Value, json};

use crate::support::*;

fn from(peers: Value, ports: Value) -> Value {
    json!({"from": peers, "ports": ports})
}

fn into_a(name: &str, rules: Value) -> Value {
    policy(
        &format!("x/{name}"),
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": rules}),
    )
}

fn place(rule: &RuleRef) -> (&str, usize, Option<usize>, Option<usize>) {
    (&rule.policy.key.name, rule.rule, rule.peer, rule.port)
}

#[test]
fn nearest_is_the_fewest_unmet_conditions_then_what_is_written_first() {
    // y/b misses both conditions of the first, the namespace of the second.
    let two = json!({"podSelector": {"matchLabels": {"app": "c"}}});
    let one = json!({"podSelector": {}});
    let team = |team: &str| json!({"namespaceSelector": {"matchLabels": {"team": team}}});
    let table = [
        // Peer and port of a rule add up; within a list the nearest item counts, not the first.
        (
            vec![
                into_a("far", json!([from(json!([two]), json!([{"port": 81}]))])),
                into_a(
                    "near",
                    json!([from(
                        json!([two, one]),
                        json!([{"port": 81, "protocol": "UDP"}, {"port": 81}])
                    )]),
                ),
            ],
            ("near", 0, Some(1), Some(1)),
        ),
        // A later rule that misses less; those that miss as much come too late, in the policy and after it.
        (
            vec![
                into_a(
                    "a",
                    json!([{"from": [two]}, {"ports": [{"port": 81}]}, {"ports": [{"port": 82}]}]),
                ),
                into_a("b", json!([{"ports": [{"port": 83}]}])),
            ],
            ("a", 1, None, Some(0)),
        ),
        // What is written first, where all miss two conditions and none fewer.
        (
            vec![
                into_a(
                    "a",
                    json!([
                        from(json!([one]), json!([{"port": 81}])),
                        from(json!([one]), json!([{"port": 82}]))
                    ]),
                ),
                into_a("b", json!([from(json!([one]), json!([{"port": 81}]))])),
            ],
            ("a", 0, Some(0), Some(0)),
        ),
        (
            vec![into_a("a", json!([{"from": [team("c"), team("d")]}]))],
            ("a", 0, Some(0), None),
        ),
        // A condition on either side of a rule is as much as two on one.
        (
            vec![into_a(
                "a",
                json!([{"from": [two]}, from(json!([one]), json!([{"port": 81}])), {"from": [one]}]),
            )],
            ("a", 2, Some(0), None),
        ),
    ];
    for (policies, expected) in table {
        let side = with(&policies).judge("y/b", "x/a", 80, Tcp).ingress;
        let nearest = side.nearest.unwrap();
        assert_eq!(place(&nearest.rule), expected, "{policies:?}");
    }
}

#[test]
fn what_allows_is_named_by_its_peer_and_port() {
    let peers = json!([{"podSelector": {"matchLabels": {"app": "c"}}}, {"podSelector": {}}]);
    let ports = json!([{"port": 81}, {"port": 82}, {"port": 80}]);
    let world = with(&[into_a(
        "p",
        json!([{"ports": [{"port": 9}]}, from(peers, ports)]),
    )]);
    let side = world.judge("x/b", "x/a", 80, Tcp).ingress;
    assert_eq!(place(&side.allowed_by.unwrap()), ("p", 1, Some(1), Some(2)));
}

#[test]
fn a_missed_condition_says_what_was_wanted_and_what_was_found() {
    use MissedWhat::{
        Cidr, EndPort, Except, NamedPort, Namespace, NamespaceLabels, NotAPod, PodLabels, Port,
        Protocol,
    };
    let expression = |operator: &str, values: Value| json!([{"podSelector": {"matchExpressions": [{"key": "app", "operator": operator, "values": values}]}}]);
    // A rule, who comes, what misses, and the words of what was wanted and found.
    let table: [(Value, &str, MissedWhat, &[&str], &str); 13] = [
        (
            json!({"from": [{"podSelector": {}}]}),
            "y/b",
            Namespace,
            &["x"],
            "y",
        ),
        (
            json!({"from": [{"podSelector": {"matchLabels": {"app": "c"}}}]}),
            "x/b",
            PodLabels,
            &["app=c"],
            "app=b",
        ),
        (
            json!({"from": expression("NotIn", json!(["c", "b"]))}),
            "x/b",
            PodLabels,
            &["app", "b,c"],
            "app=b",
        ),
        (
            json!({"from": [{"namespaceSelector": {"matchLabels": {"team": "c"}}}]}),
            "z/a",
            NamespaceLabels,
            &["team=c"],
            "no label team",
        ),
        (json!({"ports": [{"port": 81}]}), "x/b", Port, &["81"], "80"),
        (
            json!({"ports": [{"port": 81, "endPort": 90}]}),
            "x/b",
            EndPort,
            &["81-90"],
            "80",
        ),
        (
            json!({"ports": [{"port": 80, "protocol": "SCTP"}]}),
            "x/b",
            Protocol,
            &["SCTP"],
            "TCP",
        ),
        // The name is on another port there, or not at all.
        (
            json!({"ports": [{"port": "dns", "protocol": "UDP"}]}),
            "x/b",
            NamedPort,
            &["dns/UDP", "53"],
            "80",
        ),
        (
            json!({"ports": [{"port": "metrics"}]}),
            "x/b",
            NamedPort,
            &["metrics/TCP", "not have"],
            "80",
        ),
        (
            json!({"from": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}),
            "198.51.100.1",
            Cidr,
            &["10.9.0.0/16"],
            "198.51.100.1",
        ),
        (
            json!({"from": [{"ipBlock": {"cidr": "198.51.100.0/24", "except": ["198.51.100.128/25", "198.51.100.0/30"]}}]}),
            "198.51.100.1",
            Except,
            &["198.51.100.0/24", "198.51.100.0/30"],
            "198.51.100.1",
        ),
        (
            json!({"from": [{"podSelector": {"matchLabels": {"app": "c", "tier": "q"}}}]}),
            "198.51.100.1",
            NotAPod,
            &["with app=c,tier=q"],
            "198.51.100.1",
        ),
        (
            json!({"from": [{"podSelector": {}}]}),
            "192.0.2.1",
            NotAPod,
            &["a pod"],
            "node n1",
        ),
    ];
    for (rule, who, what, wanted, found) in table {
        let mut world = with(&[into_a("p", json!([rule]))]);
        world.add(&node("n1", "192.0.2.1"));
        let side = world.judge(who, "x/a", 80, Tcp).ingress;
        let missed = side.nearest.unwrap().missed;
        let it = missed
            .iter()
            .find(|missed| missed.what == what)
            .unwrap_or_else(|| panic!("{rule}: {missed:?}"));
        assert!(
            wanted.iter().all(|word| it.wanted.contains(word)) && it.found == found,
            "{rule}: {it:?}"
        );
    }
}

#[test]
fn peers_of_the_whole_cluster_say_what_they_miss_too() {
    let rule = json!({"action": "Deny", "to": [
        {"networks": ["10.9.0.0/16", "2001:db8::/32"]},
        {"networks": ["10.8.0.0/16", "198.51.100.0/24"]},
        {"nodes": {"matchLabels": {"role": "control"}}},
        {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "q"}}}},
    ]});
    let named = json!({"action": "Accept", "to": [
        {"domainNames": ["example.org", "*.example.net"]},
        {"domainNames": ["example.com"]},
    ]});
    let mut world = with(&[cluster_policy(
        "p",
        "Admin",
        1,
        json!({"subject": everybody(), "egress": [rule, named]}),
    )]);
    let answer = [(
        "example.com".to_owned(),
        vec!["198.51.100.1".parse().unwrap()],
    )];
    world.cluster.set_names(answer.into_iter().collect());
    let connection = world.connection("x/a", "198.51.100.1", 80, Tcp);
    let explained = world.cluster.explain(&connection, Profile::Generic).egress;
    let items: Vec<&ExplainedItem> = explained.policies[0]
        .rules
        .iter()
        .flat_map(|rule| rule.peers.iter().flatten())
        .collect();
    // What each peer wants; nothing, where it is the one.
    let expected: [Option<(MissedWhat, &[&str])>; 6] = [
        Some((MissedWhat::Cidr, &["10.9.0.0/16", "2001:db8::/32"])),
        None,
        Some((MissedWhat::NotANode, &["role=control"])),
        Some((MissedWhat::NotAPod, &["app=q"])),
        Some((MissedWhat::DomainName, &["example.org", "*.example.net"])),
        None,
    ];
    assert_eq!(items.len(), expected.len());
    for (item, expected) in items.into_iter().zip(expected) {
        match (item.missed.as_slice(), expected) {
            ([], None) => assert_eq!(item.fit, RuleFit::Matches),
            ([missed], Some((what, wanted))) => {
                assert_eq!((item.fit, missed.what), (RuleFit::Misses, what));
                assert!(
                    wanted.iter().all(|word| missed.wanted.contains(word)),
                    "{missed:?}"
                );
                assert_eq!(missed.found, "198.51.100.1");
            }
            _ => panic!("{item:?}"),
        }
    }
}
