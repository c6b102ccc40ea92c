//! What an ending says from the start, and what an answer or a refusal adds to it.

use super::Ending;
use super::stops::client_saw;
use crate::Moment;
use crate::input::{AttemptState, Event, Flow, IcmpError};
use crate::model::Protocol;
use crate::options::Options;
use crate::record::{ClientSaw, Evidence, OutcomeKind};

/// From here on Linux gives ports to clients (`net.ipv4.ip_local_port_range`).
const CLIENT_PORTS: u16 = 32_768;

impl Ending {
    pub(super) fn new(key: Flow, attempt: AttemptState, at: Moment) -> Self {
        let mut evidence = Vec::new();
        if attempt.source_link.is_some() {
            evidence.push(Evidence::AttemptAtSource);
        }
        if attempt.destination_link.is_some() {
            evidence.push(Evidence::AttemptAtDestination);
        }
        let mut flow = key;
        let mut sent_to = None;
        if let Some((destination, port)) = attempt.led_to {
            sent_to = Some((key.destination, key.destination_port));
            (flow.destination, flow.destination_port) = (destination, port);
            if attempt.drop.is_none() {
                evidence.push(Evidence::Conntrack);
            }
        } else if let Some(asked_for) = attempt.asked_for {
            sent_to = Some(asked_for);
            evidence.push(Evidence::AskedAtSocket);
        } else if attempt.sent_to.is_some() {
            sent_to = attempt.sent_to;
            evidence.push(Evidence::Conntrack);
        }
        Self {
            key,
            flow,
            sent_to,
            seen_from: None,
            oriented: attempt.tracked,
            attempt,
            at,
            outcome: OutcomeKind::Unknown,
            drop: None,
            client_saw: ClientSaw::Unknown,
            evidence,
            cause: None,
            doubt: None,
            doubt_if_denied: None,
        }
    }

    pub(super) fn with(mut self, outcome: OutcomeKind, saw: ClientSaw, evidence: Evidence) -> Self {
        self.outcome = outcome;
        self.client_saw = saw;
        self.evidence.push(evidence);
        self
    }

    pub(super) fn answered(mut self, event: &Event) -> Self {
        if event.link.is_none() || event.link != self.attempt.source_link {
            // Whether it came as far as the client is not known.
            return self.with(
                OutcomeKind::Answered,
                ClientSaw::Unknown,
                Evidence::AnswerAtDestination,
            );
        }
        if self.attempt.answered {
            self.evidence.push(Evidence::AnswerAtDestination);
        }
        self.with(
            OutcomeKind::Answered,
            ClientSaw::Answer,
            Evidence::AnswerAtSource,
        )
    }

    pub(super) fn refused(self, icmp: Option<IcmpError>) -> Self {
        let saw = match (icmp, self.flow.protocol) {
            (Some(icmp), _) => client_saw(icmp.icmp_type, icmp.icmp_code),
            (None, Protocol::Tcp | Protocol::Sctp) => ClientSaw::Reset,
            (None, Protocol::Udp | Protocol::Icmp | Protocol::Icmpv6) => ClientSaw::Unknown,
        };
        self.with(OutcomeKind::Refused, saw, Evidence::RefusalAtDestination)
    }

    /// A rejection whose drop may be told a moment later: it is sent before its packet is freed.
    pub(crate) fn drop_may_follow(&self) -> bool {
        self.attempt.rejected.is_some() && self.drop.is_none()
    }

    /// From when on a claim about it waits for nothing but a fresh reading: its time has passed, what was seen of it is told,
    /// and who its ends are is known.
    pub(crate) fn asked_since(&self, options: &Options) -> Moment {
        let due = self.attempt.first.plus(options.confirm_ns);
        due.max(self.at.plus(options.grace_ns))
    }

    /// Whether a datagram goes from a service's port to one that clients are given: enforcers remember conversations for
    /// as long as they are set to, and let a server speak again after a silence that is longer than what is remembered here.
    pub(crate) fn may_be_a_reply(&self) -> bool {
        self.flow.protocol == Protocol::Udp
            && !self.attempt.tracked
            && self.flow.source_port < CLIENT_PORTS
            && self.flow.destination_port >= CLIENT_PORTS
    }

    /// Whether what came back may be a datagram of the peer's own: both speak from the port that they are spoken to, as gossip
    /// does, and nobody saw the first one come there, nor the other one leave.
    pub(crate) fn may_be_unanswered(&self) -> bool {
        let Flow {
            protocol,
            source_port,
            destination_port,
            ..
        } = self.flow;
        let attempt = &self.attempt;
        let is_seen_there = attempt.answered || attempt.destination_link.is_some();
        self.outcome == OutcomeKind::Answered
            && protocol == Protocol::Udp
            && source_port == destination_port
            && !is_seen_there
    }
}
