//! A large cluster that looks like one: a few big namespaces and many small ones, workloads of many sizes,
//! policies as people write them.

use std::net::{IpAddr, Ipv4Addr};

use node_agent_engine::Between;
use node_agent_engine::k8s::{Decode, decode};
use node_agent_engine::model::{Delta, Pod, Protocol};
use serde_json::{Value, json};

use crate::chance::Chance;

pub(crate) const NAMESPACES: usize = 2_000;
pub(crate) const PODS: usize = 100_000;
pub(crate) const POLICIES: usize = 10_000;
const PODS_A_NODE: usize = 100;
const LARGEST_NAMESPACE: usize = 5_000;

/// A cluster as the deltas that make it.
pub(crate) struct Made {
    pub(crate) deltas: Vec<Delta>,
    pub(crate) pods: Vec<Pod>,
    /// First pod of each namespace, and one past the last.
    namespaces: Vec<usize>,
}

pub(crate) fn delta(object: &Value) -> Delta {
    match decode(object, &Decode::default()) {
        Ok(mut deltas) if deltas.len() == 1 => deltas.remove(0),
        other => panic!("{object}: {other:?}"),
    }
}

pub(crate) fn namespace_name(index: usize) -> String {
    match index {
        0 => "kube-system".to_owned(),
        index => format!("team-{index:04}"),
    }
}

impl Made {
    pub(crate) fn new() -> Self {
        let mut chance = Chance(7);
        let mut made = Self {
            deltas: Vec::new(),
            pods: Vec::new(),
            namespaces: vec![0],
        };
        made.deltas.extend((0..PODS / PODS_A_NODE).map(node));
        for (index, size) in sizes().into_iter().enumerate() {
            made.deltas.push(namespace(index));
            made.fill(index, size, &mut chance);
        }
        made.policies(&mut chance);
        made
    }

    /// Workloads of skewed sizes until the namespace is full.
    fn fill(&mut self, namespace: usize, size: usize, chance: &mut Chance) {
        let mut left = size;
        let mut number = 0;
        while left > 0 {
            let replicas = (1 + chance.skewed(60)).min(left);
            let workload = Workload::new(namespace, number, chance);
            for replica in 0..replicas {
                let object = workload.pod(self.pods.len(), replica, chance);
                let delta = delta(&object);
                if let Delta::Pod(pod) = &delta {
                    self.pods.push(pod.clone());
                }
                self.deltas.push(delta);
            }
            left -= replicas;
            number += 1;
        }
        self.namespaces.push(self.pods.len());
    }

    /// Two in every namespace, the rest where the pods are.
    fn policies(&mut self, chance: &mut Chance) {
        for namespace in 0..NAMESPACES {
            self.deltas.push(default_deny(namespace));
            self.deltas.push(allow_dns(namespace));
        }
        for number in 0..POLICIES - 2 * NAMESPACES {
            let pod = &self.pods[chance.below(self.pods.len())];
            let (app, place) = (pod.labels["app"].to_string(), pod.key.namespace.to_string());
            self.deltas.push(policy_for(&place, &app, number, chance));
        }
    }

    /// Who talks to whom: mostly inside a namespace, to DNS, to a few others, to and from the world.
    pub(crate) fn questions(&self, many: usize) -> Vec<Between> {
        let mut chance = Chance(11);
        (0..many).map(|_| self.question(&mut chance)).collect()
    }

    fn question(&self, chance: &mut Chance) -> Between {
        let any = chance.below(self.pods.len());
        let pod = &self.pods[any];
        let namespace = self.namespaces.partition_point(|first| *first <= any) - 1;
        let (first, end) = (self.namespaces[namespace], self.namespaces[namespace + 1]);
        let neighbour = &self.pods[first + chance.skewed(end - first)];
        let dns = &self.pods[chance.below(20)];
        let other = &self.pods[chance.skewed(self.pods.len())];
        let world = IpAddr::V4(Ipv4Addr::new(203, 0, 113, chance.below(256) as u8));
        let ip = |pod: &Pod| pod.ips[0];
        let ask = |source, destination, protocol, port| Between {
            source,
            destination,
            protocol,
            port: Some(port),
        };
        match chance.below(100) {
            0..50 => ask(ip(pod), ip(neighbour), Protocol::Tcp, 8080),
            50..65 => ask(ip(pod), ip(dns), Protocol::Udp, 53),
            65..75 => ask(ip(pod), ip(neighbour), Protocol::Tcp, 9090),
            75..85 => ask(ip(other), ip(pod), Protocol::Tcp, 8080),
            85..95 => ask(ip(pod), world, Protocol::Tcp, 443),
            _ => ask(world, ip(pod), Protocol::Tcp, 8080),
        }
    }

    /// The largest namespace's index.
    pub(crate) fn largest(&self) -> usize {
        let size = |index: &usize| self.namespaces[index + 1] - self.namespaces[*index];
        (0..NAMESPACES).max_by_key(size).unwrap_or_default()
    }
}

/// Sizes fall as one over the rank, from the largest on.
fn sizes() -> Vec<usize> {
    let mut sizes: Vec<usize> = (0..NAMESPACES)
        .map(|rank| (LARGEST_NAMESPACE * 3 / (rank + 3)).max(2))
        .collect();
    let mut index = 0;
    while sizes.iter().sum::<usize>() != PODS {
        let sum: usize = sizes.iter().sum();
        let rank = 1 + index % (NAMESPACES - 1);
        if sum < PODS {
            sizes[rank] += (PODS - sum).min(20);
        } else {
            sizes[rank] -= (sum - PODS).min(sizes[rank] - 1);
        }
        index += 1;
    }
    sizes
}

struct Workload {
    namespace: String,
    app: String,
    hash: String,
    is_stateful: bool,
    labels: Value,
}

impl Workload {
    fn new(namespace: usize, number: usize, chance: &mut Chance) -> Self {
        const WORDS: [&str; 8] = [
            "api", "web", "worker", "db", "cache", "queue", "gateway", "batch",
        ];
        let app = match (namespace, number) {
            (0, 0) => "kube-dns".to_owned(),
            _ => format!("{}-{number}", WORDS[number % WORDS.len()]),
        };
        let namespace = namespace_name(namespace);
        let is_stateful = chance.percent(10);
        let hash = chance.hex(10);
        let mut labels = json!({
            "app": app, "app.kubernetes.io/name": WORDS[number % WORDS.len()],
            "app.kubernetes.io/instance": app, "app.kubernetes.io/managed-by": "Helm",
            "version": format!("v{}", chance.skewed(9)),
            "tier": (["front", "back", "data"])[number % 3],
        });
        if !is_stateful {
            labels["pod-template-hash"] = hash.clone().into();
        }
        Self {
            namespace,
            app,
            hash,
            is_stateful,
            labels,
        }
    }

    fn pod(&self, index: usize, replica: usize, chance: &mut Chance) -> Value {
        let name = match self.is_stateful {
            true => format!("{}-{replica}", self.app),
            false => format!("{}-{}-{}", self.app, self.hash, chance.hex(5)),
        };
        let mut labels = self.labels.clone();
        let owner = match self.is_stateful {
            true => {
                labels["statefulset.kubernetes.io/pod-name"] = name.clone().into();
                labels["apps.kubernetes.io/pod-index"] = replica.to_string().into();
                json!({"kind": "StatefulSet", "name": self.app, "controller": true})
            }
            false => {
                json!({"kind": "ReplicaSet", "name": format!("{}-{}", self.app, self.hash), "controller": true})
            }
        };
        // One node after the other, so that each has its range.
        let (node, place) = (index / PODS_A_NODE, index % PODS_A_NODE);
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": self.namespace, "name": name, "uid": chance.uid(), "labels": labels, "ownerReferences": [owner]},
            "spec": {"nodeName": format!("node-{node}"), "serviceAccountName": self.app, "containers": [
                {"ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}]}]},
            "status": {"phase": "Running", "podIP": format!("10.{}.{}.{}", node / 256, node % 256, place + 2)}})
    }
}

fn node(index: usize) -> Delta {
    delta(
        &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{index}")},
        "spec": {"podCIDRs": [format!("10.{}.{}.0/24", index / 256, index % 256)]},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("192.168.{}.{}", index / 250, index % 250 + 1)}]}}),
    )
}

pub(crate) fn namespace(index: usize) -> Delta {
    let team = (index as f64).sqrt() as usize;
    delta(
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace_name(index),
        "labels": {"team": format!("t{team}"), "stage": (["prod", "test"])[index % 2]}}}),
    )
}

fn network_policy(namespace: &str, name: &str, spec: Value) -> Delta {
    delta(
        &json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec}),
    )
}

fn default_deny(namespace: usize) -> Delta {
    let types = match namespace % 3 {
        0 => json!(["Ingress"]),
        _ => json!(["Ingress", "Egress"]),
    };
    network_policy(
        &namespace_name(namespace),
        "default-deny",
        json!({"podSelector": {}, "policyTypes": types}),
    )
}

fn allow_dns(namespace: usize) -> Delta {
    network_policy(
        &namespace_name(namespace),
        "allow-dns",
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"app": "kube-dns"}}}],
            "ports": [{"protocol": "UDP", "port": 53}, {"port": 53}]}]}),
    )
}

/// What is written for one workload.
pub(crate) fn policy_for(namespace: &str, app: &str, number: usize, chance: &mut Chance) -> Delta {
    const WORDS: [&str; 8] = [
        "api", "web", "worker", "db", "cache", "queue", "gateway", "batch",
    ];
    let mut neighbour = || {
        format!(
            "{}-{}",
            WORDS[number % 8],
            number % 8 + 8 * chance.skewed(6)
        )
    };
    let subject = json!({"matchLabels": {"app": app}});
    let http = json!([{"port": "http"}]);
    let spec = match number % 10 {
        0..=3 => json!({"podSelector": subject, "ingress": [{"from": [
            {"podSelector": {"matchLabels": {"app": neighbour()}}},
            {"podSelector": {"matchLabels": {"app": neighbour()}}}], "ports": http}]}),
        4 => json!({"podSelector": subject, "policyTypes": ["Egress"], "egress": [{"to": [
            {"podSelector": {"matchLabels": {"app": neighbour()}}}], "ports": [{"port": 8080}]}]}),
        5 => json!({"podSelector": subject, "ingress": [{"from": [
            {"namespaceSelector": {"matchLabels": {"stage": "prod"}}, "podSelector": {"matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "back"]}]}}], "ports": http}]}),
        6 => json!({"podSelector": subject, "policyTypes": ["Egress"], "egress": [{"to": [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "192.168.0.0/16"]}}], "ports": [{"port": 443}]}]}),
        7 => json!({"podSelector": subject, "ingress": [{"from": [
            {"namespaceSelector": {"matchLabels": {"team": format!("t{}", number % 40)}}}], "ports": [{"port": 9090}, {"port": 8000, "endPort": 8999}]}]}),
        8 => json!({"podSelector": subject, "ingress": [{"from": [
            {"ipBlock": {"cidr": format!("203.0.113.{}/28", number % 16 * 16)}}]}]}),
        _ => {
            json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}], "egress": [{"to": [{"podSelector": {}}]}]})
        }
    };
    network_policy(namespace, &format!("policy-{number:05}"), spec)
}
