//! The cluster, read from a Kubernetes API server: one watch for each kind, side by side.
//!
//! Watches say what they hear; the [`Store`] turns it into changes, the same that files give. A claim is
//! confirmed by reading afresh what it rests on. Nothing here holds a whole object, and nothing judges.

mod access;
mod confirm;
mod discovery;
mod hindered;
mod kinds;
mod notice;
mod pause;
mod problem;
mod pulse;
mod said;
mod state;
mod store;
mod strings;
mod version;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use node_agent_engine::input::Ground;
use node_agent_engine::k8s::Validation;
use node_agent_engine::model::Delta;
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::watch as latest;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use access::Access;
pub use notice::Notice;

use self::access::{Caller, Connection};
use self::confirm::{Fresh, Questions};
use self::discovery::Groups;
use self::hindered::Hindered;
use self::kinds::{KINDS, Kind};
use self::problem::Problem;
use self::pulse::Pulse;
use self::said::Said;
use self::store::Store;
use self::watch::Watch;
use super::Error;

/// What is heard and not yet taken: watches wait when there is more.
const HEARD: usize = 1024;
/// How much is taken at a time, so that the rest of the agent has its turn.
const AT_A_TIME: usize = 1024;
/// The agents of a DaemonSet start together; the first list of each is asked for at some time within this span.
const SPREAD: Duration = Duration::from_secs(10);
/// At least so long between two readings that confirm claims.
const CONFIRM_GAP: Duration = Duration::from_secs(2);

/// A Kubernetes API server that is watched.
pub struct ApiServer {
    client: Client,
    server: String,
    caller: Caller,
    store: Store,
    pulse: Pulse,
    said: Receiver<Said>,
    groups: Arc<latest::Sender<Groups>>,
    asked: Option<Questions>,
    ask_at: Instant,
    hindered: Hindered,
    /// The watches, ended with it; and the reading on its way.
    _watches: JoinSet<()>,
    reading: JoinSet<(Questions, Fresh)>,
}

/// How a watch is doing, or several whose objects have one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// All of it was listed once, or the server does not have it.
    pub is_known: bool,
    /// How often it broke.
    pub errors: u64,
}

/// What became known since the last time.
#[derive(Debug, Default)]
pub struct News {
    /// What changed, in the order of delivery.
    pub deltas: Vec<Delta>,
    /// What the operator should be told.
    pub notices: Vec<Notice>,
    /// The first picture is complete; said once.
    pub synced: bool,
    /// What was asked with [`ApiServer::confirm`] was read, and this much of it is as it was delivered.
    pub confirmed: Option<Vec<Ground>>,
    broken: bool,
}

impl ApiServer {
    /// Begins to watch. After so much silence the server is asked whether it is there.
    ///
    /// # Errors
    ///
    /// When the server's address or the way to prove who asks is not known. Whether it answers is found out later.
    pub async fn watch(
        access: &Access,
        validation: Validation,
        silence: Duration,
    ) -> Result<Self, Error> {
        let connection = access::connect(access).await?;
        let wait = match connection.caller {
            Caller::Pod => pause::between(Duration::ZERO, SPREAD),
            Caller::Person => Duration::ZERO,
        };
        Ok(Self::begin(connection, validation, wait, silence))
    }

    fn begin(
        connection: Connection,
        validation: Validation,
        wait: Duration,
        silence: Duration,
    ) -> Self {
        let Connection {
            client,
            server,
            caller,
        } = connection;
        let (into, said) = mpsc::channel(HEARD);
        let groups = Arc::new(latest::Sender::new(Groups::Unasked));
        let mut watches = JoinSet::new();
        watches.spawn(discovery::run(client.clone(), Arc::clone(&groups), wait));
        for kind in KINDS.iter().enumerate() {
            let (into, groups) = (into.clone(), groups.subscribe());
            let watch = Watch::new(client.clone(), kind, validation, into, groups);
            watches.spawn(watch.run(wait));
        }
        Self {
            pulse: Pulse::new(client.clone(), silence),
            client,
            server,
            caller,
            store: Store::new(),
            said,
            groups,
            asked: None,
            ask_at: Instant::now(),
            hindered: Hindered::default(),
            _watches: watches,
            reading: JoinSet::new(),
        }
    }

    /// Waits until something is known. Nothing is forgotten when the future is dropped before it is done.
    ///
    /// # Errors
    ///
    /// When the first picture cannot be had, and what to do about it. Later the agent goes on with what it knows. A pod
    /// waits for a server that cannot be reached: nodes start before their control plane.
    pub async fn changed(&mut self) -> Result<News, Error> {
        let mut news = News::default();
        tokio::select! {
            Some(said) = self.said.recv() => self.take(said, &mut news),
            () = self.pulse.beat() => {}
            Some(read) = self.reading.join_next(), if !self.reading.is_empty() => {
                if let Ok((questions, fresh)) = read {
                    if let Some(groups) = fresh.groups() {
                        discovery::tell(&self.groups, groups);
                    }
                    news.notices.extend(self.hindered.note(&fresh));
                    news.confirmed = Some(questions.agreed(&fresh, &self.store));
                }
            }
            () = sleep_until(self.ask_at), if self.asked.is_some() => self.read(),
        }
        match self.store.stuck() {
            Some(stuck) if news.broken && !self.is_worth_waiting(&stuck) => {
                Err(self.unusable(&stuck))
            }
            Some(_) | None => Ok(news),
        }
    }

    /// Asks how much of this is still as it was delivered; [`News::confirmed`] says so some time later. A new question
    /// replaces the one before.
    pub fn confirm(&mut self, grounds: Vec<Ground>) {
        // A reading on its way ends with its set, and cannot pass for an answer.
        self.reading = JoinSet::new();
        let groups = self.groups.borrow().clone();
        self.asked = Some(Questions::about(grounds, &self.store, &groups));
    }

    /// How the watches are doing, by what they watch.
    #[must_use]
    pub fn watches(&self) -> BTreeMap<&'static str, Watched> {
        self.store.watches()
    }

    /// Whether all changes are told as they come.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.store.is_current()
    }

    /// Whether the server was heard since the last time, and all changes are told as they come.
    pub fn was_heard(&mut self) -> bool {
        self.is_current() && self.pulse.take_heard()
    }

    /// How many objects are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Says whether there is not one object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it is.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    fn take(&mut self, first: Said, news: &mut News) {
        let mut next = Some(first);
        for _ in 0..AT_A_TIME {
            let Some(said) = next else {
                return;
            };
            if said.what.is_of_server() {
                self.pulse.heard();
            }
            self.store.take(said, news);
            next = self.said.try_recv().ok();
        }
    }

    fn read(&mut self) {
        if let Some(questions) = self.asked.take() {
            self.ask_at = Instant::now() + CONFIRM_GAP;
            let client = self.client.clone();
            self.reading.spawn(async move {
                let fresh = questions.ask(&client).await;
                (questions, fresh)
            });
        }
    }

    fn is_worth_waiting(&self, stuck: &[(&'static Kind, &Problem)]) -> bool {
        let is_away = |(_, problem): &(_, &Problem)| matches!(problem, Problem::Unreachable(_));
        match self.caller {
            Caller::Pod => stuck.iter().any(is_away),
            Caller::Person => false,
        }
    }

    fn unusable(&self, stuck: &[(&'static Kind, &Problem)]) -> Error {
        let server = self.server.clone();
        let forbidden = stuck
            .iter()
            .filter(|(_, problem)| problem.is_forbidden())
            .map(|(kind, _)| *kind);
        let rules = problem::rules(forbidden);
        let missing = stuck
            .iter()
            .find(|(_, problem)| **problem == Problem::NotFound);
        if !rules.is_empty() {
            return Error::Forbidden { rules };
        }
        match (missing, stuck.first()) {
            (Some((kind, _)), _) => Error::TooOld {
                kind: format!("{} {}", kind.api_version(kind.version), kind.kind),
            },
            (None, first) => Error::Server {
                server,
                message: first
                    .map(|(_, problem)| problem.to_string())
                    .unwrap_or_default(),
            },
        }
    }
}
