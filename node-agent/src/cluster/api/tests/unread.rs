//! Kinds of policies that are there and cannot be read.

use node_agent_engine::model::{Delta, NamespaceMatch, Policy, Unmatched};
use serde_json::{Value, json};

use super::super::News;
use super::super::kinds::{KINDS, Kind, Presence};
use super::super::problem::Problem;
use super::super::said::What;
use super::super::store::Store;
use super::super::wire::Line;
use super::{forbidden, form, listed, said};

/// The place of a kind that has a server of its own.
fn calico() -> usize {
    let found = KINDS
        .iter()
        .position(|kind| kind.resource() == "globalnetworkpolicies.projectcalico.org");
    found.unwrap()
}

/// Everything but one kind is listed, or not installed.
fn all_but(absent: usize, store: &mut Store) -> News {
    let mut news = News::default();
    for (kind, _) in KINDS.iter().enumerate().filter(|(kind, _)| *kind != absent) {
        for what in listed(vec![]) {
            store.take(said(kind, what), &mut news);
        }
    }
    news
}

fn stands_for_all(delta: &Delta) -> bool {
    let Delta::Policy(Policy {
        key,
        unmatched,
        subject,
        ingress,
        egress,
        ..
    }) = delta
    else {
        return false;
    };
    (&*key.kind, &*key.namespace, &*key.name) == ("GlobalNetworkPolicy.projectcalico.org", "", "*")
        && *unmatched == Unmatched::Unknown
        && subject.pods.requirements.is_empty()
        && ingress.is_some()
        && egress.is_some()
}

#[test]
fn a_kind_whose_server_is_away_is_unknown_and_keeps_nobody_waiting() {
    for problem in [
        Problem::Unavailable(None),
        Problem::Busy(None),
        Problem::Silent,
        forbidden(),
        Problem::Other("500".to_owned()),
    ] {
        let mut store = Store::new();
        let mut news = all_but(calico(), &mut store);
        assert!(!news.synced, "{problem:?}");
        for _ in 0..4 {
            let broken = What::Broken(problem.clone());
            store.take(said(calico(), broken), &mut news);
        }
        assert!(news.synced && store.is_current(), "{problem:?}");
        assert!(store.stuck().is_none(), "{problem:?}");
        let [stands] = news.deltas.as_slice() else {
            panic!("{problem:?}: {:?}", news.deltas);
        };
        assert!(stands_for_all(stands), "{stands:?}");
        let [told] = news.notices.as_slice() else {
            panic!("{problem:?}: {:?}", news.notices);
        };
        let told = told.to_string();
        assert!(
            told.starts_with("watching globalnetworkpolicies.projectcalico.org: "),
            "{told}"
        );
        let remedy = match problem {
            Problem::Forbidden(_) => {
                assert!(told.contains("(403): no tier;"), "{told}");
                "resources: [globalnetworkpolicies, tier.globalnetworkpolicies], verbs: [list, watch]} and \
                 - {apiGroups: [\"projectcalico.org\"], resources: [tiers], verbs: [get]}"
            }
            _ => "see `kubectl describe apiservice v3.projectcalico.org`",
        };
        assert!(told.ends_with(remedy), "{told}");
        let mut later = News::default();
        for what in listed(vec![]) {
            store.take(said(calico(), what), &mut later);
        }
        assert!(matches!(&*later.deltas, [Delta::PolicyGone(key)] if &*key.name == "*"));
        assert_eq!(later.notices.len(), 1, "{:?}", later.notices);
    }
}

/// The first picture waits for it, and nothing is claimed before that.
#[test]
fn a_kind_that_a_server_does_not_give_at_once_is_asked_for_again() {
    for problem in [
        Problem::Unavailable(None),
        Problem::Busy(None),
        Problem::Cut,
        forbidden(),
    ] {
        let mut store = Store::new();
        let mut news = all_but(calico(), &mut store);
        for _ in 0..2 {
            let broken = What::Broken(problem.clone());
            store.take(said(calico(), broken), &mut news);
            assert!(!news.synced && !store.is_current(), "{problem:?}");
        }
        for what in listed(vec![]) {
            store.take(said(calico(), what), &mut news);
        }
        assert!(news.synced && store.is_current(), "{problem:?}");
        assert!(news.deltas.is_empty(), "{problem:?}: {:?}", news.deltas);
        assert!(news.notices.is_empty(), "{problem:?}: {:?}", news.notices);
    }
}

#[test]
fn what_was_read_of_a_kind_stays_when_its_server_goes() {
    let mut store = Store::new();
    let mut news = all_but(usize::MAX, &mut store);
    assert!(news.synced);
    store.take(said(calico(), What::Broken(Problem::Silent)), &mut news);
    assert!(news.deltas.is_empty() && !store.is_current());
    let told = news.notices.first().map(ToString::to_string);
    let told = told.unwrap_or_default();
    assert!(
        told.starts_with("watching globalnetworkpolicies.projectcalico.org: "),
        "{told}"
    );
}

#[test]
fn a_kind_that_is_installed_later_and_cannot_be_read_is_unknown() {
    let mut store = Store::new();
    let mut news = all_but(calico(), &mut store);
    store.take(said(calico(), What::Absent), &mut news);
    assert!(news.synced && news.deltas.is_empty());
    let broken = What::Broken(Problem::Unavailable(None));
    store.take(said(calico(), broken), &mut news);
    assert!(
        matches!(&*news.deltas, [stands] if stands_for_all(stands)),
        "{:?}",
        news.deltas
    );
    store.take(said(calico(), What::Absent), &mut news);
    assert!(matches!(&*news.deltas, [_, Delta::PolicyGone(_)]));
}

#[test]
fn a_server_that_is_away_says_nothing_of_what_it_has() {
    let mut store = Store::new();
    let mut news = News::default();
    let away = || What::Broken(Problem::Unreachable("no".to_owned()));
    let is_needed = |kind: &Kind| kind.presence == Presence::Always;
    for (kind, _) in KINDS.iter().enumerate().filter(|(_, kind)| is_needed(kind)) {
        assert!(store.stuck().is_none(), "before kind {kind}");
        store.take(said(kind, away()), &mut news);
    }
    assert!(news.deltas.is_empty() && !news.synced);
    // Those that may be installed are tried later, and would fail like the others.
    let needed = KINDS.iter().filter(|kind| is_needed(kind)).count();
    assert_eq!(store.stuck().unwrap().len(), needed);
}

#[test]
fn missing_rules_of_installed_kinds_are_told_with_those_that_keep_the_agent() {
    let mut store = Store::new();
    let mut news = News::default();
    for kind in 0..KINDS.len() {
        for round in 0..4 {
            assert!(store.stuck().is_none(), "kind {kind}, before {round}");
            store.take(said(kind, What::Broken(forbidden())), &mut news);
        }
    }
    let stuck = store.stuck().unwrap();
    assert_eq!(stuck.len(), KINDS.len());
    let installed = stuck
        .iter()
        .filter(|(kind, _)| kind.presence == Presence::Installed);
    assert!(installed.count() > 0);
}

/// What a NetworkPolicy of shop is told as.
fn told_of(store: &mut Store, spec: Value, version: u64) -> Delta {
    let kind = KINDS
        .iter()
        .position(|kind| kind.resource() == "networkpolicies.networking.k8s.io");
    let kind = kind.unwrap();
    let policy = json!({"metadata": {"namespace": "shop", "name": "p", "resourceVersion": version.to_string()},
        "spec": spec});
    let text = json!({"type": "MODIFIED", "object": policy}).to_string();
    let line = form(&KINDS[kind]).line(text.as_bytes()).unwrap();
    let Line::There(sent) = line else {
        panic!("an object that is there");
    };
    let mut news = News::default();
    store.take(said(kind, What::There(sent)), &mut news);
    news.deltas.pop().unwrap()
}

#[test]
fn a_policy_that_cannot_be_read_is_not_evaluated_until_it_can() {
    let mut store = Store::new();
    let readable =
        json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]});
    let of = |delta: Delta| match delta {
        Delta::Policy(policy) => policy,
        other => panic!("{other:?}"),
    };
    let read = of(told_of(&mut store, readable.clone(), 1));
    assert_eq!(read.unmatched, Unmatched::Denied);
    let unread = of(told_of(&mut store, json!({"podSelector": 7}), 2));
    assert_eq!(unread.key, read.key);
    assert_eq!(unread.unmatched, Unmatched::Unknown);
    assert_eq!(unread.subject.namespaces, NamespaceMatch::Own);
    assert!(unread.subject.pods.requirements.is_empty());
    assert!(unread.ingress.is_some() && unread.egress.is_some());
    assert_eq!(of(told_of(&mut store, readable, 3)), read);
}
