//! Packets and frames that no socket of this kernel sends: SCTP, and what is no connection.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context, ensure};
use netns::agent::{Agent, Setup};
use netns::aside::{self, Frames};
use netns::enforcer::{Mode, Stop};
use netns::ground::{Ground, LIMIT};
use netns::raw::{self, Raw, Wire};
use netns::record::Record;
use netns::scenario::Family;
use netns::trials;

/// Lets everybody in, and may go nowhere but to a name server.
const OPEN: &str = "default/debug";
/// May go anywhere, and lets in two pods at a TCP port.
const CLOSED: &str = "kasm/kasm-db-0";
const PORT: u16 = 3868;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
/// The client's tag, the server's, and nobody's.
const TAGS: [u32; 3] = [0x1234_5678, 0x9abc_def0, 0x0bad_0bad];

fn main() {
    let mut all = Vec::new();
    for family in [Family::V4, Family::V6] {
        for case in CASES {
            let name = format!("SCTP over {}: {}", family.name(), case.name);
            all.push(trials::test(&name, move || sctp(family, case)));
        }
    }
    for attach in ["tcx", "clsact"] {
        let name = format!("what is no connection is counted and not recorded, by {attach}");
        all.push(trials::test(&name, move || set_aside(attach)));
    }
    trials::conclude(Ok(all));
}

/// One association.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    mode: Mode,
    /// What the server sends back: chunk and verification tag.
    answers: &'static [(u8, u32)],
    assessments: &'static [&'static str],
    outcomes: &'static [&'static str],
}

const CASES: [Case; 7] = [
    Case {
        name: "answered",
        from: CLOSED,
        to: OPEN,
        mode: Mode::NotEnforced,
        answers: &[(INIT_ACK, TAGS[0])],
        assessments: &["allowed"],
        outcomes: &["answered"],
    },
    Case {
        name: "aborted",
        from: CLOSED,
        to: OPEN,
        mode: Mode::NotEnforced,
        answers: &[(ABORT, TAGS[0])],
        assessments: &["refused"],
        outcomes: &["refused"],
    },
    Case {
        name: "answers that belong to another association say nothing",
        from: CLOSED,
        to: OPEN,
        mode: Mode::NotEnforced,
        answers: &[(ABORT, TAGS[2]), (INIT_ACK, TAGS[2])],
        assessments: &["allowed", "unanswered"],
        outcomes: &["delivered", "unanswered"],
    },
    Case {
        name: "without an answer",
        from: CLOSED,
        to: OPEN,
        mode: Mode::NotEnforced,
        answers: &[],
        assessments: &["allowed", "unanswered"],
        outcomes: &["delivered", "unanswered"],
    },
    Case {
        name: "denied and answered",
        from: OPEN,
        to: CLOSED,
        mode: Mode::NotEnforced,
        answers: &[(INIT_ACK, TAGS[0])],
        assessments: &["unenforced"],
        outcomes: &["answered"],
    },
    Case {
        name: "denied and dropped",
        from: OPEN,
        to: CLOSED,
        mode: Mode::Everything(Stop::Drop),
        answers: &[],
        assessments: &["blocked"],
        outcomes: &["dropped"],
    },
    Case {
        name: "allowed and rejected",
        from: CLOSED,
        to: OPEN,
        mode: Mode::Everything(Stop::PortUnreachable),
        answers: &[],
        assessments: &["unexpected_drop"],
        outcomes: &["rejected", "dropped"],
    },
];

fn sctp(family: Family, case: Case) -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let mut agent = start(&ground)?;
    ground.add_pods(&agent, |key| key == OPEN || key == CLOSED)?;
    stop_everything(&ground, case.mode)?;
    let (from, to) = (
        address(&ground, case.from, family)?,
        address(&ground, case.to, family)?,
    );
    let client = Raw::open(ground.node.namespace_of(case.from)?, from, raw::SCTP)?;
    let server = Raw::open(ground.node.namespace_of(case.to)?, to, raw::SCTP)?;
    agent.settle()?;
    client.send(to, &raw::sctp([4000, PORT], 0, INIT, TAGS[0]))?;
    for (chunk, tag) in case.answers {
        let is_init = |packet: &[u8]| packet.get(12) == Some(&INIT);
        if case.answers.first() == Some(&(*chunk, *tag)) {
            server.receive(LIMIT, is_init)?;
        }
        server.send(from, &raw::sctp([PORT, 4000], *tag, *chunk, TAGS[1]))?;
    }
    let is_it = |record: &Record| is(record, case.from, case.to);
    agent.wait_until(LIMIT, |records| {
        records
            .iter()
            .any(|record| is_it(record) && case.assessments.contains(&record.assessment()))
    })?;
    let finished = agent.stop()?;
    let found: Vec<&Record> = finished
        .records
        .iter()
        .filter(|record| is_it(record))
        .collect();
    let lines: Vec<&str> = found.iter().map(|record| record.line.as_str()).collect();
    ensure!(
        found.len() == 1,
        "not one record:\n{}\n{}",
        lines.join("\n"),
        finished.stderr
    );
    ensure!(
        found.iter().all(|it| {
            case.assessments.contains(&it.assessment()) && case.outcomes.contains(&it.outcome())
        }),
        "not {:?} by {:?}:\n{}",
        case.assessments,
        case.outcomes,
        lines.join("\n")
    );
    Ok(())
}

fn start(ground: &Ground) -> anyhow::Result<Agent> {
    let setup: Setup = ground.setup()?;
    Agent::start(&setup, &ground.node.namespace)
}

fn address(ground: &Ground, pod: &str, family: Family) -> anyhow::Result<IpAddr> {
    ground.scenario.address(pod, family)
}

/// Rules for what has no row in the scenario.
fn stop_everything(ground: &Ground, mode: Mode) -> anyhow::Result<()> {
    let verdict = match mode {
        Mode::Everything(Stop::Drop) => "drop",
        Mode::Everything(Stop::PortUnreachable) => "reject with icmpx port-unreachable",
        _ => return Ok(()),
    };
    ground.node.namespace.nft(&format!(
        "table inet stop {{\n chain forward {{\n  type filter hook forward priority 0;\n  meta l4proto sctp {verdict}\n }}\n}}\n"
    ))
}

/// Whether a record is about SCTP between the two.
fn is(record: &Record, from: &str, to: &str) -> bool {
    let end = |side: &str| {
        let text = |field: &str| record.text(&format!("/{side}/{field}")).unwrap_or_default();
        format!("{}/{}", text("namespace"), text("name"))
    };
    record.text("/protocol") == Some("SCTP")
        && end("source") == from
        && end("destination") == to
        && record.number("/destination/port") == Some(u64::from(PORT))
}

/// Frames on a wire of their own, on which nobody else says anything, in both directions.
fn set_aside(attach: &str) -> anyhow::Result<()> {
    const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 9];
    let ground = Ground::new()?;
    let (node, world) = (&ground.node.namespace, &ground.node.world);
    node.ip(&format!(
        "link add odd0 type veth peer name odd1 netns {}\n",
        world.name()
    ))?;
    // It does not answer for others here.
    node.sysctl(&[
        ("ipv6/conf/odd0/disable_ipv6", "1"),
        ("ipv4/conf/odd0/forwarding", "0"),
    ])?;
    world.sysctl(&[("ipv6/conf/odd1/disable_ipv6", "1")])?;
    let setup = ground.setup()?.flag(&["--attach", attach]);
    let agent = Agent::start(&setup, node)?;
    node.ip("link set odd0 up\n")?;
    world.ip("link set odd1 up\n")?;
    agent.watches("odd0")?;
    let counted = || -> anyhow::Result<u64> {
        let metrics = agent.metrics(node)?;
        Ok(metrics.sum(
            "netverdict_packets_set_aside_total{reason=\"not_unicast\"}",
            &[],
        ))
    };
    ensure!(counted()? == 0, "something else is on the wire");
    let mut wanted = 0;
    for wire in [Wire::open(world, "odd1")?, Wire::open(node, "odd0")?] {
        // What is not counted comes before what is: when that is, the other would be, too.
        let kinds: [fn([u8; 6]) -> Frames; 3] = [aside::to_several, aside::neighbours, aside::dhcp];
        for kind in kinds {
            let frames = kind(NOBODY);
            wanted += u64::try_from(frames.len())?;
            for (name, frame) in aside::neither(NOBODY).iter().chain(&frames) {
                wire.send(frame).with_context(|| format!("send {name}"))?;
            }
            let names: Vec<&str> = frames.iter().map(|(name, _)| *name).collect();
            let end = Instant::now() + LIMIT;
            while counted()? < wanted && Instant::now() < end {}
            let found = counted()?;
            ensure!(
                found == wanted,
                "{found} counted of {wanted}, the last: {names:?}"
            );
        }
    }
    let finished = agent.stop()?;
    let told: Vec<&str> = finished.records.iter().map(|it| it.line.as_str()).collect();
    ensure!(told.is_empty(), "recorded:\n{}", told.join("\n"));
    Ok(())
}
