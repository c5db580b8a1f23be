//! Names of App Container Images: `example.com/app:1.0,arch=amd64`.
//!
//! Source: appc 0.8.11, "Image Discovery": one colon at most, before the first comma.

use crate::aci::words;
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::fmt;

/// Most labels that a name may ask for.
const MAX_LABELS: usize = 32;

/// Name of an App Container Image and the labels that are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppImageName {
    name: String,
    labels: BTreeMap<String, String>,
}

impl AppImageName {
    /// Reads `name[:version][,label=value]`.
    ///
    /// # Errors
    /// `BadReference` when the name or a label is none.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: String| Error::new(Kind::BadReference, why);
        let (head, rest) = match text.split_once(',') {
            Some((head, rest)) => (head, Some(rest)),
            None => (text, None),
        };
        let mut labels = BTreeMap::new();
        let name = match head.split_once(':') {
            Some((name, version)) => {
                labels.insert("version".to_owned(), value(version)?);
                name
            }
            None => head,
        };
        words::identifier(name).map_err(|e| bad(e.because().to_owned()))?;
        for label in rest.into_iter().flat_map(|r| r.split(',')) {
            let (label, text) = label
                .split_once('=')
                .ok_or_else(|| bad(format!("`{}` is no `label=value`", words::show(label))))?;
            words::identifier(label).map_err(|e| bad(e.because().to_owned()))?;
            if label == "name" || labels.insert(label.to_owned(), value(text)?).is_some() {
                return Err(bad(format!("label `{label}` is there twice")));
            }
        }
        if labels.len() > MAX_LABELS {
            return Err(bad(format!("there are more than {MAX_LABELS} labels")));
        }
        Ok(Self {
            name: name.to_owned(),
            labels,
        })
    }

    /// A name with labels that were checked as those of a manifest.
    pub(crate) fn new(name: &str, labels: BTreeMap<String, String>) -> Self {
        Self {
            name: name.to_owned(),
            labels,
        }
    }

    /// The name without labels, such as `example.com/app`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The labels that are asked for.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }
}

fn value(text: &str) -> Result<String> {
    let good = !text.is_empty()
        && text.len() <= 256
        && !text.contains([',', ':', '=', '{', '}'])
        && text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if good {
        return Ok(text.to_owned());
    }
    Err(Error::new(
        Kind::BadReference,
        format!("`{}` is no value of a label", words::show(text)),
    ))
}

impl fmt::Display for AppImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(version) = self.labels.get("version") {
            write!(f, ":{version}")?;
        }
        for (label, value) in self.labels.iter().filter(|(l, _)| *l != "version") {
            write!(f, ",{label}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_in_one_form() {
        for (text, canonical) in [
            ("example.com/app", "example.com/app"),
            ("example.com/app:1.0", "example.com/app:1.0"),
            ("example.com/app,version=1.0", "example.com/app:1.0"),
            ("a/b:1,os=linux,arch=amd64", "a/b:1,arch=amd64,os=linux"),
        ] {
            let name = AppImageName::parse(text).unwrap();
            assert_eq!(name.to_string(), canonical);
            assert_eq!(AppImageName::parse(canonical).unwrap(), name);
        }
        for bad in [
            "",
            ":1",
            "a:1:2",
            "a:",
            "A",
            "a,b",
            "a,b=",
            "a:1,version=2",
            "a,b=1,b=2",
            "a,name=x",
            "a,b=1:2",
            "a//b",
            "../a",
            "a,b={c}",
            "a,b=c d",
        ] {
            assert_eq!(
                AppImageName::parse(bad).unwrap_err().kind(),
                Kind::BadReference,
                "{bad}"
            );
        }
    }
}
