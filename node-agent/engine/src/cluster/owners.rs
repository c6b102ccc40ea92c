//! Who has an address now, found with one look: a table of small entries for each family.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::PodState;
use super::classes::ClassId;

/// Who has an address; the class is at hand without a look at the pod.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(super) pod: Arc<PodState>,
    pub(super) class: ClassId,
}

impl Owner {
    pub(crate) fn is_same_pod(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pod, &other.pod)
    }
}

/// Pods with a network of their own by their addresses, where nobody else claims them.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    v4: HashMap<u32, Owner, FixedState>,
    v6: HashMap<u128, Owner, FixedState>,
}

impl Owners {
    pub(super) fn get(&self, ip: IpAddr) -> Option<&Owner> {
        match ip {
            IpAddr::V4(ip) => self.v4.get(&ip.to_bits()),
            IpAddr::V6(ip) => self.v6.get(&ip.to_bits()),
        }
    }

    pub(super) fn set(&mut self, ip: IpAddr, owner: Option<Owner>) {
        match (ip, owner) {
            (IpAddr::V4(ip), Some(owner)) => self.v4.insert(ip.to_bits(), owner),
            (IpAddr::V4(ip), None) => self.v4.remove(&ip.to_bits()),
            (IpAddr::V6(ip), Some(owner)) => self.v6.insert(ip.to_bits(), owner),
            (IpAddr::V6(ip), None) => self.v6.remove(&ip.to_bits()),
        };
    }
}
