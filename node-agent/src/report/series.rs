//! Counters with labels, bounded: what was silent longest makes room, and its count goes on under
//! `__other__`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use node_agent_engine::input::Subject;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Stands for the labels that made room.
pub(super) const OTHER: &str = "__other__";

/// Labels that know what they fold into.
pub(super) trait Fold: Clone + Eq + Hash + fmt::Debug + Send + 'static {
    /// The same labels, [`OTHER`] for each that is not from a closed list.
    fn folded(&self) -> Self;

    /// Whether they name this.
    fn is_about(&self, subject: &Subject) -> bool;
}

/// A family of counters.
#[derive(Debug)]
pub(super) struct Series<L> {
    name: &'static str,
    help: &'static str,
    limit: usize,
    state: Mutex<State<L>>,
}

#[derive(Debug)]
struct State<L> {
    counts: HashMap<L, Counted>,
    by_use: BTreeMap<u64, L>,
    folded: HashMap<L, u64>,
    clock: u64,
}

#[derive(Debug)]
struct Counted {
    total: u64,
    used: u64,
}

impl<L: Fold> Series<L> {
    /// An empty family of at most `limit` series, and those of [`OTHER`].
    pub(super) fn new(name: &'static str, help: &'static str, limit: usize) -> Self {
        let state = State {
            counts: HashMap::new(),
            by_use: BTreeMap::new(),
            folded: HashMap::new(),
            clock: 0,
        };
        Self {
            name,
            help,
            limit,
            state: Mutex::new(state),
        }
    }

    /// What it is called, without prefix and suffix.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Ends the series that name this.
    pub(super) fn end(&self, subject: &Subject) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { counts, by_use, .. } = &mut *state;
        counts.retain(|labels, counted| {
            let goes = labels.is_about(subject);
            if goes {
                by_use.remove(&counted.used);
            }
            !goes
        });
    }

    /// Adds to the series with these labels. Returns how many series had to make room.
    pub(super) fn add(&self, labels: L, count: u64) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.add(labels, count);
        if state.counts.len() > self.limit {
            state.evict();
            return 1;
        }
        0
    }
}

impl<L: Fold> State<L> {
    fn add(&mut self, labels: L, count: u64) {
        self.clock += 1;
        let used = self.clock;
        let counted = self
            .counts
            .entry(labels.clone())
            .or_insert(Counted { total: 0, used });
        counted.total = counted.total.saturating_add(count);
        self.by_use.remove(&counted.used);
        counted.used = used;
        self.by_use.insert(used, labels);
    }

    fn evict(&mut self) {
        let Some((_, oldest)) = self.by_use.pop_first() else {
            return;
        };
        let Some(counted) = self.counts.remove(&oldest) else {
            return;
        };
        *self.folded.entry(oldest.folded()).or_default() += counted.total;
    }
}

impl<L: Fold + EncodeLabelSet> Collector for Series<L> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut metric: MetricEncoder<'_> =
            encoder.encode_descriptor(self.name, self.help, None, MetricType::Counter)?;
        let live = state
            .counts
            .iter()
            .map(|(labels, counted)| (labels, counted.total));
        let folded = state.folded.iter().map(|(labels, total)| (labels, *total));
        for (labels, total) in live.chain(folded) {
            let series = metric.encode_family(labels)?;
            ConstCounter::new(total).encode(series)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use node_agent_engine::model::ObjectKey;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    impl Fold for [(String, String); 1] {
        fn folded(&self) -> Self {
            [(self[0].0.clone(), OTHER.to_owned())]
        }

        fn is_about(&self, subject: &Subject) -> bool {
            matches!(subject, Subject::Workload(key) if *self[0].1 == *key.name)
        }
    }

    fn label(value: &str) -> [(String, String); 1] {
        [("who".to_owned(), value.to_owned())]
    }

    #[test]
    fn longest_silent_series_makes_room_and_no_count_is_lost() {
        let series = std::sync::Arc::new(Series::new("tries", "Tries", 2));
        series.add(label("gone"), 32);
        series.end(&Subject::Workload(ObjectKey {
            namespace: "".into(),
            name: "gone".into(),
        }));
        let evicted: u64 = [("a", 1), ("b", 2), ("a", 4), ("c", 8), ("d\n\"\\", 16)]
            .map(|(who, count)| series.add(label(who), count))
            .iter()
            .sum();
        assert_eq!(evicted, 2);
        let mut registry = Registry::with_prefix("n");
        registry.register_collector(Box::new(series));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "n_tries_total{who=\"__other__\"} 7",
                "n_tries_total{who=\"c\"} 8",
                "n_tries_total{who=\"d\\n\\\"\\\\\"} 16",
            ]
        );
    }
}
