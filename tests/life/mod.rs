//! How pods end: in order, by force, and by accident.

mod accidents;
mod restarting;
mod stopping;
mod streams;
