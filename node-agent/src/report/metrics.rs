//! The one place where metrics have names.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use node_agent_engine::input::{Port, Span, Stage, Subject};
use node_agent_engine::record::Connection;
use node_agent_engine::verdict::UnknownBecause;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Error;
use super::labels::{ConnectionLabels, DenialLabels, RuleLabels, label, token};
use super::process::Process;
use super::series::{Fold, Series};

/// How many series a family may have.
const SERIES: usize = 2_000;

/// Every stage at which something of ours can be lost.
pub(super) const STAGES: [Stage; 7] = [
    Stage::Ring,
    Stage::Attempts,
    Stage::Conversations,
    Stage::UdpFlows,
    Stage::Decode,
    Stage::Core,
    Stage::Output,
];

/// Every reason for which nothing is claimed.
pub(super) const REASONS: [UnknownBecause; 15] = [
    UnknownBecause::Identity,
    UnknownBecause::InFlux,
    UnknownBecause::Stale,
    UnknownBecause::Lost,
    UnknownBecause::NotSeenStopped,
    UnknownBecause::LeftNode,
    UnknownBecause::FarSide,
    UnknownBecause::Backend,
    UnknownBecause::Orientation,
    UnknownBecause::SourceMismatch,
    UnknownBecause::HookBypassed,
    UnknownBecause::NodeService,
    UnknownBecause::SecondaryNetwork,
    UnknownBecause::UnsupportedPolicy,
    UnknownBecause::OpenInSpecification,
];

/// Upper bounds for how long enforcement follows a change, and for a pod's first moments, seconds.
const DELAYS_S: [f64; 12] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
];

/// Upper bounds for how long an event lies in the kernel's buffer, seconds.
const LATENCIES_S: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0];

type Counters = Family<[(&'static str, String); 1], Counter<u64, AtomicU64>>;
type Gauges = Family<[(&'static str, &'static str); 1], Gauge>;

/// What is counted.
pub struct Metrics {
    registry: Registry,
    process: Registry,
    connections: Arc<Series<ConnectionLabels>>,
    denials: Arc<Series<DenialLabels>>,
    rule_hits: Arc<Series<RuleLabels>>,
    unknown: Counters,
    drops: Counters,
    set_aside: Counters,
    lost: Counters,
    evicted: Counters,
    watch_errors: Counters,
    objects: Gauges,
    synced: Gauges,
    enforcement_delay: Histogram,
    start_window: Histogram,
    event_latency: Histogram,
}

impl Metrics {
    /// Every family that can be at zero is there from the start.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("netverdict"),
            process: Registry::with_prefix("process"),
            connections: Arc::new(Series::new(
                "connections",
                "Connection attempts by what policy says and what the network did, each once.",
                SERIES,
            )),
            denials: Arc::new(Series::new(
                "policy_denials",
                "Connection attempts that a policy denied, stopped or not.",
                SERIES,
            )),
            rule_hits: Arc::new(Series::new(
                "policy_rule_hits",
                "Connection attempts that a policy's rule allowed; rules count from 0.",
                SERIES,
            )),
            unknown: Family::default(),
            drops: Family::default(),
            set_aside: Family::default(),
            lost: Family::default(),
            evicted: Family::default(),
            watch_errors: Family::default(),
            objects: Family::default(),
            synced: Family::default(),
            enforcement_delay: Histogram::new(DELAYS_S),
            start_window: Histogram::new(DELAYS_S),
            event_latency: Histogram::new(LATENCIES_S),
        };
        metrics.begin_at_zero();
        metrics.registered()
    }

    fn begin_at_zero(&self) {
        for stage in STAGES {
            self.lost(stage, 0);
        }
        for reason in REASONS {
            self.unknown
                .get_or_create_owned(&[("reason", token(&reason))]);
        }
        self.set_aside(0, 0);
        self.evicted(&self.connections, 0);
        self.evicted(&self.denials, 0);
        self.evicted(&self.rule_hits, 0);
    }

    fn registered(mut self) -> Self {
        self.process.register_collector(Box::new(Process));
        let registry = &mut self.registry;
        registry.register_collector(Box::new(Arc::clone(&self.connections)));
        registry.register_collector(Box::new(Arc::clone(&self.denials)));
        registry.register_collector(Box::new(Arc::clone(&self.rule_hits)));
        for (name, help, family) in [
            (
                "unknown",
                "Connection attempts about which nothing is claimed",
                &self.unknown,
            ),
            (
                "drops",
                "Packets that the kernel dropped in the namespaces of the node and its pods",
                &self.drops,
            ),
            (
                "packets_set_aside",
                "Packets at pod interfaces that open no connection one could judge",
                &self.set_aside,
            ),
            (
                "events_lost",
                "Events and records of netverdict's own that were lost",
                &self.lost,
            ),
            (
                "series_evicted",
                "Series that made room and go on under __other__",
                &self.evicted,
            ),
            (
                "watch_errors",
                "What of the cluster could not be taken in, again for as long as it cannot",
                &self.watch_errors,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        let help = "Objects of the cluster that are known";
        registry.register("cache_objects", help, self.objects.clone());
        let help = "Whether the first complete picture of these objects is known";
        registry.register("cache_synced", help, self.synced.clone());
        for (name, help, histogram) in [
            (
                "enforcement_delay",
                "From a change until the first denied attempt that was stopped, when others had passed",
                &self.enforcement_delay,
            ),
            (
                "start_window",
                "Age of a pod when an attempt passed that policy denies",
                &self.start_window,
            ),
            (
                "event_latency",
                "From the packet until the agent has read its event",
                &self.event_latency,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What runs here", info);
        self
    }

    /// Counts attempts that have these things in common.
    pub(super) fn connections(&self, connection: &Connection, count: u64, port: Port) {
        if let Some(because) = connection.unknown_because {
            self.unknown
                .get_or_create_owned(&[("reason", token(&because))])
                .inc_by(count);
        }
        self.add(
            &self.connections,
            ConnectionLabels::of(connection, port),
            count,
        );
        for labels in DenialLabels::of(&connection.verdict) {
            self.add(&self.denials, labels, count);
        }
        for labels in RuleLabels::of(&connection.verdict) {
            self.add(&self.rule_hits, labels, count);
        }
    }

    fn add<L: Fold>(&self, series: &Series<L>, labels: L, count: u64) {
        let evicted = series.add(labels, count);
        if evicted > 0 {
            self.evicted(series, evicted);
        }
    }

    fn evicted<L: Fold>(&self, series: &Series<L>, count: u64) {
        let metric = format!("netverdict_{}_total", series.name());
        self.evicted
            .get_or_create_owned(&[("metric", metric)])
            .inc_by(count);
    }

    /// Counts what was lost.
    pub(super) fn lost(&self, stage: Stage, count: u64) {
        self.lost
            .get_or_create_owned(&[("stage", token(&stage))])
            .inc_by(count);
    }

    /// Takes in a span of time.
    pub(super) fn measured(&self, span: Span, ns: u64) {
        let histogram = match span {
            Span::EnforcementDelay => &self.enforcement_delay,
            Span::StartWindow => &self.start_window,
        };
        histogram.observe(seconds(ns));
    }

    /// Takes in how long an event took from the packet to the agent, nanoseconds.
    pub fn latency(&self, ns: u64) {
        self.event_latency.observe(seconds(ns));
    }

    /// Ends the series of what is gone.
    pub(super) fn gone(&self, subject: &Subject) {
        self.connections.end(subject);
        self.denials.end(subject);
        self.rule_hits.end(subject);
    }

    /// Sets how many objects of each kind are known, and whether all of them are.
    pub fn objects(&self, objects: &[(&'static str, usize)], is_synced: bool) {
        for (kind, count) in objects {
            let labels = [("kind", *kind)];
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.objects.get_or_create_owned(&labels).set(count);
            self.synced
                .get_or_create_owned(&labels)
                .set(i64::from(is_synced));
        }
    }

    /// Counts what of the cluster could not be taken in.
    pub fn watch_errors(&self, kind: &'static str, count: u64) {
        let labels = [("kind", kind.to_owned())];
        self.watch_errors.get_or_create_owned(&labels).inc_by(count);
    }

    /// Says how the watch of a kind is doing: whether its objects are known, and how often it broke so far.
    pub fn watch(&self, kind: &'static str, is_known: bool, errors: u64) {
        let synced = self.synced.get_or_create_owned(&[("kind", kind)]);
        synced.set(i64::from(is_known));
        Self::raise(&self.watch_errors, [("kind", kind.to_owned())], errors);
    }

    /// Brings the drops of a reason up to the kernel's running total.
    pub fn drops(&self, reason: &str, total: u64) {
        Self::raise(&self.drops, [("reason", label(reason))], total);
    }

    /// Brings what was set aside up to the kernel's running totals.
    pub fn set_aside(&self, unreadable: u64, not_unicast: u64) {
        for (reason, total) in [("unreadable", unreadable), ("not_unicast", not_unicast)] {
            Self::raise(&self.set_aside, [("reason", reason.to_owned())], total);
        }
    }

    fn raise(counters: &Counters, labels: [(&'static str, String); 1], total: u64) {
        let counter = counters.get_or_create_owned(&labels);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// All of them, as OpenMetrics text.
    ///
    /// # Errors
    ///
    /// When the encoder fails, which it does only when memory does.
    pub fn text(&self) -> Result<String, Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &self.process)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
