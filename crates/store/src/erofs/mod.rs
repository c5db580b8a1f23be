//! EROFS indexes: written from a tree, read back for lookups. Metadata only; data stay in tars.
