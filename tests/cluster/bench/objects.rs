//! A large cluster as an API server sends it: objects with all that nobody here reads, written when they are asked for.

use std::io::{self, Write};

use serde_json::{Value, json};

/// How large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) pods: usize,
    pub(crate) policies: usize,
}

/// Pods of a namespace.
const IN_NAMESPACE: usize = 100;
/// Pods of a node.
const ON_NODE: usize = 30;
/// What stands in templates where pods differ.
const NUMBER: &str = "@NUMBER@";
const NAMESPACE: &str = "@NAMESPACE@";
const NODE: &str = "@NODE@";
const APP: &str = "@APP@";
const IP: &str = "@IP@";
const ROUND: &str = "@ROUND@";

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

    /// Writes all objects of a kind, each as an event.
    pub(crate) fn list(&self, plural: &str, out: &mut impl Write) -> io::Result<()> {
        let namespaces = self.size.pods.div_ceil(IN_NAMESPACE);
        match plural {
            "pods" => (0..self.size.pods).try_for_each(|pod| self.pod("ADDED", pod, 0, out)),
            "namespaces" => (0..namespaces).try_for_each(|number| {
                let object = json!({"kind": "Namespace", "apiVersion": "v1", "metadata":
                    {"name": format!("ns-{number}"), "resourceVersion": "1", "labels": {"team": format!("team-{}", number % 10)}}});
                event("ADDED", &object, out)
            }),
            "nodes" => (0..self.size.pods.div_ceil(ON_NODE)).try_for_each(|number| {
                let object = json!({"kind": "Node", "apiVersion": "v1",
                    "metadata": {"name": format!("node-{number}"), "resourceVersion": "1"},
                    "status": {"addresses": [{"type": "InternalIP", "address": address(100, number)}]}});
                event("ADDED", &object, out)
            }),
            "networkpolicies" => (0..self.size.policies)
                .try_for_each(|policy| event("ADDED", &self.policy(policy, 0), out)),
            _ => Ok(()),
        }
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
                Piece::Place(NODE) => write!(out, "node-{}", number / ON_NODE)?,
                Piece::Place(APP) => write!(out, "app-{}", number % IN_NAMESPACE / 5)?,
                Piece::Place(IP) => write!(out, "{}", address(10, number))?,
                Piece::Place(_) => write!(out, "{round}")?,
            }
        }
        out.write_all(b"}\n")
    }

    /// A policy for one app of a namespace.
    pub(crate) fn policy(&self, number: usize, generation: usize) -> Value {
        let namespaces = self.size.pods.div_ceil(IN_NAMESPACE);
        let (namespace, app) = (number % namespaces, number / namespaces % 20);
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

/// What a kubelet and a controller manager write of a pod, most of which nobody here reads.
fn pod_template() -> Value {
    let probe = json!({"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "timeoutSeconds": 1,
        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
    let fields: serde_json::Map<String, Value> = (0..120)
        .map(|field| {
            (
                format!("f:a-field-that-somebody-manages-{field}"),
                json!({}),
            )
        })
        .collect();
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": format!("web-6d76c799c-{NUMBER}"), "generateName": "web-6d76c799c-", "namespace": NAMESPACE,
            "uid": format!("4d86729c-7b7e-4827-bcf7-{NUMBER}"),
            // What comes again with the same version is no change.
            "resourceVersion": format!("1{ROUND}"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": APP, "pod-template-hash": "6d76c799c", "round": ROUND},
            "annotations": {"prometheus.io/scrape": "true", "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{APP}-6d76c799c"),
                "uid": "c", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields}]},
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
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "containerStatuses": [{"name": "web", "ready": true, "restartCount": 0, "started": true,
                "image": "registry.example/web:1.2.3", "imageID": "sha256:0", "containerID": "containerd://0",
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}})
}
