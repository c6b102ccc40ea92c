//! What the kernel side would say of an attempt.

use node_agent_engine::input::{
    AttemptState, Counted, Drop, DropClass, Event, EventKind, Flow, Rejected, Swept,
};
use node_agent_engine::model::Protocol;
use node_agent_engine::{Input, Moment};

use super::bench::{DB, JOB, WEB};

/// What was seen of an attempt.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) flow: Flow,
    pub(crate) attempt: AttemptState,
}

fn link_of(ip: &str) -> Option<u32> {
    [WEB, JOB, DB]
        .iter()
        .position(|known| *known == ip)
        .map(|index| index as u32 + 1)
}

impl Seen {
    pub(crate) fn new(now: Moment, from: &str, to: &str, source_port: u16) -> Self {
        let flow = Flow {
            source: from.parse().unwrap(),
            destination: to.parse().unwrap(),
            source_port,
            destination_port: 5432,
            protocol: Protocol::Tcp,
        };
        let attempt = AttemptState {
            first: now,
            epoch: 1,
            source_link: link_of(from),
            ..AttemptState::default()
        };
        Self { flow, attempt }
    }

    /// It was passed out at the destination's interface.
    pub(crate) fn arrived(mut self) -> Self {
        self.attempt.destination_link = link_of(&self.flow.destination.to_string());
        self
    }

    pub(crate) fn dropped(mut self, class: DropClass, in_pod: bool) -> Self {
        self.attempt.drop = Some(drop(class, in_pod));
        self.attempt.drops += 1;
        self
    }

    /// It was about to go out at the destination's interface, and no hook had seen it there.
    pub(crate) fn dropped_at_destination(self, class: DropClass) -> Self {
        let mut seen = self.dropped(class, false);
        if let Some(drop) = &mut seen.attempt.drop {
            drop.at_destination = true;
        }
        seen
    }

    pub(crate) fn rejected(mut self, from: &str, icmp_type: u8, icmp_code: u8) -> Self {
        self.attempt.rejected = Some(Rejected::Icmp {
            from: from.parse().unwrap(),
            icmp_type,
            icmp_code,
        });
        self
    }

    pub(crate) fn reset(mut self) -> Self {
        self.attempt.rejected = Some(Rejected::Reset);
        self
    }

    /// The peer's answer left its own interface.
    pub(crate) fn replied(mut self) -> Self {
        self.attempt.answered = true;
        self
    }

    /// Another pod answered, or somebody else was answered.
    pub(crate) fn forged(mut self) -> Self {
        self.attempt.forged = true;
        self
    }

    /// What a pod of this node answers has left by its interface.
    pub(crate) fn event(&self, at: Moment, kind: EventKind, total: u64) -> Input {
        let is_here = link_of(&self.flow.destination.to_string()).is_some();
        match kind {
            EventKind::Answered | EventKind::Established if is_here => {
                self.clone().replied().unspoken(at, kind, total)
            }
            _ => self.unspoken(at, kind, total),
        }
    }

    /// The same of what no other interface has told of.
    pub(crate) fn unspoken(&self, at: Moment, kind: EventKind, total: u64) -> Input {
        Input::Event(Box::new(Event {
            at,
            kind,
            flow: self.flow,
            attempt: self.attempt.clone(),
            total,
            link: self.attempt.source_link,
            icmp: None,
        }))
    }

    pub(crate) fn swept(&self) -> Input {
        Input::Swept(Box::new(Swept {
            flow: self.flow,
            attempt: self.attempt.clone(),
            cut_short: false,
            was_told: false,
        }))
    }

    /// It was swept before, and answered since.
    pub(crate) fn answered_late(&self) -> Input {
        self.clone().replied().swept_again()
    }

    /// It was swept before.
    pub(crate) fn swept_again(&self) -> Input {
        Input::Swept(Box::new(Swept {
            flow: self.flow,
            attempt: self.attempt.clone(),
            cut_short: false,
            was_told: true,
        }))
    }

    pub(crate) fn total(&self, kind: EventKind, total: u64, last: Moment) -> Input {
        Input::Counted(Box::new(Counted {
            source: self.flow.source,
            destination: self.flow.destination,
            destination_port: self.flow.destination_port,
            protocol: self.flow.protocol,
            kind,
            elsewhere: self.attempt.answered_elsewhere,
            total,
            last,
        }))
    }
}

pub(crate) fn drop(class: DropClass, in_pod: bool) -> Drop {
    Drop {
        reason: "NETFILTER_DROP".into(),
        location: "nft_do_chain".into(),
        class,
        netns: 1,
        in_pod,
        at_destination: false,
    }
}
