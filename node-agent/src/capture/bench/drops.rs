//! What a drop costs, over an empty program at the same tracepoint, in one and the same run.
//!
//! The kernel takes the time of each run itself (`BPF_ENABLE_STATS`): what it spends on that stands in both.

use aya::Btf;
use aya::programs::BtfTracePoint;
use aya::sys::{Stats, enable_stats};
use node_agent_common::{mapped, maps};

use super::{Figure, ROUNDS, figure};
use crate::capture::batch::Table;
use crate::capture::kernel::Kernel;
use crate::capture::programs::{DROP, Error, NOTHING_DROPPED, Programs, Sizes, With};

/// Packets of one attempt in a round: what else the machine drops meanwhile must not show.
const DROPS: u32 = 30_000;

/// Measures the program at the kernel's drops: `drop_one` has a packet dropped, always of the same attempt, in this
/// thread's network namespace and between loopback addresses.
///
/// # Errors
///
/// As [`crate::capture::Capture::start`].
pub fn drops(mut drop_one: impl FnMut()) -> Result<Figure, Error> {
    let kernel = Kernel::read()?;
    let mut programs = Programs::open(Sizes::default(), &kernel, With::NoCalls)?;
    let mut addresses = Table::new(maps::ADDRESSES, programs.take(maps::ADDRESSES)?)?;
    let ifindex = 1_u32;
    addresses.insert(&mapped([127, 0, 0, 1]), &ifindex, 0)?;
    programs.load()?;
    programs.hook()?;
    let btf = Btf::from_sys_fs().map_err(|source| Error::Load(source.into()))?;
    programs.load_traced(NOTHING_DROPPED, "kfree_skb", &btf)?;
    programs.hook_one(NOTHING_DROPPED)?;
    let refused = |source: aya::sys::SyscallError| Error::Program {
        program: DROP,
        source: source.into(),
    };
    let _counting = enable_stats(Stats::RunTime).map_err(refused)?;
    drop_one();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = spent(&mut programs, DROP)? - spent(&mut programs, NOTHING_DROPPED)?;
        for _ in 0..DROPS {
            drop_one();
        }
        let after = spent(&mut programs, DROP)? - spent(&mut programs, NOTHING_DROPPED)?;
        rounds.push((after - before) / f64::from(DROPS));
    }
    Ok(figure("repeated drop", 250.0, rounds))
}

/// Time that the kernel spent in a program so far, nanoseconds.
fn spent(programs: &mut Programs, program: &'static str) -> Result<f64, Error> {
    let info = programs.program::<BtfTracePoint>(program)?.info();
    let info = info.map_err(|source| Error::Program { program, source })?;
    Ok(info.run_time().as_secs_f64() * 1e9)
}
