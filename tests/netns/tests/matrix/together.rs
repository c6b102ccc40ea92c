//! What two agents tell of one attempt: under one name, without contradiction, and counted once.

use anyhow::ensure;
use netns::record::Record;

use crate::cell::{Attempt, Cell, Counts};
use crate::check;
use crate::stage::{Ran, Told, counts};

/// A lost attempt is in a series of its own: nobody knows whether a silent pod took it, which that pod's node counts.
const LOST: [&str; 2] = ["assessment=\"unanswered\"", "reporter=\"source\""];

/// Holds what the source's agent and the destination's tell against each other.
pub(crate) fn held(
    cell: &Cell,
    ran: &Ran,
    attempt: &Attempt,
    told: [&Told; 2],
) -> anyhow::Result<()> {
    let [near, far] = told;
    let ours = check::of(cell, ran, near, attempt)?;
    let theirs = check::of(cell, ran, far, attempt)?;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let lines = || format!("{}\n{}", ours.line, theirs.line);
        let name = |record: &Record| record.text("/conversation_id").map(str::to_owned);
        ensure!(name(ours) == name(theirs), "not one name:\n{}", lines());
        ensure!(
            !contradict(ours, theirs),
            "they contradict each other:\n{}",
            lines()
        );
    }
    match cell.counts {
        Some(by) => is_counted_once(by, attempt, told),
        None => Ok(()),
    }
}

/// What a record says became of an attempt, if it says anything: whether it passed, and whether policy wanted that.
fn said(record: &Record) -> Option<(bool, bool)> {
    match record.assessment() {
        "allowed" | "refused" => Some((true, true)),
        "unenforced" => Some((true, false)),
        "unexpected_drop" => Some((false, true)),
        "blocked" => Some((false, false)),
        _ => None,
    }
}

fn contradict(ours: &Record, theirs: &Record) -> bool {
    match (said(ours), said(theirs)) {
        (Some(ours), Some(theirs)) => ours != theirs,
        _ => false,
    }
}

fn is_counted_once(by: Counts, attempt: &Attempt, told: [&Told; 2]) -> anyhow::Result<()> {
    let wanted = match by {
        Counts::Source => [1, 0],
        Counts::Destination => [0, 1],
    };
    let series = told.map(|told| counts(&told.metrics, attempt.port));
    let is_lost = |line: &&str| LOST.iter().all(|label| line.contains(label));
    let sum = |lines: &Vec<&str>| {
        let whole = lines
            .iter()
            .filter(|line| by == Counts::Source || !is_lost(line));
        let values = whole.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum::<u64>()
    };
    let counted = series.each_ref().map(sum);
    ensure!(
        counted == wanted,
        "source's and destination's agent count {counted:?}, not {wanted:?}:\n{}",
        series.concat().join("\n")
    );
    Ok(())
}
