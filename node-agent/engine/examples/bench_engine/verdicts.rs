//! Verdicts in a second, from addresses to decision.

use std::hint::black_box;

use node_agent_engine::{Between, Cluster, Connection, Moment, Profile};
use serde_json::{Value, json};

use crate::made::{self, Made};
use crate::{Bound, ROUNDS, cpu_s, figure, memory};

const QUESTIONS: usize = 200_000;

const NOW: Moment = Moment(3);

/// So many conversations are asked about again and again.
const AGAIN: usize = 10_000;

pub(crate) fn figures(cluster: &mut Cluster, made: &Made) -> Vec<Value> {
    let questions = made.questions(QUESTIONS);
    vec![
        again(cluster, &questions[..AGAIN]),
        anew(cluster, &questions),
        first(cluster, &questions),
        allocations(cluster, &questions),
        reasons(cluster, &questions[..QUESTIONS / 10]),
        reasons_allocations(cluster, &questions[..QUESTIONS / 10]),
    ]
}

/// What was decided before.
fn again(cluster: &mut Cluster, questions: &[Between]) -> Value {
    for between in questions {
        black_box(cluster.decide(between, Profile::Generic));
    }
    let samples = rounds(questions.len() * 10, || {
        for between in questions.iter().cycle().take(questions.len() * 10) {
            black_box(cluster.decide(between, Profile::Generic));
        }
    });
    figure(
        "verdicts, cached: 10,000 conversations again and again",
        "M/s",
        Bound::AtLeast(5.0),
        samples,
    )
}

/// Nothing is looked up that was decided before.
fn anew(cluster: &Cluster, questions: &[Between]) -> Value {
    let samples = rounds(questions.len(), || {
        for between in questions {
            black_box(cluster.decide_anew(between, Profile::Generic));
        }
    });
    figure("verdicts, uncached", "M/s", Bound::AtLeast(1.0), samples)
}

/// As it comes: some were decided before, many were not.
fn first(cluster: &mut Cluster, questions: &[Between]) -> Value {
    let samples = rounds(questions.len(), || {
        for between in questions {
            black_box(cluster.decide(between, Profile::Generic));
        }
    });
    figure(
        "verdicts, 200,000 conversations in turn, the cache as it is",
        "M/s",
        Bound::None,
        samples,
    )
}

fn allocations(cluster: &Cluster, questions: &[Between]) -> Value {
    let calls = memory::calls();
    for between in questions {
        black_box(cluster.decide_anew(between, Profile::Generic));
    }
    let a_verdict = (memory::calls() - calls) as f64 / questions.len() as f64;
    figure(
        "allocations a verdict, uncached",
        "",
        Bound::None,
        vec![a_verdict],
    )
}

fn reasons(cluster: &Cluster, questions: &[Between]) -> Value {
    let samples = rounds(questions.len(), || {
        for between in questions {
            black_box(explain(cluster, between));
        }
    });
    figure("verdicts with their reasons", "M/s", Bound::None, samples)
}

fn reasons_allocations(cluster: &Cluster, questions: &[Between]) -> Value {
    let calls = memory::calls();
    for between in questions {
        black_box(explain(cluster, between));
    }
    let a_verdict = (memory::calls() - calls) as f64 / questions.len() as f64;
    figure(
        "allocations a verdict with its reasons",
        "",
        Bound::None,
        vec![a_verdict],
    )
}

fn explain(cluster: &Cluster, asked: &Between) -> node_agent_engine::Verdict {
    let connection = Connection {
        source: cluster.party_at(asked.source, NOW),
        destination: cluster.party_at(asked.destination, NOW),
        protocol: asked.protocol,
        port: asked.port,
        via_service: false,
    };
    cluster.evaluate(&connection, Profile::Generic)
}

/// Millions in a second, each round.
fn rounds(many: usize, mut all: impl FnMut()) -> Vec<f64> {
    (0..ROUNDS)
        .map(|_| {
            let start = cpu_s();
            all();
            many as f64 / (cpu_s() - start) / 1e6
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
    let asked = Between {
        source: std::net::Ipv4Addr::new(10, 0, 0, 2).into(),
        destination: std::net::Ipv4Addr::new(10, 0, 0, 1).into(),
        protocol: node_agent_engine::model::Protocol::Tcp,
        port: Some(80),
    };
    let asks = 200_000 / many;
    let samples = rounds(asks, || {
        for _ in 0..asks {
            black_box(cluster.decide_anew(&asked, Profile::Generic));
        }
    });
    figure(
        &format!("{many} policies select the pod, none allows, uncached"),
        "M/s",
        Bound::None,
        samples,
    )
}
