//! What a program at a tracepoint costs, over an empty one at the same, in one and the same run.
//!
//! The kernel takes the time of each run itself (`BPF_ENABLE_STATS`): what it spends on that stands in both.

use aya::Btf;
use aya::programs::BtfTracePoint;
use aya::sys::{Stats, enable_stats};
use node_agent_common::{mapped, maps};

use super::{Figure, ROUNDS, figure};
use crate::capture::batch::Table;
use crate::capture::kernel::Kernel;
use crate::capture::programs::{DROP, Error, NOTHING_TRACED, Programs, SOCKET, Sizes, With};

/// Packets of one attempt in a round: what else the machine drops meanwhile must not show.
const DROPS: u32 = 30_000;
/// Connections in a round, whose ports must not run out.
const CONNECTIONS: u32 = 2_000;

/// Measures the program at the kernel's drops: `drop_one` has a packet dropped, always of the same attempt, in this
/// thread's network namespace and between loopback addresses.
///
/// # Errors
///
/// As [`crate::capture::Capture::start`].
pub fn drops(drop_one: impl FnMut()) -> Result<Figure, Error> {
    let mut programs = open()?;
    let mut addresses = Table::new(maps::ADDRESSES, programs.take(maps::ADDRESSES)?)?;
    let ifindex = 1_u32;
    addresses.insert(&mapped([127, 0, 0, 1]), &ifindex, 0)?;
    let rounds = rounds(&mut programs, [DROP, "kfree_skb"], DROPS, drop_one)?;
    Ok(figure("repeated drop", Some(250.0), rounds))
}

/// Measures the program at the states of sockets: `connect` opens a connection and ends it, both of its ends here.
///
/// # Errors
///
/// As [`crate::capture::Capture::start`].
pub fn states(connect: impl FnMut()) -> Result<Figure, Error> {
    let mut programs = open()?;
    let hook = [SOCKET, "inet_sock_set_state"];
    let rounds = rounds(&mut programs, hook, CONNECTIONS, connect)?;
    let name = "all states of a connection's sockets";
    Ok(figure(name, None, rounds))
}

fn open() -> Result<Programs, Error> {
    Programs::open(Sizes::default(), &Kernel::read()?, With::NoCalls)
}

/// Nanoseconds that a program spends on each piece of work, beyond what an empty one does.
fn rounds(
    programs: &mut Programs,
    [program, tracepoint]: [&'static str; 2],
    repeats: u32,
    mut work: impl FnMut(),
) -> Result<Vec<f64>, Error> {
    let btf = Btf::from_sys_fs().map_err(|source| Error::Load(source.into()))?;
    for hung in [program, NOTHING_TRACED] {
        programs.load_traced(hung, tracepoint, &btf)?;
        programs.hook_one(hung)?;
    }
    let refused = |source: aya::sys::SyscallError| Error::Program {
        program,
        source: source.into(),
    };
    let _counting = enable_stats(Stats::RunTime).map_err(refused)?;
    let mut over_nothing = || -> Result<f64, Error> {
        Ok(spent(programs, program)? - spent(programs, NOTHING_TRACED)?)
    };
    work();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = over_nothing()?;
        for _ in 0..repeats {
            work();
        }
        rounds.push((over_nothing()? - before) / f64::from(repeats));
    }
    Ok(rounds)
}

/// Time that the kernel spent in a program so far, nanoseconds.
fn spent(programs: &mut Programs, program: &'static str) -> Result<f64, Error> {
    let info = programs.program::<BtfTracePoint>(program)?.info();
    let info = info.map_err(|source| Error::Program { program, source })?;
    Ok(info.run_time().as_secs_f64() * 1e9)
}
