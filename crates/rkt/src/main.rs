//! rkt: the command. Reads words, calls the libraries, prints.
//!
//! Only the parser of the verb that was typed is ever built; `run` has none of clap's.

#![forbid(unsafe_code)]

mod args;
mod cmd;
mod columns;
mod embedded;
mod failure;
mod progress;
mod registry;
mod view;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Before anything else: this child reads a stranger's bytes and is to know as little as can be.
    if let Some((verb, rest)) = argv.split_first()
        && verb == registry::LAYER_VERB
    {
        let status = rkt_store::layer::child_main(rest);
        return ExitCode::from(u8::try_from(status).unwrap_or(failure::RKT));
    }
    if let Some((verb, [])) = argv.split_first()
        && verb == rkt_net::cni::CHILD_VERB
    {
        let status = rkt_net::cni::child_main();
        return ExitCode::from(u8::try_from(status).unwrap_or(failure::RKT));
    }
    match cmd::dispatch(argv) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            failure.print();
            failure.end_by_signal();
            ExitCode::from(failure.status)
        }
    }
}
