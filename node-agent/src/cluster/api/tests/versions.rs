//! Kinds that a server has in another version than the one that is read here.

use std::collections::BTreeMap;
use std::sync::Arc;

use node_agent_engine::input::Ground;
use node_agent_engine::model::{Delta, ObjectKey, Unmatched};
use serde_json::json;

use super::super::News;
use super::super::confirm::Questions;
use super::super::discovery::Groups;
use super::super::kinds::KINDS;
use super::super::said::What;
use super::super::store::Store;
use super::said;
use super::server::{Answer, Asked, Server, Sort, ends, event, page};

const ADMIN: &str = "clusternetworkpolicies.policy.networking.k8s.io";
const CILIUM: &str = "ciliumnetworkpolicies.cilium.io";

fn place(resource: &str) -> usize {
    let found = KINDS.iter().position(|kind| kind.resource() == resource);
    found.unwrap()
}

fn groups(group: &'static str, versions: &[&str]) -> Groups {
    let versions = versions.iter().map(|version| Arc::from(*version)).collect();
    Groups::Known(BTreeMap::from([(group, versions)]))
}

/// A server that has a kind in one version only, with one policy.
fn only(version: &'static str) -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    move |asked| {
        let policy = json!({"metadata": {"namespace": "shop", "name": "p", "resourceVersion": "7"}, "spec": {
            "endpointSelector": {}, "ingress": [{}], "later": true}});
        match asked.sort() {
            _ if !asked.path.contains(&format!("/{version}/")) => Answer::Status(404),
            Sort::StreamedList => Answer::Open(vec![event("ADDED", policy), ends(9)]),
            Sort::List => Answer::Whole(page(9, vec![policy])),
            Sort::Groups | Sort::Life | Sort::Look | Sort::Watch => Answer::Open(vec![]),
        }
    }
}

/// What becomes of what a watch says.
fn store_of(kind: usize, whats: Vec<What>) -> (Store, News) {
    let (mut store, mut news) = (Store::new(), News::default());
    for what in whats {
        store.take(said(kind, what), &mut news);
    }
    (store, news)
}

#[tokio::test]
async fn a_kind_in_another_version_is_not_absent() {
    let cases = [
        (
            ADMIN,
            "policy.networking.k8s.io",
            &["v1beta1"][..],
            "v1beta1",
            1,
        ),
        (
            ADMIN,
            "policy.networking.k8s.io",
            &["v1", "v1alpha2"],
            "v1",
            1,
        ),
        (
            ADMIN,
            "policy.networking.k8s.io",
            &["v1", "v1alpha2"],
            "v1alpha2",
            0,
        ),
        (CILIUM, "cilium.io", &["v3", "v2alpha1"], "v2alpha1", 0),
        (CILIUM, "cilium.io", &["v2alpha1", "v2"], "v2", 0),
    ];
    for (resource, group, served, version, notices) in cases {
        let kind = place(resource);
        let server = Server::start(only(version));
        let mut heard = server.watch(kind, groups(group, served)).await;
        let whats = heard
            .until(|what| matches!(what, What::Listed | What::Absent))
            .await;
        let (_, news) = store_of(kind, whats);
        let [delta] = news.deltas.as_slice() else {
            panic!("{resource} {version}: {:?}", news.deltas);
        };
        match delta {
            Delta::Policy(policy) if resource == CILIUM || notices > 0 => {
                assert_eq!(&*policy.key.name, "p");
                assert_eq!(policy.unmatched, Unmatched::Unknown, "{resource} {version}");
            }
            // Without a subject it is none that is evaluated, either, but that is said of it and not of its version.
            Delta::Policy(_) => {}
            other => panic!("{resource} {version}: {other:?}"),
        }
        let told = news.notices.iter().map(ToString::to_string);
        let told =
            told.filter(|told| told.starts_with(&format!("{resource} are of version {version},")));
        assert_eq!(
            told.count(),
            notices,
            "{resource} {version}: {:?}",
            news.notices
        );
    }
}

/// What is absent in all versions is absent, and asked for in each of them to confirm it.
#[tokio::test]
async fn what_is_absent_is_confirmed_in_each_version() {
    let kind = place(CILIUM);
    let versions = groups("cilium.io", &["v2", "v2alpha1"]);
    let server = Server::start(|_| Answer::Status(404));
    let mut heard = server.watch(kind, versions.clone()).await;
    let whats = heard.until(|what| matches!(what, What::Absent)).await;
    let (mut store, _) = store_of(kind, whats);
    for other in (0..KINDS.len()).filter(|other| *other != kind) {
        store.take(said(other, What::Absent), &mut News::default());
    }
    let pod = Ground::Pod(ObjectKey {
        namespace: "shop".into(),
        name: "a".into(),
    });
    let has = |server: &Server, version: &str| {
        let asked = server.asked(Sort::List);
        let path = format!("/apis/cilium.io/{version}/namespaces/shop/ciliumnetworkpolicies");
        asked.iter().any(|asked| asked.path == path)
    };
    for later in ["v2", "v2alpha1"] {
        let server = Server::start(only(later));
        let client = server.connect().await.client;
        let questions = Questions::about(vec![pod.clone()], &store, &versions);
        let fresh = questions.ask(&client).await;
        assert!(has(&server, "v2") && has(&server, "v2alpha1"), "{later}");
        assert!(questions.agreed(&fresh, &store).is_empty(), "{later}");
    }
}
