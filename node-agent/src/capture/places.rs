//! Places at which packets are dropped without a reason, learnt when the first one is dropped there: where nobody may read
//! the kernel's symbols beforehand.

use std::collections::BTreeSet;

use aya::maps::{Array, MapData};
use node_agent_common::LocationRange;
use node_agent_common::maps::{self, LOCATION_SLOTS, drop_class};

use super::namer::Namer;
use super::programs::{Error, Programs};
use super::reasons::class_of_location as class_of;

/// What the kernel side has seen and does not know.
pub(super) struct Places {
    unplaced: Array<MapData, u64>,
    locations: Array<MapData, LocationRange>,
    looked_at: BTreeSet<u64>,
    learnt: u32,
}

impl Places {
    /// Takes the tables over.
    pub(super) fn new(programs: &mut Programs) -> Result<Self, Error> {
        let failed = |map| move |source| Error::Map { map, source };
        let (unplaced, locations) = (maps::UNPLACED, maps::LOCATIONS);
        Ok(Self {
            unplaced: Array::try_from(programs.take(unplaced)?).map_err(failed(unplaced))?,
            locations: Array::try_from(programs.take(locations)?).map_err(failed(locations))?,
            looked_at: BTreeSet::new(),
            learnt: 0,
        })
    }

    /// Looks at what is new.
    pub(super) fn learn(&mut self, namer: &Namer) {
        let new: Vec<u64> = self
            .unplaced
            .iter()
            .filter_map(Result::ok)
            .filter(|place| *place != 0 && !self.looked_at.contains(place))
            .collect();
        for place in new {
            self.looked_at.insert(place);
            // The return address lies behind the call.
            let Some(symbol) = namer.symbol(place - 1) else {
                continue;
            };
            let class = class_of(&symbol.name).unwrap_or(drop_class::IGNORED);
            let range = LocationRange {
                start: symbol.start,
                end: symbol.start + symbol.size + 1,
                class: u32::from(class),
                padding: 0,
            };
            if self.learnt < LOCATION_SLOTS && self.locations.set(self.learnt, range, 0).is_ok() {
                self.learnt += 1;
                tracing::debug!(function = symbol.name, class, "packets are dropped there");
            }
        }
    }
}
