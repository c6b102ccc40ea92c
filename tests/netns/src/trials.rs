//! Runs as tests: one test for each row, one run for all rows of a plan.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use anyhow::anyhow;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::cleanup;
use crate::node::TEST_PREFIX;
use crate::run::{Plan, Ran};

/// Nodes that exist at one time: they mostly wait, but each has its own kernel programs.
const NODES_AT_ONCE: usize = 6;
/// Tests that wait for a node do not take a processor.
const THREADS: usize = 64;

/// Runs all tests of a binary and ends the process with their result; what kept them from being listed is a failure.
pub fn conclude(trials: anyhow::Result<Vec<Trial>>) -> ! {
    let trials = trials.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    });
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    if !arguments.list
        && let Err(error) = cleanup::sweep(TEST_PREFIX)
    {
        eprintln!("what an earlier run left could not be removed: {error:#}");
    }
    libtest_mimic::run(&arguments, trials).exit()
}

/// One test for each row of the plan, and one for everything else that was reported.
#[must_use]
pub fn rows(plan: Plan) -> Vec<Trial> {
    let plan = Arc::new(plan);
    let ran: Arc<OnceLock<Result<Ran, String>>> = Arc::default();
    let mut trials = Vec::new();
    for (index, row) in plan.scenario.rows.iter().enumerate() {
        let protocol = row.protocol.name();
        let name = format!(
            "{} {} to {} {}/{protocol}",
            plan.name, row.from, row.to, row.port
        );
        let (plan, ran) = (Arc::clone(&plan), Arc::clone(&ran));
        trials.push(Trial::test(name, move || {
            failed(once(&ran, || plan.run()).and_then(|ran| plan.check(ran, index)))
        }));
    }
    let name = format!("{} and nothing else", plan.name);
    trials.push(Trial::test(name, move || {
        failed(once(&ran, || plan.run()).and_then(|ran| plan.check_rest(ran)))
    }));
    trials
}

/// A test that takes a node.
pub fn test(name: &str, work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let _place = Place::take();
        failed(work())
    })
}

/// A test that takes no node of its own.
pub fn light(name: &str, work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || failed(work()))
}

/// What several tests share: the first of them does it, on a node, and the others wait.
///
/// # Errors
/// When it fails, for each of them.
pub fn once<T>(
    ran: &OnceLock<Result<T, String>>,
    run: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<&T> {
    ran.get_or_init(|| {
        let _place = Place::take();
        run().map_err(|error| format!("{error:#}"))
    })
    .as_ref()
    .map_err(|error| anyhow!("{error}"))
}

fn failed<T>(result: anyhow::Result<T>) -> Result<T, Failed> {
    result.map_err(|error| Failed::from(format!("{error:#}")))
}

/// One of the places for nodes, given back when dropped.
struct Place;

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

impl Place {
    fn take() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = GIVEN_BACK
            .wait_while(taken, |taken| *taken >= NODES_AT_ONCE)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GIVEN_BACK.notify_one();
    }
}
