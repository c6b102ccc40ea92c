//! A server that cannot be reached when the agent starts.

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

/// A server that is there as soon as it is wanted, and is empty.
fn server() -> (Server, Arc<AtomicBool>) {
    let is_there = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&is_there);
    let server = Server::start(move |asked| match asked.sort() {
        _ if !is_up.load(Ordering::SeqCst) => Answer::Nothing,
        Sort::Groups => Answer::Whole(json!({"groups": []})),
        Sort::StreamedList | Sort::Watch | Sort::Look | Sort::List => Answer::Open(vec![ends(1)]),
    });
    (server, is_there)
}

async fn watched_by(caller: Caller, server: &Server) -> ApiServer {
    let connection = Connection {
        caller,
        ..server.connect().await
    };
    ApiServer::begin(connection, Validation::Off, Duration::ZERO)
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
