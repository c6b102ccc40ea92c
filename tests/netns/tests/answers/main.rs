//! Who really answered: what bears a peer's address need not come from it.

mod lab;

use std::net::SocketAddr;

use anyhow::Context;
use netns::frame::{ACK, ACKNOWLEDGED, Ends, Packet, SYN, TCP, UDP, port_unreachable, tcp, udp};
use netns::node::{NODE_ADDRESSES, Wiring};
use netns::raw::hardware_address;
use netns::scenario::Family;
use netns::traffic::Protocol::{Tcp, Udp};
use netns::traffic::{Listen, Server, Servers};
use netns::{service, trials};

use self::lab::{API, DB, DENIED, ELSEWHERE, Lab, packet, received};

const DB_PORT: u16 = 5432;
/// Ports that peers use on both sides.
const GOSSIP: u16 = 7946;
/// The port that a victim sends from.
const PORT: u16 = 5555;
/// What is said of a datagram that policy denies and of which nothing more is seen.
const SILENT: &str = "unknown: not_seen_stopped, unanswered";

fn main() {
    type Test = fn(Family) -> anyhow::Result<()>;
    let tests: [(&str, Test); 12] = [
        (
            "a datagram against one that was stopped is an attempt",
            crossing,
        ),
        ("what is stopped no more is replied to", stopped_no_more),
        (
            "a pod's forged datagram is no reply of the world",
            forged_datagrams,
        ),
        (
            "a pod's forged SYN-ACK is no answer of the world",
            forged_segment,
        ),
        ("a pod's forged ICMP errors refuse nothing", forged_errors),
        (
            "a SYN under a silent pod's address is nobody's",
            borrowed_address,
        ),
        ("a fault of the packet itself is no unexpected drop", faulty),
        ("what the peer itself answers counts", answered),
        ("what a bridge lets through counts", bridged),
        ("what comes through after its deadline counts once", late),
        (
            "a datagram that is answered after its deadline is told of",
            late_datagrams,
        ),
        ("what the node answers in a pod's place is no leak", proxied),
    ];
    let service = "what the node answers in a Service's place is no leak";
    let mut trials = Vec::new();
    for (name, test) in tests {
        for family in [Family::V4, Family::V6] {
            let name = format!("{name}, over {}", family.name());
            trials.push(trials::test(&name, move || test(family)));
        }
    }
    trials.push(trials::test(service, proxied_service));
    trials::conclude(Ok(trials))
}

/// Gossip protocols have one port on both sides.
fn crossing(family: Family) -> anyhow::Result<()> {
    let lab = Lab::new(Wiring::Routed, family)?;
    let (from, to) = (lab.end(DENIED, GOSSIP)?, lab.end(DB, GOSSIP)?);
    lab.stop(from.ip())?;
    let (denied, allowed) = (lab.socket(DENIED, GOSSIP)?, lab.socket(DB, GOSSIP)?);
    denied.send_to(b"one", to)?;
    lab.until_stopped(1)?;
    allowed.send_to(b"other", from)?;
    received(&denied)?;
    lab.tells(&[
        (Udp, from.ip(), to, "blocked, dropped", 1),
        (Udp, to.ip(), from, "allowed, delivered", 1),
    ])
}

/// A datagram was stopped and told of, at its sender's interface or before it came to any. A later one of the same flow comes
/// through: what the peer sends back is no connection of its own.
fn stopped_no_more(family: Family) -> anyhow::Result<()> {
    let mut lab = Lab::new(Wiring::Routed, family)?;
    let to = lab.end(DB, DB_PORT)?;
    let server = lab.socket(DB, DB_PORT)?;
    let outside = lab.world(PORT).ip().to_string();
    let mut expected = Vec::new();
    for (counted, place) in (1..).zip([DENIED, &outside]) {
        let client = lab.socket(place, PORT)?;
        let from = client.local_addr()?;
        lab.stop(from.ip())?;
        client.send_to(b"one", to)?;
        lab.until_stopped(1)?;
        lab.until_counted(counted)?;
        lab.stop_no_more()?;
        client.send_to(b"another", to)?;
        received(&server)?;
        server.send_to(b"back", from)?;
        received(&client)?;
        expected.push((Udp, from.ip(), to, "blocked, dropped", 1));
        expected.push((Udp, from.ip(), to, "unenforced, answered", 0));
    }
    lab.tells(&expected)
}

/// A transparent proxy: the pod that is denied never hears of it, and there is no drop. Nor does the other node of a pod that
/// is not here.
fn proxied(family: Family) -> anyhow::Result<()> {
    let lab = Lab::new(Wiring::Routed, family)?;
    let (denied, api) = (lab.address(DENIED)?, lab.address(API)?);
    let (db, elsewhere) = (lab.end(DB, DB_PORT)?, lab.end(ELSEWHERE, DB_PORT)?);
    let _proxy = lab.proxy(DB_PORT, PORT)?;
    let mut told = Vec::new();
    for protocol in [Tcp, Udp] {
        for to in [db, elsewhere] {
            lab.answers(DENIED, to, protocol)?;
            told.push((
                protocol,
                denied,
                to,
                "unknown: source_mismatch, answered",
                1,
            ));
        }
        lab.answers(API, db, protocol)?;
    }
    told.push((Tcp, api, db, "allowed, answered", 1));
    told.push((Udp, api, db, "unknown: source_mismatch, answered", 1));
    lab.tells(&told)
}

/// Of which conntrack does not know that it was called for a Service.
fn proxied_service() -> anyhow::Result<()> {
    let mut lab = Lab::new(Wiring::Routed, Family::V4)?;
    let row = lab.ground.row(API, DB)?;
    let [node, _] = NODE_ADDRESSES;
    let service = service::rewritten_to(&lab.ground, &row, node)?;
    lab.until_known("service")?;
    let listen = Listen {
        namespace: &lab.ground.node.namespace,
        at: SocketAddr::new(node, row.port),
        protocol: Tcp,
        server: Server::Answering,
    };
    let _proxy = Servers::start(&[listen])?;
    let from = lab.address(DENIED)?;
    lab.answers(DENIED, service, Tcp)?;
    lab.tells(&[(Tcp, from, service, "unknown: source_mismatch, answered", 1)])
}

/// The first SYN is dropped and told of, the same one is let through later.
fn late(family: Family) -> anyhow::Result<()> {
    let mut lab = Lab::new(Wiring::Routed, family)?;
    let (denied, api) = (lab.address(DENIED)?, lab.address(API)?);
    let (db, closed) = (lab.end(DB, DB_PORT)?, lab.end(DB, PORT)?);
    let _servers = lab.servers(&[(DB, db, Tcp)])?;
    for (counted, (pod, from, to)) in (1..).zip([
        (DENIED, denied, db),
        (DENIED, denied, closed),
        (API, api, db),
    ]) {
        lab.stop(from)?;
        let syn = tcp([PORT, to.port()], 7, SYN);
        let syn = lab.packet(pod, from, to.ip(), TCP, &syn)?;
        lab.wire(pod)?.send(&syn)?;
        lab.until_stopped(1)?;
        lab.until_counted(counted)?;
        lab.stop_no_more()?;
        lab.wire(pod)?.send(&syn)?;
    }
    lab.tells(&[
        (Tcp, denied, db, "blocked, dropped", 1),
        (Tcp, denied, db, "unenforced, answered", 0),
        (Tcp, denied, closed, "blocked, dropped", 1),
        (Tcp, denied, closed, "unenforced, refused", 0),
        (Tcp, api, db, "unexpected_drop, dropped", 1),
        (Tcp, api, db, "allowed, answered", 0),
    ])
}

/// Each has passed its deadline, and was told of, when its answer comes. Who speaks from the port that it was spoken to may
/// say something of its own.
fn late_datagrams(family: Family) -> anyhow::Result<()> {
    let mut lab = Lab::new(Wiring::Routed, family)?;
    let (denied, api) = (lab.address(DENIED)?, lab.address(API)?);
    let (world, peer) = (lab.world(53), lab.world(GOSSIP));
    let outside = world.ip().to_string();
    let (client, other) = (lab.socket(DENIED, PORT)?, lab.socket(API, PORT)?);
    let gossip = lab.socket(DENIED, GOSSIP)?;
    let (slow, closes) = (lab.socket(DB, DB_PORT)?, lab.socket(DB, GOSSIP)?);
    let (far, speaks) = (lab.socket(&outside, 53)?, lab.socket(&outside, GOSSIP)?);
    let (db, closed) = (slow.local_addr()?, closes.local_addr()?);
    let slow = [
        (&client, &slow),
        (&client, &far),
        (&other, &far),
        (&gossip, &speaks),
    ];
    for (client, server) in slow.into_iter().chain([(&client, &closes)]) {
        client.send_to(b"question", server.local_addr()?)?;
        received(server)?;
    }
    lab.until_counted(5)?;
    drop(closes);
    client.send_to(b"another", closed)?;
    for (client, server) in slow {
        server.send_to(b"answer", client.local_addr()?)?;
        received(client)?;
    }
    lab.tells(&[
        (Udp, denied, db, "unenforced, delivered", 1),
        (Udp, denied, db, "unenforced, answered", 0),
        (Udp, denied, closed, "unenforced, delivered", 1),
        (Udp, denied, closed, "unenforced, refused", 0),
        (Udp, denied, world, SILENT, 1),
        (Udp, denied, world, "unenforced, answered", 0),
        (Udp, denied, peer, SILENT, 1),
        (Udp, denied, peer, "unknown: orientation, answered", 0),
        (Udp, api, world, "unanswered, unanswered", 1),
        (Udp, api, world, "allowed, answered", 0),
    ])
}

fn forged_datagrams(family: Family) -> anyhow::Result<()> {
    let lab = Lab::new(Wiring::Routed, family)?;
    let (victim, hostile) = (lab.end(DENIED, PORT)?, lab.wire(API)?);
    lab.stop(victim.ip())?;
    let socket = lab.socket(DENIED, PORT)?;
    let mut expected = Vec::new();
    for port in [53, 54, 55] {
        let world = lab.world(port);
        socket.send_to(b"question", world)?;
        expected.push((Udp, victim.ip(), world, "blocked, dropped", 1));
        lab.until_stopped(expected.iter().map(|told| told.4).sum())?;
        let reply = udp(port, PORT);
        hostile.send(&lab.packet(API, world.ip(), victim.ip(), UDP, &reply)?)?;
        received(&socket)?;
    }
    let own = "unknown: source_mismatch, delivered";
    expected.push((Udp, lab.world(0).ip(), victim, own, 3));
    lab.tells(&expected)
}

/// The two work together: the forger knows the number that has to be acknowledged.
fn forged_segment(family: Family) -> anyhow::Result<()> {
    let lab = Lab::new(Wiring::Routed, family)?;
    let (victim, world) = (lab.address(DENIED)?, lab.world(443));
    let hostile = lab.wire(API)?;
    lab.stop(victim)?;
    let syn = tcp([PORT, world.port()], ACKNOWLEDGED - 1, SYN);
    let syn = lab.packet(DENIED, victim, world.ip(), TCP, &syn)?;
    lab.wire(DENIED)?.send(&syn)?;
    lab.until_stopped(1)?;
    let answer = tcp([world.port(), PORT], 1, SYN | ACK);
    hostile.send(&lab.packet(API, world.ip(), victim, TCP, &answer)?)?;
    lab.tells(&[(Tcp, victim, world, "blocked, dropped", 1)])
}

/// Of the transport they quote only the ports, or as much as RFC 792 wants.
fn forged_errors(family: Family) -> anyhow::Result<()> {
    let lab = Lab::new(Wiring::Routed, family)?;
    let (victim, world) = (lab.address(DENIED)?, lab.world(443));
    let (sender, hostile) = (lab.wire(DENIED)?, lab.wire(API)?);
    lab.stop(victim)?;
    let transports = [
        (TCP, tcp([PORT, world.port()], 7, SYN)),
        (UDP, udp(PORT, world.port())),
    ];
    for (stopped, (protocol, transport)) in (1..).zip(&transports) {
        sender.send(&lab.packet(DENIED, victim, world.ip(), *protocol, transport)?)?;
        lab.until_stopped(stopped)?;
        for quoted in [4, 8] {
            let about = packet(victim, world.ip(), *protocol, transport);
            let (icmp, error) = port_unreachable(&about, quoted)?;
            hostile.send(&lab.packet(API, world.ip(), victim, icmp, &error)?)?;
        }
    }
    lab.tells(&[
        (Tcp, victim, world, "blocked, dropped", 1),
        (Udp, victim, world, "blocked, dropped", 1),
    ])
}

/// A bridge passes on whatever address a pod writes, and the node itself has heard of none of them.
fn borrowed_address(family: Family) -> anyhow::Result<()> {
    let lab = Lab::new(Wiring::Bridged, family)?;
    let (victim, db) = (lab.address(DENIED)?, lab.end(DB, DB_PORT)?);
    let _servers = lab.servers(&[(DB, db, Tcp)])?;
    let syn = tcp([PORT, DB_PORT], 7, SYN);
    let ends = Ends {
        to: hardware_address(lab.ground.node.namespace_of(DB)?, "eth0")?,
        ..lab.ends(API)?
    };
    lab.wire(API)?
        .send(&ends.packet(&packet(victim, db.ip(), TCP, &syn))?)?;
    lab.has_no_neighbours()?;
    lab.tells(&[(Tcp, victim, db, "unknown: source_mismatch, answered", 1)])
}

/// Any node drops what may pass no further router, and what arrives damaged.
fn faulty(family: Family) -> anyhow::Result<()> {
    let lab = Lab::new(Wiring::Routed, family)?;
    let (api, db) = (lab.address(API)?, lab.end(DB, DB_PORT)?);
    let _servers = lab.servers(&[(DB, db, Tcp)])?;
    let (wire, ends) = (lab.wire(API)?, lab.ends(API)?);
    let syn = tcp([PORT, DB_PORT], 7, SYN);
    let whole = packet(api, db.ip(), TCP, &syn);
    wire.send(&ends.packet(&Packet { hops: 1, ..whole })?)?;
    let mut count = 1;
    if family == Family::V4 {
        let syn = tcp([PORT + 1, DB_PORT], 7, SYN);
        let mut damaged = ends.packet(&packet(api, db.ip(), TCP, &syn))?;
        // In the middle of the header's checksum.
        let at = 14 + 11;
        let byte = damaged.get_mut(at).context("a header has a checksum")?;
        *byte ^= 0x11;
        wire.send(&damaged)?;
        count += 1;
    }
    lab.tells(&[(
        Tcp,
        api,
        db,
        "unanswered, unanswered, a drop's reason",
        count,
    )])
}

/// What forgers imitate, from those whom they imitate.
fn answered(family: Family) -> anyhow::Result<()> {
    let lab = Lab::new(Wiring::Routed, family)?;
    let (denied, api) = (lab.address(DENIED)?, lab.address(API)?);
    let (db, name_server, web) = (lab.end(DB, DB_PORT)?, lab.world(53), lab.world(443));
    let world = name_server.ip().to_string();
    let _servers = lab.servers(&[
        (DB, db, Tcp),
        (&world, name_server, Udp),
        (&world, web, Tcp),
    ])?;
    for from in [API, DENIED] {
        lab.answers(from, name_server, Udp)?;
        lab.answers(from, web, Tcp)?;
    }
    lab.answers(API, db, Tcp)?;
    lab.tells(&[
        (Tcp, api, db, "allowed, answered", 1),
        (Udp, api, name_server, "allowed, answered", 1),
        (Tcp, api, web, "allowed, answered", 1),
        (Udp, denied, name_server, "unenforced, answered", 1),
        (Tcp, denied, web, "unenforced, answered", 1),
    ])
}

/// The node has heard of none of the addresses here either: only who answers where tells them apart.
fn bridged(family: Family) -> anyhow::Result<()> {
    let lab = Lab::new(Wiring::Bridged, family)?;
    let (denied, api) = (lab.address(DENIED)?, lab.address(API)?);
    let (db, question) = (lab.end(DB, DB_PORT)?, lab.end(DB, 53)?);
    let _servers = lab.servers(&[(DB, db, Tcp), (DB, question, Udp)])?;
    lab.answers(API, db, Tcp)?;
    lab.answers(DENIED, db, Tcp)?;
    lab.answers(DENIED, question, Udp)?;
    lab.has_no_neighbours()?;
    lab.tells(&[
        (Tcp, api, db, "allowed, answered", 1),
        (Tcp, denied, db, "unenforced, answered", 1),
        (Udp, denied, question, "unenforced, answered", 1),
    ])
}
