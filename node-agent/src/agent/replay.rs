//! A recording instead of a machine: no kernel, no privileges, no clock.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use node_agent_engine::{Core, Options};

use super::{Line, Wanted, lines};
use crate::recording::{Header, Replay};
use crate::report::{Metrics, Patience, Report};
use crate::settings::Settings;

/// Judges a recording with the options it was made with, as fast as it can be read.
pub(super) fn run(settings: &Settings, file: &Path) -> Result<()> {
    let (header, replay): (Header<Options>, Replay) = Replay::open(file)?;
    let report = Report::new(lines(settings, Patience::Wait)?, Arc::new(Metrics::new()));
    let mut line = Line::new(Core::new(header.options), report, None);
    for frame in replay {
        let (now, input) = frame?;
        line.consume(now, input)?;
        // The recording has the answers.
        line.wanted = Wanted::default();
        line.report.flush()?;
    }
    line.report.finish()?;
    Ok(())
}
