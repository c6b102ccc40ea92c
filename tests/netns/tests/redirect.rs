//! Packets that are handed straight to a pod (`bpf_redirect_peer`): the host side of its interface sees one direction
//! or none, and yet every claim must be true.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use netns::agent::Agent;
use netns::bpf::{By, Hanging};
use netns::ground::{DB_FROM_API, Ground, LIMIT, none_says};
use netns::record::{Conversation, Record};
use netns::redirect::redirect;
use netns::scenario::Family;
use netns::traffic::{Listen, Protocol, Saw, Server, Servers, connect};
use netns::trials;

/// Policy lets this pod reach the server.
const ALLOWED: &str = "kasm/kasm-api-0";
/// And this one not.
const DENIED: &str = "default/debug";
const SERVER: &str = "kasm/kasm-db-0";

/// Ports of the server: one that answers, one without a socket, one whose socket is silent (UDP), one whose packets
/// the program drops.
const OPEN: u16 = 7000;
const CLOSED: u16 = 7001;
const SILENT: u16 = 7002;
const SHOT: u16 = 7003;
const PATIENCE: Duration = Duration::from_secs(2);

/// Which packets are handed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handed {
    /// What clients and server send.
    Both,
    /// What clients send.
    ThereOnly,
    /// What the server sends.
    BackOnly,
}

/// Who attaches first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Agent,
    Program,
}

#[derive(Clone, Copy)]
struct Way {
    attach: &'static str,
    by: By,
    handed: Handed,
    first: First,
}

const fn way(attach: &'static str, by: By, handed: Handed, first: First) -> Way {
    Way {
        attach,
        by,
        handed,
        first,
    }
}

fn main() {
    let ways = [
        (
            "tcx behind",
            way("tcx", By::Tcx, Handed::Both, First::Agent),
        ),
        (
            "tcx there before",
            way("tcx", By::Tcx, Handed::Both, First::Program),
        ),
        (
            "clsact behind",
            way("clsact", By::Clsact, Handed::Both, First::Agent),
        ),
        (
            "clsact there before",
            way("clsact", By::Clsact, Handed::Both, First::Program),
        ),
        (
            "clsact behind tcx",
            way("tcx", By::Clsact, Handed::Both, First::Agent),
        ),
        (
            "there only",
            way("tcx", By::Tcx, Handed::ThereOnly, First::Agent),
        ),
        (
            "back only",
            way("tcx", By::Tcx, Handed::BackOnly, First::Agent),
        ),
    ];
    let mut all: Vec<_> = ways
        .into_iter()
        .map(|(name, way)| trials::test(&format!("handed on, {name}"), move || told(way)))
        .collect();
    all.push(trials::test(
        "a program that comes in front is overtaken",
        overtaken,
    ));
    trials::conclude(Ok(all));
}

/// One attempt: who opens it, and where to.
struct Case {
    from: &'static str,
    to: SocketAddr,
    conversation: Conversation,
}

impl Case {
    fn protocol(&self) -> Protocol {
        self.conversation.protocol
    }

    fn saw(&self) -> Saw {
        match self.to.port() {
            OPEN => Saw::Answer,
            CLOSED => Saw::Refused,
            _ => Saw::Nothing,
        }
    }

    /// What has to be claimed, and why nothing is.
    fn claim(&self, way: Way) -> (&'static str, Option<&'static str>) {
        let denied = self.from == DENIED;
        // Who began a conversation that may be older than the agent is not known; whoever of these two did was free to.
        let is_free = self.to.port() == OPEN && !denied;
        if way.first == First::Program && self.protocol() == Protocol::Udp && !is_free {
            return ("unknown", Some("orientation"));
        }
        match self.to.port() {
            OPEN | CLOSED if denied => ("unenforced", None),
            OPEN => ("allowed", None),
            CLOSED => ("refused", None),
            SHOT if denied => ("blocked", None),
            SHOT => ("unexpected_drop", None),
            // It was seen to go to the server, whose answer would have been seen to leave.
            _ if way.handed == Handed::BackOnly && denied => ("unknown", Some("not_seen_stopped")),
            _ if way.handed == Handed::BackOnly => ("unanswered", None),
            _ => ("unknown", Some("hook_bypassed")),
        }
    }
}

fn cases(ground: &Ground, way: Way) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        for from in [ALLOWED, DENIED] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for port in [OPEN, CLOSED, SILENT, SHOT] {
                    // The kernel answers for every TCP socket; and a program for the way back drops nothing on the way.
                    if port == SILENT && protocol == Protocol::Tcp
                        || port == SHOT && way.handed == Handed::BackOnly
                    {
                        continue;
                    }
                    let to = SocketAddr::new(ground.scenario.address(SERVER, family)?, port);
                    let conversation = Conversation {
                        source: ground.scenario.address(from, family)?,
                        destination: to,
                        protocol,
                    };
                    cases.push(Case {
                        from,
                        to,
                        conversation,
                    });
                }
            }
        }
    }
    Ok(cases)
}

fn serve(ground: &Ground) -> anyhow::Result<Servers> {
    let namespace = ground.node.namespace_of(SERVER)?;
    let mut listens = Vec::new();
    for family in [Family::V4, Family::V6] {
        let address = ground.scenario.address(SERVER, family)?;
        for (port, protocol, server) in [
            (OPEN, Protocol::Tcp, Server::Answering),
            (OPEN, Protocol::Udp, Server::Answering),
            (SILENT, Protocol::Udp, Server::Silent),
        ] {
            listens.push(Listen {
                namespace,
                at: SocketAddr::new(address, port),
                protocol,
                server,
            });
        }
    }
    Servers::start(&listens)
}

fn hand_on(ground: &Ground, by: By, handed: Handed) -> anyhow::Result<Vec<Hanging>> {
    let node = &ground.node;
    let server = node.pod(SERVER)?;
    let mut all = Vec::new();
    for client in [ALLOWED, DENIED] {
        let client = node.pod(client)?;
        if handed != Handed::BackOnly {
            all.push(redirect(
                &node.namespace,
                client,
                server,
                Some(SHOT..=SHOT),
                by,
            )?);
        }
        if handed != Handed::ThereOnly {
            all.push(redirect(&node.namespace, server, client, None, by)?);
        }
    }
    Ok(all)
}

fn is_wanted(pod: &str) -> bool {
    [ALLOWED, DENIED, SERVER].contains(&pod)
}

fn told(way: Way) -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    ground.write_policies(DB_FROM_API)?;
    let setup = ground.setup()?.flag(&["--attach", way.attach]);
    let start = |ground: &Ground| Agent::start(&setup, &ground.node.namespace);
    let (mut agent, _programs) = match way.first {
        First::Agent => {
            let agent = start(&ground)?;
            ground.add_pods(&agent, is_wanted)?;
            (agent, hand_on(&ground, way.by, way.handed)?)
        }
        First::Program => {
            let mut pods = ground.scenario.pod_specs();
            pods.retain(|pod| is_wanted(&pod.key));
            ground.node.add_pods(&pods)?;
            let programs = hand_on(&ground, way.by, way.handed)?;
            (start(&ground)?, programs)
        }
    };
    let _servers = serve(&ground)?;
    agent.settle()?;
    let cases = cases(&ground, way)?;
    connect_all(&ground, &cases)?;
    let connections = |records: &[Record]| records.iter().map(Record::count).sum::<u64>();
    let wanted = u64::try_from(cases.len())?;
    agent.wait_until(LIMIT, |records| connections(records) >= wanted)?;
    check(way, &cases, &agent.stop()?.records)
}

fn connect_all(ground: &Ground, cases: &[Case]) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let clients: Vec<_> = cases
            .iter()
            .map(|case| {
                let namespace = ground.node.namespace_of(case.from)?;
                let client = move || connect(namespace, case.to, case.protocol(), PATIENCE);
                Ok((case, scope.spawn(client)))
            })
            .collect::<anyhow::Result<_>>()?;
        for (case, client) in clients {
            let saw = client.join().ok().context("a client panicked")??;
            ensure!(saw == case.saw(), "{:?}: saw {saw:?}", case.conversation);
        }
        Ok(())
    })
}

/// Each attempt is told once, with the claim that it bears, and nothing else is told.
fn check(way: Way, cases: &[Case], records: &[Record]) -> anyhow::Result<()> {
    let mut told: BTreeMap<Conversation, Vec<&Record>> = BTreeMap::new();
    for record in records {
        if let Some(conversation) = record.conversation() {
            told.entry(conversation).or_default().push(record);
        }
    }
    for case in cases {
        let found = told.remove(&case.conversation).unwrap_or_default();
        let lines: Vec<&str> = found.iter().map(|record| record.line.as_str()).collect();
        let (assessment, because) = case.claim(way);
        let is_claimed = found.iter().all(|record| {
            record.assessment() == assessment && record.text("/unknown_because") == because
        });
        let count: u64 = found.iter().map(|record| record.count()).sum();
        let conversation = &case.conversation;
        ensure!(
            is_claimed && count == 1,
            "{conversation:?} is not once {assessment} {because:?}:\n{}",
            lines.join("\n")
        );
        let arrived = lines.concat().contains("attempt_at_destination");
        ensure!(
            arrived == (way.handed == Handed::BackOnly),
            "{conversation:?} did not go the way it should:\n{}",
            lines.join("\n")
        );
    }
    ensure!(
        told.is_empty(),
        "more than that was told: {:?}",
        told.keys()
    );
    Ok(())
}

fn overtaken() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    let setup = ground.setup()?.flag(&["--attach", "tcx"]);
    let mut agent = Agent::start(&setup, &ground.node.namespace)?;
    ground.add_pods(&agent, is_wanted)?;
    let _servers = ground.servers()?;
    agent.settle()?;
    let _programs = hand_on(&ground, By::TcxFirst, Handed::Both)?;
    let denied = ground.row(DENIED, SERVER)?;
    ground.until(&mut agent, &denied, "unenforced")?;
    none_says(&agent.stop()?, &["unexpected_drop", "unanswered"])
}
