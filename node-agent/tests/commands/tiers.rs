//! Policies of the whole cluster, from files, through every command.

use serde_json::{Value, json};

use crate::support::{CLUSTER, POLICIES, World};

/// Before all others: nobody from web to db; whatever names example.org; api's metrics are left to the owner.
const ADMIN: &str = r#"
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  ingress:
  - action: Pass
    from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: api}}}}]
  - action: Deny
    from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}]
    protocols: [{tcp: {destinationPort: {number: 5432}}}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: names}
spec:
  tier: Admin
  priority: 20
  subject: {namespaces: {}}
  egress:
  - action: Accept
    to: [{domainNames: ["example.org"]}]
"#;

/// The forerunners: nobody into web from api, and what no policy isolates gets nothing on port 22.
const FORERUNNERS: &str = r#"
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: quiet}
spec:
  priority: 5
  subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}
  ingress:
  - name: no-api
    action: Deny
    from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: api}}}}]
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec:
  subject: {namespaces: {}}
  ingress:
  - action: Deny
    from: [{namespaces: {}}]
    ports: [{portNumber: {port: 22, protocol: TCP}}]
"#;

fn first(world: &World, command: &str, flags: &str) -> Value {
    world.run(command, flags).well(0).json().remove(0)
}

#[test]
fn rules_of_the_admin_tier_decide_first() {
    let world = World::of(&[
        ("cluster.yaml", CLUSTER),
        ("admin.yaml", ADMIN),
        ("policies.yaml", POLICIES),
    ]);
    let guard = json!({"kind": "ClusterNetworkPolicy", "name": "guard"});
    let flags = "--from shop/web-0 --to shop/db-0 --port 5432/TCP";
    let answer = first(&world, "evaluate", flags);
    let ingress = &answer["ingress"];
    assert_eq!(
        (&answer["verdict"], &ingress["reason"]),
        (&json!("denied"), &json!("rule_denied"))
    );
    assert_eq!(
        ingress["denied_by"],
        json!({"policy": guard, "rule": 1, "peer": 0, "port": 0})
    );
    // It isolates nobody, and no rule of a NetworkPolicy can allow what it denies.
    let isolating: Vec<&Value> = ingress["isolated_by"]
        .as_array()
        .unwrap()
        .iter()
        .map(|policy| &policy["name"])
        .collect();
    assert_eq!(isolating, ["db", "default-deny"]);
    assert!(ingress.get("would_allow").is_none());
    // Passed on, NetworkPolicies are asked as if it were not there.
    let flags = "--from shop/api-6d-a --to shop/db-0 --port 5432/TCP";
    let answer = first(&world, "evaluate", flags);
    assert_eq!(answer["verdict"], "allowed");
    assert_eq!(answer["ingress"]["allowed_by"]["policy"]["name"], "db");
}

#[test]
fn forerunners_have_the_same_tiers() {
    let world = World::of(&[("cluster.yaml", CLUSTER), ("old.yaml", FORERUNNERS)]);
    let denied_by = |flags: &str| {
        let answer = first(&world, "evaluate", flags);
        let policy = &answer["ingress"]["denied_by"]["policy"];
        (answer["verdict"].clone(), policy["kind"].clone())
    };
    for (flags, verdict, kind) in [
        (
            "--from shop/api-6d-a --to shop/web-0 --port 8080/TCP",
            "denied",
            json!("AdminNetworkPolicy"),
        ),
        (
            "--from shop/db-0 --to shop/web-0 --port 8080/TCP",
            "allowed",
            Value::Null,
        ),
        (
            "--from shop/db-0 --to shop/web-0 --port 22/TCP",
            "denied",
            json!("BaselineAdminNetworkPolicy"),
        ),
        (
            "--from 192.0.2.1 --to shop/web-0 --port 22/TCP",
            "allowed",
            Value::Null,
        ),
    ] {
        assert_eq!(denied_by(flags), (json!(verdict), kind), "{flags}");
    }
}

#[test]
fn names_decide_what_domain_names_mean() {
    let world = World::of(&[
        ("cluster.yaml", CLUSTER),
        ("admin.yaml", ADMIN),
        ("policies.yaml", POLICIES),
    ]);
    let names = world.file("names.json", r#"{"Example.org.": ["192.0.2.1"]}"#);
    let verdict = |flags: &str| first(&world, "evaluate", flags)["verdict"].clone();
    let to = |ip| format!("--from shop/web-0 --to {ip} --port 80/TCP");
    assert_eq!(
        verdict(&to("192.0.2.1")),
        "unknown",
        "nobody says what DNS answered"
    );
    let given = |ip| format!("--names {names} {}", to(ip));
    assert_eq!(verdict(&given("192.0.2.1")), "allowed");
    assert_eq!(verdict(&given("192.0.2.2")), "denied");
    let flags = format!("--names {names} --from shop/web-0 -o json");
    let ways = world.run("reach", &flags).well(0).json();
    let is_it = |way: &&Value| way["peer"]["name"] == "192.0.2.1/32";
    let way = ways.iter().find(is_it).unwrap();
    assert_eq!(way["egress"]["allowed_by"]["policy"]["name"], "names");
}

#[test]
fn explain_says_which_tier_decides_and_who_has_no_say() {
    let world = World::of(&[
        ("cluster.yaml", CLUSTER),
        ("admin.yaml", ADMIN),
        ("old.yaml", FORERUNNERS),
        ("policies.yaml", POLICIES),
    ]);
    let flags = "--from shop/web-0 --to shop/db-0 --port 5432/TCP";
    let text = world.run("explain", flags).well(0).stdout;
    for words in [
        "Denied by ClusterNetworkPolicy guard rule 1; the Admin tier decides",
        "ClusterNetworkPolicy guard (Admin tier):",
        "rule 0 (Pass, to the next tier) misses",
        "rule 1 (Deny) matches",
        "BaselineAdminNetworkPolicy default (Baseline tier):",
        "ClusterNetworkPolicy names (Admin tier): no ingress rule, so it decides nothing",
        "shop/default-deny: no ingress rule, so it allows nothing",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let explained = first(&world, "explain", &format!("{flags} -o json"));
    let policies = explained["egress"]["policies"].as_array().unwrap();
    let asked: Vec<[&Value; 2]> = policies
        .iter()
        .map(|policy| [&policy["name"], &policy["tier"]])
        .collect();
    assert_eq!(
        json!(asked),
        json!([
            ["quiet", "Admin"],
            ["guard", "Admin"],
            ["names", "Admin"],
            ["default-deny", "NetworkPolicy"],
            ["web", "NetworkPolicy"],
            ["default", "Baseline"]
        ])
    );
}

#[test]
fn explain_names_policies_that_are_for_the_other_direction() {
    let world = World::shop();
    let flags = "--from shop/db-0 --to shop/web-0 --port 8080/TCP";
    let text = world.run("explain", flags).well(0).stdout;
    let words = "shop/web: selects it, but says nothing of ingress";
    assert!(text.contains(words), "{text}");
    let explained = first(&world, "explain", &format!("{flags} -o json"));
    let policies = explained["ingress"]["policies"].as_array().unwrap();
    assert_eq!(
        policies[0],
        json!({"kind": "NetworkPolicy", "namespace": "shop", "name": "default-deny", "tier": "NetworkPolicy", "rules": []})
    );
    assert_eq!(
        policies[1],
        json!({"kind": "NetworkPolicy", "namespace": "shop", "name": "web", "tier": "NetworkPolicy", "rules": [],
            "missed": {"what": "direction", "wanted": "Egress", "found": "Ingress"}})
    );
}
