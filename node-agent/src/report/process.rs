//! What every process tells of itself
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).

use std::fmt;

use procfs::process::{LimitValue, Process as Proc};
use procfs::{ProcResult, WithCurrentSystemInfo as _};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// This process, asked at every scrape.
#[derive(Debug)]
pub(super) struct Process;

struct Figures {
    cpu_s: f64,
    start_s: f64,
    gauges: [(&'static str, &'static str, Option<Unit>, u64); 5],
}

impl Figures {
    fn read() -> ProcResult<Self> {
        let process = Proc::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        let most_files = match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(most) => most,
            LimitValue::Unlimited => u64::MAX,
        };
        Ok(Self {
            cpu_s: (stat.utime + stat.stime) as f64 / ticks,
            start_s: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
            gauges: [
                (
                    "resident_memory",
                    "Memory in use",
                    Some(Unit::Bytes),
                    stat.rss_bytes().get(),
                ),
                (
                    "virtual_memory",
                    "Memory that is mapped",
                    Some(Unit::Bytes),
                    stat.vsize,
                ),
                (
                    "open_fds",
                    "Open file descriptors",
                    None,
                    process.fd_count()? as u64,
                ),
                ("max_fds", "Most open file descriptors", None, most_files),
                (
                    "threads",
                    "Threads",
                    None,
                    u64::try_from(stat.num_threads).unwrap_or(0),
                ),
            ],
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Without /proc these are absent, and everything else is told.
        let Ok(figures) = Figures::read() else {
            return Ok(());
        };
        let help = "Time on the processors";
        let unit = Some(&Unit::Seconds);
        let cpu = encoder.encode_descriptor("cpu", help, unit, MetricType::Counter)?;
        ConstCounter::new(figures.cpu_s).encode(cpu)?;
        let help = "When it was started, since 1970";
        let start = encoder.encode_descriptor("start_time", help, unit, MetricType::Gauge)?;
        ConstGauge::new(figures.start_s).encode(start)?;
        for (name, help, unit, value) in figures.gauges {
            let gauge = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(gauge)?;
        }
        Ok(())
    }
}
