//! One kind, listed and followed for ever: what is there, what changes, and when that cannot be told.
//!
//! kube-runtime's watcher is not used: it does not pass on bookmarks, which say how old the knowledge is, and
//! a server that does not stream lists makes it ask for them for ever.

mod left;

use std::time::Duration;

use futures_util::{AsyncBufRead, AsyncBufReadExt as _};
use kube::Client;
use kube::api::{ListParams, Request, WatchParams};
use node_agent_engine::k8s::Validation;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use self::left::{Closed, Left, Phase};
use super::discovery::Groups;
use super::kinds::{Kind, Presence};
use super::pause::{Pause, between};
use super::problem::Problem;
use super::said::{Said, What};
use super::version::Version;
use super::wire::{self, Form, Line};

/// A page of a server that does not stream lists.
const PAGE: u32 = 500;
/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a stream may be silent. Servers send a bookmark each minute of what has changed since they began; of the rest
/// etcd may tell no progress for ten minutes.
const SILENCE: Duration = Duration::from_secs(90);
/// A stream that ends so soon is no stream: it is not resumed at once.
const SHORT: Duration = Duration::from_secs(1);
/// How long a stream lasts, seconds; the server ends it and it is resumed.
const STREAM_S: u32 = 290;
/// Versions last for minutes: one that has expired so soon after another was not too old.
const EXPIRES: Duration = Duration::from_secs(120);
/// When a kind that is not installed is looked for again.
const INSTALLED_YET: Duration = Duration::from_secs(60);

/// One kind's watch.
pub(super) struct Watch {
    client: Client,
    kind: &'static Kind,
    index: usize,
    into: Sender<Said>,
    groups: watch::Receiver<Groups>,
    /// With the version that is asked for.
    form: Form,
    /// How many versions in a row the server did not have.
    lacking: usize,
    lists: Lists,
    /// The version up to which everything was told; none before the first list and when it has expired.
    told: Option<String>,
    /// Since a stream broke or fell silent nobody has looked whether the server still is at that version or beyond.
    is_doubtful: bool,
    pause: Pause,
    /// When a version expired last, and how long to wait if that goes on.
    expired: Option<(Instant, Pause)>,
    pub(super) silence: Duration,
}

/// How a kind is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    Streamed,
    Paged,
}

impl Watch {
    pub(super) fn new(
        client: Client,
        (index, kind): (usize, &'static Kind),
        validation: Validation,
        into: Sender<Said>,
        groups: watch::Receiver<Groups>,
    ) -> Self {
        Self {
            client,
            kind,
            index,
            into,
            groups,
            form: Form::new(kind, &kind.version.into(), validation),
            lacking: 0,
            lists: Lists::Streamed,
            told: None,
            is_doubtful: false,
            pause: Pause::new(),
            expired: None,
            silence: SILENCE,
        }
    }

    /// Watches until nobody listens any more.
    pub(super) async fn run(mut self, wait: Duration) {
        sleep(wait).await;
        loop {
            if self.wait_for_group().await.is_err() {
                return;
            }
            let left = match (&self.told, self.lists) {
                (Some(version), _) if self.is_doubtful => self.look(version.clone()).await,
                (Some(version), _) => self.follow(version.clone()).await,
                (None, Lists::Streamed) => self.list().await,
                (None, Lists::Paged) => self.page_list().await,
            };
            let again = match left {
                Ok(()) | Err(Left::Ended) => continue,
                Err(Left::Quiet) => {
                    self.is_doubtful = true;
                    continue;
                }
                Err(Left::Closed) => return,
                Err(Left::Broken(problem)) => self.broken(problem).await,
            };
            if again.is_err() {
                return;
            }
        }
    }

    /// Waits until the server may have the kind, and takes a version that it may have it in.
    async fn wait_for_group(&mut self) -> Result<(), Closed> {
        while self.kind.presence == Presence::Installed && self.told.is_none() {
            let versions = self.groups.borrow_and_update().versions(self.kind);
            if let Some(versions) = versions {
                if let Some(version) = versions.get(self.lacking) {
                    self.form = self.form.of_version(version);
                    return Ok(());
                }
                self.say(What::Absent).await?;
                if std::mem::take(&mut self.lacking) > 0 {
                    // Its group is there, and may get it without a word.
                    let again = between(INSTALLED_YET / 2, INSTALLED_YET * 3 / 2);
                    let Ok(changed) = timeout(again, self.groups.changed()).await else {
                        continue;
                    };
                    changed.map_err(|_| Closed)?;
                    continue;
                }
            }
            self.groups.changed().await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// Says what is wrong, and waits before the next try.
    async fn broken(&mut self, problem: Problem) -> Result<(), Closed> {
        self.is_doubtful = true;
        match problem {
            Problem::Expired => self.expired(problem).await?,
            Problem::SetBack => {
                self.say(What::SetBack).await?;
                self.expired(problem).await?;
            }
            // Perhaps it is there in another version.
            Problem::NotFound if self.kind.presence == Presence::Installed => {
                self.lacking = match self.told.take() {
                    Some(_) => 0,
                    None => self.lacking + 1,
                };
            }
            problem => {
                let wait = problem.wait();
                self.say(What::Broken(problem)).await?;
                sleep(self.pause.next().max(wait)).await;
            }
        }
        Ok(())
    }

    /// Lists anew: the first time soon, after that with growing pauses, as a server that always says so would be asked
    /// for ever.
    async fn expired(&mut self, problem: Problem) -> Result<(), Closed> {
        self.told = None;
        self.lists = Lists::Streamed;
        let before = self.expired.take();
        let (wait, pause) = match before.filter(|(when, _)| when.elapsed() < EXPIRES) {
            None => (self.pause.brief(), Pause::new()),
            Some((_, mut pause)) => {
                self.say(What::Broken(problem)).await?;
                (pause.next(), pause)
            }
        };
        self.expired = Some((Instant::now(), pause));
        sleep(wait).await;
        Ok(())
    }

    async fn say(&self, what: What) -> Result<(), Closed> {
        let kind = self.index;
        self.into
            .send(Said { kind, what })
            .await
            .map_err(|_| Closed)
    }

    /// Lists by a stream that goes on with the changes, or by pages where that cannot be had.
    async fn list(&mut self) -> Result<(), Left> {
        let left = self.stream_list().await;
        match (&self.told, left) {
            // A server that does not know how: the gate is off, or it is too old.
            (None, Err(Left::Broken(Problem::Invalid(_)))) => self.lists = Lists::Paged,
            // One that cannot now: its etcd does not tell its progress. The next list is tried again.
            (None, Err(Left::Broken(Problem::Other(_)))) => {}
            (_, left) => return left,
        }
        self.page_list().await
    }

    async fn stream_list(&mut self) -> Result<(), Left> {
        let parameters = WatchParams {
            bookmarks: true,
            send_initial_events: true,
            timeout: Some(stream_seconds()),
            ..WatchParams::default()
        };
        let stream = self.open(&parameters, "").await?;
        self.begin_list().await?;
        self.read(stream, Phase::Listing).await
    }

    /// Lists page by page, all of one version.
    async fn page_list(&mut self) -> Result<(), Left> {
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let request = Request::new(self.form.path()).list(&parameters);
            let text = self.ask(request).await?;
            let page = self.form.page(&text)?;
            drop(text);
            if parameters.continue_token.is_none() {
                self.begin_list().await?;
            }
            for object in page.objects {
                self.say(What::There(Box::new(object))).await?;
            }
            if page.more.is_empty() {
                self.told = Some(page.version);
                return Ok(self.say(What::Listed).await?);
            }
            parameters.continue_token = Some(page.more);
        }
    }

    async fn begin_list(&mut self) -> Result<(), Closed> {
        self.lacking = 0;
        self.say(What::Served(self.form.version())).await?;
        self.say(What::Listing).await
    }

    /// Looks at which version the server is. One whose etcd was restored is before what it told, and would be silent
    /// until it is there again, with other content.
    async fn look(&mut self, told: String) -> Result<(), Left> {
        let one = ListParams::default().limit(1);
        let request = Request::new(self.form.path()).list_metadata(&one);
        let text = self.ask(request).await?;
        if wire::version(&text)?.is_before(&Version::from(&*told)) {
            return Err(Problem::SetBack.into());
        }
        self.is_doubtful = false;
        Ok(())
    }

    async fn ask(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<String, Problem> {
        let request = request.map_err(|error| Problem::Other(error.to_string()))?;
        let answer = timeout(ANSWER, self.client.request_text(request)).await;
        answer
            .map_err(|_| Problem::Silent)?
            .map_err(|error| Problem::of(&error))
    }

    /// Goes on from a version.
    async fn follow(&mut self, version: String) -> Result<(), Left> {
        let parameters = WatchParams {
            bookmarks: true,
            timeout: Some(stream_seconds()),
            ..WatchParams::default()
        };
        let stream = self.open(&parameters, &version).await?;
        self.say(What::Following).await?;
        self.read(stream, Phase::Following).await
    }

    async fn open(
        &self,
        parameters: &WatchParams,
        version: &str,
    ) -> Result<impl AsyncBufRead + use<>, Problem> {
        let request = Request::new(self.form.path())
            .watch(parameters, version)
            .map_err(|error| Problem::Other(error.to_string()))?;
        let opened = timeout(ANSWER, self.client.request_stream(request)).await;
        opened
            .map_err(|_| Problem::Silent)?
            .map_err(|error| Problem::of(&error))
    }

    async fn read(&mut self, stream: impl AsyncBufRead, mut phase: Phase) -> Result<(), Left> {
        let began = Instant::now();
        let mut stream = std::pin::pin!(stream);
        let mut text = Vec::new();
        loop {
            text.clear();
            let read = timeout(self.silence, stream.read_until(b'\n', &mut text)).await;
            let read = read.map_err(|_| phase.silent())?;
            read.map_err(|error| Problem::Unreachable(error.to_string()))?;
            // The stream was cut, perhaps within an object: what is missing is told when it is resumed.
            if text.pop() != Some(b'\n') {
                return match phase {
                    Phase::Following if began.elapsed() >= SHORT => Err(Left::Ended),
                    Phase::Following | Phase::Listing => Err(Problem::Cut.into()),
                };
            }
            let line = self.form.line(&text)?;
            match line {
                Line::There(object) => {
                    self.advance(phase, &object.version)?;
                    self.say(What::There(object)).await?;
                }
                Line::Gone(object) => {
                    self.advance(phase, &object.version)?;
                    self.say(What::Gone(object)).await?;
                }
                Line::Bookmark {
                    version,
                    ends_the_list,
                } => {
                    if phase == Phase::Listing && ends_the_list {
                        phase = Phase::Following;
                        self.say(What::Listed).await?;
                        self.say(What::Following).await?;
                    }
                    self.advance(phase, &version)?;
                }
                Line::Unknown => {}
                Line::Problem(problem) => return Err(problem.into()),
            }
            // A list that never ends well is not tried again at once.
            if phase == Phase::Following {
                self.pause.reset();
            }
        }
    }

    /// Objects of a list come in no order of versions: only its end says up to where it reaches. From there on they
    /// only grow.
    fn advance(&mut self, phase: Phase, version: &str) -> Result<(), Problem> {
        if phase == Phase::Listing || version.is_empty() {
            return Ok(());
        }
        let told = self.told.replace(version.to_owned());
        let is_set_back =
            told.is_some_and(|told| Version::from(version).is_before(&Version::from(&*told)));
        match is_set_back {
            true => Err(Problem::SetBack),
            false => Ok(()),
        }
    }
}

/// Streams of many agents and kinds that began together should not end together.
fn stream_seconds() -> u32 {
    let least = Duration::from_secs(u64::from(STREAM_S / 2));
    let most = Duration::from_secs(STREAM_S.into());
    u32::try_from(between(least, most).as_secs()).unwrap_or(STREAM_S)
}
