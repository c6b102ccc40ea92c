//! Rights, and what is told to somebody who lacks them or the server.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cluster::admin::Admin;
use cluster::ground::LIMIT;
use cluster::mirror::Mirror;
use cluster::plane::ALONE;
use cluster::wait;
use netns::child;
use netns::paths;
use serde_json::{Value, json};

use super::{MORTAL, STREAMS, install, plane};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

/// The role that is deployed.
pub(super) fn role() -> anyhow::Result<Value> {
    let text =
        std::fs::read_to_string(paths::project().join("deploy/kustomize/base/clusterrole.yaml"))
            .context("read deploy/kustomize/base/clusterrole.yaml")?;
    Ok(serde_saphyr::from_str(&text)?)
}

/// Every verb on every resource that a role grants.
pub(super) fn rights(role: &Value) -> BTreeSet<(String, String, String)> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let items = rule[field].as_array().cloned().unwrap_or_default();
        let texts = items.iter().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    rights.insert((verb, group.clone(), resource.clone()));
                }
            }
        }
        for path in texts(rule, "nonResourceURLs") {
            for verb in texts(rule, "verbs") {
                rights.insert((verb, String::new(), path.clone()));
            }
        }
    }
    rights
}

/// Lets a user do what a role says, and waits until the server knows.
async fn grant(admin: &Admin, user: &str, role: &Value) -> anyhow::Result<()> {
    let mut role = role.clone();
    *role
        .pointer_mut("/metadata/name")
        .context("a role has a name")? = user.into();
    admin.create(ROLES, &role).await?;
    let binding = json!({"metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
    admin.create(BINDINGS, &binding).await?;
    until_granted(admin, user, &role).await
}

/// Waits until a server knows that a user may do what a role says.
pub(super) async fn until_granted(server: &Admin, user: &str, role: &Value) -> anyhow::Result<()> {
    let (verb, group, resource) = rights(role).pop_last().context("a role without rights")?;
    let review = json!({"spec": {"user": user,
        "resourceAttributes": {"verb": verb, "group": group, "resource": resource}}});
    wait::until(
        || format!("{user} has its rights"),
        async || server.review(&review).await,
    )
    .await
}

/// Who lacks one kind is told the one rule, who lacks all of them is told all.
pub(crate) async fn forbidden() -> anyhow::Result<()> {
    let plane = plane().await?;
    let admin = plane.admin(STREAMS).await?;
    install(&admin).await?;
    let whole = role()?;
    for (resource, group, verbs) in [
        ("namespaces", "", "get, list, watch"),
        ("nodes", "", "list, watch"),
        ("pods", "", "get, list, watch"),
        ("services", "", "list, watch"),
        ("endpointslices", "discovery.k8s.io", "list, watch"),
        ("networkpolicies", "networking.k8s.io", "list, watch"),
    ] {
        let user = format!("without-{resource}");
        let role = without(&whole, group, resource)?;
        grant(&admin, &user, &role).await?;
        let said = refusal(&plane.kubeconfig(&user, STREAMS, None)?).await?;
        let rule =
            format!("- apiGroups: [\"{group}\"]\n  resources: [{resource}]\n  verbs: [{verbs}]");
        ensure!(said.ends_with(&format!("\n{rule}")), "{user}: {said}");
        ensure!(said.matches("apiGroups").count() == 1, "{user}: {said}");
    }
    let said = refusal(&plane.kubeconfig("nobody", STREAMS, None)?).await?;
    let (_, rules) = said.split_once('\n').context("no rules")?;
    let told: Value = serde_saphyr::from_str(rules)?;
    // Every server lets everybody who is known see its groups and whether it lives.
    let mut lacked = rights(&whole);
    lacked.retain(|(_, _, resource)| !resource.starts_with('/'));
    ensure!(rights(&json!({"rules": told})) == lacked, "nobody: {said}");
    Ok(())
}

fn without(role: &Value, group: &str, resource: &str) -> anyhow::Result<Value> {
    let mut role = role.clone();
    let rules = role
        .get_mut("rules")
        .and_then(Value::as_array_mut)
        .context("a role has rules")?;
    for rule in rules
        .iter_mut()
        .filter(|rule| rule["apiGroups"] == json!([group]))
    {
        let resources = rule
            .get_mut("resources")
            .and_then(Value::as_array_mut)
            .context("a rule has resources")?;
        resources.retain(|name| name != resource);
    }
    rules.retain(|rule| rule["resources"] != json!([]));
    Ok(role)
}

/// Why the first picture cannot be had.
async fn refusal(kubeconfig: &Path) -> anyhow::Result<String> {
    match Mirror::synced(kubeconfig).await {
        Ok(_) => bail!("nothing was refused"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

pub(crate) async fn unauthorized() -> anyhow::Result<()> {
    let plane = plane().await?;
    let said = refusal(&plane.kubeconfig("stranger", STREAMS, None)?).await?;
    ensure!(said.contains("401") && said.contains("expired"), "{said}");
    Ok(())
}

pub(crate) async fn expired() -> anyhow::Result<()> {
    let plane = plane().await?;
    let name = Some("expired.netverdict.test");
    let said = refusal(&plane.kubeconfig("admin", STREAMS, name)?).await?;
    ensure!(
        said.contains("certificate") && said.contains("expired"),
        "{said}"
    );
    Ok(())
}

pub(crate) async fn unreachable() -> anyhow::Result<()> {
    let plane = plane().await?;
    let said = refusal(&plane.kubeconfig("admin", 1, None)?).await?;
    ensure!(
        said.contains("https://127.0.0.1:1/") && said.contains("cannot be reached"),
        "{said}"
    );
    Ok(())
}

pub(crate) async fn too_old() -> anyhow::Result<()> {
    let mut plane = plane().await?;
    plane.add(
        MORTAL,
        &[ALONE, "--runtime-config=discovery.k8s.io/v1=false"],
    );
    plane.run(MORTAL)?;
    // Such a server is never ready: parts of its own wait for what it lacks.
    plane.answers(MORTAL, "/api/v1/namespaces").await?;
    let said = refusal(&plane.kubeconfig("admin", MORTAL, None)?).await?;
    plane.kill(MORTAL)?;
    plane.add(MORTAL, &[ALONE]);
    ensure!(
        said.contains("too old") && said.contains("discovery.k8s.io/v1 EndpointSlice"),
        "{said}"
    );
    Ok(())
}

fn agent(kubeconfig: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(paths::agent()?);
    command
        .args(["agent", "--node", "node-1", "--metrics-listen", "off"])
        .args(["--cluster", "kube", "--kubeconfig"])
        .arg(kubeconfig);
    Ok(command)
}

pub(crate) async fn agent_is_ready() -> anyhow::Result<()> {
    let plane = plane().await?;
    let mut agent = agent(&plane.kubeconfig("admin", STREAMS, None)?)?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the agent")?;
    let pipe = agent.stderr.take().context("hear the agent")?;
    let mut said = Vec::new();
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        let is_ready = line == "ready";
        said.push(line);
        if is_ready {
            break;
        }
    }
    ensure!(
        said.last().is_some_and(|line| line == "ready"),
        "the agent was not ready: {said:#?}"
    );
    let code = child::end(&mut agent, Duration::from_secs(2))?;
    ensure!(code == Some(0), "the agent ended with {code:?}");
    Ok(())
}

pub(crate) async fn agent_lacks_server() -> anyhow::Result<()> {
    let plane = plane().await?;
    let absent = plane.kubeconfig("admin", 1, None)?;
    let nobody = plane.kubeconfig("nobody", STREAMS, None)?;
    for (kubeconfig, flags, code, words) in [
        (absent.as_path(), &[][..], 3, "cannot be reached"),
        (&nobody, &[], 3, "resources: [networkpolicies]"),
        (&absent, &["--context", "other"], 2, "no context `other`"),
        (Path::new("/nowhere"), &[], 2, "/nowhere"),
    ] {
        let ended = child::run(agent(kubeconfig)?.args(flags), LIMIT)?;
        ensure!(
            ended.code == Some(code) && ended.stderr.contains(words),
            "{}: ended with {:?}: {}",
            kubeconfig.display(),
            ended.code,
            ended.stderr
        );
        ensure!(ended.stdout.is_empty(), "stdout: {}", ended.stdout);
    }
    Ok(())
}
