//! `rkt run`.

use crate::failure::Failure;
use std::ffi::OsString;

pub(super) fn run(_words: Vec<OsString>) -> Result<u8, Failure> {
    Err(Failure::usage("this verb is not built yet"))
}
