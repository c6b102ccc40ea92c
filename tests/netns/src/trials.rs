//! Runs as tests: one test for each row, one run for all rows of a plan.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

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
            failed(plan.check(once(&plan, &ran)?, index))
        }));
    }
    let name = format!("{} and nothing else", plan.name);
    trials.push(Trial::test(name, move || {
        failed(plan.check_rest(once(&plan, &ran)?))
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

fn once<'a>(plan: &Plan, ran: &'a OnceLock<Result<Ran, String>>) -> Result<&'a Ran, Failed> {
    ran.get_or_init(|| {
        let _place = Place::take();
        plan.run().map_err(|error| format!("{error:#}"))
    })
    .as_ref()
    .map_err(|error| Failed::from(error.as_str()))
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
