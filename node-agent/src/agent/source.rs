//! Who tells of the cluster, files or an API server, as one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use node_agent_engine::input::Ground;
use node_agent_engine::model::Delta;
use node_agent_engine::{Input, k8s};
use tokio::time::{Instant, sleep_until};

use crate::cluster::api::{self, Access, ApiServer, Watched};
use crate::cluster::{Empty, Files, Options, Reading, Watch};
use crate::settings::{Cluster, Nanoseconds, Validation};

/// How often files are read again although nothing said that they changed: a lost notification must not
/// leave an old policy standing, and what was read lately is not stale.
const READING: Duration = Duration::from_secs(10);
/// After how much silence a server is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(5);
/// How often at least the cluster is heard of before what is known is stale.
const HEARD: u32 = 3;

/// Who tells of the cluster.
pub(super) enum Source {
    /// Files and folders.
    Files(Box<FromFiles>),
    /// A Kubernetes API server.
    Api(Box<ApiServer>),
}

/// Files, and when to look at them.
pub(super) struct FromFiles {
    files: Files,
    watch: Watch,
    /// So long after the one before.
    read_every: Duration,
    next_reading: Instant,
    /// What was read before the hooks were there, and is not delivered yet.
    first: Option<Reading>,
}

/// What is new.
pub(super) struct News {
    /// What changed.
    pub(super) deltas: Vec<Delta>,
    /// There is a first picture.
    pub(super) synced: bool,
    /// What the core is told after it: how much of this was read afresh.
    pub(super) confirmed: Option<Input>,
    /// How often something could not be read, by its kind.
    pub(super) errors: Vec<(&'static str, u64)>,
}

impl Source {
    /// Begins to listen.
    pub(super) async fn open(
        cluster: &Cluster,
        validation: Validation,
        stale_after: Nanoseconds,
    ) -> Result<Self> {
        let soon = Duration::from_nanos(stale_after.0) / HEARD;
        Ok(match cluster {
            Cluster::Files(paths) => Self::Files(Box::new(FromFiles::open(
                paths,
                validation,
                READING.min(soon),
            )?)),
            Cluster::Api {
                kubeconfig,
                context,
            } => {
                let access = Access {
                    kubeconfig: kubeconfig.clone(),
                    context: context.clone(),
                };
                // What the API server holds it has let in, by the rules of its own version.
                let server =
                    ApiServer::watch(&access, k8s::Validation::Off, SILENCE.min(soon)).await?;
                tracing::info!(server = server.server(), "watching the API server");
                Self::Api(Box::new(server))
            }
        })
    }

    /// Waits until something is new. Nothing is forgotten when the future is dropped before it is done.
    pub(super) async fn changed(&mut self) -> Result<News> {
        match self {
            Self::Files(files) => Ok(files.changed().await),
            Self::Api(server) => Ok(of_server(server.changed().await?)),
        }
    }

    /// Asks how much of what claims rest on is as it was delivered; the answer may come later.
    pub(super) fn confirm(&mut self, grounds: Vec<Ground>) -> Option<News> {
        match self {
            Self::Files(files) => {
                let news = files.read();
                let nothing = || Input::GroundsConfirmed(Vec::new());
                Some(News {
                    confirmed: news.confirmed.or_else(|| Some(nothing())),
                    ..news
                })
            }
            Self::Api(server) => {
                server.confirm(grounds);
                None
            }
        }
    }

    /// Whether it was heard since the last time and tells all changes as they come, which files cannot say.
    pub(super) fn was_heard(&mut self) -> bool {
        match self {
            Self::Files(_) => false,
            Self::Api(server) => server.was_heard(),
        }
    }

    /// How the watch of each kind is doing; files are not watched kind by kind.
    pub(super) fn watches(&self) -> BTreeMap<&'static str, Watched> {
        match self {
            Self::Files(_) => BTreeMap::new(),
            Self::Api(server) => server.watches(),
        }
    }

    /// How many objects are known.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Files(files) => files.files.len(),
            Self::Api(server) => server.len(),
        }
    }
}

impl FromFiles {
    fn open(paths: &[PathBuf], validation: Validation, read_every: Duration) -> Result<Self> {
        let (files, first) = Files::open(paths, Options::new(validation, Empty::Wait))?;
        Ok(Self {
            files,
            watch: Watch::start(paths)?,
            read_every,
            next_reading: Instant::now(),
            first: Some(first),
        })
    }

    async fn changed(&mut self) -> News {
        if self.first.is_none() {
            tokio::select! {
                () = self.watch.changed() => {}
                () = sleep_until(self.next_reading) => {}
            }
        }
        self.read()
    }

    fn read(&mut self) -> News {
        let reading = match self.first.take() {
            // Files may have changed since, so they are read again at once.
            Some(first) => Reading {
                again_in: Some(Duration::ZERO),
                ..first
            },
            None => self.files.reload(SystemTime::now()),
        };
        let errors = vec![("file", reading.errors())];
        let Reading {
            deltas,
            notices,
            complete,
            again_in,
        } = reading;
        self.next_reading = Instant::now() + again_in.unwrap_or(self.read_every);
        for notice in &notices {
            tell(notice, notice.is_problem());
        }
        News {
            deltas,
            synced: !self.files.is_empty(),
            // A file that stands on an older content confirms nothing.
            confirmed: complete.then_some(Input::Confirmed),
            errors,
        }
    }
}

fn of_server(news: api::News) -> News {
    let errors = news.notices.iter().filter_map(api::Notice::error);
    let errors = errors.map(|kind| (kind, 1)).collect();
    for notice in &news.notices {
        tell(notice, notice.is_problem());
    }
    News {
        deltas: news.deltas,
        synced: news.synced,
        confirmed: news.confirmed.map(Input::GroundsConfirmed),
        errors,
    }
}

fn tell(notice: &impl fmt::Display, is_problem: bool) {
    if is_problem {
        tracing::warn!("{notice}");
    } else {
        tracing::info!("{notice}");
    }
}
