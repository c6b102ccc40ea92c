//! Reads afresh what claims rest on, and says how much of it is what was delivered.
//!
//! What is read is compared and not delivered: there is one source of changes, and it never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use kube::Client;
use kube::api::{GetParams, ListParams, Request};
use node_agent_engine::input::Ground;
use node_agent_engine::model::ObjectKey;
use tokio::time::{Instant, timeout_at};

use super::discovery::{self, Groups};
use super::kinds::{KINDS, Kind, Role, Scope};
use super::problem::Problem;
use super::store::Store;
use super::version::Version;
use super::wire;

/// How long a reading may take; what is not answered by then is not confirmed.
const READING: Duration = Duration::from_secs(10);
/// Most objects of a kind that are all read for one claim: in a cluster with more nodes or Services, or more pods with addresses
/// of both families, none is confirmed that rests on nobody's having an address.
const MOST_EVERYWHERE: usize = 5_000;
/// How many requests are on their way at a time.
const AT_A_TIME: usize = 4;

/// One thing to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    /// An object.
    Object { kind: usize, key: ObjectKey },
    /// All of a kind in a namespace, or all of a kind that lies in none.
    All {
        kind: usize,
        version: Arc<str>,
        namespace: Arc<str>,
    },
    /// The pods whose first address it is, the only one by which a server finds them.
    Owners { kind: usize, ip: IpAddr },
    /// The one object of that name, by a list: agents may not get it.
    Named { kind: usize, name: Arc<str> },
    /// Every object of a kind.
    Everywhere { kind: usize },
    /// Which groups there are of kinds that not every server has.
    Groups,
}

/// What was read, or why not.
pub(super) struct Fresh(BTreeMap<Question, Result<Answer, Problem>>);

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// An object's version; none when it is not there.
    Version(Option<Version>),
    /// Names and versions; none when the server does not have the kind.
    Versions(Option<BTreeSet<(ObjectKey, Version)>>),
    /// The groups.
    Groups(Groups),
}

/// What to read, for each of the grounds.
pub(super) struct Questions {
    grounds: Vec<(Ground, Vec<Question>)>,
    /// Those that were known.
    groups: Groups,
}

impl Questions {
    /// What claims that rest on these need. What cannot agree is not asked, again and again, in a cluster that is large.
    pub(super) fn about(grounds: Vec<Ground>, store: &Store, groups: &Groups) -> Self {
        let needs = grounds.into_iter().filter_map(|ground| {
            let questions = needed(&ground, store, groups);
            let may_agree = questions.iter().all(|question| question.may_agree(store));
            may_agree.then_some((ground, questions))
        });
        Self {
            grounds: needs.collect(),
            groups: groups.clone(),
        }
    }

    /// Reads all of it, each from what the server has stored and not from what it remembers.
    pub(super) async fn ask(&self, client: &Client) -> Fresh {
        let questions = self.grounds.iter().flat_map(|(_, needed)| needed);
        let questions: BTreeSet<_> = questions.collect();
        let answers = questions.into_iter().cloned().map(|question| async move {
            let answer = question.ask(client).await;
            (question, answer)
        });
        let until = Instant::now() + READING;
        let mut answers = stream::iter(answers).buffer_unordered(AT_A_TIME);
        let mut fresh = BTreeMap::new();
        while let Ok(Some((question, answer))) = timeout_at(until, answers.next()).await {
            fresh.insert(question, answer);
        }
        Fresh(fresh)
    }

    /// The grounds of which everything was read and was delivered as it is, and nothing beyond it.
    pub(super) fn agreed(self, fresh: &Fresh, store: &Store) -> Vec<Ground> {
        let agrees = |question: &Question| {
            let answer = fresh.0.get(question);
            answer.is_some_and(|answer| match answer {
                Ok(answer) => question.agrees(answer, store, &self.groups),
                Err(_) => false,
            })
        };
        self.grounds
            .into_iter()
            .filter(|(_, needed)| needed.iter().all(agrees))
            .map(|(ground, _)| ground)
            .collect()
    }
}

impl Fresh {
    /// The groups that the server has, when that was asked.
    pub(super) fn groups(&self) -> Option<&Groups> {
        match self.0.get(&Question::Groups)?.as_ref().ok()? {
            Answer::Groups(groups) => Some(groups),
            Answer::Version(_) | Answer::Versions(_) => None,
        }
    }

    /// Of each kind that was asked for what went wrong.
    pub(super) fn by_kind(&self) -> BTreeMap<usize, Option<&Problem>> {
        let mut kinds = BTreeMap::new();
        for (question, answer) in &self.0 {
            if let Some(kind) = question.kind() {
                let problem = kinds.entry(kind).or_insert(None);
                *problem = problem.or(answer.as_ref().err());
            }
        }
        kinds
    }
}

/// A kind of policy that the server lacked may be there by now: it is asked for where its group is, and its group
/// where it is not.
fn needed(ground: &Ground, store: &Store, groups: &Groups) -> Vec<Question> {
    let kinds = KINDS.iter().enumerate();
    let questions = kinds
        .filter(|(index, kind)| store.has(*index) || groups.may_have(kind.group) != Some(false))
        .flat_map(|(index, kind)| {
            let versions = versions(index, kind, store, groups).into_iter();
            versions.filter_map(move |version| match ground {
                Ground::Pod(pod) => of_pod((index, version), kind, pod),
                Ground::Service(service) => of_service((index, version), kind, service),
                Ground::Stranger(ip) => of_stranger(index, kind, *ip, store),
                Ground::Node(name) => (kind.role == Role::Node).then(|| Question::Named {
                    kind: index,
                    name: Arc::clone(name),
                }),
            })
        });
    let is_of_pod = matches!(ground, Ground::Pod(_));
    let is_known = matches!(groups, Groups::Known(_));
    let groups = (is_of_pod && is_known).then_some(Question::Groups);
    questions.chain(groups).collect()
}

/// The version in which the server has a kind, or those in which it may have got it.
fn versions(index: usize, kind: &Kind, store: &Store, groups: &Groups) -> Vec<Arc<str>> {
    match store.served(index) {
        Some(version) => vec![Arc::clone(version)],
        None => groups.versions(kind).unwrap_or_default(),
    }
}

/// A pod, its namespace, and the policies that may select it.
fn of_pod((index, version): (usize, Arc<str>), kind: &Kind, pod: &ObjectKey) -> Option<Question> {
    match (kind.role, kind.scope) {
        (Role::Pod, _) => Some(Question::Object {
            kind: index,
            key: pod.clone(),
        }),
        (Role::Namespace, _) => Some(Question::Object {
            kind: index,
            key: ObjectKey {
                namespace: "".into(),
                name: Arc::clone(&pod.namespace),
            },
        }),
        (Role::Policy, Scope::Namespaced) => Some(all(index, version, &pod.namespace)),
        (Role::Policy, Scope::Cluster) => Some(all(index, version, &"".into())),
        (Role::Service | Role::Node, _) => None,
    }
}

/// The Services and slices of a namespace: a slice says itself whose it is.
fn of_service(
    (index, version): (usize, Arc<str>),
    kind: &Kind,
    service: &ObjectKey,
) -> Option<Question> {
    match kind.role {
        Role::Service => Some(all(index, version, &service.namespace)),
        Role::Pod | Role::Namespace | Role::Policy | Role::Node => None,
    }
}

/// Whether a pod has an address, and whether there is a Service or a node that was not told of. Where it may be a pod's second
/// one, all of them say whether it is.
fn of_stranger(index: usize, kind: &Kind, ip: IpAddr, store: &Store) -> Option<Question> {
    match kind.role {
        Role::Pod if !store.has_further(index, ip) => Some(Question::Owners { kind: index, ip }),
        Role::Service if kind.kind != "Service" => None,
        Role::Pod | Role::Service | Role::Node => Some(Question::Everywhere { kind: index }),
        Role::Namespace | Role::Policy => None,
    }
}

fn all(kind: usize, version: Arc<str>, namespace: &Arc<str>) -> Question {
    Question::All {
        kind,
        version,
        namespace: Arc::clone(namespace),
    }
}

impl Question {
    async fn ask(&self, client: &Client) -> Result<Answer, Problem> {
        match self {
            Self::Groups => discovery::read(client).await.map(Answer::Groups),
            Self::Object { kind, key } => {
                let path = path(*kind, None, &key.namespace);
                let request = Request::new(path).get_metadata(&key.name, &GetParams::default());
                Ok(Answer::Version(match text(client, request).await {
                    Ok(text) => Some(wire::version(&text)?),
                    Err(Problem::NotFound) => None,
                    Err(problem) => return Err(problem),
                }))
            }
            Self::All {
                kind,
                version,
                namespace,
            } => {
                let path = path(*kind, Some(version), namespace);
                list(client, path, &ListParams::default()).await
            }
            Self::Owners { kind, ip } => {
                let owners = ListParams::default().fields(&format!("status.podIP={ip}"));
                list(client, path(*kind, None, ""), &owners).await
            }
            Self::Named { kind, name } => {
                let named = ListParams::default().fields(&format!("metadata.name={name}"));
                list(client, path(*kind, None, ""), &named).await
            }
            Self::Everywhere { kind } => {
                let few = ListParams::default().limit(MOST_EVERYWHERE as u32);
                list(client, path(*kind, None, ""), &few).await
            }
        }
    }

    fn kind(&self) -> Option<usize> {
        match self {
            Self::Object { kind, .. }
            | Self::All { kind, .. }
            | Self::Owners { kind, .. }
            | Self::Named { kind, .. }
            | Self::Everywhere { kind } => Some(*kind),
            Self::Groups => None,
        }
    }

    fn may_agree(&self, store: &Store) -> bool {
        match self {
            Self::Everywhere { kind } => store.all_versions(*kind).nth(MOST_EVERYWHERE).is_none(),
            Self::Object { .. }
            | Self::All { .. }
            | Self::Owners { .. }
            | Self::Named { .. }
            | Self::Groups => true,
        }
    }

    fn agrees(&self, answer: &Answer, store: &Store, known: &Groups) -> bool {
        match (self, answer) {
            (Self::Object { kind, key }, Answer::Version(version)) => {
                store.version(*kind, key) == version.as_ref()
            }
            (
                Self::All {
                    kind, namespace, ..
                },
                Answer::Versions(Some(read)),
            ) => {
                let read = read.iter().map(|(key, version)| (key, version));
                store.has(*kind) && store.versions_in(*kind, namespace).eq(read)
            }
            (Self::All { kind, .. }, Answer::Versions(None)) => !store.has(*kind),
            // A finished pod may have had it when the attempt was made, or somebody else since: nobody can tell.
            (Self::Owners { .. }, Answer::Versions(Some(read))) => read.is_empty(),
            (Self::Named { kind, name }, Answer::Versions(Some(read))) => {
                let key = ObjectKey {
                    namespace: "".into(),
                    name: Arc::clone(name),
                };
                let version = read.iter().next().map(|(_, version)| version);
                store.version(*kind, &key) == version
            }
            // What found no room on the one page is known all the same, and not in what was read.
            (Self::Everywhere { kind }, Answer::Versions(Some(read))) => {
                let read = read.iter().map(|(key, version)| (key, version));
                store.all_versions(*kind).eq(read)
            }
            (Self::Groups, Answer::Groups(groups)) => groups == known,
            (
                Self::Object { .. }
                | Self::All { .. }
                | Self::Owners { .. }
                | Self::Named { .. }
                | Self::Everywhere { .. }
                | Self::Groups,
                _,
            ) => false,
        }
    }
}

/// Names and versions of what lies under a path.
async fn list(client: &Client, path: String, which: &ListParams) -> Result<Answer, Problem> {
    let request = Request::new(path).list_metadata(which);
    Ok(Answer::Versions(match text(client, request).await {
        Ok(text) => Some(wire::versions(&text)?.into_iter().collect()),
        Err(Problem::NotFound) => None,
        Err(problem) => return Err(problem),
    }))
}

fn path(kind: usize, version: Option<&str>, namespace: &str) -> String {
    KINDS
        .get(kind)
        .map(|kind: &Kind| kind.path_in(version.unwrap_or(kind.version), namespace))
        .unwrap_or_default()
}

async fn text(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<String, Problem> {
    let request = request.map_err(|error| Problem::Other(error.to_string()))?;
    let answer = client.request_text(request).await;
    answer.map_err(|error| Problem::of(&error))
}
