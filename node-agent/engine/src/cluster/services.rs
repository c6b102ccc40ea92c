//! Services and the backends behind them, and since when they have been as they are.

use std::net::IpAddr;

use super::apply::verdicts_if;
use super::{Change, Cluster};
use crate::connection::PartyKind;
use crate::identity::{Claimant, Identity};
use crate::input::Moment;
use crate::model::{EndpointSlice, ObjectKey, Protocol, Service};

impl Cluster {
    /// A Service.
    #[must_use]
    pub fn service(&self, key: &ObjectKey) -> Option<&Service> {
        self.services.get(key)
    }

    /// Every Service, by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// Every EndpointSlice, by namespace and name.
    pub fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.values()
    }

    pub(super) fn set_service(
        &mut self,
        key: &ObjectKey,
        service: Option<&Service>,
        now: Moment,
    ) -> Change {
        let old = match service {
            Some(service) => self.services.insert(key.clone(), service.clone()),
            None => self.services.remove(key),
        };
        for ip in old.iter().flat_map(Service::cluster_ips) {
            self.cluster_ips.remove(ip);
        }
        for ip in service.into_iter().flat_map(Service::cluster_ips) {
            self.cluster_ips.add(ip);
        }
        type Ips = fn(&Service) -> Vec<IpAddr>;
        let kinds: [(Claimant, Ips); 2] = [
            (Claimant::Service(key.clone()), |service| {
                service.cluster_ips().collect()
            }),
            (Claimant::Published(key.clone()), |service| {
                service.external_ips.clone()
            }),
        ];
        for (claimant, ips) in kinds {
            let (old_ips, new_ips) = (old.as_ref().map(ips), service.map(ips));
            self.reclaim(
                old_ips.as_deref().map(|ips| (&claimant, ips)),
                new_ips.as_deref().map(|ips| (&claimant, ips)),
                now,
            );
        }
        let changed = old.as_ref() != service;
        if changed {
            self.service_changed(key, now);
        }
        verdicts_if(changed)
    }

    pub(super) fn set_slice(
        &mut self,
        key: &ObjectKey,
        slice: Option<&EndpointSlice>,
        now: Moment,
    ) -> Change {
        let old = match slice {
            Some(slice) => self.slices.insert(key.clone(), slice.clone()),
            None => self.slices.remove(key),
        };
        let changed = old.as_ref() != slice;
        if changed {
            for slice in old.iter().chain(slice) {
                self.service_changed(&slice.service_key(), now);
            }
        }
        verdicts_if(changed)
    }

    fn service_changed(&mut self, key: &ObjectKey, now: Moment) {
        if self.services.contains_key(key) || self.slices_of(key).next().is_some() {
            self.services_changed.insert(key.clone(), now);
        } else {
            self.services_changed.remove(key);
        }
    }

    /// The slices of a Service, by name.
    pub(crate) fn slices_of<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> impl Iterator<Item = &'a EndpointSlice> {
        let slices = self.slices.values();
        slices.filter(|slice| slice.key.namespace == key.namespace && slice.service == key.name)
    }

    /// The Service that clients mean with an address and port: its own address, or a node's with its port there.
    pub(crate) fn service_at(
        &self,
        ip: IpAddr,
        how: (u16, Protocol),
        at: Moment,
    ) -> Option<ObjectKey> {
        let (number, protocol) = how;
        match self.lookup(ip, at) {
            Identity::Service(key) | Identity::NodeService(key) => Some(key),
            Identity::Node(_) => {
                let leads_there = |service: &&Service| {
                    let is_published = service.external_ips.contains(&ip.to_canonical());
                    let mut ports = service.ports.iter();
                    ports.any(|port| {
                        let is_its =
                            port.node_port == Some(number) || is_published && port.port == number;
                        is_its && port.protocol == protocol
                    })
                };
                let service = self.services.values().find(leads_there);
                service.map(|service| service.key.clone())
            }
            Identity::Pod(_) | Identity::World | Identity::Ambiguous | Identity::Unknown => None,
        }
    }

    /// The pods behind a Service, as far as its slices name their addresses.
    pub(crate) fn backend_pods<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> impl Iterator<Item = ObjectKey> + 'a {
        let backends = self.slices_of(key).flat_map(|slice| &slice.ready);
        backends.filter_map(|ip| match self.party_at(*ip, Moment(u64::MAX)).identity {
            PartyKind::Pod(key) => Some(key),
            PartyKind::Service(_) | PartyKind::Node(_) | PartyKind::World | PartyKind::Unknown => {
                None
            }
        })
    }

    /// The latest change of a Service, of its slices, and of what the verdicts on its backends rest on.
    pub(super) fn service_settled(&self, key: &ObjectKey) -> Moment {
        let own = self.services_changed.get(key).copied().unwrap_or_default();
        let backends = self.slices_of(key).flat_map(|slice| &slice.ready);
        backends
            .map(|ip| self.backend_settled(*ip))
            .fold(own, Moment::max)
    }

    fn backend_settled(&self, ip: IpAddr) -> Moment {
        // As of now: the slice says nothing of the past.
        let party = self.party_at(ip, Moment(u64::MAX));
        match party.identity {
            // A slice may name a Service's address, even that of its own.
            PartyKind::Service(_) => self.addresses.changed(ip).unwrap_or_default(),
            PartyKind::Pod(_) | PartyKind::Node(_) | PartyKind::World | PartyKind::Unknown => {
                self.party_settled(&party)
            }
        }
    }
}

impl Service {
    fn cluster_ips(&self) -> impl Iterator<Item = IpAddr> {
        let ips = self.ips.iter().copied();
        ips.filter(|ip| !self.external_ips.contains(ip))
    }
}

impl EndpointSlice {
    fn service_key(&self) -> ObjectKey {
        ObjectKey {
            namespace: self.key.namespace.clone(),
            name: self.service.clone(),
        }
    }
}
