//! A hash table of the kernel side, read as a whole: in batches where the kernel has them (Linux 5.6), else key
//! by key. aya has no batch calls.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError};

use super::bpf;
use super::programs::Error;

/// `BPF_MAP_LOOKUP_BATCH`.
const LOOKUP_BATCH: libc::c_long = 24;
/// How many entries one call returns at first; more when a bucket has more.
const ENTRIES: usize = 1024;

/// `union bpf_attr`, as the batch commands read it.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// A table and the space that it is read into.
pub(super) struct Table<K: Pod, V: Pod> {
    name: &'static str,
    map: HashMap<MapData, K, V>,
    fd: OwnedFd,
    keys: Vec<K>,
    values: Vec<V>,
    has_batches: bool,
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// Takes a hash table over.
    pub(super) fn new(name: &'static str, map: Map) -> Result<Self, Error> {
        let failed = |source| Error::Map { map: name, source };
        let Map::HashMap(data) = &map else {
            return Err(Error::Part(name));
        };
        let fd = data.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| failed(MapError::IoError(error)))?;
        Ok(Self {
            name,
            map: HashMap::try_from(map).map_err(failed)?,
            fd,
            keys: Vec::new(),
            values: Vec::new(),
            has_batches: true,
        })
    }

    /// Writes an entry.
    pub(super) fn insert(&mut self, key: &K, value: &V, flags: u64) -> Result<(), Error> {
        let inserted = self.map.insert(key, value, flags);
        inserted.map_err(|source| Error::Map {
            map: self.name,
            source,
        })
    }

    /// Reads an entry.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.map.get(key, 0).ok()
    }

    /// Takes an entry out; false when it was out already.
    pub(super) fn remove(&mut self, key: &K) -> bool {
        self.map.remove(key).is_ok()
    }

    /// Returns all entries. What is inserted or deleted meanwhile may be there or not.
    pub(super) fn entries(&mut self) -> Vec<(K, V)> {
        if self.has_batches {
            match self.entries_by_batch() {
                Ok(entries) => return entries,
                Err(_) => self.has_batches = false,
            }
        }
        self.map.iter().filter_map(Result::ok).collect()
    }

    fn entries_by_batch(&mut self) -> io::Result<Vec<(K, V)>> {
        let mut entries = Vec::new();
        // Opaque to us; the kernel writes a bucket's number or a key.
        let (mut from, mut to) = ([0_u64; 8], [0_u64; 8]);
        let mut first = true;
        let mut room = self.keys.len().max(ENTRIES);
        loop {
            // SAFETY: `Pod` allows every bit pattern, zero among them.
            let (key, value) = unsafe { (zeroed(), zeroed()) };
            self.keys.resize(room, key);
            self.values.resize(room, value);
            let mut attr = BatchAttr {
                in_batch: if first { 0 } else { from.as_ptr() as u64 },
                out_batch: to.as_mut_ptr() as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: u32::try_from(room).unwrap_or(u32::MAX),
                map_fd: self.fd.as_raw_fd().cast_unsigned(),
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: the buffers that it names hold `count` entries each.
            let result = unsafe { bpf::call(LOOKUP_BATCH, &mut attr) };
            let error = result.as_ref().err().and_then(io::Error::raw_os_error);
            if error == Some(libc::ENOSPC) && room < 1 << 20 {
                room *= 2;
                continue;
            }
            // ENOENT: these were the last ones.
            if error.is_none() || error == Some(libc::ENOENT) {
                let found = self.keys.iter().zip(&self.values);
                let found = found.take(attr.count as usize);
                entries.extend(found.map(|(key, value)| (*key, *value)));
            }
            match error {
                None => (from, first) = (to, false),
                Some(libc::ENOENT) => return Ok(entries),
                Some(_) => {
                    result?;
                }
            }
        }
    }
}
