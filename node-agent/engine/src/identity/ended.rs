//! Claims that have ended, for as long as they are kept.

use std::net::IpAddr;

use super::{Addresses, Claim, Claimant, Claims, KEPT_NS};
use crate::input::Moment;

impl Addresses {
    /// Whether the address was a Service's, as far back as that is kept.
    pub(crate) fn was_a_service(&self, ip: IpAddr, at: Moment) -> bool {
        let is_over = |claim: &Claim| claim.until.is_some_and(|until| until <= at);
        let claims = self.claims(ip.to_canonical()).iter();
        claims.filter(|claim| is_over(claim)).any(|claim| {
            matches!(
                claim.claimant,
                Claimant::Service(_) | Claimant::Published(_)
            )
        })
    }

    /// Forgets what ended long ago.
    pub(crate) fn forget(&mut self, now: Moment) {
        while let Some((until, ip)) = self.ended.front().copied() {
            if now.since(until) <= KEPT_NS {
                return;
            }
            self.ended.pop_front();
            let Some(Claims { claims, .. }) = self.known.get_mut(&ip) else {
                continue;
            };
            claims.retain(|claim| claim.until.is_none_or(|until| now.since(until) <= KEPT_NS));
            if claims.is_empty() {
                self.known.remove(&ip);
            }
        }
    }
}
