//! Labels, shared by all that have the same.

use std::collections::{BTreeMap, btree_map};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

type Map = BTreeMap<Arc<str>, Arc<str>>;

static NONE: Map = Map::new();

/// Labels of a pod, a namespace or a node. A copy costs nothing and shares them.
#[derive(Clone, Default)]
pub struct Labels {
    /// Absent when there are none.
    map: Option<Arc<Map>>,
}

impl Labels {
    /// No labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a label. There are few, and of most the place or the length of the key tells them apart: that is
    /// faster than to look the key up by its order.
    pub(crate) fn of(&self, key: &Arc<str>) -> Option<&Arc<str>> {
        let labels = self.map.as_deref().into_iter().flatten();
        let mut values = labels.filter(|(own, _)| *own == key);
        values.next().map(|(_, value)| value)
    }

    /// Sets a label, of this copy only.
    pub fn insert(&mut self, key: Arc<str>, value: Arc<str>) {
        Arc::make_mut(self.map.get_or_insert_default()).insert(key, value);
    }
}

impl Deref for Labels {
    type Target = Map;

    fn deref(&self) -> &Map {
        self.map.as_deref().unwrap_or(&NONE)
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        let shared = match (&self.map, &other.map) {
            (Some(map), Some(other)) => Arc::ptr_eq(map, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        shared || **self == **other
    }
}

impl Eq for Labels {}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl From<Map> for Labels {
    fn from(map: Map) -> Self {
        Self {
            map: (!map.is_empty()).then(|| Arc::new(map)),
        }
    }
}

impl<const N: usize> From<[(Arc<str>, Arc<str>); N]> for Labels {
    fn from(labels: [(Arc<str>, Arc<str>); N]) -> Self {
        labels.into_iter().collect()
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Labels {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(labels: I) -> Self {
        labels.into_iter().collect::<Map>().into()
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a Arc<str>, &'a Arc<str>);
    type IntoIter = btree_map::Iter<'a, Arc<str>, Arc<str>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Labels {
    type Item = (Arc<str>, Arc<str>);
    type IntoIter = btree_map::IntoIter<Arc<str>, Arc<str>>;

    fn into_iter(self) -> Self::IntoIter {
        self.map
            .map(Arc::unwrap_or_clone)
            .unwrap_or_default()
            .into_iter()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::from)
    }
}
