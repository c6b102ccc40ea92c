//! A recording gives the same records again, without a kernel and without privileges.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use netns::agent::Agent;
use netns::enforcer::{Mode, Stop};
use netns::ground::{Ground, LIMIT, is};
use netns::paths;
use netns::record::Record;
use netns::scenario::Family;
use netns::service;
use netns::traffic::{Client, Listen, Protocol, Server, Servers};
use netns::trials;

/// Anybody, without any capability.
const NOBODY: u32 = 65534;

fn main() {
    trials::conclude(Ok(vec![
        trials::test("a recording replays to the same records", replay),
        trials::test("a cut recording replays up to the cut", cut_replay),
    ]))
}

/// All rows once, half of them enforced, and one through a Service, with a recording.
fn recorded(ground: &mut Ground, file: &Path) -> anyhow::Result<Vec<Record>> {
    let name = file.to_str().context("a file name in UTF-8")?;
    let setup = ground.setup()?.flag(&["--record", name]);
    let mut agent = Agent::start(&setup, &ground.node.namespace)?;
    ground.add_pods(&agent, |_| true)?;
    let _servers = ground.servers()?;
    let rows = ground.scenario.rows.clone();
    // Nobody goes there directly: that would be the same conversation.
    let mut served = ground.row("kasm/kasm-api-0", "kasm/kasm-db-0")?;
    served.port += 1;
    let service = service::before(ground, &served)?;
    let at = SocketAddr::new(
        ground.scenario.address(&served.to, Family::V4)?,
        served.port,
    );
    let _backend = Servers::start(&[Listen {
        namespace: ground.node.namespace_of(&served.to)?,
        at,
        protocol: Protocol::Tcp,
        server: Server::Answering,
    }])?;
    let half = rows.get(..rows.len() / 2).unwrap_or_default();
    ground.enforce(half, Mode::Enforced(Stop::Drop))?;
    agent.settle()?;
    for row in &rows {
        ground.connect(row)?;
    }
    let client = ground.node.namespace_of(&served.from)?;
    Client::open(client, service, Protocol::Tcp)?.try_it(LIMIT)?;
    let count = rows.len();
    agent.wait_until(LIMIT, |records| {
        rows.iter()
            .filter(|row| records.iter().any(|record| is(record, row)))
            .count()
            == count
    })?;
    let through = |record: &Record| record.text("/service/name") == Some("db");
    let is_told = agent.wait_until(LIMIT, |records| records.iter().any(through))?;
    ensure!(is_told, "nothing is told of the Service");
    let records = agent.stop()?.records;
    ensure!(
        records.len() >= count,
        "only {} records of {count} rows",
        records.len()
    );
    Ok(records)
}

/// Replays as somebody without any privilege.
fn replayed(folder: &Path, file: &Path) -> anyhow::Result<Vec<String>> {
    let binary = folder.join("netverdict");
    // Not in this process: while the copy is open for writing here, whatever is started keeps it so.
    let copied = Command::new("cp")
        .arg(paths::agent()?)
        .arg(&binary)
        .status();
    ensure!(copied?.success(), "copy the agent");
    open_to_all(folder, 0o755)?;
    open_to_all(file, 0o644)?;
    let output = Command::new(&binary)
        .args([
            "agent",
            "--output",
            "-",
            "--metrics-listen",
            "127.0.0.1:0",
            "--replay",
        ])
        .arg(file)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .context("start the replay")?;
    ensure!(
        output.status.success(),
        "the replay ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).context("records in UTF-8")?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn open_to_all(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("open `{}` to all", path.display()))
}

fn replay() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("recording");
    let live = recorded(&mut Ground::new()?, &file)?;
    let again = replayed(folder.path(), &file)?;
    let live: Vec<&str> = live.iter().map(|record| record.line.as_str()).collect();
    ensure!(
        live == again,
        "live, {} records:\n{}\nreplayed, {}:\n{}",
        live.len(),
        live.join("\n"),
        again.len(),
        again.join("\n")
    );
    Ok(())
}

fn cut_replay() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("recording");
    let live = recorded(&mut Ground::new()?, &file)?;
    let whole = fs::metadata(&file)?.len();
    fs::OpenOptions::new()
        .write(true)
        .open(&file)?
        .set_len(whole * 9 / 10)
        .context("cut the recording")?;
    let again = replayed(folder.path(), &file)?;
    ensure!(
        again.len() <= live.len() && !again.is_empty(),
        "{} records of a cut recording, {} of the whole",
        again.len(),
        live.len()
    );
    Ok(())
}
