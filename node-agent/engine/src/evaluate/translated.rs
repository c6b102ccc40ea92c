//! A connection whose destination takes somebody else for its source: translation gave it another (R39).

use super::{Connection, Party, Profile, combined};
use crate::cluster::Cluster;
use crate::verdict::{Decision, LeftOpen, Verdict};

impl Cluster {
    /// Judges the source's side by its own address, the destination's by the one that its interface sees.
    pub(crate) fn evaluate_seen_from(
        &self,
        connection: &Connection,
        seen_from: &Party,
        profile: Profile,
    ) -> Verdict {
        let (egress, by_its_own) = self.ask(connection, profile, |egress, ingress| {
            (egress.answer(), ingress.decision())
        });
        let seen = Connection {
            source: seen_from.clone(),
            ..connection.clone()
        };
        let mut ingress = self.ask(&seen, profile, |_, ingress| ingress.answer());
        // A side that is unknown has said why.
        if ingress.verdict != Decision::Unknown && by_its_own.0 != ingress.verdict {
            ingress.left_open = Some(LeftOpen::SourceTranslation);
        }
        combined(egress, ingress)
    }
}
