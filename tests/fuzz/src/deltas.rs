//! Sequences of changes against the engine: after each of them its answers are those of the naive evaluator,
//! and at the end those of an engine that was built afresh from what is left.

#![expect(clippy::panic, reason = "a difference ends the run")]

mod past;

use naive::made::{self, Step};
use naive::{Dataplane, Name, Names, Objects, Question, Says};
use node_agent_engine::k8s::{Decode, Validation, decode};
use node_agent_engine::model::{Delta, ObjectKey, PolicyKey, Protocol};
use node_agent_engine::verdict::{Decision, Verdict};
use node_agent_engine::{Between, Brief, Cluster, Connection, Kept, Moment, Profile};
use serde_json::Value;

const SECOND_NS: u64 = 1_000_000_000;

/// Long enough for everybody to forget how it came about.
const LONG_NS: u64 = 3_600 * SECOND_NS;

/// How many of the latest questions are asked again after each change.
const MOST_AGAIN: usize = 8;

/// The past is asked with one question in so many: it costs most.
const PAST_EVERY: usize = 4;

/// Runs the sequence that these bytes stand for.
///
/// # Panics
///
/// When an answer differs.
pub fn run(bytes: &[u8]) {
    let mut lived = Lived::default();
    lived.remember();
    let mut asked = Vec::new();
    for step in made::steps(bytes) {
        match step {
            Step::Set(object) => {
                lived.set(object);
                lived.check_briefs(&asked);
            }
            Step::Gone(name) => {
                lived.remove(&name);
                lived.check_briefs(&asked);
            }
            Step::Names(names) => {
                lived.set_names(names);
                lived.check_briefs(&asked);
            }
            Step::Ask(question) => {
                lived.check(&question);
                lived.check_brief(&question);
                if asked.len().is_multiple_of(PAST_EVERY) {
                    past::check(&lived, &question);
                }
                asked.push(question);
            }
        }
    }
    lived.check_against_fresh(&asked);
}

#[derive(Default)]
struct Lived {
    cluster: Cluster,
    objects: Objects,
    now: Moment,
    /// Every state since the past is kept, and when it began.
    states: Vec<(Moment, Objects)>,
}

impl Lived {
    fn set(&mut self, object: Value) {
        self.advance();
        apply(&mut self.cluster, &object, self.now);
        self.objects.set(object);
        self.states.push((self.now, self.objects.clone()));
    }

    fn remove(&mut self, name: &Name) {
        self.advance();
        self.cluster.apply(&gone(name), self.now);
        self.objects.remove(name);
        self.states.push((self.now, self.objects.clone()));
    }

    /// Some changes come at the same moment.
    fn advance(&mut self) {
        if !self.states.len().is_multiple_of(3) {
            self.now = self.now.plus(SECOND_NS);
        }
    }

    /// Begins to keep the past.
    fn remember(&mut self) {
        self.cluster.keep_past(self.now, Kept::default());
        self.states = vec![(self.now, self.objects.clone())];
    }

    fn set_names(&mut self, names: Names) {
        self.cluster.set_names(names.clone().into_iter().collect());
        self.objects.set_names(names);
        // What DNS answered before is not kept.
        self.remember();
    }

    fn check(&self, question: &Question) {
        let verdict = ask(&self.cluster, question, self.now);
        let answer = self.objects.answer(question);
        let said = (
            says(verdict.verdict),
            says(verdict.egress.verdict),
            says(verdict.ingress.verdict),
        );
        let expected = (answer.verdict(), answer.egress, answer.ingress);
        if said != expected {
            self.show();
            panic!("{question:?}: {said:?}, by the rules {expected:?}: {verdict:#?}");
        }
    }

    /// What was decided before a change must not outlive it.
    fn check_briefs(&mut self, questions: &[Question]) {
        for question in questions.iter().rev().take(MOST_AGAIN) {
            self.check_brief(question);
        }
    }

    /// Without reasons the verdict is the same, whether it was decided before or not.
    fn check_brief(&mut self, question: &Question) {
        let (connection, profile) = connection(&self.cluster, question, self.now);
        let between = between(question, &connection);
        let expected = Brief::from(&self.cluster.evaluate(&connection, profile));
        let anew = self.cluster.decide_anew(&between, profile);
        for (how, brief) in [
            ("anew", anew),
            ("first", self.cluster.decide(&between, profile)),
            ("again", self.cluster.decide(&between, profile)),
        ] {
            if brief != expected {
                self.show();
                panic!("{question:?}: {how} {brief:?}, with its reasons {expected:?}");
            }
        }
    }

    /// A history ends where a fresh start begins, whatever the order of that.
    fn check_against_fresh(&self, questions: &[Question]) {
        let mut fresh = Cluster::new();
        for object in self.objects.iter() {
            apply(&mut fresh, object, self.now);
        }
        if let Some(names) = self.objects.names() {
            fresh.set_names(names.clone().into_iter().collect());
        }
        let later = self.now.plus(LONG_NS);
        for question in questions {
            self.check(question);
            let (old, new) = (
                ask(&self.cluster, question, later),
                ask(&fresh, question, later),
            );
            if old != new {
                self.show();
                panic!("{question:?}: {old:#?}, built afresh {new:#?}");
            }
        }
    }

    #[expect(clippy::print_stderr, reason = "shown with the difference")]
    fn show(&self) {
        for object in self.objects.iter() {
            eprintln!("{object}");
        }
    }
}

fn apply(cluster: &mut Cluster, object: &Value, now: Moment) {
    // Fields of versions to come are taken as far as the rules go (R53).
    let options = Decode {
        validation: Validation::Off,
        ..Decode::default()
    };
    let deltas =
        decode(object, &options).unwrap_or_else(|wrong| panic!("{object} is refused: {wrong:?}"));
    for delta in deltas {
        cluster.apply(&delta, now);
    }
}

fn gone((kind, namespace, name): &Name) -> Delta {
    let key = ObjectKey {
        namespace: namespace.as_str().into(),
        name: name.as_str().into(),
    };
    match kind.as_str() {
        "Namespace" => Delta::NamespaceGone(key.name),
        "Node" => Delta::NodeGone(key.name),
        "Pod" => Delta::PodGone(key),
        "Service" => Delta::ServiceGone(key),
        "EndpointSlice" => Delta::EndpointSliceGone(key),
        kind => Delta::PolicyGone(PolicyKey {
            kind: kind.into(),
            namespace: key.namespace,
            name: key.name,
        }),
    }
}

fn ask(cluster: &Cluster, question: &Question, now: Moment) -> Verdict {
    let (connection, profile) = connection(cluster, question, now);
    cluster.evaluate(&connection, profile)
}

fn connection(cluster: &Cluster, question: &Question, now: Moment) -> (Connection, Profile) {
    let connection = Connection {
        source: cluster.party_at(question.from, now),
        destination: cluster.party_at(question.to, now),
        protocol: match question.protocol {
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            "ICMP" => Protocol::Icmp,
            "ICMPv6" => Protocol::Icmpv6,
            _ => Protocol::Tcp,
        },
        port: question.port,
        via_service: false,
    };
    let profile = match question.dataplane {
        Dataplane::Generic => Profile::Generic,
        Dataplane::KubeRouter => Profile::KubeRouter,
        Dataplane::Calico => Profile::Calico,
        Dataplane::Cilium => Profile::Cilium,
    };
    (connection, profile)
}

fn between(question: &Question, connection: &Connection) -> Between {
    Between {
        source: question.from,
        destination: question.to,
        protocol: connection.protocol,
        port: connection.port,
    }
}

fn says(decision: Decision) -> Says {
    match decision {
        Decision::Allowed => Says::Allowed,
        Decision::Denied => Says::Denied,
        Decision::Unknown => Says::Unknown,
    }
}
