//! Bad input: the exit code, and what the one line on stderr names.

use crate::support::{CLUSTER, World, run};

const ASKED: &str = "--from shop/web-0 --to shop/db-0 --port 5432/TCP";

#[test]
fn bad_usage_ends_with_2() {
    let world = World::shop();
    for (command, flags, word) in [
        ("evaluate", "", "--connections"),
        ("evaluate", "--from shop/web-0 --to shop/db-0", "--port"),
        ("evaluate", "--connections x --from shop/web-0", "--from"),
        ("evaluate", "--connections x --profile flannel", "flannel"),
        (
            "evaluate",
            "--connections x --strict --no-validation",
            "--no-validation",
        ),
        ("evaluate", "--connections x -o xml", "xml"),
        ("explain", "--from shop/web-0 --to shop/db-0", "--port"),
        ("reach", "", "--from"),
        ("reach", "--from shop/web-0 --to shop/db-0", "--to"),
    ] {
        world.run(command, flags).refused(2, &[word]);
    }
    for command in ["evaluate", "explain", "reach"] {
        let words: Vec<&str> = [command].into_iter().chain(ASKED.split(' ')).collect();
        run(&words, "").refused(2, &["--cluster"]);
    }
}

#[test]
fn ends_that_are_not_there_are_named() {
    let world = World::shop();
    for (flags, words) in [
        (
            "--from shop/web-1 --to shop/db-0 --port 1/TCP",
            &["no pod `shop/web-1`", "web-0"][..],
        ),
        (
            "--from shop/web-0 --to spoh/db-0 --port 1/TCP",
            &["`spoh`", "shop"],
        ),
        (
            "--from web-0 --to shop/db-0 --port 1/TCP",
            &["`web-0` is neither"],
        ),
        (
            "--from 10.0.0.0/8 --to shop/db-0 --port 1/TCP",
            &["`10.0.0.0/8` is neither"],
        ),
        (
            "--from shop/web-0 --to shop/db-0 --port http/TCP",
            &["`http/TCP`", "1 to 65535"],
        ),
        (
            "--from shop/web-0 --to shop/db-0 --port 0/TCP",
            &["`0/TCP`"],
        ),
        (
            "--from shop/web-0 --to shop/db-0 --port 80/QUIC",
            &["`80/QUIC`", "SCTP"],
        ),
        (
            "--from shop/web-0 --to shop/db-0 --port 8/ICMP",
            &["ICMP has no port"],
        ),
        (
            "--from shop/web-0 --from-ip 10.9.9.9 --to shop/db-0 --port 1/TCP",
            &["10.9.9.9", "10.0.0.1, fd00::1"],
        ),
        (
            "--from 10.0.0.1 --from-ip 10.0.0.2 --to shop/db-0 --port 1/TCP",
            &["`10.0.0.1`", "10.0.0.2"],
        ),
    ] {
        for command in ["evaluate", "explain"] {
            world.run(command, flags).refused(2, words);
        }
    }
    world
        .run("reach", "--to shop/nobody")
        .refused(2, &["no pod `shop/nobody`"]);
}

#[test]
fn a_bad_line_is_named_and_nothing_is_answered() {
    let world = World::shop();
    let header = "from\tto\tport/protocol\nshop/web-0\tshop/db-0\t5432/TCP\n";
    for (text, words) in [
        (
            format!("{header}shop/web-9\tshop/db-0\t5432/TCP\n"),
            &["line 3", "no pod `shop/web-9`"][..],
        ),
        (
            format!("{header}shop/web-0\tshop/db-0\tmany/TCP\n"),
            &["line 3", "`many/TCP`"],
        ),
        (
            format!("{header}shop/web-0\tshop/db-0\n"),
            &["line 3", "3 columns", "2"],
        ),
        (
            "shop/web-0 shop/db-0 5432/TCP\n".to_owned(),
            &["line 1", "expected the header"],
        ),
        (
            "{\"from\": \"shop/web-0\"}\n".to_owned(),
            &["line 1", "missing field `to`"],
        ),
        ("{\"from\": 1}\n".to_owned(), &["line 1", "invalid type"]),
        (
            r#"{"from":"shop/web-0","to":"shop/db-0","port":1,"protocol":"TCP","expct":"denied"}"#
                .to_owned(),
            &["`expct`"],
        ),
    ] {
        let file = world.file("asked", &text);
        let mut named = vec![file.as_str()];
        named.extend(words);
        world
            .run("evaluate", &format!("--connections {file}"))
            .refused(2, &named);
        let named: Vec<&str> = ["stdin"].iter().chain(words).copied().collect();
        world
            .run_with("evaluate", "--connections -", &text)
            .refused(2, &named);
    }
    world
        .run("evaluate", "--connections nowhere.tsv")
        .refused(2, &["`nowhere.tsv`", "No such file"]);
}

#[test]
fn a_cluster_that_cannot_be_read_is_named() {
    for (files, words) in [
        (&[][..], &["holds nothing to read"][..]),
        (&[("blank.yaml", "")], &["holds nothing to read"]),
        (
            &[("blank.yaml", "# later\n---\n"), ("a.json", "\n")],
            &["holds nothing to read"],
        ),
        (
            &[("bad.yaml", "a: [")],
            &["bad.yaml", "no YAML or JSON", "line"],
        ),
        (
            &[("twice.yaml", "kind: Pod\nkind: Pod\n")],
            &["twice.yaml", "`kind` is not allowed here at line 2"],
        ),
        (
            &[("bad.json", "{")],
            &["bad.json", "no YAML or JSON", "line"],
        ),
    ] {
        let world = World::of(files);
        for command in ["evaluate", "explain"] {
            world.run(command, ASKED).refused(2, words);
        }
        world.run("reach", "--from shop/web-0").refused(2, words);
    }
    let words = ["reach", "--from", "shop/web-0", "--cluster", "nowhere"];
    run(&words, "").refused(2, &["`nowhere`", "No such file"]);
}

#[test]
fn an_object_that_is_refused_is_skipped_told_or_taken() {
    let typo = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: typo, namespace: shop}
spec:
  podSelector: {}
  ingress: [{from: [{podSelecter: {}}]}]
"#;
    let world = World::of(&[("cluster.yaml", CLUSTER), ("typo.yaml", typo)]);
    let place = [
        "typo.yaml` document 1",
        "NetworkPolicy shop/typo",
        "spec.ingress[0].from[0]",
    ];
    let verdict = |flags: &str| {
        let said = world.run("evaluate", &format!("{ASKED} {flags}"));
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        (said.json()[0]["verdict"].clone(), said.stderr)
    };
    let (skipped, told) = verdict("");
    assert_eq!(skipped, "allowed");
    assert!(place.iter().all(|word| told.contains(word)), "{told}");
    let (taken, told) = verdict("--no-validation");
    assert_eq!((taken, told), ("denied".into(), String::new()));
    world
        .run("evaluate", &format!("{ASKED} --strict"))
        .refused(2, &place);
}

#[test]
fn other_files_are_named_too() {
    let world = World::shop();
    for (text, word) in [
        ("{", "EOF"),
        (r#"{"a": "192.0.2.1"}"#, "sequence"),
        (r#"{"a": ["x"]}"#, "IP address"),
    ] {
        let names = world.file("names.json", text);
        world
            .run("evaluate", &format!("{ASKED} --names {names}"))
            .refused(2, &[names.as_str(), word]);
    }
    for (text, words) in [
        ("{}\n", &["line 1", "schema"][..]),
        ("\nno\n", &["line 2", "no record"]),
        (
            r#"{"schema":"netverdict/v1","type":"connection"}"#,
            &["line 1", "missing field"],
        ),
    ] {
        let records = world.file("records.jsonl", text);
        world
            .run(
                "reach",
                &format!("--from shop/web-0 --input-file {records}"),
            )
            .refused(2, words);
    }
}

#[test]
fn a_list_without_objects_is_content_and_one_without_connections_is_none() {
    let world = World::of(&[("none.yaml", "{apiVersion: v1, kind: List, items: []}")]);
    let asked = "--from 192.0.2.1 --to 192.0.2.2 --port 1/TCP";
    assert_eq!(world.run("evaluate", asked).code, Some(0));
    for text in ["", "# nothing yet\n", "from\tto\tport/protocol\n"] {
        let file = world.file("none.tsv", text);
        world
            .run("evaluate", &format!("--connections {file}"))
            .refused(2, &["none.tsv", "holds no connection"]);
    }
}
