//! How much is read for a claim about an address of nobody's.

use std::collections::BTreeMap;

use node_agent_engine::input::Ground;
use serde_json::json;

use super::super::News;
use super::super::confirm::Questions;
use super::super::discovery::Groups;
use super::super::kinds::KINDS;
use super::super::said::What;
use super::super::store::Store;
use super::super::wire::Line;
use super::server::{Answer, Server, Sort, page};
use super::{PODS, form, listed, pod, said};

/// The place of Services among the kinds.
fn services() -> usize {
    let found = KINDS.iter().position(|kind| kind.resource() == "services");
    found.unwrap()
}

fn store_of(count: usize) -> Store {
    let mut store = Store::new();
    for number in 0..count {
        let service = json!({"type": "ADDED", "object": {"metadata": {"namespace": "shop",
            "name": format!("s{number}"), "resourceVersion": "7"}}});
        let line = form(&KINDS[services()]).line(service.to_string().as_bytes());
        let Ok(Line::There(sent)) = line else {
            panic!("an object that is there");
        };
        store.take(said(services(), What::There(sent)), &mut News::default());
    }
    store
}

/// A page of them could not agree with what is known, and each would be some megabytes.
#[tokio::test]
async fn more_services_than_one_page_holds_are_never_asked_for() {
    for (count, lists) in [(5_000, 3), (5_001, 0)] {
        let server = Server::start(|_| Answer::Whole(page(7, vec![])));
        let client = server.connect().await.client;
        let store = store_of(count);
        let stranger = Ground::Stranger("203.0.113.9".parse().unwrap());
        let groups = Groups::Known(BTreeMap::new());
        let questions = Questions::about(vec![stranger], &store, &groups);
        let fresh = questions.ask(&client).await;
        assert_eq!(server.asked(Sort::List).len(), lists, "{count}");
        assert_eq!(questions.agreed(&fresh, &store), [], "{count}");
    }
}

/// Who is told with it is no stranger, and who is finished may have had it when the attempt was made: status is told late.
#[tokio::test]
async fn an_address_is_nobodys_only_when_no_pod_has_it() {
    let mut finished = pod("job", 5, "203.0.113.9");
    finished["status"]["phase"] = json!("Succeeded");
    for (owners, is_nobodys) in [
        (vec![], true),
        (vec![finished.clone()], false),
        (vec![pod("job", 5, "203.0.113.9")], false),
    ] {
        let known = owners.clone();
        let server = Server::start(move |asked| {
            Answer::Whole(page(
                7,
                match asked.path.as_str() {
                    "/api/v1/pods" => owners.clone(),
                    _ => vec![],
                },
            ))
        });
        let client = server.connect().await.client;
        let mut store = Store::new();
        for what in listed(known.clone()) {
            store.take(said(PODS, what), &mut News::default());
        }
        let stranger = Ground::Stranger("203.0.113.9".parse().unwrap());
        let groups = Groups::Known(BTreeMap::new());
        let questions = Questions::about(vec![stranger.clone()], &store, &groups);
        let fresh = questions.ask(&client).await;
        let agreed = questions.agreed(&fresh, &store);
        let wanted: Vec<_> = is_nobodys.then_some(stranger).into_iter().collect();
        assert_eq!(agreed, wanted, "{known:?}");
    }
}
