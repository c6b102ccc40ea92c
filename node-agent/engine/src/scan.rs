//! Sources that try many targets: one record stands for all of a window.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::Moment;
use crate::aggregate::Span;
use crate::back_off::BackOff;
use crate::delays::Pair;
use crate::model::Protocol;
use crate::record::{Assessment, Connection, Endpoint};

/// More targets than these in a window are a scan.
const TARGETS: usize = 32;

/// So many pairs have records of their own whatever follows.
pub(crate) const TOLD_ALONE: usize = 20;

/// Most sources that are watched at a time.
const MOST_SOURCES: usize = 4_096;

/// Most targets that are told apart of one source.
const MOST_TARGETS: usize = 65_536;

/// Most of them in all.
const MOST_IN_ALL: usize = 262_144;

/// What to do with a pair's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// It is written.
    Alone,
    /// Another record stands for it.
    Folded,
    /// It is not known before then.
    Later(Moment),
}

/// What became of a window.
pub(crate) struct Scanned {
    pub(crate) source: Endpoint,
    pub(crate) targets: u64,
    pub(crate) addresses: u64,
    pub(crate) ports: u64,
    pub(crate) attempts: u64,
    pub(crate) assessments: BTreeMap<Assessment, u64>,
    pub(crate) span: Span,
}

type Target = (IpAddr, u16, Protocol);

#[derive(Debug)]
struct Source {
    exemplar: Endpoint,
    /// In the order in which they came.
    targets: BTreeMap<Target, usize>,
    assessments: BTreeMap<Assessment, u64>,
    span: Span,
    ends: Moment,
    /// It scanned in the window before.
    goes_on: bool,
    said: BackOff,
}

impl Source {
    fn is_scan(&self) -> bool {
        self.goes_on || self.targets.len() > TARGETS
    }
}

/// All sources that lately tried what did not answer as policy allows.
#[derive(Debug, Default)]
pub(crate) struct Scans {
    sources: BTreeMap<IpAddr, Source>,
    targets: usize,
}

impl Scans {
    /// Takes in attempts at a target. One that answered as policy allows is what everybody does.
    pub(crate) fn note(
        &mut self,
        now: Moment,
        window_ns: u64,
        pair: Pair,
        connection: &Connection,
        count: u64,
    ) {
        if connection.assessment == Assessment::Allowed {
            return;
        }
        let (ip, destination, port, protocol) = pair;
        if !self.sources.contains_key(&ip) && self.sources.len() >= MOST_SOURCES {
            return;
        }
        let source = self.sources.entry(ip).or_insert_with(|| Source {
            exemplar: connection.source.clone(),
            targets: BTreeMap::new(),
            assessments: BTreeMap::new(),
            span: Span::at(now),
            ends: now.plus(window_ns),
            goes_on: false,
            said: BackOff::default(),
        });
        if source.assessments.is_empty() {
            source.span = Span::at(now);
        }
        source.span = source.span.join(Span::at(now));
        if count > 0 {
            *source.assessments.entry(connection.assessment).or_default() += count;
        }
        let target = (destination, port, protocol);
        let rank = source.targets.len();
        if rank < MOST_TARGETS
            && self.targets < MOST_IN_ALL
            && !source.targets.contains_key(&target)
        {
            source.targets.insert(target, rank);
            self.targets += 1;
        }
    }

    /// What to do with a pair's record.
    pub(crate) fn fold(&self, pair: &Pair) -> Fold {
        let (ip, destination, port, protocol) = *pair;
        let Some(source) = self.sources.get(&ip) else {
            return Fold::Alone;
        };
        let rank = source.targets.get(&(destination, port, protocol));
        let is_early = rank.is_some_and(|rank| *rank < TOLD_ALONE) && !source.goes_on;
        if is_early || source.targets.len() <= TOLD_ALONE && !source.goes_on {
            Fold::Alone
        } else if source.is_scan() {
            Fold::Folded
        } else {
            Fold::Later(source.ends)
        }
    }

    /// The scans whose window is over, or all at the end.
    pub(crate) fn take_due(
        &mut self,
        now: Moment,
        window_ns: u64,
        everything: bool,
    ) -> Vec<Scanned> {
        let mut scans = Vec::new();
        let mut left = 0;
        self.sources.retain(|_, source| {
            if source.ends > now && !everything {
                left += source.targets.len();
                return true;
            }
            if !source.is_scan() || source.assessments.is_empty() {
                return false;
            }
            scans.push(source.close());
            source.said.say(now);
            source.ends = source.said.due(window_ns);
            source.goes_on = true;
            true
        });
        self.targets = left;
        scans
    }
}

impl Source {
    fn close(&mut self) -> Scanned {
        let targets = std::mem::take(&mut self.targets);
        let assessments = std::mem::take(&mut self.assessments);
        let distinct = |count: usize| count as u64;
        let addresses: BTreeSet<_> = targets.keys().map(|(ip, _, _)| ip).collect();
        let ports: BTreeSet<_> = targets.keys().map(|(_, port, _)| port).collect();
        Scanned {
            source: self.exemplar.clone(),
            addresses: distinct(addresses.len()),
            ports: distinct(ports.len()),
            targets: distinct(targets.len()),
            attempts: assessments.values().sum(),
            assessments,
            span: self.span,
        }
    }
}
