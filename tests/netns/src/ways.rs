//! The scenarios' rows as real connections, in every way a network can treat them.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use libtest_mimic::Trial;

use crate::enforcer::{Mode, Stop};
use crate::paths;
use crate::run::Plan;
use crate::scenario::{Family, Row, Scenario};
use crate::traffic::{Protocol, Server};
use crate::trials;

/// One way to treat a connection.
type Way = (&'static str, Mode, Server);

/// The scenarios, and how many expectations each has at the least: what is empty would be green.
const SCENARIOS: [(&str, usize); 5] = [
    ("app", 16),
    ("dev-containers", 11),
    ("kasm", 10),
    ("safeops", 19),
    ("vdi", 13),
];
/// Those whose clusters are asked over UDP, too, and in every way.
const IN_EVERY_WAY: [&str; 2] = ["kasm", "vdi"];
/// What the network does about the policies, in each scenario.
const MODES: [Way; 4] = [
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
];
/// What else it can do, and what else can wait at the other end.
const MORE: [Way; 4] = [
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

/// Every row of every scenario in both families: enforced, not enforced, over-enforced; two of them over TCP and UDP
/// and in every way.
///
/// Without an agent the tests look at what the clients see and nothing else.
///
/// # Errors
/// When the scenarios are not there, or lack what they had.
pub fn all(agent: Option<&Path>) -> anyhow::Result<Vec<Trial>> {
    let mut all = Vec::new();
    for (name, least) in SCENARIOS {
        let scenario = Scenario::read(name)?;
        let rows = scenario.rows.len();
        ensure!(
            rows >= least,
            "{name} has {rows} expectations, it had {least}"
        );
        say_left_out(&scenario)?;
        for (way, rows) in rows_and_ways(&scenario)? {
            for family in [Family::V4, Family::V6] {
                all.extend(tests(agent, &only(&rows, family), family, way));
            }
        }
    }
    Ok(all)
}

/// What is run of a scenario.
fn rows_and_ways(scenario: &Scenario) -> anyhow::Result<Vec<(Way, Scenario)>> {
    let all = |ways: &[Way], rows: &Scenario| -> Vec<(Way, Scenario)> {
        ways.iter().map(|way| (*way, rows.clone())).collect()
    };
    if !IN_EVERY_WAY.contains(&scenario.name.as_str()) {
        return Ok(all(&MODES, scenario));
    }
    let tcp = [&MODES[..], &MORE, &[RESET]].concat();
    let udp = [&MODES[..], &MORE, &[SILENT]].concat();
    Ok([all(&tcp, scenario), all(&udp, &over_udp(scenario)?)].concat())
}

/// The scenario with expectations of this package.
fn over_udp(scenario: &Scenario) -> anyhow::Result<Scenario> {
    let file = paths::own(&format!("data/{}-udp.tsv", scenario.name));
    let rows =
        std::fs::read_to_string(&file).with_context(|| format!("read `{}`", file.display()))?;
    let mut asked = scenario.clone().with_rows(&rows)?;
    asked.name = format!("{} over UDP", scenario.name);
    Ok(asked)
}

/// The rows whose both ends have an address of that family: pods have both, the world's have one.
fn only(scenario: &Scenario, family: Family) -> Scenario {
    let mut kept = scenario.clone();
    kept.rows
        .retain(|row| scenario.address(&row.to, family).is_ok());
    kept
}

/// Says which rows cannot be run in a family, and why: once, however they are run.
fn say_left_out(scenario: &Scenario) -> anyhow::Result<()> {
    for row in &scenario.rows {
        let (from, to, port) = (&row.from, &row.to, row.port);
        let lacking: Vec<&str> = [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| scenario.address(to, *family).is_err())
            .map(Family::name)
            .collect();
        ensure!(
            lacking.len() < 2,
            "{}: nobody has the address `{to}`",
            scenario.name
        );
        for family in lacking {
            let name = &scenario.name;
            eprintln!(
                "not run over {family}: {name}, {from} to {to} {port}: an address of the other family"
            );
        }
    }
    Ok(())
}

fn tests(
    agent: Option<&Path>,
    scenario: &Scenario,
    family: Family,
    (what, mode, server): Way,
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
                name: format!("{name} {} {what}{part}:", family.name()),
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
