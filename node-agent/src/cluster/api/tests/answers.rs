//! What a watch does about a server's answers.

use std::time::Duration;

use serde_json::json;

use super::super::discovery::Groups;
use super::super::problem::Problem;
use super::super::said::What;
use super::super::store::Store;
use super::PODS;
use super::server::{Answer, Server, Sort, ends, event, page, status};

fn is_broken(what: &What) -> bool {
    matches!(what, What::Broken(_))
}

fn is_listed(what: &What) -> bool {
    matches!(what, What::Listed)
}

fn is_following(what: &What) -> bool {
    matches!(what, What::Following)
}

/// However a server says that a version has expired, the first time is nothing to tell, and more of it is told and
/// waited for: at least half of 500 ms, then of 1 s.
#[tokio::test]
async fn a_server_that_always_says_expired_is_told_and_asked_ever_more_seldom() {
    type Script = fn(Sort) -> Answer;
    let scripts: [(&str, Script, Sort); 3] = [
        ("every answer", |_| Answer::Status(410), Sort::StreamedList),
        (
            "after a streamed list",
            |_| Answer::Cut(vec![ends(7), event("ERROR", status(410))]),
            Sort::StreamedList,
        ),
        (
            "after pages",
            |sort| match sort {
                Sort::StreamedList => Answer::Status(422),
                Sort::List => Answer::Whole(page(7, vec![])),
                Sort::Groups | Sort::Life | Sort::Look | Sort::Watch => Answer::Status(410),
            },
            Sort::List,
        ),
    ];
    for (name, script, sort) in scripts {
        let server = Server::start(move |asked| script(asked.sort()));
        let mut heard = server.watch(PODS, Groups::Unsaid).await;
        for _ in 0..3 {
            let said = heard.until(is_broken).await;
            let last = said.last();
            assert!(
                matches!(last, Some(What::Broken(Problem::Expired))),
                "{name}: {last:?}"
            );
        }
        let lists: Vec<_> = server.asked(sort).iter().map(|asked| asked.at).collect();
        // The second list has failed when it is told first, the fourth when it is told for the third time.
        assert_eq!(lists.len(), 4, "{name}");
        let waited = [lists[2] - lists[1], lists[3] - lists[2]];
        let least = [250, 500].map(Duration::from_millis);
        let is_enough = waited
            .iter()
            .zip(&least)
            .all(|(waited, least)| waited >= least);
        assert!(is_enough, "{name}: {waited:?}");
    }
}

#[tokio::test]
async fn a_version_that_has_expired_is_no_trouble() {
    let server = Server::start(|asked| match (asked.sort(), asked.before) {
        (Sort::StreamedList, 0) => Answer::Cut(vec![ends(7), event("ERROR", status(410))]),
        _ => Answer::Open(vec![ends(9)]),
    });
    let mut heard = server.watch(PODS, Groups::Unsaid).await;
    let mut said = heard.until(is_following).await;
    said.extend(heard.until(is_following).await);
    assert!(!said.iter().any(is_broken), "{said:?}");
}

/// A stream that breaks within its list again and again is not begun anew at once either.
#[tokio::test]
async fn a_list_that_breaks_again_and_again_is_asked_for_ever_more_seldom() {
    let pod = super::pod("a", 1, "10.0.0.1");
    let server = Server::start(move |_| Answer::Cut(vec![event("ADDED", pod.clone())]));
    let mut heard = server.watch(PODS, Groups::Unsaid).await;
    for _ in 0..3 {
        heard.until(is_broken).await;
    }
    let lists = server.asked(Sort::StreamedList);
    let waited = lists[2].at - lists[1].at;
    assert!(waited >= Duration::from_millis(500), "{waited:?}");
}

/// Only a server that does not know how to stream lists is not asked to again.
#[tokio::test]
async fn a_server_that_cannot_stream_a_list_now_is_asked_to_the_next_time() {
    for (code, streamed) in [(422, 1), (400, 1), (500, 2)] {
        let server = Server::start(move |asked| match (asked.sort(), asked.before) {
            (Sort::StreamedList, 0) => Answer::Status(code),
            (Sort::StreamedList, _) => Answer::Open(vec![ends(9)]),
            // The first list breaks as well.
            (Sort::List, 0) => Answer::Status(500),
            (Sort::List, _) => Answer::Whole(page(7, vec![])),
            (Sort::Groups | Sort::Life | Sort::Look | Sort::Watch, _) => Answer::Open(vec![]),
        });
        let mut heard = server.watch(PODS, Groups::Unsaid).await;
        heard.until(is_listed).await;
        assert_eq!(server.asked(Sort::StreamedList).len(), streamed, "{code}");
    }
}

/// However it shows that the server was set back, everything is listed anew, and what has a version that was there
/// before counts as new.
#[tokio::test]
async fn a_server_that_was_set_back_is_listed_anew() {
    let bookmark = |version: u64| {
        let metadata = json!({"metadata": {"resourceVersion": version.to_string()}});
        Answer::Open(vec![event("BOOKMARK", metadata)])
    };
    let early = || Answer::Open(vec![event("ADDED", super::pod("b", 500, "10.0.0.2"))]);
    let too_large = || {
        let mut status = status(504);
        status["message"] = json!("Timeout: Too large resource version: 1000, current: 500");
        Answer::Cut(vec![event("ERROR", status)])
    };
    type Script = Box<dyn Fn(usize) -> Answer + Send + Sync>;
    let scripts: [(&str, Script); 4] = [
        ("a look after a cut", Box::new(|_| Answer::Cut(vec![]))),
        ("a bookmark", Box::new(move |_| bookmark(500))),
        ("an object", Box::new(move |_| early())),
        ("an answer", Box::new(move |_| too_large())),
    ];
    for (name, script) in scripts {
        let server = Server::start(move |asked| match (asked.sort(), asked.before) {
            (Sort::StreamedList, _) => Answer::Status(422),
            (Sort::List, 0) => Answer::Whole(page(1000, vec![super::pod("a", 7, "10.0.0.1")])),
            (Sort::List, _) => Answer::Whole(page(501, vec![super::pod("a", 7, "10.0.0.9")])),
            (Sort::Watch, 0) => script(0),
            (Sort::Look, _) => Answer::Whole(page(500, vec![])),
            (Sort::Groups | Sort::Life | Sort::Watch, _) => Answer::Open(vec![]),
        });
        let mut heard = server.watch(PODS, Groups::Unsaid).await;
        let mut whats = heard.until(is_listed).await;
        whats.extend(heard.until(is_listed).await);
        let told = super::take(&mut Store::new(), whats);
        let last = told.last().map(String::as_str);
        assert_eq!(last, Some("a 10.0.0.9"), "{name}: {told:?}");
    }
}

/// One that is where it was, or further, is only asked to go on.
#[tokio::test]
async fn a_stream_that_broke_goes_on_where_it_was() {
    let server = Server::start(|asked| match (asked.sort(), asked.before) {
        (Sort::StreamedList, _) => Answer::Cut(vec![ends(1000)]),
        (Sort::Look, _) => Answer::Whole(page(1000, vec![])),
        (Sort::Watch, before) if before < 2 => Answer::Cut(vec![]),
        (Sort::Groups | Sort::Life | Sort::Watch | Sort::List, _) => Answer::Open(vec![]),
    });
    let mut heard = server.watch(PODS, Groups::Unsaid).await;
    for _ in 0..3 {
        heard.until(is_following).await;
    }
    assert_eq!(server.asked(Sort::StreamedList).len(), 1);
    assert_eq!(server.asked(Sort::List).len(), 0);
}
