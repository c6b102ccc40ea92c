//! A cell of the matrix, as its file says it, and the attempts that it stands for.

mod kinds;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, anyhow, ensure};
use netns::paths;
use netns::scenario::Family;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) use self::kinds::{
    Attach, ClientWay, Counts, From, Ground, Hook, Pods, Policy, Saw, Serves, To, Transport,
};

/// The files, in the order in which they are printed, each with its heading.
pub(crate) const FILES: [(&str, &str); 5] = [
    ("enforced", "Stopped by something that enforces"),
    ("not_policy", "Stopped by something else, or not at all"),
    ("paths", "Ways through the node"),
    ("nodes", "Between two nodes"),
    ("protocols", "Other protocols"),
];
/// The first attempt's port; each has its own, and is known by it.
const FIRST_PORT: u16 = 2000;
/// From an attempt's port to the port of the node that leads there.
pub(crate) const NODE_PORTS: u16 = 28_000;

/// One mechanism at one place, and what becomes of connections that meet it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Cell {
    pub(crate) mechanism: String,
    pub(crate) place: String,
    #[serde(default)]
    pub(crate) ground: Ground,
    #[serde(default)]
    pub(crate) from: From,
    #[serde(default)]
    pub(crate) to: To,
    /// What its Service's `spec` says besides.
    #[serde(default)]
    pub(crate) service: Map<String, Value>,
    #[serde(default)]
    pub(crate) pods: Pods,
    pub(crate) protocols: Vec<Transport>,
    #[serde(default = "both_families")]
    pub(crate) families: Vec<Family>,
    /// Commands that must be there.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    /// Why no machine of ours can run it.
    pub(crate) skip: Option<String>,
    /// Shell, once for each attempt, in the namespace that it is named after.
    pub(crate) node: Option<String>,
    pub(crate) server_pod: Option<String>,
    pub(crate) client_pod: Option<String>,
    pub(crate) world: Option<String>,
    /// The destination's node, where it is another one.
    pub(crate) far_node: Option<String>,
    /// What lies between two nodes.
    pub(crate) between: Option<String>,
    /// What is attached that no shell command attaches.
    #[serde(default)]
    pub(crate) attach: Vec<Attach>,
    #[serde(default)]
    pub(crate) server: Serves,
    #[serde(default)]
    pub(crate) client: ClientWay,
    /// What the client sees.
    pub(crate) saw: Saw,
    /// As in a record; `none` is no record at all.
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    #[serde(rename = "where")]
    pub(crate) place_of_drop: Option<String>,
    /// Not looked at where it is not given.
    pub(crate) client_saw: Option<String>,
    pub(crate) cause: Option<String>,
    /// Not looked at where it is not given.
    pub(crate) evidence: Option<Vec<String>>,
    #[serde(default = "both_sides")]
    pub(crate) reporter: String,
    /// Kind of the record's destination, where it is not what the client connects to.
    pub(crate) destination: Option<String>,
    /// The record's source, where it is not who connects.
    pub(crate) source: Option<From>,
    /// A Service is named.
    #[serde(default)]
    pub(crate) names_service: bool,
    pub(crate) allowed: Option<Claim>,
    /// Denied by the destination's policies.
    pub(crate) denied: Option<Claim>,
    /// Denied by the source's policies.
    pub(crate) denied_egress: Option<Claim>,
    /// Denied by both.
    pub(crate) denied_both: Option<Claim>,
    /// What the agent of the other node writes, if it writes anything.
    pub(crate) far: Option<Far>,
    /// Which of two agents counts it.
    pub(crate) counts: Option<Counts>,
}

/// What the destination's own agent tells of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Far {
    outcome: String,
    reason: Option<String>,
    #[serde(rename = "where")]
    place_of_drop: Option<String>,
    client_saw: Option<String>,
    cause: Option<String>,
    evidence: Option<Vec<String>>,
    allowed: Option<Claim>,
    denied: Option<Claim>,
    denied_egress: Option<Claim>,
    denied_both: Option<Claim>,
}

/// What may be claimed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Claim {
    /// The assessment.
    pub(crate) is: Option<String>,
    /// `unknown_because`.
    pub(crate) because: Option<String>,
    /// Of each side that denies, whether it was kept.
    #[serde(default)]
    pub(crate) kept: BTreeMap<String, String>,
    /// netverdict does not say so yet, and why: the test fails as soon as it does.
    pub(crate) falls_short: Option<FallsShort>,
}

/// What netverdict says instead.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FallsShort {
    pub(crate) why: String,
    /// What the comparison finds, or a part of it.
    pub(crate) told: String,
}

/// One attempt of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Which cell, of all.
    pub(crate) cell: usize,
    pub(crate) transport: Transport,
    pub(crate) family: Family,
    pub(crate) policy: Policy,
    pub(crate) port: u16,
}

impl Cell {
    pub(crate) fn claims(&self) -> impl Iterator<Item = (Policy, &Claim)> {
        [
            (Policy::Allowed, &self.allowed),
            (Policy::Denied, &self.denied),
            (Policy::DeniedEgress, &self.denied_egress),
            (Policy::DeniedBoth, &self.denied_both),
        ]
        .into_iter()
        .filter_map(|(policy, claim)| Some((policy, claim.as_ref()?)))
    }

    pub(crate) fn claim(&self, policy: Policy) -> Option<&Claim> {
        self.claims()
            .find_map(|(of, claim)| (of == policy).then_some(claim))
    }

    /// As the agent of the other node tells of it.
    pub(crate) fn seen_from_afar(&self) -> Option<Self> {
        let far = self.far.clone()?;
        Some(Self {
            outcome: far.outcome,
            reason: far.reason,
            place_of_drop: far.place_of_drop,
            client_saw: far.client_saw,
            cause: far.cause,
            evidence: far.evidence,
            reporter: "destination".to_owned(),
            // What another node translated, conntrack of this one does not know.
            names_service: false,
            allowed: far.allowed,
            denied: far.denied,
            denied_egress: far.denied_egress,
            denied_both: far.denied_both,
            far: None,
            ..self.clone()
        })
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.claims().next().is_some(),
            "it says nothing of any policy"
        );
        for (_, claim) in self.claims() {
            let told = self.outcome != "none";
            ensure!(
                claim.is.is_some() == told,
                "a record has an assessment, no record has none"
            );
        }
        let policies = |cell: &Self| cell.claims().map(|(policy, _)| policy).collect::<Vec<_>>();
        if let Some(far) = self.seen_from_afar() {
            ensure!(
                policies(&far) == policies(self),
                "both agents tell of the same policies"
            );
        }
        // Metrics name only ports that somebody says he serves.
        let is_told = self.outcome != "none" || self.far.is_some();
        let is_counted =
            self.ground.way().is_some() && is_told && !matches!(self.to, To::Nobody | To::FarNode);
        ensure!(
            is_counted == self.counts.is_some(),
            "of two agents one counts it, of one there is nothing to say"
        );
        let by_port = |transport| matches!(transport, &Transport::Tcp | &Transport::Udp);
        ensure!(
            self.pods == Pods::Own || self.protocols.iter().all(by_port),
            "SCTP and ICMP want `pods: own`: what comes back is told apart by the addresses"
        );
        Ok(())
    }
}

fn both_families() -> Vec<Family> {
    vec![Family::V4, Family::V6]
}

fn both_sides() -> String {
    "both".to_owned()
}

/// All cells by file.
pub(crate) fn read() -> anyhow::Result<Vec<(&'static str, Vec<Cell>)>> {
    FILES
        .into_iter()
        .map(|(name, heading)| {
            let file = paths::own("matrix").join(name).with_extension("yaml");
            let text =
                fs::read_to_string(&file).with_context(|| format!("read `{}`", file.display()))?;
            let cells: Vec<Cell> = serde_saphyr::from_str(&text)
                .map_err(|error| anyhow!("`{}`: {error}", file.display()))?;
            for cell in &cells {
                cell.check()
                    .with_context(|| format!("`{}`: {}", file.display(), cell.mechanism))?;
            }
            ensure!(!cells.is_empty(), "`{}` has no cell", file.display());
            Ok((heading, cells))
        })
        .collect()
}

/// What the cells stand for, one by one.
pub(crate) fn attempts(cells: &[Cell]) -> Vec<Attempt> {
    let mut all = Vec::new();
    let mut port = FIRST_PORT;
    for (index, cell) in cells.iter().enumerate() {
        for transport in &cell.protocols {
            for family in &cell.families {
                for (policy, _) in cell.claims() {
                    all.push(Attempt {
                        cell: index,
                        transport: *transport,
                        family: *family,
                        policy,
                        port,
                    });
                    port += 1;
                }
            }
        }
    }
    all
}
