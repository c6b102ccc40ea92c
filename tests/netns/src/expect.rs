//! What has to come out, by the table in section 2 of the design: verdict against outcome.

use crate::enforcer::{Mode, Stop};
use crate::scenario::{Row, Verdict};
use crate::traffic::{Protocol, Saw, Server};

/// What one row has to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What the client sees.
    pub saw: Saw,
    /// What the record says.
    pub assessment: &'static str,
    /// The outcomes that it may give.
    pub outcomes: &'static [&'static str],
    /// Why nothing is claimed; only with `unknown`.
    pub unknown_because: Option<&'static str>,
}

impl Expected {
    /// What `row` has to come to when the network does `mode` and `server` waits at its destination.
    #[must_use]
    pub fn of(row: &Row, mode: Mode, server: Server) -> Self {
        match mode.stops(row.verdict) {
            Some(stop) => Self::stopped(row.verdict, stop),
            None => Self::passed(row, server),
        }
    }

    fn stopped(verdict: Verdict, stop: Stop) -> Self {
        let (saw, outcomes): (Saw, &[&str]) = match stop {
            Stop::Drop => (Saw::Nothing, &["dropped"]),
            Stop::PortUnreachable | Stop::Reset => (Saw::Refused, &["dropped", "rejected"]),
        };
        Self {
            saw,
            assessment: match verdict {
                Verdict::Denied => "blocked",
                Verdict::Allowed => "unexpected_drop",
            },
            outcomes,
            unknown_because: None,
        }
    }

    fn passed(row: &Row, server: Server) -> Self {
        let denied = row.verdict == Verdict::Denied;
        let through = if denied { "unenforced" } else { "allowed" };
        let (saw, assessment, outcomes): (Saw, &str, &[&str]) = match (server, row.protocol) {
            (Server::Answering, _) => (Saw::Answer, through, &["answered"]),
            // There is no silent TCP server: the kernel answers for it.
            (Server::Silent, Protocol::Tcp) => (Saw::Refused, through, &["refused"]),
            (Server::Silent, Protocol::Udp) => (Saw::Nothing, through, &["delivered"]),
            // What comes from outside may be the peer's refusal, or a rejection on the way.
            (Server::Closed, _) if denied && !row.to.contains('/') => {
                (Saw::Refused, "unknown", &["refused", "rejected", "unknown"])
            }
            (Server::Closed, _) if denied => (Saw::Refused, "unenforced", &["refused"]),
            (Server::Closed, _) => (Saw::Refused, "refused", &["refused"]),
            (Server::Dead, _) if denied => (Saw::Nothing, "unknown", &["unanswered", "unknown"]),
            (Server::Dead, _) => (Saw::Nothing, "unanswered", &["unanswered"]),
        };
        Self {
            saw,
            assessment,
            outcomes,
            unknown_because: match (assessment, server) {
                ("unknown", Server::Closed) => Some("far_side"),
                ("unknown", _) => Some("not_seen_stopped"),
                _ => None,
            },
        }
    }
}
