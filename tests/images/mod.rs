//! Images: from where they come, and what they may contain.

mod commands;
mod content;
mod sources;
mod store;
mod verify;
