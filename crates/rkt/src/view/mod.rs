//! How pods look: rows, JSON, times. Pure: facts in, text out.

pub(crate) mod audit;
pub(crate) mod networks;
pub(crate) mod pods;
pub(crate) mod ports;
pub(crate) mod selftest;
pub(crate) mod time;
