//! Names, labels, selectors and files are others' text: whatever is asked, no output holds what a terminal obeys.

use crate::support::{Said, World, run};

/// Clears the screen, colours, turns the order of letters around, hides, and says what the agent says when it watches:
/// in YAML's own escapes.
const HOSTILE: &str = r"\e[2J\x9b31m\u202e\u200b\r\nready\nerror: x\n";
/// In a file's name.
const IN_FILE: &str = "a\u{1b}[31m\u{202e}";

/// A cluster in which everything that can be named is named like that.
fn cluster() -> String {
    r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: "HOSTILE"}, annotations: {"netverdict.io/log": "HOSTILE"}}
---
apiVersion: v1
kind: Node
metadata: {name: "node-HOSTILE"}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: "web-HOSTILE"}}
spec: {nodeName: "node-HOSTILE", containers: [{name: "c-HOSTILE", ports: [{name: "p-HOSTILE", containerPort: 80}]}]}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: "db-HOSTILE", namespace: shop, labels: {app: "db-HOSTILE"}}
spec: {nodeName: n, containers: [{name: c, ports: [{name: "p-HOSTILE", containerPort: 80}]}]}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Service
metadata: {name: "db-HOSTILE", namespace: shop}
spec: {clusterIP: 10.96.0.4, selector: {app: "db-HOSTILE"}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: "deny-HOSTILE", namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: "db-HOSTILE", namespace: shop}
spec:
  podSelector: {matchLabels: {app: "db-HOSTILE"}}
  ingress:
  - from: [{podSelector: {matchExpressions: [{key: "k-HOSTILE", operator: In, values: ["v-HOSTILE"]}]}}]
    ports: [{port: "p-HOSTILE"}]
  - from: [{ipBlock: {cidr: "10.0.0.0/8-HOSTILE"}}]
---
apiVersion: networking.k8s.io/v1
kind: "NetworkPolicy-HOSTILE"
metadata: {name: "x-HOSTILE", namespace: "ns-HOSTILE"}
"#
    .replace("HOSTILE", HOSTILE)
}

#[track_caller]
fn harmless(said: &Said, what: &str) {
    for (stream, text) in [("stdout", &said.stdout), ("stderr", &said.stderr)] {
        let letter = text.chars().find(|letter| {
            let is_hidden = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
            is_hidden || (letter.is_control() && !matches!(letter, '\n' | '\t'))
        });
        assert_eq!(letter, None, "{what}: {stream}:\n{text:?}");
    }
    let is_forged = |line: &str| line == "ready" || line == "error: x";
    let stderr = &said.stderr;
    assert!(!stderr.lines().any(is_forged), "{what}:\n{stderr}");
    assert!(!said.stderr.contains("panicked"), "{what}: {}", said.stderr);
    let is_shown = format!("{}{}", said.stdout, said.stderr).contains("202e");
    assert!(
        is_shown,
        "{what}: nothing hostile was to be shown: this tests nothing"
    );
}

#[test]
fn no_answer_holds_what_a_terminal_obeys() {
    let file = format!("{IN_FILE}.yaml");
    let world = World::of(&[(&file, &cluster())]);
    let ends = "--from shop/web --to 10.0.0.2 --port 80/TCP";
    for validation in ["", "--no-validation", "--strict"] {
        for (command, flags) in [
            ("evaluate", format!("{ends} -o json")),
            ("evaluate", format!("{ends} -o table")),
            ("explain", format!("{ends} -o text")),
            ("explain", format!("{ends} -o json")),
            ("reach", "--from shop/web -o table".to_owned()),
            ("reach", "--to 10.0.0.2 -o json".to_owned()),
            ("reach", "--to shop/web -o dot".to_owned()),
        ] {
            let flags = format!("{flags} {validation}");
            harmless(&world.run(command, &flags), &format!("{command} {flags}"));
        }
    }
    for format in ["text", "json", "sarif"] {
        let said = world.run("lint", &format!("-o {format}"));
        harmless(&said, &format!("lint -o {format}"));
    }
}

#[test]
fn no_error_holds_what_a_terminal_obeys() {
    let hostile = "x\u{1b}[2J\u{202e}\nready\n";
    let world = World::of(&[("cluster.yaml", &cluster())]);
    let folder = world.cluster().to_string_lossy().into_owned();
    let connections = world.file(
        "c.tsv",
        &format!("from\tto\tport/protocol\n{IN_FILE}\t{IN_FILE}\t1/TCP\n"),
    );
    let lines = world.file("c.jsonl", "{\"from\": \"shop/x\\u001b\\u202e\", \"to\": \"10.0.0.2\", \"port\": 1, \"protocol\": \"TCP\"}\n");
    let none = format!("/nowhere/{hostile}");
    let broken = world.file(&format!("{IN_FILE}.yaml"), "kind: [");
    let twice = world.file(
        "twice.yaml",
        "\"\\nready\\n\\u202e\": a\n\"\\nready\\n\\u202e\": b\n",
    );
    for words in [
        [
            "evaluate",
            "--cluster",
            &folder,
            "--connections",
            &connections,
        ],
        ["evaluate", "--cluster", &folder, "--connections", &lines],
        ["evaluate", "--cluster", &folder, "--connections", &none],
        ["reach", "--cluster", &folder, "--from", hostile],
        ["reach", "--cluster", &none, "--from", "shop/web"],
        ["reach", "--cluster", &broken, "--from", "shop/web"],
        ["lint", "--cluster", &none, "-n", "shop"],
        ["lint", "--cluster", &broken, "-n", "shop"],
        ["lint", "--cluster", &twice, "-n", "shop"],
        ["agent", "--metrics-listen", "off", "--cluster", &none],
        ["agent", "--metrics-listen", "off", "--config", &none],
        ["agent", "--metrics-listen", "off", "--replay", &none],
    ] {
        let said = run(&words, "");
        assert_eq!(said.code, Some(2), "{words:?}: {}", said.stderr);
        harmless(&said, &format!("{words:?}"));
    }
}

#[test]
fn standard_input_has_a_name() {
    for (command, stdin) in [("lint", "kind: ["), ("lint", "")] {
        let said = run(&[command, "--cluster", "-"], stdin);
        said.refused(2, &["stdin"]);
    }
    let world = World::shop();
    for stdin in ["{", "\u{1}"] {
        let said = world.run_with("evaluate", "--connections -", stdin);
        assert!(said.stderr.contains("stdin"), "{}", said.stderr);
        assert!(!said.stderr.contains("`-`"), "{}", said.stderr);
    }
}
