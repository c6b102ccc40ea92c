//! What policy means here: so little that it is surely right, and written without a look at netverdict's engine.
//!
//! Pods belong to apps, apps to namespaces. A policy isolates an app in one direction, and names the apps that may talk
//! to it, or that it may talk to, on one port.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;

use netns::record::Record;
use serde_json::Value;

/// How many pods there are; each has an address that its successor takes over.
pub(crate) const SLOTS: usize = 200;
pub(crate) const APPS: usize = 20;
const NAMESPACES: usize = 4;
/// The port that policies name.
pub(crate) const NAMED_PORT: u16 = 8080;
/// One that no policy names.
pub(crate) const OTHER_PORT: u16 = 9090;

/// Which apps an app may talk to, or be talked to by; `None` when no policy isolates it.
pub(crate) type Allowed = Option<BTreeSet<usize>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Egress,
    Ingress,
}

impl Direction {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct App {
    pub(crate) egress: Allowed,
    pub(crate) ingress: Allowed,
}

impl App {
    pub(crate) fn allowed(&self, direction: Direction) -> &Allowed {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }

    pub(crate) fn allowed_mut(&mut self, direction: Direction) -> &mut Allowed {
        match direction {
            Direction::Egress => &mut self.egress,
            Direction::Ingress => &mut self.ingress,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) app: usize,
}

/// Pods and policies at one time.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) apps: Vec<App>,
    /// By slot; none while one pod is gone and the next has not come.
    pub(crate) pods: Vec<Option<Pod>>,
}

/// What the enforcer gets wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// What policy denies goes through; otherwise what it allows is stopped.
    pub(crate) lets_through: bool,
}

/// The address of a slot.
pub(crate) fn address(slot: usize) -> Ipv4Addr {
    let low = u8::try_from(slot + 10).unwrap_or(u8::MAX);
    Ipv4Addr::new(10, 42, 0, low)
}

pub(crate) fn slot_of(address: &str) -> Option<usize> {
    let address: Ipv4Addr = address.parse().ok()?;
    let [10, 42, 0, low] = address.octets() else {
        return None;
    };
    usize::from(low).checked_sub(10)
}

pub(crate) fn namespace(app: usize) -> usize {
    app % NAMESPACES
}

pub(crate) fn policy_name(direction: Direction, app: usize) -> String {
    format!("{}-of-a{app}", direction.word())
}

impl Model {
    fn pod(&self, slot: usize) -> Option<&Pod> {
        self.pods.get(slot)?.as_ref()
    }

    /// The direction in which policy denies a connection, egress first; outside none when it allows it, and none at all
    /// when one of the pods is not there.
    pub(crate) fn denied(&self, from: usize, to: usize, port: u16) -> Option<Option<Direction>> {
        let (source, destination) = (self.pod(from)?, self.pod(to)?);
        let lets = |allowed: &Allowed, app: usize| match allowed {
            Some(apps) => port == NAMED_PORT && apps.contains(&app),
            None => true,
        };
        let egress = &self.apps.get(source.app)?.egress;
        let ingress = &self.apps.get(destination.app)?.ingress;
        Some(if !lets(egress, destination.app) {
            Some(Direction::Egress)
        } else if !lets(ingress, source.app) {
            Some(Direction::Ingress)
        } else {
            None
        })
    }

    /// What an enforcer that is right has in its tables, but for one fault.
    pub(crate) fn ruleset(
        &self,
        table: &str,
        fault: Option<Fault>,
    ) -> Result<String, std::fmt::Error> {
        let mut rules = format!("table ip {table} {{\n");
        for app in 0..APPS {
            let pods = self.pods.iter().enumerate();
            let members = pods.filter(|(_, pod)| pod.as_ref().is_some_and(|pod| pod.app == app));
            let members: Vec<String> = members.map(|(slot, _)| address(slot).to_string()).collect();
            let elements = match members.is_empty() {
                true => String::new(),
                false => format!("elements = {{ {} }};", members.join(", ")),
            };
            writeln!(rules, "set a{app} {{ type ipv4_addr; {elements} }}")?;
        }
        let mut walk = String::new();
        for (number, app) in self.apps.iter().enumerate() {
            let sides = [
                (Direction::Egress, &app.egress, "saddr", "daddr"),
                (Direction::Ingress, &app.ingress, "daddr", "saddr"),
            ];
            for (direction, allowed, subject, peer) in sides {
                let Some(allowed) = allowed else { continue };
                let chain = format!("{}{number}", direction.word());
                writeln!(rules, "chain {chain} {{")?;
                for app in allowed {
                    writeln!(rules, "ip {peer} @a{app} th dport {NAMED_PORT} return")?;
                }
                writeln!(rules, "drop\n}}")?;
                writeln!(walk, "ip {subject} @a{number} jump {chain}")?;
            }
        }
        writeln!(
            rules,
            "chain forward {{ type filter hook forward priority 0;"
        )?;
        // Whoever opens is asked also where it has the ports of a connection that conntrack has not forgotten yet.
        writeln!(
            rules,
            "ct state established,related ct direction reply accept"
        )?;
        writeln!(
            rules,
            "ct state established meta l4proto tcp tcp flags & (syn | ack) != syn accept"
        )?;
        if let Some(Fault {
            from,
            to,
            lets_through,
        }) = fault
        {
            let end = if lets_through { "accept" } else { "drop" };
            let (from, to) = (address(from), address(to));
            writeln!(
                rules,
                "ip saddr {from} ip daddr {to} th dport {NAMED_PORT} {end}"
            )?;
        }
        writeln!(rules, "{walk}}}\n}}")?;
        Ok(rules)
    }
}

/// The node, and the namespaces of all apps.
pub(crate) fn ground_yaml() -> String {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\n\
                spec: {podCIDR: 10.42.0.0/16, podCIDRs: [10.42.0.0/16]}\n\
                status: {addresses: [{type: InternalIP, address: 192.0.2.10}]}\n";
    let namespace =
        |number| format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n{number}}}\n");
    node.to_owned() + &(0..NAMESPACES).map(namespace).collect::<String>()
}

pub(crate) fn pod_yaml(slot: usize, Pod { name, app }: &Pod) -> String {
    let (address, namespace) = (address(slot), namespace(*app));
    format!(
        "apiVersion: v1\nkind: Pod\n\
         metadata: {{name: {name}, namespace: n{namespace}, uid: uid-of-{name}, labels: {{app: a{app}}}}}\n\
         spec: {{nodeName: node-1, containers: [{{name: main}}]}}\n\
         status: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}]}}\n"
    )
}

pub(crate) fn policy_yaml(direction: Direction, app: usize, peers: &BTreeSet<usize>) -> String {
    let (kind, list, side) = match direction {
        Direction::Egress => ("Egress", "egress", "to"),
        Direction::Ingress => ("Ingress", "ingress", "from"),
    };
    let peer = |app: &usize| {
        format!(
            "{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: n{}}}}}, \
             podSelector: {{matchLabels: {{app: a{app}}}}}}}",
            namespace(*app)
        )
    };
    let port = |protocol| format!("{{protocol: {protocol}, port: {NAMED_PORT}}}");
    let rules = match peers.is_empty() {
        // A rule without peers would allow all.
        true => "[]".to_owned(),
        false => format!(
            "[{{{side}: [{}], ports: [{}, {}]}}]",
            peers.iter().map(peer).collect::<Vec<_>>().join(", "),
            port("TCP"),
            port("UDP")
        ),
    };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: {}, namespace: n{}}}\n\
         spec: {{podSelector: {{matchLabels: {{app: a{app}}}}}, policyTypes: [{kind}], {list}: {rules}}}\n",
        policy_name(direction, app),
        namespace(app)
    )
}

impl Model {
    /// Whether a record names, on each side that a policy isolates, that policy: the one that denies, or the one whose
    /// rule allows.
    pub(crate) fn is_named_in(&self, record: &Record, from: usize, to: usize) -> bool {
        let (Some(source), Some(destination)) = (self.pod(from), self.pod(to)) else {
            return false;
        };
        let sides = [
            (Direction::Egress, source.app),
            (Direction::Ingress, destination.app),
        ];
        sides.into_iter().all(|(direction, app)| {
            let isolates = self
                .apps
                .get(app)
                .is_some_and(|app| app.allowed(direction).is_some());
            let isolated_by = record
                .value
                .pointer(&format!("/verdict/{}/isolated_by", direction.word()));
            let named: Vec<&str> = isolated_by
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|policy| policy.get("name")?.as_str())
                .collect();
            match isolates {
                true => named == [policy_name(direction, app)],
                false => named.is_empty(),
            }
        })
    }
}
