//! Both ends may have addresses of two families, and policy may say something else over each (R36).

use std::net::IpAddr;

use super::{Asker, Open, PortSpan};
use crate::connection::{Party, PartyKind};
use crate::record::Family;
use crate::verdict::Decision;

/// The ends of connections over one family: the subject and the other.
pub(super) struct Line {
    /// Absent where the ends have no family in common, or one has no known address.
    family: Option<Family>,
    ends: Vec<(Party, Party)>,
}

impl Asker<'_> {
    /// The lines between the subject and another, one at least.
    pub(super) fn lines(&self, other: &Party) -> Vec<Line> {
        let (own_ips, other_ips) = (self.addresses(self.subject), self.addresses(other));
        let of = |party: &Party, ip: &IpAddr| Party {
            ip: Some(*ip),
            ..party.clone()
        };
        let line = |family| {
            let own_ips = own_ips.iter().filter(|ip| family_of(ip) == family);
            let ends = own_ips.flat_map(|own| {
                let other_ips = other_ips.iter().filter(|ip| family_of(ip) == family);
                other_ips.map(|ip| (of(self.subject, own), of(other, ip)))
            });
            Line {
                family: Some(family),
                ends: ends.collect(),
            }
        };
        let mut lines = vec![line(Family::IPv4), line(Family::IPv6)];
        lines.retain(|line| !line.ends.is_empty());
        if lines.is_empty() {
            lines.push(Line {
                family: None,
                ends: vec![(self.subject.clone(), other.clone())],
            });
        }
        lines
    }

    /// What is open over these lines on one span of ports: what is so over all of them has no family.
    pub(super) fn over(&self, lines: &[Line], span: PortSpan) -> Vec<Open> {
        let mut found: Vec<(Open, Vec<Option<Family>>)> = Vec::new();
        for line in lines {
            for ends in &line.ends {
                let verdict = self.judge(ends, &span);
                if verdict.verdict == Decision::Denied {
                    continue;
                }
                let open = Open::of(&verdict, span);
                match found.iter_mut().find(|(other, _)| *other == open) {
                    Some((_, families)) if families.contains(&line.family) => {}
                    Some((_, families)) => families.push(line.family),
                    None => found.push((open, vec![line.family])),
                }
            }
        }
        let told = found
            .into_iter()
            .map(|(open, families)| match families[..] {
                [family] if lines.len() > 1 => Open { family, ..open },
                _ => open,
            });
        told.collect()
    }

    /// The addresses that a party may use.
    pub(super) fn addresses(&self, party: &Party) -> Vec<IpAddr> {
        match (&party.ip, &party.identity) {
            (Some(ip), _) => vec![ip.to_canonical()],
            (None, PartyKind::Pod(key)) => {
                let pod = self.cluster.pod(key);
                pod.map(|pod| pod.ips.clone()).unwrap_or_default()
            }
            (None, PartyKind::Node(name)) => {
                let node = self.cluster.node(name);
                node.map(|node| node.ips.clone()).unwrap_or_default()
            }
            (None, PartyKind::World | PartyKind::Service(_) | PartyKind::Unknown) => Vec::new(),
        }
    }
}

fn family_of(ip: &IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::IPv4,
        IpAddr::V6(_) => Family::IPv6,
    }
}
