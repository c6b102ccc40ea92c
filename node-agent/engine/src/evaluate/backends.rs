//! A connection to a Service whose backend nobody named: what all its ready backends agree on (R38).

use std::net::IpAddr;
use std::sync::Arc;

use super::{Connection, Party, PartyKind, Profile, combined};
use crate::cluster::Cluster;
use crate::identity::Identity;
use crate::input::Moment;
use crate::model::{EndpointSlice, ExternalClients, ObjectKey, Protocol, Service, ServicePort};
use crate::verdict::{LeftOpen, Side, Verdict};
use crate::walk::Who;

impl Cluster {
    pub(super) fn evaluate_backends(
        &self,
        connection: &Connection,
        service: &ObjectKey,
        profile: Profile,
    ) -> Verdict {
        let is_hidden = self.is_client_hidden(connection, service);
        let verdicts: Vec<Verdict> = self
            .backends(connection, service)
            .into_iter()
            .map(|backend| match is_hidden {
                true => self.evaluate_hidden(&backend, profile),
                false => self.evaluate(&backend, profile),
            })
            .collect();
        let Some(first) = verdicts.first() else {
            return self.evaluate_whichever(connection, service, profile);
        };
        let egress = agreed(&verdicts, &first.egress, |verdict| &verdict.egress);
        let ingress = agreed(&verdicts, &first.ingress, |verdict| &verdict.ingress);
        combined(egress, ingress)
    }

    /// The same connection to each ready backend, in the order of slices and addresses.
    pub(crate) fn backends(&self, connection: &Connection, key: &ObjectKey) -> Vec<Connection> {
        let port = self
            .service(key)
            .and_then(|service| service.port_of(connection));
        let Some(port) = port else {
            return Vec::new();
        };
        let family = connection
            .destination
            .ip
            .map(|ip| ip.to_canonical().is_ipv4());
        self.slices_of(key)
            .flat_map(|slice| slice.backends(port.name.as_ref()))
            .filter(|(ip, backend)| {
                backend.1 == connection.protocol && family.is_none_or(|v4| ip.is_ipv4() == v4)
            })
            .map(|(ip, backend)| Connection {
                destination: self.backend_party(ip),
                port: Some(backend.0),
                via_service: true,
                ..connection.clone()
            })
            .collect()
    }

    /// Whether nobody is known to be ready for a connection to a Service's address. A Service of which no slice was
    /// ever heard may have backends.
    pub(crate) fn has_no_backend(&self, connection: &Connection, key: &ObjectKey) -> bool {
        let mut slices = self.slices_of(key).peekable();
        slices.peek().is_some()
            && (slices.all(|slice| slice.ready.is_empty())
                || self.serves(connection, key) && self.backends(connection, key).is_empty())
    }

    /// Whether a Service keeps such a connection to the backends of the node it comes by, and none of them is known to be
    /// ready there.
    pub(crate) fn has_no_backend_on(
        &self,
        node: &str,
        connection: &Connection,
        key: &ObjectKey,
    ) -> bool {
        let service = self.service(key);
        let is_there = |backend: &Connection| match &backend.destination.identity {
            PartyKind::Pod(key) => self.pod(key).is_some_and(|pod| &*pod.node == node),
            PartyKind::Node(name) => &**name == node,
            PartyKind::Service(_) | PartyKind::World | PartyKind::Unknown => false,
        };
        service.is_some_and(|service| service.keeps_to_node(connection))
            && self.slices_of(key).next().is_some()
            && self.serves(connection, key)
            && !self.backends(connection, key).iter().any(is_there)
    }

    /// Whether a Service lets only some come to that address.
    pub(crate) fn limits_sources(&self, connection: &Connection, key: &ObjectKey) -> bool {
        let service = self.service(key);
        service.is_some_and(|service| service.limits_sources && service.is_external(connection))
    }

    /// Whether a Service has the port that a client asks for.
    fn serves(&self, connection: &Connection, key: &ObjectKey) -> bool {
        let service = self.service(key);
        service.is_some_and(|service| service.port_of(connection).is_some())
    }

    fn backend_party(&self, ip: IpAddr) -> Party {
        // As of now: the slice says nothing of the past.
        let identity = match self.lookup(ip, Moment(u64::MAX)) {
            Identity::Pod(pod) => PartyKind::Pod(pod),
            Identity::Node(name) => PartyKind::Node(name),
            Identity::World => PartyKind::World,
            Identity::Service(_)
            | Identity::NodeService(_)
            | Identity::Ambiguous
            | Identity::Unknown => PartyKind::Unknown,
        };
        Party {
            ip: Some(ip),
            identity,
        }
    }

    /// Whether a node may stand for the client before the backend sees it (R39).
    fn is_client_hidden(&self, connection: &Connection, key: &ObjectKey) -> bool {
        let service = self.service(key);
        let external = service.filter(|service| service.is_external(connection));
        let is_node = matches!(
            self.end(&connection.source, None).who,
            Who::Node { .. } | Who::Unknown
        );
        external.is_some_and(|service| match service.external_clients {
            ExternalClients::Hidden => !is_node,
            ExternalClients::Seen => false,
        })
    }

    /// A connection to a backend that any node may have passed on in its own name.
    fn evaluate_hidden(&self, backend: &Connection, profile: Profile) -> Verdict {
        let verdict = self.evaluate(backend, profile);
        let differs = |node: Party| {
            let passed_on = Connection {
                source: node,
                ..backend.clone()
            };
            let (ingress, _) = self.ask(&passed_on, profile, |_, ingress| ingress.decision());
            ingress != verdict.ingress.verdict
        };
        match self.passing_nodes(backend).any(differs) {
            true => combined(
                verdict.egress,
                verdict.ingress.opened(LeftOpen::SourceAddress),
            ),
            false => verdict,
        }
    }

    /// Every node there may be: those that are known, else one of which nothing is, and the backend's own.
    fn passing_nodes(&self, backend: &Connection) -> impl Iterator<Item = Party> {
        let own = match self.end(&backend.destination, None).who {
            Who::Pod { state, .. } => Some(Arc::clone(&state.pod.node)),
            Who::Node { name, .. } => Some(name),
            Who::World | Who::Unknown => None,
        };
        let known = self.nodes().map(|node| Arc::clone(&node.name));
        let any = self.nodes().next().is_none().then(|| "".into());
        let names = known.chain(any).chain(own.filter(|own| !own.is_empty()));
        names.map(|name| Party {
            ip: None,
            identity: PartyKind::Node(name),
        })
    }

    /// What holds whichever backend it is: none is known.
    fn evaluate_whichever(
        &self,
        connection: &Connection,
        service: &ObjectKey,
        profile: Profile,
    ) -> Verdict {
        let whichever = whichever_backend(connection);
        let left_open = self.without_backend(connection, service);
        let Verdict {
            egress, ingress, ..
        } = self.evaluate(&whichever, profile);
        let [egress, ingress] = [egress, ingress].map(|side| match side.left_open {
            Some(LeftOpen::Unidentified | LeftOpen::NoPort) => side.opened(left_open),
            Some(_) | None => side,
        });
        combined(egress, ingress)
    }

    fn without_backend(&self, connection: &Connection, key: &ObjectKey) -> LeftOpen {
        let port = self
            .service(key)
            .and_then(|service| service.port_of(connection));
        match (port, self.slices_of(key).next()) {
            (None, _) => LeftOpen::NoServicePort,
            (Some(_), None) => LeftOpen::NoSlices,
            (Some(_), Some(_)) => LeftOpen::NoBackend,
        }
    }
}

impl Service {
    /// The port that a client asks for.
    fn port_of(&self, connection: &Connection) -> Option<&ServicePort> {
        let is_at_node = self.is_at_node(connection);
        self.ports.iter().find(|port| {
            let number = match is_at_node {
                true => port.node_port,
                false => Some(port.port),
            };
            number.is_some() && number == connection.port && port.protocol == connection.protocol
        })
    }

    /// Whether a client came by a node's own address.
    fn is_at_node(&self, connection: &Connection) -> bool {
        let is_node = matches!(connection.destination.identity, PartyKind::Node(_));
        is_node && !self.is_external(connection)
    }

    fn is_external(&self, connection: &Connection) -> bool {
        let ip = connection.destination.ip.map(|ip| ip.to_canonical());
        ip.is_some_and(|ip| self.external_ips.contains(&ip))
    }

    /// Whether whoever comes to that address is led to backends of the same node only.
    fn keeps_to_node(&self, connection: &Connection) -> bool {
        if !self.is_external(connection) && !self.is_at_node(connection) {
            return self.stays_on_node;
        }
        match self.external_clients {
            ExternalClients::Seen => true,
            ExternalClients::Hidden => false,
        }
    }
}

type Backend = (IpAddr, (u16, Protocol));

impl EndpointSlice {
    fn backends(&self, port_name: &str) -> Vec<Backend> {
        let ports = self
            .ports
            .iter()
            .filter(|port| port.name.as_ref() == port_name);
        ports
            .flat_map(|port| {
                self.ready
                    .iter()
                    .map(|ip| (*ip, (port.port, port.protocol)))
            })
            .collect()
    }
}

/// The connection to a backend of which nothing is known.
pub(crate) fn whichever_backend(connection: &Connection) -> Connection {
    Connection {
        destination: Party {
            ip: None,
            identity: PartyKind::Unknown,
        },
        port: None,
        ..connection.clone()
    }
}

/// A side as the backends agree on it; where they do not, it is unknown.
fn agreed(verdicts: &[Verdict], first: &Side, side: impl Fn(&Verdict) -> &Side) -> Side {
    let agree = verdicts
        .iter()
        .all(|verdict| side(verdict).verdict == first.verdict);
    let suggest_one = verdicts
        .iter()
        .all(|verdict| suggest_the_same(side(verdict), first));
    match agree {
        true if suggest_one => first.clone(),
        // What allows one of them leaves the others denied.
        true => Side {
            would_allow: None,
            ..first.clone()
        },
        false => first.clone().opened(LeftOpen::BackendsDiffer),
    }
}

/// Whether what allows the one allows the other. The source is the same pod, whatever a policy is called that selects
/// it; the backends are not.
fn suggest_the_same(one: &Side, other: &Side) -> bool {
    match (&one.would_allow, &other.would_allow) {
        (Some(one), Some(other)) => {
            one.rule == other.rule
                && one.field == other.field
                && (one.policy == other.policy || one.field == "spec.egress")
        }
        (one, other) => one.is_none() && other.is_none(),
    }
}
