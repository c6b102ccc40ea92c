//! `netverdict explain`.

use std::fs;

use crate::support::World;

/// Writes what would allow it into the cluster, and asks again.
fn verdict_after_fix(flags: &str) -> (serde_json::Value, serde_json::Value) {
    let world = World::shop();
    let explained = world.run("explain", &format!("{flags} -o json")).well(0);
    let explained = &explained.json()[0];
    for (index, fix) in explained["fix"].as_array().unwrap().iter().enumerate() {
        // The last file by name counts where an object is there twice.
        let file = world.cluster().join(format!("z{index}.yaml"));
        fs::write(file, fix["object"].as_str().unwrap()).unwrap();
    }
    let said = world.run("evaluate", flags);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    (
        explained["verdict"].clone(),
        said.json()[0]["verdict"].clone(),
    )
}

#[test]
fn what_it_prints_allows_the_connection() {
    for flags in [
        "--from shop/web-0 --to shop/db-0 --port 5432/TCP",
        "--from shop/web-0 --to shop/api-6d-a --port 8080/TCP",
        "--from shop/db-0 --to shop/web-0 --port 8080/UDP",
        "--from shop/web-0 --to 192.0.2.1 --port 80/TCP",
        "--from shop/web-0 --from-ip fd00::1 --to 2001:db8::1 --port 443/TCP",
        "--from 192.0.2.1 --to shop/db-0 --port 5432/SCTP",
        "--from shop/web-0 --to 10.96.0.4 --port 55432/TCP",
    ] {
        let (before, after) = verdict_after_fix(flags);
        assert_eq!(
            (before, after),
            ("denied".into(), "allowed".into()),
            "{flags}"
        );
    }
}

#[test]
fn both_sides_are_answered_when_both_deny() {
    let world = World::shop();
    let flags = "--from shop/web-0 --to shop/db-0 --port 5432/TCP";
    let explained = world.run("explain", &format!("{flags} -o json")).well(0);
    let explained = &explained.json()[0];
    for side in ["egress", "ingress"] {
        assert_eq!(explained[side]["verdict"], "denied");
        assert_eq!(
            explained[side]["policies"].as_array().unwrap().len(),
            2,
            "{side}"
        );
    }
    let fixed = explained["fix"].as_array().unwrap();
    let fixed: Vec<&str> = fixed
        .iter()
        .map(|fix| fix["policy"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(fixed, ["web", "db"]);
    let text = world.run("explain", flags).well(0).stdout;
    for words in [
        "shop/web-0 → shop/db-0, port 5432/TCP: denied",
        "Egress of shop/web-0: denied",
        "Ingress of shop/db-0: denied",
        "shop/default-deny: no ingress rule, so it allows nothing",
        "from[0] misses: pod labels: app=api wanted, app=web found",
        "to[0] misses: except: 0.0.0.0/0 except 10.0.0.0/8 wanted, 10.0.0.4 found",
        "ports[0] misses: port: 443 wanted, 5432 found",
        "both sides must change",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn nothing_is_to_be_fixed_where_nothing_is_denied() {
    let world = World::shop();
    for flags in [
        "--from shop/api-6d-a --to shop/db-0 --port 5432/TCP",
        "--from shop/web-0 --to shop/db-0 --port ICMP",
    ] {
        let said = world.run("explain", &format!("{flags} -o json")).well(0);
        assert_eq!(said.json()[0]["fix"], serde_json::json!([]), "{flags}");
    }
}

/// A cluster of one namespace, `s`, with what a test needs.
fn text_of(objects: &str, flags: &str) -> String {
    let world = World::of(&[("cluster.yaml", objects)]);
    world.run("explain", flags).well(0).stdout
}

fn pod(name: &str, ip: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: s, labels: {{app: {name}}}}}, \
         spec: {{nodeName: n1, containers: [{{name: c}}]{spec}}}, status: {{podIP: {ip}}}}}\n---\n"
    )
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: s}}, spec: {spec}}}\n---\n"
    )
}

fn cluster_policy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: {name}}}, spec: {spec}}}\n---\n"
    )
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn what_leaves_it_open_is_said() {
    let host = pod("hp", "192.168.0.2", ", hostNetwork: true").replace("n1", "n2");
    let web = pod("web", "10.0.0.5", "");
    let from_host = policy(
        "web",
        "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: hp}}}]}]}",
    );
    let of_host = policy("hpdeny", "{podSelector: {matchLabels: {app: hp}}}");
    let objects = [host, web, from_host, of_host].concat();
    let text = text_of(&objects, "--from s/hp --to s/web --port 80/TCP");
    says(
        &text,
        &[
            "s/web isolates it, and no rule surely matches.",
            "Not known: A pod on its node's network takes part",
            "rule 0 may match: nobody can say\n",
        ],
    );
    let text = text_of(&objects, "--from s/web --to s/hp --port 80/TCP");
    says(
        &text,
        &[
            "Ingress of s/hp: allowed",
            "Left open: A pod on its node's network takes part",
            "s/hpdeny: no ingress rule",
        ],
    );
    let objects = [
        pod("web", "10.0.0.5", ""),
        policy("deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}"),
        "{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}\n---\n".to_owned(),
        "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: s}, spec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}}\n".to_owned(),
    ]
    .concat();
    let own_node = text_of(&objects, "--from s/web --to 192.168.0.1 --port 80/TCP");
    says(
        &own_node,
        &["Left open: Some dataplanes ask the policies on the way to the own node."],
    );
    let no_slices = text_of(&objects, "--from s/web --to 10.96.0.9 --port 80/TCP");
    says(
        &no_slices,
        &[
            "s/deny isolates it",
            "Not known: No EndpointSlice of the Service is known",
        ],
    );
    let no_port = text_of(&objects, "--from s/web --to 10.96.0.9 --port 9999/TCP");
    says(&no_port, &["Not known: The Service has no such port."]);
}

#[test]
fn what_no_network_policy_can_allow_is_said() {
    let pods = [pod("db", "10.0.0.5", ""), pod("cli", "10.0.0.6", "")].concat();
    let admin = cluster_policy(
        "guard",
        "{tier: Admin, priority: 1, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: db}}}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
    );
    let closed = policy("closed", "{podSelector: {}, policyTypes: [Egress]}");
    let text = text_of(
        &[pods.as_str(), &admin, &closed].concat(),
        "--from s/cli --to s/db --port 81/TCP",
    );
    says(
        &text,
        &[
            "To allow one side of it: apply this new policy",
            "Ingress stays denied: ClusterNetworkPolicy guard itself has to change",
        ],
    );
    assert!(!text.contains("both sides must change"), "{text}");
    let baseline = cluster_policy(
        "base",
        "{tier: Baseline, priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}",
    );
    let text = text_of(
        &[pods.as_str(), &baseline].concat(),
        "--from s/cli --to 192.0.2.1 --port 443/TCP",
    );
    says(
        &text,
        &[
            "Egress stays denied: a NetworkPolicy that isolates the pod for egress would decide in place of ClusterNetworkPolicy base",
        ],
    );
}

#[test]
fn a_side_that_nobody_isolates_has_an_empty_list() {
    let world = World::of(&[("cluster.yaml", &pod("web", "10.0.0.5", ""))]);
    let said = world.run(
        "explain",
        "--from s/web --to 192.0.2.1 --port 80/TCP -o json",
    );
    let explained = &said.well(0).json()[0];
    for side in ["egress", "ingress"] {
        assert_eq!(
            explained[side]["isolated_by"],
            serde_json::json!([]),
            "{side}"
        );
    }
}
