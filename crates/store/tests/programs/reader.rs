//! The reader of layers, as `rkt` is under its hidden verb.
#![forbid(unsafe_code)]

fn main() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    std::process::exit(rkt_store::layer::child_main(&args));
}
