//! The policies that isolate a side, written once for each subject.

use std::collections::HashMap;
use std::mem;
use std::rc::Rc;

use node_agent_engine::model::ObjectKey;
use node_agent_engine::record::Direction;
use node_agent_engine::verdict::{PolicyRef, Side, Verdict};
use node_agent_engine::{Connection, Party, PartyKind};
use serde_json::value::RawValue;

use super::Error;
use crate::shown;

/// Who isolates a pod is the same whoever its peer is, and where hundreds of policies do it is nearly all that
/// is written.
#[derive(Default)]
pub(super) struct Isolating(HashMap<(ObjectKey, Direction), Rc<RawValue>>);

impl Isolating {
    /// Takes the policies that isolate out of both sides, as JSON: of egress, of ingress.
    pub(super) fn taken_from(
        &mut self,
        connection: &Connection,
        verdict: &mut Verdict,
    ) -> Result<[Rc<RawValue>; 2], Error> {
        let Verdict {
            egress, ingress, ..
        } = verdict;
        Ok([
            self.taken(&connection.source, Direction::Egress, egress)?,
            self.taken(&connection.destination, Direction::Ingress, ingress)?,
        ])
    }

    fn taken(
        &mut self,
        subject: &Party,
        direction: Direction,
        side: &mut Side,
    ) -> Result<Rc<RawValue>, Error> {
        let policies = mem::take(&mut side.isolated_by);
        let key = match &subject.identity {
            PartyKind::Pod(key) => (key.clone(), direction),
            // Which backend stands for a Service is not the same for every connection.
            PartyKind::Service(_) | PartyKind::Node(_) | PartyKind::World | PartyKind::Unknown => {
                return written(&policies);
            }
        };
        if let Some(known) = self.0.get(&key) {
            return Ok(Rc::clone(known));
        }
        let list = written(&policies)?;
        self.0.insert(key, Rc::clone(&list));
        Ok(list)
    }
}

fn written(policies: &[PolicyRef]) -> Result<Rc<RawValue>, Error> {
    let list = shown::json(&policies).and_then(RawValue::from_string);
    let list = list.map_err(|error| Error::Write {
        source: error.into(),
    })?;
    Ok(list.into())
}
