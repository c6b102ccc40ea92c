//! A large cluster as an API server sends it: objects with all that nobody here reads, written when they are asked for.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::measure::BURST;

/// How large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) pods: usize,
    pub(crate) policies: usize,
    /// Pods of a node.
    pub(crate) on_node: usize,
}

/// What an agent lists in any case: where, and its name in a path.
pub(crate) const KINDS: [(&str, &str); 6] = [
    ("/api/v1", "namespaces"),
    ("/api/v1", "nodes"),
    ("/api/v1", "pods"),
    ("/api/v1", "services"),
    ("/apis/discovery.k8s.io/v1", "endpointslices"),
    ("/apis/networking.k8s.io/v1", "networkpolicies"),
];

/// Pods of a namespace.
pub(crate) const IN_NAMESPACE: usize = 100;
/// Pods of an app, which has a Service.
pub(crate) const OF_APP: usize = 10;
/// Apps of a namespace.
const APPS: usize = IN_NAMESPACE / OF_APP;
/// What stands in templates where pods differ.
const NUMBER: &str = "@NUMBER@";
const NAMESPACE: &str = "@NAMESPACE@";
const NODE: &str = "@NODE@";
const APP: &str = "@APP@";
const IP: &str = "@IP@";
const ROUND: &str = "@ROUND@";
/// When everything was made.
const WHEN: &str = "2026-01-01T00:00:00Z";

/// Everything of one size.
pub(crate) struct Objects {
    pub(crate) size: Size,
    pod: Template,
}

/// A text with places that are filled in.
struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    Place(&'static str),
}

impl Template {
    fn of(text: &str) -> Self {
        let mut pieces = vec![Piece::Text(text.to_owned())];
        for place in [NUMBER, NAMESPACE, NODE, APP, IP, ROUND] {
            let split = |piece: Piece| match piece {
                Piece::Text(text) => apart(&text, place),
                place @ Piece::Place(_) => vec![place],
            };
            pieces = pieces.into_iter().flat_map(split).collect();
        }
        Self(pieces)
    }
}

fn apart(text: &str, place: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (number, part) in text.split(place).enumerate() {
        if number > 0 {
            pieces.push(Piece::Place(place));
        }
        pieces.push(Piece::Text(part.to_owned()));
    }
    pieces
}

impl Objects {
    pub(crate) fn new(size: Size) -> Self {
        let pod = Template::of(&pod_template().to_string());
        Self { size, pod }
    }

    /// How many there are of a kind.
    pub(crate) fn count(&self, plural: &str) -> usize {
        match plural {
            "pods" => self.size.pods,
            "namespaces" => self.size.pods.div_ceil(IN_NAMESPACE),
            "nodes" => self.size.pods.div_ceil(self.size.on_node),
            "networkpolicies" => self.size.policies,
            "services" | "endpointslices" => self.size.pods.div_ceil(OF_APP),
            _ => 0,
        }
    }

    /// Writes all objects of a kind, each as an event.
    pub(crate) fn list(&self, plural: &str, out: &mut impl Write) -> io::Result<()> {
        (0..self.count(plural)).try_for_each(|number| match plural {
            "pods" => self.pod("ADDED", number, 0, out),
            "namespaces" => event("ADDED", &self.namespace(number), out),
            "nodes" => event("ADDED", &self.node(number), out),
            "networkpolicies" => event("ADDED", &self.policy(number, 0), out),
            "services" => event("ADDED", &self.service(number), out),
            "endpointslices" => {
                let pods = number * OF_APP..(number + 1) * OF_APP;
                let addresses: Vec<_> = pods.map(|pod| address(10, pod)).collect();
                event("ADDED", &self.slice(number, &addresses), out)
            }
            _ => Ok(()),
        })
    }

    pub(crate) fn namespace(&self, number: usize) -> Value {
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": format!("ns-{number}"),
            "resourceVersion": "1", "labels": {"team": format!("team-{}", number % 10)}}})
    }

    pub(crate) fn node(&self, number: usize) -> Value {
        let name = format!("node-{number}");
        json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "resourceVersion": "1"},
            "status": {"addresses": [{"type": "InternalIP", "address": address(100, number)},
                {"type": "Hostname", "address": name}]}})
    }

    /// The Service of an app.
    pub(crate) fn service(&self, number: usize) -> Value {
        let (namespace, app) = (number / APPS, app(number));
        json!({"kind": "Service", "apiVersion": "v1",
            "metadata": {"name": app, "namespace": format!("ns-{namespace}"), "uid": format!("service-{number}"),
                "resourceVersion": "1", "creationTimestamp": WHEN, "labels": {"app": app},
                "managedFields": managed("kubectl", 12)},
            "spec": {"type": "ClusterIP", "clusterIP": address(11, number), "clusterIPs": [address(11, number)],
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
                "sessionAffinity": "None", "selector": {"app": app},
                "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]},
            "status": {"loadBalancer": {}}})
    }

    /// What a controller writes of the pods behind it.
    pub(crate) fn slice(&self, number: usize, addresses: &[String]) -> Value {
        let (namespace, app) = (number / APPS, app(number));
        let endpoint = |(place, address): (usize, &String)| {
            let pod = number * OF_APP + place;
            json!({"addresses": [address], "nodeName": format!("node-{}", pod / self.size.on_node),
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "namespace": format!("ns-{namespace}"), "name": pod_name(pod),
                    "uid": format!("4d86729c-7b7e-4827-bcf7-{pod}")}})
        };
        let endpoints: Vec<_> = addresses.iter().enumerate().map(endpoint).collect();
        json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
            "metadata": {"name": format!("{app}-x7k2p"), "generateName": format!("{app}-"),
                "namespace": format!("ns-{namespace}"), "uid": format!("slice-{number}"), "resourceVersion": "1",
                "creationTimestamp": WHEN, "managedFields": managed("kube-controller-manager", 12),
                "labels": {"app": app, "kubernetes.io/service-name": app,
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": app,
                    "uid": format!("service-{number}"), "controller": true, "blockOwnerDeletion": true}]},
            "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
    }

    /// Which pod changes; far apart, one after the other.
    pub(crate) fn changed(&self, round: usize, place: usize) -> usize {
        (round * BURST + place) * 7919 % self.size.pods
    }

    /// Writes a pod as an event; its label says in which round.
    pub(crate) fn pod(
        &self,
        what: &str,
        number: usize,
        round: usize,
        out: &mut impl Write,
    ) -> io::Result<()> {
        write!(out, "{{\"type\":\"{what}\",\"object\":")?;
        for piece in &self.pod.0 {
            match piece {
                Piece::Text(text) => out.write_all(text.as_bytes())?,
                Piece::Place(NUMBER) => write!(out, "{number}")?,
                Piece::Place(NAMESPACE) => write!(out, "ns-{}", number / IN_NAMESPACE)?,
                Piece::Place(NODE) => write!(out, "node-{}", number / self.size.on_node)?,
                Piece::Place(APP) => write!(out, "{}", app(number / OF_APP))?,
                Piece::Place(IP) => write!(out, "{}", address(10, number))?,
                Piece::Place(_) => write!(out, "{round}")?,
            }
        }
        out.write_all(b"}\n")
    }

    /// A policy for one app of a namespace.
    pub(crate) fn policy(&self, number: usize, generation: usize) -> Value {
        let namespaces = self.size.pods.div_ceil(IN_NAMESPACE);
        let (namespace, app) = (number % namespaces, number / namespaces % APPS);
        let port = 8000 + generation;
        json!({"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1",
            "metadata": {"name": format!("policy-{number}"), "namespace": format!("ns-{namespace}"),
                "uid": format!("policy-{number}"), "resourceVersion": format!("1{generation}"), "generation": generation},
            "spec": {"podSelector": {"matchLabels": {"app": format!("app-{app}")}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "team-1"}},
                    "podSelector": {"matchLabels": {"app": "app-2"}}}],
                    "ports": [{"protocol": "TCP", "port": port}]}]}})
    }
}

/// Writes an event of a watch.
pub(crate) fn event(what: &str, object: &Value, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{{\"type\":\"{what}\",\"object\":{object}}}")
}

fn address(first: usize, number: usize) -> String {
    format!(
        "{first}.{}.{}.{}",
        number >> 16,
        number >> 8 & 255,
        number & 255
    )
}

/// The name of an app, by its number among all.
fn app(number: usize) -> String {
    format!("app-{}", number % APPS)
}

pub(crate) fn pod_name(number: impl Display) -> String {
    format!("web-6d76c799c-{number}")
}

/// What is written of who wrote which field.
fn managed(manager: &str, fields: usize) -> Value {
    let field = |field: usize| {
        (
            format!("f:a-field-that-somebody-manages-{field}"),
            json!({}),
        )
    };
    let fields: serde_json::Map<String, Value> = (0..fields).map(field).collect();
    json!([{"manager": manager, "operation": "Update", "apiVersion": "v1", "time": WHEN,
        "fieldsType": "FieldsV1", "fieldsV1": fields}])
}

/// What a kubelet and a controller manager write of a pod, most of which nobody here reads.
fn pod_template() -> Value {
    let probe = json!({"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "timeoutSeconds": 1,
        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": pod_name(NUMBER), "generateName": "web-6d76c799c-", "namespace": NAMESPACE,
            "uid": format!("4d86729c-7b7e-4827-bcf7-{NUMBER}"),
            // What comes again with the same version is no change.
            "resourceVersion": format!("1{ROUND}"),
            "creationTimestamp": WHEN,
            "labels": {"app": APP, "pod-template-hash": "6d76c799c", "round": ROUND},
            "annotations": {"prometheus.io/scrape": "true", "kubectl.kubernetes.io/restartedAt": WHEN},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{APP}-6d76c799c"),
                "uid": "c", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": managed("kube-controller-manager", 120)},
        "spec": {"nodeName": NODE, "serviceAccountName": "default", "restartPolicy": "Always",
            "volumes": [{"name": "config", "configMap": {"name": "config", "defaultMode": 420}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}],
            "containers": [{"name": "web", "image": "registry.example/web:1.2.3",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "env": [{"name": "A", "value": "a value of some length, as they are"}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "livenessProbe": probe, "readinessProbe": probe,
                "volumeMounts": [{"name": "config", "mountPath": "/etc/web", "readOnly": true}]}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]},
        "status": {"phase": "Running", "podIP": IP, "podIPs": [{"ip": IP}], "hostIP": "10.99.0.1",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": WHEN},
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": WHEN}],
            "containerStatuses": [{"name": "web", "ready": true, "restartCount": 0, "started": true,
                "image": "registry.example/web:1.2.3", "imageID": "sha256:0", "containerID": "containerd://0",
                "state": {"running": {"startedAt": WHEN}}}]}})
}
