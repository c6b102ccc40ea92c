//! Contradictions that are real: each is told once, after the API server was asked anew by the account that is deployed.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context, ensure};
use cluster::mirror::Mirror;
use cluster::plane::Plane;
use cluster::proxy::Proxy;
use cluster::wait;
use jiff::Timestamp;
use netns::agent::SETTLE;
use netns::ns::Namespace;
use netns::record::Record;
use node_agent_engine::input::Ground;
use node_agent_engine::model::ObjectKey;
use serde_json::{Value, json};

use super::access::{rights, role};
use super::deploy::{ACCOUNT, account};
use super::world::{ALWAYS_OPEN, ALWAYS_SHUT, NAMESPACE, PORTS, SHUT, World, enforce, told_of};
use super::{PAGES, STREAMS, furnish, install, plane};

type Right = (String, String, String);

/// The enforcer stops the one that is open, and lets pass who would reach the one that is shut: both are told, with who
/// and why, and by nobody but the deployed account.
pub(crate) async fn true_ones() -> anyhow::Result<()> {
    let plane = plane().await?;
    install(&plane.admin(STREAMS).await?).await?;
    let token = account(&plane, &[STREAMS]).await?;
    let way = |node: &Namespace| {
        let port = Proxy::within(node, STREAMS)?.port();
        plane.kubeconfig_by("account", &token, port, None)
    };
    let mut world = World::start(&plane, SETTLE, &[], way).await?;
    enforce(&world.node, &[ALWAYS_OPEN])?;
    world.agent.settle()?;
    world.call_one(ALWAYS_SHUT)?;
    world.call_one(ALWAYS_OPEN)?;
    let claim = world.until_told(ALWAYS_SHUT, PORTS.start, "unenforced")?;
    world.until_told(ALWAYS_OPEN, PORTS.start, "unexpected_drop")?;
    world.until_equal().await?;
    let told = world.finish().await?;
    the_right_ones(&told)?;
    was_asked_anew(&plane, &claim).await?;
    asked_of(&plane, STREAMS, &rights(&role()?)).map(drop)
}

/// Each is named as it is, and no second record says anything of it.
fn the_right_ones(told: &[Record]) -> anyhow::Result<()> {
    let of_shut: &[_] = &[
        ("/assessment", json!("unenforced")),
        ("/direction", json!("ingress")),
        ("/reporter", json!("both")),
        ("/destination/name", json!("shut")),
        ("/verdict/verdict", json!("denied")),
        ("/verdict/ingress/reason", json!("no_rule_matched")),
        ("/verdict/ingress/kept", json!("no")),
        ("/verdict/ingress/isolated_by/0/namespace", json!(NAMESPACE)),
        ("/verdict/ingress/isolated_by/0/name", json!(SHUT)),
        ("/outcome/outcome", json!("answered")),
    ];
    let of_open: &[_] = &[
        ("/assessment", json!("unexpected_drop")),
        ("/reporter", json!("both")),
        ("/destination/name", json!("open")),
        ("/verdict/verdict", json!("allowed")),
        ("/verdict/ingress/reason", json!("not_isolated")),
        ("/outcome/outcome", json!("dropped")),
        ("/outcome/drop_reason", json!("NETFILTER_DROP")),
    ];
    for (ip, wanted) in [(ALWAYS_SHUT, of_shut), (ALWAYS_OPEN, of_open)] {
        only(told, ip, wanted)?;
    }
    Ok(())
}

/// The one record of an address.
fn only(told: &[Record], ip: Ipv4Addr, wanted: &[(&str, Value)]) -> anyhow::Result<()> {
    let of_it: Vec<_> = told_of(told, ip, PORTS.start).collect();
    let [record] = of_it.as_slice() else {
        let lines: Vec<_> = of_it.iter().map(|record| &record.line).collect();
        anyhow::bail!("not one record of {ip}: {lines:#?}");
    };
    let common = [
        ("/source/namespace", json!(NAMESPACE)),
        ("/source/name", json!("client")),
        ("/destination/namespace", json!(NAMESPACE)),
        ("/count", json!(1)),
    ];
    for (pointer, wanted) in common.iter().chain(wanted) {
        ensure!(
            record.value.pointer(pointer) == Some(wanted),
            "{pointer} is not {wanted}: {}",
            record.line
        );
    }
    Ok(())
}

/// Between the attempt and now the API server was asked for both pods, their namespace and its policies, and for what
/// it has stored, not for what it remembers.
async fn was_asked_anew(plane: &Plane, claim: &Record) -> anyhow::Result<()> {
    let since: Timestamp = claim.text("/first_seen").context("no time")?.parse()?;
    let root = "/api/v1/namespaces";
    let wanted = [
        format!("{root}/{}/pods/client", NAMESPACE),
        format!("{root}/{}/pods/shut", NAMESPACE),
        format!("{root}/{NAMESPACE}"),
        format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"),
    ];
    // The log is written a moment after the answer.
    let what = || format!("the audit log has all of {wanted:?}");
    wait::until(what, async || {
        let mut asked = BTreeSet::new();
        for event in plane.audit(STREAMS, ACCOUNT)? {
            let time: Timestamp = text(&event, "/requestReceivedTimestamp").parse()?;
            let asked_for = text(&event, "/requestURI");
            if time > since && !asked_for.contains("resourceVersion") {
                asked.insert(asked_for.trim_end_matches(['?', '&']).to_owned());
            }
        }
        Ok(wanted.iter().all(|path| asked.contains(path)))
    })
    .await
}

/// Of what the deployed account may do everything is used, and nothing else is asked for.
pub(crate) async fn audited() -> anyhow::Result<()> {
    let plane = plane().await?;
    let ports = [STREAMS, PAGES];
    furnish(&plane.admin(STREAMS).await?).await?;
    for port in ports {
        install(&plane.admin(port).await?).await?;
    }
    let token = account(&plane, &ports).await?;
    let db = ObjectKey {
        namespace: "shop".into(),
        name: "db".into(),
    };
    for port in ports {
        let kubeconfig = plane.kubeconfig_by("account", &token, port, None)?;
        let mut mirror = Mirror::synced(&kubeconfig).await?;
        mirror.until_equal(&plane.admin(port).await?).await?;
        ensure!(mirror.objects.contains_key("ClusterNetworkPolicy /all"));
        mirror.ask(vec![Ground::Pod(db.clone()), Ground::Service(db.clone())]);
        mirror.until("confirmed", Mirror::is_confirmed).await?;
        let is_asked = || -> anyhow::Result<bool> {
            let paths = plane.audit(port, ACCOUNT)?;
            Ok(paths
                .iter()
                .any(|event| text(event, "/requestURI") == "/livez"))
        };
        // Nothing changes, so that is all that is heard.
        let asked = "asked whether it is there";
        mirror.until(asked, |_| is_asked().unwrap_or(false)).await?;
    }
    let (looked_at, granted): (BTreeSet<_>, _) = rights(&role()?)
        .into_iter()
        .partition(is_looked_at_by_calico);
    let reviewed = may_read_tiers(&plane).await?;
    ensure!(
        looked_at == reviewed,
        "{looked_at:?} is granted, {reviewed:?} is looked at"
    );
    // The log is written a moment after the answer.
    let what = || format!("{granted:?} are asked for");
    wait::until(what, async || {
        let by_port = ports.map(|port| asked_of(&plane, port, &granted));
        let [streams, pages] = by_port;
        Ok(&streams? | &pages? == granted)
    })
    .await
}

/// Nobody asks for these: Calico's API server looks whether one may, before it shows a policy.
fn is_looked_at_by_calico((_, group, resource): &Right) -> bool {
    group == "projectcalico.org" && (resource == "tiers" || resource.starts_with("tier."))
}

/// What Calico's API server looks at when policies are listed or watched, as it looks at it
/// (`apiserver/pkg/registry/projectcalico/authorizer/authorizer.go`): each has to be allowed.
async fn may_read_tiers(plane: &Plane) -> anyhow::Result<BTreeSet<Right>> {
    const GROUP: &str = "projectcalico.org";
    let mut looks = vec![("get", "tiers", "default")];
    for verb in ["list", "watch"] {
        for resource in ["tier.networkpolicies", "tier.globalnetworkpolicies"] {
            looks.push((verb, resource, "default.*"));
        }
    }
    let admin = plane.admin(STREAMS).await?;
    let mut reviewed = BTreeSet::new();
    for (verb, resource, name) in looks {
        let review = json!({"spec": {"user": ACCOUNT, "resourceAttributes": {
            "verb": verb, "group": GROUP, "version": "v3", "resource": resource, "name": name}}});
        ensure!(
            admin.review(&review).await?,
            "{ACCOUNT} may not {verb} {resource}"
        );
        reviewed.insert((verb.to_owned(), GROUP.to_owned(), resource.to_owned()));
    }
    Ok(reviewed)
}

/// What was asked for, all of which was granted.
fn asked_of(
    plane: &Plane,
    port: u16,
    granted: &BTreeSet<Right>,
) -> anyhow::Result<BTreeSet<Right>> {
    let mut asked = BTreeSet::new();
    for event in plane.audit(port, ACCOUNT)? {
        let code = event.pointer("/responseStatus/code");
        ensure!(code != Some(&json!(403)), "was refused: {event}");
        let right = right(&event);
        ensure!(granted.contains(&right), "is not granted: {event}");
        asked.insert(right);
    }
    Ok(asked)
}

fn right(event: &Value) -> Right {
    let resource = text(event, "/objectRef/resource");
    let asked_for = if resource.is_empty() {
        text(event, "/requestURI")
    } else {
        resource
    };
    (
        text(event, "/verb").to_owned(),
        text(event, "/objectRef/apiGroup").to_owned(),
        asked_for.to_owned(),
    )
}

fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    let text = event.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default()
}
