//! Images: from where they come, and what they may contain.

pub(crate) mod aci;
mod commands;
mod content;
mod equality;
mod exporting;
mod hostile;
mod policy;
mod popular;
mod power;
mod progress;
mod proxy;
mod registries;
mod repair;
mod resume;
mod safety;
mod simple_signing;
mod sources;
mod store;
mod verify;
