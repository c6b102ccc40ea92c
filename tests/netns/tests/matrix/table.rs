//! The matrix as a page of the documentation.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, ensure};
use netns::paths;
use netns::scenario::Family;

use crate::cell::{Cell, Claim, Counts, From, Ground, Policy, Saw, Serves, To};
use crate::confused;

/// Set, it renews the page instead of comparing it.
const RENEW: &str = "NETVERDICT_RENEW";
const FILE: &str = "docs/outcomes.md";

/// Holds the page against the matrix.
pub(crate) fn is_current(files: &[(&str, Vec<Cell>)]) -> anyhow::Result<()> {
    let file = paths::project().join(FILE);
    let wanted = page(files)?;
    if std::env::var_os(RENEW).is_some() {
        return fs::write(&file, wanted).context("write the page");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    ensure!(
        found == wanted,
        "{FILE} is not what tests/netns/matrix says: renew it with `{RENEW}=1 cargo test -p netns --test matrix outcomes`"
    );
    Ok(())
}

fn page(files: &[(&str, Vec<Cell>)]) -> anyhow::Result<String> {
    let mut out = String::from(
        "# What really happened\n\n\
         Each row was made with real packets by `cargo xtask test netns` and held against what netverdict wrote; it is \
         printed from `tests/netns/matrix`. Read it from left to right: what stood in the way and where, what the \
         client's socket saw, the outcome with the kernel's reason and its evidence, and then the assessment for each \
         answer that policy can give (its side kept or not in brackets, \u{2020} where netverdict falls short of it). \
         Between two nodes both agents write; the row of the one that counts the attempt ends its path with *counts*.\n\n\
         An attempt counts by what it was three seconds after it began. What is answered or refused only then is told with \
         a `count` of 0, also where policy denies it: a leak that is this late is in the records, and in the metrics it \
         is `blocked`, or `unknown`.\n",
    );
    for (heading, cells) in files {
        write!(
            out,
            "\n## {heading}\n\n\
             | what, where | path | over | client saw | outcome | evidence | allowed | denied, ingress | denied, egress | denied, both |\n\
             |---|---|---|---|---|---|---|---|---|---|\n"
        )?;
        for cell in cells {
            row(&mut out, cell, &path(cell))?;
            if let Some(far) = cell.seen_from_afar() {
                row(&mut out, &far, from_afar(cell))?;
            }
        }
    }
    out.push_str(&confused::section(files)?);
    notes(&mut out, files)?;
    Ok(out)
}

fn row(out: &mut String, cell: &Cell, path: &str) -> std::fmt::Result {
    let protocols: Vec<&str> = cell
        .protocols
        .iter()
        .map(|protocol| protocol.name(Family::V4))
        .collect();
    let families: Vec<&str> = cell.families.iter().map(|family| family.name()).collect();
    write!(
        out,
        "| {}, {} | {} | {} {} | {} | {} | {} |",
        cell.mechanism,
        cell.place,
        path,
        protocols.join(", "),
        families.join(", "),
        saw(cell.saw),
        outcome(cell),
        words(
            &cell
                .evidence
                .iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        ),
    )?;
    for policy in [
        Policy::Allowed,
        Policy::Denied,
        Policy::DeniedEgress,
        Policy::DeniedBoth,
    ] {
        write!(
            out,
            " {} |",
            cell.claim(policy).map_or(String::new(), claim)
        )?;
    }
    out.push('\n');
    Ok(())
}

fn path(cell: &Cell) -> String {
    let from = match cell.from {
        From::Pod => "pod",
        From::Node => "node",
        From::World => "world",
    };
    let to = match (cell.to, cell.server) {
        (To::Pod, Serves::Answering) => "pod",
        (To::Pod, Serves::Silent) => "silent pod",
        (To::Pod, Serves::Closed) => "pod, port closed",
        (To::Pod, Serves::Full) => "pod, queue full",
        (To::Service, _) => "Service to pod",
        (To::EmptyService, _) => "Service with nobody ready",
        (To::Unallocated, _) => "address of no Service",
        (To::NodePort, _) => "NodePort to pod",
        (To::Itself, _) => "Service to itself",
        (To::NodeService, _) => "Service of the node",
        (To::Node, _) => "node",
        (To::World, _) => "world",
        (To::Nobody, _) => "nobody",
        (To::Second, _) => "pod's second address",
        (To::LoadBalancer, _) => "LoadBalancer to pod",
        (To::Headless, _) => "headless Service's pod",
        (To::FarNode, _) => "the other node",
    };
    let ground = match cell.ground {
        Ground::Routed | Ground::Crowded => "",
        Ground::Bridged => ", bridge",
        Ground::Before => ", before the agent",
        Ground::Clsact => ", agent on clsact",
        Ground::BeforeClsact => ", before the agent on clsact",
        Ground::Across => ", two nodes",
        Ground::AcrossVxlan => ", two nodes, VXLAN",
        Ground::Calls => ", calls watched",
    };
    let counts = match cell.counts {
        Some(Counts::Source) => ", *counts*",
        Some(Counts::Destination) | None => "",
    };
    format!("{from} to {to}{ground}{counts}")
}

/// The row of the other node's agent.
fn from_afar(cell: &Cell) -> &'static str {
    match cell.counts {
        Some(Counts::Destination) => "as the other node's agent has it, *counts*",
        Some(Counts::Source) | None => "as the other node's agent has it",
    }
}

fn saw(saw: Saw) -> &'static str {
    match saw {
        Saw::Answer => "answer",
        Saw::Refused => "connection refused",
        Saw::Unreachable => "no route to host",
        Saw::TooLong => "message too long",
        Saw::Forbidden => "not permitted",
        Saw::Nothing => "nothing",
    }
}

fn outcome(cell: &Cell) -> String {
    if cell.outcome == "none" {
        return "no record".to_owned();
    }
    let mut text = words(&cell.outcome);
    if let Some(reason) = &cell.reason {
        text += &format!(", {reason}");
    }
    if let Some(place) = &cell.place_of_drop {
        text += &format!(" in `{place}`");
    }
    if let Some(cause) = &cell.cause {
        text += &format!(", {}", words(cause));
    }
    text
}

fn claim(claim: &Claim) -> String {
    let mut text = words(claim.is.as_deref().unwrap_or("no record"));
    if let Some(because) = &claim.because {
        text += &format!(": {}", words(because));
    }
    let kept: Vec<String> = claim
        .kept
        .iter()
        .map(|(side, kept)| format!("{side} {kept}"))
        .collect();
    if !kept.is_empty() {
        text += &format!(" ({})", kept.join(", "));
    }
    if claim.falls_short.is_some() {
        text.push_str(" \u{2020}");
    }
    text
}

/// What is not as it should be, and what this machine could not run.
fn notes(out: &mut String, files: &[(&str, Vec<Cell>)]) -> std::fmt::Result {
    let cells = || files.iter().flat_map(|(_, cells)| cells);
    let short: Vec<String> = cells()
        .flat_map(|cell| {
            cell.claims()
                .map(move |(policy, claim)| (cell, policy, claim))
        })
        .filter_map(|(cell, policy, claim)| {
            let why = &claim.falls_short.as_ref()?.why;
            let Cell {
                mechanism, place, ..
            } = cell;
            Some(format!(
                "* {mechanism}, {place}, {}: {why}\n",
                policy.words()
            ))
        })
        .collect();
    if !short.is_empty() {
        write!(
            out,
            "\n## Where netverdict falls short\n\n{}",
            short.concat()
        )?;
    }
    let skipped: Vec<String> = cells()
        .filter_map(|cell| {
            let why = cell.skip.as_ref()?;
            let Cell {
                mechanism, place, ..
            } = cell;
            Some(format!("* {mechanism}, {place}: {why}\n"))
        })
        .collect();
    if !skipped.is_empty() {
        write!(out, "\n## Not run\n\n{}", skipped.concat())?;
    }
    Ok(())
}

fn words(token: &str) -> String {
    token.replace('_', " ")
}
