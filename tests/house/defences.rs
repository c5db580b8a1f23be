//! The table of defences names tests: they are there.

use rkt_isolate::defences::DEFENCES;
use std::fs;

/// `isolation::siblings::name` is `fn name` in `tests/isolation/siblings.rs` or its `mod.rs`.
fn exists(test: &str) -> bool {
    let Some((modules, function)) = test.rsplit_once("::") else {
        return false;
    };
    let path = modules.replace("::", "/");
    let top = super::top();
    let places = [
        top.join(format!("tests/{path}.rs")),
        top.join(format!("tests/{path}/mod.rs")),
    ];
    let texts = places.iter().filter_map(|p| fs::read_to_string(p).ok());
    let head = format!("#[test]\nfn {function}() {{");
    texts.into_iter().any(|text| text.contains(&head))
}

#[test]
fn every_defence_is_missed_by_a_test() {
    for d in DEFENCES {
        for test in d.tests {
            assert!(exists(test), "{}: there is no test {test}", d.id);
        }
    }
    assert!(!exists("isolation::siblings::no_such_test"));
}
