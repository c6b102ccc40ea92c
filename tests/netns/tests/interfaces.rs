//! Interfaces that come, go, change their names and wander; and an agent that is killed again and again.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use anyhow::{Context, ensure};
use netns::agent::{Agent, Setup};
use netns::enforcer::{Mode, Stop};
use netns::ground::{Ground, LIMIT, none_says};
use netns::node::{TEST_PREFIX, Wiring};
use netns::ns::Namespace;
use netns::raw::Wire;
use netns::record::Record;
use netns::scenario::Family;
use netns::traffic::{Client, Protocol};
use netns::trials;

/// Pairs of interfaces that come and go; 1,000 with `--long`.
const PAIRS: usize = 150;
/// How often it is ended, until once it does so in time.
const ENDS: usize = 5;
/// Moments at which the agent is killed.
const KILLS: u64 = 20;

fn main() {
    trials::conclude(Ok(vec![
        trials::test("a renamed interface is still watched", renamed),
        trials::test("an interface that wanders is watched where it is", moved),
        trials::test(
            "an interface is watched when its other side is given away",
            given_away,
        ),
        trials::test(
            "what a pod sent before it had an address was no conversation",
            unused,
        ),
        trials::test("many interfaces that come and go are no matter", many),
        trials::test("it ends within two seconds", ends),
        trials::test("killed at any moment, the next start is clean", killed),
    ]))
}

fn on_a_bridge() -> anyhow::Result<(Ground, Agent)> {
    let mut ground = Ground::wired(Wiring::Bridged)?;
    let agent = ground.agent()?;
    ground.add_pods(&agent, |_| true)?;
    ground.enforce(&ground.scenario.rows, Mode::Enforced(Stop::Drop))?;
    Ok((ground, agent))
}

fn renamed() -> anyhow::Result<()> {
    let (ground, mut agent) = on_a_bridge()?;
    let first = ground.row("default/debug", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &first, "blocked")?;
    let link = &ground.node.pod("default/debug")?.link;
    ground.node.namespace.ip(&format!(
        "link set {link} down\nlink set {link} name other0\nlink set other0 up\n"
    ))?;
    let second = ground.row("default/debug", "kasm/kasm-proxy-0")?;
    ground.until(&mut agent, &second, "blocked")?;
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

fn moved() -> anyhow::Result<()> {
    let (ground, mut agent) = on_a_bridge()?;
    let first = ground.row("default/debug", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &first, "blocked")?;
    let link = &ground.node.pod("default/debug")?.link;
    let (node, world) = (&ground.node.namespace, &ground.node.world);
    // Away and back at once: it has the same index again, and its hooks may be gone.
    node.ip(&format!("link set {link} netns {}\n", world.name()))?;
    world.ip(&format!("link set {link} netns {}\n", node.name()))?;
    node.ip(&format!("link set {link} master cni0 up\n"))?;
    let second = ground.row("default/debug", "kasm/kasm-proxy-0")?;
    ground.until(&mut agent, &second, "blocked")?;
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

/// A namespace of a pod's own, removed with the test's others.
fn pod_s(name: &str) -> anyhow::Result<Namespace> {
    let name = format!("{TEST_PREFIX}{}-{name}", process::id());
    let made = Namespace::create(vec![name])?.pop();
    made.context("no namespace")
}

/// A plugin that makes both sides on the node says no more of this one until the pod's is up.
fn given_away() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let agent = ground.agent()?;
    let pod = pod_s("given")?;
    ground.node.namespace.ip(&format!(
        "link add given0 type veth peer name given1\nlink set given1 netns {}\n",
        pod.name()
    ))?;
    agent.watches("given0")?;
    agent.stop().map(drop)
}

/// What finds neighbours and routers is sent without an address of the pod's; what is dropped later was its first datagram.
fn unused() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let mut agent = ground.agent()?;
    let own = ground.scenario.address("default/debug", Family::V4)?;
    let to = SocketAddr::new(ground.scenario.address("kasm/kasm-db-0", Family::V4)?, 53);
    let (node, pod) = (&ground.node.namespace, pod_s("unused")?);
    node.ip("link add late0 type veth peer name late1\nlink set late0 up\nlink set late1 up\n")?;
    Wire::open(node, "late1")?.send(&[0xff; 60])?;
    node.ip(&format!("link set late1 netns {}\n", pod.name()))?;
    agent.watches("late0")?;
    pod.ip(&format!(
        "link set late1 up\naddr add {own}/32 dev late1\nroute add 169.254.1.1 dev late1 scope link\n\
         route add default via 169.254.1.1 dev late1\nneigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev late1\n"
    ))?;
    node.ip(&format!(
        "route add {own}/32 dev late0\nlink set late0 address 02:00:00:00:00:01\n"
    ))?;
    // Before conntrack, which would tell that it is the first.
    node.nft(&format!(
        "table ip stops {{\n chain first {{\n  type filter hook prerouting priority raw;\n  ip saddr {own} drop\n }}\n}}\n"
    ))?;
    agent.settle()?;
    Client::open(&pod, to, Protocol::Udp)?.send()?;
    let is_it = |record: &Record| record.text("/source/ip") == Some(own.to_string().as_str());
    agent.wait_until(LIMIT, |records| records.iter().any(is_it))?;
    let found = agent.records().iter().find(|record| is_it(record));
    let found = found.context("nothing is told of it")?;
    ensure!(
        found.assessment() == "blocked",
        "it is told as {}",
        found.line
    );
    agent.stop().map(drop)
}

fn many() -> anyhow::Result<()> {
    let (ground, mut agent) = on_a_bridge()?;
    let first = ground.row("default/debug", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &first, "blocked")?;
    let pairs = if std::env::var_os("NETVERDICT_LONG").is_some() {
        1000
    } else {
        PAIRS
    };
    let world = ground.node.world.name();
    for some in (0..pairs).collect::<Vec<_>>().chunks(50) {
        let (mut added, mut deleted) = (String::new(), String::new());
        for number in some {
            writeln!(
                added,
                "link add many{number} type veth peer name far{number} netns {world}"
            )?;
            writeln!(added, "link set many{number} up")?;
            writeln!(deleted, "link del many{number}")?;
        }
        ground.node.namespace.ip(&added)?;
        ground.connect(&first)?;
        ground.node.namespace.ip(&deleted)?;
    }
    let second = ground.row("default/debug", "kasm/kasm-proxy-0")?;
    ground.until(&mut agent, &second, "blocked")?;
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])
}

/// The best of some: what other tests do beside it is not its fault.
fn ends() -> anyhow::Result<()> {
    const LIMIT: Duration = Duration::from_secs(2);
    let mut all = Vec::new();
    for _ in 0..ENDS {
        let (_ground, agent) = on_a_bridge()?;
        let took = agent.stop()?.took;
        if took <= LIMIT {
            return Ok(());
        }
        all.push(took);
    }
    anyhow::bail!("it took {all:?} to end")
}

fn killed() -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    ground.node.add_pods(&ground.scenario.pod_specs())?;
    let _servers = ground.servers()?;
    ground.enforce(&ground.scenario.rows, Mode::Enforced(Stop::Drop))?;
    let denied = ground.row("default/debug", "kasm/kasm-db-0")?;
    let allowed = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for number in 0..KILLS {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let setup = setup(&ground, number)?;
        let mut agent = Agent::launch(&setup, &ground.node.namespace)?;
        let moment = Duration::from_millis(seed % 2000);
        ground.connect(&allowed)?;
        ground.connect(&denied)?;
        // The moment is the condition.
        agent.wait_until(moment, |_| false)?;
        for record in agent.kill()? {
            let is_false = ["unenforced", "unexpected_drop"].contains(&record.assessment());
            ensure!(!is_false, "a false claim: {}", record.line);
        }
    }
    let mut agent = Agent::start(&setup(&ground, 0)?, &ground.node.namespace)?;
    ground.until(&mut agent, &denied, "blocked")?;
    ground.until(&mut agent, &allowed, "allowed")?;
    none_says(&agent.stop()?, &["unenforced", "unexpected_drop"])?;
    nothing_left(&ground)
}

/// No filter on any interface, and nothing pinned: what has no name in the kernel ends
/// with the process that holds it.
fn nothing_left(ground: &Ground) -> anyhow::Result<()> {
    let node = &ground.node.namespace;
    for pod in &ground.node.pods {
        for way in ["ingress", "egress"] {
            let left = node.run(&["tc", "filter", "show", "dev", &pod.link, way])?;
            ensure!(!left.contains("netverdict"), "left at {}: {left}", pod.link);
        }
    }
    let mut folders = vec![PathBuf::from("/sys/fs/bpf")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            let name = path.to_string_lossy().to_lowercase();
            ensure!(!name.contains("netverdict"), "pinned: {name}");
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// By tcx and by clsact in turn: each finds what the other left.
fn setup(ground: &Ground, number: u64) -> anyhow::Result<Setup> {
    let attach = if number.is_multiple_of(2) {
        "tcx"
    } else {
        "clsact"
    };
    Ok(ground.setup()?.flag(&["--attach", attach]))
}
