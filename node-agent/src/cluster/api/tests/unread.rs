//! Kinds of policies that are there and cannot be read.

use node_agent_engine::model::{Delta, Policy, Unmatched};

use super::super::News;
use super::super::kinds::{KINDS, Presence};
use super::super::problem::Problem;
use super::super::store::Store;
use super::super::watch::What;
use super::{listed, said};

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
        Problem::Forbidden,
        Problem::Other("500".to_owned()),
    ] {
        let mut store = Store::new();
        let mut news = all_but(calico(), &mut store);
        assert!(!news.synced, "{problem:?}");
        for _ in 0..3 {
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
            Problem::Forbidden => "resources: [globalnetworkpolicies]\n  verbs: [list, watch]",
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
    for kind in 0..KINDS.len() {
        assert!(store.stuck().is_none(), "before kind {kind}");
        store.take(said(kind, away()), &mut news);
    }
    assert!(news.deltas.is_empty() && !news.synced);
    assert_eq!(store.stuck().unwrap().len(), KINDS.len());
}

#[test]
fn missing_rules_of_installed_kinds_are_told_with_those_that_keep_the_agent() {
    let mut store = Store::new();
    let mut news = News::default();
    for kind in 0..KINDS.len() {
        assert!(store.stuck().is_none(), "before kind {kind}");
        store.take(said(kind, What::Broken(Problem::Forbidden)), &mut news);
    }
    let stuck = store.stuck().unwrap();
    assert_eq!(stuck.len(), KINDS.len());
    let installed = stuck
        .iter()
        .filter(|(kind, _)| kind.presence == Presence::Installed);
    assert!(installed.count() > 0);
}
