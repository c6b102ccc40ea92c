//! A node with three pods, a policy, and what the kernel side would say of them.

use node_agent_engine::input::{Ground, Link, Span, Subject, Tracked};
use node_agent_engine::k8s::{self, Decode};
use node_agent_engine::record::{Body, Connection};
use node_agent_engine::{ClockBase, Core, Input, Log, Moment, Options, Output, Profile};
use serde_json::{Value, json};

pub(crate) use super::seen::Seen;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000 * MS;

pub(crate) const WEB: &str = "10.42.0.11";
pub(crate) const JOB: &str = "10.42.0.12";
pub(crate) const DB: &str = "10.42.0.13";
pub(crate) const AWAY: &str = "10.42.1.20";
pub(crate) const API: &str = "10.43.0.9";
pub(crate) const NODE: &str = "192.0.2.10";
pub(crate) const OTHER_NODE: &str = "192.0.2.11";
pub(crate) const WORLD: &str = "203.0.113.80";
pub(crate) const NODE_PORT: u16 = 30_432;

/// A core, its clock, and what it wrote.
pub(crate) struct Bench {
    pub(crate) core: Core,
    pub(crate) now: Moment,
    pub(crate) written: Vec<Connection>,
    pub(crate) others: Vec<Body>,
    pub(crate) bad: Vec<String>,
    pub(crate) counted: u64,
    pub(crate) measured: Vec<(Span, u64)>,
    pub(crate) gone: Vec<Subject>,
    pub(crate) lost: u64,
    pub(crate) confirms: usize,
    /// What the last question was about.
    pub(crate) asked: Vec<Ground>,
    /// What conntrack remembers.
    pub(crate) tracked: Vec<Tracked>,
    /// How often it was asked.
    pub(crate) look_ups: usize,
    /// It answers no more.
    pub(crate) is_mute: bool,
    ports: u16,
}

pub(crate) fn pod(name: &str, app: &str, ip: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "podIP": ip}})
}

/// A node has an agent.
pub(crate) fn agent(node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("netverdict-{node}"), "namespace": "netverdict", "labels": {"app.kubernetes.io/name": "netverdict"}},
        "spec": {"nodeName": node, "containers": [{"name": "agent"}]}, "status": {"phase": "Running"}})
}

fn node(name: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": ip}]}})
}

/// The Service `api`, to be had at [`API`].
pub(crate) fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"clusterIP": API, "clusterIPs": [API], "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]}})
}

/// The same, and every node's port [`NODE_PORT`] leads to it.
pub(crate) fn node_port() -> Value {
    let mut service = service();
    service["spec"]["ports"][0]["nodePort"] = json!(NODE_PORT);
    service
}

/// The one slice of the Service `api`.
pub(crate) fn slice(ready: &[&str]) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "api-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "api"}},
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [{"addresses": ready, "conditions": {"ready": !ready.is_empty()}}]})
}

/// Only `web` may reach the database.
pub(crate) fn policy() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]}})
}

/// Pods of that label may reach nobody.
pub(crate) fn egress_denied(app: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("{app}-egress"), "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Egress"]}})
}

fn options(log: Log) -> Options {
    Options {
        node: "node-1".into(),
        cluster_name: "".into(),
        clock_base: ClockBase(0),
        window_ns: 10 * S,
        settle_ns: 5 * S,
        confirm_ns: 5 * S,
        grace_ns: 2 * S,
        stale_after_ns: 60 * S,
        log,
        profile: Profile::Generic,
    }
}

impl Bench {
    /// Everything was as it is for 100 s, and all is written.
    pub(crate) fn settled() -> Self {
        Self::settled_with(Log::All)
    }

    pub(crate) fn settled_with(log: Log) -> Self {
        Self::settled_by(|options| options.log = log)
    }

    /// The same with other options than the usual ones.
    pub(crate) fn settled_by(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = options(Log::All);
        change(&mut options);
        let mut bench = Self::watching_by(true, options);
        bench.sync(0);
        bench.now = Moment(100 * S);
        bench.give(Input::Confirmed);
        bench
    }

    /// The agent has begun; it saw the pods' interfaces appear, or they were there before.
    pub(crate) fn begun(from_birth: bool) -> Self {
        let mut bench = Self::watching(from_birth, Log::All);
        bench.sync(0);
        bench
    }

    /// The agent has begun, and nobody has told it of the cluster.
    pub(crate) fn watching(from_birth: bool, log: Log) -> Self {
        Self::watching_by(from_birth, options(log))
    }

    fn watching_by(from_birth: bool, options: Options) -> Self {
        let mut bench = Self {
            core: Core::new(options),
            now: Moment(S),
            written: Vec::new(),
            others: Vec::new(),
            bad: Vec::new(),
            counted: 0,
            measured: Vec::new(),
            gone: Vec::new(),
            lost: 0,
            confirms: 0,
            asked: Vec::new(),
            tracked: Vec::new(),
            look_ups: 0,
            is_mute: false,
            ports: 40_000,
        };
        for (index, ip) in [(1, WEB), (2, JOB), (3, DB)] {
            bench.link(index, ip, from_birth);
        }
        bench
    }

    /// The first picture of the cluster comes, one object so long after the other.
    pub(crate) fn sync(&mut self, apart_ns: u64) {
        for object in [
            node("node-1", NODE),
            node("node-2", OTHER_NODE),
            pod("web", "web", WEB, "node-1"),
            pod("job", "job", JOB, "node-1"),
            pod("db", "db", DB, "node-1"),
            pod("away", "db", AWAY, "node-2"),
            policy(),
            agent("node-1"),
        ] {
            self.apply(&object);
            self.now = self.now.plus(apart_ns);
        }
        self.give(Input::Synced);
    }

    /// A pod's interface appears now, or is found.
    pub(crate) fn link(&mut self, index: u32, ip: &str, from_birth: bool) {
        self.give(Input::Link(Link {
            index,
            name: format!("veth{index}").into(),
            watched_since: self.now,
            from_birth,
            addresses: vec![ip.parse().unwrap()],
            foreign_program: Some(false),
            netns: Some(4_026_532_000 + index),
        }));
    }

    pub(crate) fn apply(&mut self, object: &Value) {
        for delta in k8s::decode(object, &Decode::default()).unwrap() {
            self.give(Input::Delta(Box::new(delta)));
        }
    }

    pub(crate) fn give(&mut self, input: Input) {
        let mut out = Vec::new();
        self.core.handle(self.now, input, &mut out);
        let mut tuples = Vec::new();
        for output in out {
            match output {
                Output::Record(record) => match record.body {
                    Body::Connection(connection) => self.written.push(*connection),
                    Body::Lost(lost) => {
                        self.lost += lost.count;
                        self.others.push(Body::Lost(lost));
                    }
                    other => self.others.push(other),
                },
                Output::Counted { count, .. } => self.counted += count,
                Output::Confirm { grounds } => {
                    self.confirms += 1;
                    self.asked = grounds;
                }
                Output::Measured { span, ns } => self.measured.push((span, ns)),
                Output::BadAnnotation { object, message } => {
                    self.bad.push(format!("{object}: {message}"));
                }
                Output::Gone(subject) => self.gone.push(subject),
                Output::LookUp(tuple) => tuples.push(tuple),
                Output::Epoch(_)
                | Output::Lost { .. }
                | Output::PodAddresses(_)
                | Output::SharedAddress { .. } => {}
            }
        }
        self.look_ups += tuples.len();
        tuples.retain(|_| !self.is_mute);
        for tuple in tuples {
            let mut known = self.tracked.iter();
            let tracked = known.find(|known| [known.original, known.reply].contains(&tuple));
            let tracked = tracked.copied();
            self.give(Input::LookedUp { tuple, tracked });
        }
    }

    /// Lets time pass, a tick each 50 ms, and answers nothing.
    pub(crate) fn wait(&mut self, ns: u64) {
        let end = self.now.plus(ns);
        while self.now < end {
            self.now = self.now.plus(50 * MS);
            self.give(Input::Tick);
        }
    }

    /// Lets time pass, a tick each 50 ms, with a cluster that is heard of and answers requests for a fresh reading.
    pub(crate) fn pass(&mut self, ns: u64) {
        let end = self.now.plus(ns);
        while self.now < end {
            self.now = self.now.plus(50 * MS);
            self.give(Input::Heard);
            let asked = self.confirms;
            self.give(Input::Tick);
            if self.confirms > asked {
                self.give(Input::Confirmed);
            }
        }
    }

    /// What was written, and nothing but it.
    pub(crate) fn only(&self) -> &Connection {
        assert_eq!(self.written.len(), 1, "{:#?}", self.written);
        &self.written[0]
    }

    /// A new TCP attempt now.
    pub(crate) fn attempt(&mut self, from: &str, to: &str) -> Seen {
        self.ports = self.ports.wrapping_add(1);
        Seen::new(self.now, from, to, self.ports)
    }
}
