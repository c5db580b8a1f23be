//! How pods end: in order, by force, and by accident.

mod accidents;
mod stopping;
mod streams;
