//! The one place where metrics have names. No label is an address, a pod's name or free text; external peers
//! are one class.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use node_agent_engine::input::Stage;
use node_agent_engine::record::{Connection, Endpoint, EndpointKind};
use node_agent_engine::verdict::{Decision, MissedWhat, Reason, Side};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::Error;
use super::series::{Fold, OTHER, Series};

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

/// What is counted.
pub struct Metrics {
    registry: Registry,
    connections: Arc<Series<ConnectionLabels>>,
    unknown: Family<[(&'static str, String); 1], Counter<u64, AtomicU64>>,
    lost: Family<[(&'static str, String); 1], Counter<u64, AtomicU64>>,
    evicted: Family<[(&'static str, &'static str); 1], Counter<u64, AtomicU64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    assessment: String,
    allowed_by: &'static str,
    start_window: &'static str,
    direction: String,
    reporter: String,
    protocol: String,
    source_namespace: String,
    source_workload: String,
    destination_namespace: String,
    destination_workload: String,
    destination_port: String,
}

impl Metrics {
    /// Every family that can be at zero is there from the start.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("netverdict");
        let connections = Arc::new(Series::new(
            "connections",
            "Connection attempts by what policy says and what the network did, each once.",
            SERIES,
        ));
        registry.register_collector(Box::new(Arc::clone(&connections)));
        let unknown = Family::default();
        registry.register(
            "unknown",
            "Connection attempts about which nothing is claimed",
            unknown.clone(),
        );
        let lost = Family::default();
        registry.register(
            "events_lost",
            "Events and records of netverdict's own that were lost",
            lost.clone(),
        );
        let evicted = Family::default();
        registry.register(
            "series_evicted",
            "Series that made room and go on under __other__",
            evicted.clone(),
        );
        registry.register(
            "build",
            "What runs here",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let metrics = Self {
            registry,
            connections,
            unknown,
            lost,
            evicted,
        };
        for stage in STAGES {
            metrics.lost(stage, 0);
        }
        metrics
            .evicted
            .get_or_create_owned(&[("metric", "netverdict_connections_total")]);
        metrics
    }

    /// Counts attempts that have these things in common.
    pub(super) fn connections(&self, connection: &Connection, count: u64) {
        if let Some(because) = connection.unknown_because {
            self.unknown
                .get_or_create_owned(&[("reason", token(&because))])
                .inc_by(count);
        }
        let evicted = self
            .connections
            .add(ConnectionLabels::of(connection), count);
        if evicted > 0 {
            self.evicted
                .get_or_create_owned(&[("metric", "netverdict_connections_total")])
                .inc_by(evicted);
        }
    }

    /// Counts what was lost.
    pub(super) fn lost(&self, stage: Stage, count: u64) {
        self.lost
            .get_or_create_owned(&[("stage", token(&stage))])
            .inc_by(count);
    }

    /// All of them, as OpenMetrics text.
    ///
    /// # Errors
    ///
    /// When the encoder fails, which it does only when memory does.
    pub fn text(&self) -> Result<String, Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ConnectionLabels {
    fn of(connection: &Connection) -> Self {
        let (source_namespace, source_workload) = party(&connection.source);
        let (destination_namespace, destination_workload) = party(&connection.destination);
        Self {
            assessment: token(&connection.assessment),
            allowed_by: allowed_by(connection),
            start_window: match connection.start_window_s {
                Some(_) => "true",
                None => "false",
            },
            direction: connection.direction.as_ref().map(token).unwrap_or_default(),
            reporter: token(&connection.reporter),
            protocol: token(&connection.protocol),
            source_namespace,
            source_workload,
            destination_namespace,
            destination_workload,
            destination_port: if is_port_named(connection) {
                connection.destination.port.to_string()
            } else {
                "other".to_owned()
            },
        }
    }
}

impl Fold for ConnectionLabels {
    fn folded(&self) -> Self {
        Self {
            source_namespace: OTHER.to_owned(),
            source_workload: OTHER.to_owned(),
            destination_namespace: OTHER.to_owned(),
            destination_workload: OTHER.to_owned(),
            destination_port: OTHER.to_owned(),
            ..self.clone()
        }
    }
}

/// Namespace and workload; what is no pod is one class of its kind, without a namespace.
fn party(endpoint: &Endpoint) -> (String, String) {
    let namespace = endpoint.namespace.as_deref().unwrap_or_default().to_owned();
    match endpoint.kind {
        EndpointKind::Pod => {
            let workload = endpoint.workload.as_ref();
            let name = workload.map_or("", |workload| &*workload.name);
            (namespace, name.to_owned())
        }
        EndpointKind::Service => {
            let name = endpoint.name.as_deref().unwrap_or_default();
            (namespace, name.to_owned())
        }
        EndpointKind::Node | EndpointKind::World | EndpointKind::Unknown => {
            (String::new(), token(&endpoint.kind))
        }
    }
}

fn allowed_by(connection: &Connection) -> &'static str {
    let verdict = &connection.verdict;
    let is = |reason| verdict.egress.reason == reason || verdict.ingress.reason == reason;
    match verdict.verdict {
        Decision::Denied | Decision::Unknown => "",
        Decision::Allowed if is(Reason::Rule) => "rule",
        Decision::Allowed if is(Reason::NotIsolated) => "not_isolated",
        Decision::Allowed => "",
    }
}

/// Says whether the pod, a Service or a policy names the port: a scan must not make series.
fn is_port_named(connection: &Connection) -> bool {
    let destination = &connection.destination;
    destination.port_name.is_some()
        || destination.kind == EndpointKind::Service
        || connection.service.is_some()
        || has_policy_port(&connection.verdict.egress)
        || has_policy_port(&connection.verdict.ingress)
}

fn has_policy_port(side: &Side) -> bool {
    let mut decided = side.allowed_by.iter().chain(&side.denied_by);
    let nearest = side.nearest.as_ref();
    decided.any(|rule| rule.port.is_some())
        || nearest.is_some_and(|nearest| {
            nearest.rule.port.is_some()
                && !nearest
                    .missed
                    .iter()
                    .any(|missed| is_about_port(missed.what))
        })
}

fn is_about_port(what: MissedWhat) -> bool {
    match what {
        MissedWhat::Port | MissedWhat::EndPort | MissedWhat::NamedPort | MissedWhat::Protocol => {
            true
        }
        MissedWhat::NamespaceLabels
        | MissedWhat::Namespace
        | MissedWhat::PodLabels
        | MissedWhat::NotAPod
        | MissedWhat::Cidr
        | MissedWhat::Except
        | MissedWhat::Family
        | MissedWhat::NotANode
        | MissedWhat::NodeLabels
        | MissedWhat::DomainName
        | MissedWhat::Direction => false,
    }
}

/// The word for a value of a closed list, as in the record.
fn token<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(token)) => token,
        Ok(_) | Err(_) => String::new(),
    }
}
