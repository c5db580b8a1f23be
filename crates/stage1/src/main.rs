//! stage1
fn main() {}
