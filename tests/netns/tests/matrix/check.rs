//! A cell's words against what came of one of its attempts.

use std::collections::BTreeSet;

use anyhow::{Context, bail, ensure};
use netns::record::Record;
use netns::scenario::Family;
use serde_json::Value;

use crate::cell::{Attempt, Cell, Claim, From, To, Transport};
use crate::cluster;
use crate::stage::{Ran, Told, port_of};
use crate::together;

/// Holds one attempt against its cell.
pub(crate) fn attempt(cells: &[Cell], ran: &Ran, attempt: &Attempt) -> anyhow::Result<()> {
    let cell = cells.get(attempt.cell).context("no such cell")?;
    let claim = cell.claim(attempt.policy).context("no such claim")?;
    let held = all_held(cell, claim, ran, attempt);
    let far = cell.seen_from_afar();
    let far = far.as_ref().and_then(|far| far.claim(attempt.policy));
    let short = |claim: &Claim| claim.falls_short.clone();
    let Some(short) = short(claim).or_else(|| far.and_then(short)) else {
        return held;
    };
    let why = short.why;
    let Err(error) = held else {
        bail!("it holds now, so it falls short no more ({why}): take `falls_short` away");
    };
    // It falls short of nothing else.
    let told = format!("{error:#}");
    ensure!(
        told.contains(&short.told),
        "it falls short in another way than by `{}`: {told}",
        short.told
    );
    Ok(())
}

fn all_held(cell: &Cell, claim: &Claim, ran: &Ran, attempt: &Attempt) -> anyhow::Result<()> {
    let saw = ran.saw.get(&attempt.port).context("it was not tried")?;
    ensure!(
        *saw == cell.saw,
        "the client saw {saw:?}, not {:?}",
        cell.saw
    );
    let near = ran.told.first().context("no agent")?;
    held(cell, claim, ran, near, attempt).context("the source's agent")?;
    let Some(far) = ran.told.get(1) else {
        return Ok(());
    };
    let nothing = Cell {
        outcome: "none".to_owned(),
        ..cell.clone()
    };
    let from_afar = cell.seen_from_afar().unwrap_or(nothing);
    let claim = from_afar.claim(attempt.policy).context("no such claim")?;
    held(&from_afar, claim, ran, far, attempt).context("the destination's agent")?;
    together::held(cell, ran, attempt, [near, far])
}

fn held(
    cell: &Cell,
    claim: &Claim,
    ran: &Ran,
    told: &Told,
    attempt: &Attempt,
) -> anyhow::Result<()> {
    let records = of(cell, ran, told, attempt)?;
    let lines: Vec<&str> = records.iter().map(|it| it.line.as_str()).collect();
    let lines = lines.join("\n");
    if cell.outcome == "none" {
        ensure!(records.is_empty(), "there should be no record:\n{lines}");
        return Ok(());
    }
    ensure!(
        !records.is_empty(),
        "no record; the agent said:\n{}",
        told.stderr
    );
    let count: u64 = records.iter().map(|record| record.count()).sum();
    ensure!(count == 1, "{count} attempts counted, 1 made:\n{lines}");
    for record in records {
        let wrong = differences(cell, claim, attempt, record);
        if !wrong.is_empty() {
            bail!("{}\n{lines}", wrong.join("\n"));
        }
    }
    Ok(())
}

/// What was written of an attempt.
pub(crate) fn of<'a>(
    cell: &Cell,
    ran: &Ran,
    told: &'a Told,
    attempt: &Attempt,
) -> anyhow::Result<Vec<&'a Record>> {
    let protocol = attempt.transport.name(attempt.family);
    let mut ends = None;
    if attempt.transport == Transport::Icmp {
        let client = cluster::client(attempt.cell, cell, attempt.policy);
        let client = ran.scenario.address(&client, attempt.family)?;
        let (server, _) = cluster::target(&ran.scenario, cell, attempt)?;
        ends = Some((client.to_string(), server.to_string()));
    }
    let is_it = |record: &&Record| {
        let by_address = |(client, server): &(String, String)| {
            record.text("/source/ip") == Some(client.as_str())
                && record.text("/destination/ip") == Some(server.as_str())
        };
        let known = ends
            .as_ref()
            .map_or_else(|| port_of(record) == Some(attempt.port), by_address);
        record.kind() == "connection" && record.text("/protocol") == Some(protocol) && known
    };
    Ok(told.records.iter().filter(is_it).collect())
}

fn differences(cell: &Cell, claim: &Claim, attempt: &Attempt, record: &Record) -> Vec<String> {
    let client = cluster::client(attempt.cell, cell, attempt.policy);
    let server = cluster::server(attempt.cell, cell);
    let (source, source_name) = match cell.source.unwrap_or(cell.from) {
        From::Pod => ("pod", name(&client)),
        From::Node => ("node", Some("node-1")),
        From::World => ("world", None),
    };
    let service = cluster::service_name(attempt);
    let (destination, destination_name) = match cell.to {
        To::Pod | To::Service | To::NodePort | To::LoadBalancer | To::Headless => {
            ("pod", name(&server))
        }
        To::Itself => ("pod", name(&client)),
        To::Node => ("node", Some("node-1")),
        To::FarNode => ("node", Some("node-2")),
        To::EmptyService => ("service", Some(service.as_str())),
        To::Unallocated => ("unknown", None),
        To::NodeService | To::World | To::Nobody | To::Second => ("world", None),
    };
    let family = match attempt.family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let kind_of = |wanted: &Option<String>, usual: &'static str| {
        wanted.clone().unwrap_or_else(|| usual.to_owned())
    };
    let own = |text: &str| Some(text.to_owned());
    let same_destination = cell.destination.is_none();
    let mut wanted = vec![
        ("/assessment", claim.is.clone()),
        ("/unknown_because", claim.because.clone()),
        ("/direction", attempt.policy.direction().map(str::to_owned)),
        ("/family", own(family)),
        ("/reporter", own(&cell.reporter)),
        ("/outcome/drop_reason", cell.reason.clone()),
        ("/cause", cell.cause.clone()),
        ("/source/kind", own(source)),
        ("/source/name", source_name.map(str::to_owned)),
        (
            "/destination/kind",
            Some(kind_of(&cell.destination, destination)),
        ),
        ("/verdict/egress/kept", claim.kept.get("egress").cloned()),
        ("/verdict/ingress/kept", claim.kept.get("ingress").cloned()),
    ];
    if cell.client_saw.is_some() {
        wanted.push(("/outcome/client_saw", cell.client_saw.clone()));
    }
    if same_destination {
        wanted.push(("/destination/name", destination_name.map(str::to_owned)));
    }
    if cell.names_service {
        wanted.push(("/service/name", Some(service.clone())));
    }
    let mut wrong: Vec<String> = wanted
        .into_iter()
        .filter_map(|(pointer, wanted)| {
            let found = record.text(pointer);
            let differs = found != wanted.as_deref();
            differs.then(|| format!("`{pointer}` is {found:?}, not {wanted:?}"))
        })
        .collect();
    let outcome = record.outcome();
    if !cell.outcome.split(" or ").any(|one| one == outcome) {
        wrong.push(format!(
            "the outcome is `{outcome}`, not `{}`",
            cell.outcome
        ));
    }
    wrong.extend(place_differs(cell, record));
    wrong.extend(evidence_differs(cell, record));
    wrong
}

/// The kernel's function, or one of several that it may be. A compiler that makes a function of its own out of one
/// adds to its name.
fn place_differs(cell: &Cell, record: &Record) -> Option<String> {
    let found = record.text("/outcome/where");
    let found = found.and_then(|name| name.split('.').next());
    let fits = match (&cell.place_of_drop, found) {
        (Some(wanted), Some(found)) => wanted.split(" or ").any(|one| one == found),
        (wanted, found) => wanted.is_none() == found.is_none(),
    };
    (!fits).then(|| format!("it was dropped at {found:?}, not {:?}", cell.place_of_drop))
}

fn evidence_differs(cell: &Cell, record: &Record) -> Option<String> {
    let found: BTreeSet<&str> = record
        .value
        .pointer("/outcome/evidence")
        .and_then(Value::as_array)
        .map(|tokens| tokens.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let wanted: BTreeSet<&str> = cell.evidence.as_ref()?.iter().map(String::as_str).collect();
    (found != wanted).then(|| format!("the evidence is {found:?}, not {wanted:?}"))
}

fn name(key: &str) -> Option<&str> {
    key.split('/').next_back()
}
