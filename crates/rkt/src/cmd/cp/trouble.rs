//! What came of one half of a copy, also as bytes from the child that made it.

use serde::{Deserialize, Serialize};

/// Most notes that are kept.
const NOTES: usize = 20;

/// Why a copy stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trouble {
    pub(super) doing: String,
    pub(super) because: String,
    pub(super) hint: Option<String>,
    /// Whether the other half is gone: then it knows better why.
    pub(super) echo: bool,
}

impl Trouble {
    pub(super) fn new(doing: impl Into<String>, because: impl ToString) -> Self {
        Self {
            doing: doing.into(),
            because: because.to_string(),
            hint: None,
            echo: false,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A half of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
    /// How many more were.
    pub(super) more: u64,
    trouble: Option<Trouble>,
}

impl Report {
    pub(super) fn note(&mut self, text: String) {
        if self.notes.len() < NOTES {
            self.notes.push(text);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn ended(mut self, how: Result<(), Trouble>) -> Self {
        self.trouble = how.err();
        self
    }

    /// Both halves; of two troubles the one that is no echo of the other.
    pub(super) fn and(self, other: Self) -> Result<Self, Trouble> {
        let (first, second) = (self.trouble, other.trouble);
        let both = [first, second].into_iter().flatten();
        if let Some(trouble) = both.min_by_key(|t| t.echo) {
            return Err(trouble);
        }
        let mut notes = self.notes;
        notes.extend(other.notes);
        Ok(Self {
            notes,
            more: self.more + other.more,
            trouble: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_and_not_its_echo() {
        let echo = Trouble {
            echo: true,
            ..Trouble::new("send", "Broken pipe")
        };
        let cause = Trouble::new("write", "No space left");
        let report = |t: &Trouble| Report::default().ended(Err(t.clone()));
        assert_eq!(report(&echo).and(report(&cause)), Err(cause.clone()));
        assert_eq!(report(&cause).and(report(&echo)), Err(cause));
        let mut noted = Report::default();
        (0..25).for_each(|n| noted.note(n.to_string()));
        let both = noted.and(Report::default()).unwrap();
        assert_eq!((both.notes.len(), both.more), (20, 5));
    }
}
