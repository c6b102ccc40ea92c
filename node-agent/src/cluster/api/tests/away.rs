//! A server that cannot be reached when the agent starts, or hangs later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use node_agent_engine::k8s::Validation;
use serde_json::json;
use tokio::time::timeout;

use super::super::access::{Caller, Connection};
use super::super::{ApiServer, Notice};
use super::server::{Answer, Server, Sort, ends};
use crate::cluster::Error;

/// After so much of it the server is asked whether it is there.
const SILENCE: Duration = Duration::from_millis(100);

/// A server that is there as soon as it is wanted, and is empty.
fn server() -> (Server, Arc<AtomicBool>) {
    let is_there = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&is_there);
    let server = Server::start(move |asked| match asked.sort() {
        _ if !is_up.load(Ordering::SeqCst) => Answer::Nothing,
        Sort::Groups => Answer::Whole(json!({"groups": []})),
        Sort::Life => Answer::Whole(json!("ok")),
        Sort::StreamedList | Sort::Watch | Sort::Look | Sort::List => Answer::Open(vec![ends(1)]),
    });
    (server, is_there)
}

async fn watched_by(caller: Caller, server: &Server) -> ApiServer {
    let connection = Connection {
        caller,
        ..server.connect().await
    };
    ApiServer::begin(connection, Validation::Off, Duration::ZERO, SILENCE)
}

#[tokio::test]
async fn a_person_is_told_at_once() {
    let (server, _) = server();
    let mut watched = watched_by(Caller::Person, &server).await;
    let error = loop {
        if let Err(error) = watched.changed().await {
            break error;
        }
    };
    assert!(
        matches!(&error, Error::Server { message, .. } if message.contains("cannot be reached")),
        "{error}"
    );
}

#[tokio::test]
async fn a_pod_waits_and_tells_once_what_for() {
    let (server, is_there) = server();
    let mut watched = watched_by(Caller::Pod, &server).await;
    let mut notices = Vec::new();
    let mut is_synced = false;
    let all = async {
        while !is_synced || !watched.is_current() {
            let news = watched.changed().await.unwrap();
            is_synced |= news.synced;
            notices.extend(news.notices);
            // Every kind has failed, some of them again.
            is_there.fetch_or(server.asked(Sort::StreamedList).len() > 9, Ordering::SeqCst);
        }
    };
    timeout(Duration::from_secs(30), all).await.unwrap();
    let [Notice::Away { problem }, Notice::Back] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert!(problem.contains("cannot be reached"), "{problem}");
}

/// Its streams are open and silent, of a quiet cluster as of a server that hangs.
#[tokio::test]
async fn a_silent_server_is_heard_as_long_as_it_answers() {
    let (is_well, answers) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(true)),
    );
    let (is_still_well, still_answers) = (Arc::clone(&is_well), Arc::clone(&answers));
    let server = Server::start(move |asked| match asked.sort() {
        _ if !still_answers.load(Ordering::SeqCst) => Answer::Open(vec![]),
        Sort::Groups => Answer::Whole(json!({"groups": []})),
        Sort::Life if is_still_well.load(Ordering::SeqCst) => Answer::Whole(json!("ok")),
        Sort::Life => Answer::Status(500),
        Sort::StreamedList | Sort::Watch | Sort::Look | Sort::List => Answer::Open(vec![ends(1)]),
    });
    let mut watched = watched_by(Caller::Person, &server).await;
    for _ in 0..3 {
        hear(&mut watched, |watched| watched.was_heard()).await;
    }
    for what in [&is_well, &answers] {
        what.store(false, Ordering::SeqCst);
        let asked = server.asked(Sort::Life).len();
        // What was asked before may still be answered.
        hear(&mut watched, |_| server.asked(Sort::Life).len() > asked).await;
        watched.was_heard();
        let next = timeout(SILENCE * 10, watched.changed()).await;
        assert!(next.is_err() && watched.is_current() && !watched.was_heard());
        what.store(true, Ordering::SeqCst);
        hear(&mut watched, |watched| watched.was_heard()).await;
    }
}

/// Takes what the server says until something holds.
async fn hear(watched: &mut ApiServer, holds: impl Fn(&mut ApiServer) -> bool) {
    let all = async {
        while !holds(watched) {
            // An answer that says nothing new is no news.
            drop(timeout(SILENCE, watched.changed()).await);
        }
    };
    timeout(Duration::from_secs(30), all).await.unwrap();
}
