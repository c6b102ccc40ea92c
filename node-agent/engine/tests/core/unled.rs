//! What ends at a Service's own address, before anybody led it to a backend: what kube-proxy stops there is no policy's doing.

use node_agent_engine::input::{DropClass, EventKind, Input};
use node_agent_engine::model::{Delta, ObjectKey};
use node_agent_engine::record::Assessment::{
    self, Blocked, Refused, Unanswered, UnexpectedDrop, Unknown,
};
use node_agent_engine::record::Cause;
use node_agent_engine::verdict::UnknownBecause;
use serde_json::{Value, json};

use super::bench::{
    API, Bench, JOB, NODE, NODE_PORT, OTHER_NODE, S, Seen, WEB, WORLD, node_port, pod, service,
    slice,
};
use super::outcomes::{Tell, drop, stopped};

/// The load balancer's address of the Service `api`.
const BALANCER: &str = "198.51.100.9";

/// The Service `api` with a load balancer, and with more in its `spec`.
fn service_with(spec: &Value) -> Value {
    let mut service = service();
    for (key, value) in spec.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    service["status"] = json!({"loadBalancer": {"ingress": [{"ip": BALANCER}]}});
    service
}

type Claim = (Assessment, Option<UnknownBecause>, Option<Cause>);

const NO_ENDPOINTS: Claim = (Refused, None, Some(Cause::NoEndpoints));
const DROP: Claim = (UnexpectedDrop, None, None);
const UNKNOWN: Claim = (Unknown, Some(UnknownBecause::Backend), None);

/// A pod of the other node that no policy selects.
const FREE: &str = "10.42.1.30";
/// One that lets nobody in.
const CLOSED: &str = "10.42.1.31";

const WEB_V6: &str = "fd00:42::11";

fn free() -> Value {
    pod("free", "free", FREE, "node-2")
}

fn closed() -> Value {
    pod("closed", "closed", CLOSED, "node-1")
}

fn nobody_enters() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "closed", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "closed"}}, "policyTypes": ["Ingress"]}})
}

/// What is claimed of an attempt of `web` that ends so.
fn claimed(objects: &[Value], tell: Tell, to: &str) -> Claim {
    let mut bench = Bench::settled();
    for object in objects {
        bench.apply(object);
    }
    bench.pass(30 * S);
    claim(&mut bench, tell, WEB, to)
}

fn claim(bench: &mut Bench, tell: Tell, from: &str, to: &str) -> Claim {
    let seen = bench.attempt(from, to);
    claim_of(bench, tell, seen)
}

fn claim_of(bench: &mut Bench, tell: Tell, mut seen: Seen) -> Claim {
    seen.attempt.source_link = Some(1);
    for input in tell(bench, seen) {
        bench.give(input);
    }
    bench.pass(10 * S);
    let found = bench.only();
    (found.assessment, found.unknown_because, found.cause)
}

const DROPPED: Tell = |bench, seen| drop(bench, seen, DropClass::Netfilter, false);
const REJECTED: Tell =
    |bench, seen| stopped(bench, seen.rejected(NODE, 3, 3), EventKind::Unreachable);
const FAR: Tell = |bench, seen| {
    stopped(
        bench,
        seen.rejected(OTHER_NODE, 3, 3),
        EventKind::Unreachable,
    )
};
const IN_POD: Tell = |bench, seen| drop(bench, seen, DropClass::Netfilter, true);
const SILENT: Tell = |_, seen| vec![seen.swept()];

/// `Local` leads to backends of the client's own node only, each policy for its own kind of address.
#[test]
fn a_service_that_stays_on_its_node_has_nobody_there() {
    let inside = json!({"internalTrafficPolicy": "Local"});
    let outside = json!({"externalTrafficPolicy": "Local"});
    let neither = json!({"internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"});
    let own = (UnexpectedDrop, None, Some(Cause::OwnFirewall));
    let silent = (Unanswered, None, None);
    let rows: [(&str, &Value, &str, Tell, &str, Claim); 11] = [
        ("inside, dropped", &inside, FREE, DROPPED, API, NO_ENDPOINTS),
        (
            "inside, rejected",
            &inside,
            FREE,
            REJECTED,
            API,
            NO_ENDPOINTS,
        ),
        ("inside, somebody here", &inside, JOB, DROPPED, API, DROP),
        ("inside, own firewall", &inside, FREE, IN_POD, API, own),
        ("inside, to outside", &inside, FREE, DROPPED, BALANCER, DROP),
        (
            "outside, dropped",
            &outside,
            FREE,
            DROPPED,
            BALANCER,
            NO_ENDPOINTS,
        ),
        (
            "outside, somebody here",
            &outside,
            JOB,
            DROPPED,
            BALANCER,
            DROP,
        ),
        ("outside, to inside", &outside, FREE, DROPPED, API, DROP),
        ("outside, silent", &outside, FREE, SILENT, BALANCER, silent),
        ("neither", &neither, FREE, DROPPED, API, DROP),
        (
            "neither, to outside",
            &neither,
            FREE,
            DROPPED,
            BALANCER,
            DROP,
        ),
    ];
    for (name, spec, ready, tell, to, expected) in rows {
        let objects = [free(), service_with(spec), slice(&[ready])];
        assert_eq!(claimed(&objects, tell, to), expected, "{name}");
    }
}

/// A node's port is its Service's: who calls it is told so when there is nobody to lead him to.
#[test]
fn a_node_port_has_nobody_behind_it() {
    let local = |mut service: Value| {
        service["spec"]["externalTrafficPolicy"] = json!("Local");
        service
    };
    let open = (Unknown, Some(UnknownBecause::OpenInSpecification), None);
    let (port, other) = (NODE_PORT, NODE_PORT + 1);
    type Row<'a> = (&'a str, Value, &'a [&'a str], Tell, (&'a str, u16), Claim);
    let rows: [Row<'_>; 8] = [
        (
            "rejected",
            node_port(),
            &[],
            REJECTED,
            (NODE, port),
            NO_ENDPOINTS,
        ),
        (
            "dropped",
            node_port(),
            &[],
            DROPPED,
            (NODE, port),
            NO_ENDPOINTS,
        ),
        (
            "refused far away",
            node_port(),
            &[],
            FAR,
            (OTHER_NODE, port),
            NO_ENDPOINTS,
        ),
        (
            "own firewall",
            node_port(),
            &[],
            IN_POD,
            (NODE, port),
            (Unknown, open.1, Some(Cause::OwnFirewall)),
        ),
        ("somebody", node_port(), &[JOB], DROPPED, (NODE, port), open),
        (
            "another port",
            node_port(),
            &[],
            DROPPED,
            (NODE, other),
            DROP,
        ),
        (
            "nobody here",
            local(node_port()),
            &[FREE],
            DROPPED,
            (NODE, port),
            NO_ENDPOINTS,
        ),
        (
            "somebody there",
            local(node_port()),
            &[FREE],
            DROPPED,
            (OTHER_NODE, port),
            open,
        ),
    ];
    for (name, service, ready, tell, (to, port), expected) in rows {
        let mut bench = Bench::settled();
        for object in [free(), service, slice(ready)] {
            bench.apply(&object);
        }
        bench.pass(30 * S);
        let mut seen = bench.attempt(WEB, to);
        seen.flow.destination_port = port;
        assert_eq!(claim_of(&mut bench, tell, seen), expected, "{name}");
    }
}

/// Of two ports, or two families, one has nobody.
#[test]
fn each_port_has_its_own_backends() {
    let mut other = slice(&[FREE]);
    other["ports"][0]["name"] = json!("metrics");
    for (name, slice, expected) in [
        ("another port's backend", other, NO_ENDPOINTS),
        ("its own backend", slice(&[FREE]), DROP),
    ] {
        let objects = [free(), service(), slice];
        assert_eq!(claimed(&objects, DROPPED, API), expected, "{name}");
    }
}

/// Whether a source is let in is the Service's own affair, and no drop tells the one from the other.
#[test]
fn a_service_that_limits_its_sources_may_have_stopped_it() {
    let with = |ranges: &[&str]| json!({"externalTrafficPolicy": "Local", "loadBalancerSourceRanges": ranges});
    let (limits, nobody) = (with(&["192.0.2.0/24"]), with(&[]));
    let blocked = (Blocked, None, None);
    let rows: [(&str, &Value, &str, &str, Claim); 7] = [
        ("limited", &limits, JOB, BALANCER, UNKNOWN),
        ("limited, denied", &limits, CLOSED, BALANCER, UNKNOWN),
        ("limited, to inside", &limits, JOB, API, DROP),
        ("limited, denied inside", &limits, CLOSED, API, blocked),
        (
            "limited, nobody here",
            &limits,
            FREE,
            BALANCER,
            NO_ENDPOINTS,
        ),
        ("not limited", &nobody, JOB, BALANCER, DROP),
        ("not limited, denied", &nobody, CLOSED, BALANCER, blocked),
    ];
    for (name, spec, ready, to, expected) in rows {
        let objects = [
            free(),
            closed(),
            nobody_enters(),
            service_with(spec),
            slice(&[ready]),
        ];
        assert_eq!(claimed(&objects, DROPPED, to), expected, "{name}");
    }
}

/// A pod calls an address that a Service had, or that lies among those of Services.
#[test]
fn what_services_have_is_not_outside() {
    let unknown = (Unknown, Some(UnknownBecause::Identity), None);
    let rows: [(&str, &[&str], &str, Claim); 18] = [
        ("a neighbour", &[API], "10.43.0.99", unknown),
        ("between two", &[API, "10.43.200.1"], "10.43.77.1", unknown),
        ("beyond two", &[API, "10.43.200.1"], "10.44.0.1", DROP),
        ("of another range", &[API, "172.20.0.1"], "10.200.0.1", DROP),
        ("of two ranges", &[API, "172.20.0.1"], "172.20.0.9", unknown),
        ("a neighbour, IPv6", &["fd00:43::1"], "fd00:43::99", unknown),
        (
            "between two, IPv6",
            &["fd00:43::1", "fd00:43::8:0"],
            "fd00:43::5:5",
            unknown,
        ),
        ("beyond, IPv6", &["fd00:43::1"], "fd00:43::1:0:0", DROP),
        ("far up in a private range", &[API], "10.43.200.9", unknown),
        (
            "far up, of 192.168",
            &["192.168.64.1"],
            "192.168.127.9",
            unknown,
        ),
        ("beyond a private range", &[API], "10.44.0.9", DROP),
        ("beyond 192.168", &["192.168.64.1"], "192.169.64.2", DROP),
        ("far up, IPv6", &["fd00:43::1"], "fd00:43::f:ffff", unknown),
        (
            "a neighbour, public",
            &["34.118.224.1"],
            "34.118.224.99",
            unknown,
        ),
        ("far up, public", &["34.118.224.1"], "34.118.230.9", DROP),
        (
            "far up, public IPv6",
            &["2001:db8:43::1"],
            "2001:db8:43::f:ffff",
            DROP,
        ),
        ("of a balancer", &[API], "198.51.100.10", DROP),
        ("outside", &[API], WORLD, DROP),
    ];
    for (name, services, to, expected) in rows {
        let from = if to.contains(':') { WEB_V6 } else { WEB };
        let mut bench = with_services(services);
        assert_eq!(claim(&mut bench, DROPPED, from, to), expected, "{name}");
    }
}

/// Services go, and so do their addresses: at once from the blocks, and by and by from what is remembered of each.
#[test]
fn a_service_that_is_gone_leaves_its_addresses() {
    let unknown = (Unknown, Some(UnknownBecause::Identity), None);
    for (name, after_ns, to, expected) in [
        ("its address", 10 * S, API, unknown),
        ("its balancer's", 10 * S, BALANCER, unknown),
        ("long after", 100 * S, API, DROP),
        ("its neighbour", 10 * S, "10.43.0.99", DROP),
    ] {
        let mut bench = with_services(&[API]);
        bench.give(Input::Delta(Box::new(Delta::ServiceGone(ObjectKey {
            namespace: "shop".into(),
            name: "service-0".into(),
        }))));
        // What is too old is forgotten with the next change.
        bench.pass(after_ns);
        bench.apply(&free());
        bench.pass(20 * S);
        assert_eq!(claim(&mut bench, DROPPED, WEB, to), expected, "{name}");
    }
}

/// Services with these addresses, each with the load balancer's too.
fn with_services(ips: &[&str]) -> Bench {
    let mut bench = Bench::settled();
    let mut web = pod("web", "web", WEB, "node-1");
    web["status"]["podIPs"] = json!([{"ip": WEB}, {"ip": WEB_V6}]);
    bench.apply(&web);
    for (number, ip) in ips.iter().enumerate() {
        let mut service = service_with(&json!({"clusterIP": ip, "clusterIPs": [ip]}));
        service["metadata"]["name"] = json!(format!("service-{number}"));
        bench.apply(&service);
    }
    bench.pass(30 * S);
    bench
}
