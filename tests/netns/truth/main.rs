//! Whether netverdict tells the truth when everything changes: 200 pods, 2,000 connections a second, an enforcer that is
//! right but late, policies, labels and pods that come and go, addresses that are used again at once.
//!
//! First nothing is wrong, and nothing may be claimed. Then the enforcer is wrong about one pair of pods at a time, and
//! each of them has to be found. Prints figures as `cargo xtask bench truth` keeps them.

mod enforcer;
mod ledger;
mod model;
mod traffic;
mod world;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anstream::eprintln;
use anyhow::Context;
use clap::Parser;
use serde_json::{Value, json};

use ledger::Said;
use model::Fault;
use world::World;

/// How soon a fault is to be found.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
/// Until the last attempt is judged: its deadline, the confirm time, and some.
const LAST_WORDS: Duration = Duration::from_secs(12);
/// Most wrong claims that are printed.
const MOST_SHOWN: usize = 10;

#[derive(Parser)]
struct Arguments {
    /// Ten minutes and 100 faults instead of 90 seconds and 20
    #[arg(long)]
    long: bool,
    /// Where to leave netverdict's records, for whoever looks for a mistake
    #[arg(long)]
    records: Option<PathBuf>,
    /// What the dice begin with
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (time, faults) = match arguments.long {
        true => (Duration::from_secs(600), 100),
        false => (Duration::from_secs(90), 20),
    };
    let mut world = World::new(arguments.seed)?;
    eprintln!("truth: {} s in which nothing is wrong", time.as_secs());
    world.go_on_for(time)?;
    eprintln!("truth: {faults} faults, one at a time");
    let found = find_faults(&mut world, faults)?;
    let ended = world.end(LAST_WORDS)?;
    if let Some(file) = &arguments.records {
        let lines: Vec<&str> = ended
            .records
            .iter()
            .map(|record| record.line.as_str())
            .collect();
        fs::write(file, lines.join("\n")).context("write the records")?;
    }
    let said = ended.ledger.judge(&ended.records, &ended.attempts)?;
    for line in said.lies.iter().take(MOST_SHOWN) {
        eprintln!("truth: not so: {line}");
    }
    let figures = figures(ended.attempts.len(), &said, &found, ended.lag);
    println!("{}", json!({ "figures": figures }));
    Ok(())
}

/// What became of the faults.
#[derive(Debug, Default)]
struct Found {
    /// How long each that was found took, in seconds.
    after: Vec<f64>,
    missed: u32,
}

fn find_faults(world: &mut World, faults: u32) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let mut next = world.pin(true)?;
    for number in 0..faults {
        let lets_through = number.is_multiple_of(2);
        let pair = next;
        // The next one settles while this one is looked for.
        next = world.pin(!lets_through)?;
        world.let_settle(pair)?;
        let (from, to) = pair;
        let began = world.break_pair(Fault {
            from,
            to,
            lets_through,
        })?;
        match find(world, began)? {
            Some(after) => found.after.push(after.as_secs_f64()),
            None => {
                eprintln!("truth: missed: {:?}", world.ledger.spells.last());
                found.missed += 1;
            }
        }
        world.mend()?;
        world.unpin(pair);
    }
    Ok(found)
}

/// Waits for the record that tells of the latest fault.
fn find(world: &mut World, began: Instant) -> anyhow::Result<Option<Duration>> {
    while began.elapsed() < FOUND_WITHIN {
        if world.turn()?
            && let Some(record) = world.agent.records().last()
            && let Some(spell) = world.ledger.spell_of(record)
            && spell.began == began
        {
            if world.ledger.names(record, spell) {
                return Ok(Some(began.elapsed()));
            }
            eprintln!("truth: found, but not by its names: {}", record.line);
        }
    }
    Ok(None)
}

fn figures(attempts: usize, said: &Said, found: &Found, lag: Duration) -> Vec<Value> {
    let whole = |name: &str, count: u64, most: Option<u64>| {
        let held = most.map(|most| count <= most);
        json!({"name": name, "min": count, "median": count, "max": count, "unit": "attempts", "bound": most, "held": held})
    };
    let share = |name: &str, count: u64, most: Option<f64>| {
        let percent = 100.0 * count as f64 / said.judged.max(1) as f64;
        let held = most.map(|most| percent <= most);
        json!({"name": name, "min": percent, "median": percent, "max": percent, "unit": "%", "bound": most, "held": held})
    };
    let claimed = |kind: &str| said.false_claims.get(kind).copied().unwrap_or_default();
    let mut after = found.after.clone();
    after.sort_by(f64::total_cmp);
    let at = |index: usize| after.get(index).copied().unwrap_or_default();
    let last = after.len().saturating_sub(1);
    let mut figures = vec![
        whole("made", attempts as u64, None),
        whole("judged", said.judged, None),
        whole("told as lost", said.lost, None),
        whole("false unenforced", claimed("unenforced"), Some(0)),
        whole("false unexpected_drop", claimed("unexpected_drop"), Some(0)),
        whole("let through in a start window", said.start_window, None),
        json!({"name": "faults found", "min": after.len(), "median": after.len(), "max": after.len(), "unit": "faults", "bound": null, "held": null}),
        json!({"name": "faults missed", "min": found.missed, "median": found.missed, "max": found.missed, "unit": "faults", "bound": 0, "held": found.missed == 0}),
        json!({"name": "fault to record", "min": at(0), "median": at(after.len() / 2), "max": at(last), "unit": "s", "bound": FOUND_WITHIN.as_secs(), "held": at(last) <= FOUND_WITHIN.as_secs_f64()}),
        json!({"name": "lag of the enforcer", "min": 0.0, "median": 1.0, "max": lag.as_secs_f64(), "unit": "s", "bound": null, "held": null}),
        share("unknown", said.unknown, None),
        share("unknown outside the settle time", said.hidden, Some(2.0)),
    ];
    for (kind, count) in &said.by_assessment {
        figures.push(share(&format!("judged {kind}"), *count, None));
    }
    for (because, count) in &said.unknown_because {
        figures.push(share(&format!("unknown: {because}"), *count, None));
    }
    for (because, count) in &said.hidden_because {
        figures.push(share(
            &format!("unknown outside the settle time: {because}"),
            *count,
            None,
        ));
    }
    figures
}
