//! How netverdict hangs on interfaces: by clsact, beside others, and after it was killed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use netns::agent::{Agent, Setup};
use netns::enforcer::{Mode, Stop};
use netns::ground::{DB_FROM_API, Ground, LIMIT, none_says};
use netns::node::Wiring;
use netns::record::Record;
use netns::traffic::{Client, Protocol, Servers};
use netns::trials;

/// A filter that lets everything pass and ends the chain, as a CNI's does.
const FOREIGN: [&str; 8] = [
    "prio",
    "1",
    "handle",
    "1",
    "bpf",
    "da",
    "bytecode",
    "1,6 0 0 0",
];

const SERVER: &str = "kasm/kasm-db-0";
/// Somewhere outside where nobody answers.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 80);
const PATIENCE: Duration = Duration::from_secs(1);

fn main() {
    trials::conclude(Ok(vec![
        // On other kernels `cargo xtask test vm` runs this one.
        trials::test("a way that this kernel has is taken", || {
            sees("auto", Wiring::Routed)
        }),
        trials::test("clsact sees what tcx sees", || {
            sees("clsact", Wiring::Routed)
        }),
        trials::test("on a bridge tcx sees it too", || {
            sees("tcx", Wiring::Bridged)
        }),
        trials::test("on a bridge clsact sees it too", || {
            sees("clsact", Wiring::Bridged)
        }),
        trials::test("a verifier has room to spare", is_verified_with_ease),
        trials::test("a filter that comes later is overtaken", overtakes),
        trials::test("what a killed agent left is removed", removes_leftovers),
        trials::test("somebody's ingress qdisc stays, and is said once", || {
            beside_ingress(Came::Before)
        }),
        trials::test("an ingress qdisc takes clsact's place", || {
            beside_ingress(Came::Later)
        }),
    ]))
}

/// When somebody made an ingress qdisc, as plugins that shape a pod's bandwidth do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Before,
    Later,
}

fn setup(ground: &Ground, attach: &str) -> anyhow::Result<Setup> {
    Ok(ground.setup()?.flag(&["--attach", attach]))
}

/// Verifiers differ in which states they take for the same: what another one looks at may be several times as much. None looks
/// at more than a million instructions (`BPF_COMPLEXITY_LIMIT_INSNS`).
fn is_verified_with_ease() -> anyhow::Result<()> {
    const MOST: u64 = 300_000;
    let ground = Ground::new()?;
    let agent = ground.agent()?;
    let of_agent = format!("/proc/{}/fdinfo", agent.pid()?.as_raw_pid());
    let mut looked_at = Vec::new();
    for entry in fs::read_dir(&of_agent).with_context(|| format!("read `{of_agent}`"))? {
        // A file may be closed meanwhile.
        let told = fs::read_to_string(entry?.path()).unwrap_or_default();
        let number = told
            .lines()
            .find_map(|line| line.strip_prefix("verified_insns:"));
        looked_at.extend(number.map(|it| it.trim().parse::<u64>()).transpose()?);
    }
    ensure!(looked_at.len() >= 4, "not the hooks: {looked_at:?}");
    ensure!(looked_at.iter().all(|it| *it <= MOST), "{looked_at:?}");
    Ok(())
}

fn sees(attach: &str, wiring: Wiring) -> anyhow::Result<()> {
    let mut ground = Ground::wired(wiring)?;
    let mut agent = Agent::start(&setup(&ground, attach)?, &ground.node.namespace)?;
    let ways = match attach {
        "auto" => ["hooks tcx,", "hooks clsact,"].as_slice(),
        "tcx" => &["hooks tcx,"],
        _ => &["hooks clsact,"],
    };
    ensure!(
        ways.iter().any(|way| agent.stderr().contains(way)),
        "it does not say how it hangs:\n{}",
        agent.stderr()
    );
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    ground.enforce(&ground.scenario.rows, Mode::Enforced(Stop::Drop))?;
    let denied = ground.row("default/debug", "kasm/kasm-db-0")?;
    let allowed = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &denied, "blocked")?;
    ground.until(&mut agent, &allowed, "allowed")?;
    ground.enforce(&[], Mode::NotEnforced)?;
    ground.until(&mut agent, &denied, "unenforced")?;
    none_says(&agent.stop()?, &["unexpected_drop"])
}

/// What hangs on the client's interface, in the order in which it runs.
fn filters(ground: &Ground) -> anyhow::Result<Vec<String>> {
    let link = link(ground)?;
    let node = &ground.node.namespace;
    let shown = node.run(&["tc", "filter", "show", "dev", &link, "ingress"])?;
    let filters = shown.lines().filter(|line| line.contains(" handle "));
    Ok(filters.map(str::to_owned).collect())
}

fn link(ground: &Ground) -> anyhow::Result<String> {
    let pod = ground.node.pod("default/debug")?;
    Ok(pod.link.clone())
}

fn add_foreign(ground: &Ground) -> anyhow::Result<()> {
    let link = link(ground)?;
    let mut words = vec!["tc", "filter", "add", "dev", &link, "ingress"];
    words.extend(FOREIGN);
    ground.node.namespace.run(&words).map(drop)
}

/// An agent on clsact that has told of a denial, and then a foreign filter comes.
fn beside_another() -> anyhow::Result<(Ground, Agent, Servers)> {
    let mut ground = Ground::new()?;
    let mut agent = Agent::start(&setup(&ground, "clsact")?, &ground.node.namespace)?;
    ground.add_pods(&agent, |_| true)?;
    let servers = ground.servers()?;
    ground.enforce(&ground.scenario.rows, Mode::Enforced(Stop::Drop))?;
    let denied = ground.row("default/debug", "kasm/kasm-db-0")?;
    ground.until(&mut agent, &denied, "blocked")?;
    add_foreign(&ground)?;
    Ok((ground, agent, servers))
}

fn overtakes() -> anyhow::Result<()> {
    let (ground, mut agent, _servers) = beside_another()?;
    let end = Instant::now() + LIMIT;
    loop {
        let found = filters(&ground)?;
        if found.len() == 2 && found.first().is_some_and(|it| it.contains("netverdict")) {
            break;
        }
        ensure!(Instant::now() < end, "it was not overtaken: {found:#?}");
    }
    let other = ground.row("default/debug", "kasm/kasm-proxy-0")?;
    ground.until(&mut agent, &other, "blocked")?;
    agent.stop()?;
    let left = filters(&ground)?;
    ensure!(
        left.len() == 1 && !left.concat().contains("netverdict"),
        "the foreign filter alone should be left: {left:#?}"
    );
    Ok(())
}

fn removes_leftovers() -> anyhow::Result<()> {
    let (ground, agent, _servers) = beside_another()?;
    agent.kill()?;
    let denied = ground.row("default/debug", "kasm/kasm-db-0")?;
    let ours = |found: &[String]| found.iter().filter(|it| it.contains("netverdict")).count();
    ensure!(
        ours(&filters(&ground)?) == 1,
        "the kernel keeps a filter whose process is gone"
    );
    for attach in ["clsact", "tcx"] {
        let mut agent = Agent::start(&setup(&ground, attach)?, &ground.node.namespace)?;
        ground.until(&mut agent, &denied, "blocked")?;
        let found = filters(&ground)?;
        let wanted = usize::from(attach == "clsact");
        ensure!(ours(&found) == wanted, "with {attach} there is {found:#?}");
        ensure!(
            found.len() == wanted + 1,
            "the foreign filter is gone: {found:#?}"
        );
        // What it leaves is the next one's to remove.
        agent.kill().context("kill it again")?;
    }
    Ok(())
}

/// The server's interface has a qdisc without egress: what comes from the server is seen, what goes to it is not.
fn beside_ingress(came: Came) -> anyhow::Result<()> {
    let mut ground = Ground::new()?;
    ground.write_policies(DB_FROM_API)?;
    ground.node.add_pods(&ground.scenario.pod_specs())?;
    let link = ground.node.pod(SERVER)?.link.clone();
    let tc = |words: &str| {
        let words = words.replace("DEV", &format!("dev {link}"));
        let words: Vec<&str> = words.split_whitespace().collect();
        ground.node.namespace.run(&words)
    };
    if came == Came::Before {
        tc("tc qdisc add DEV ingress")?;
    }
    let mut agent = Agent::start(&setup(&ground, "clsact")?, &ground.node.namespace)?;
    let warning = "takes the place of clsact";
    if came == Came::Later {
        tc("tc qdisc del DEV clsact")?;
        tc("tc qdisc add DEV ingress")?;
        let end = Instant::now() + LIMIT;
        while !agent.stderr().contains(warning) {
            ensure!(Instant::now() < end, "it is not said:\n{}", agent.stderr());
        }
    }
    let _servers = ground.servers()?;
    let denied = ground.row("default/debug", SERVER)?;
    let allowed = ground.row("kasm/kasm-api-0", SERVER)?;
    ground.until(&mut agent, &allowed, "allowed")?;
    ground.until(&mut agent, &denied, "unenforced")?;
    ground.enforce(std::slice::from_ref(&denied), Mode::Enforced(Stop::Drop))?;
    ground.until(&mut agent, &denied, "blocked")?;
    // Nobody answers the server, which could not be seen.
    Client::open(ground.node.namespace_of(SERVER)?, NOWHERE, Protocol::Tcp)?.try_it(PATIENCE)?;
    let is_it = |record: &Record| record.text("/destination/kind") == Some("world");
    agent.wait_until(LIMIT, |records| records.iter().any(is_it))?;
    let shown = tc("tc qdisc show DEV")?;
    ensure!(shown.contains("ingress"), "it was deleted:\n{shown}");
    let hanging = ground
        .node
        .namespace
        .run(&["tc", "filter", "show", "dev", &link, "ingress"])?;
    let ours = hanging.lines().filter(|line| line.contains("netverdict"));
    ensure!(ours.count() == 1, "what should not be there:\n{hanging}");
    let finished = agent.stop()?;
    let times = |words: &str| finished.stderr.matches(words).count();
    ensure!(
        times(warning) == 1 && times("stood in front") <= usize::from(came == Came::Later),
        "it is said again and again:\n{}",
        finished.stderr
    );
    let of_server = finished.records.iter().find(|record| is_it(record));
    let because = of_server.and_then(|record| record.text("/unknown_because"));
    ensure!(because == Some("hook_bypassed"), "{of_server:?}");
    none_says(&finished, &["unexpected_drop", "unanswered", "refused"])
}
