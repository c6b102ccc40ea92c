//! What watches say, in any order that they can, and what becomes of it.

mod access;
mod answers;
mod away;
mod hindered;
mod quiet;
mod server;
mod strangers;
mod told;
mod unread;
mod versions;

use node_agent_engine::k8s::{Sent, Validation};
use node_agent_engine::model::{Delta, ObjectKey};
use serde_json::{Value, json};

use super::kinds::{KINDS, Kind};
use super::problem::Problem;
use super::said::{Said, What};
use super::store::Store;
use super::wire::{Form, Line};
use super::{News, problem};

const PODS: usize = 2;

fn said(kind: usize, what: What) -> Said {
    Said { kind, what }
}

fn pod(name: &str, version: u64, ip: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "resourceVersion": version.to_string()},
        "spec": {"nodeName": "node-1"}, "status": {"podIP": ip},
    })
}

fn forbidden() -> Problem {
    Problem::Forbidden("no tier".to_owned())
}

fn form(kind: &'static Kind) -> Form {
    Form::new(kind, &kind.version.into(), Validation::Off)
}

fn line(r#type: &str, object: Value) -> Line {
    let text = json!({"type": r#type, "object": object}).to_string();
    form(&KINDS[PODS]).line(text.as_bytes()).unwrap()
}

fn there(object: Value) -> What {
    match line("ADDED", object) {
        Line::There(sent) => What::There(sent),
        _ => panic!("an object that is there"),
    }
}

fn gone(object: Value) -> What {
    match line("DELETED", object) {
        Line::Gone(sent) => What::Gone(sent),
        _ => panic!("an object that is gone"),
    }
}

/// Says what became of each pod: its name, and its address or nothing.
fn take(store: &mut Store, whats: Vec<What>) -> Vec<String> {
    let mut news = News::default();
    for what in whats {
        store.take(said(PODS, what), &mut news);
    }
    let told = |delta: &Delta| match delta {
        Delta::Pod(pod) => format!("{} {}", pod.key.name, pod.ips[0]),
        Delta::PodGone(key) => format!("{} gone", key.name),
        other => panic!("{other:?}"),
    };
    news.deltas.iter().map(told).collect()
}

fn listed(objects: Vec<Value>) -> Vec<What> {
    let objects = objects.into_iter().map(there);
    std::iter::once(What::Listing)
        .chain(objects)
        .chain([What::Listed, What::Following])
        .collect()
}

#[test]
fn a_new_list_tells_only_what_changed_between() {
    let mut store = Store::new();
    let first = listed(vec![pod("a", 1, "10.0.0.1"), pod("b", 2, "10.0.0.2")]);
    assert_eq!(take(&mut store, first), ["a 10.0.0.1", "b 10.0.0.2"]);
    let second = listed(vec![
        pod("b", 2, "10.0.0.2"),
        pod("c", 5, "10.0.0.1"),
        pod("d", 6, "10.0.0.4"),
    ]);
    assert_eq!(
        take(&mut store, second),
        ["c 10.0.0.1", "d 10.0.0.4", "a gone"]
    );
    assert_eq!(
        take(&mut store, listed(vec![])),
        ["b gone", "c gone", "d gone"]
    );
}

#[test]
fn a_list_that_was_cut_takes_nothing_away() {
    let mut store = Store::new();
    take(
        &mut store,
        listed(vec![pod("a", 1, "10.0.0.1"), pod("b", 2, "10.0.0.2")]),
    );
    let cut = vec![
        What::Listing,
        there(pod("a", 3, "10.0.0.3")),
        What::Broken(Problem::Cut),
    ];
    assert_eq!(take(&mut store, cut), ["a 10.0.0.3"]);
    // The whole one that follows counts alone, not what the cut one told.
    let whole = listed(vec![pod("b", 2, "10.0.0.2")]);
    assert_eq!(take(&mut store, whole), ["a gone"]);
}

#[test]
fn what_is_told_twice_is_delivered_once() {
    let mut store = Store::new();
    take(&mut store, listed(vec![pod("a", 1, "10.0.0.1")]));
    let again = vec![
        there(pod("a", 1, "10.0.0.1")),
        gone(pod("a", 4, "10.0.0.1")),
        gone(pod("a", 4, "10.0.0.1")),
    ];
    assert_eq!(take(&mut store, again), ["a gone"]);
}

#[test]
fn the_first_picture_needs_every_kind() {
    let mut store = Store::new();
    let mut news = News::default();
    for kind in 0..KINDS.len() {
        assert!(!news.synced, "before kind {kind}");
        for what in listed(vec![]) {
            store.take(said(kind, what), &mut news);
        }
    }
    assert!(news.synced && store.is_current());
    store.take(said(0, What::Broken(Problem::Silent)), &mut news);
    assert!(!store.is_current());
    store.take(said(0, What::Following), &mut news);
    assert!(store.is_current());
}

#[test]
fn an_object_that_cannot_be_read_counts_no_more_and_spoils_no_other() {
    let mut store = Store::new();
    take(&mut store, listed(vec![pod("a", 1, "10.0.0.1")]));
    let mut bad = pod("a", 2, "10.0.0.1");
    bad["spec"]["nodeName"] = json!(7);
    let told = vec![there(bad), there(pod("b", 3, "10.0.0.2"))];
    assert_eq!(take(&mut store, told), ["a gone", "b 10.0.0.2"]);
}

#[test]
fn lines_of_a_watch_are_told_apart() {
    let bookmark = json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}});
    assert!(matches!(
        line("BOOKMARK", bookmark),
        Line::Bookmark { version, ends_the_list: true } if version == "7"
    ));
    let status = |code: u16| json!({"kind": "Status", "code": code, "message": "m", "reason": "r"});
    assert!(matches!(
        line("ERROR", status(410)),
        Line::Problem(Problem::Expired)
    ));
    assert!(matches!(
        line("ERROR", status(500)),
        Line::Problem(Problem::Other(_))
    ));
    assert!(matches!(line("LATER", json!({})), Line::Unknown));
    assert!(
        form(&KINDS[PODS])
            .line(b"{\"type\":\"ADDED\",\"obj")
            .is_err()
    );
}

/// What a line tells: of which pod and what, or why nothing.
fn told(text: &[u8]) -> String {
    let pod = |sent: &Sent| {
        let address = match &sent.decoded {
            Ok(Some(Delta::Pod(pod))) => pod.ips[0].to_string(),
            Ok(_) => "no pod".to_owned(),
            Err(_) => "unread".to_owned(),
        };
        format!("{} {address}", sent.key.name)
    };
    match form(&KINDS[PODS]).line(text) {
        Ok(Line::There(sent)) => format!("there {}", pod(&sent)),
        Ok(Line::Gone(sent)) => format!("gone {}", pod(&sent)),
        Ok(Line::Bookmark { version, .. }) => format!("bookmark {version}"),
        Ok(Line::Unknown) => "unknown".to_owned(),
        Ok(Line::Problem(problem)) => format!("told {problem:?}"),
        Err(_) => "unreadable".to_owned(),
    }
}

#[test]
fn lines_are_read_however_they_are_written() {
    let a = pod("a", 1, "10.0.0.1").to_string();
    let b = pod("b", 1, "10.0.0.2").to_string();
    let bad = a.replace("\"node-1\"", "7");
    let duplicate = a.replace("\"spec\":", "\"spec\":{},\"spec\":");
    let cases = [
        (
            format!(r#"{{"type":"ADDED","object":{a}}}"#),
            "there a 10.0.0.1",
        ),
        (
            format!(r#"{{"type":"MODIFIED","object":{a}}}"#),
            "there a 10.0.0.1",
        ),
        (
            format!(r#"{{"type":"DELETED","object":{a}}}"#),
            "gone a 10.0.0.1",
        ),
        (
            format!(r#" {{ "type" : "ADDED" , "object" : {a} }} "#),
            "there a 10.0.0.1",
        ),
        (
            format!(r#"{{"object":{a},"type":"DELETED"}}"#),
            "gone a 10.0.0.1",
        ),
        (
            format!(r#"{{"type":"\u0041DDED","object":{a}}}"#),
            "there a 10.0.0.1",
        ),
        (
            format!(r#"{{"type":"ADDED","object":{a},"later":{{"object":{b}}}}}"#),
            "there a 10.0.0.1",
        ),
        (
            format!(
                r#"{{"type":"ADDED","object":{}}}"#,
                a.replace("\"a\"", r#""\u0061""#)
            ),
            "there a 10.0.0.1",
        ),
        (
            format!(
                r#"{{"type":"ADDED","object":{}}}"#,
                a.replacen('{', r#"{"x":"}\",\"object\":{","#, 1)
            ),
            "there a 10.0.0.1",
        ),
        (
            format!(r#"{{"type":"ADDED","object":{bad}}}"#),
            "there a unread",
        ),
        (
            format!(r#"{{"type":"ADDED","object":{duplicate}}}"#),
            "there a unread",
        ),
        (
            format!(r#"{{"type":"ADDED","object":{a},"object":{b}}}"#),
            "unreadable",
        ),
        (
            format!(r#"{{"type":"ADDED","object":{a}}}{{}}"#),
            "unreadable",
        ),
        (
            format!(r#"{{"type":"ADDED","object":{a}}}}}"#),
            "unreadable",
        ),
        (format!(r#"{{"type":"ADDED","object":{a}"#), "unreadable"),
        (
            format!(
                r#"{{"type":"ADDED","object":{}}}"#,
                a.replace("10.0.0.1", "\n")
            ),
            "unreadable",
        ),
        (
            format!(r#"{{"type":"ADDED","object":{a}{b}}}"#),
            "unreadable",
        ),
        (format!(r#"{{"type":"LATER","object":{a}}}"#), "unknown"),
        (String::new(), "unreadable"),
    ];
    for (text, wanted) in cases {
        assert_eq!(told(text.as_bytes()), wanted, "{text}");
    }
    let cut = format!(r#"{{"type":"ADDED","object":{a}}}"#);
    for length in 0..cut.len() {
        assert_eq!(told(&cut.as_bytes()[..length]), "unreadable", "{length}");
    }
    let mut no_text = cut.into_bytes();
    let in_an_address = no_text.len() - 6;
    no_text[in_an_address] = 0xff;
    assert_eq!(told(&no_text), "unreadable");
}

#[test]
fn a_page_gives_its_objects_and_the_way_on() {
    let text = json!({"kind": "PodList", "apiVersion": "v1",
        "metadata": {"resourceVersion": "9", "continue": "next"},
        "items": [pod("a", 1, "10.0.0.1"), {"metadata": {"name": "x", "namespace": "y"}, "spec": 3}]});
    let page = form(&KINDS[PODS]).page(&text.to_string()).unwrap();
    assert_eq!((page.version.as_str(), page.more.as_str()), ("9", "next"));
    let keys: Vec<_> = page.objects.iter().map(|sent| sent.key.clone()).collect();
    let key = |namespace: &str, name: &str| ObjectKey {
        namespace: namespace.into(),
        name: name.into(),
    };
    assert_eq!(keys, [key("shop", "a"), key("y", "x")]);
    assert!(page.objects[0].decoded.is_ok() && page.objects[1].decoded.is_err());
}

#[test]
fn policies_that_the_server_holds_count_although_a_new_one_would_be_refused() {
    let policies = KINDS
        .iter()
        .find(|kind| kind.plural == "networkpolicies")
        .unwrap();
    let text = json!({"type": "ADDED", "object": {"kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "p", "resourceVersion": "1"},
        "spec": {"podSelector": {}, "laterField": true, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]}}});
    let found = form(policies).line(text.to_string().as_bytes()).unwrap();
    let Line::There(sent) = found else {
        panic!("a policy that is there");
    };
    assert!(
        matches!(sent.decoded, Ok(Some(Delta::Policy(_)))),
        "{sent:?}"
    );
}

#[test]
fn rules_are_what_a_cluster_role_lacks() {
    assert_eq!(
        problem::rules([&KINDS[PODS], &KINDS[5]]),
        "- apiGroups: [\"\"]\n  resources: [pods]\n  verbs: [get, list, watch]\n\
         - apiGroups: [\"networking.k8s.io\"]\n  resources: [networkpolicies]\n  verbs: [list, watch]"
    );
    assert_eq!(
        KINDS[5].rule_in_a_line(),
        "- {apiGroups: [\"networking.k8s.io\"], resources: [networkpolicies], verbs: [list, watch]}"
    );
    let objects = KINDS[PODS].path_in("v1", "shop");
    assert_eq!(objects, "/api/v1/namespaces/shop/pods");
    assert_eq!(
        KINDS[5].path("v1"),
        "/apis/networking.k8s.io/v1/networkpolicies"
    );
}
