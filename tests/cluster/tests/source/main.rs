//! The source of the cluster against a real API server: lists and watches, cuts and restarts, rights and errors.

mod access;
mod changes;
mod chaos;
mod claims;
mod clocks;
mod confirm;
mod deploy;
mod listing;
mod outage;
mod traffic;
mod world;

use cluster::admin::Admin;
use cluster::ground::{self, test};
use cluster::plane::{ALONE, Plane};
use jiff::SignedDuration;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// A server as it is by default.
const STREAMS: u16 = 6443;
/// One that does not stream lists.
const PAGES: u16 = 6444;
/// One that is killed.
const MORTAL: u16 = 6445;

static PLANE: OnceCell<Mutex<Plane>> = OnceCell::const_new();

fn main() {
    if let Err(error) = ground::enter() {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
    let trials = vec![
        test("streamed lists are followed", || listing::follows(STREAMS)),
        test("paged lists are followed", || listing::follows(PAGES)),
        test("one address passes through many pods", listing::one_address),
        test(
            "a namespace comes again with other labels",
            listing::namespace_again,
        ),
        test(
            "a kind that is installed later is told",
            listing::later_kind,
        ),
        test(
            "a group whose own server is away is unknown",
            listing::group_away,
        ),
        test("killed and restarted servers lose nothing", chaos::restarts),
        test(
            "a lagging watch is listed anew after compaction",
            chaos::compaction,
        ),
        test("cut streams lose nothing", chaos::cuts),
        test("a server that was set back is listed anew", chaos::restored),
        test("no claim is false while all of it happens", traffic::chaos),
        test("no claim is false while streams are torn", traffic::torn),
        test("what is true is claimed, once", claims::true_ones),
        test(
            "what changes is in flux, and then claimed",
            changes::are_in_flux,
        ),
        test(
            "what is known ages while the server is away",
            outage::is_told,
        ),
        test("what is known ages while the server hangs", outage::hangs),
        test("no claim is false by a clock that is 3 s behind", || {
            clocks::differ(SignedDuration::from_secs(-3))
        }),
        test("no claim is false by a clock that is 3 s ahead", || {
            clocks::differ(SignedDuration::from_secs(3))
        }),
        test("what is as delivered is confirmed", confirm::agrees),
        test(
            "an address is nobody's only while no pod has it",
            confirm::strangers,
        ),
        test(
            "what a watch has not told is not confirmed",
            confirm::behind,
        ),
        test("the deployment is taken as it is", deploy::is_taken),
        test("the role is exactly what is asked for", claims::audited),
        test("a missing rule is named for each kind", access::forbidden),
        test("who is unknown is told so", access::unauthorized),
        test("an expired certificate is told", access::expired),
        test("a server that is not there is told", access::unreachable),
        test(
            "a server without EndpointSlice v1 is too old",
            access::too_old,
        ),
        test("the agent is ready, and ends", access::agent_is_ready),
        test(
            "the agent ends with 3 without its server",
            access::agent_lacks_server,
        ),
    ];
    ground::conclude(trials, || {
        if let Some(plane) = PLANE.get() {
            plane.blocking_lock().end();
        }
    })
}

/// The control plane, for one test at a time.
async fn plane() -> anyhow::Result<MutexGuard<'static, Plane>> {
    let plane = PLANE
        .get_or_try_init(async || {
            let mut plane = Plane::start().await?;
            plane.add(STREAMS, &[ALONE]);
            plane.add(PAGES, &[ALONE, "--feature-gates=WatchList=false"]);
            plane.add(MORTAL, &[ALONE]);
            plane.run(STREAMS)?;
            plane.run(PAGES)?;
            plane.ready(STREAMS).await?;
            plane.ready(PAGES).await?;
            anyhow::Ok(Mutex::new(plane))
        })
        .await?;
    Ok(plane.lock().await)
}

const CILIUM: &str = "cilium.io";

/// Installs the kinds of policies that not every server has.
async fn install(admin: &Admin) -> anyhow::Result<()> {
    const POLICY: &str = "policy.networking.k8s.io";
    const CALICO: &str = "crd.projectcalico.org";
    for (kind, group, version, scope) in [
        ("ClusterNetworkPolicy", POLICY, "v1alpha2", "Cluster"),
        ("AdminNetworkPolicy", POLICY, "v1alpha1", "Cluster"),
        ("BaselineAdminNetworkPolicy", POLICY, "v1alpha1", "Cluster"),
        ("NetworkPolicy", CALICO, "v1", "Namespaced"),
        ("GlobalNetworkPolicy", CALICO, "v1", "Cluster"),
        ("NetworkPolicy", "projectcalico.org", "v3", "Namespaced"),
        ("GlobalNetworkPolicy", "projectcalico.org", "v3", "Cluster"),
        ("CiliumNetworkPolicy", CILIUM, "v2", "Namespaced"),
        ("CiliumClusterwideNetworkPolicy", CILIUM, "v2", "Cluster"),
    ] {
        admin.install(kind, group, version, scope).await?;
    }
    let policy = serde_json::json!({"apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy", "metadata": {"name": "all"},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {"matchLabels": {"team": "a"}}},
            "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}});
    let policies = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies";
    admin.create(policies, &policy).await
}

/// The usual cluster: a namespace of everything, and one with more policies than a page holds.
async fn furnish(admin: &Admin) -> anyhow::Result<()> {
    use serde_json::json;
    admin.namespace("shop", json!({"team": "a"})).await?;
    admin.namespace("many", json!({})).await?;
    let node = json!({"metadata": {"name": "node-1"}, "spec": {"podCIDR": "10.42.0.0/24"}});
    admin.create("/api/v1/nodes", &node).await?;
    admin.pod("shop", "db", "10.42.0.10").await?;
    admin.pod("shop", "web", "10.42.0.11").await?;
    admin.policy("shop", "db", "db").await?;
    admin.service("shop", "db", 5432).await?;
    let slice = json!({"metadata": {"name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.42.0.10"]}], "ports": [{"port": 5432}]});
    let slices = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
    admin.create(slices, &slice).await?;
    for number in 0..520 {
        admin.policy("many", &format!("p{number}"), "none").await?;
    }
    Ok(())
}
