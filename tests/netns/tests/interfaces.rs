//! Interfaces that come, go, change their names and wander; and an agent that is killed again and again.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use netns::agent::{Agent, Setup};
use netns::enforcer::{Mode, Stop};
use netns::ground::{Ground, none_says};
use netns::node::Wiring;
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
