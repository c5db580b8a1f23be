//! The walls against the real kernel. One thread, because every test forks; root, because
//! walls need it: without root each test is a visible skip.

mod kernel {
    pub(super) mod blocks;
    pub(super) mod cgroups;
    pub(super) mod child;
    pub(super) mod doctor;
    pub(super) mod filter;
    pub(super) mod idmaps;
    pub(super) mod landlock;
}

use kernel::child::Outcome;
use std::process::ExitCode;

type Test = (&'static str, fn() -> Outcome);

const TESTS: &[Test] = &[
    (
        "blocks::fifty_starters_at_once_never_collide",
        kernel::blocks::fifty,
    ),
    ("blocks::kill_9_frees_a_block", kernel::blocks::killed),
    (
        "cgroups::limits_hold_and_nothing_is_left",
        kernel::cgroups::limits,
    ),
    (
        "cgroups::a_pod_limit_stands_above_its_apps",
        kernel::cgroups::pod_limit,
    ),
    (
        "cgroups::memory_is_bounded_and_counted",
        kernel::cgroups::memory,
    ),
    (
        "cgroups::kill_takes_all_with_and_without_cgroup_kill",
        kernel::cgroups::kill,
    ),
    ("cgroups::sweep_clears_a_dead_pod", kernel::cgroups::swept),
    (
        "cgroups::a_missing_controller_leaves_nothing",
        kernel::cgroups::missing,
    ),
    ("cgroups::bad_parents_are_refused", kernel::cgroups::parents),
    (
        "doctor::answers_and_leaves_nothing",
        kernel::doctor::examine,
    ),
    (
        "filter::refuses_what_the_table_says",
        kernel::filter::refuses,
    ),
    (
        "filter::every_privileged_call_stops_at_the_filter",
        kernel::filter::harmless,
    ),
    (
        "filter::terminal_input_cannot_be_faked",
        kernel::filter::terminal,
    ),
    (
        "filter::loads_before_the_last_capset_and_exec_works",
        kernel::filter::order,
    ),
    ("filter::an_i386_call_kills", kernel::filter::foreign),
    (
        "idmaps::a_volume_shows_and_stores_the_right_ids",
        kernel::idmaps::volume,
    ),
    (
        "landlock::a_domain_is_its_own_root_only",
        kernel::landlock::files,
    ),
    (
        "landlock::signals_and_abstract_sockets_stay_in",
        kernel::landlock::scopes,
    ),
];

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let root = rustix::process::geteuid().is_root();
    let (mut failed, mut skipped, mut passed) = (0, 0, 0);
    for (name, test) in TESTS {
        if !filters.is_empty() && !filters.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        let outcome = if root {
            test()
        } else {
            Outcome::Skip("needs root".to_owned())
        };
        match outcome {
            Outcome::Pass => passed += 1,
            Outcome::Skip(_) => skipped += 1,
            Outcome::Fail(_) => failed += 1,
        }
        say(&format!("test {name} ... {outcome}"));
    }
    say(&format!(
        "kernel: {passed} passed; {failed} failed; {skipped} skipped"
    ));
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn say(line: &str) {
    use std::io::Write;
    // A closed stdout is the reader's wish.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
