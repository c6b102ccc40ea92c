//! Verdicts in a second, from addresses to decision.

use std::hint::black_box;
use std::time::Instant;

use node_agent_engine::{Cluster, Connection, Moment, Profile};
use serde_json::{Value, json};

use crate::made::{self, Asked, Made};
use crate::{Bound, ROUNDS, figure, memory};

const QUESTIONS: usize = 200_000;

const NOW: Moment = Moment(3);

pub(crate) fn figures(cluster: &mut Cluster, made: &Made) -> Vec<Value> {
    let questions = made.questions(QUESTIONS);
    let explained = &questions[..QUESTIONS / 10];
    let calls = memory::calls();
    for asked in explained {
        black_box(explain(cluster, asked));
    }
    let allocations = (memory::calls() - calls) as f64 / explained.len() as f64;
    vec![
        figure(
            "verdicts with their reasons",
            "M/s",
            Bound::None,
            rounds(explained.len(), || {
                for asked in explained {
                    black_box(explain(cluster, asked));
                }
            }),
        ),
        figure(
            "allocations a verdict with its reasons",
            "",
            Bound::None,
            vec![allocations],
        ),
    ]
}

fn explain(cluster: &Cluster, asked: &Asked) -> node_agent_engine::Verdict {
    let connection = Connection {
        source: cluster.party_at(asked.source, NOW),
        destination: cluster.party_at(asked.destination, NOW),
        protocol: asked.protocol,
        port: Some(asked.port),
        via_service: false,
    };
    cluster.evaluate(&connection, Profile::Generic)
}

/// Millions in a second, each round.
fn rounds(many: usize, mut all: impl FnMut()) -> Vec<f64> {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            all();
            many as f64 / start.elapsed().as_secs_f64() / 1e6
        })
        .collect()
}

/// 10, 100 and 1,000 policies that select the same pod.
pub(crate) fn curve() -> Vec<Value> {
    [10, 100, 1_000].into_iter().map(point).collect()
}

fn point(many: usize) -> Value {
    let mut cluster = Cluster::new();
    for (app, ip) in [("api", "10.0.0.1"), ("web", "10.0.0.2")] {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "x", "name": app, "labels": {"app": app}}, "status": {"podIP": ip}});
        cluster.apply(&made::delta(&pod), NOW);
    }
    for number in 0..many {
        let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": "x", "name": format!("p{number:04}")},
            "spec": {"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{
                "from": [{"podSelector": {"matchLabels": {"app": format!("client-{number}")}}}], "ports": [{"port": 80}]}]}});
        cluster.apply(&made::delta(&policy), NOW);
    }
    let asked = Asked {
        source: std::net::Ipv4Addr::new(10, 0, 0, 2).into(),
        destination: std::net::Ipv4Addr::new(10, 0, 0, 1).into(),
        protocol: node_agent_engine::model::Protocol::Tcp,
        port: 80,
    };
    let asks = 20_000 / many;
    let samples = rounds(asks, || {
        for _ in 0..asks {
            black_box(explain(&cluster, &asked));
        }
    });
    figure(
        &format!("{many} policies select the pod, none allows"),
        "M/s",
        Bound::None,
        samples,
    )
}
