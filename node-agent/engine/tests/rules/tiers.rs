//! R29 in tiers, R44 to R47, R56, R57: who is asked when, and what follows.

use node_agent_engine::Profile;
use node_agent_engine::verdict::{Decision, LeftOpen, Reason, Side, Verdict};
use serde_json::{Value, json};

use crate::support::*;

/// One rule of a direction.
fn ingress(action: &str, from: Value) -> Value {
    json!({"subject": everybody(), "ingress": [{"action": action, "from": [from]}]})
}

fn egress(action: &str, to: Value) -> Value {
    json!({"subject": everybody(), "egress": [{"action": action, "to": [to]}]})
}

fn baseline_deny() -> Value {
    cluster_policy("base", "Baseline", 5, ingress("Deny", everybody()))
}

fn denied_by(side: &Side) -> (&str, usize) {
    let rule = side.denied_by.as_ref().unwrap();
    (&rule.policy.key.name, rule.rule)
}

fn answer(verdict: &Verdict) -> (Decision, Reason) {
    (verdict.verdict, verdict.ingress.reason)
}

#[test]
fn r29_only_isolation_spares_the_own_node() {
    let pod = pod_with(
        "x/a",
        &["10.0.0.1"],
        json!({"app": "a"}),
        json!({"nodeName": "n1"}),
    );
    let objects = [node("n1", "192.0.2.1"), node("n2", "192.0.2.2"), pod];
    let with = |policies: &[Value]| World::of(&[&objects, policies].concat());
    let isolated = policy("x/deny", json!({"policyTypes": ["Ingress", "Egress"]}));
    let to_nodes = egress("Deny", json!({"nodes": {}}));
    for tier in ["Admin", "Baseline"] {
        let world = with(&[cluster_policy("p", tier, 1, to_nodes.clone())]);
        world.check(&[
            ("x/a", "192.0.2.1", 80, Tcp, Denied),
            ("192.0.2.1", "x/a", 80, Tcp, Allowed),
        ]);
    }
    // Isolated, it is the NetworkPolicy tier that decides, and lets its own node pass.
    let world = with(&[
        isolated,
        cluster_policy("p", "Baseline", 1, to_nodes.clone()),
    ]);
    world.check(&[
        ("x/a", "192.0.2.1", 80, Tcp, Allowed),
        ("x/a", "192.0.2.2", 80, Tcp, Denied),
    ]);
}

#[test]
fn r44_a_pod_reaches_itself_but_through_a_service_it_is_asked() {
    let world = with(&[cluster_policy("p", "Admin", 1, egress("Deny", everybody()))]);
    world.check(&[
        ("x/a", "x/a", 80, Tcp, Allowed),
        ("x/a", "127.0.0.1", 80, Tcp, Allowed),
        ("x/a", "x/b", 80, Tcp, Denied),
    ]);
    let mut hairpin = world.connection("x/a", "x/a", 80, Tcp);
    hairpin.via_service = true;
    let verdict = world.cluster.evaluate(&hairpin, Profile::Generic);
    assert_eq!(
        (verdict.verdict, verdict.egress.reason),
        (Denied, Reason::RuleDenied)
    );
}

#[test]
fn r45_lower_priority_is_asked_first_and_equal_by_name() {
    let accept =
        |name, priority| cluster_policy(name, "Admin", priority, ingress("Accept", everybody()));
    let deny =
        |name, priority| cluster_policy(name, "Admin", priority, ingress("Deny", everybody()));
    let other = cluster_policy("a", "Admin", 7, ingress("Deny", app("b")));
    let open = Some(LeftOpen::EqualPriority);
    let table = [
        (vec![accept("z", 0), deny("a", 1000)], Allowed, None),
        (vec![deny("a", 1000), accept("z", 999)], Allowed, None),
        (vec![accept("a", 5), deny("z", 4)], Denied, None),
        // Either may be applied: the answer is always the same, and says so.
        (vec![accept("a", 5), deny("b", 5)], Allowed, open),
        (vec![deny("b", 5), accept("a", 5)], Allowed, open),
        (vec![accept("b", 5), deny("a", 5)], Denied, open),
        // Nothing hangs on the order of those that agree, or that look at other connections.
        (vec![deny("a", 5), deny("b", 5)], Denied, None),
        (vec![accept("b", 7), other], Allowed, None),
    ];
    for (policies, expected, left_open) in table {
        let verdict = with(&policies).judge("x/a", "y/a", 80, Tcp);
        assert_eq!(
            (verdict.verdict, verdict.ingress.left_open),
            (expected, left_open),
            "{policies:?}"
        );
        assert_eq!(verdict.is_a_choice(), left_open.is_some());
    }
    // A policy has no other beside it: what its own rules leave open is no choice among equals.
    let rules = json!([{"action": "Deny", "to": [app("b")]}, {"action": "Accept", "to": [{"networks": ["0.0.0.0/0"]}]}]);
    let alone = cluster_policy(
        "a",
        "Admin",
        5,
        json!({"subject": everybody(), "egress": rules}),
    );
    let verdict = with(&[alone]).judge("x/a", "?10.9.9.9", 80, Tcp);
    assert_eq!(
        (verdict.verdict, verdict.egress.left_open),
        (Unknown, Some(LeftOpen::Unidentified))
    );
    // A tier of its own has its own priorities.
    let base = cluster_policy("a", "Baseline", 0, ingress("Deny", everybody()));
    with(&[accept("z", 1000), base]).check(&[("x/a", "y/a", 80, Tcp, Allowed)]);
}

#[test]
fn r46_the_first_rule_that_matches_decides_and_selecting_changes_nothing() {
    let port = |number: u16| json!([{"tcp": {"destinationPort": {"number": number}}}, {"udp": {"destinationPort": {"number": 53}}}]);
    let world = with(&[cluster_policy(
        "p",
        "Admin",
        1,
        json!({"subject": everybody(), "ingress": [
            {"action": "Deny", "from": [app("a"), app("b")], "protocols": port(1)},
            {"action": "Accept", "from": [app("a")]},
            {"action": "Deny", "from": [app("a"), app("b")], "protocols": port(2)},
        ], "egress": []}),
    )]);
    world.check(&[
        ("x/a", "y/a", 1, Tcp, Denied),
        ("x/b", "y/a", 1, Tcp, Denied),
        ("x/b", "y/a", 53, Udp, Denied),
        ("x/b", "y/a", 53, Tcp, Allowed),
        ("x/a", "y/a", 2, Tcp, Allowed),
        ("x/b", "y/a", 2, Tcp, Denied),
        ("x/c", "y/a", 1, Tcp, Allowed),
        ("198.51.100.1", "y/a", 1, Tcp, Allowed),
    ]);
    let verdict = world.judge("x/c", "y/a", 1, Tcp);
    assert_eq!(answer(&verdict), (Allowed, Reason::NotIsolated));
    assert!(verdict.ingress.isolated_by.is_empty() && verdict.egress.isolated_by.is_empty());
    assert_eq!(
        denied_by(&world.judge("x/b", "y/a", 2, Tcp).ingress),
        ("p", 2)
    );
    let allowed = world
        .judge("x/a", "y/a", 2, Tcp)
        .ingress
        .allowed_by
        .unwrap();
    assert_eq!(
        (allowed.rule, allowed.peer, allowed.port),
        (1, Some(0), None)
    );
    let empty = cluster_policy("e", "Admin", 1, json!({"subject": everybody()}));
    with(&[empty]).check(&[("x/a", "y/a", 1, Tcp, Allowed)]);
}

#[test]
fn r47_subjects_are_pods_of_any_namespace_but_never_of_a_host() {
    let deny = |subject: Value| {
        cluster_policy(
            "p",
            "Admin",
            1,
            json!({"subject": subject, "ingress": [{"action": "Deny", "from": [everybody()]}]}),
        )
    };
    let pods = |namespaces: Value, pods: Value| json!({"pods": {"namespaceSelector": namespaces, "podSelector": pods}});
    let team = json!({"matchLabels": {"team": "b"}});
    let table = [
        (everybody(), Denied, Denied, Denied),
        (json!({"namespaces": team.clone()}), Denied, Denied, Allowed),
        (pods(json!({}), json!({})), Denied, Denied, Denied),
        (pods(team.clone(), json!({})), Denied, Denied, Allowed),
        (
            pods(team, json!({"matchLabels": {"app": "a"}})),
            Denied,
            Allowed,
            Allowed,
        ),
        (
            pods(json!({}), json!({"matchLabels": {"app": "a"}})),
            Denied,
            Allowed,
            Denied,
        ),
    ];
    for (subject, y_a, y_b, z_a) in table {
        with(&[deny(subject)]).check(&[
            ("x/c", "y/a", 80, Tcp, y_a),
            ("x/c", "y/b", 80, Tcp, y_b),
            ("x/c", "z/a", 80, Tcp, z_a),
        ]);
    }
    let host = pod_with(
        "x/host",
        &["192.0.2.7"],
        json!({}),
        json!({"nodeName": "n", "hostNetwork": true}),
    );
    let mut world = with(&[deny(everybody())]);
    world.add(&host);
    // Neither subject nor peer, and that is said, not left open.
    world.check(&[
        ("x/a", "x/host", 80, Tcp, Allowed),
        ("x/host", "x/a", 80, Tcp, Allowed),
    ]);
}

#[test]
fn r56_accept_and_deny_are_final_and_pass_leaves_the_tier() {
    let admin = |rules: &[&str]| {
        let rules: Vec<Value> = rules
            .iter()
            .map(|action| json!({"action": action, "from": [everybody()]}))
            .collect();
        cluster_policy(
            "admin",
            "Admin",
            1,
            json!({"subject": everybody(), "ingress": rules}),
        )
    };
    let later = cluster_policy("later", "Admin", 2, ingress("Deny", everybody()));
    let closed = policy("y/closed", json!({}));
    let opened = policy("y/opened", json!({"ingress": [{}]}));
    let base = |action| cluster_policy("base", "Baseline", 1, ingress(action, everybody()));
    let anp = |action| {
        v1alpha1(
            "anp",
            json!({"priority": 1, "subject": everybody(), "ingress": [{"action": action, "from": [everybody()]}]}),
        )
    };
    let banp = |action| {
        v1alpha1(
            "default",
            json!({"subject": everybody(), "ingress": [{"action": action, "from": [everybody()]}]}),
        )
    };
    let table = [
        (
            vec![admin(&["Accept", "Deny"]), closed.clone()],
            Allowed,
            Reason::Rule,
        ),
        (
            vec![admin(&["Deny", "Accept"]), opened.clone()],
            Denied,
            Reason::RuleDenied,
        ),
        (
            vec![admin(&["Pass", "Deny"]), later.clone()],
            Allowed,
            Reason::NotIsolated,
        ),
        (
            vec![admin(&["Pass"]), later.clone(), closed.clone()],
            Denied,
            Reason::NoRuleMatched,
        ),
        (
            vec![admin(&["Pass"]), later.clone(), opened.clone()],
            Allowed,
            Reason::Rule,
        ),
        (
            vec![admin(&["Pass"]), later, base("Deny")],
            Denied,
            Reason::RuleDenied,
        ),
        (vec![base("Pass")], Allowed, Reason::NotIsolated),
        (vec![base("Accept")], Allowed, Reason::Rule),
        (vec![anp("Allow"), closed.clone()], Allowed, Reason::Rule),
        (vec![anp("Deny"), opened], Denied, Reason::RuleDenied),
        (vec![anp("Pass"), closed], Denied, Reason::NoRuleMatched),
        (vec![banp("Allow")], Allowed, Reason::Rule),
        (vec![banp("Deny")], Denied, Reason::RuleDenied),
        (vec![banp("Deny"), base("Accept")], Allowed, Reason::Rule),
    ];
    for (policies, decision, reason) in table {
        let verdict = with(&policies).judge("x/a", "y/a", 80, Tcp);
        assert_eq!(answer(&verdict), (decision, reason), "{policies:?}");
    }
}

#[test]
fn r57_the_namespace_decides_between_admin_and_baseline() {
    let from_b = policy(
        "y/p",
        json!({"ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "b"}}}]}]}),
    );
    let nothing_wrong = [
        ("x/b", "y/a", 80, Tcp, Allowed),
        ("x/a", "y/a", 80, Tcp, Denied),
        // Nobody isolates these: baseline is asked.
        ("x/b", "z/a", 80, Tcp, Denied),
    ];
    with(&[from_b.clone(), baseline_deny()]).check(&nothing_wrong);
    // Each direction on its own; both must allow.
    let out = policy("y/out", json!({"policyTypes": ["Egress"], "egress": [{}]}));
    let verdict = with(&[out, baseline_deny()]).judge("x/a", "y/a", 80, Tcp);
    assert_eq!(answer(&verdict), (Denied, Reason::RuleDenied));
    // Some hold that a pod of any NetworkPolicy never comes to the baseline: said, and never claimed from.
    assert_eq!(verdict.ingress.left_open, Some(LeftOpen::OtherDirection));
    assert!(verdict.is_a_choice());
    let settled = with(&[baseline_deny()]).judge("x/a", "y/a", 80, Tcp);
    assert_eq!((settled.verdict, settled.is_a_choice()), (Denied, false));
    let egress_only = cluster_policy("out", "Admin", 1, egress("Deny", app("b")));
    with(&[egress_only, from_b]).check(&[("x/b", "y/b", 80, Tcp, Denied)]);
}

#[test]
fn a_deny_of_a_tier_names_its_rule_and_no_rule_elsewhere_is_suggested() {
    let admin = cluster_policy("no", "Admin", 3, ingress("Deny", everybody()));
    let open = policy("y/open", json!({"ingress": [{}]}));
    for (policies, name, isolated_by) in [
        (vec![admin, open], "no", 1),
        (vec![baseline_deny()], "base", 0),
    ] {
        let side = with(&policies).judge("x/a", "y/a", 80, Tcp).ingress;
        assert_eq!(denied_by(&side), (name, 0));
        assert_eq!(side.isolated_by.len(), isolated_by);
        assert!(side.would_allow.is_none() && side.nearest.is_none() && side.allowed_by.is_none());
    }
    // Passed on, the namespace's own policies answer, and can be changed.
    let pass = cluster_policy("pass", "Admin", 3, ingress("Pass", everybody()));
    let closed = policy(
        "y/closed",
        json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "q"}}}]}]}),
    );
    let side = with(&[pass, closed]).judge("x/a", "y/a", 80, Tcp).ingress;
    assert_eq!(
        side.nearest.unwrap().rule.policy.key.name.as_ref(),
        "closed"
    );
    assert_eq!(
        side.would_allow.unwrap().policy.key.kind.as_ref(),
        "NetworkPolicy"
    );
}
