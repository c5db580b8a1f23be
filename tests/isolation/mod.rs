//! The walls: read from the host's side, attacked from inside, and taken away to see them fail.

mod attacks;
mod audit;
mod enter;
mod filling;
mod inventory;
mod isolators;
mod issue576;
mod joiners;
mod orphaned;
mod outside;
mod resources;
mod sampled;
mod selftest;
mod siblings;
mod stages;
mod suite;
mod surroundings;
mod together;
mod traced;
