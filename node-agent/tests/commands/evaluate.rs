//! `netverdict evaluate`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{World, binary, run, shared};

#[test]
fn operators_expectations_hold() {
    let mut rows = 0;
    for scenario in ["app", "dev-containers", "kasm", "safeops", "vdi"] {
        let folder = shared().join("scenarios").join(scenario);
        let file = folder.join("expect.tsv");
        let [folder, file] = [folder, file].map(|path| path.to_str().unwrap().to_owned());
        let words = ["evaluate", "--cluster", &folder, "--connections", &file];
        let said = run(&words, "");
        assert_eq!(said.code, Some(0), "{scenario}: {}", said.stderr);
        let answers = said.json();
        let expected = std::fs::read_to_string(&file).unwrap();
        let expected = expected.lines().filter(|line| !line.is_empty()).count() - 1;
        assert_eq!(answers.len(), expected, "{scenario}");
        for answer in &answers {
            assert_eq!(answer["matches"], true, "{scenario}: {answer}");
        }
        rows += answers.len();
    }
    assert!(rows >= 69, "only {rows} connections judged");
}

#[test]
fn answers_come_in_order_with_their_reasons() {
    let table = "from\tto\tport/protocol\nshop/api-6d-a\tshop/db-0\t5432/TCP\nshop/web-0\tshop/db-0\t5432/TCP\n";
    let said = World::shop()
        .run_with("evaluate", "--connections -", table)
        .well(0);
    let answers = said.json();
    let policy = |name| json!({"kind": "NetworkPolicy", "namespace": "shop", "name": name});
    let expected = json!({"from": "shop/api-6d-a", "to": "shop/db-0", "port": 5432, "protocol": "TCP", "verdict": "allowed",
        "egress": {"verdict": "allowed", "reason": "rule", "isolated_by": [policy("api"), policy("default-deny")],
            "allowed_by": {"policy": policy("api"), "rule": 0, "peer": 0, "port": 0}},
        "ingress": {"verdict": "allowed", "reason": "rule", "isolated_by": [policy("db"), policy("default-deny")],
            "allowed_by": {"policy": policy("db"), "rule": 0, "peer": 0, "port": 0}}});
    assert_eq!(answers[0], expected);
    assert_eq!(answers[1]["verdict"], "denied");
    assert_eq!(
        answers[1]["egress"]["nearest"]["missed"],
        json!([{"what": "except", "wanted": "0.0.0.0/0 except 10.0.0.0/8", "found": "10.0.0.4"},
               {"what": "port", "wanted": "443", "found": "5432"}])
    );
    assert_eq!(
        answers[1]["ingress"]["nearest"]["missed"],
        json!([{"what": "pod_labels", "wanted": "app=api", "found": "app=web"}])
    );
    assert!(answers[1].get("matches").is_none() && answers[1].get("expected").is_none());
}

#[test]
fn isolated_by_is_there_when_nobody_isolates() {
    let said = World::shop()
        .run(
            "evaluate",
            "--from 192.0.2.1 --to 192.168.0.1 --port 22/TCP",
        )
        .well(0);
    let answer = &said.json()[0];
    assert_eq!(
        answer["egress"],
        json!({"verdict": "allowed", "reason": "not_subject", "isolated_by": []})
    );
}

#[test]
fn exit_code_says_whether_an_expectation_differs() {
    let world = World::shop();
    let line = |more: &str| {
        format!(r#"{{"from":"shop/web-0","to":"shop/db-0","port":5432,"protocol":"TCP"{more}}}"#)
    };
    for (more, code) in [
        ("", 0),
        (r#","expect":"denied""#, 0),
        (
            r#","expect":"deny","expect_egress":"denied","expect_ingress":"denied""#,
            0,
        ),
        (r#","expect":"allowed""#, 1),
        (r#","expect":"unknown""#, 1),
        (r#","expect":"denied","expect_egress":"allowed""#, 1),
        (r#","expect_ingress":"allow""#, 1),
    ] {
        let said = world
            .run_with("evaluate", "--connections -", &line(more))
            .well(code);
        let matches = (!more.is_empty()).then_some(code == 0);
        assert_eq!(
            said.json()[0].get("matches").map(|it| it == true),
            matches,
            "{more}"
        );
    }
    let header = "from\tto\tport/protocol\tverdict\tdenied in direction\n";
    for (cells, code) in [
        ("denied\tegress+ingress", 0),
        ("denied\tegress", 1),
        ("denied\t-", 0),
        ("allowed\t-", 1),
        ("\t", 0),
    ] {
        let table = format!("{header}shop/web-0\tshop/db-0\t5432/TCP\t{cells}\n");
        world
            .run_with("evaluate", "--connections -", &table)
            .well(code);
    }
}

#[test]
fn ends_may_be_any_address() {
    let world = World::shop();
    for (flags, verdict) in [
        // A pod's address is the pod.
        ("--from 10.0.0.2 --to 10.0.0.4 --port 5432/TCP", "allowed"),
        (
            "--from ::ffff:10.0.0.2 --to 10.0.0.4 --port 5432/TCP",
            "allowed",
        ),
        // A Service is its backends.
        (
            "--from shop/api-6d-a --to 10.96.0.4 --port 55432/TCP",
            "allowed",
        ),
        (
            "--from shop/web-0 --to 10.96.0.4 --port 55432/TCP",
            "denied",
        ),
        (
            "--from shop/api-6d-a --to 10.96.0.4 --port 5432/TCP",
            "unknown",
        ),
        // The own node is always allowed, another one is an address.
        (
            "--from 192.168.0.1 --to shop/web-0 --port 8080/TCP",
            "allowed",
        ),
        (
            "--from 192.168.0.1 --to shop/db-0 --port 5432/TCP",
            "denied",
        ),
        // The world.
        ("--from shop/web-0 --to 192.0.2.1 --port 443/TCP", "allowed"),
        ("--from shop/web-0 --to 10.9.9.9 --port 443/TCP", "denied"),
        // Which of its addresses a pod uses.
        (
            "--from shop/web-0 --from-ip fd00::1 --to 2001:db8::1 --port 443/TCP",
            "denied",
        ),
        // ICMP has no port, and the specification no word for it.
        ("--from shop/web-0 --to shop/db-0 --port ICMP", "unknown"),
        (
            "--profile calico --from shop/web-0 --to shop/db-0 --port ICMP",
            "denied",
        ),
        // A pod reaches itself; through a Service nobody says.
        ("--from shop/db-0 --to shop/db-0 --port 5432/TCP", "allowed"),
        (
            "--from shop/db-0 --to shop/db-0 --port 5432/TCP --via service",
            "unknown",
        ),
    ] {
        let said = world.run("evaluate", flags).well(0);
        assert_eq!(
            said.json()[0]["verdict"],
            verdict,
            "{flags}: {}",
            said.stdout
        );
    }
}

#[test]
fn a_table_is_for_people() {
    let said = World::shop()
        .run(
            "evaluate",
            "-o table --from shop/web-0 --to shop/db-0 --port 5432/TCP",
        )
        .well(0);
    let lines: Vec<Vec<&str>> = said
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][..3], ["VERDICT", "EXPECTED", "FROM"]);
    assert_eq!(
        lines[1][..4],
        ["denied", "shop/web-0", "shop/db-0", "5432/TCP"]
    );
    assert!(!said.stdout.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn names_are_read() {
    let world = World::shop();
    let names = world.file(
        "names.json",
        r#"{"example.org": ["192.0.2.1", "2001:db8::1"]}"#,
    );
    let flags = format!("--names {names} --from shop/web-0 --to 192.0.2.1 --port 443/TCP");
    world.run("evaluate", &flags).well(0);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::shop();
    let line =
        r#"{"from":"shop/web-0","to":"shop/db-0","port":5432,"protocol":"TCP","expect":"allowed"}"#;
    let asked = world.file("asked.jsonl", &format!("{line}\n").repeat(5000));
    let mut child = Command::new(binary())
        .args(["evaluate", "--connections", &asked, "--cluster"])
        .arg(world.cluster())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "what was found is still said");
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}

#[test]
fn a_finished_pod_is_not_whoever_has_its_address_now() {
    let world = World::shop();
    let said = world.run(
        "evaluate",
        "--from shop/job-0 --to shop/web-0 --port 8080/TCP",
    );
    assert_eq!(
        (said.code, &said.json()[0]["verdict"]),
        (Some(0), &json!("unknown"))
    );
    for words in ["pod shop/job-0 is finished", "another's now: shop/db-0"] {
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
}

#[test]
fn two_families_make_no_connection() {
    let world = World::shop();
    for flags in [
        "--from shop/web-0 --from-ip 10.0.0.1 --to 2001:db8::1 --port 80/TCP",
        "--from 192.0.2.1 --to shop/web-0 --to-ip fd00::1 --port 80/TCP",
    ] {
        let said = world.run("evaluate", flags);
        assert_eq!(said.code, Some(2), "{flags}");
        assert!(
            said.stderr.contains("are of different families"),
            "{}",
            said.stderr
        );
    }
    let said = world.run(
        "evaluate",
        "--from ::ffff:192.0.2.1 --to shop/db-0 --port 80/TCP",
    );
    assert_eq!(said.code, Some(0), "IPv4 written as IPv6: {}", said.stderr);
}
