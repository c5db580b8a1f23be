//! stage0
