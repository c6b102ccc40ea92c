//! What was true at every moment, and what netverdict said of it.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use netns::record::Record;
use netns::traffic::Protocol;

use crate::model::{Fault, Model, slot_of};
use crate::traffic::{Attempt, Pair};

/// What is known to be settled only after it: the product's settle and confirm times, the second for which a file has to
/// stand still, and what it takes to read it.
const UNSETTLED: Duration = Duration::from_millis(6500);
/// By how much the clock of a record and the one here may differ, and a rule be younger than its packet.
const BLUR: Duration = Duration::from_millis(100);

/// A fault of the enforcer, and when it was there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spell {
    pub(crate) fault: Fault,
    pub(crate) began: Instant,
    pub(crate) ended: Option<Instant>,
}

/// What happened.
pub(crate) struct Ledger {
    wall: (Timestamp, Instant),
    /// What policy and pods were, each since then.
    models: Vec<(Instant, Arc<Model>)>,
    /// When something became of a slot's pod or of what the cluster says of it.
    touched: Vec<(Instant, usize)>,
    pub(crate) spells: Vec<Spell>,
}

/// What netverdict said, counted in attempts.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) judged: u64,
    pub(crate) lost: u64,
    pub(crate) start_window: u64,
    pub(crate) unknown: u64,
    /// The part of the unknown ones that no change excuses.
    pub(crate) hidden: u64,
    pub(crate) hidden_because: BTreeMap<String, u64>,
    pub(crate) unknown_because: BTreeMap<String, u64>,
    pub(crate) by_assessment: BTreeMap<String, u64>,
    pub(crate) false_claims: BTreeMap<String, u64>,
    /// The first lines of what was claimed and is not so.
    pub(crate) lies: Vec<String>,
}

impl Ledger {
    pub(crate) fn new(model: Arc<Model>) -> Self {
        let now = Instant::now();
        let touched = (0..model.pods.len()).map(|slot| (now, slot)).collect();
        Self {
            wall: (Timestamp::now(), now),
            models: vec![(now, model)],
            touched,
            spells: Vec::new(),
        }
    }

    pub(crate) fn changed(&mut self, model: Arc<Model>) {
        self.models.push((Instant::now(), model));
    }

    pub(crate) fn touch(&mut self, slot: usize) {
        self.touched.push((Instant::now(), slot));
    }

    /// Whether nothing that an attempt at that time rests on changes around it.
    pub(crate) fn is_settled(&self, at: Instant, pair: Pair) -> bool {
        let around = |then: Instant| then + UNSETTLED >= at && then <= at + UNSETTLED;
        let mut touched = self.touched.iter().filter(|(then, _)| around(*then));
        if touched.any(|(_, slot)| [pair.from, pair.to].contains(slot)) {
            return false;
        }
        let before = self
            .models
            .partition_point(|(then, _)| *then + UNSETTLED < at);
        let states = self.models.iter().skip(before.saturating_sub(1));
        let mut verdicts = states
            .take_while(|(then, _)| *then <= at + UNSETTLED)
            .map(|(_, model)| model.denied(pair.from, pair.to, pair.port));
        let first = verdicts.next().flatten();
        first.is_some() && verdicts.all(|verdict| verdict == first)
    }

    fn moment(&self, record: &Record, pointer: &str) -> anyhow::Result<Instant> {
        let text = record.text(pointer).context("a record without a time")?;
        let at: Timestamp = text.parse().context("a time that is none")?;
        let (wall, instant) = self.wall;
        let since = Duration::try_from(at.duration_since(wall)).unwrap_or_default();
        Ok(instant + since)
    }

    /// The fault that a claim is about.
    pub(crate) fn spell_of(&self, record: &Record) -> Option<&Spell> {
        let at = self.moment(record, "/first_seen").ok()?;
        let claims = match record.assessment() {
            "unenforced" => true,
            "unexpected_drop" => false,
            _ => return None,
        };
        let pair = pair_of(record)?;
        self.spells.iter().find(|spell| {
            let Fault {
                from,
                to,
                lets_through,
            } = spell.fault;
            (from, to, lets_through) == (pair.from, pair.to, claims)
                && at + BLUR >= spell.began
                && spell.ended.is_none_or(|ended| at <= ended + BLUR)
        })
    }

    /// Whether the record names a fault's pods and the policy that it is about.
    pub(crate) fn names(&self, record: &Record, spell: &Spell) -> bool {
        let at = self
            .models
            .partition_point(|(then, _)| *then <= spell.began);
        let Some((_, model)) = at.checked_sub(1).and_then(|at| self.models.get(at)) else {
            return false;
        };
        let Fault { from, to, .. } = spell.fault;
        let is_named = |pointer: &str, slot: usize| {
            let pod = model.pods.get(slot).and_then(Option::as_ref);
            pod.is_some_and(|pod| record.text(pointer) == Some(&pod.name))
        };
        is_named("/source/name", from)
            && is_named("/destination/name", to)
            && model.is_named_in(record, from, to)
    }

    /// Counts what was said of all attempts.
    pub(crate) fn judge(&self, records: &[Record], attempts: &[Attempt]) -> anyhow::Result<Said> {
        let mut made: HashMap<Pair, Vec<Instant>> = HashMap::new();
        for attempt in attempts {
            made.entry(attempt.pair).or_default().push(attempt.at);
        }
        let mut said = Said::default();
        for record in records {
            said.lost += match record.kind() {
                "lost" => record.count(),
                _ => 0,
            };
            if record.kind() == "connection" {
                self.judge_one(record, &made, &mut said)?;
            }
        }
        Ok(said)
    }

    fn judge_one(
        &self,
        record: &Record,
        made: &HashMap<Pair, Vec<Instant>>,
        said: &mut Said,
    ) -> anyhow::Result<()> {
        let assessment = record.assessment();
        let count = record.count();
        said.judged += count;
        *said.by_assessment.entry(assessment.to_owned()).or_default() += count;
        let (first, last) = (
            self.moment(record, "/first_seen")?,
            self.moment(record, "/last_seen")?,
        );
        match assessment {
            "unenforced" | "unexpected_drop" if self.spell_of(record).is_some() => {}
            "unenforced" if self.in_start_window(record, first) => said.start_window += count,
            "unenforced" | "unexpected_drop" => {
                *said.false_claims.entry(assessment.to_owned()).or_default() += count;
                said.lies
                    .push(format!("{}\n{}", record.line, self.history(record, first)));
            }
            "unknown" => {
                let because = record.text("/unknown_because").unwrap_or("?").to_owned();
                let unsettled = self.unsettled(record, made, first..=last);
                let hidden = count.saturating_sub(unsettled as u64);
                said.unknown += count;
                said.hidden += hidden;
                *said.unknown_because.entry(because.clone()).or_default() += count;
                if hidden > 0 {
                    *said.hidden_because.entry(because).or_default() += hidden;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// How many of the attempts that a record may be about were made while something changed for them.
    fn unsettled(
        &self,
        record: &Record,
        made: &HashMap<Pair, Vec<Instant>>,
        seen: RangeInclusive<Instant>,
    ) -> usize {
        let Some(pair) = pair_of(record) else {
            return 0;
        };
        let at = made.get(&pair).into_iter().flatten();
        let meant = at.filter(|at| **at + BLUR >= *seen.start() && **at <= *seen.end() + BLUR);
        meant.filter(|at| !self.is_settled(**at, pair)).count()
    }

    /// What became of a record's ends around a time, and what policy said of them; for whoever looks for the mistake.
    fn history(&self, record: &Record, at: Instant) -> String {
        let Some(pair) = pair_of(record) else {
            return "  between others".to_owned();
        };
        let seconds = |then: Instant| {
            then.saturating_duration_since(at).as_secs_f64()
                - at.saturating_duration_since(then).as_secs_f64()
        };
        let mut lines = Vec::new();
        let mut before = None;
        for (then, model) in &self.models {
            let verdict = model.denied(pair.from, pair.to, pair.port);
            if before != Some(verdict) {
                lines.push((*then, format!("policy denies: {verdict:?}")));
                before = Some(verdict);
            }
        }
        let touched = self
            .touched
            .iter()
            .filter(|(_, slot)| [pair.from, pair.to].contains(slot));
        lines.extend(touched.map(|(then, slot)| (*then, format!("slot {slot} changes"))));
        lines.sort();
        let told = lines
            .iter()
            .map(|(then, what)| format!("  {:+.3} s: {what}", seconds(*then)));
        told.collect::<Vec<_>>().join("\n")
    }

    /// Whether it says that it was in a pod's first moments, and it was.
    fn in_start_window(&self, record: &Record, at: Instant) -> bool {
        let Some(pair) = pair_of(record).filter(|_| record.value.get("start_window_s").is_some())
        else {
            return false;
        };
        let recent = |then: Instant| then <= at + BLUR && then + UNSETTLED >= at;
        let mut touched = self.touched.iter().filter(|(then, _)| recent(*then));
        touched.any(|(_, slot)| [pair.from, pair.to].contains(slot))
    }
}

fn pair_of(record: &Record) -> Option<Pair> {
    Some(Pair {
        from: slot_of(record.text("/source/ip")?)?,
        to: slot_of(record.text("/destination/ip")?)?,
        port: record.number("/destination/port")?.try_into().ok()?,
        protocol: match record.text("/protocol")? {
            "UDP" => Protocol::Udp,
            _ => Protocol::Tcp,
        },
    })
}
