//! What keeps claims from being confirmed, and is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use node_agent_engine::input::Ground;
use node_agent_engine::model::ObjectKey;
use serde_json::json;

use super::super::confirm::Questions;
use super::super::discovery::Groups;
use super::super::hindered::Hindered;
use super::super::store::Store;
use super::server::{Answer, Server, Sort, page};

/// Whoever may list and watch, and not get, is told once which rule is missing, and when it is there.
#[tokio::test]
async fn a_rule_without_which_nothing_is_confirmed_is_told_once() {
    for (path, resource) in [
        ("/api/v1/namespaces/shop/pods/a", "pods"),
        ("/api/v1/namespaces/shop", "namespaces"),
    ] {
        let is_granted = Arc::new(AtomicBool::new(false));
        let granted = Arc::clone(&is_granted);
        let server = Server::start(move |asked| match asked.sort() {
            Sort::Groups => Answer::Whole(json!({"groups": []})),
            _ if asked.path == path && !granted.load(Ordering::SeqCst) => Answer::Status(403),
            _ if asked.path.starts_with("/api/v1/namespaces/shop") && asked.query.is_empty() => {
                Answer::Status(404)
            }
            _ => Answer::Whole(page(7, vec![])),
        });
        let client = server.connect().await.client;
        let (store, groups) = (Store::new(), Groups::Known(BTreeMap::new()));
        let pod = Ground::Pod(ObjectKey {
            namespace: "shop".into(),
            name: "a".into(),
        });
        let mut hindered = Hindered::default();
        let mut told = Vec::new();
        for round in 0..7 {
            is_granted.store(round >= 5, Ordering::SeqCst);
            let questions = Questions::about(vec![pod.clone()], &store, &groups);
            let fresh = questions.ask(&client).await;
            for notice in hindered.note(&fresh) {
                told.push((round, notice.is_problem(), notice.to_string()));
            }
            assert_eq!(
                questions.agreed(&fresh, &store).len(),
                usize::from(round >= 5)
            );
        }
        let [(2, true, problem), (5, false, _)] = told.as_slice() else {
            panic!("{told:#?}");
        };
        let rule = format!(
            "no claim about them is confirmed; add to the ClusterRole: \
             - {{apiGroups: [\"\"], resources: [{resource}], verbs: [get, list, watch]}}"
        );
        assert!(
            problem.contains("(403)") && problem.ends_with(&rule),
            "{problem}"
        );
    }
}
