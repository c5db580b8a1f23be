//! rkt
fn main() {}
