//! What was delivered of one kind, and how its watch is doing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use node_agent_engine::k8s::{self, Sent};
use node_agent_engine::model::{Delta, ObjectKey, PolicyKey};

use super::News;
use super::kinds::{Kind, Presence, Role};
use super::notice::Notice;
use super::problem::{Concerns, Problem};
use super::strings::Strings;
use super::version::Version;

/// How often a kind that may be read a moment later is tried before it counts as one that cannot be read.
const TRIES: u32 = 3;
/// How often in a row a kind is forbidden before that is believed: a server that has just begun knows no roles for about a
/// second, and between so many tries there are at least 1.75 s.
const REFUSALS: u32 = 4;

/// One kind.
pub(super) struct State {
    pub(super) kind: &'static Kind,
    /// In which version the server has it.
    pub(super) version: Arc<str>,
    pub(super) phase: Phase,
    pub(super) knowledge: Knowledge,
    /// Number of the list that is told or was told last.
    pub(super) list: u32,
    pub(super) objects: BTreeMap<ObjectKey, Known>,
    pub(super) trouble: Option<Trouble>,
    /// How often the watch broke.
    pub(super) errors: u64,
    /// How often in a row it could not be listed for what is the kind's own trouble.
    failed: u32,
    /// How often in a row it was forbidden.
    refused: u32,
    /// Some have a further address, of IPv4 and of IPv6.
    has_further: (bool, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is told now.
    Unheard,
    Listing,
    Following,
    Absent,
}

/// What is known of all objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// Nothing yet.
    None,
    /// They are there and cannot be read. A policy that may apply to everything was delivered in their place.
    Unread,
    /// They were listed once, or the kind is not installed.
    Listed,
}

/// Why a watch is broken.
pub(super) struct Trouble {
    pub(super) problem: Problem,
    pub(super) told: Told,
}

/// As what a trouble was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// As the kind's own.
    Alone,
    /// As the whole server's.
    Together,
    /// Not yet: it may pass.
    NotYet,
}

/// What is kept of an object.
pub(super) struct Known {
    pub(super) version: Version,
    /// The list that told it last.
    pub(super) list: u32,
}

impl State {
    /// Nothing is known yet.
    pub(super) fn new(kind: &'static Kind) -> Self {
        Self {
            kind,
            version: kind.version.into(),
            phase: Phase::Unheard,
            knowledge: Knowledge::None,
            list: 0,
            objects: BTreeMap::new(),
            trouble: None,
            errors: 0,
            failed: 0,
            refused: 0,
            has_further: (false, false),
        }
    }

    /// Whether what is wrong is not the whole server's matter.
    pub(super) fn is_alone_with(&self, problem: &Problem) -> bool {
        match problem.concerns() {
            Concerns::Server => false,
            Concerns::Answerer => self.kind.presence == Presence::Installed,
            Concerns::Kind => true,
        }
    }

    /// Policies that are there and were never read may say anything of everybody. What was read stays. A server that has
    /// just begun does not give every kind at once: before the first picture, when nothing is claimed, a kind is tried again.
    pub(super) fn broken(&mut self, problem: &Problem, news: &mut News) {
        self.errors += 1;
        self.refused = match problem.is_forbidden() {
            true => self.refused + 1,
            false => 0,
        };
        let is_own =
            self.kind.presence == Presence::Installed && problem.concerns() != Concerns::Server;
        self.failed += u32::from(is_own);
        let is_unread = match (self.knowledge, self.phase) {
            (Knowledge::None, _) => is_own && !self.may_pass(problem),
            (Knowledge::Listed, Phase::Absent) => is_own,
            (Knowledge::Unread | Knowledge::Listed, _) => false,
        };
        if is_unread {
            self.knowledge = Knowledge::Unread;
            news.deltas.push(self.delta_unread(everything()));
        }
        self.phase = Phase::Unheard;
    }

    /// Whether it may be read a moment later: one that is forbidden, or of which nothing is known yet.
    pub(super) fn may_pass(&self, problem: &Problem) -> bool {
        if problem.is_forbidden() {
            return self.refused < REFUSALS;
        }
        self.knowledge == Knowledge::None && self.failed < TRIES && problem.may_pass()
    }

    /// It is told now.
    pub(super) fn is_told(&mut self, phase: Phase) {
        self.phase = phase;
        self.refused = 0;
    }

    pub(super) fn told(&self, problem: &Problem) -> Notice {
        let rule = problem.is_forbidden().then(|| self.kind.rule_in_a_line());
        let (kind, problem) = (self.kind.resource(), problem.to_string());
        match self.knowledge {
            Knowledge::Unread => Notice::Unlisted {
                kind,
                problem,
                remedy: match rule {
                    Some(rule) => format!("add to the ClusterRole: {rule}"),
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

    pub(super) fn stuck(&self) -> Option<(&'static Kind, &Problem)> {
        let Trouble { problem, told } = self.trouble.as_ref()?;
        let is_lasting = problem.is_lasting() && *told != Told::NotYet;
        let does_wait = self.knowledge == Knowledge::Unread || is_lasting;
        does_wait.then_some((self.kind, problem))
    }

    pub(super) fn there(&mut self, sent: Sent, strings: &mut Strings, news: &mut News) {
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

    fn note_further(&mut self, delta: &Delta) {
        if let Delta::Pod(pod) = delta {
            for ip in pod.ips.iter().skip(1) {
                self.has_further.0 |= ip.is_ipv4();
                self.has_further.1 |= ip.is_ipv6();
            }
        }
    }

    /// Whether some have such an address beside their first.
    pub(super) fn has_further(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(_) => self.has_further.0,
            IpAddr::V6(_) => self.has_further.1,
        }
    }

    pub(super) fn gone(&mut self, key: &ObjectKey, news: &mut News) {
        if self.objects.remove(key).is_some() {
            news.deltas.push(self.delta_gone(key.clone()));
        }
    }

    fn delta_gone(&self, key: ObjectKey) -> Delta {
        (self.kind.gone)(self.kind.kind, key)
    }

    pub(super) fn served(&mut self, version: Arc<str>, news: &mut News) {
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
    pub(super) fn set_back(&mut self) {
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

    pub(super) fn listed(&mut self, news: &mut News) {
        self.failed = 0;
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

/// What stands for all policies of a kind.
fn everything() -> ObjectKey {
    ObjectKey {
        namespace: "".into(),
        name: PolicyKey::ALL.into(),
    }
}
