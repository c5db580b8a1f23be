//! cred
