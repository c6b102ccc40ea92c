//! Bytes of a file to single objects: several documents, lists unfolded.

mod unambiguous;

use std::path::Path;

use serde_json::{Map, Value};
use serde_saphyr::{Error, UserMessageFormatter};

use unambiguous::Unambiguous;

/// Aliases may repeat this many nodes in one file: ordinary manifests use a handful.
const REPLAYED_NODES: usize = 100_000;

/// One object, and where it stands.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    /// Number of the document in its file, from 1; empty documents are not counted.
    pub(super) number: usize,
    /// Where in the document it stands, `items[2]`; empty when it is the document.
    pub(super) path: String,
    /// The object as written.
    pub(super) value: Value,
}

/// Takes a file apart; nothing when any document of it is malformed.
///
/// # Errors
///
/// What the parser says, with line and column.
pub(super) fn split(file: &Path, bytes: &[u8]) -> Result<Vec<Document>, String> {
    let is_json = file
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let values = if is_json { json(bytes)? } else { yaml(bytes)? };
    let mut documents = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        unfold(index + 1, "", value, &mut documents)?;
    }
    Ok(documents)
}

/// Says whether there is no document at all, comments apart. A list without items is one.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').all(|line| {
        let line = line.trim_ascii();
        line.is_empty() || line.starts_with(b"#") || line == b"---" || line == b"..."
    })
}

fn json(bytes: &[u8]) -> Result<Vec<Value>, String> {
    serde_json::Deserializer::from_slice(bytes)
        .into_iter()
        .map(|value| value.map(|Unambiguous(value)| value))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// Reads YAML as `kubectl` does: `yes`, `on` and `y` without quotes are booleans, a number that begins with 0 is octal,
/// a key given twice is an error.
fn yaml(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| match error {
        // Its text for developers goes on with a setting of the library.
        Error::DuplicateMappingKey { .. } => error.render_with_formatter(&UserMessageFormatter),
        _ => error.to_string(),
    })
}

/// How YAML is read.
pub(super) fn options() -> serde_saphyr::Options {
    // A dump of a large cluster has more nodes than the library's defaults allow; what an attacker can
    // multiply, aliases, stays bounded.
    serde_saphyr::options! {
        with_snippet: false,
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! {
            max_documents: 1_000_000,
            max_nodes: 100_000_000,
            max_events: 200_000_000,
            max_total_scalar_bytes: 1 << 30,
            max_total_comment_bytes: 1 << 30,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED_NODES,
        },
    }
}

/// Gives the items of a list one by one; those of a typed list may lack what its own header says.
fn unfold(
    number: usize,
    path: &str,
    value: Value,
    documents: &mut Vec<Document>,
) -> Result<(), String> {
    let item_kind = value
        .get("kind")
        .and_then(Value::as_str)
        .and_then(|kind| kind.strip_suffix("List"))
        .map(str::to_owned);
    match (value, item_kind) {
        (Value::Null, _) => {}
        (Value::Object(mut list), Some(kind)) if list.get("items").is_some_and(is_items) => {
            let version = list.get("apiVersion").cloned();
            let Some(Value::Array(items)) = list.remove("items") else {
                return Ok(());
            };
            let dot = if path.is_empty() { "" } else { "." };
            for (index, mut item) in items.into_iter().enumerate() {
                if !kind.is_empty()
                    && let Value::Object(object) = &mut item
                {
                    object
                        .entry("kind")
                        .or_insert_with(|| Value::from(kind.clone()));
                    if let Some(version) = &version {
                        object
                            .entry("apiVersion")
                            .or_insert_with(|| version.clone());
                    }
                }
                let path = format!("{path}{dot}items[{index}]");
                unfold(number, &path, item, documents)?;
            }
        }
        (Value::Object(list), Some(kind)) if is_misspelt(&list, &kind) => {
            let at = if path.is_empty() { "" } else { " at " };
            return Err(format!(
                "document {number}{at}{path}: a {kind}List has a list of `items`, each with a `-` before it"
            ));
        }
        (value, _) => documents.push(Document {
            number,
            path: path.to_owned(),
            value,
        }),
    }
    Ok(())
}

/// What is read as one object, and would be of a kind that nobody asks for. Other kinds may well end in `List`.
fn is_misspelt(list: &Map<String, Value>, kind: &str) -> bool {
    match list.get("items") {
        Some(items) => !items.is_null(),
        None => kind.is_empty(),
    }
}

fn is_items(value: &Value) -> bool {
    value.is_array()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(file: &str, text: &str) -> Result<Vec<(usize, String)>, String> {
        split(Path::new(file), text.as_bytes()).map(|documents| {
            documents
                .into_iter()
                .map(|document| (document.number, document.value.to_string()))
                .collect()
        })
    }

    #[test]
    fn documents_are_numbered_without_the_empty_ones() {
        let found = names("a.yaml", "---\na: 1\n---\n---\n# c\n---\nb: 2\n").unwrap();
        assert_eq!(found, [(1, r#"{"a":1}"#.into()), (2, r#"{"b":2}"#.into())]);
    }

    #[test]
    fn lists_are_unfolded_and_typed_lists_name_their_items() {
        let text = r#"{"kind":"List","apiVersion":"v1","items":[{"kind":"Pod"},
            {"kind":"PodList","apiVersion":"v1","items":[{"metadata":{}}]}]}"#;
        for file in ["a.json", "a.yaml"] {
            let found = names(file, text).unwrap();
            assert_eq!(found.len(), 2, "{file}");
            assert_eq!(found[0].1, r#"{"kind":"Pod"}"#, "{file}");
            assert_eq!(
                found[1].1, r#"{"apiVersion":"v1","kind":"Pod","metadata":{}}"#,
                "{file}"
            );
        }
    }

    #[test]
    fn one_malformed_document_spoils_its_file() {
        for (file, text) in [
            ("a.yaml", "a: 1\n---\nb: [\n"),
            ("a.yaml", "a: 1\na: 2\n"),
            ("a.json", "{\"a\": 1} {"),
            ("a.json", "{\"a\": 1, \"b\": 2,\n\"a\": 1}"),
            ("a.json", "{\"b\": [{\"a\": {}, \"a\": []}]}"),
            ("a.yaml", "a: 'x\0y'"),
        ] {
            let error = names(file, text).unwrap_err();
            assert!(error.contains("line"), "{text:?}: {error}");
        }
        assert!(split(Path::new("a.yaml"), b"a: \xff\n").is_err());
    }

    #[test]
    fn a_list_of_something_else_is_no_object() {
        for text in [
            "kind: List\nitems: {kind: Pod}\n",
            "kind: List\nitemz: []\n",
            "kind: PodList\nitems: {}\n",
            "kind: List\nitems:\n- kind: List\n  items: x\n",
        ] {
            let error = names("a.yaml", text).unwrap_err();
            assert!(error.contains("items"), "{text:?}: {error}");
        }
        // No items, and an object of a kind that is only called so.
        for text in ["kind: List\nitems:\n", "kind: AllowList\nspec: {}\n"] {
            assert!(names("a.yaml", text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_thousand_laughs_end_early() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(",");
            text += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert!(names("a.yaml", &text).unwrap_err().contains("alias"));
        let deep = "[".repeat(100_000);
        assert!(names("a.yaml", &deep).is_err());
        assert!(names("a.json", &deep).is_err());
    }

    #[test]
    fn leading_zero_is_octal_as_for_kubectl() {
        let found = names("a.yaml", "port: 0120\nname: '0120'\nother: 0o17\n").unwrap();
        assert_eq!(
            found,
            [(1, r#"{"name":"0120","other":15,"port":80}"#.to_owned())]
        );
    }

    #[test]
    fn unquoted_yes_is_a_boolean_as_for_kubectl() {
        let found = names("a.yaml", "a: yes\nb: \"yes\"\n").unwrap();
        assert_eq!(found[0].1, r#"{"a":true,"b":"yes"}"#);
    }
}
