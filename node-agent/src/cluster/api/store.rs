//! What was delivered of each kind: enough to tell what a new list says from what was known, and no more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use node_agent_engine::k8s::Sent;
use node_agent_engine::model::{Delta, ObjectKey};

use super::kinds::{KINDS, Kind};
use super::notice::Notice;
use super::problem::Problem;
use super::strings::Strings;
use super::version::Version;
use super::watch::{Said, What};
use super::{News, Watched};

/// Everything that was delivered.
pub(super) struct Store {
    kinds: Vec<State>,
    strings: Strings,
    is_synced: bool,
}

/// One kind.
struct State {
    kind: &'static Kind,
    phase: Phase,
    /// It was listed once, or is not installed.
    is_known: bool,
    /// Number of the list that is told or was told last.
    list: u32,
    objects: BTreeMap<ObjectKey, Known>,
    problem: Option<Problem>,
    /// How often the watch broke.
    errors: u64,
    /// Some have a further address, of IPv4 and of IPv6.
    has_further: (bool, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is told now.
    Unheard,
    Listing,
    Following,
    Absent,
}

/// What is kept of an object.
struct Known {
    version: Version,
    /// The list that told it last.
    list: u32,
}

impl Store {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        let kinds = KINDS.iter().map(|kind| State {
            kind,
            phase: Phase::Unheard,
            is_known: false,
            list: 0,
            objects: BTreeMap::new(),
            problem: None,
            errors: 0,
            has_further: (false, false),
        });
        Self {
            kinds: kinds.collect(),
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
            What::Listing => {
                state.phase = Phase::Listing;
                state.list += 1;
            }
            What::There(sent) => state.there(*sent, &mut self.strings, news),
            What::Gone(sent) => state.gone(&sent.key, news),
            What::Listed => state.listed(news),
            What::Following => self.mend(said.kind, Phase::Following, news),
            What::Absent => {
                state.list += 1;
                state.listed(news);
                self.mend(said.kind, Phase::Absent, news);
            }
            What::Broken(problem) => self.broken(said.kind, problem, news),
        }
        if !self.is_synced && self.kinds.iter().all(|state| state.is_known) {
            self.is_synced = true;
            news.synced = true;
        }
    }

    fn mend(&mut self, kind: usize, phase: Phase, news: &mut News) {
        let Some(state) = self.kinds.get_mut(kind) else {
            return;
        };
        state.phase = phase;
        let plural = state.kind.plural;
        let Some(problem) = state.problem.take() else {
            return;
        };
        if problem.is_of_one_kind() {
            news.notices.push(Notice::Mended { kind: plural });
        } else if !self.has_problem_like(&problem) {
            news.notices.push(Notice::Back);
        }
    }

    /// What is wrong with the server is said once, and not for each kind or each try.
    fn broken(&mut self, kind: usize, problem: Problem, news: &mut News) {
        news.broken = true;
        let is_new = !self.has_problem_like(&problem);
        let Some(state) = self.kinds.get_mut(kind) else {
            return;
        };
        state.phase = Phase::Unheard;
        state.errors += 1;
        let was_told = state.problem.as_ref() == Some(&problem);
        if problem.is_of_one_kind() && !was_told {
            news.notices.push(Notice::Broken {
                kind: state.kind.plural,
                problem: problem.to_string(),
                rule: (problem == Problem::Forbidden).then(|| state.kind.rule()),
            });
        } else if !problem.is_of_one_kind() && is_new {
            let problem = problem.to_string();
            news.notices.push(Notice::Away { problem });
        }
        state.problem = Some(problem);
    }

    fn has_problem_like(&self, problem: &Problem) -> bool {
        let alike =
            |other: &Problem| std::mem::discriminant(other) == std::mem::discriminant(problem);
        self.kinds
            .iter()
            .any(|state| state.problem.as_ref().is_some_and(alike))
    }

    /// How the watches are doing.
    pub(super) fn watches(&self) -> BTreeMap<&'static str, Watched> {
        let mut watches = BTreeMap::new();
        for state in &self.kinds {
            let watched = watches.entry(state.kind.label()).or_insert(Watched {
                is_known: true,
                errors: 0,
            });
            watched.is_known &= state.is_known;
            watched.errors += state.errors;
        }
        watches
    }

    /// Whether all changes are told now.
    pub(super) fn is_current(&self) -> bool {
        let told = |state: &State| matches!(state.phase, Phase::Following | Phase::Absent);
        self.is_synced && self.kinds.iter().all(told)
    }

    /// What keeps the first picture from being complete, when waiting does not help.
    pub(super) fn stuck(&self) -> Option<Vec<(&'static Kind, &Problem)>> {
        let waits = |state: &&State| !state.is_known;
        let stuck: Option<Vec<_>> = self
            .kinds
            .iter()
            .filter(waits)
            .map(|state| {
                let problem = state
                    .problem
                    .as_ref()
                    .filter(|problem| problem.is_lasting())?;
                Some((state.kind, problem))
            })
            .collect();
        stuck.filter(|stuck| !self.is_synced && !stuck.is_empty())
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

    /// Everything of a kind, as delivered.
    pub(super) fn all_versions(&self, kind: usize) -> impl Iterator<Item = (&ObjectKey, &Version)> {
        let objects = self.kinds.get(kind).map(|state| &state.objects);
        let objects = objects.into_iter().flatten();
        objects.map(|(key, known)| (key, &known.version))
    }

    /// Whether some of a kind have such an address beside their first.
    pub(super) fn has_further(&self, kind: usize, ip: IpAddr) -> bool {
        let state = self.kinds.get(kind);
        state.is_some_and(|state| match ip {
            IpAddr::V4(_) => state.has_further.0,
            IpAddr::V6(_) => state.has_further.1,
        })
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

impl State {
    fn there(&mut self, sent: Sent, strings: &mut Strings, news: &mut News) {
        let Sent {
            key,
            version,
            decoded,
        } = sent;
        let (list, version) = (self.list, Version::from(&*version));
        let mut shared = key.clone();
        strings.share_key(&mut shared);
        match self.objects.entry(shared) {
            Entry::Occupied(known) => {
                let known = known.into_mut();
                known.list = list;
                // A list tells again what is known.
                if known.version == version {
                    return;
                }
                known.version = version;
            }
            Entry::Vacant(free) => {
                free.insert(Known { version, list });
            }
        }
        match decoded {
            Ok(Some(mut delta)) => {
                strings.share(&mut delta);
                self.note_further(&delta);
                news.deltas.push(delta);
            }
            Ok(None) => {}
            Err(rejections) => {
                // What it said before no longer holds.
                news.deltas.push((self.kind.gone)(self.kind.kind, key));
                let unread = rejections.into_iter().map(Notice::Unread);
                news.notices.extend(unread);
            }
        }
    }

    fn note_further(&mut self, delta: &Delta) {
        if let Delta::Pod(pod) = delta {
            for ip in pod.ips.iter().skip(1) {
                self.has_further.0 |= ip.is_ipv4();
                self.has_further.1 |= ip.is_ipv6();
            }
        }
    }

    fn gone(&mut self, key: &ObjectKey, news: &mut News) {
        if self.objects.remove(key).is_some() {
            news.deltas.push(self.delta_gone(key.clone()));
        }
    }

    fn delta_gone(&self, key: ObjectKey) -> Delta {
        (self.kind.gone)(self.kind.kind, key)
    }

    fn listed(&mut self, news: &mut News) {
        let list = self.list;
        let gone: Vec<_> = self
            .objects
            .extract_if(.., |_, known| known.list != list)
            .map(|(key, _)| key)
            .collect();
        news.deltas
            .extend(gone.into_iter().map(|key| self.delta_gone(key)));
        self.is_known = true;
    }
}
