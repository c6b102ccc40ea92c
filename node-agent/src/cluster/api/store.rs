//! What was delivered of each kind: enough to tell what a new list says from what was known, and no more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use node_agent_engine::model::ObjectKey;

use super::kinds::{KINDS, Kind, Presence};
use super::notice::Notice;
use super::problem::{Concerns, Problem};
use super::said::{Said, What};
use super::state::{Knowledge, Phase, State, Told, Trouble};
use super::strings::Strings;
use super::version::Version;
use super::{News, Watched};

/// Everything that was delivered.
pub(super) struct Store {
    kinds: Vec<State>,
    strings: Strings,
    is_synced: bool,
}

impl Store {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            kinds: KINDS.iter().map(State::new).collect(),
            strings: Strings::default(),
            is_synced: false,
        }
    }

    /// Takes in what a watch said.
    pub(super) fn take(&mut self, said: Said, news: &mut News) {
        let Some(state) = self.kinds.get_mut(said.kind) else {
            return;
        };
        match said.what {
            What::Served(version) => state.served(version, news),
            What::Listing => {
                state.phase = Phase::Listing;
                state.list += 1;
            }
            What::There(sent) => state.there(*sent, &mut self.strings, news),
            What::Gone(sent) => state.gone(&sent.key, news),
            What::Listed => state.listed(news),
            What::SetBack => state.set_back(),
            What::Following => self.mend(said.kind, Phase::Following, news),
            What::Absent => {
                state.list += 1;
                state.listed(news);
                self.mend(said.kind, Phase::Absent, news);
            }
            What::Broken(problem) => self.broken(said.kind, problem, news),
        }
        let is_settled = |state: &State| state.knowledge != Knowledge::None;
        if !self.is_synced && self.kinds.iter().all(is_settled) {
            self.is_synced = true;
            news.synced = true;
        }
    }

    fn mend(&mut self, kind: usize, phase: Phase, news: &mut News) {
        let Some(state) = self.kinds.get_mut(kind) else {
            return;
        };
        state.is_told(phase);
        let kind = state.kind;
        let Some(trouble) = state.trouble.take() else {
            return;
        };
        match trouble.told {
            Told::Alone => {
                let kind = kind.resource();
                news.notices.push(Notice::Mended { kind });
            }
            Told::Together if !self.has_trouble(|_| true) => news.notices.push(Notice::Back),
            Told::Together | Told::NotYet => {}
        }
    }

    /// What is wrong with the server is said once, and not for each kind or each try.
    fn broken(&mut self, kind: usize, problem: Problem, news: &mut News) {
        news.broken = true;
        let is_new = !self.has_trouble(|other| other.is_like(&problem));
        let Some(state) = self.kinds.get_mut(kind) else {
            return;
        };
        let is_own = state.is_alone_with(&problem);
        let was_told = state.trouble.as_ref().is_some_and(|trouble| {
            trouble.told != Told::NotYet && trouble.problem.is_like(&problem)
        });
        state.broken(&problem, news);
        let told = match is_own {
            true if state.may_pass(&problem) => Told::NotYet,
            true => Told::Alone,
            false => Told::Together,
        };
        match told {
            Told::Alone if !was_told => news.notices.push(state.told(&problem)),
            Told::Together if is_new => {
                let problem = problem.to_string();
                news.notices.push(Notice::Away { problem });
            }
            Told::Alone | Told::Together | Told::NotYet => {}
        }
        state.trouble = Some(Trouble { problem, told });
    }

    /// Whether something is wrong with the server.
    fn has_trouble(&self, which: impl Fn(&Problem) -> bool) -> bool {
        let mut troubles = self.kinds.iter().filter_map(|state| state.trouble.as_ref());
        troubles.any(|trouble| trouble.told == Told::Together && which(&trouble.problem))
    }

    /// How the watches are doing.
    pub(super) fn watches(&self) -> BTreeMap<&'static str, Watched> {
        let mut watches = BTreeMap::new();
        for state in &self.kinds {
            let watched = watches.entry(state.kind.label()).or_insert(Watched {
                is_known: true,
                errors: 0,
            });
            watched.is_known &= state.knowledge == Knowledge::Listed;
            watched.errors += state.errors;
        }
        watches
    }

    /// Whether all changes are told now, of what was ever known.
    pub(super) fn is_current(&self) -> bool {
        let is_told = |state: &State| match (state.knowledge, state.phase) {
            (Knowledge::Unread, _) => true,
            (Knowledge::None | Knowledge::Listed, Phase::Following | Phase::Absent) => true,
            (Knowledge::None | Knowledge::Listed, Phase::Unheard | Phase::Listing) => false,
        };
        self.is_synced && self.kinds.iter().all(is_told)
    }

    /// What keeps the first picture from being complete, when waiting does not help. Kinds that are installed do not
    /// keep it, but are told with those that do.
    pub(super) fn stuck(&self) -> Option<Vec<(&'static Kind, &Problem)>> {
        if self.is_synced {
            return None;
        }
        if let Some(away) = self.away() {
            return Some(away);
        }
        let unlisted = |state: &&State| state.knowledge != Knowledge::Listed;
        let stuck: Option<Vec<_>> = self
            .kinds
            .iter()
            .filter(unlisted)
            .map(|state| state.stuck())
            .collect();
        let is_needed = |(kind, _): &(&Kind, _)| kind.presence == Presence::Always;
        stuck.filter(|stuck| stuck.iter().any(is_needed))
    }

    /// The kinds that every server has, when the server itself is what keeps all of them: nothing can be said of others.
    fn away(&self) -> Option<Vec<(&'static Kind, &Problem)>> {
        let needed = self.kinds.iter().filter(|state| {
            state.kind.presence == Presence::Always && state.knowledge != Knowledge::Listed
        });
        let away: Option<Vec<_>> = needed
            .map(|state| {
                let stuck = state.stuck();
                stuck.filter(|(_, problem)| problem.concerns() == Concerns::Server)
            })
            .collect();
        away.filter(|away| !away.is_empty())
    }

    /// The version of an object as delivered.
    pub(super) fn version(&self, kind: usize, key: &ObjectKey) -> Option<&Version> {
        let known = self.kinds.get(kind)?.objects.get(key)?;
        Some(&known.version)
    }

    /// The objects of a kind in a namespace, as delivered.
    pub(super) fn versions_in(
        &self,
        kind: usize,
        namespace: &str,
    ) -> impl Iterator<Item = (&ObjectKey, &Version)> {
        let from = ObjectKey {
            namespace: namespace.into(),
            name: "".into(),
        };
        let objects = self.kinds.get(kind).map(|state| &state.objects);
        objects
            .into_iter()
            .flat_map(move |objects| objects.range(from.clone()..))
            .take_while(move |(key, _)| &*key.namespace == namespace)
            .map(|(key, known)| (key, &known.version))
    }

    /// In which version a kind is there.
    pub(super) fn served(&self, kind: usize) -> Option<&Arc<str>> {
        let state = self.kinds.get(kind)?;
        (state.phase != Phase::Absent).then_some(&state.version)
    }

    /// Everything of a kind, as delivered.
    pub(super) fn all_versions(&self, kind: usize) -> impl Iterator<Item = (&ObjectKey, &Version)> {
        let objects = self.kinds.get(kind).map(|state| &state.objects);
        let objects = objects.into_iter().flatten();
        objects.map(|(key, known)| (key, &known.version))
    }

    /// Whether some of a kind have such an address beside their first.
    pub(super) fn has_further(&self, kind: usize, ip: IpAddr) -> bool {
        self.kinds
            .get(kind)
            .is_some_and(|state| state.has_further(ip))
    }

    /// Whether a kind is there.
    pub(super) fn has(&self, kind: usize) -> bool {
        let state = self.kinds.get(kind);
        state.is_some_and(|state| state.phase != Phase::Absent)
    }

    /// How many objects are known.
    pub(super) fn len(&self) -> usize {
        self.kinds.iter().map(|state| state.objects.len()).sum()
    }
}
