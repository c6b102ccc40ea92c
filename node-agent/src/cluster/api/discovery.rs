//! Which API groups the server has: kinds that not every server has come and go with theirs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use tokio::sync::watch::Sender;
use tokio::time::{sleep, timeout};

use super::kinds::{KINDS, Presence};
use super::pause::between;
use super::problem::Problem;

/// When the groups are looked at again.
const AGAIN: Duration = Duration::from_secs(60);
/// The same after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Where the server lists them.
const PATH: &str = "/apis";

/// Those groups of the kinds that are watched which not every server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Groups {
    /// Nobody has said yet.
    Unasked,
    /// The server does not say; each kind has to be tried.
    Unsaid,
    /// The server has these.
    Known(BTreeSet<&'static str>),
}

impl Groups {
    /// Whether the server may have a group; none when that is not known yet.
    pub(super) fn may_have(&self, group: &str) -> Option<bool> {
        match self {
            Self::Unasked => None,
            Self::Unsaid => Some(true),
            Self::Known(groups) => Some(groups.contains(group)),
        }
    }
}

#[derive(Deserialize)]
struct GroupList {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
}

/// Reads which groups there are.
pub(super) async fn read(client: &Client) -> Result<Groups, Problem> {
    let request = http::Request::get(PATH).body(Vec::new());
    let request = request.map_err(|error| Problem::Other(error.to_string()))?;
    let answer = timeout(ANSWER, client.request::<GroupList>(request)).await;
    let list = answer
        .map_err(|_| Problem::Silent)?
        .map_err(|error| Problem::of(&error))?;
    let ours = KINDS
        .iter()
        .filter(|kind| kind.presence == Presence::Installed)
        .map(|kind| kind.group);
    let has = |group: &&str| list.groups.iter().any(|there| there.name == *group);
    Ok(Groups::Known(ours.filter(has).collect()))
}

/// Keeps on looking.
pub(super) async fn run(client: Client, into: Arc<Sender<Groups>>, wait: Duration) {
    sleep(wait).await;
    loop {
        let (wait, groups) = match read(&client).await {
            Ok(groups) => (AGAIN, Some(groups)),
            // Whoever tries says what is wrong.
            Err(_) if *into.borrow() == Groups::Unasked => (AFTER_FAILURE, Some(Groups::Unsaid)),
            Err(_) => (AFTER_FAILURE, None),
        };
        if let Some(groups) = groups {
            tell(&into, &groups);
        }
        sleep(between(wait / 2, wait * 3 / 2)).await;
    }
}

/// Lets everybody know, when it is new.
pub(super) fn tell(into: &Sender<Groups>, groups: &Groups) {
    into.send_if_modified(|known| {
        let is_new = known != groups;
        known.clone_from(groups);
        is_new
    });
}
