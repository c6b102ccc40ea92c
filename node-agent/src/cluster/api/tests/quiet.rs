//! Streams that are open and say nothing.

use std::time::Duration;

use super::super::discovery::Groups;
use super::super::problem::Problem;
use super::super::said::What;
use super::super::store::Store;
use super::PODS;
use super::server::{Answer, Asked, Heard, Server, Sort, ends, event, page};

/// A stream that is silent for longer is opened again.
const SILENCE: Duration = Duration::from_millis(100);

type Script = fn(&Asked) -> Answer;

async fn watched(script: Script) -> (Server, Heard) {
    let server = Server::start(script);
    let change = server.watch_by(PODS, Groups::Unsaid, |watch| watch.silence = SILENCE);
    let heard = change.await;
    (server, heard)
}

/// The server has everything at version 7, and nothing changes.
fn quiet(asked: &Asked) -> Answer {
    match asked.sort() {
        Sort::StreamedList => Answer::Open(vec![ends(7)]),
        Sort::Look => Answer::Whole(page(7, vec![])),
        Sort::Groups | Sort::Life | Sort::Watch | Sort::List => Answer::Open(vec![]),
    }
}

fn is_broken(what: &What) -> bool {
    matches!(what, What::Broken(_))
}

#[tokio::test]
async fn a_quiet_stream_is_opened_again_where_it_was() {
    let (server, mut heard) = watched(quiet).await;
    let mut said = Vec::new();
    for _ in 0..4 {
        said.extend(heard.until(|what| matches!(what, What::Following)).await);
    }
    assert!(!said.iter().any(is_broken), "{said:?}");
    assert_eq!(server.asked(Sort::StreamedList).len(), 1);
    for asked in server.asked(Sort::Watch) {
        assert!(asked.query.contains("resourceVersion=7"), "{asked:?}");
    }
}

/// What was silent within a list has not told all of it, and who is not let in again is not told of changes.
#[tokio::test]
async fn a_quiet_list_and_a_stream_that_does_not_open_again_are_told() {
    let list: Script = |_| Answer::Open(vec![]);
    let look: Script = |asked| match asked.sort() {
        Sort::Look => Answer::Status(500),
        _ => quiet(asked),
    };
    let stream: Script = |asked| match asked.sort() {
        Sort::Watch => Answer::Status(500),
        _ => quiet(asked),
    };
    for (name, script, is_silent) in [
        ("list", list, true),
        ("look", look, false),
        ("stream", stream, false),
    ] {
        let (_server, mut heard) = watched(script).await;
        let said = heard.until(is_broken).await;
        let found = matches!(said.last(), Some(What::Broken(Problem::Silent)));
        assert_eq!(found, is_silent, "{name}: {said:?}");
    }
}

/// Its connection was dead, and the server's etcd was restored meanwhile: it would be silent until it is there again.
#[tokio::test]
async fn a_server_that_was_set_back_while_a_stream_was_quiet_is_listed_anew() {
    let (_server, mut heard) = watched(|asked| match (asked.sort(), asked.before) {
        (Sort::StreamedList, 0) => Answer::Open(vec![ends(7)]),
        (Sort::StreamedList, _) => {
            let pod = event("ADDED", super::pod("a", 5, "10.0.0.1"));
            Answer::Open(vec![pod, ends(6)])
        }
        (Sort::Look, 0) => Answer::Whole(page(6, vec![])),
        (Sort::Look, _) => Answer::Status(500),
        (Sort::Groups | Sort::Life | Sort::Watch | Sort::List, _) => Answer::Open(vec![]),
    })
    .await;
    let said = heard.until(|what| matches!(what, What::There(_))).await;
    assert!(!said.iter().any(is_broken), "{said:?}");
    let told = super::take(&mut Store::new(), said);
    assert_eq!(told, ["a 10.0.0.1"]);
}
