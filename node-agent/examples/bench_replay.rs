//! How many events a second the whole line judges from a recording, on one core, and how much memory it takes.
//!
//! Prints figures as `cargo xtask bench line` keeps them. Each run is a process of its own, so that its memory is
//! its own: the program calls itself.

use std::collections::VecDeque;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use netverdict::agent;
use netverdict::args::{Cli, Command as Subcommand};
use netverdict::recording::{Header, Recorder};
use netverdict::settings::Surroundings;
use node_agent_engine::input::{
    AttemptState, Counted, Drop, DropClass, Event, EventKind, Flow, Link, Swept,
};
use node_agent_engine::k8s::{self, Decode};
use node_agent_engine::model::Protocol;
use node_agent_engine::{ClockBase, Input, Log, Moment, Options, Profile};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const S: u64 = 1_000_000_000;
/// Pods of the node whose agent this is.
const LOCAL: u32 = 100;
const EVENTS: u32 = 200_000;
const ROUNDS: usize = 5;
const CLIENTS: u32 = 50;
const PAIRS: u32 = 1_000;
const PORT: u16 = 5432;
/// When the kernel side sweeps an attempt, nanoseconds.
const DEADLINE: u64 = 3 * S;

/// A cluster, and what is promised of it.
struct Size {
    pods: u32,
    events: u32,
    memory_mb: f64,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [file, pods] = &words[..] {
        return replay(Path::new(file), pods.parse()?);
    }
    let sizes = [
        Size {
            pods: 1_000,
            events: EVENTS,
            memory_mb: 30.0,
        },
        Size {
            pods: 100_000,
            events: EVENTS,
            memory_mb: 150.0,
        },
    ];
    let folder = tempfile::tempdir()?;
    let mut figures = Vec::new();
    for size in sizes {
        let file = folder.path().join(size.pods.to_string());
        record(&file, &size)?;
        let mut speeds = Vec::new();
        let mut memories = Vec::new();
        for _ in 0..ROUNDS {
            let run = Command::new(std::env::current_exe()?)
                .arg(&file)
                .arg(size.pods.to_string())
                .env("RUST_LOG", "error")
                .output()?;
            if !run.status.success() {
                return Err(String::from_utf8_lossy(&run.stderr).into());
            }
            let text = String::from_utf8(run.stdout)?;
            let (speed, memory) = text.trim().split_once(' ').ok_or("no figures")?;
            speeds.push(speed.parse()?);
            memories.push(memory.parse()?);
        }
        let name = |what| format!("{what}, {} pods", size.pods);
        figures.push(figure(&name("events replayed"), speeds, "events/s", None));
        let bound = Some(size.memory_mb);
        figures.push(figure(&name("memory at its most"), memories, "MB", bound));
    }
    println!("{}", json!({ "figures": figures }));
    Ok(())
}

fn figure(name: &str, mut values: Vec<f64>, unit: &str, most: Option<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let median = at(values.len() / 2);
    json!({
        "name": name,
        "min": at(0),
        "median": median,
        "max": at(values.len().saturating_sub(1)),
        "unit": unit,
        "bound": most,
        "held": most.map(|most| median <= most),
    })
}

/// Replays on one core, and prints events a second of its last part and the most memory in MB.
fn replay(file: &Path, pods: u32) -> Result<()> {
    let mut core = CpuSet::new();
    core.set(0);
    sched_setaffinity(None, &core)?;
    let words = ["netverdict", "agent", "--output", "/dev/null", "--replay"].map(Into::into);
    let words = words.into_iter().chain([file.as_os_str().to_owned()]);
    let Cli { command } = netverdict::config::command_line(words)?.cli;
    let Subcommand::Agent(args) = command else {
        return Err(format!("another command: {command:?}").into());
    };
    let settings = args.settings(Surroundings {
        host_name: "node-0".to_owned(),
        in_pod: false,
    })?;
    // Reading the cluster counts as well: as one input an object.
    let began = Instant::now();
    agent::run(settings)?;
    let inputs = f64::from(EVENTS + pods);
    let speed = inputs / began.elapsed().as_secs_f64();
    let memory = procfs::process::Process::myself()?.status()?.vmhwm;
    let memory = memory.unwrap_or_default() as f64 / 1024.0;
    println!("{speed} {memory}");
    Ok(())
}

fn ip(pod: u32) -> IpAddr {
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + pod + 1).into()
}

/// One of a Deployment's ten replicas; even numbers are of the web tier, odd ones databases.
fn pod(number: u32) -> Value {
    let tier = if number.is_multiple_of(2) {
        "web"
    } else {
        "db"
    };
    let deployment = format!("app-{}", number / 20 * 2 + number % 2);
    let hash = "6b7f9d5c4b";
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{deployment}-{hash}-{number:05}"),
            "namespace": format!("team-{}", number / 20 % 50),
            "uid": format!("00000000-0000-0000-0000-{number:012}"),
            "labels": {"app": deployment, "tier": tier, "pod-template-hash": hash},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": format!("{deployment}-{hash}"), "uid": "11111111-1111-1111-1111-111111111111"}],
        },
        "spec": {"nodeName": format!("node-{}", number / LOCAL), "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "podIP": ip(number).to_string()}})
}

/// Databases are reached from the web tier of all teams, and by nobody else.
fn policy(team: u32) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "db", "namespace": format!("team-{team}")},
        "spec": {"podSelector": {"matchLabels": {"tier": "db"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"tier": "web"}}}],
                "ports": [{"port": 5432}]}]}})
}

fn options() -> Options {
    Options {
        node: "node-0".into(),
        cluster_name: "".into(),
        clock_base: ClockBase(0),
        window_ns: 10 * S,
        settle_ns: 5 * S,
        confirm_ns: 5 * S,
        grace_ns: 2 * S,
        stale_after_ns: 3600 * S,
        log: Log::Problems,
        profile: Profile::Generic,
    }
}

/// A settled cluster, and a node on which a connection a tenth of a millisecond ends: nine of ten go through, one is
/// stopped, told early and swept at its deadline. Each conversation speaks again each second, and is counted then.
fn record(file: &Path, size: &Size) -> Result<()> {
    let mut recorder = Recorder::create(file, &Header::new(options()))?;
    let mut now = Moment(S);
    let deltas = (0..50).map(policy).chain((0..size.pods).map(pod));
    for number in 0..LOCAL {
        recorder.note(now, &Input::Link(link(number)))?;
    }
    for object in deltas {
        let decoded = k8s::decode(&object, &Decode::default());
        for delta in decoded.map_err(|wrong| format!("{wrong:?}"))? {
            recorder.note(now, &Input::Delta(Box::new(delta)))?;
        }
    }
    recorder.note(now, &Input::Synced)?;
    now = now.plus(100 * S);
    recorder.note(now, &Input::Confirmed)?;
    let mut stopped = VecDeque::new();
    for number in 0..size.events {
        now = now.plus(100_000);
        let event = event(number, now);
        if event.kind == EventKind::Dropped {
            stopped.push_back(swept(&event));
        }
        recorder.note(now, &Input::Event(Box::new(event)))?;
        if number.is_multiple_of(500) {
            recorder.note(now, &Input::Tick)?;
        }
        if number.is_multiple_of(10_000) {
            while let Some(swept) =
                stopped.pop_front_if(|swept: &mut Swept| now.since(swept.attempt.first) >= DEADLINE)
            {
                recorder.note(now, &Input::Swept(Box::new(swept)))?;
            }
            for pair in 0..PAIRS {
                recorder.note(now, &Input::Counted(Box::new(counted(pair, number, now))))?;
            }
        }
    }
    recorder.note(now, &Input::Ended)?;
    recorder.flush()?;
    Ok(())
}

fn link(number: u32) -> Link {
    Link {
        index: number + 1,
        name: format!("veth{number}").into(),
        watched_since: Moment(S),
        from_birth: true,
        addresses: vec![ip(number)],
        foreign_program: Some(false),
        netns: Some(number + 1),
    }
}

/// The attempt as it stands at its deadline.
fn swept(event: &Event) -> Swept {
    Swept {
        flow: event.flow,
        attempt: event.attempt.clone(),
        cut_short: false,
        was_told: false,
    }
}

/// A pair's running total after so many events.
fn counted(pair: u32, events: u32, now: Moment) -> Counted {
    let (from, to) = ends(pair, false);
    Counted {
        source: ip(from),
        destination: ip(to),
        destination_port: PORT,
        protocol: Protocol::Tcp,
        kind: EventKind::Answered,
        elsewhere: false,
        total: u64::from(9 * (events / (10 * PAIRS))),
        last: now,
    }
}

/// Who connects to whom: the web tier has even numbers, databases odd ones.
fn ends(pair: u32, is_stopped: bool) -> (u32, u32) {
    let from = 2 * (pair % CLIENTS) + u32::from(is_stopped);
    (from, (2 * (pair / CLIENTS) + 1) % LOCAL)
}

fn event(number: u32, now: Moment) -> Event {
    let is_stopped = number.is_multiple_of(10);
    let (from, to) = ends((number / 10) % PAIRS, is_stopped);
    let drop = is_stopped.then(|| Drop {
        reason: "NETFILTER_DROP".into(),
        location: "nft_do_chain".into(),
        class: DropClass::Netfilter,
        netns: 1,
        in_pod: false,
        at_destination: false,
    });
    Event {
        at: now,
        kind: if is_stopped {
            EventKind::Dropped
        } else {
            EventKind::Answered
        },
        flow: Flow {
            source: ip(from),
            destination: ip(to),
            source_port: 20_000 + (number % 40_000) as u16,
            destination_port: PORT,
            protocol: Protocol::Tcp,
        },
        attempt: AttemptState {
            first: now.minus(50_000),
            epoch: 1,
            source_link: Some(from + 1),
            destination_link: (!is_stopped).then_some(to + 1),
            drop,
            drops: u32::from(is_stopped),
            ..AttemptState::default()
        },
        total: u64::from(number / (10 * PAIRS) * 9 + number % 10),
        link: Some(from + 1),
        icmp: None,
    }
}
