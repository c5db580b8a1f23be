//! Images from every source into a real store, and everything that may go wrong on the way.

mod fake;
mod faults;
mod lab;
mod local;
mod make;
mod real;
mod registry;
mod store;
