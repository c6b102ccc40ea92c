//! A connection to a Service whose backend nobody named: what all its ready backends agree on (R38).

use std::net::IpAddr;

use super::side::SideAnswer;
use super::{Connection, Party, PartyKind, Profile, combined};
use crate::cluster::Cluster;
use crate::identity::Identity;
use crate::input::Moment;
use crate::model::{EndpointSlice, ObjectKey};
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
        let egress = agreed(&verdicts, &first.egress, |verdict| &verdict.egress);
        let ingress = agreed(&verdicts, &first.ingress, |verdict| &verdict.ingress);
        let because = |side: &Side| match side.verdict {
            Decision::Unknown => first.unknown_because.or(Some(UnknownBecause::Backend)),
            Decision::Allowed | Decision::Denied => None,
        };
        let [egress, ingress] = [egress, ingress].map(|side| SideAnswer {
            unknown_because: because(&side),
            side,
        });
        combined(egress, ingress)
    }

    /// The same connection to each ready backend, in the order of slices and addresses.
    pub(crate) fn backends(&self, connection: &Connection, key: &ObjectKey) -> Vec<Connection> {
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

/// A side as the backends agree on it; where they do not, it is unknown.
fn agreed(verdicts: &[Verdict], first: &Side, side: impl Fn(&Verdict) -> &Side) -> Side {
    if verdicts
        .iter()
        .all(|verdict| side(verdict).verdict == first.verdict)
    {
        return first.clone();
    }
    Side {
        verdict: Decision::Unknown,
        allowed_by: None,
        denied_by: None,
        left_open: None,
        nearest: None,
        would_allow: None,
        ..first.clone()
    }
}

fn no_backend() -> Verdict {
    let nobody = || SideAnswer::unknown(Reason::NotSubject, UnknownBecause::Backend);
    combined(nobody(), nobody())
}
