//! Images from every source into a real store, and everything that may go wrong on the way.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod fake;
mod faults;
mod lab;
mod local;
mod logins;
mod make;
mod places;
mod real;
mod registry;
mod resume;
mod store;
mod tokens;
