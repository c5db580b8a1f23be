//! Apps of one pod against each other, beyond /proc: signals, debugging, sockets, IPC, descriptors.

use rkt_tests::attack::Told;
use rkt_tests::eyes::Process;
use rkt_tests::{Need, Pod, Rkt};
use std::fs;

const PROBE: &str = "builtin:probe";

/// A pod with a victim, blue, and red, who sleeps until it is entered.
fn pod<'a>(rkt: &'a Rkt, weaken: &str) -> Pod<'a> {
    let mut words: Vec<&str> = [weaken].into_iter().filter(|w| !w.is_empty()).collect();
    words.extend([
        PROBE,
        "--name=blue",
        "--",
        "victim",
        "@rkt-probe-blue",
        "/tmp-counter",
        "---",
        PROBE,
        "--name=red",
        "--",
        "sleep",
    ]);
    let pod = rkt.start(&words);
    pod.wait_for_log("blue", "ready");
    pod
}

#[track_caller]
fn attack(pod: &Pod<'_>, id: &str, options: &[&str]) -> Told {
    let mut words = vec!["/rkt-probe", "attack", id];
    words.extend(options);
    Told::read(&pod.enter(Some("red"), &words))
}

fn counts_on(blue: &Process) -> bool {
    let read = || fs::read_to_string(blue.path("/tmp-counter")).unwrap_or_default();
    let before = read();
    std::thread::sleep(std::time::Duration::from_millis(500));
    read() != before
}

#[test]
fn a_sibling_cannot_be_debugged_signalled_joined_or_rescheduled() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let pod = pod(&rkt, "");
    let blue = pod.app("blue");
    for id in ["D01", "D02", "D03", "D04", "D05", "D06", "D08", "D10"] {
        let told = attack(&pod, id, &[]);
        // With all of it hidden there may be nobody to attack; then nothing was reached either.
        assert!(told.worked().is_empty(), "{id}: {:?}", told.worked());
    }
    assert!(counts_on(&blue));
    assert_eq!(pod.state(), "running");
}

#[test]
fn without_user_namespaces_and_landlock_a_sibling_is_at_mercy() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let open = pod(
        &rkt,
        "--weaken=userns,landlock,hidepid,caps,seccomp,disjoint-ids",
    );
    for id in ["D03", "D04", "D06", "D08", "D10"] {
        attack(&open, id, &[]).succeeds();
    }
    open.kill().ok();
    let ids = pod(&rkt, "--weaken=landlock,hidepid,caps,seccomp");
    for id in ["D03", "D04", "D05", "D06", "D10"] {
        attack(&ids, id, &[]).is_refused();
    }
    ids.kill().ok();
    let domain = pod(&rkt, "--weaken=userns,hidepid,caps,seccomp,disjoint-ids");
    for id in ["D03", "D04"] {
        attack(&domain, id, &[]).is_refused();
    }
}

#[test]
fn siblings_and_init_are_invisible_in_proc() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let hidden = pod(&rkt, "");
    attack(&hidden, "D08", &[]).is_refused();
    hidden.kill().ok();
    let plain = pod(&rkt, "--weaken=hidepid");
    attack(&plain, "D08", &[]).succeeds();
}

#[test]
fn abstract_sockets_of_a_sibling_and_of_the_host_are_out_of_reach() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let walled = pod(&rkt, "");
    attack(&walled, "D07", &["--socket=@rkt-probe-blue"]).is_refused();
    walled.kill().ok();
    let open = pod(&rkt, "--weaken=landlock");
    attack(&open, "D07", &["--socket=@rkt-probe-blue"]).succeeds();
    open.kill().ok();
    // CVE-2020-15257: in the host's network, the host's sockets are one name away.
    let name = format!("rkt-test-{}", std::process::id());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(
            &name,
        )
        .unwrap();
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let option = format!("--socket=@{name}");
    let told = |weaken: &[&str]| {
        let mut words = vec!["run", "--rm", "--quiet", "--net=host"];
        words.extend(weaken);
        words.extend([PROBE, "--", "attack", "D07", &option]);
        Told::read(&rkt.rkt(&words))
    };
    told(&[]).is_refused();
    told(&["--weaken=landlock"]).succeeds();
}

#[test]
fn apps_of_one_pod_can_still_talk() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // A socket in a shared volume is how apps of a pod meet.
    let pod = rkt.start(&[
        "--volume=shared,kind=empty,mode=1777",
        PROBE,
        "--name=server",
        "--mount=volume=shared,target=/shared",
        "--",
        "serve-fd",
        "/shared/socket",
        "/rkt-probe",
        "---",
        PROBE,
        "--name=client",
        "--mount=volume=shared,target=/shared",
        "--",
        "sleep",
    ]);
    pod.wait_for_log("server", "ready");
    let told = Told::read(&pod.enter(
        Some("client"),
        &["/rkt-probe", "attack", "D07", "--socket=/shared/socket"],
    ));
    told.succeeds();
}

/// `mq_open(2)` goes by no path of the app, and yet the queues are the pod's: apps that let each
/// other in share them by name.
#[test]
fn message_queues_are_the_pods() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let other = pod(&rkt, "");
    let pod = pod(&rkt, "");
    let made = pod
        .enter(Some("red"), &["/rkt-probe", "hoard", "queue", "3"])
        .ok();
    assert_eq!(made, "made 3: enough\n");
    let list = |pod: &Pod<'_>, app: &str| {
        let seen = pod.enter(Some(app), &["/rkt-probe", "list", "/dev/mqueue"]);
        seen.ok().matches("hoard-").count()
    };
    assert_eq!((list(&pod, "blue"), list(&other, "blue")), (3, 0));
    // A limit of each app, not of the pod (RLIMIT_MSGQUEUE).
    let many = pod.enter(Some("red"), &["/rkt-probe", "hoard", "queue", "100000"]);
    assert!(many.ok().contains("EMFILE"), "no bound on message queues");
    let left = pod.enter(Some("blue"), &["/rkt-probe", "hoard", "queue", "3"]);
    assert_eq!(left.ok(), "made 3: enough\n");
}
