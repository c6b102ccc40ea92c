//! A small reader of BTF, the kernel's description of its own types.
//!
//! It finds where fields lie, what enumerators are called and how many arguments a tracepoint has. The layout
//! is that of `Documentation/bpf/btf.rst`. Odd bytes give an error, never a panic.

use std::collections::BTreeMap;

/// Why a type could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are no BTF of this machine's byte order.
    #[error("not BTF: {0}")]
    Malformed(&'static str),
    /// The kernel has no such type or field.
    #[error("this kernel's BTF has no `{0}`")]
    Missing(String),
}

/// How deep anonymous members and typedefs are followed.
const DEPTH: u32 = 16;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// All types of a kernel, where they were read to.
pub(super) struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins; number 0 is `void`.
    starts: Vec<usize>,
}

/// A type's fixed part.
#[derive(Clone, Copy)]
struct Head {
    name: u32,
    kind: u32,
    count: usize,
    bitfields: bool,
    /// Size, or the number of another type.
    of: u32,
    /// Where its members begin.
    members: usize,
}

impl<'a> Types<'a> {
    /// Reads the types of a BTF file.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] says what is wrong with it.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        const MAGIC: u16 = 0xeb9f;
        let magic = bytes.first_chunk().map(|m| u16::from_ne_bytes(*m));
        if magic != Some(MAGIC) {
            return Err(Error::Malformed("wrong magic number"));
        }
        let cut = Error::Malformed("cut short");
        let header = |at| word(bytes, at).map(|w| w as usize);
        let (Some(length), Some(types_at), Some(types), Some(strings_at), Some(strings)) =
            (header(4), header(8), header(12), header(16), header(20))
        else {
            return Err(cut);
        };
        let part = |at: usize, size: usize| {
            let start = length.checked_add(at)?;
            bytes.get(start..start.checked_add(size)?)
        };
        let (Some(types), Some(strings)) = (part(types_at, types), part(strings_at, strings))
        else {
            return Err(cut);
        };
        let mut this = Self {
            types,
            strings,
            starts: vec![0],
        };
        this.index()?;
        Ok(this)
    }

    fn index(&mut self) -> Result<(), Error> {
        let mut at = 0;
        while at < self.types.len() {
            let head = self.head_at(at).ok_or(Error::Malformed("cut short"))?;
            self.starts.push(at);
            at = head.members
                + match head.kind {
                    kind::INT | kind::VAR | kind::DECL_TAG => 4,
                    kind::ARRAY => 12,
                    kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * head.count,
                    kind::ENUM | kind::FUNC_PROTO => 8 * head.count,
                    0 => return Err(Error::Malformed("type of kind 0")),
                    _ => 0,
                };
        }
        Ok(())
    }

    fn head_at(&self, at: usize) -> Option<Head> {
        let info = word(self.types, at + 4)?;
        Some(Head {
            name: word(self.types, at)?,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            bitfields: info >> 31 == 1,
            of: word(self.types, at + 8)?,
            members: at + 12,
        })
    }

    fn head(&self, number: u32) -> Option<Head> {
        if number == 0 {
            return None;
        }
        self.head_at(*self.starts.get(number as usize)?)
    }

    fn name(&self, at: u32) -> &[u8] {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn find(&self, wanted: u32, name: &str) -> Option<Head> {
        (1..self.starts.len())
            .filter_map(|number| self.head(u32::try_from(number).ok()?))
            .find(|head| head.kind == wanted && self.name(head.name) == name.as_bytes())
    }

    /// Byte offset of a field of a structure; `path` names fields inside fields with dots.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] names the structure and the field.
    pub(super) fn offset(&self, structure: &str, path: &str) -> Result<u32, Error> {
        let missing = || Error::Missing(format!("{structure}.{path}"));
        let mut head = self.find(kind::STRUCT, structure).ok_or_else(missing)?;
        let mut bytes = 0;
        for name in path.split('.') {
            let (bits, of) = self.member(head, name.as_bytes(), 0).ok_or_else(missing)?;
            bytes += bits / 8;
            // The last field's own type does not matter.
            head = self.resolved(of).unwrap_or(head);
        }
        Ok(bytes)
    }

    /// Size of a structure, bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] names it.
    pub(super) fn size(&self, structure: &str) -> Result<u32, Error> {
        let head = self.find(kind::STRUCT, structure);
        // For a structure the third word is its size.
        let size = head.map(|head| head.of);
        size.ok_or_else(|| Error::Missing(structure.to_owned()))
    }

    /// Follows typedefs, qualifiers and arrays to what they are of.
    fn resolved(&self, mut number: u32) -> Option<Head> {
        for _ in 0..DEPTH {
            let head = self.head(number)?;
            number = match head.kind {
                kind::TYPEDEF..=kind::RESTRICT | kind::TYPE_TAG => head.of,
                kind::ARRAY => word(self.types, head.members)?,
                _ => return Some(head),
            };
        }
        None
    }

    /// Bit offset and type of a member, also of one inside an anonymous structure or union.
    fn member(&self, head: Head, wanted: &[u8], depth: u32) -> Option<(u32, u32)> {
        if !matches!(head.kind, kind::STRUCT | kind::UNION) || depth > DEPTH {
            return None;
        }
        for i in 0..head.count {
            let at = head.members + 12 * i;
            let name = self.name(word(self.types, at)?);
            let of = word(self.types, at + 4)?;
            let offset = word(self.types, at + 8)?;
            let bits = if head.bitfields {
                offset & 0x00ff_ffff
            } else {
                offset
            };
            if name == wanted {
                return Some((bits, of));
            }
            if name.is_empty()
                && let Some(inner) = self.resolved(of)
                && let Some((more, of)) = self.member(inner, wanted, depth + 1)
            {
                return Some((bits.checked_add(more)?, of));
            }
        }
        None
    }

    /// The enumerators of an enumeration, by number; none when the kernel has no such enumeration.
    #[must_use]
    pub(super) fn enumerators(&self, name: &str) -> BTreeMap<u32, String> {
        let Some(head) = self.find(kind::ENUM, name) else {
            return BTreeMap::new();
        };
        (0..head.count)
            .filter_map(|i| {
                let at = head.members + 8 * i;
                let name = self.name(word(self.types, at)?);
                let number = word(self.types, at + 4)?;
                Some((number, String::from_utf8_lossy(name).into_owned()))
            })
            .collect()
    }

    /// How many arguments a tracepoint's programs get; `None` when there is no such tracepoint.
    #[must_use]
    pub(super) fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let typedef = self.find(kind::TYPEDEF, &format!("btf_trace_{name}"))?;
        let prototype = self.head(self.head(typedef.of)?.of)?;
        // The first parameter is the tracepoint's own data.
        (prototype.kind == kind::FUNC_PROTO).then(|| prototype.count.saturating_sub(1))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

const _: () = assert!(kind::VOLATILE < kind::RESTRICT);

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; struct { int b; }; }` and `enum e { one = 1 }`, by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0e\0one\0";
        let mut types = Vec::new();
        let mut push = |words: &[u32]| types.extend(words.iter().flat_map(|w| w.to_ne_bytes()));
        push(&[1, kind::INT << 24, 4, 32]);
        push(&[0, kind::STRUCT << 24 | 1, 4, 13, 1, 0]);
        push(&[5, kind::STRUCT << 24 | 2, 8, 11, 1, 0, 0, 2, 32]);
        push(&[15, kind::ENUM << 24 | 1, 4, 17, 1]);
        let (types_len, strings_len) = (types.len() as u32, strings.len() as u32);
        let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for w in [24, 0, types_len, types_len, strings_len] {
            bytes.extend(w.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn finds_fields_through_anonymous_members() {
        let sample = sample();
        let types = Types::parse(&sample).unwrap();
        assert_eq!(types.offset("outer", "a").unwrap(), 0);
        assert_eq!(types.offset("outer", "b").unwrap(), 4);
        let missing = types.offset("outer", "c").unwrap_err().to_string();
        assert_eq!(missing, "this kernel's BTF has no `outer.c`");
    }

    #[test]
    fn names_enumerators() {
        let sample = sample();
        let types = Types::parse(&sample).unwrap();
        assert_eq!(types.enumerators("e").get(&1).unwrap(), "one");
        assert!(types.enumerators("none").is_empty());
    }

    #[test]
    fn odd_bytes_are_no_panic() {
        let sample = sample();
        for length in 0..sample.len() {
            let _ = Types::parse(&sample[..length]);
        }
        for at in 0..sample.len() {
            for bit in 0..8 {
                let mut odd = sample.clone();
                odd[at] ^= 1 << bit;
                if let Ok(types) = Types::parse(&odd) {
                    let _ = types.offset("outer", "b");
                    let _ = types.enumerators("e");
                    let _ = types.tracepoint_arguments("outer");
                }
            }
        }
    }
}
