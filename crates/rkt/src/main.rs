//! rkt: the command. Reads words, calls the libraries, prints.
//!
//! Only the parser of the verb that was typed is ever built; `run` has none of clap's.

#![forbid(unsafe_code)]

mod args;
mod cmd;
mod failure;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    match cmd::dispatch(argv) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.status)
        }
    }
}
