//! No row without its place everywhere, and no place without its row.

use super::*;
use crate::plan::{Scope, WallsRequest, limits, walls};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[test]
fn ids_are_in_order_and_used_once() {
    for (n, d) in DEFENCES.iter().enumerate() {
        assert_eq!(d.id, format!("W{:02}", n + 1));
        for text in [d.name, d.holds, d.by] {
            assert!(!text.is_empty() && !text.contains('|'), "{}", d.id);
        }
        assert!(!d.tests.is_empty(), "{}: no test misses it", d.id);
        if let Seen::Not(why) = d.audit {
            assert!(!why.is_empty(), "{}", d.id);
        }
    }
}

#[test]
fn every_switch_of_the_tests_takes_a_row_away_and_no_other_is_named() {
    let plan = crate::audit::sample();
    let app = &plan.apps[0];
    let known: BTreeSet<&str> = weaken::NAMES.iter().map(|(name, _)| *name).collect();
    for d in DEFENCES {
        for name in d.weaken {
            assert!(known.contains(name), "{}: no switch {name}", d.id);
        }
    }
    for (name, bit) in weaken::NAMES {
        let mut weak = plan.clone();
        weak.weaken = *bit;
        let off: Vec<_> = DEFENCES
            .iter()
            .filter(|d| matches!(d.state(&weak, app), State::Off(_)))
            .map(|d| d.id)
            .collect();
        let named: Vec<_> = DEFENCES
            .iter()
            .filter(|d| d.weaken.contains(name))
            .map(|d| d.id)
            .collect();
        assert!(!named.is_empty(), "no defence is taken away by {name}");
        assert_eq!(off, named, "{name}");
    }
}

#[test]
fn the_decision_reports_by_rows_only() {
    let host = crate::plan::sample_host();
    let (_, report) = walls(&WallsRequest::new(&[], 0), &host).unwrap();
    let (_, more) = limits(&[], Scope::App, &host).unwrap();
    let mut seen: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in report.rows.iter().chain(&more.rows) {
        assert!(find(row.id).is_some(), "no row {} ({})", row.id, row.what);
        seen.entry(row.id).or_default().push(row.what.clone());
    }
    // What the isolators of an app decide: each of these is told before a start.
    for id in [
        id::USER,
        id::BOUNDING,
        id::SETS,
        id::NO_NEW_PRIVS,
        id::SECCOMP,
        id::FAMILIES,
        id::NESTED,
        id::DOMAIN,
        id::SCOPES,
        id::MASKS,
        id::READ_ONLY,
        id::LIMITS,
        id::RLIMITS,
        id::OOM,
        id::DEVICES,
    ] {
        assert!(seen.contains_key(id), "--explain says nothing of {id}");
    }
}

#[test]
fn what_a_default_plan_has_is_on() {
    let host = crate::plan::sample_host();
    let mut plan = crate::audit::sample();
    plan.apps[0].walls = walls(&WallsRequest::new(&[], 0), &host).unwrap().0;
    plan.apps[0].limits = limits(&[], Scope::App, &host).unwrap().0;
    for d in DEFENCES {
        let state = d.state(&plan, &plan.apps[0]);
        assert_eq!(state, State::On, "{}: {}", d.id, d.name);
    }
}

#[test]
fn the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/defences.md");
    if std::env::var_os("RKT_BLESS").is_some() {
        std::fs::write(&path, document()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, document(), "RKT_BLESS=1 writes it anew");
}
