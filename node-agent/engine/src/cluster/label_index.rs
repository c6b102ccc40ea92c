//! Finds what has labels by a selector, and selectors by labels, without looking at all of them.
//!
//! Most selectors want a label to have one of some values. What is found this way may match, and everything
//! that matches is found: labels are told apart by a hash, and only one requirement is looked at.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::model::{Labels, Operator, Requirement, Selector};

/// Things by the labels that they have.
#[derive(Clone, Debug)]
pub(crate) struct LabelIndex<T> {
    having: HashMap<u64, Vec<T>, FixedState>,
}

impl<T> Default for LabelIndex<T> {
    fn default() -> Self {
        Self {
            having: HashMap::default(),
        }
    }
}

impl<T: Clone + Ord> LabelIndex<T> {
    pub(crate) fn add(&mut self, labels: &Labels, item: T) {
        for (key, value) in labels {
            let items = self.having.entry(hashed(key, value)).or_default();
            if items.is_empty() {
                items.reserve_exact(1);
            }
            items.push(item.clone());
        }
    }

    pub(crate) fn remove(&mut self, labels: &Labels, item: T) {
        for (key, value) in labels {
            take_out(&mut self.having, hashed(key, value), |other| *other == item);
        }
    }

    /// Everything that the selector may match; `None` when that may be anything.
    pub(crate) fn candidates(&self, selector: &Selector) -> Option<Vec<T>> {
        let demands = selector.requirements.iter().filter_map(demanded);
        let found = demands.map(|(key, values)| {
            let mut found: Vec<&[T]> = Vec::new();
            for value in values {
                found.extend(self.having.get(&hashed(key, value)).map(Vec::as_slice));
            }
            found
        });
        let fewest =
            found.min_by_key(|found| found.iter().map(|items| items.len()).sum::<usize>())?;
        let mut items: Vec<T> = fewest.into_iter().flatten().cloned().collect();
        // Two labels of one thing may have the same hash, and a selector may say a value twice.
        items.sort_unstable();
        items.dedup();
        Some(items)
    }
}

/// Things by what their selector demands.
#[derive(Clone, Debug)]
pub(crate) struct SelectorIndex<T> {
    demanding: HashMap<u64, Vec<T>, FixedState>,
    /// Those that demand nothing in particular.
    others: Vec<T>,
}

impl<T> Default for SelectorIndex<T> {
    fn default() -> Self {
        Self {
            demanding: HashMap::default(),
            others: Vec::new(),
        }
    }
}

impl<T: Clone> SelectorIndex<T> {
    pub(crate) fn add(&mut self, selector: &Selector, item: &T) {
        match selector.requirements.iter().find_map(demanded) {
            Some((key, values)) => {
                for value in values {
                    let items = self.demanding.entry(hashed(key, value)).or_default();
                    items.push(item.clone());
                }
            }
            None => self.others.push(item.clone()),
        }
    }

    pub(crate) fn remove(&mut self, selector: &Selector, is_it: impl Fn(&T) -> bool) {
        match selector.requirements.iter().find_map(demanded) {
            Some((key, values)) => {
                for value in values {
                    take_out(&mut self.demanding, hashed(key, value), &is_it);
                }
            }
            None => self.others.retain(|item| !is_it(item)),
        }
    }

    /// Everything whose selector may match these labels.
    pub(crate) fn candidates<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a T> {
        let demanding = labels.iter();
        let demanding = demanding.flat_map(|(key, value)| self.demanding.get(&hashed(key, value)));
        self.others.iter().chain(demanding.flatten())
    }
}

/// The values of which a label must have one.
fn demanded(requirement: &Requirement) -> Option<(&Arc<str>, &[Arc<str>])> {
    match &requirement.operator {
        Operator::In(values) => Some((&requirement.key, values)),
        Operator::NotIn(_) | Operator::Exists | Operator::DoesNotExist => None,
    }
}

fn hashed(key: &Arc<str>, value: &Arc<str>) -> u64 {
    FixedState::default().hash_one((key, value))
}

fn take_out<T>(
    table: &mut HashMap<u64, Vec<T>, FixedState>,
    hash: u64,
    is_it: impl Fn(&T) -> bool,
) {
    if let Some(items) = table.get_mut(&hash) {
        items.retain(|item| !is_it(item));
        if items.is_empty() {
            table.remove(&hash);
        }
    }
}
