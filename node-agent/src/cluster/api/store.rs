//! What was delivered of each kind: enough to tell what a new list says from what was known, and no more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use node_agent_engine::k8s::{self, Sent};
use node_agent_engine::model::{Delta, ObjectKey};

use super::kinds::{KINDS, Kind, Presence, Role};
use super::notice::Notice;
use super::problem::{Concerns, Problem};
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
    /// In which version the server has it.
    version: Arc<str>,
    phase: Phase,
    knowledge: Knowledge,
    /// Number of the list that is told or was told last.
    list: u32,
    objects: BTreeMap<ObjectKey, Known>,
    trouble: Option<Trouble>,
    /// How often the watch broke.
    errors: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is told now.
    Unheard,
    Listing,
    Following,
    Absent,
}

/// What is known of all objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// Nothing yet.
    None,
    /// They are there and cannot be read. A policy that may apply to everything was delivered in their place.
    Unread,
    /// They were listed once, or the kind is not installed.
    Listed,
}

/// Why a watch is broken.
struct Trouble {
    problem: Problem,
    /// It is this kind's alone, and was told as such.
    is_own: bool,
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
            version: kind.version.into(),
            phase: Phase::Unheard,
            knowledge: Knowledge::None,
            list: 0,
            objects: BTreeMap::new(),
            trouble: None,
            errors: 0,
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
        state.phase = phase;
        let kind = state.kind;
        let Some(trouble) = state.trouble.take() else {
            return;
        };
        if trouble.is_own {
            let kind = kind.resource();
            news.notices.push(Notice::Mended { kind });
        } else if !self.has_trouble_like(&trouble.problem) {
            news.notices.push(Notice::Back);
        }
    }

    /// What is wrong with the server is said once, and not for each kind or each try.
    fn broken(&mut self, kind: usize, problem: Problem, news: &mut News) {
        news.broken = true;
        let is_new = !self.has_trouble_like(&problem);
        let Some(state) = self.kinds.get_mut(kind) else {
            return;
        };
        let is_own = state.is_alone_with(&problem);
        let before = state.trouble.as_ref();
        let was_told = before.is_some_and(|trouble| trouble.problem.is_like(&problem));
        state.broken(&problem, news);
        if is_own && !was_told {
            news.notices.push(state.told(&problem));
        } else if !is_own && is_new {
            let problem = problem.to_string();
            news.notices.push(Notice::Away { problem });
        }
        state.trouble = Some(Trouble { problem, is_own });
    }

    fn has_trouble_like(&self, problem: &Problem) -> bool {
        let mut troubles = self.kinds.iter().filter_map(|state| state.trouble.as_ref());
        troubles.any(|trouble| !trouble.is_own && trouble.problem.is_like(problem))
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
    /// Whether what is wrong is not the whole server's matter.
    fn is_alone_with(&self, problem: &Problem) -> bool {
        match problem.concerns() {
            Concerns::Server => false,
            Concerns::Answerer => self.kind.presence == Presence::Installed,
            Concerns::Kind => true,
        }
    }

    /// Policies that are there and were never read may say anything of everybody. What was read stays.
    fn broken(&mut self, problem: &Problem, news: &mut News) {
        self.errors += 1;
        let is_unread = match (self.knowledge, self.phase) {
            (Knowledge::None, _) | (Knowledge::Listed, Phase::Absent) => {
                self.kind.presence == Presence::Installed && problem.concerns() != Concerns::Server
            }
            (Knowledge::Unread | Knowledge::Listed, _) => false,
        };
        if is_unread {
            self.knowledge = Knowledge::Unread;
            news.deltas.push(self.delta_unread(everything()));
        }
        self.phase = Phase::Unheard;
    }

    fn told(&self, problem: &Problem) -> Notice {
        let rule = (*problem == Problem::Forbidden).then(|| self.kind.rule());
        let (kind, problem) = (self.kind.resource(), problem.to_string());
        match self.knowledge {
            Knowledge::Unread => Notice::Unlisted {
                kind,
                problem,
                remedy: match rule {
                    Some(rule) => format!("add to the ClusterRole:\n{rule}"),
                    None => self.kind.remedy(&self.version),
                },
            },
            Knowledge::None | Knowledge::Listed => Notice::Broken {
                kind,
                problem,
                rule,
            },
        }
    }

    fn stuck(&self) -> Option<(&'static Kind, &Problem)> {
        let Trouble { problem, is_own: _ } = self.trouble.as_ref()?;
        let does_wait = self.knowledge == Knowledge::Unread || problem.is_lasting();
        does_wait.then_some((self.kind, problem))
    }

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
                news.deltas.push(delta);
            }
            Ok(None) => {}
            Err(rejections) => {
                // What it said before no longer holds; a policy says something, and nobody knows what.
                news.deltas.push(self.delta_unread(key));
                let unread = rejections.into_iter().map(|rejection| Notice::Unread {
                    rejection,
                    is_policy: self.kind.role == Role::Policy,
                });
                news.notices.extend(unread);
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

    fn served(&mut self, version: Arc<str>, news: &mut News) {
        if version == self.version {
            return;
        }
        self.version = version;
        // What is evaluated in one version is not in another.
        self.set_back();
        if self.kind.is_evaluated() && *self.version != *self.kind.version {
            news.notices.push(Notice::OtherVersion {
                kind: self.kind.resource(),
                version: Arc::clone(&self.version),
                wanted: self.kind.version,
            });
        }
    }

    /// An object may have the same version again and say something else.
    fn set_back(&mut self) {
        for known in self.objects.values_mut() {
            known.version = Version::from("");
        }
    }

    /// In place of a policy of which only the name is known; anything else that cannot be read is gone.
    fn delta_unread(&self, key: ObjectKey) -> Delta {
        match self.delta_gone(key) {
            Delta::PolicyGone(key) => Delta::Policy(k8s::unread_policy(key)),
            gone => gone,
        }
    }

    fn listed(&mut self, news: &mut News) {
        if self.knowledge == Knowledge::Unread {
            news.deltas.push(self.delta_gone(everything()));
        }
        self.knowledge = Knowledge::Listed;
        let list = self.list;
        let gone: Vec<_> = self
            .objects
            .extract_if(.., |_, known| known.list != list)
            .map(|(key, _)| key)
            .collect();
        news.deltas
            .extend(gone.into_iter().map(|key| self.delta_gone(key)));
    }
}

/// What stands for all policies of a kind: no object has such a name.
fn everything() -> ObjectKey {
    ObjectKey {
        namespace: "".into(),
        name: "*".into(),
    }
}
