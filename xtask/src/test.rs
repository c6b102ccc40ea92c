//! `cargo xtask test`: every sort of test in one order, one table, one last line.

mod fuzz;
mod mutants;
mod sorts;
mod tally;
mod vm;

use std::time::Instant;

use clap::{Args, ValueEnum};
use comfy_table::Table;

use crate::Found;
use crate::setup;
use crate::shell::House;
use tally::Tally;

/// What to test.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The sorts to run; all when none is named
    #[arg(value_enum)]
    sorts: Vec<Sort>,
    /// Add what takes longer
    #[arg(long)]
    long: bool,
}

/// A sort of tests, by what it needs; they run in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Sort {
    /// The rules of the house
    Tidy,
    /// Each package's own tests
    Unit,
    /// The engine against corpora of expected verdicts
    Conformance,
    /// The agent on real packets in network namespaces (root)
    Netns,
    /// The agent's source of the cluster against a real API server (root, Go to build one)
    Cluster,
    /// The agent on another kernel, emulated
    Vm,
    /// Random bytes as manifests, packets and changes of a cluster
    Fuzz,
    /// Mistakes planted in the engine, which the tests must notice; hours, so only with --long or by its name
    Mutants,
}

impl Sort {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Usual,
    Long,
}

/// Most lines of failures that are said again at the end, of each sort.
const MOST_SAID_AGAIN: usize = 100;

/// What came of one sort.
struct Outcome {
    sort: Sort,
    minutes: f64,
    tally: Tally,
}

/// Runs the sorts, and tells at the end what ran.
pub(crate) fn run(house: &House, arguments: &Arguments) -> anyhow::Result<Found> {
    let mut sorts = arguments.sorts.clone();
    if sorts.is_empty() {
        sorts = Sort::value_variants().to_vec();
        sorts.retain(|sort| arguments.long || *sort != Sort::Mutants);
    }
    sorts.sort_unstable();
    sorts.dedup();
    let extent = if arguments.long {
        Extent::Long
    } else {
        Extent::Usual
    };
    setup::ensure(&sorts::purposes(&sorts))?;
    let outcomes: Vec<_> = sorts
        .into_iter()
        .map(|sort| timed(house, sort, extent))
        .collect();
    for outcome in &outcomes {
        say_again(outcome);
    }
    anstream::println!("\n{}", table(&outcomes));
    let total = outcomes
        .iter()
        .fold(Tally::default(), |sum, outcome| sum.plus(&outcome.tally));
    anstream::println!(
        "{} passed, {} failed, {} skipped",
        total.passed,
        total.failed,
        total.skipped
    );
    Ok(if total.failed == 0 {
        Found::Nothing
    } else {
        Found::Something
    })
}

fn timed(house: &House, sort: Sort, extent: Extent) -> Outcome {
    anstream::println!("\n== {}", sort.name());
    let start = Instant::now();
    let tally = match sorts::run(house, sort, extent) {
        Ok(tally) => tally.or_failed_for_nothing(),
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            Tally::failed_because(format!("{error:#}"))
        }
    };
    Outcome {
        sort,
        minutes: start.elapsed().as_secs_f64() / 60.0,
        tally,
    }
}

/// Failures stand at the end too: thousands of lines may be between them and the table.
fn say_again(Outcome { sort, tally, .. }: &Outcome) {
    if tally.failures.is_empty() {
        return;
    }
    anstream::println!("\n== failed in {}", sort.name());
    for line in tally.failures.iter().take(MOST_SAID_AGAIN) {
        anstream::println!("{line}");
    }
    if tally.failures.len() > MOST_SAID_AGAIN {
        anstream::println!("… the rest is above");
    }
}

fn table(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["sort", "minutes", "ran", "failed", "skipped", "why"]);
    for Outcome {
        sort,
        minutes,
        tally,
    } in outcomes
    {
        table.add_row([
            sort.name(),
            format!("{minutes:.1}"),
            (tally.passed + tally.failed).to_string(),
            tally.failed.to_string(),
            tally.skipped.to_string(),
            tally.why.join("; "),
        ]);
    }
    table
}
