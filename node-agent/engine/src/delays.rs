//! How long enforcement takes to follow a change: what passed after it, until the first that was stopped.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Moment;
use crate::input::Flow;
use crate::model::Protocol;
use crate::record::Connection;

/// Most conversations that are watched at a time.
const MOST_WATCHED: usize = 4_096;

/// A change that nothing was stopped after for so long is watched no more.
const FORGET_NS: u64 = 3600 * 1_000_000_000;

/// A conversation, without the client's port.
pub(crate) type Pair = (IpAddr, IpAddr, u16, Protocol);

pub(crate) fn pair(flow: &Flow) -> Pair {
    let Flow {
        source,
        destination,
        source_port: _,
        destination_port,
        protocol,
    } = *flow;
    (source, destination, destination_port, protocol)
}

pub(crate) fn pair_of(connection: &Connection) -> Pair {
    (
        connection.source.ip,
        connection.destination.ip,
        connection.destination.port,
        connection.protocol,
    )
}

/// Conversations that policy denies since a change, and that passed after it.
///
/// Without an attempt that passed, the first that is stopped says nothing about when enforcement began.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    passed_since: BTreeMap<Pair, Moment>,
}

impl Delays {
    /// A denied attempt passed at `at`; what its verdict rests on last changed at `change`.
    pub(crate) fn passed(&mut self, pair: Pair, change: Moment, at: Moment) {
        let is_known = self.passed_since.contains_key(&pair);
        if at > change && (is_known || self.passed_since.len() < MOST_WATCHED) {
            self.passed_since.insert(pair, change);
        }
    }

    /// Whether a stop of this conversation is worth a look.
    pub(crate) fn is_watched(&self, pair: &Pair) -> bool {
        self.passed_since.contains_key(pair)
    }

    /// A denied attempt was stopped; gives how long after the change that was, nanoseconds.
    pub(crate) fn stopped(&mut self, pair: &Pair, change: Moment, at: Moment) -> Option<u64> {
        let since = self.passed_since.remove(pair)?;
        (since == change && at > change).then(|| at.since(change))
    }

    /// Forgets changes of long ago.
    pub(crate) fn forget(&mut self, now: Moment) {
        self.passed_since
            .retain(|_, change| now.since(*change) < FORGET_NS);
    }
}
