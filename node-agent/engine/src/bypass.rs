//! Interfaces that packets pass by: a program that hands a packet straight to a pod (`bpf_redirect_peer`) leaves its
//! interface's host side out, and what was not seen there proves nothing.

use std::collections::BTreeSet;

use crate::input::{AttemptState, Event, EventKind, Flow, Link};
use crate::links::Links;

/// Which interfaces packets to their pods came by at, and which they were seen to pass by.
#[derive(Debug, Default)]
pub(crate) struct Bypass {
    came_by: BTreeSet<u32>,
    passed_by: BTreeSet<u32>,
}

impl Bypass {
    /// Learns from what was seen of an attempt.
    pub(crate) fn hear(&mut self, links: &Links, event: &Event) {
        let Event { attempt, link, .. } = event;
        match event.kind {
            EventKind::Answered => {
                let at_source = link.filter(|_| *link == attempt.source_link);
                self.came_by.extend(at_source);
                // Where the peer's own interface did not let the answer in, somebody else may have given it.
                if at_source.is_none() {
                    self.reached(links, event.flow, attempt);
                }
            }
            // An answer came to the client's socket, and not by its interface.
            EventKind::Established => {
                // In the place of a pod of this node somebody else may have answered.
                if attempt.answered || leading_to(links, event.flow).is_none() {
                    self.passed_by.extend(attempt.source_link);
                }
            }
            EventKind::Refused => self.reached(links, event.flow, attempt),
            EventKind::Reset | EventKind::Unreachable => self.came_by.extend(*link),
            EventKind::Dropped | EventKind::Superseded | EventKind::Denied => {}
        }
        self.end(links, event.flow, attempt);
    }

    /// Learns from an attempt as it stood at its end.
    pub(crate) fn end(&mut self, links: &Links, flow: Flow, attempt: &AttemptState) {
        self.came_by.extend(attempt.destination_link);
        if attempt.answered {
            self.reached(links, flow, attempt);
        }
    }

    /// The destination spoke, so the attempt had come to it.
    fn reached(&mut self, links: &Links, flow: Flow, attempt: &AttemptState) {
        let passed = leading_to(links, flow).filter(|link| {
            attempt.destination_link.is_none() && link.watched_since <= attempt.first
        });
        self.passed_by.extend(passed.map(|link| link.index));
    }

    /// An interface is gone; its number may be another's.
    pub(crate) fn forget(&mut self, index: u32) {
        self.came_by.remove(&index);
        self.passed_by.remove(&index);
    }

    /// Whether an attempt of which nothing more was seen may have gone on unseen.
    ///
    /// On the way to a pod of this node it may when that pod's interface is passed by, or a program stands behind ours
    /// where it came in. Elsewhere its answer may when the source's interface is passed by, or has such a program and
    /// nothing ever came by there.
    pub(crate) fn hides(&self, links: &Links, flow: Flow, attempt: &AttemptState) -> bool {
        let source = attempt.source_link.and_then(|index| links.get(index));
        let has_other = source.is_some_and(|link| link.foreign_program == Some(true));
        match leading_to(links, flow) {
            Some(link) => {
                attempt.destination_link.is_none()
                    && (has_other || self.passed_by.contains(&link.index))
            }
            None => self.hides_answers(links, attempt),
        }
    }

    /// Whether what comes back to an attempt may come unseen: past its source's interface.
    pub(crate) fn hides_answers(&self, links: &Links, attempt: &AttemptState) -> bool {
        let source = attempt.source_link.and_then(|index| links.get(index));
        source.is_some_and(|link| {
            let has_other = link.foreign_program == Some(true);
            self.passed_by.contains(&link.index)
                || (has_other && !self.came_by.contains(&link.index))
        })
    }
}

/// The interface behind which an attempt's destination lies.
fn leading_to(links: &Links, flow: Flow) -> Option<&Link> {
    links
        .iter()
        .find(|link| link.addresses.contains(&flow.destination))
}
