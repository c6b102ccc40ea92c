//! Which API groups the server has, in which versions: kinds that not every server has come and go with theirs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use tokio::sync::watch::Sender;
use tokio::time::{sleep, timeout};

use super::kinds::{KINDS, Kind, Presence};
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
    /// The server has these, in these versions.
    Known(BTreeMap<&'static str, Vec<Arc<str>>>),
}

impl Groups {
    /// Whether the server may have a group; none when that is not known yet.
    pub(super) fn may_have(&self, group: &str) -> Option<bool> {
        match self {
            Self::Unasked => None,
            Self::Unsaid => Some(true),
            Self::Known(groups) => Some(groups.contains_key(group)),
        }
    }

    /// The versions in which the server may have a kind, that which is read here first; none when it is not known yet
    /// whether it may.
    pub(super) fn versions(&self, kind: &Kind) -> Option<Vec<Arc<str>>> {
        let ours = || vec![Arc::from(kind.version)];
        match self {
            Self::Unasked => None,
            Self::Unsaid => Some(ours()),
            Self::Known(groups) => {
                let mut versions = groups.get(kind.group).cloned().unwrap_or_default();
                versions.sort_by_key(|version| **version != *kind.version);
                Some(versions)
            }
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
    #[serde(default)]
    versions: Vec<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: Arc<str>,
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
    let versions = |name: &'static str| {
        let group = list.groups.iter().find(|group| group.name == name)?;
        let versions = group.versions.iter();
        let versions = versions.map(|version| Arc::clone(&version.version));
        Some((name, versions.collect()))
    };
    Ok(Groups::Known(ours.filter_map(versions).collect()))
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
