//! Changes to the cluster, as JSON.

use std::path::Path;

use anyhow::Context;
use futures_util::AsyncBufRead;
use http::{Request, Response};
use jiff::Timestamp;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::wait;

/// Somebody who changes the cluster.
pub struct Admin {
    client: Client,
}

impl Admin {
    /// Makes one from a kubeconfig.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn new(kubeconfig: &Path) -> anyhow::Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(Self {
            client: Client::try_from(config)?,
        })
    }

    /// Gives what the server answers.
    ///
    /// # Errors
    /// When it refuses, or cannot be reached.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let request = Request::get(path).body(Vec::new())?;
        Ok(self.client.request_text(request).await?)
    }

    /// The same; nothing for what the server does not have.
    ///
    /// # Errors
    /// When it refuses, or cannot be reached.
    pub async fn text_if_there(&self, path: &str) -> anyhow::Result<Option<String>> {
        let request = Request::get(path).body(Vec::new())?;
        match self.client.request_text(request).await {
            Ok(text) => Ok(Some(text)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| format!("GET {path}")),
        }
    }

    /// Gives what the server answers, while it comes.
    ///
    /// # Errors
    /// When it refuses, or cannot be reached.
    pub async fn stream(&self, path: &str) -> anyhow::Result<impl AsyncBufRead + use<>> {
        let request = Request::get(path).body(Vec::new())?;
        Ok(self.client.request_stream(request).await?)
    }

    /// Gives the server's answer, whatever it is.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn ask(&self, request: Request<Body>) -> anyhow::Result<Response<Body>> {
        Ok(self.client.send(request).await?)
    }

    /// Installs a kind whose objects may hold anything; `Namespaced` or `Cluster` is where they lie.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn install(
        &self,
        kind: &str,
        group: &str,
        version: &str,
        scope: &str,
    ) -> anyhow::Result<()> {
        let plural = plural(kind);
        let schema = json!({"openAPIV3Schema":
            {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let definition = json!({
            "metadata": {"name": format!("{plural}.{group}"), "annotations":
                {"api-approved.kubernetes.io": "unapproved, for tests"}},
            "spec": {"group": group, "scope": scope,
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                "versions": [{"name": version, "served": true, "storage": true, "schema": schema}]},
        });
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.create(definitions, &definition).await?;
        let path = format!("/apis/{group}/{version}/{plural}");
        wait::until(
            || format!("{path} is there"),
            async || Ok(self.text_if_there(&path).await?.is_some()),
        )
        .await
    }

    /// Makes an object; that it is there already is no failure.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create(&self, path: &str, object: &Value) -> anyhow::Result<()> {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(object.to_string().into())?;
        match self.client.request_text(request).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(error).with_context(|| format!("POST {path} {object}")),
        }
    }

    /// Changes an object by a merge patch.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn patch(&self, path: &str, patch: &Value) -> anyhow::Result<()> {
        let request = Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string().into())?;
        let answer = self.client.request_text(request).await;
        answer.map(drop).with_context(|| format!("PATCH {path}"))
    }

    /// Deletes an object at once.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let request = Request::delete(path)
            .header("content-type", "application/json")
            .body(json!({"gracePeriodSeconds": 0}).to_string().into())?;
        let answer = self.client.request_text(request).await;
        answer.map(drop).with_context(|| format!("DELETE {path}"))
    }

    /// A token by which somebody is an account.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn token(&self, namespace: &str, account: &str) -> anyhow::Result<String> {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let asked =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let request = Request::post(format!("{accounts}/{account}/token"))
            .header("content-type", "application/json")
            .body(asked.to_string().into())?;
        let answer: Value = self.client.request(request).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        token
            .map(str::to_owned)
            .context("an answer without a token")
    }

    /// Whether somebody may do something.
    ///
    /// # Errors
    /// When the server refuses to say.
    pub async fn review(&self, review: &Value) -> anyhow::Result<bool> {
        let request = Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header("content-type", "application/json")
            .body(review.to_string().into())?;
        let answer: Value = self.client.request(request).await?;
        Ok(answer.pointer("/status/allowed") == Some(&Value::Bool(true)))
    }

    /// Makes a namespace with these labels.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn namespace(&self, name: &str, labels: Value) -> anyhow::Result<()> {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        self.create("/api/v1/namespaces", &object).await
    }

    /// Deletes a namespace; nobody empties it here, so it is told that it is empty.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn delete_namespace(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{name}");
        self.delete(&path).await?;
        let finalized = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name}, "spec": {"finalizers": []}});
        let request = Request::put(format!("{path}/finalize"))
            .header("content-type", "application/json")
            .body(finalized.to_string().into())?;
        let answer = self.client.request_text(request).await;
        answer.map(drop).with_context(|| format!("finalize {name}"))
    }

    /// Makes a running pod with an address.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn pod(&self, namespace: &str, name: &str, ip: &str) -> anyhow::Result<()> {
        self.pod_of(name, namespace, name, ip).await
    }

    /// The same, of an app that is not called like it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn pod_of(
        &self,
        app: &str,
        namespace: &str,
        name: &str,
        ip: &str,
    ) -> anyhow::Result<()> {
        self.pod_with(app, namespace, name, &[ip]).await
    }

    /// The same, with an address of each family.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn dual_pod(
        &self,
        namespace: &str,
        name: &str,
        ips: [&str; 2],
    ) -> anyhow::Result<()> {
        self.pod_with(name, namespace, name, &ips).await
    }

    async fn pod_with(
        &self,
        app: &str,
        namespace: &str,
        name: &str,
        ips: &[&str],
    ) -> anyhow::Result<()> {
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": {"nodeName": "node-1", "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "a", "image": "a", "ports": [{"name": "http", "containerPort": 80}]}]},
        });
        self.create(&pods, &pod).await?;
        let now = format!("{:.0}", Timestamp::now());
        let all: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        let status = json!({"status": {"phase": "Running", "podIP": ips.first(), "podIPs": all, "startTime": now,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]}});
        self.patch(&format!("{pods}/{name}/status"), &status).await
    }

    /// Makes a Service of that port; it has no backends of its own.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn service(&self, namespace: &str, name: &str, port: u16) -> anyhow::Result<()> {
        let services = format!("/api/v1/namespaces/{namespace}/services");
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": port}]}});
        self.create(&services, &service).await
    }

    /// Makes a policy that denies everything to the pods of an app.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn policy(&self, namespace: &str, name: &str, app: &str) -> anyhow::Result<()> {
        let policies = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
        let policy = json!({"metadata": {"name": name},
            "spec": {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"]}});
        self.create(&policies, &policy).await
    }
}

fn plural(kind: &str) -> String {
    kind.to_lowercase().replace("policy", "policies")
}
