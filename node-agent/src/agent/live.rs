//! This machine: hooks, the cluster's source, signals and the clock.

use std::future::pending;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use node_agent_engine::ClockBase;
use node_agent_engine::core::Core;
use node_agent_engine::{Input, Moment};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::source::{News, Source};
use super::{Line, Wanted, core_options, lines};
use crate::capture::{self, Capture, Sizes};
use crate::profile::{Finder, Found, Signs};
use crate::recording::{Header, Recorder};
use crate::report::{Api, Health, Metrics, Patience, Question, Report, Server};
use crate::settings::{self, Attach, Cluster, Listen, Settings};

/// How often the kernel's buffers are emptied at the latest.
const TURN: Duration = Duration::from_millis(50);
/// How often the kernel's counters are read for metrics.
const FIGURES: Duration = Duration::from_secs(1);
/// How often it is looked who enforces: what tells it may come after the agent.
const LOOKING: Duration = Duration::from_secs(30);

/// The machine's side of the line.
struct Live {
    line: Line,
    capture: Capture,
    source: Source,
    api: Option<Api>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    /// The node's name.
    node: Arc<str>,
    /// Who enforces, when nobody said.
    finder: Option<Finder>,
    next_look: Instant,
    is_synced: bool,
    /// How many policies that are not evaluated were told of last.
    unsupported: usize,
    next_figures: Instant,
}

/// Runs until a signal comes, or nobody reads any more.
pub(super) async fn run(
    settings: &Settings,
    cluster: &Cluster,
    record: Option<&Path>,
) -> Result<()> {
    let mut terminated = Terminated::new()?;
    let stale_after = settings.spans.stale_after;
    let source = Source::open(cluster, settings.validation, stale_after).await?;
    let lines = lines(settings, Patience::Lose)?;
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::default());
    let _server = serve(settings.metrics, &metrics, &health).await?;

    let api = settings.api_socket.as_deref();
    let api = api.map(|path| Api::start(path, Arc::clone(&health)));
    let api = api.transpose()?;

    let capture = Capture::start(capture_options(settings))?;
    let wake = Wake::new(&capture)?;
    tracing::info!("{}", capture.found());

    let options = core_options(settings, clock_base());
    let recorder = record
        .map(|path| Recorder::create(path, &Header::new(options.clone())))
        .transpose()?;
    let report = Report::new(lines, Arc::clone(&metrics));
    let line = Line::new(Core::new(options), report, recorder);
    let is_asked = settings.profile == settings::Profile::Auto;
    let mut live = Live {
        line,
        capture,
        source,
        api,
        health,
        metrics,
        node: settings.node.clone(),
        finder: is_asked.then(Finder::default),
        next_look: Instant::now(),
        is_synced: false,
        unsupported: 0,
        next_figures: Instant::now(),
    };
    let ended = live.run(&wake, &mut terminated).await;
    ended.and(live.end())
}

impl Live {
    async fn run(&mut self, wake: &Wake, terminated: &mut Terminated) -> Result<()> {
        // Interfaces first: what the cluster says of a pod finds its interface known.
        self.turn()?;
        self.health.attached();
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = terminated.wait() => return Ok(()),
                news = self.source.changed() => self.deliver(news?)?,
                question = asked(&mut self.api) => question.answer(self.line.state()?),
                () = wake.woken() => {}
                _ = turns.tick() => {}
            }
            self.turn()?;
        }
    }

    /// Empties the kernel's buffers, lets time pass, and does what the core wants.
    fn turn(&mut self) -> Result<()> {
        let now = capture::now();
        let mut inputs = Vec::new();
        self.capture.poll(now, &mut |input| inputs.push(input));
        let read = capture::now();
        for input in inputs {
            if let Input::Event(event) = &input {
                self.metrics.latency(read.since(event.at));
            }
            self.line.consume(now, input)?;
        }
        if self.source.was_heard() {
            self.line.consume(now, Input::Heard)?;
        }
        if self.is_synced && Instant::now() >= self.next_look {
            self.find_profile(now)?;
        }
        self.line.consume(now, Input::Tick)?;
        self.act(now)?;
        self.line.flush(now)?;
        self.tell_figures();
        Ok(())
    }

    /// Hands on what the kernel counts and how much is known.
    fn tell_figures(&mut self) {
        let now = Instant::now();
        if now < self.next_figures {
            return;
        }
        self.next_figures = now + FIGURES;
        let objects = self.line.core.objects();
        self.metrics.objects(&objects, self.is_synced);
        for (kind, watched) in self.source.watches() {
            self.metrics.watch(kind, watched.is_known, watched.errors);
        }
        self.tell_unsupported();
        for (reason, total) in self.capture.drops() {
            self.metrics.drops(&reason, total);
        }
        let (unreadable, not_unicast) = self.capture.set_aside();
        self.metrics.set_aside(unreadable, not_unicast);
    }

    fn tell_unsupported(&mut self) {
        let policies = self.line.core.unsupported_policies();
        if policies != self.unsupported {
            self.unsupported = policies;
            tracing::warn!(
                policies,
                "policies that are not evaluated: nothing is claimed where one may apply"
            );
        }
    }

    /// Asks conntrack what the core waits for.
    fn look_up(&mut self, now: Moment) -> Result<()> {
        for tuple in std::mem::take(&mut self.line.wanted.look_ups) {
            let tracked = self.capture.look_up(&tuple);
            self.line.consume(now, Input::LookedUp { tuple, tracked })?;
        }
        Ok(())
    }

    fn act(&mut self, now: Moment) -> Result<()> {
        self.look_up(now)?;
        let Wanted {
            epoch,
            pod_addresses,
            look_ups: _,
            confirmation,
        } = std::mem::take(&mut self.line.wanted);
        if let Some(addresses) = pod_addresses {
            self.capture.set_pod_addresses(&addresses);
        }
        // After the addresses: a conversation that speaks again should find them.
        if let Some(epoch) = epoch {
            self.capture.set_epoch(epoch)?;
        }
        if let Some(grounds) = confirmation
            && let Some(news) = self.source.confirm(grounds)
        {
            self.deliver(news)?;
        }
        Ok(())
    }

    fn deliver(&mut self, news: News) -> Result<()> {
        let News {
            deltas,
            synced,
            confirmed,
            errors,
        } = news;
        for (kind, count) in errors {
            self.metrics.watch_errors(kind, count);
        }
        let now = capture::now();
        for delta in deltas {
            self.line.consume(now, Input::Delta(Box::new(delta)))?;
        }
        if synced && !self.is_synced {
            self.is_synced = true;
            self.find_profile(now)?;
            self.line.consume(now, Input::Synced)?;
            // The kernel side knows the addresses before anybody is told that this is ready.
            self.act(now)?;
            self.health.synced();
            tracing::info!(objects = self.source.len(), "cluster known");
            eprintln!("ready");
        }
        if let Some(confirmed) = confirmed.filter(|_| self.is_synced) {
            self.line.consume(now, confirmed)?;
        }
        Ok(())
    }

    /// Who enforces, when nobody said.
    fn find_profile(&mut self, now: Moment) -> Result<()> {
        let Some(finder) = &mut self.finder else {
            return Ok(());
        };
        self.next_look = Instant::now() + LOOKING;
        let core = &self.line.core;
        let node = core.cluster().node(&self.node);
        let signs = Signs::read(self.capture.interfaces(), core.daemon_sets(), node);
        if let Some(Found { profile, why }) = finder.look(&signs) {
            tracing::info!(?profile, "who enforces: {why}");
            self.line.consume(now, Input::Profile(profile))?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        let now = capture::now();
        let mut inputs = Vec::new();
        self.capture.finish(now, &mut |input| inputs.push(input));
        for input in inputs {
            self.line.consume(now, input)?;
        }
        self.look_up(now)?;
        self.line.report.begin_end();
        self.line.consume(now, Input::Ended)?;
        self.line.flush(now)?;
        // Detaching comes last: the kernel waits a moment for each interface.
        self.line.report.finish()?;
        Ok(())
    }
}

/// Waits until somebody asks, where somebody can.
async fn asked(api: &mut Option<Api>) -> Question {
    match api {
        Some(api) => api.asked().await,
        None => pending().await,
    }
}

/// SIGTERM or SIGINT, whichever comes.
struct Terminated {
    terminate: Signal,
    interrupt: Signal,
}

impl Terminated {
    fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    async fn wait(&mut self) {
        let came = tokio::select! {
            came = self.terminate.recv() => came,
            came = self.interrupt.recv() => came,
        };
        if came.is_none() {
            pending().await
        }
    }
}

/// Says when interfaces came or went.
struct Wake(AsyncFd<OwnedFd>);

impl Wake {
    fn new(capture: &Capture) -> Result<Self> {
        // SAFETY: the capture, borrowed for this call, keeps its descriptor open.
        let theirs = unsafe { BorrowedFd::borrow_raw(capture.as_raw_fd()) };
        let ours = theirs.try_clone_to_owned().context("wait for interfaces")?;
        // SAFETY: the descriptor is ours alone, and nobody replaces or closes it while it is registered.
        let registered = unsafe { AsyncFd::register_with_interest(ours, Interest::READABLE) };
        Ok(Self(registered.context("wait for interfaces")?))
    }

    /// The poll that follows reads everything, so what was said until then needs no second waking.
    async fn woken(&self) {
        match self.0.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => pending().await,
        }
    }
}

async fn serve(
    listen: Listen,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
) -> Result<Option<Server>> {
    match listen {
        Listen::Off => Ok(None),
        Listen::At(address) => {
            let server = Server::start(address, Arc::clone(metrics), Arc::clone(health)).await?;
            tracing::info!(address = %server.address(), "serving metrics");
            Ok(Some(server))
        }
    }
}

fn capture_options(settings: &Settings) -> capture::Options {
    let usual = Sizes::default();
    capture::Options {
        sizes: Sizes {
            ring_bytes: settings.ring_bytes.unwrap_or(usual.ring_bytes),
            attempts: settings.attempts.unwrap_or(usual.attempts),
            ..usual
        },
        interfaces: settings.interfaces.clone(),
        cgroup_root: settings.cgroup_root.clone(),
        attach: match settings.attach {
            Attach::Auto => capture::Attach::Auto,
            Attach::Tcx => capture::Attach::Tcx,
            Attach::Clsact => capture::Attach::Clsact,
        },
    }
}

/// Wall time at the monotonic clock's beginning: only for printing.
fn clock_base() -> ClockBase {
    let Moment(monotonic) = capture::now();
    let wall = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let wall = i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX);
    ClockBase(wall.saturating_sub_unsigned(monotonic))
}
