//! A walk over a written object that notes everything that is wrong with it, with exact paths.

use serde_json::{Map, Value};

use super::{Rejection, Validation};

/// What has been found wrong so far.
pub(super) struct Check<'a> {
    object: &'a str,
    rejections: Vec<Rejection>,
    selectors: Selectors,
    written: Written,
}

/// Where an object comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Somebody is about to create it.
    New,
    /// An API server holds it: spellings of old stay as they are (R11).
    Stored,
}

/// How far the server looks into selectors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Selectors {
    /// Labels and operators must be legal.
    Checked,
    /// They may be anything.
    Free,
}

impl<'a> Check<'a> {
    pub(super) fn new(object: &'a str) -> Self {
        Self {
            object,
            rejections: Vec::new(),
            selectors: Selectors::Checked,
            written: Written::New,
        }
    }

    /// Notes that an API server holds the object.
    pub(super) fn is_stored(&mut self) {
        self.written = Written::Stored;
    }

    /// Notes that something is spelled as new objects must not be.
    pub(super) fn legacy(&mut self, path: &str, rule: &'static str, message: impl Into<String>) {
        match self.written {
            Written::New => self.wrong(path, rule, message),
            Written::Stored => {}
        }
    }

    /// From here on the server takes any label and any operator.
    pub(super) fn selectors_are_free(&mut self) {
        self.selectors = Selectors::Free;
    }

    /// Notes that a selector breaks a rule, where the server would see it.
    pub(super) fn wrong_selector(&mut self, path: &str, message: impl Into<String>) {
        match self.selectors {
            Selectors::Checked => self.wrong(path, "V11", message),
            Selectors::Free => {}
        }
    }

    /// Everything that is wrong.
    pub(super) fn rejections(self) -> Vec<Rejection> {
        self.rejections
    }

    /// What is wrong under the given validation; without it only what could not be read.
    pub(super) fn finish(self, validation: Validation) -> Result<(), Vec<Rejection>> {
        let mut rejections = self.rejections;
        match validation {
            Validation::Strict => {}
            Validation::Off => rejections.retain(|rejection| rejection.rule == UNREADABLE),
        }
        if rejections.is_empty() {
            Ok(())
        } else {
            Err(rejections)
        }
    }

    /// Notes that a rule is broken.
    pub(super) fn wrong(&mut self, path: &str, rule: &'static str, message: impl Into<String>) {
        // What could not be read has been said, and is not also of the wrong form.
        let unreadable = |known: &Rejection| known.rule == UNREADABLE && known.field == path;
        if self.rejections.iter().any(unreadable) {
            return;
        }
        self.rejections.push(Rejection {
            object: self.object.to_owned(),
            field: path.to_owned(),
            rule,
            message: message.into(),
        });
    }

    /// The fields of an object; none when it is absent. Fields that nobody knows are noted (V15, R43).
    pub(super) fn fields<'v>(
        &mut self,
        value: Option<&'v Value>,
        path: &str,
        known: &[&str],
    ) -> Option<Fields<'v>> {
        let fields = self.map(value, path)?;
        for (name, _) in fields
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
        {
            let nearest = known
                .iter()
                .find(|candidate| candidate.eq_ignore_ascii_case(name));
            let hint = nearest
                .map(|nearest| format!(", meant is perhaps `{nearest}`"))
                .unwrap_or_default();
            self.wrong(&child(path, name), "V15", format!("unknown field{hint}"));
        }
        Some(Fields {
            map: fields,
            path: path.to_owned(),
        })
    }

    /// An object whose fields may have any name.
    pub(super) fn map<'v>(
        &mut self,
        value: Option<&'v Value>,
        path: &str,
    ) -> Option<&'v Map<String, Value>> {
        match value? {
            Value::Object(fields) => Some(fields),
            other => self.not_a(path, "an object", other),
        }
    }

    /// The items of a list; none when it is absent.
    pub(super) fn list<'v>(&mut self, value: Option<&'v Value>, path: &str) -> Option<&'v [Value]> {
        match value? {
            Value::Array(items) => Some(items),
            other => self.not_a(path, "a list", other),
        }
    }

    /// A text; none when it is absent.
    pub(super) fn text<'v>(&mut self, value: Option<&'v Value>, path: &str) -> Option<&'v str> {
        match value? {
            Value::String(text) => Some(text),
            other => self.not_a(path, "a string", other),
        }
    }

    /// A list of texts, in which `null` reads as the empty one.
    pub(super) fn texts<'v>(&mut self, value: Option<&'v Value>, path: &str) -> Vec<&'v str> {
        let items = self.list(value, path).unwrap_or_default();
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let text = self
                .text(present(item), &item_path(path, index))
                .unwrap_or_default();
            texts.push(text);
        }
        texts
    }

    /// A 32-bit number; none when it is absent.
    pub(super) fn number(&mut self, value: Option<&Value>, path: &str) -> Option<i32> {
        let value = value?;
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        match number {
            Some(number) => Some(number),
            None => self.not_a(path, "a whole number", value),
        }
    }

    fn not_a<T>(&mut self, path: &str, wanted: &str, found: &Value) -> Option<T> {
        let found = match found {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Number(value) => format!("the number {value}"),
            Value::String(value) => format!("the string `{value}`"),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        self.wrong(path, UNREADABLE, format!("must be {wanted}, is {found}"));
        None
    }
}

const UNREADABLE: &str = "V14";

/// The fields of an object with its path.
pub(super) struct Fields<'v> {
    map: &'v Map<String, Value>,
    path: String,
}

impl<'v> Fields<'v> {
    /// A field; `null` counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&'v Value> {
        self.map.get(name).and_then(present)
    }

    /// The path of the object itself.
    pub(super) fn own_path(&self) -> &str {
        &self.path
    }

    /// The path of a field.
    pub(super) fn path(&self, name: &str) -> String {
        child(&self.path, name)
    }
}

/// `null` counts as absent.
pub(super) fn present(value: &Value) -> Option<&Value> {
    Some(value).filter(|value| !value.is_null())
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// The path of an item of a list.
pub(super) fn item_path(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
