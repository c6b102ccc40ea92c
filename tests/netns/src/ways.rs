//! The scenarios' rows as real connections, in every way a network can treat them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use libtest_mimic::Trial;

use crate::enforcer::{Mode, Stop};
use crate::paths;
use crate::run::Plan;
use crate::scenario::{Family, Row, Scenario};
use crate::traffic::{Protocol, Server};
use crate::trials;

/// One way to treat a connection.
type Way = (&'static str, Mode, Server);

/// What the network does, and what waits at the other end.
const WAYS: [Way; 8] = [
    ("enforced", Mode::Enforced(Stop::Drop), Server::Answering),
    (
        "rejected",
        Mode::Enforced(Stop::PortUnreachable),
        Server::Answering,
    ),
    ("not enforced", Mode::NotEnforced, Server::Answering),
    (
        "over-enforced",
        Mode::Everything(Stop::Drop),
        Server::Answering,
    ),
    ("upside down", Mode::Inverted(Stop::Drop), Server::Answering),
    (
        "over-enforced by reject",
        Mode::Everything(Stop::PortUnreachable),
        Server::Answering,
    ),
    ("closed port", Mode::NotEnforced, Server::Closed),
    ("dead address", Mode::NotEnforced, Server::Dead),
];
/// TCP alone can be reset.
const RESET: Way = ("reset", Mode::Enforced(Stop::Reset), Server::Answering);
/// UDP alone can be silent.
const SILENT: Way = ("silent server", Mode::NotEnforced, Server::Silent);

/// Every row of `kasm` and `vdi` in both families, over TCP and UDP, in every way.
///
/// Without an agent the tests look at what the clients see and nothing else.
///
/// # Errors
/// When the scenarios are not there.
pub fn all(agent: Option<&Path>) -> anyhow::Result<Vec<Trial>> {
    let mut all = Vec::new();
    for name in ["kasm", "vdi"] {
        let tcp = Scenario::read(name)?;
        let udp = tcp.clone().with_rows(&own_rows(name)?)?;
        for family in [Family::V4, Family::V6] {
            let (tcp, udp) = (only(&tcp, family), only(&udp, family));
            for way in WAYS.into_iter().chain([RESET]) {
                all.extend(tests(agent, &tcp, family, way, "TCP"));
            }
            for way in WAYS.into_iter().chain([SILENT]) {
                all.extend(tests(agent, &udp, family, way, "UDP"));
            }
        }
    }
    Ok(all)
}

/// Expectations of this package for a cluster of `scenarios`.
fn own_rows(name: &str) -> anyhow::Result<String> {
    let file = paths::own(&format!("data/{name}-udp.tsv"));
    std::fs::read_to_string(&file).with_context(|| format!("read `{}`", file.display()))
}

/// The rows whose both ends have an address of that family: pods have both, the world's have one.
fn only(scenario: &Scenario, family: Family) -> Scenario {
    let mut kept = scenario.clone();
    kept.rows
        .retain(|row| scenario.address(&row.to, family).is_ok());
    kept
}

fn tests(
    agent: Option<&Path>,
    scenario: &Scenario,
    family: Family,
    (what, mode, server): Way,
    protocol: &str,
) -> Vec<Trial> {
    let mut scenario = scenario.clone();
    if server == Server::Silent {
        // What is silent outside the node looks like a dead address.
        scenario
            .rows
            .retain(|row| row.protocol == Protocol::Udp && row.to.contains('/'));
    }
    let groups = match server {
        Server::Dead => without_overlap(&scenario.rows),
        Server::Answering | Server::Silent | Server::Closed => vec![scenario.rows.clone()],
    };
    groups
        .into_iter()
        .enumerate()
        .flat_map(|(index, rows)| {
            let part = if index == 0 {
                String::new()
            } else {
                format!(" {}", index + 1)
            };
            let name = &scenario.name;
            trials::rows(Plan {
                name: format!("{name} {} {protocol} {what}{part}:", family.name()),
                scenario: scenario.having(rows),
                family,
                mode,
                server,
                agent: agent.map(PathBuf::from),
            })
        })
        .collect()
}

/// Rows in groups in which no pod is both a source and a destination: a dead pod cannot open a connection.
fn without_overlap(rows: &[Row]) -> Vec<Vec<Row>> {
    let mut groups: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        let fits = |group: &Vec<Row>| {
            group
                .iter()
                .all(|other| other.from != row.to && other.to != row.from)
        };
        match groups.iter_mut().find(|group| fits(group)) {
            Some(group) => group.push(row.clone()),
            None => groups.push(vec![row.clone()]),
        }
    }
    groups
}
