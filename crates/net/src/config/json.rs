//! Fields of a JSON object by type; a field of another type is told by name.

use crate::refusal::Refusal;
use serde_json::{Map, Value};

/// An object of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a>(&'a Map<String, Value>);

impl<'a> Object<'a> {
    /// The object that `value` is; `what` names it.
    pub(super) fn of(value: &'a Value, what: &str) -> Result<Self, Refusal> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(Refusal::new(format!("{what} has to be an object"))),
        }
    }

    /// The object of a field; nothing when it is not there or null.
    pub(super) fn object(&self, field: &str) -> Result<Option<Self>, Refusal> {
        self.get(field)
            .map(|value| Self::of(value, &format!("`{field}`")))
            .transpose()
    }

    /// A field; null is as good as none.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// Every field that is not null.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let all = self.0.iter().map(|(name, value)| (name.as_str(), value));
        all.filter(|(_, value)| !value.is_null())
    }

    /// A text.
    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, Refusal> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(field, "a text")),
        }
    }

    /// A list of texts; empty when it is not there.
    pub(super) fn texts(&self, field: &str) -> Result<Vec<&'a str>, Refusal> {
        let not = || wrong(field, "a list of texts");
        self.list(field)?
            .iter()
            .map(|value| value.as_str().ok_or_else(not))
            .collect()
    }

    /// A list; empty when it is not there.
    pub(super) fn list(&self, field: &str) -> Result<&'a [Value], Refusal> {
        match self.get(field) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(wrong(field, "a list")),
        }
    }

    /// Whether it is set; false when it is not there.
    pub(super) fn flag(&self, field: &str) -> Result<bool, Refusal> {
        match self.get(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(wrong(field, "true or false")),
        }
    }

    /// A number that is not negative; 0 when it is not there.
    pub(super) fn number(&self, field: &str) -> Result<u32, Refusal> {
        match self.get(field) {
            None => Ok(0),
            Some(value) => value
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| wrong(field, "a number that is not negative")),
        }
    }
}

fn wrong(field: &str, what: &str) -> Refusal {
    Refusal::new(format!("`{}` has to be {what}", field.escape_debug()))
}
