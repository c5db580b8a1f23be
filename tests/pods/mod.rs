//! What a user types, and what comes of it.

mod bad_input;
mod commands;
mod copying;
mod start;
mod terminal;
mod volumes;
