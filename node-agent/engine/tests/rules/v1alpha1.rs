//! AdminNetworkPolicy and BaselineAdminNetworkPolicy: what they have in their own way.

use serde_json::{Value, json};

use crate::crds::refused;
use crate::support::*;

#[test]
fn r55_ports_of_v1alpha1() {
    let deny = |port: Value| {
        let rule = json!({"action": "Deny", "to": [everybody()], "ports": [port]});
        with(&[v1alpha1(
            "p",
            json!({"priority": 1, "subject": everybody(), "egress": [rule]}),
        )])
    };
    deny(json!({"portNumber": {"port": 80}})).check(&[
        ("x/a", "y/a", 80, Tcp, Denied),
        ("x/a", "y/a", 80, Udp, Allowed),
    ]);
    deny(json!({"portNumber": {"port": 80, "protocol": "UDP"}})).check(&[
        ("x/a", "y/a", 80, Tcp, Allowed),
        ("x/a", "y/a", 80, Udp, Denied),
    ]);
    deny(json!({"portRange": {"start": 80, "end": 82, "protocol": "SCTP"}})).check(&[
        ("x/a", "y/a", 82, Sctp, Denied),
        ("x/a", "y/a", 83, Sctp, Allowed),
        ("x/a", "y/a", 82, Tcp, Allowed),
    ]);
    deny(json!({"namedPort": "dns"})).check(&[
        ("x/a", "y/a", 53, Udp, Denied),
        ("x/a", "y/a", 53, Tcp, Allowed),
    ]);
}

#[test]
fn what_is_left_of_v1alpha1_is_read_as_its_users_write_it() {
    let mut policy = v1alpha1(
        "p",
        json!({"priority": 1, "subject": everybody(), "ingress": [
            {"action": "Deny", "from": [{"pods": {"podSelector": {"matchLabels": {"app": "a"}}}}]},
        ]}),
    );
    // It belongs to no namespace, whatever is written.
    policy["metadata"]["namespace"] = json!("nowhere");
    let world = with(&[policy]);
    world.check(&[
        ("x/a", "y/b", 80, Tcp, Denied),
        ("x/b", "y/b", 80, Tcp, Allowed),
    ]);
    assert!(world.cluster.namespace("nowhere").is_none() && world.cluster.namespace("").is_none());
}

#[test]
fn v1alpha1_has_its_own_words_and_bounds() {
    let rule = |change: &dyn Fn(&mut Value)| {
        let mut rule = json!({"action": "Allow", "to": [everybody()]});
        change(&mut rule);
        rule
    };
    let admin = |rule: Value| {
        v1alpha1(
            "p",
            json!({"priority": 1, "subject": everybody(), "egress": [rule]}),
        )
    };
    let baseline =
        |rule: Value| v1alpha1("default", json!({"subject": everybody(), "egress": [rule]}));
    let action = |word: &'static str| rule(&move |rule| rule["action"] = json!(word));
    let port = |port: Value| rule(&move |rule| rule["ports"] = json!([port]));
    let item = "spec.egress[0].ports[0]";
    let table = [
        (
            admin(action("Accept")),
            "spec.egress[0].action".to_owned(),
            "R56",
        ),
        (
            baseline(action("Pass")),
            "spec.egress[0].action".to_owned(),
            "R56",
        ),
        (
            admin(rule(&|rule| rule["to"] = json!(vec![everybody(); 101]))),
            "spec.egress[0].to".to_owned(),
            "R46",
        ),
        (admin(port(json!({}))), item.to_owned(), "R54"),
        (
            admin(port(
                json!({"portNumber": {"port": 80}, "namedPort": "web"}),
            )),
            item.to_owned(),
            "R54",
        ),
        (
            admin(port(json!({"portNumber": {"protocol": "TCP"}}))),
            format!("{item}.portNumber.port"),
            "V2",
        ),
        (
            admin(port(json!({"portRange": {"start": 0, "end": 2}}))),
            format!("{item}.portRange.start"),
            "V2",
        ),
        (
            v1alpha1("default", json!({"priority": 1, "subject": everybody()})),
            "spec.priority".to_owned(),
            "V15",
        ),
    ];
    for (object, field, number) in table {
        assert_eq!(refused(&object), [(field, number)], "{object}");
    }
    for taken in [
        admin(action("Pass")),
        baseline(action("Deny")),
        admin(rule(&|rule| rule["to"] = json!(vec![everybody(); 100]))),
        admin(port(json!({"portRange": {"start": 9, "end": 9}}))),
    ] {
        assert_eq!(refused(&taken), [], "{taken}");
    }
}
