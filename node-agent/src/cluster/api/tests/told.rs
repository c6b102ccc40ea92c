//! What operators are told of a server, and how often.

use super::super::News;
use super::super::kinds::KINDS;
use super::super::notice::Notice;
use super::super::problem::Problem;
use super::super::said::What;
use super::super::store::Store;
use super::{forbidden, said};

#[test]
fn a_server_that_is_away_is_told_once_and_a_missing_rule_for_each_kind() {
    let mut store = Store::new();
    let mut news = News::default();
    for kind in 0..KINDS.len() {
        let why = format!("port {kind}");
        store.take(
            said(kind, What::Broken(Problem::Unreachable(why))),
            &mut news,
        );
    }
    assert_eq!(news.notices.len(), 1, "{:?}", news.notices);
    for kind in 0..KINDS.len() {
        store.take(said(kind, What::Following), &mut news);
    }
    assert_eq!(news.notices.len(), 2);
    assert_eq!(news.notices[1], Notice::Back);
    for kind in [0, 1] {
        // A server that has just begun forbids everything for a moment.
        for _ in 0..3 {
            store.take(said(kind, What::Broken(forbidden())), &mut news);
        }
        store.take(said(kind, What::Following), &mut news);
    }
    assert_eq!(news.notices.len(), 2, "{:?}", news.notices);
    for kind in [0, 1] {
        for _ in 0..5 {
            store.take(said(kind, What::Broken(forbidden())), &mut news);
        }
    }
    let told = news.notices[2..].iter().map(ToString::to_string);
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[1].ends_with(": - {apiGroups: [\"\"], resources: [nodes], verbs: [list, watch]}"),
        "{}",
        told[1]
    );
}

#[test]
fn a_server_is_back_when_every_watch_is() {
    let mut store = Store::new();
    let mut news = News::default();
    store.take(
        said(0, What::Broken(Problem::Unreachable("no".to_owned()))),
        &mut news,
    );
    store.take(said(1, What::Broken(Problem::Unavailable(None))), &mut news);
    news.notices.clear();
    store.take(said(0, What::Following), &mut news);
    assert_eq!(news.notices, []);
    store.take(said(1, What::Following), &mut news);
    assert_eq!(news.notices, [Notice::Back]);
}
