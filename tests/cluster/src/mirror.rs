//! What the agent's source of the cluster has told, held against what the API server holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use netverdict::cluster::api::{Access, ApiServer};
use node_agent_engine::input::Ground;
use node_agent_engine::k8s::{self, Decode, Validation};
use node_agent_engine::model::{Delta, ObjectKey};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::admin::Admin;
use crate::ground::LIMIT;

/// What is watched; the last nine where they are installed.
const PATHS: [&str; 15] = [
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/pods",
    "/api/v1/services",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
    "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies",
    "/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies",
    "/apis/crd.projectcalico.org/v1/networkpolicies",
    "/apis/crd.projectcalico.org/v1/globalnetworkpolicies",
    "/apis/projectcalico.org/v3/networkpolicies",
    "/apis/projectcalico.org/v3/globalnetworkpolicies",
    "/apis/cilium.io/v2/ciliumnetworkpolicies",
    "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
];

/// After so much silence a server is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(1);

/// Objects by kind, namespace and name.
pub type Objects = BTreeMap<String, Delta>;

/// A copy of the cluster, made of nothing but deltas.
pub struct Mirror {
    /// The source.
    pub server: ApiServer,
    /// What it has told.
    pub objects: Objects,
    /// How many deltas that were.
    pub deltas: usize,
    /// Deltas that changed nothing, or took away what was not there.
    pub idle: Vec<String>,
    /// What it told its operator.
    pub notices: Vec<String>,
    /// What was asked, and is not confirmed.
    pub asked: Vec<Ground>,
    /// What is.
    pub confirmed: Vec<Ground>,
    /// The first picture is complete.
    pub synced: bool,
}

impl Mirror {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn start(kubeconfig: &Path) -> anyhow::Result<Self> {
        let access = Access {
            kubeconfig: Some(kubeconfig.to_owned()),
            context: None,
        };
        Ok(Self {
            server: ApiServer::watch(&access, Validation::Off, SILENCE).await?,
            objects: Objects::new(),
            deltas: 0,
            idle: Vec::new(),
            notices: Vec::new(),
            asked: Vec::new(),
            confirmed: Vec::new(),
            synced: false,
        })
    }

    /// Begins to watch and waits for the first picture.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn synced(kubeconfig: &Path) -> anyhow::Result<Self> {
        let mut mirror = Self::start(kubeconfig).await?;
        mirror.until("synced", |mirror| mirror.synced).await?;
        Ok(mirror)
    }

    /// Asks, as often as it takes, whether this is as it was told.
    pub fn ask(&mut self, grounds: Vec<Ground>) {
        self.asked.clone_from(&grounds);
        self.server.confirm(grounds);
    }

    /// Whether all that was asked is confirmed.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.asked.is_empty()
    }

    /// Listens until a condition holds.
    ///
    /// # Errors
    /// When it does not in time, or the source gives up.
    pub async fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + LIMIT;
        while !holds(self) {
            if !self.listen(end).await? {
                bail!("not {what} after {LIMIT:?}; it told: {:#?}", self.notices);
            }
        }
        Ok(())
    }

    /// Listens for some time: here time itself is the condition.
    ///
    /// # Errors
    /// When the source gives up.
    pub async fn listen_for(&mut self, span: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + span;
        while self.listen(end).await? {}
        Ok(())
    }

    /// Listens until everything is as the API server says now.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn until_equal(&mut self, admin: &Admin) -> anyhow::Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            let fresh = fresh(admin).await?;
            if self.objects == fresh && self.server.is_current() {
                return Ok(());
            }
            if Instant::now() >= end {
                bail!("the copy differs: {}", difference(&self.objects, &fresh));
            }
            self.listen_for(Duration::from_millis(100)).await?;
        }
    }

    /// False when nothing came before the end.
    async fn listen(&mut self, end: Instant) -> anyhow::Result<bool> {
        let Ok(news) = timeout_at(end, self.server.changed()).await else {
            return Ok(false);
        };
        let news = news?;
        self.synced |= news.synced;
        if let Some(confirmed) = news.confirmed {
            self.asked.retain(|ground| !confirmed.contains(ground));
            self.confirmed.extend(confirmed);
            if !self.asked.is_empty() {
                self.server.confirm(self.asked.clone());
            }
        }
        self.notices
            .extend(news.notices.iter().map(ToString::to_string));
        for delta in news.deltas {
            self.deltas += 1;
            let (name, gone) = name(&delta);
            let before = if gone {
                self.objects.remove(&name)
            } else {
                self.objects.insert(name.clone(), delta.clone())
            };
            if gone && before.is_none() {
                self.idle.push(name);
            }
        }
        Ok(true)
    }
}

/// What the API server holds now, read all at once and decoded as files are.
///
/// # Errors
/// When it cannot be read.
pub async fn fresh(admin: &Admin) -> anyhow::Result<Objects> {
    let options = Decode {
        validation: Validation::Off,
        ..Decode::default()
    };
    let mut objects = Objects::new();
    for path in PATHS {
        let Some(text) = admin.text_if_there(path).await? else {
            continue;
        };
        let list: Value = serde_json::from_str(&text).context("read a list")?;
        let deltas = k8s::decode(&list, &options)
            .map_err(|wrong| anyhow::anyhow!("decode {path}: {wrong:?}"))?;
        objects.extend(deltas.into_iter().map(|delta| (name(&delta).0, delta)));
    }
    Ok(objects)
}

/// Kind, namespace and name; and whether it is gone.
fn name(delta: &Delta) -> (String, bool) {
    let two = |kind: &str, key: &ObjectKey| format!("{kind} {}/{}", key.namespace, key.name);
    match delta {
        Delta::Namespace(namespace) => (format!("Namespace {}", namespace.name), false),
        Delta::NamespaceGone(name) => (format!("Namespace {name}"), true),
        Delta::Node(node) => (format!("Node {}", node.name), false),
        Delta::NodeGone(name) => (format!("Node {name}"), true),
        Delta::Pod(pod) => (two("Pod", &pod.key), false),
        Delta::PodGone(key) => (two("Pod", key), true),
        Delta::Service(service) => (two("Service", &service.key), false),
        Delta::ServiceGone(key) => (two("Service", key), true),
        Delta::EndpointSlice(slice) => (two("EndpointSlice", &slice.key), false),
        Delta::EndpointSliceGone(key) => (two("EndpointSlice", key), true),
        Delta::Policy(policy) => (
            format!(
                "{} {}/{}",
                policy.key.kind, policy.key.namespace, policy.key.name
            ),
            false,
        ),
        Delta::PolicyGone(key) => (format!("{} {}/{}", key.kind, key.namespace, key.name), true),
    }
}

fn difference(ours: &Objects, theirs: &Objects) -> String {
    let missing = theirs.keys().filter(|name| !ours.contains_key(*name));
    let beyond = ours.keys().filter(|name| !theirs.contains_key(*name));
    let other = ours
        .iter()
        .filter(|(name, ours)| theirs.get(*name).is_some_and(|theirs| theirs != *ours));
    format!(
        "missing {:?}, too much {:?}, different {:?}",
        missing.take(5).collect::<Vec<_>>(),
        beyond.take(5).collect::<Vec<_>>(),
        other.take(2).collect::<Vec<_>>()
    )
}
