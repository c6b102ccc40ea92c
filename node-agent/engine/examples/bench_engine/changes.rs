//! What it takes to absorb a change.

use node_agent_engine::model::Delta;
use node_agent_engine::{Cluster, Moment};
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::made::{self, Made};
use crate::{Bound, ROUNDS, cpu_s, figure};

const CHANGES: usize = 2_000;

pub(crate) fn figures(cluster: &mut Cluster, made: &Made) -> Vec<Value> {
    let relabelled = relabelled(made);
    let replaced = replaced(made);
    let policies = policies(made);
    let mut figures = Vec::new();
    for (name, deltas) in [
        ("a pod's labels change, 99th percentile", relabelled),
        ("a pod is replaced, 99th percentile", replaced),
        ("a policy comes or goes, 99th percentile", policies),
    ] {
        let samples = (0..ROUNDS).map(|_| percentile(cluster, &deltas)).collect();
        figures.push(figure(name, "us", Bound::AtMost(1000.0), samples));
    }
    figures.push(namespace_moves(cluster, made));
    figures
}

/// The 99th percentile of single changes, microseconds.
fn percentile(cluster: &mut Cluster, deltas: &[Delta]) -> f64 {
    let mut took: Vec<f64> = deltas
        .iter()
        .map(|delta| {
            let start = cpu_s();
            cluster.apply(delta, Moment(2));
            (cpu_s() - start) * 1e6
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took[took.len() * 99 / 100]
}

/// Any pod gets another version, and gets its old one back.
fn relabelled(made: &Made) -> Vec<Delta> {
    let mut chance = Chance(23);
    (0..CHANGES / 2)
        .flat_map(|number| {
            let old = made.pods[chance.below(made.pods.len())].clone();
            let mut new = old.clone();
            let labels = new.labels.iter().map(|(key, value)| match &**key {
                "app" => (key.clone(), "moved".into()),
                "version" => (key.clone(), format!("v{number}").into()),
                _ => (key.clone(), value.clone()),
            });
            new.labels = labels.collect();
            [Delta::Pod(new), Delta::Pod(old)]
        })
        .collect()
}

/// A pod goes, another of the same workload takes over its address.
fn replaced(made: &Made) -> Vec<Delta> {
    let mut chance = Chance(29);
    (0..CHANGES / 4)
        .flat_map(|_| {
            let old = made.pods[chance.below(made.pods.len())].clone();
            let mut new = old.clone();
            new.key.name = format!("{}-next", old.key.name).into();
            new.uid = chance.uid().into();
            let (gone, went) = (old.key.clone(), new.key.clone());
            [
                Delta::PodGone(gone),
                Delta::Pod(new),
                Delta::PodGone(went),
                Delta::Pod(old),
            ]
        })
        .collect()
}

/// Policies like those that are there come and go, where the pods are.
fn policies(made: &Made) -> Vec<Delta> {
    let mut chance = Chance(31);
    (0..CHANGES / 2)
        .flat_map(|number| {
            let pod = &made.pods[chance.below(made.pods.len())];
            let policy = made::policy_for(
                &pod.key.namespace,
                &pod.labels["app"],
                made::POLICIES + number,
                &mut chance,
            );
            let key = match &policy {
                Delta::Policy(policy) => policy.key.clone(),
                other => panic!("{other:?}"),
            };
            [policy, Delta::PolicyGone(key)]
        })
        .collect()
}

/// The largest namespace gets other labels, and its old ones back; a policy of the whole cluster goes by them.
fn namespace_moves(cluster: &mut Cluster, made: &Made) -> Value {
    let policy = json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "moved"},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {"matchLabels": {"stage": "moved"}}},
            "ingress": [{"action": "Deny", "from": [{"namespaces": {"matchLabels": {"stage": "test"}}}]}]}});
    cluster.apply(&made::delta(&policy), Moment(2));
    let name = made::namespace_name(made.largest());
    let Some(old) = cluster.namespace(&name).cloned() else {
        panic!("no namespace {name}");
    };
    let mut new = old.clone();
    let labels = new.labels.iter().map(|(key, value)| match &**key {
        "stage" => (key.clone(), "moved".into()),
        _ => (key.clone(), value.clone()),
    });
    new.labels = labels.collect();
    let samples = (0..ROUNDS)
        .flat_map(|_| [&new, &old])
        .map(|namespace| {
            let start = cpu_s();
            cluster.apply(&Delta::Namespace(namespace.clone()), Moment(2));
            (cpu_s() - start) * 1e6
        })
        .collect();
    figure(
        "a namespace's labels change that moves 5,000 pods",
        "us",
        Bound::None,
        samples,
    )
}
