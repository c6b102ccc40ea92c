//! How each sort of tests is run on this machine.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::tally::{Reader, Tally};
use super::{Extent, Sort, fuzz, mutants, vm};
use crate::build;
use crate::image;
use crate::node;
use crate::recipe;
use crate::servers;
use crate::setup::Purpose;
use crate::shell::{self, House};
use crate::tidy;

/// Gives what this machine must be set up for to run these sorts.
pub(super) fn purposes(sorts: &[Sort]) -> Vec<Purpose> {
    let mut purposes = Vec::new();
    for sort in sorts {
        match sort {
            Sort::Tidy | Sort::Conformance | Sort::Mutants => {}
            Sort::Unit => purposes.push(Purpose::Build),
            Sort::Netns if shell::is_root() => {
                purposes.extend([Purpose::Build, Purpose::Namespaces]);
            }
            Sort::Cluster if shell::is_root() => {
                purposes.extend([Purpose::Build, Purpose::Namespaces]);
                purposes.extend([Purpose::Servers, Purpose::Node]);
            }
            Sort::Netns | Sort::Cluster => {}
            Sort::Fuzz => purposes.push(Purpose::Fuzz),
            // What else it needs it fetches itself: without it, the others run.
            Sort::Vm => purposes.push(Purpose::Build),
        }
    }
    purposes.sort_unstable();
    purposes.dedup();
    purposes
}

/// Runs one sort, its output being ours.
pub(super) fn run(house: &House, sort: Sort, extent: Extent) -> anyhow::Result<Tally> {
    match sort {
        Sort::Tidy => tidy(house),
        Sort::Unit => unit(house, extent),
        Sort::Conformance => cargo_test(house, &["conformance"], extent),
        Sort::Netns => netns(house, extent),
        Sort::Cluster => cluster(house, extent),
        Sort::Vm => match vm::lacking() {
            Some(why) => Ok(not_run("vm", why)),
            None => vm::run(house, extent),
        },
        Sort::Fuzz => fuzz::run(house, extent),
        Sort::Mutants => mutants::run(house),
    }
}

fn tidy(house: &House) -> anyhow::Result<Tally> {
    let outcome = tidy::check(house)?;
    for violation in &outcome.violations {
        anstream::println!("{violation}");
    }
    Ok(Tally {
        passed: outcome.held,
        failed: outcome.broken,
        ..Tally::default()
    })
}

fn unit(house: &House, extent: Extent) -> anyhow::Result<Tally> {
    cargo_test(
        house,
        &[
            "node-agent",
            "node-agent-engine",
            "node-agent-common",
            "fuzz",
            "xtask",
        ],
        extent,
    )
}

fn netns(house: &House, extent: Extent) -> anyhow::Result<Tally> {
    if !shell::is_root() {
        let why = "needs root for network namespaces and kernel programs";
        return Ok(not_run("netns", why.to_owned()));
    }
    // What the image holds, built once for all of them and for the demo.
    let agent = build::static_agent(house)?;
    counted(test_call(house, &["netns"], extent).env("NETVERDICT_BIN", agent))
}

fn cluster(house: &House, extent: Extent) -> anyhow::Result<Tally> {
    if !shell::is_root() {
        return Ok(not_run(
            "cluster",
            "needs root for a network namespace of its own".to_owned(),
        ));
    }
    let Some(servers) = servers::find() else {
        let why = format!(
            "needs {}, and Go (https://go.dev/dl) to build them",
            servers::title()
        );
        return Ok(not_run("cluster", why));
    };
    let agent = build::static_agent(house)?;
    let call = |test: &str| {
        let mut call = test_call(house, &["cluster"], extent);
        call.args(["--test", test])
            .env("NETVERDICT_BIN", &agent)
            .env("NETVERDICT_SERVERS", &servers);
        call
    };
    let source = counted(&mut call("source"))?;
    let Some(parts) = node::find() else {
        let why = format!("needs {}, and Go and apt to make one", node::title());
        return Ok(source.plus(&not_run("cluster", why)));
    };
    let [agents, pods] = images(house)?;
    let on_node = counted(
        call("node")
            .env("NETVERDICT_NODE_PARTS", parts)
            .env("NETVERDICT_IMAGE", agents)
            .env("NETVERDICT_PODS_IMAGE", pods),
    )?;
    Ok(source.plus(&on_node))
}

/// Writes the agent's image, and the one that the pods of the tests run.
fn images(house: &House) -> anyhow::Result<[PathBuf; 2]> {
    let [agents, pods] = ["netverdict", "busybox"].map(|name| {
        let file = format!("{name}-image.tar");
        house.target.join(file)
    });
    image::agent(house, image::NAME, &agents)?;
    let busybox = recipe::find_in_path("busybox").context("find busybox")?;
    let program = image::Program {
        file: &busybox,
        path: "busybox",
        // As the container that holds a pod's namespaces it has nothing to do.
        usual: &["sleep", "2147483647"],
    };
    image::write(&program, "localhost/busybox:1", &pods)?;
    Ok([agents, pods])
}

/// What this machine cannot run is skipped, but CI must run everything.
fn not_run(sort: &str, why: String) -> Tally {
    anstream::eprintln!("{sort}: {why}");
    if shell::is_ci() {
        Tally::failed_because(why)
    } else {
        Tally::skipped_because(why)
    }
}

fn cargo_test(house: &House, packages: &[&str], extent: Extent) -> anyhow::Result<Tally> {
    counted(&mut test_call(house, packages, extent))
}

fn test_call(house: &House, packages: &[&str], extent: Extent) -> Command {
    let mut command = house.cargo();
    command.args(["test", "--no-fail-fast"]);
    for package in packages {
        command.args(["--package", package]);
    }
    match extent {
        Extent::Usual => {}
        Extent::Long => {
            command
                .env("NETVERDICT_LONG", "1")
                .env("PROPTEST_CASES", "20000");
        }
    }
    command
}

/// Runs `cargo test`, showing what it prints and adding up its closing lines.
fn counted(command: &mut Command) -> anyhow::Result<Tally> {
    let shown = shell::shown(command);
    let may_colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    command.args(["--", "--color", if may_colour { "always" } else { "never" }]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{shown}`"))?;
    let mut reader = Reader::default();
    let printed = child.stdout.take().map(BufReader::new);
    for line in printed.into_iter().flat_map(|printed| printed.split(b'\n')) {
        let line = line.with_context(|| format!("read what `{shown}` prints"))?;
        let mut out = anstream::stdout();
        // A reader that went away must not end the tests: the exit code still counts.
        let _ = out.write_all(&line).and_then(|()| out.write_all(b"\n"));
        reader.read(&String::from_utf8_lossy(&line));
    }
    let mut total = reader.end();
    let status = child
        .wait()
        .with_context(|| format!("wait for `{shown}`"))?;
    if !status.success() && total.failed == 0 {
        total = total.plus(&Tally::failed_because(format!(
            "`{shown}` ended with {status}"
        )));
    }
    Ok(total)
}
