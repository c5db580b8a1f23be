//! Images on top of the images they depend on, in order, each showing only what it may.
//!
//! Source: appc 0.8.11, "Dependency Matching" and "Path Whitelists", as the original's code does
//! it: a later dependency lies over an earlier one, the image itself over all; a whitelist is for
//! its own image, and the topmost one above an image is for that one too. Directories pass an
//! image's own list always.

use crate::layer::{Filter, Step};
use rkt_spec::Digest;
use std::collections::BTreeSet;
use std::rc::Rc;

/// An image with all below it.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its archive.
    pub(crate) layer: Digest,
    /// Absolute, clean paths; empty shows all.
    pub(crate) whitelist: Vec<String>,
    /// In the order of its manifest.
    pub(crate) dependencies: Vec<Rc<Node>>,
}

/// The layers of an image, bottom first. One that comes twice with the same paths is there once,
/// on its topmost place: below, all of it is covered.
pub(crate) fn steps(top: &Node) -> Vec<Step> {
    let mut list = Vec::new();
    collect(top, &[], &mut list);
    let mut out: Vec<Step> = Vec::new();
    for step in list {
        if !out.contains(&step) {
            out.push(step);
        }
    }
    out.reverse();
    out
}

/// Top first: the image, then its dependencies from the last to the first.
fn collect(node: &Node, above: &[String], out: &mut Vec<Step>) {
    out.push(Step {
        diff: node.layer.clone(),
        filter: filter(&node.whitelist, above),
    });
    let above = if above.is_empty() {
        &node.whitelist
    } else {
        above
    };
    for dependency in node.dependencies.iter().rev() {
        collect(dependency, above, out);
    }
}

fn filter(own: &[String], above: &[String]) -> Option<Filter> {
    let sorted = |list: &[String]| -> Vec<String> {
        let set: BTreeSet<&String> = list.iter().collect();
        set.into_iter().cloned().collect()
    };
    match (own, above) {
        ([], []) => None,
        (own, []) => Some(Filter {
            files: Some(sorted(own)),
            directories: None,
        }),
        ([], above) => Some(Filter {
            files: Some(sorted(above)),
            directories: Some(sorted(above)),
        }),
        (own, above) => {
            let own: BTreeSet<&String> = own.iter().collect();
            let both = sorted(above)
                .into_iter()
                .filter(|p| own.contains(p))
                .collect();
            Some(Filter {
                files: Some(both),
                directories: Some(sorted(above)),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8, whitelist: &[&str], dependencies: &[&Rc<Node>]) -> Rc<Node> {
        Rc::new(Node {
            layer: Digest::sha512(&[n; 64]),
            whitelist: whitelist.iter().map(|p| (*p).to_owned()).collect(),
            dependencies: dependencies.iter().map(|d| Rc::clone(d)).collect(),
        })
    }

    fn numbers(steps: &[Step]) -> Vec<u8> {
        let number = |s: &Step| u8::from_str_radix(&s.diff.hex()[..2], 16).unwrap();
        steps.iter().map(number).collect()
    }

    #[test]
    fn the_last_dependency_wins_and_the_image_over_all() {
        // A -> [B, C], C -> [D]: B, D, C, A.
        let (b, d) = (node(2, &[], &[]), node(4, &[], &[]));
        let c = node(3, &[], &[&d]);
        let a = node(1, &[], &[&b, &c]);
        assert_eq!(numbers(&steps(&a)), [2, 4, 3, 1]);
    }

    #[test]
    fn a_diamond_has_its_base_once_where_it_shows() {
        // A -> [B, C], B -> [D], C -> [D]: D, B, D, C, A.
        let d = node(4, &[], &[]);
        let (b, c) = (node(2, &[], &[&d]), node(3, &[], &[&d]));
        let a = node(1, &[], &[&b, &c]);
        assert_eq!(numbers(&steps(&a)), [2, 4, 3, 1]);
        // Shown by two lists, it is two layers.
        let b = node(2, &["/b"], &[&d]);
        let a = node(1, &[], &[&b, &c]);
        assert_eq!(numbers(&steps(&a)), [4, 2, 4, 3, 1]);
    }

    #[test]
    fn the_topmost_whitelist_holds_for_all_below() {
        let d = node(4, &["/x", "/y"], &[]);
        let c = node(3, &["/c"], &[&d]);
        let a = node(1, &["/x", "/c/d"], &[&c]);
        let steps = steps(&a);
        let of = |n: usize| steps[n].filter.clone().unwrap();
        assert_eq!(
            of(0).files.unwrap(),
            ["/x"],
            "listed by itself and by A; C does not count"
        );
        assert_eq!(of(0).directories.unwrap(), ["/c/d", "/x"]);
        assert_eq!(of(1).files.unwrap(), [] as [&str; 0]);
        assert_eq!(of(2).directories, None);
    }
}
