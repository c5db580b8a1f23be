//! What was found, as data: printed as JSON for programs; the page for people reads it too.

use std::fmt;

/// A fact.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Words.
    Text(String),
    /// A count, an id, a number of bytes.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Several of a kind.
    List(Vec<Value>),
    /// Named facts, in the order in which they are shown.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// Words.
    pub(crate) fn text(words: impl Into<String>) -> Self {
        Self::Text(words.into())
    }

    /// Named facts.
    pub(crate) fn map<const N: usize>(facts: [(&str, Value); N]) -> Self {
        Self::Map(facts.map(|(k, v)| (k.to_owned(), v)).into())
    }

    /// A list of words.
    pub(crate) fn words<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self::List(words.into_iter().map(|w| Self::Text(w.into())).collect())
    }

    /// The fact of this name, if this is a map that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Map(facts) => facts.iter().find(|(k, _)| k == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// As a person would write it: lists with spaces, an empty one as `none`.
    pub(crate) fn plain(&self) -> String {
        match self {
            Self::Text(words) => words.clone(),
            Self::Number(n) => n.to_string(),
            Self::Flag(yes) => if *yes { "yes" } else { "no" }.to_owned(),
            Self::List(list) if list.is_empty() => "none".to_owned(),
            Self::List(list) => join(list.iter().map(Self::plain)),
            Self::Map(facts) => join(facts.iter().map(|(k, v)| format!("{k} {}", v.plain()))),
        }
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// JSON on one line.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(words) => quote(words, f),
            Self::Number(n) => write!(f, "{n}"),
            Self::Flag(yes) => write!(f, "{yes}"),
            Self::List(list) => {
                f.write_str("[")?;
                for (i, value) in list.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    value.fmt(f)?;
                }
                f.write_str("]")
            }
            Self::Map(facts) => {
                f.write_str("{")?;
                for (i, (name, value)) in facts.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    quote(name, f)?;
                    f.write_str(":")?;
                    value.fmt(f)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quote(words: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in words.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            c if u32::from(c) < 0x20 || c == '\x7f' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_escapes_what_must_be_escaped() {
        let v = Value::map([
            ("a", Value::text("x\"\\\n\x1b")),
            ("b", Value::List(vec![Value::Number(1), Value::Flag(true)])),
        ]);
        assert_eq!(v.to_string(), r#"{"a":"x\"\\\n\u001b","b":[1,true]}"#);
        assert_eq!(v.get("b").unwrap().plain(), "1 yes");
        assert_eq!(Value::List(vec![]).plain(), "none");
    }
}
