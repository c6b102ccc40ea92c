//! What people write on namespaces, pods and policies for netverdict.

use std::sync::Arc;

use jiff::SignedDuration;
use jiff::civil::{Date, Time, date};
use jiff::fmt::temporal::Pieces;

use crate::model::Labels;
use crate::options::Log;

/// What of it is written.
const LOG: &str = "netverdict.io/log";
/// The same, as Calico spells it on a policy.
const CALICO_ACTION: &str = "projectcalico.org/policy-action";
/// Who has taken note of it.
const ACKNOWLEDGE: &str = "netverdict.io/acknowledge";

const DAY_NS: i128 = 86_400_000_000_000;

/// A finding that somebody has taken note of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) reason: Arc<str>,
    pub(crate) until: Arc<str>,
    /// From then on it is a finding again, nanoseconds since 1970.
    ends_ns: i128,
}

impl Acknowledgement {
    /// It holds at `wall_ns`, nanoseconds since 1970.
    pub(crate) fn holds_at(&self, wall_ns: i128) -> bool {
        wall_ns < self.ends_ns
    }
}

/// What is written of an object with these annotations, when they say so.
pub(crate) fn log(annotations: &Labels) -> Option<Log> {
    let ours = annotations.get(LOG).map(|text| log_of(text));
    match ours {
        Some(Ok(log)) => Some(log),
        Some(Err(_)) | None => annotations
            .get(CALICO_ACTION)
            .is_some_and(|text| text.trim().eq_ignore_ascii_case("log"))
            .then_some(Log::Denied),
    }
}

/// Who has taken note of what is found of an object with these annotations.
pub(crate) fn acknowledgement(annotations: &Labels) -> Option<Acknowledgement> {
    annotations
        .get(ACKNOWLEDGE)
        .and_then(|text| acknowledgement_of(text).ok())
}

/// What is wrong with these annotations, for people.
pub(crate) fn problems(annotations: &Labels) -> Vec<String> {
    let log = annotations.get(LOG).map(|text| log_of(text).map(drop));
    let acknowledge = annotations
        .get(ACKNOWLEDGE)
        .map(|text| acknowledgement_of(text).map(drop));
    let checked = [(LOG, log), (ACKNOWLEDGE, acknowledge)];
    checked
        .into_iter()
        .filter_map(|(key, checked)| {
            let message = checked?.err()?;
            Some(format!("annotation {key}: {message}"))
        })
        .collect()
}

fn log_of(text: &str) -> Result<Log, String> {
    match text.trim() {
        "none" => Ok(Log::Nothing),
        "problems" => Ok(Log::Problems),
        "denied" => Ok(Log::Denied),
        "all" => Ok(Log::All),
        other => Err(format!(
            "`{}` is none of none, denied, problems, all",
            other.escape_debug()
        )),
    }
}

/// `REASON until DATE`: the day counts to its end, in UTC; a time of RFC 3339 does as well.
fn acknowledgement_of(text: &str) -> Result<Acknowledgement, String> {
    let wrong = || {
        format!(
            "`{}` is not `REASON until DATE` with a date such as 2027-01-31; nothing is acknowledged",
            text.escape_debug()
        )
    };
    let (reason, until) = text.rsplit_once(" until ").ok_or_else(wrong)?;
    let (reason, until) = (reason.trim(), until.trim());
    let ends_ns = end_of(until).ok_or_else(wrong)?;
    if reason.is_empty() {
        return Err(wrong());
    }
    Ok(Acknowledgement {
        reason: reason.into(),
        until: until.into(),
        ends_ns,
    })
}

/// Nanoseconds since 1970. Not by way of a timestamp, which ends before the last day that can be written.
fn end_of(until: &str) -> Option<i128> {
    let since_1970 = |day: Date| day.duration_since(date(1970, 1, 1)).as_nanos();
    let is_day = until.len() == "2027-01-31".len();
    if is_day {
        return Some(since_1970(until.parse().ok()?) + DAY_NS);
    }
    let pieces = Pieces::parse(until).ok()?;
    let of_day = pieces.time()?.duration_since(Time::midnight()).as_nanos();
    let offset = SignedDuration::from(pieces.to_numeric_offset()?).as_nanos();
    Some(since_1970(pieces.date()) + of_day - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-31T00:00:00Z.
    const DAY: i128 = 1_801_353_600_000_000_000;

    #[test]
    fn acknowledgement_lasts_to_the_end_of_its_day() {
        let taken = acknowledgement_of("known until the move, see #7 until 2027-01-31").unwrap();
        assert_eq!(&*taken.reason, "known until the move, see #7");
        assert_eq!(&*taken.until, "2027-01-31");
        assert!(taken.holds_at(DAY) && taken.holds_at(DAY + DAY_NS - 1));
        assert!(!taken.holds_at(DAY + DAY_NS));
        let noon = acknowledgement_of("x until 2027-01-31T12:00:00Z").unwrap();
        assert!(noon.holds_at(DAY) && !noon.holds_at(DAY + DAY_NS / 2));
        let east = acknowledgement_of("x until 2027-01-31T12:00:00+12:00").unwrap();
        assert!(east.holds_at(DAY - 1) && !east.holds_at(DAY));
    }

    /// 253402300800 s after 1970 the year 10000 begins.
    #[test]
    fn last_day_that_can_be_written_is_a_day() {
        let end = 253_402_300_800_000_000_000;
        for (until, ends_ns) in [
            ("9999-12-31", end),
            ("9999-12-31T23:59:59Z", end - 1_000_000_000),
            ("9999-12-31T00:00:00-12:00", end - DAY_NS / 2),
        ] {
            let taken = acknowledgement_of(&format!("for ever until {until}"));
            assert_eq!(taken.unwrap().ends_ns, ends_ns, "{until}");
        }
    }

    #[test]
    fn what_is_no_acknowledgement_is_said() {
        for text in [
            "",
            "because",
            "because until",
            "because until tomorrow",
            "because until 2027-02-30",
            "because until 31.01.2027",
            "because until 2027-01-31T12:00",
            "because until 2027-01-31T25:00:00Z",
            " until 2027-01-31",
            "until 2027-01-31",
        ] {
            let annotations = [(Arc::from(ACKNOWLEDGE), Arc::from(text))].into();
            assert_eq!(acknowledgement(&annotations), None, "{text}");
            assert_eq!(problems(&annotations).len(), 1, "{text}");
        }
    }

    #[test]
    fn log_is_read_in_both_spellings() {
        let log = |pairs: &[(&str, &str)]| {
            let labels = pairs
                .iter()
                .map(|(key, text)| ((*key).into(), (*text).into()));
            log(&labels.collect())
        };
        assert_eq!(log(&[]), None);
        assert_eq!(log(&[(LOG, "none")]), Some(Log::Nothing));
        assert_eq!(log(&[(LOG, "all")]), Some(Log::All));
        assert_eq!(log(&[(CALICO_ACTION, "log")]), Some(Log::Denied));
        assert_eq!(log(&[(CALICO_ACTION, "other")]), None);
        assert_eq!(
            log(&[(CALICO_ACTION, "log"), (LOG, "none")]),
            Some(Log::Nothing)
        );
        assert_eq!(log(&[(LOG, "verbose")]), None);
    }
}
