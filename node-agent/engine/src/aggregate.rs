//! The first of a kind at once, repeats folded: how many records are written does not grow with traffic.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::Moment;
use crate::assessment::is_problem;
use crate::back_off::BackOff;
use crate::model::{PolicyKey, Protocol};
use crate::record::{Assessment, Cause, ClientSaw, Connection, Direction, Endpoint, OutcomeKind};
use crate::verdict::{Decision, Side, UnknownBecause};

/// Most kinds of problems held at a time, and as many others: these cannot crowd those out.
const MOST_KINDS: usize = 32_768;

/// How many kinds are forgotten at once to make room.
const ROOM: usize = MOST_KINDS / 8;

/// What makes two endings the same in a reader's eyes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    source: End,
    destination: End,
    port: u16,
    protocol: Protocol,
    assessment: Assessment,
    unknown_because: Option<UnknownBecause>,
    outcome: OutcomeKind,
    cause: Option<Cause>,
    direction: Option<Direction>,
    start_window: bool,
    acknowledged: bool,
    deciding: Vec<PolicyKey>,
}

/// An end of a connection, as far as a reader tells it from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    ip: IpAddr,
    namespace: Option<Arc<str>>,
    name: Option<Arc<str>>,
    uid: Option<Arc<str>>,
}

impl End {
    fn of(endpoint: &Endpoint) -> Self {
        Self {
            ip: endpoint.ip,
            namespace: endpoint.namespace.clone(),
            name: endpoint.name.clone(),
            uid: endpoint.uid.clone(),
        }
    }
}

impl Kind {
    pub(crate) fn of(connection: &Connection) -> Self {
        let outcome = match connection.outcome.outcome {
            // Of one denial the drop and the rejection are one kind.
            OutcomeKind::Rejected => OutcomeKind::Dropped,
            other => other,
        };
        Self {
            source: End::of(&connection.source),
            destination: End::of(&connection.destination),
            port: connection.destination.port,
            protocol: connection.protocol,
            assessment: connection.assessment,
            unknown_because: connection.unknown_because,
            outcome,
            cause: connection.cause,
            direction: connection.direction,
            start_window: connection.start_window_s.is_some(),
            acknowledged: connection.acknowledged.is_some(),
            deciding: deciding(connection),
        }
    }
}

/// The policies without which the verdict would be another.
fn deciding(connection: &Connection) -> Vec<PolicyKey> {
    let of = |side: &Side| -> Vec<PolicyKey> {
        match side.verdict {
            Decision::Denied => match &side.denied_by {
                Some(rule) => vec![rule.policy.key.clone()],
                None => {
                    let isolating = side.isolated_by.iter();
                    isolating.map(|policy| policy.key.clone()).collect()
                }
            },
            Decision::Allowed => side
                .allowed_by
                .iter()
                .map(|rule| rule.policy.key.clone())
                .collect(),
            Decision::Unknown => Vec::new(),
        }
    };
    let mut deciding = of(&connection.verdict.egress);
    deciding.extend(of(&connection.verdict.ingress));
    deciding
}

/// When attempts were, first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Moment,
    pub(crate) last: Moment,
}

impl Span {
    pub(crate) fn at(moment: Moment) -> Self {
        Self {
            first: moment,
            last: moment,
        }
    }

    pub(crate) fn join(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

/// What is to be written of a kind.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) connection: Arc<Connection>,
    pub(crate) count: u64,
    pub(crate) span: Span,
}

#[derive(Debug)]
struct Folded {
    connection: Arc<Connection>,
    count: u64,
    span: Span,
    said: BackOff,
    /// When what it rests on was last read afresh.
    confirmed: Option<Moment>,
}

/// What to do with a kind that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is written.
    Write,
    /// It is counted only.
    Skip,
    /// It is asked about again then.
    Later(Moment),
}

/// All kinds seen of late.
#[derive(Debug, Default)]
pub(crate) struct Aggregate {
    window_ns: u64,
    problems: BTreeMap<Kind, Folded>,
    others: BTreeMap<Kind, Folded>,
    /// Kinds with something to write.
    waiting: BTreeMap<(Moment, Kind), ()>,
    /// What was not written yet of kinds that had to make room.
    left: Vec<Due>,
    lost: u64,
}

impl Aggregate {
    pub(crate) fn new(window_ns: u64) -> Self {
        Self {
            window_ns,
            problems: BTreeMap::new(),
            others: BTreeMap::new(),
            waiting: BTreeMap::new(),
            left: Vec::new(),
            lost: 0,
        }
    }

    /// Counts attempts of a kind; the latest exemplar stands for it.
    pub(crate) fn add(&mut self, kind: &Kind, connection: Arc<Connection>, count: u64, span: Span) {
        let kinds = kinds_like(kind, &mut self.problems, &mut self.others);
        if let Some(folded) = kinds.get_mut(kind) {
            folded.connection = connection;
            Self::count(&mut self.waiting, self.window_ns, kind, folded, count, span);
            return;
        }
        if kinds.len() >= MOST_KINDS {
            let gone = take_idle(kinds);
            self.waiting
                .retain(|(_, kind), ()| !gone.contains_key(kind));
            self.leave(gone);
        }
        self.waiting.insert((Moment(0), kind.clone()), ());
        kinds_like(kind, &mut self.problems, &mut self.others).insert(
            kind.clone(),
            Folded {
                connection,
                count,
                span,
                said: BackOff::default(),
                confirmed: None,
            },
        );
    }

    /// What a kind rests on was read afresh.
    pub(crate) fn confirm(&mut self, kind: &Kind, now: Moment) {
        if let Some(folded) = self.problems.get_mut(kind) {
            folded.confirmed = Some(now);
        }
    }

    /// When what a kind rests on was last read afresh.
    pub(crate) fn confirmed(&self, kind: &Kind) -> Option<Moment> {
        self.problems.get(kind)?.confirmed
    }

    /// What is forgotten is written nevertheless, as far as there is room until then.
    fn leave(&mut self, gone: BTreeMap<Kind, Folded>) {
        for folded in gone.into_values().filter(|folded| folded.count > 0) {
            if self.left.len() >= MOST_KINDS {
                self.lost += folded.count;
                continue;
            }
            self.left.push(Due {
                connection: folded.connection,
                count: folded.count,
                span: folded.span,
            });
        }
    }

    /// Counts more attempts of a kind; gives its connection for the metrics. Those of a kind that had to make
    /// room are lost: nobody knows any more what they were.
    pub(crate) fn more(&mut self, kind: &Kind, count: u64, span: Span) -> Option<Arc<Connection>> {
        let kinds = kinds_like(kind, &mut self.problems, &mut self.others);
        let Some(folded) = kinds.get_mut(kind) else {
            self.lost += count;
            return None;
        };
        Self::count(&mut self.waiting, self.window_ns, kind, folded, count, span);
        Some(Arc::clone(&folded.connection))
    }

    /// A kind's latest exemplar, for an attempt that was told of as this kind. That of a kind that had to make room
    /// is lost.
    pub(crate) fn connection(&mut self, kind: &Kind) -> Option<Arc<Connection>> {
        let kinds = kinds_like(kind, &mut self.problems, &mut self.others);
        let connection = kinds.get(kind).map(|folded| Arc::clone(&folded.connection));
        self.lost += u64::from(connection.is_none());
        connection
    }

    /// A kind's client got a late answer from the way.
    pub(crate) fn client_saw(&mut self, kind: &Kind, saw: ClientSaw) {
        let kinds = kinds_like(kind, &mut self.problems, &mut self.others);
        if let Some(folded) = kinds.get_mut(kind) {
            Arc::make_mut(&mut folded.connection).outcome.client_saw = saw;
        }
    }

    fn count(
        waiting: &mut BTreeMap<(Moment, Kind), ()>,
        window_ns: u64,
        kind: &Kind,
        folded: &mut Folded,
        count: u64,
        span: Span,
    ) {
        if folded.count == 0 {
            folded.span = span;
            waiting.insert((folded.said.due(window_ns), kind.clone()), ());
        }
        folded.count += count;
        folded.span = folded.span.join(span);
    }

    /// What is due now, or everything at the end, as far as `fate` wants it written.
    pub(crate) fn take_due(
        &mut self,
        now: Moment,
        everything: bool,
        fate: impl Fn(&Connection) -> Fate,
    ) -> Vec<Due> {
        let mut due = std::mem::take(&mut self.left);
        due.retain(|due| fate(&due.connection) != Fate::Skip);
        while let Some(((moment, kind), ())) = self.waiting.pop_first() {
            if moment > now && !everything {
                self.waiting.insert((moment, kind), ());
                break;
            }
            let kinds = kinds_like(&kind, &mut self.problems, &mut self.others);
            let Some(folded) = kinds.get_mut(&kind) else {
                continue;
            };
            let fate = fate(&folded.connection);
            if let Fate::Later(then) = fate
                && !everything
            {
                self.waiting.insert((then.max(now.plus(1)), kind), ());
                continue;
            }
            folded.said.say(now);
            let count = std::mem::take(&mut folded.count);
            if fate != Fate::Skip {
                due.push(Due {
                    connection: Arc::clone(&folded.connection),
                    count,
                    span: folded.span,
                });
            }
        }
        due
    }

    /// Forgets kinds that said nothing for long.
    pub(crate) fn forget(&mut self, now: Moment) {
        for kinds in [&mut self.problems, &mut self.others] {
            kinds.retain(|_, folded| folded.count > 0 || !folded.said.is_forgotten(now));
        }
    }

    /// Attempts that found no room since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

/// The kinds among which this one is held.
fn kinds_like<'a>(
    kind: &Kind,
    problems: &'a mut BTreeMap<Kind, Folded>,
    others: &'a mut BTreeMap<Kind, Folded>,
) -> &'a mut BTreeMap<Kind, Folded> {
    if is_problem(kind.assessment) {
        problems
    } else {
        others
    }
}

/// Takes out the kinds that were idle longest.
fn take_idle(kinds: &mut BTreeMap<Kind, Folded>) -> BTreeMap<Kind, Folded> {
    let mut order: Vec<(Moment, &Kind)> = kinds
        .iter()
        .map(|(kind, folded)| (folded.span.last, kind))
        .collect();
    let stays = ROOM.min(order.len().saturating_sub(1));
    let (_, (since, first), _) = order.select_nth_unstable(stays);
    let (since, first) = (*since, first.clone());
    kinds
        .extract_if(.., |kind, folded| {
            (folded.span.last, kind) < (since, &first)
        })
        .collect()
}
