//! Prints what the engine does in a second and what it keeps in memory, as `cargo xtask bench engine` keeps it.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench ends where it went wrong"
)]

mod chance;
mod changes;
mod made;
mod memory;
mod verdicts;

use made::Made;
use node_agent_engine::model::Delta;
use node_agent_engine::{Cluster, Kept, Moment};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Repetitions of what is measured more than once.
const ROUNDS: usize = 5;

/// Which side of its bound a figure must be on.
#[derive(Clone, Copy)]
enum Bound {
    None,
    AtLeast(f64),
    AtMost(f64),
}

/// The processor's time that this thread has used, seconds: what else runs on the machine does not count.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// One figure in the form of the file.
fn figure(name: &str, unit: &str, bound: Bound, mut samples: Vec<f64>) -> Value {
    samples.sort_by(f64::total_cmp);
    let median = samples[samples.len() / 2];
    let (limit, held) = match bound {
        Bound::None => (None, None),
        Bound::AtLeast(limit) => (Some(limit), Some(median >= limit)),
        Bound::AtMost(limit) => (Some(limit), Some(median <= limit)),
    };
    json!({"name": name, "min": samples[0], "median": median, "max": samples[samples.len() - 1],
        "unit": unit, "bound": limit, "held": held})
}

fn main() {
    let made = Made::new();
    let before = memory::live_bytes();
    let mut cluster = Cluster::new();
    let mut figures = vec![build(&mut cluster, &made)];
    cluster.keep_past(Moment(1), Kept::default());
    figures.extend(verdicts::figures(&mut cluster, &made));
    figures.extend(changes::figures(&mut cluster, &made));
    // What was decided and the past have filled what they may by now.
    figures.extend(kept(memory::live_bytes() - before));
    figures.extend(verdicts::curve());
    println!("{}", json!({ "figures": figures }));
}

/// The cluster from nothing, delta by delta. Each is read anew, so that its strings are the engine's alone.
fn build(cluster: &mut Cluster, made: &Made) -> Value {
    let mut took = 0.0;
    for chunk in made.deltas.chunks(1_000) {
        let fresh: Vec<Delta> = chunk.iter().map(read_again).collect();
        let start = cpu_s();
        for delta in &fresh {
            cluster.apply(delta, Moment(1));
        }
        took += cpu_s() - start;
    }
    figure("build from nothing", "s", Bound::None, vec![took])
}

fn read_again(delta: &Delta) -> Delta {
    let written = serde_json::to_string(delta).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}"))
}

fn kept(bytes: u64) -> [Value; 2] {
    let bytes = bytes as f64;
    [
        figure(
            "memory in all",
            "MB",
            Bound::AtMost(120.0),
            vec![bytes / 1e6],
        ),
        figure(
            "memory a pod, its policies' share in it",
            "bytes",
            Bound::None,
            vec![bytes / made::PODS as f64],
        ),
    ]
}
