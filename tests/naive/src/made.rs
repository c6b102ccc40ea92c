//! Clusters and questions made out of bytes: small worlds in which everything meets.
//!
//! Any bytes make a valid sequence, and less of them, or smaller ones, make a simpler one, so that what finds
//! a difference can also shrink it.

mod cluster_policy;
mod policy;

use serde_json::{Value, json};

use crate::{Dataplane, Name, Names, Question};

/// How many bytes make one step.
pub const STEP_BYTES: usize = 32;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// An object is there, or is another now.
    Set(Value),
    /// An object is gone.
    Gone(Name),
    /// DNS has answered this, and nothing else.
    Names(Names),
    /// Somebody asks.
    Ask(Question),
}

const NAMESPACES: [&str; 2] = ["x", "y"];
const NODES: [&str; 2] = ["n1", "n2"];
const APPS: [&str; 4] = ["web", "db", "", "Web"];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const PORTS: [u16; 5] = [80, 53, 8080, 443, 1];

/// Addresses that pods have, in turn.
const POD_ADDRESSES: [&str; 8] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.1.1",
    "fd00::1",
    "fd00::2",
    "fd00::1:1",
];
const NODE_ADDRESSES: [&str; 3] = ["192.0.2.1", "192.0.2.2", "fd00:2::1"];
const SERVICE_ADDRESSES: [&str; 3] = ["10.43.0.1", "10.43.0.2", "fd00:43::1"];
const OTHERS: [&str; 7] = [
    "203.0.113.7",
    "10.0.0.9",
    "10.0.2.1",
    "2001:db8::1",
    "224.0.0.1",
    "255.255.255.255",
    "127.0.0.1",
];

/// The steps that these bytes stand for.
pub fn steps(bytes: &[u8]) -> impl Iterator<Item = Step> {
    bytes.chunks(STEP_BYTES).map(|chunk| Choices(chunk).step())
}

/// Choices, a byte each; when there are none left, the first of each.
pub(crate) struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first)
    }

    fn below(&mut self, most: usize) -> usize {
        self.byte() % most.max(1)
    }

    fn once_in(&mut self, many: usize) -> bool {
        self.below(many) == many - 1
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        let index = self.below(items.len());
        items.get(index).copied()
    }

    fn word(&mut self, items: &[&'static str]) -> &'static str {
        self.of(items).unwrap_or_default()
    }

    fn step(&mut self) -> Step {
        let object = match self.below(20) {
            0..=4 => self.policy(),
            5 | 19 => self.cluster_policy(),
            6..=10 => self.pod(),
            11 => self.namespace(),
            12 => self.node(),
            13 => self.service(),
            14 => self.slice(),
            18 => return Step::Names(self.names()),
            _ => return Step::Ask(self.question()),
        };
        if self.once_in(8) {
            Step::Gone(crate::name_of(&object))
        } else {
            Step::Set(object)
        }
    }

    fn question(&mut self) -> Question {
        let (from, to) = (self.end(), self.end());
        let protocol = match self.below(10) {
            7 => "UDP",
            8 => "SCTP",
            9 if to.is_ipv4() => "ICMP",
            9 => "ICMPv6",
            _ => "TCP",
        };
        let port = self.of(&PORTS);
        Question {
            from,
            to,
            protocol,
            port: port.filter(|_| !protocol.starts_with("ICMP")),
            dataplane: match self.below(8) {
                5 => Dataplane::KubeRouter,
                6 => Dataplane::Calico,
                7 => Dataplane::Cilium,
                _ => Dataplane::Generic,
            },
        }
    }

    fn end(&mut self) -> std::net::IpAddr {
        let text = match self.below(16) {
            0..=10 => self.word(&POD_ADDRESSES),
            11..=13 => self.word(&NODE_ADDRESSES),
            14 => self.word(&SERVICE_ADDRESSES),
            _ => self.word(&OTHERS),
        };
        text.parse().unwrap_or(std::net::Ipv4Addr::LOCALHOST.into())
    }

    fn names(&mut self) -> Names {
        let answers = (0..self.below(4)).map(|_| {
            let name = self.word(&[
                "example.org",
                "a.example.org",
                "b.a.example.org",
                "EXAMPLE.com",
            ]);
            (name.to_owned(), vec![self.end(), self.end()])
        });
        answers.collect()
    }

    fn labels(&mut self) -> Value {
        let mut labels = json!({});
        if !self.once_in(4) {
            labels["app"] = self.word(&APPS).into();
        }
        if self.once_in(2) {
            labels["tier"] = self.word(&["1", "2"]).into();
        }
        labels
    }

    fn namespace(&mut self) -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.word(&NAMESPACES), "labels": self.labels()}})
    }

    fn node(&mut self) -> Value {
        let ranges: &[&str] = match self.below(3) {
            0 => &[],
            1 => &["10.0.0.0/28"],
            _ => &["10.0.1.0/24", "fd00::/64"],
        };
        json!({"apiVersion": "v1", "kind": "Node", "spec": {"podCIDRs": ranges},
            "status": {"addresses": [{"type": "InternalIP", "address": self.word(&NODE_ADDRESSES)}]},
            "metadata": {"name": self.word(&NODES), "labels": self.labels()}})
    }

    /// Few names and addresses, so that pods replace each other, and take over each other's addresses.
    fn pod(&mut self) -> Value {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": self.word(&NAMESPACES), "name": self.word(&["a", "b", "c"]),
                "labels": self.labels(), "uid": self.word(&["1", "2"])},
            "status": {"phase": "Running"}});
        let addresses = 1 + self.below(2);
        let ips: Vec<Value> = (0..addresses)
            .map(|_| json!({"ip": self.word(&POD_ADDRESSES)}))
            .collect();
        if self.once_in(8) {
            pod["spec"]["hostNetwork"] = true.into();
            pod["status"]["podIPs"] = json!([{"ip": self.word(&NODE_ADDRESSES)}]);
        } else if !self.once_in(12) {
            pod["status"]["podIPs"] = ips.into();
        }
        pod["spec"]["nodeName"] = self.word(&["n1", "n2", ""]).into();
        pod["spec"]["containers"] =
            json!([{"ports": [self.container_port()]}, {"ports": [self.container_port()]}]);
        if self.once_in(4) {
            let policy = self.word(&["Always", ""]);
            pod["spec"]["initContainers"] =
                json!([{"restartPolicy": policy, "ports": [self.container_port()]}]);
        }
        if self.once_in(8) {
            pod["status"]["phase"] = self.word(&["Succeeded", "Failed", "Pending"]).into();
        }
        pod
    }

    fn container_port(&mut self) -> Value {
        json!({"name": self.word(&["web", "dns", "other"]), "containerPort": self.of(&PORTS),
            "protocol": self.word(&PROTOCOLS)})
    }

    fn service(&mut self) -> Value {
        let mut service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": self.word(&NAMESPACES), "name": "s"},
            "spec": {"clusterIPs": [self.word(&SERVICE_ADDRESSES)],
                "ports": [{"name": "front", "port": self.of(&PORTS), "protocol": self.word(&PROTOCOLS)}]}});
        let address = self.word(&SERVICE_ADDRESSES);
        match self.below(4) {
            2 => service["spec"]["externalIPs"] = json!([address]),
            3 => service["status"] = json!({"loadBalancer": {"ingress": [{"ip": address}]}}),
            _ => {}
        }
        if self.once_in(3) {
            service["spec"]["externalTrafficPolicy"] = "Local".into();
        }
        service
    }

    fn slice(&mut self) -> Value {
        let endpoints: Vec<Value> = (0..self.below(4))
            .map(|_| json!({"addresses": [self.word(&POD_ADDRESSES)], "conditions": {"ready": !self.once_in(4)}}))
            .collect();
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": self.word(&NAMESPACES), "name": self.word(&["s-1", "s-2"]),
                "labels": {"kubernetes.io/service-name": "s"}},
            "endpoints": endpoints,
            "ports": [{"name": self.word(&["front", "back"]), "port": self.of(&PORTS), "protocol": self.word(&PROTOCOLS)}]})
    }
}
