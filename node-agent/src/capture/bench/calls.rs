//! What a call of a process costs where calls are watched, over an empty program at the same hook, in one and the same
//! run. Where they are not, none of these programs is loaded.

use std::path::PathBuf;

use aya::programs::{CgroupAttachMode, CgroupSockAddr};
use aya::sys::{Stats, enable_stats};

use super::{Figure, ROUNDS, figure};
use crate::capture::calls::{ASKED, Calls, LEFT, Root};
use crate::capture::kernel::Kernel;
use crate::capture::programs::{Error, NOTHING_CALLED, Programs, Sizes, With};

/// Calls in a round.
const CALLS: u32 = 20_000;

/// Measures the programs at a cgroup that this process is in: `connect` connects a socket that has not called before,
/// `again` one that has, both over IPv4.
///
/// # Errors
///
/// As [`crate::capture::Capture::start`].
pub fn calls(
    root: PathBuf,
    connect: impl FnMut(),
    again: impl FnMut(),
) -> Result<Vec<Figure>, Error> {
    let kernel = Kernel::read()?;
    let mut programs = Programs::open(Sizes::default(), &kernel, With::Calls)?;
    let root = Root::open(root)?;
    let failed = |source| Error::Program {
        program: NOTHING_CALLED,
        source,
    };
    let cgroup = root.folder()?;
    let _calls = Calls::start(&mut programs, root)?;
    let nothing: &mut CgroupSockAddr = programs.program(NOTHING_CALLED)?;
    nothing.load().map_err(failed)?;
    let hung = nothing.attach(cgroup, CgroupAttachMode::Single);
    hung.map_err(failed)?;
    let counting = enable_stats(Stats::RunTime).map_err(|source| failed(source.into()));
    let _counting = counting?;
    Ok(vec![
        measured(&mut programs, "connect of a new socket", connect)?,
        measured(&mut programs, "further call of a socket", again)?,
    ])
}

fn measured(
    programs: &mut Programs,
    name: &'static str,
    mut call: impl FnMut(),
) -> Result<Figure, Error> {
    let mut rounds = Vec::new();
    call();
    for _ in 0..ROUNDS {
        let before = over_nothing(programs)?;
        for _ in 0..CALLS {
            call();
        }
        rounds.push((over_nothing(programs)? - before) / f64::from(CALLS));
    }
    Ok(figure(name, None, rounds))
}

/// Time that both programs of a call have spent beyond what two empty ones do, nanoseconds.
fn over_nothing(programs: &mut Programs) -> Result<f64, Error> {
    // Those of a connect over IPv4.
    let ([asked, ..], [(left, _), ..]) = (ASKED, LEFT);
    let mut spent = |program| -> Result<f64, Error> {
        let found: &mut CgroupSockAddr = programs.program(program)?;
        let info = found.info();
        let info = info.map_err(|source| Error::Program { program, source })?;
        Ok(info.run_time().as_secs_f64() * 1e9)
    };
    Ok(spent(asked)? + spent(left)? - 2.0 * spent(NOTHING_CALLED)?)
}
