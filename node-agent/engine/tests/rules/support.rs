//! A small world to judge in, written as Kubernetes objects.

use std::net::IpAddr;

use node_agent_engine::k8s::{Decode, decode};
use node_agent_engine::model::{ObjectKey, Protocol};
use node_agent_engine::verdict::{Decision, Verdict};
use node_agent_engine::{Cluster, Moment};
use node_agent_engine::{Connection, Party, PartyKind, Profile};
use serde_json::{Value, json};

pub(crate) const NOW: Moment = Moment(1_000_000_000);
pub(crate) use Decision::{Allowed, Denied, Unknown};
pub(crate) use Protocol::{Icmp, Sctp, Tcp, Udp};

/// A cluster with its objects.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
}

impl World {
    pub(crate) fn of(objects: &[Value]) -> Self {
        let mut world = Self {
            cluster: Cluster::new(),
        };
        for object in objects {
            world.add(object);
        }
        world
    }

    pub(crate) fn add(&mut self, object: &Value) {
        for delta in decode(object, &Decode::default()).unwrap_or_else(|wrong| panic!("{wrong:?}"))
        {
            self.cluster.apply(&delta, NOW);
        }
    }

    /// Who `text` is: `namespace/pod`, `namespace/pod@address`, an address, or `?address` for nobody knows.
    pub(crate) fn party(&self, text: &str) -> Party {
        if let Some(ip) = text.strip_prefix('?') {
            return Party {
                ip: Some(ip.parse().unwrap()),
                identity: PartyKind::Unknown,
            };
        }
        let (name, ip) = text.split_once('@').map_or((text, None), |(name, ip)| {
            (name, Some(ip.parse::<IpAddr>().unwrap()))
        });
        match name.parse() {
            Ok(ip) => self.cluster.party_at(ip, NOW),
            Err(_) => self
                .cluster
                .party_of(&key(name), ip, NOW)
                .unwrap_or_else(|| panic!("no pod {name}")),
        }
    }

    pub(crate) fn connection(
        &self,
        from: &str,
        to: &str,
        port: u16,
        protocol: Protocol,
    ) -> Connection {
        Connection {
            source: self.party(from),
            destination: self.party(to),
            protocol,
            port: (port != 0).then_some(port),
            via_service: false,
        }
    }

    pub(crate) fn judge(&self, from: &str, to: &str, port: u16, protocol: Protocol) -> Verdict {
        self.cluster
            .evaluate(&self.connection(from, to, port, protocol), Profile::Generic)
    }

    pub(crate) fn judge_as(
        &self,
        profile: Profile,
        from: &str,
        to: &str,
        port: u16,
        protocol: Protocol,
    ) -> Verdict {
        self.cluster
            .evaluate(&self.connection(from, to, port, protocol), profile)
    }

    #[track_caller]
    pub(crate) fn check(&self, rows: &[(&str, &str, u16, Protocol, Decision)]) {
        for (from, to, port, protocol, expected) in rows {
            let verdict = self.judge(from, to, *port, *protocol);
            assert_eq!(
                verdict.verdict, *expected,
                "{from} -> {to}:{port}/{protocol}: {verdict:#?}"
            );
        }
    }
}

pub(crate) fn key(name: &str) -> ObjectKey {
    let (namespace, name) = name.split_once('/').unwrap();
    ObjectKey {
        namespace: namespace.into(),
        name: name.into(),
    }
}

pub(crate) fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// `name` is `namespace/pod`.
pub(crate) fn pod(name: &str, ip: &str, labels: Value) -> Value {
    pod_with(name, &[ip], labels, json!({}))
}

pub(crate) fn pod_with(name: &str, ips: &[&str], labels: Value, spec: Value) -> Value {
    let ObjectKey { namespace, name } = key(name);
    let ips: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name, "labels": labels, "uid": name},
           "spec": spec, "status": {"podIPs": ips}})
}

pub(crate) fn node(name: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": [{"type": "InternalIP", "address": ip}]}})
}

/// `name` is `namespace/policy`.
pub(crate) fn policy(name: &str, spec: Value) -> Value {
    let ObjectKey { namespace, name } = key(name);
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

/// Three namespaces: `x` (team a) with a, b, c, `y` (team b) with a and b, `z` without labels with a.
pub(crate) fn three() -> Vec<Value> {
    let pods = ["x/a", "x/b", "x/c", "y/a", "y/b", "z/a"];
    let pods = pods.iter().enumerate().map(|(index, name)| {
        let ip = format!("10.0.0.{}", index + 1);
        let app = key(name).name;
        let ports = json!({"containers": [{"ports": [{"name": "web", "containerPort": 80}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]});
        pod_with(name, &[ip.as_str()], json!({"app": app}), ports)
    });
    let namespaces = [
        namespace("x", json!({"team": "a"})),
        namespace("y", json!({"team": "b", "empty": ""})),
        namespace("z", json!({})),
    ];
    namespaces.into_iter().chain(pods).collect()
}

/// [`three`] with policies.
pub(crate) fn with(policies: &[Value]) -> World {
    let mut objects = three();
    objects.extend_from_slice(policies);
    World::of(&objects)
}

/// A ClusterNetworkPolicy; `spec` needs no `tier` and no `priority`.
pub(crate) fn cluster_policy(name: &str, tier: &str, priority: u16, mut spec: Value) -> Value {
    spec["tier"] = json!(tier);
    spec["priority"] = json!(priority);
    json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": name}, "spec": spec})
}

/// An AdminNetworkPolicy, or with the name `default` a BaselineAdminNetworkPolicy.
pub(crate) fn v1alpha1(name: &str, spec: Value) -> Value {
    let kind = if name == "default" {
        "BaselineAdminNetworkPolicy"
    } else {
        "AdminNetworkPolicy"
    };
    json!({"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Every pod of every namespace.
pub(crate) fn everybody() -> Value {
    json!({"namespaces": {}})
}

/// The pods with this label, in every namespace.
pub(crate) fn app(app: &str) -> Value {
    json!({"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": app}}}})
}
