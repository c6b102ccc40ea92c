//! A connection to a Service whose backend nobody named: what all its ready backends agree on (R38).

use std::net::IpAddr;

use super::{Connection, Party, PartyKind, Profile, combined};
use crate::cluster::Cluster;
use crate::identity::Identity;
use crate::input::Moment;
use crate::model::{EndpointSlice, ObjectKey};
use crate::record::Direction;
use crate::verdict::{Decision, Reason, Side, UnknownBecause, Verdict};

impl Cluster {
    pub(super) fn evaluate_backends(
        &self,
        connection: &Connection,
        service: &ObjectKey,
        profile: Profile,
    ) -> Verdict {
        let verdicts: Vec<Verdict> = self
            .backends(connection, service)
            .into_iter()
            .map(|backend| self.evaluate(&backend, profile))
            .collect();
        let Some(first) = verdicts.first() else {
            return no_backend();
        };
        let agrees = |other: &Verdict| {
            other.verdict == first.verdict
                && other.egress.verdict == first.egress.verdict
                && other.ingress.verdict == first.ingress.verdict
        };
        if verdicts.iter().all(agrees) {
            return first.clone();
        }
        Verdict {
            verdict: Decision::Unknown,
            unknown_because: Some(UnknownBecause::Backend),
            ..first.clone()
        }
    }

    /// The same connection to each ready backend, in the order of slices and addresses.
    fn backends(&self, connection: &Connection, key: &ObjectKey) -> Vec<Connection> {
        let Some(service) = self.service(key) else {
            return Vec::new();
        };
        let port = service.ports.iter().find(|port| {
            Some(port.port) == connection.port && port.protocol == connection.protocol
        });
        let Some(port) = port else {
            return Vec::new();
        };
        let family = connection
            .destination
            .ip
            .map(|ip| ip.to_canonical().is_ipv4());
        let slices = self
            .slices()
            .filter(|slice| slice.key.namespace == key.namespace && slice.service == key.name);
        slices
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

    fn backend_party(&self, ip: IpAddr) -> Party {
        // As of now: the slice says nothing of the past.
        let identity = match self.lookup(ip, Moment(u64::MAX)) {
            Identity::Pod(pod) => PartyKind::Pod(pod),
            Identity::Node(name) => PartyKind::Node(name),
            Identity::World => PartyKind::World,
            Identity::Service(_) | Identity::Ambiguous | Identity::Unknown => PartyKind::Unknown,
        };
        Party {
            ip: Some(ip),
            identity,
        }
    }
}

type Backend = (IpAddr, (u16, crate::model::Protocol));

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

fn no_backend() -> Verdict {
    let side = || super::side::SideAnswer {
        side: Side {
            verdict: Decision::Unknown,
            reason: Reason::NotSubject,
            kept: None,
            isolated_by: Vec::new(),
            allowed_by: None,
            nearest: None,
            would_allow: None,
        },
        unknown_because: Some(UnknownBecause::Backend),
    };
    let [egress, ingress] = [Direction::Egress, Direction::Ingress].map(|_| side());
    combined(egress, ingress)
}
