//! The only place that joins kernel, cluster, engine and report: one thread, one loop.
//!
//! It decides nothing. Everything the core consumes passes through [`Line::consume`], in the order in which a
//! recording holds it.

mod live;
mod replay;
mod source;

use anyhow::{Context as _, Result};
use node_agent_engine::input::{Flow, Ground};
use node_agent_engine::{self as engine, ClockBase, Core, Input, Moment, Output, Profile};
use tracing::warn;

use crate::capture;
use crate::cluster;
use crate::recording::{self, Recorder};
use crate::report::{self, Lines, Patience, Report};
use crate::settings::{self, Settings, Source};

/// Runs the agent to its end.
///
/// # Errors
///
/// When it cannot start, see [`exit_code`], or cannot go on.
pub fn run(settings: Settings) -> Result<()> {
    let ended = match settings.source.clone() {
        Source::Replay(file) => replay::run(&settings, &file),
        Source::Live { cluster, record } => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the runtime")?
            .block_on(live::run(&settings, &cluster, record.as_deref())),
    };
    match ended {
        Err(error) if is_closed(&error) => Ok(()),
        ended => ended,
    }
}

/// The exit code for an error: 3 when the machine lacks something, else 2.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let lacks_server = |error: &cluster::Error| error.is_lacking();
    if error.downcast_ref::<capture::Error>().is_some()
        || error.downcast_ref().is_some_and(lacks_server)
    {
        3
    } else {
        2
    }
}

/// A reader of stdout that goes away ends the agent, and that is no failure.
fn is_closed(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<report::Error>(),
        Some(report::Error::Closed)
    )
}

/// The line from an input to what is told of it.
struct Line {
    core: Core,
    report: Report,
    recorder: Option<Recorder>,
    outputs: Vec<Output>,
    wanted: Wanted,
    lost_total: u64,
}

/// What the core wants done outside, collected over one turn.
#[derive(Default)]
struct Wanted {
    epoch: Option<u32>,
    pod_addresses: Option<Vec<(std::net::IpAddr, Option<u32>)>>,
    /// What conntrack is to be asked about.
    look_ups: Vec<Flow>,
    /// What a fresh reading is wanted of.
    confirmation: Option<Vec<Ground>>,
}

impl Line {
    fn new(core: Core, report: Report, recorder: Option<Recorder>) -> Self {
        Self {
            core,
            report,
            recorder,
            outputs: Vec::new(),
            wanted: Wanted::default(),
            lost_total: 0,
        }
    }

    /// Lets the core consume an input, and tells what it says.
    fn consume(&mut self, now: Moment, input: Input) -> Result<(), report::Error> {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.note(now, &input)
        {
            self.give_up_recording(error);
        }
        self.core.handle(now, input, &mut self.outputs);
        for output in self.outputs.drain(..) {
            match output {
                Output::Record(record) => self.report.record(&record)?,
                Output::Counted {
                    connection,
                    count,
                    port,
                } => self.report.counted(&connection, count, port),
                Output::Lost { stage, count } => self.report.lost(stage, count),
                Output::Measured { span, ns } => self.report.measured(span, ns),
                Output::Gone(subject) => self.report.gone(&subject),
                Output::Epoch(epoch) => self.wanted.epoch = Some(epoch),
                Output::PodAddresses(addresses) => self.wanted.pod_addresses = Some(addresses),
                Output::SharedAddress { ip, pods } => {
                    let names: Vec<_> = pods
                        .iter()
                        .map(|pod| format!("{}/{}", pod.namespace, pod.name))
                        .collect();
                    warn!(address = %ip, pods = names.join(", "), "address of several pods: nothing is claimed of it");
                }
                Output::BadAnnotation { object, message } => {
                    warn!(
                        object = %object.escape_debug(),
                        "{message}"
                    );
                }
                Output::LookUp(tuple) => self.wanted.look_ups.push(tuple),
                Output::Confirm { grounds } => self.wanted.confirmation = Some(grounds),
            }
        }
        Ok(())
    }

    /// Ends a turn: what was said goes out, and what could not be written is said.
    fn flush(&mut self, now: Moment) -> Result<(), report::Error> {
        let total = self.report.lost_total();
        if total > self.lost_total {
            self.lost_total = total;
            let stage = node_agent_engine::input::Stage::Output;
            self.consume(now, Input::Lost { stage, total })?;
        }
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.flush()
        {
            self.give_up_recording(error);
        }
        self.report.flush()
    }

    fn give_up_recording(&mut self, error: recording::Error) {
        let error = anyhow::Error::from(error);
        tracing::error!("{error:#}; the recording ends here");
        self.recorder = None;
    }
}

fn lines(settings: &Settings, patience: Patience) -> Result<Lines, report::Error> {
    match &settings.output {
        settings::Output::Stdout => Lines::stdout(patience),
        settings::Output::File { path, rotate } => Lines::file(path, *rotate, patience),
    }
}

fn core_options(settings: &Settings, clock_base: ClockBase) -> engine::Options {
    let settings::Spans {
        window,
        settle,
        confirm,
        grace,
        stale_after,
    } = settings.spans;
    engine::Options {
        node: settings.node.clone(),
        cluster_name: settings.cluster_name.clone(),
        clock_base,
        window_ns: window.0,
        settle_ns: settle.0,
        confirm_ns: confirm.0,
        grace_ns: grace.0,
        stale_after_ns: stale_after.0,
        log: match settings.log {
            settings::Log::Problems => engine::Log::Problems,
            settings::Log::Denied => engine::Log::Denied,
            settings::Log::All => engine::Log::All,
        },
        profile: match settings.profile {
            settings::Profile::Auto | settings::Profile::Generic => Profile::Generic,
            settings::Profile::KubeRouter => Profile::KubeRouter,
            settings::Profile::Calico => Profile::Calico,
            settings::Profile::Cilium => Profile::Cilium,
        },
    }
}
