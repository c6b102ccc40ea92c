//! Every way in which a connection can succeed, fail or vanish, as a matrix of data: `tests/netns/matrix`.
//!
//! What is expected there comes from the design and from what was measured of the kernel, never from what netverdict
//! said.

mod cell;
mod check;
mod client;
mod cluster;
mod confused;
mod lab;
mod mechanism;
mod stage;
mod table;
mod together;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use libtest_mimic::Trial;
use netns::trials;

use crate::cell::{Attempt, Cell, Ground};
use crate::stage::Ran;

fn main() {
    if let Some(sent) = client::sent() {
        if let Err(error) = sent {
            eprintln!("{error}");
        }
        return;
    }
    trials::conclude(all())
}

/// A test for each attempt of each cell, one ground for all that can share it, and one for the page.
fn all() -> anyhow::Result<Vec<Trial>> {
    let files = cell::read()?;
    let cells: Arc<[Cell]> = files
        .iter()
        .flat_map(|(_, cells)| cells.iter().cloned())
        .collect();
    let mut grounds: BTreeMap<Ground, Vec<Attempt>> = BTreeMap::new();
    let mut trials = Vec::new();
    for attempt in cell::attempts(&cells) {
        let Some(cell) = cells.get(attempt.cell) else {
            continue;
        };
        match lacking(cell) {
            Some(why) => trials.push(skipped(cell, &attempt, &why)),
            None => grounds.entry(cell.ground).or_default().push(attempt),
        }
    }
    for (ground, attempts) in grounds {
        trials.extend(of_ground(ground, &cells, attempts));
    }
    trials.push(trials::light("docs/outcomes.md says the same", move || {
        table::is_current(&files)
    }));
    Ok(trials)
}

fn of_ground(ground: Ground, cells: &Arc<[Cell]>, attempts: Vec<Attempt>) -> Vec<Trial> {
    let attempts: Arc<[Attempt]> = attempts.into();
    let ran: Arc<OnceLock<Result<Ran, String>>> = Arc::default();
    (0..attempts.len())
        .filter_map(|index| {
            let attempt = *attempts.get(index)?;
            let name = name(cells.get(attempt.cell)?, &attempt);
            let (cells, attempts, ran) =
                (Arc::clone(cells), Arc::clone(&attempts), Arc::clone(&ran));
            let work = move || {
                let ran = trials::once(&ran, || stage::run(ground, &cells, &attempts))?;
                check::attempt(&cells, ran, &attempt)
            };
            Some(trials::light(&name, work))
        })
        .collect()
}

fn name(cell: &Cell, attempt: &Attempt) -> String {
    format!(
        "{:?} {}, {}, {} {}, {} ({})",
        cell.ground,
        cell.mechanism,
        cell.place,
        attempt.transport.name(attempt.family),
        attempt.family.name(),
        attempt.policy.words(),
        attempt.port,
    )
}

/// Why this machine cannot run a cell.
fn lacking(cell: &Cell) -> Option<String> {
    if let Some(why) = &cell.skip {
        return Some(why.clone());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |command: &str| {
        std::env::split_paths(&paths)
            .chain([Path::new("/usr/sbin").to_owned()])
            .any(|folder| folder.join(command).is_file())
    };
    let command = cell.needs.iter().find(|command| !is_there(command))?;
    Some(format!("there is no `{command}`"))
}

/// Listed with its reason, and counted as not run.
fn skipped(cell: &Cell, attempt: &Attempt, why: &str) -> Trial {
    let name = format!("{}: {why}", name(cell, attempt));
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}
