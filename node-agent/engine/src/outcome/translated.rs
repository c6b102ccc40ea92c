//! What conntrack adds to an ending: who opened it, whom its packets were for, and from whom, before translation and after.

use super::Ending;
use crate::input::{Flow, Tracked};
use crate::record::Evidence;

impl Ending {
    /// The tuple by which conntrack knows it: what its source sent, or, where it was first seen behind translation,
    /// what its destination sends back.
    pub(crate) fn tuple(&self) -> Flow {
        match self.attempt.source_link {
            Some(_) => self.key,
            None => self.key.reversed(),
        }
    }

    /// Takes in what conntrack remembers under [`Ending::tuple`].
    pub(crate) fn translate(&mut self, tracked: &Tracked) {
        let Tracked { original, reply } = *tracked;
        let behind = reply.reversed();
        if !self.is_opened_as(tracked) || original == behind {
            return;
        }
        let changed = |before, after| (before != after).then_some(before);
        let destination = |flow: &Flow| (flow.destination, flow.destination_port);
        let source = |flow: &Flow| (flow.source, flow.source_port);
        // What a process asked for lies before all that conntrack knows.
        self.sent_to = (self.attempt.asked_for)
            .or_else(|| changed(destination(&original), destination(&behind)));
        self.seen_from = changed(source(&behind), source(&original));
        self.flow = Flow {
            source: original.source,
            source_port: original.source_port,
            ..behind
        };
        self.evidence.push(Evidence::Conntrack);
    }

    /// Takes in who opened it, where what was seen does not tell.
    pub(crate) fn orient(&mut self, tracked: &Tracked) {
        if !self.is_opened_as(tracked) {
            return;
        }
        self.oriented = true;
        if !self.evidence.contains(&Evidence::Conntrack) {
            self.evidence.push(Evidence::Conntrack);
        }
    }

    /// Whether an entry is its own: one that has the tuple in its other direction is another connection's.
    fn is_opened_as(&self, tracked: &Tracked) -> bool {
        let own = match self.attempt.source_link {
            Some(_) => tracked.original,
            None => tracked.reply.reversed(),
        };
        own == self.key
    }

    /// Its packets as its destination sees them.
    pub(crate) fn behind(&self) -> Flow {
        let (source, source_port) = self
            .seen_from
            .unwrap_or((self.flow.source, self.flow.source_port));
        Flow {
            source,
            source_port,
            ..self.flow
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;
    use crate::input::AttemptState;
    use crate::model::Protocol;

    type At<'a> = (&'a str, u16);

    fn flow((source, source_port): At<'_>, (destination, destination_port): At<'_>) -> Flow {
        Flow {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_port,
            destination_port,
            protocol: Protocol::Udp,
        }
    }

    /// Sighted under `key` at an interface, on the source's side or on the destination's.
    fn sighted(key: Flow, source_link: Option<u32>) -> Ending {
        let attempt = AttemptState {
            source_link,
            destination_link: source_link.is_none().then_some(2),
            ..AttemptState::default()
        };
        Ending::new(key, attempt, Moment(1))
    }

    /// Every combination of a translated destination, its port, a translated source and its port.
    #[test]
    fn both_sightings_of_an_attempt_come_to_the_same() {
        for [from, node, service, backend] in [
            ["10.42.0.1", "192.0.2.1", "10.43.0.1", "10.42.0.2"],
            ["fd00:42::1", "2001:db8::1", "fd00:43::1", "fd00:42::2"],
        ] {
            for bits in 0..16_u16 {
                let is = |bit: u16| bits & (1 << bit) != 0;
                let choose = |bit, yes, no| if is(bit) { yes } else { no };
                let sent = flow((from, 40_000), (service, 80));
                let behind = flow(
                    (choose(0, node, from), if is(1) { 50_000 } else { 40_000 }),
                    (choose(2, backend, service), if is(3) { 8080 } else { 80 }),
                );
                let tracked = Tracked {
                    original: sent,
                    reply: behind.reversed(),
                };
                let (mut here, mut there) = (sighted(sent, Some(1)), sighted(behind, None));
                assert_eq!(here.tuple(), tracked.original);
                assert_eq!(there.tuple(), tracked.reply);
                here.translate(&tracked);
                there.translate(&tracked);
                for ending in [&here, &there] {
                    assert_eq!(ending.behind(), behind, "{bits:04b}");
                    assert_eq!(ending.flow.source, sent.source);
                    assert_eq!(ending.flow.source_port, 40_000);
                    assert_eq!(ending.sent_to.is_some(), is(2) || is(3), "{bits:04b}");
                    assert_eq!(ending.seen_from.is_some(), is(0) || is(1), "{bits:04b}");
                    let is_told = ending.evidence.contains(&Evidence::Conntrack);
                    assert_eq!(is_told, bits != 0, "{bits:04b}");
                }
                assert_eq!(
                    (here.flow, here.sent_to, here.seen_from),
                    (there.flow, there.sent_to, there.seen_from)
                );
                for mut ending in [here, there] {
                    ending.orient(&tracked);
                    let told = ending.evidence.iter();
                    let told = told.filter(|seen| **seen == Evidence::Conntrack);
                    assert_eq!((ending.oriented, told.count()), (true, 1), "{bits:04b}");
                }
            }
        }
    }

    /// Conntrack looks a tuple up in both directions: what it finds may go the other way.
    #[test]
    fn an_entry_of_the_other_direction_changes_nothing() {
        let sent = flow(("10.42.0.1", 40_000), ("10.43.0.1", 80));
        let other = Tracked {
            original: flow(("10.42.0.2", 80), ("10.42.0.9", 40_000)),
            reply: sent,
        };
        let mut ending = sighted(sent, Some(1));
        ending.translate(&other);
        ending.orient(&other);
        assert_eq!((ending.flow, ending.sent_to), (sent, None));
        assert!(!ending.oriented);
        assert!(
            ending
                .evidence
                .iter()
                .all(|seen| *seen != Evidence::Conntrack)
        );
    }
}
