//! What was wanted and what is held, row by row, for `--explain`.

use std::fmt;

/// One wall or limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The row of [`crate::defences::DEFENCES`] it belongs to.
    pub id: &'static str,
    /// What it is about.
    pub what: String,
    /// What the isolators and defaults ask for.
    pub wanted: String,
    /// What this host will hold.
    pub enforced: String,
    /// What holds it, or why it is less.
    pub by: String,
    /// The flag that changes it; empty when none does.
    pub flag: String,
}

impl Row {
    /// Whether all that was wanted is held.
    pub fn is_held(&self) -> bool {
        self.wanted == self.enforced
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.enforced)?;
        if !self.is_held() {
            write!(f, " (wanted {})", self.wanted)?;
        }
        write!(f, ", by {}", self.by)
    }
}

/// The rows of one app or pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the decision.
    pub rows: Vec<Row>,
}

impl Report {
    /// Rows where less is held than was wanted: each is worth a line at start.
    pub fn shortfalls(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.is_held())
    }

    pub(super) fn held(
        &mut self,
        id: &'static str,
        what: impl Into<String>,
        wanted: impl Into<String>,
        by: impl Into<String>,
        flag: &str,
    ) {
        let wanted = wanted.into();
        self.rows.push(Row {
            id,
            what: what.into(),
            enforced: wanted.clone(),
            wanted,
            by: by.into(),
            flag: flag.to_owned(),
        });
    }

    pub(super) fn lost(
        &mut self,
        id: &'static str,
        what: impl Into<String>,
        wanted: impl Into<String>,
        enforced: impl Into<String>,
        by: impl Into<String>,
        flag: &str,
    ) {
        self.rows.push(Row {
            id,
            what: what.into(),
            wanted: wanted.into(),
            enforced: enforced.into(),
            by: by.into(),
            flag: flag.to_owned(),
        });
    }
}
