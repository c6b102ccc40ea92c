use node_agent_engine::Profile;
use node_agent_engine::verdict::{MissedWhat, Side};
use serde_json::{Value, json};

use crate::support::*;

/// Puts the suggested rule where it says and judges again.
fn applied(objects: &[Value], side: &Side, subject: &str) -> World {
    let would = side.would_allow.as_ref().expect("a suggestion");
    let rule: Value = serde_saphyr::from_str(&would.rule).unwrap();
    let list = would.field.strip_prefix("spec.").unwrap().to_owned();
    let name = would.policy.key.name.as_ref();
    let mut objects = objects.to_vec();
    let namespace = key(subject).namespace;
    let is_it = |object: &&mut Value| {
        let metadata = &object["metadata"];
        object["kind"] == "NetworkPolicy"
            && metadata["name"] == name
            && metadata["namespace"] == namespace.as_ref()
    };
    let existing = objects.iter_mut().find(is_it);
    match existing {
        Some(policy) => {
            let mut rules = policy["spec"][&list]
                .as_array()
                .cloned()
                .unwrap_or_default();
            rules.push(rule[0].clone());
            policy["spec"][&list] = json!(rules);
        }
        None => {
            let types = if list == "ingress" {
                "Ingress"
            } else {
                "Egress"
            };
            objects.push(policy(
                &format!("{namespace}/{name}"),
                json!({(list.as_str()): rule, "policyTypes": [types]}),
            ));
        }
    }
    World::of(&objects)
}

fn objects() -> Vec<Value> {
    let mut objects = three();
    objects.extend([
        node("n1", "192.0.2.1"),
        node("n2", "192.0.2.2"),
        pod_with(
            "x/dual",
            &["10.0.1.1", "2001:db8::1"],
            json!({"app.kubernetes.io/name": "true", "pod-template-hash": "abc"}),
            json!({"nodeName": "n1"}),
        ),
        pod("x/bare", "10.0.1.2", json!({"pod-template-hash": "abc"})),
    ]);
    objects
}

#[test]
fn each_suggestion_allows_what_was_denied() {
    let policies = [
        vec![
            policy("x/deny", json!({"policyTypes": ["Ingress", "Egress"]})),
            policy("y/deny", json!({"policyTypes": ["Ingress", "Egress"]})),
        ],
        vec![
            policy(
                "x/some",
                json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "none"}}}], "ports": [{"port": 1}]}],
                "egress": [{"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}]}),
            ),
            policy(
                "y/some",
                json!({"ingress": [{"from": [{"podSelector": {}}]}], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}),
            ),
        ],
    ];
    let ends = [
        "x/a",
        "x/b",
        "y/a",
        "z/a",
        "x/dual",
        "x/dual@2001:db8::1",
        "x/bare",
        "192.0.2.2",
        "198.51.100.7",
        "2001:db8:1::7",
    ];
    let mut applied_count = 0;
    for policies in policies {
        let mut objects = objects();
        objects.extend(policies);
        let world = World::of(&objects);
        for (from, to) in ends
            .iter()
            .flat_map(|from| ends.iter().map(move |to| (*from, *to)))
            .filter(|(from, to)| from != to)
        {
            for (port, protocol) in [(80, Tcp), (53, Udp), (9, Sctp)] {
                let verdict = world.judge(from, to, port, protocol);
                for (side, subject) in [(&verdict.egress, from), (&verdict.ingress, to)] {
                    assert_eq!(
                        side.verdict == Denied,
                        side.would_allow.is_some(),
                        "{from} -> {to}: {side:?}"
                    );
                    if side.verdict == Denied {
                        let again = applied(&objects, side, subject.split('@').next().unwrap())
                            .judge(from, to, port, protocol);
                        let same_side = if subject == from {
                            &again.egress
                        } else {
                            &again.ingress
                        };
                        assert_eq!(
                            same_side.verdict, Allowed,
                            "{from} -> {to}:{port}/{protocol}: {side:#?}"
                        );
                        applied_count += 1;
                    }
                }
            }
        }
    }
    assert!(applied_count > 200, "only {applied_count}");
}

#[test]
fn a_suggestion_reads_like_a_policy() {
    let api = pod(
        "kasm/kasm-agent-0",
        "10.42.0.16",
        json!({"app": "kasm-agent", "controller-revision-hash": "x", "statefulset.kubernetes.io/pod-name": "kasm-agent-0"}),
    );
    let db = pod("kasm/kasm-db-0", "10.42.0.13", json!({"app": "kasm-db"}));
    let other = pod("mon/agent", "10.42.0.17", json!({"app": "agent"}));
    let allow = policy(
        "kasm/allow-db-access",
        json!({"podSelector": {"matchLabels": {"app": "kasm-db"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "kasm-api"}}}], "ports": [{"port": 5432}]}]}),
    );
    let deny = policy("kasm/a-default-deny", json!({}));
    let world = World::of(&[api, db, other, allow, deny]);
    let side = world
        .judge("kasm/kasm-agent-0", "kasm/kasm-db-0", 5432, Tcp)
        .ingress;
    let nearest = side.nearest.unwrap();
    assert_eq!(nearest.rule.policy.key.name.as_ref(), "allow-db-access");
    assert_eq!(
        (nearest.rule.rule, nearest.rule.peer, nearest.rule.port),
        (0, Some(0), Some(0))
    );
    let missed: Vec<_> = nearest
        .missed
        .iter()
        .map(|missed| (missed.what, missed.wanted.as_str(), missed.found.as_str()))
        .collect();
    assert_eq!(
        missed,
        [(MissedWhat::PodLabels, "app=kasm-api", "app=kasm-agent")]
    );
    let would = side.would_allow.unwrap();
    assert_eq!(
        would.rule,
        "- from: [{podSelector: {matchLabels: {app: kasm-agent}}}]\n  ports: [{protocol: TCP, port: 5432}]"
    );
    assert_eq!(
        (would.field.as_str(), would.policy.key.name.as_ref()),
        ("spec.ingress", "allow-db-access")
    );
    let side = world
        .judge("mon/agent", "kasm/kasm-db-0", 5432, Tcp)
        .ingress;
    assert_eq!(
        side.would_allow.unwrap().rule,
        "- from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: mon}}, podSelector: {matchLabels: {app: agent}}}]\n  ports: [{protocol: TCP, port: 5432}]"
    );
    let side = world
        .judge("2001:db8::1", "kasm/kasm-db-0", 5432, Tcp)
        .ingress;
    assert_eq!(
        side.would_allow.unwrap().rule,
        "- from: [{ipBlock: {cidr: \"2001:db8::1/128\"}}]\n  ports: [{protocol: TCP, port: 5432}]"
    );
    let side = world
        .judge("mon/agent", "kasm/kasm-agent-0", 80, Tcp)
        .ingress;
    assert!(side.nearest.is_none(), "the default deny has no rule");
    assert_eq!(
        side.would_allow.unwrap().policy.key.name.as_ref(),
        "allow-kasm-agent-0-from-agent"
    );
}

#[test]
fn what_was_missed_is_named() {
    let rule = |rule: Value| {
        with(&[policy(
            "x/p",
            json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [rule]}),
        )])
    };
    use MissedWhat::{
        Cidr, EndPort, Except, Family, NamedPort, Namespace, NamespaceLabels, NotAPod, PodLabels,
        Port, Protocol,
    };
    let table = [
        (
            json!({"from": [{"podSelector": {}}]}),
            "y/b",
            vec![Namespace],
        ),
        (
            json!({"from": [{"podSelector": {"matchLabels": {"app": "c"}}}]}),
            "y/b",
            vec![Namespace, PodLabels],
        ),
        (
            json!({"from": [{"namespaceSelector": {"matchLabels": {"team": "c"}}}]}),
            "y/b",
            vec![NamespaceLabels],
        ),
        (
            json!({"from": [{"podSelector": {}}]}),
            "198.51.100.1",
            vec![NotAPod],
        ),
        (
            json!({"from": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}),
            "198.51.100.1",
            vec![Cidr],
        ),
        (
            json!({"from": [{"ipBlock": {"cidr": "198.51.100.0/24", "except": ["198.51.100.0/30"]}}]}),
            "198.51.100.1",
            vec![Except],
        ),
        (
            json!({"from": [{"ipBlock": {"cidr": "::/0"}}]}),
            "198.51.100.1",
            vec![Family],
        ),
        (json!({"ports": [{"port": 81}]}), "x/b", vec![Port]),
        (
            json!({"ports": [{"port": 81, "endPort": 90}]}),
            "x/b",
            vec![EndPort],
        ),
        (json!({"ports": [{"port": "dns"}]}), "x/b", vec![NamedPort]),
        (
            json!({"ports": [{"port": 80, "protocol": "UDP"}]}),
            "x/b",
            vec![Protocol],
        ),
        (
            json!({"ports": [{"port": 81, "protocol": "UDP"}]}),
            "x/b",
            vec![Protocol, Port],
        ),
    ];
    for (written, from, expected) in table {
        let missed = rule(written.clone())
            .judge(from, "x/a", 80, Tcp)
            .ingress
            .nearest
            .unwrap()
            .missed;
        let what: Vec<MissedWhat> = missed.iter().map(|missed| missed.what).collect();
        assert_eq!(what, expected, "{written}: {missed:?}");
    }
}

#[test]
fn a_new_policy_isolates_nobody_that_was_not() {
    let without = |key: &str| json!({"podSelector": {"matchExpressions": [{"key": key, "operator": "DoesNotExist"}]}});
    let all = [
        pod("x/plain", "10.0.2.1", json!({})),
        pod("x/stable", "10.0.2.2", json!({"app": "web"})),
        pod(
            "x/canary",
            "10.0.2.3",
            json!({"app": "web", "track": "canary"}),
        ),
        pod("x/z", "10.0.2.4", json!({"app": "z", "track": "z"})),
    ];
    let table = [
        (
            "x/plain",
            vec![without("app")],
            "matchExpressions: [{key: app, operator: DoesNotExist}]",
        ),
        (
            "x/stable",
            vec![without("track")],
            "matchLabels: {app: web}, matchExpressions: [{key: track, operator: DoesNotExist}]",
        ),
        // Where everybody is isolated already, what tells the pod is enough.
        (
            "x/stable",
            vec![without("track"), json!({})],
            "matchLabels: {app: web}",
        ),
    ];
    for (subject, specs, selector) in table {
        let mut objects = all.to_vec();
        for (index, spec) in specs.into_iter().enumerate() {
            objects.push(policy(&format!("x/deny-{index}"), spec));
        }
        let before = World::of(&objects);
        let connection = before.connection("x/z", subject, 80, Tcp);
        let explanation = before.cluster.explain(&connection, Profile::Generic);
        let [fix] = explanation.fix.as_slice() else {
            panic!("{:?}", explanation.fix)
        };
        assert!(
            fix.new
                && fix
                    .object
                    .contains(&format!("podSelector: {{{selector}}}\n")),
            "{}",
            fix.object
        );
        objects.push(serde_saphyr::from_str(&fix.object).unwrap());
        let after = World::of(&objects);
        after.check(&[("x/z", subject, 80, Tcp, Allowed)]);
        for other in ["x/plain", "x/stable", "x/canary", "x/z"] {
            let ask = |world: &World| world.judge("192.0.2.7", other, 81, Tcp).verdict;
            assert_eq!(ask(&before), ask(&after), "{other}");
        }
    }
}
