//! The past: who had an address, what policy said, how far back that is known.

#![expect(clippy::panic, reason = "helpers of tests")]

use std::net::{IpAddr, Ipv4Addr};

use node_agent_engine::k8s::{Decode, decode};
use node_agent_engine::model::{Delta, ObjectKey, Protocol};
use node_agent_engine::verdict::Decision;
use node_agent_engine::{Between, Cluster, Identity, Kept, Moment, PartyKind, Profile, Throughout};
use serde_json::{Value, json};

const S: u64 = 1_000_000_000;
const WEB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const DB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const BETWEEN: Between = Between {
    source: WEB,
    destination: DB,
    protocol: Protocol::Tcp,
    port: Some(5432),
};

struct Lived {
    cluster: Cluster,
    second: u64,
}

impl Lived {
    /// A pod `web` and a pod `db` that nothing isolates; what comes is remembered.
    fn new(kept: Kept) -> Self {
        let mut lived = Self {
            cluster: Cluster::new(),
            second: 1,
        };
        lived.then(&pod("web", WEB));
        lived.then(&pod("db", DB));
        lived.cluster.keep_past(lived.now(), kept);
        lived
    }

    fn now(&self) -> Moment {
        Moment(self.second * S)
    }

    /// A second later it is there; gives when.
    fn then(&mut self, object: &Value) -> Moment {
        for delta in decode(object, &Decode::default()).unwrap_or_else(|wrong| panic!("{wrong:?}"))
        {
            self.apply(&delta);
        }
        self.now()
    }

    /// A second later there is no such pod; gives when.
    fn gone(&mut self, pod: &str) -> Moment {
        self.apply(&Delta::PodGone(key(pod)));
        self.now()
    }

    fn apply(&mut self, delta: &Delta) {
        self.second += 1;
        self.cluster.apply(delta, self.now());
    }

    fn verdict(&self, at: Moment) -> Option<Decision> {
        let then = self.cluster.as_of(at, &[WEB, DB])?;
        Some(then.decide_anew(&BETWEEN, Profile::Generic).verdict)
    }

    fn throughout(&self, from: Moment, until: Moment) -> Throughout {
        self.cluster
            .throughout(&BETWEEN, Profile::Generic, from, until)
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn pod(name: &str, ip: IpAddr) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "labels": {"app": name}},
        "status": {"phase": "Running", "podIPs": [{"ip": ip}]}})
}

fn closed(name: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "closed"},
        "spec": {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"]}})
}

#[test]
fn a_verdict_is_as_it_was_and_an_address_belongs_to_whoever_had_it() {
    let mut lived = Lived::new(Kept::default());
    let open = lived.now();
    let shut = lived.then(&closed("db"));
    let nobody = lived.gone("db");
    let another = lived.then(&pod("cache", DB));
    assert_eq!(lived.verdict(open), Some(Decision::Allowed));
    assert_eq!(lived.verdict(shut), Some(Decision::Denied));
    assert_eq!(lived.verdict(Moment(nobody.0 - 1)), Some(Decision::Denied));
    assert_eq!(lived.verdict(another), Some(Decision::Allowed));
    let owner = |at| {
        let then = lived.cluster.as_of(at, &[DB])?;
        Some(then.party_at(DB, Moment(u64::MAX)).identity)
    };
    assert_eq!(owner(shut), Some(PartyKind::Pod(key("db"))));
    assert_eq!(owner(nobody), Some(PartyKind::World));
    assert_eq!(owner(another), Some(PartyKind::Pod(key("cache"))));
    assert_eq!(
        lived.cluster.lookup(DB, lived.now()),
        Identity::Pod(key("cache"))
    );
}

#[test]
fn between_two_equal_states_there_may_have_been_another() {
    let mut lived = Lived::new(Kept::default());
    let open = lived.now();
    let shut = lived.then(&closed("db"));
    let again = lived.then(&closed("web"));
    let is_same = |said| matches!(said, Throughout::Same(_));
    assert_eq!(lived.throughout(open, again), Throughout::Differs);
    assert!(is_same(lived.throughout(open, Moment(shut.0 - 1))));
    assert!(is_same(lived.throughout(shut, Moment(again.0 - 1))));
    assert!(is_same(lived.throughout(again, again)));
}

#[test]
fn the_past_ends_where_time_or_memory_does() {
    let half = 20 * S;
    for (kept, what) in [
        (
            Kept {
                ns: half,
                ..Kept::default()
            },
            "time",
        ),
        (
            Kept {
                bytes: 20_000,
                ..Kept::default()
            },
            "memory",
        ),
    ] {
        let mut lived = Lived::new(kept);
        let begin = lived.now();
        assert!(lived.verdict(begin).is_some(), "{what}");
        assert_eq!(lived.verdict(Moment(begin.0 - 1)), None, "{what}");
        for number in 0..100 {
            lived.then(&closed(if number % 2 == 0 { "db" } else { "web" }));
        }
        assert_eq!(lived.verdict(begin), None, "{what}");
        assert_eq!(
            lived.throughout(begin, lived.now()),
            Throughout::NotKept,
            "{what}"
        );
        let late = Moment(lived.now().0 - 5 * S);
        assert!(lived.verdict(late).is_some(), "{what}");
        assert_eq!(
            lived.throughout(late, lived.now()),
            Throughout::Differs,
            "{what}"
        );
    }
}
