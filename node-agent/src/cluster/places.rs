//! Where in a file a field stands.

use std::fmt;

use node_agent_engine::lint::path::steps;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A place in a text, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// The places of everything in a file of YAML or JSON.
pub(super) struct Places {
    documents: Vec<Node>,
}

impl Places {
    /// Reads them; there are none when the text is not YAML, such as several JSON objects one after another.
    pub(super) fn of(text: &str, options: serde_saphyr::Options) -> Self {
        Self {
            documents: serde_saphyr::from_multiple_with_options(text, options).unwrap_or_default(),
        }
    }

    /// The place of a field of a document, which is counted from 1; of what stands around it when it is not
    /// there itself.
    pub(super) fn find(&self, document: usize, path: &str) -> Option<Place> {
        let root = self.documents.get(document.checked_sub(1)?)?;
        let mut found = root.at;
        let mut node = root;
        for step in steps(path) {
            let next = match &node.inside {
                Inside::Nothing => None,
                Inside::Fields(fields) => fields
                    .iter()
                    .find(|(name, _, _)| name == step)
                    .map(|(_, at, node)| (*at, node)),
                Inside::Items(items) => step
                    .parse()
                    .ok()
                    .and_then(|index: usize| items.get(index))
                    .map(|node| (node.at, node)),
            };
            let Some((at, inner)) = next else {
                break;
            };
            (found, node) = (at, inner);
        }
        Some(found)
    }
}

struct Node {
    at: Place,
    inside: Inside,
}

enum Inside {
    Nothing,
    /// Name, where the name stands, and what it holds.
    Fields(Vec<(String, Place, Node)>),
    Items(Vec<Node>),
}

fn place(location: serde_saphyr::Location) -> Place {
    Place {
        line: location.line(),
        column: location.column(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned {
            value, referenced, ..
        } = Spanned::deserialize(deserializer)?;
        Ok(Self {
            at: place(referenced),
            inside: value,
        })
    }
}

impl<'de> Deserialize<'de> for Inside {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

/// Takes whatever comes, and keeps only what has something inside.
struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Inside;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Inside, E> {
        Ok(Inside::Nothing)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Inside, E> {
        Ok(Inside::Nothing)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Inside, E> {
        Ok(Inside::Nothing)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Inside, E> {
        Ok(Inside::Nothing)
    }

    fn visit_str<E>(self, _: &str) -> Result<Inside, E> {
        Ok(Inside::Nothing)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Inside, E> {
        Ok(Inside::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Inside, E> {
        Ok(Inside::Nothing)
    }

    fn visit_none<E>(self) -> Result<Inside, E> {
        Ok(Inside::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Inside, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inside, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<Spanned<String>>()? {
            fields.push((name.value, place(name.referenced), map.next_value()?));
        }
        Ok(Inside::Fields(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Inside, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Inside::Items(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_where_its_name_stands() {
        let text = "kind: A\n---\n# nothing\n---\nspec:\n  from:\n  - a:\n      x.y/z: 1\n  - b: [1, {c: 2}]\n";
        let places = Places::of(text, serde_saphyr::Options::default());
        let table = [
            (1, "kind", Some((1, 1))),
            (2, "", Some((5, 1))),
            (2, "spec.from", Some((6, 3))),
            (2, "spec.from[0].a[x.y/z]", Some((8, 7))),
            (2, "spec.from[1]", Some((9, 5))),
            (2, "spec.from[1].b[1].c", Some((9, 13))),
            // What is not there stands where it would be.
            (2, "spec.from[1].nothing", Some((9, 5))),
            (2, "spec.from[7]", Some((6, 3))),
            (3, "spec", None),
            (0, "spec", None),
        ];
        for (document, path, expected) in table {
            let expected = expected.map(|(line, column)| Place { line, column });
            assert_eq!(places.find(document, path), expected, "{document} {path}");
        }
    }

    #[test]
    fn json_has_places_too() {
        let places = Places::of(
            "{\n\t\"spec\": {\n\t\t\"to\": [\n\t\t\t{}\n\t\t]\n\t}\n}\n",
            serde_saphyr::Options::default(),
        );
        assert_eq!(
            places.find(1, "spec.to[0]"),
            Some(Place { line: 4, column: 4 })
        );
        let several = Places::of("{} {}", serde_saphyr::Options::default());
        assert_eq!(several.find(1, ""), None);
    }
}
