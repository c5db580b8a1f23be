//! Pods that share a network find each other by name, and nobody else does.

use super::{PROBE, addresses, bare, run_words};
use rkt_tests::images::{self, DEBIAN};
use rkt_tests::layout::Image;
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Pod, Rkt, wait_for};
use std::fs;

/// rkt with networks that `rkt network create` made, and the option that makes it read them.
struct Site {
    rkt: Rkt,
    config: String,
}

impl Site {
    fn new(needs: &[Need], networks: &[&[&str]]) -> Option<Self> {
        let rkt = Rkt::networked(needs)?;
        let config = format!("--local-config={}", rkt.file("etc").display());
        for words in networks {
            let made = [&["network", "create"], *words, &[config.as_str()]].concat();
            rkt.rkt(&made).ok();
        }
        Some(Self { rkt, config })
    }

    fn start(&self, net: &str, words: &[&str]) -> Pod<'_> {
        let net = format!("--net={net}");
        let mut all = vec![self.config.as_str(), &net];
        all.extend(words);
        if !words.iter().any(|w| w.starts_with("oci:")) {
            all.extend([PROBE, "--name=a", "--", "sleep"]);
        }
        self.rkt.start(&all)
    }

    fn told(&self, network: &str) -> usize {
        let dir = fs::read_dir(self.rkt.run_dir().join("net").join(network).join("names"));
        dir.map_or(0, Iterator::count)
    }
}

/// An app's `/etc/hosts`, as the host sees it.
fn hosts(pod: &Pod<'_>, app: &str) -> String {
    fs::read_to_string(format!("/proc/{}/root/etc/hosts", pod.app(app).pid)).unwrap()
}

/// A line of that file.
fn line(pod: &Pod<'_>, names: &str) -> String {
    format!("{}\t{names}\n", bare(&addresses(pod, "eth0")[0]))
}

#[track_caller]
fn wait_for_line(pod: &Pod<'_>, line: &str) {
    wait_for(&format!("{line:?} in a pod's hosts"), 10, || {
        hosts(pod, "a").contains(line)
    });
}

#[track_caller]
fn wait_for_no(pod: &Pod<'_>, word: &str) {
    wait_for(&format!("the end of {word:?} in a pod's hosts"), 10, || {
        !hosts(pod, "a").contains(word)
    });
}

#[test]
fn pods_on_a_network_find_each_other_by_name_in_either_order() {
    let Some(site) = Site::new(images::TOOLS, &[&["shop"]]) else {
        return;
    };
    let image = DEBIAN.oci();
    let first = site.start(
        "shop",
        &[
            "--hostname=db",
            "--pod-name=base",
            &image,
            "--name=a",
            "--",
            "sleep",
            "600",
        ],
    );
    let second = site.start(
        "shop",
        &[
            "--hostname=web.shop",
            &image,
            "--name=a",
            "--",
            "sleep",
            "600",
        ],
    );
    wait_for_line(&first, &line(&second, "web.shop"));
    // The one that came later knows it from its first instruction.
    assert!(hosts(&second, "a").contains(&line(&first, "db base")));
    for (from, name, to) in [
        (&first, "web.shop", &second),
        (&second, "db", &first),
        (&second, "base", &first),
        (&first, "base", &first),
    ] {
        let found = from.enter(Some("a"), &["getent", "hosts", name]).ok();
        let address = addresses(to, "eth0");
        assert!(
            found.starts_with(&format!("{} ", bare(&address[0]))),
            "{name}: {found}"
        );
    }
    // Its own host name is its own, as before.
    let own = first.enter(Some("a"), &["getent", "ahostsv4", "db"]).ok();
    assert!(own.starts_with("127.0.0.1 "), "{own}");
    for pod in [&first, &second] {
        site.rkt.rkt(&["audit", &pod.uuid]).ok();
    }
    // A restart is given the same file.
    site.rkt
        .rkt(&["app", "restart", "--force", &first.uuid, "--app=a"])
        .ok();
    wait_for_line(&first, &line(&second, "web.shop"));
    let gone = line(&second, "web.shop");
    second.stop().ok();
    wait_for_no(&first, &gone);
    assert_eq!(site.told("shop"), 1);
    first.kill().ok();
    assert_eq!(site.told("shop"), 0);
    site.rkt.gc();
    site.rkt.leaves_nothing();
}

#[test]
fn names_stay_on_their_network() {
    let Some(site) = Site::new(
        &[],
        &[
            &["shop"],
            &[
                "store",
                "--type=ptp",
                "--subnet=10.81.0.0/24",
                "--subnet=fd81::/64",
            ],
            &["cells", "--isolated"],
        ],
    ) else {
        return;
    };
    let both = site.start("shop,store", &["--hostname=both"]);
    let shop = site.start("shop", &["--hostname=shop-only"]);
    let store = site.start("store", &["--hostname=store-only"]);
    wait_for_line(&both, &line(&shop, "shop-only"));
    for address in addresses(&store, "eth0") {
        wait_for_line(&both, &format!("{}\tstore-only\n", bare(&address)));
    }
    // Each of the two knows the third by the addresses of their common network.
    let by = |device| addresses(&both, device);
    for (pod, here, there) in [(&shop, "eth0", "eth1"), (&store, "eth1", "eth0")] {
        let text = hosts(pod, "a");
        for address in by(here) {
            assert!(
                text.contains(&format!("{}\tboth\n", bare(&address))),
                "{text}"
            );
        }
        for address in by(there) {
            assert!(!text.contains(bare(&address)), "{text}");
        }
    }
    assert!(!hosts(&shop, "a").contains("store-only"));
    assert!(!hosts(&store, "a").contains("shop-only"));
    // Pods that are kept from each other have no use for names, and the default network is everybody's.
    for net in ["cells", "default"] {
        let one = site.start(net, &["--hostname=cell-1"]);
        let two = site.start(net, &["--hostname=cell-2"]);
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!hosts(&one, "a").contains("cell-2"), "{net}");
        assert!(!hosts(&two, "a").contains("cell-1"), "{net}");
        assert_eq!(site.told(net), 0);
    }
}

#[test]
fn a_killed_pod_is_forgotten_at_once_and_gc_leaves_nothing() {
    let Some(site) = Site::new(&[], &[&["shop"]]) else {
        return;
    };
    let stays = site.start("shop", &["--hostname=stays"]);
    let dies = site.start("shop", &["--hostname=dies"]);
    wait_for_line(&stays, "\tdies\n");
    let supervisor = dies.supervisor();
    rkt_tests::host::kill(supervisor);
    wait_for_no(&stays, "dies");
    assert_eq!(site.told("shop"), 2, "nobody was left to remove it");
    let later = site.start("shop", &["--hostname=later"]);
    assert!(!hosts(&later, "a").contains("dies"));
    site.rkt.gc();
    assert_eq!(site.told("shop"), 2, "those that live stay");
    stays.kill().ok();
    later.kill().ok();
    assert_eq!(site.told("shop"), 0);
}

#[test]
fn no_pod_takes_a_name_of_the_machine_or_of_what_was_said() {
    let Some(site) = Site::new(&[], &[&["shop"]]) else {
        return;
    };
    // What could end a line is refused before anything starts.
    for bad in ["a\nb", "a b", "a#b", "a\tb"] {
        let name = format!("--hostname={bad}");
        let words = [site.config.as_str(), "--net=shop", &name, PROBE];
        site.rkt.rkt(&run_words(&words)).ends_with(254);
    }
    let said = site.start(
        "shop",
        &["--hostname=web", "--hosts-entry=192.0.2.1=db,cache"],
    );
    let plain = site.start("shop", &["--hostname=plain"]);
    let mut evil = Vec::new();
    for name in [
        "db",
        "CACHE",
        "web",
        "localhost",
        "x.localhost",
        "host.docker.internal",
        "10.1",
    ] {
        evil.push(site.start("shop", &[&format!("--hostname={name}")]));
    }
    wait_for_line(&plain, "\tcache\n");
    let first = hosts(&plain, "a");
    for (pod, name) in evil.iter().zip(["db", "cache", "web"]) {
        assert!(first.contains(&line(pod, name)), "{first}");
    }
    // Two pods of one name: both.
    assert!(first.contains(&line(&said, "web")), "{first}");
    let told: Vec<&str> = first.lines().filter(|l| l.contains('\t')).collect();
    assert_eq!(
        told.len(),
        2 + 4,
        "localhost twice, and the four that can be told: {first}"
    );
    wait_for("the others", 10, || site.told("shop") == 9);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let own = hosts(&said, "a");
    assert!(own.contains("192.0.2.1 db cache\n"), "{own}");
    for pod in &evil {
        assert!(!own.contains(bare(&addresses(pod, "eth0")[0])), "{own}");
    }
    assert!(own.contains(&line(&plain, "plain")));
    let done = site.rkt.rkt(&run_words(&[
        &site.config,
        "--net=shop",
        "--rm",
        "--hostname=localhost",
        PROBE,
        "--",
        "exit",
        "0",
    ]));
    done.ends_with(0).says("host name `localhost`");
}

#[test]
fn a_hosts_file_that_is_not_rkts_is_left_alone() {
    let Some(site) = Site::new(&[], &[&["shop"]]) else {
        return;
    };
    let other = site.start("shop", &["--hostname=other"]);
    let own = Image::with_probe(&[Entry::file("etc/hosts", "10.0.0.1 mine\n")]);
    let own = own.write(&site.rkt.file("own")).reference();
    let image = site.start(
        "shop",
        &["--hostname=image", &own, "--name=a", "--", "sleep"],
    );
    wait_for_line(&other, "\timage\n");
    assert_eq!(hosts(&image, "a"), "10.0.0.1 mine\n");
    let host = site.start("shop", &["--hostname=host", "--hosts-entry=host"]);
    wait_for_line(&other, "\thost\n");
    assert_eq!(hosts(&host, "a"), fs::read_to_string("/etc/hosts").unwrap());
    let file = site.rkt.file("volume");
    fs::write(&file, "10.0.0.2 volume\n").unwrap();
    let volume = format!("-v{}:/etc/hosts:ro", file.display());
    let volume = site.start("shop", &["--hostname=volume", &volume]);
    wait_for_line(&other, "\tvolume\n");
    assert_eq!(hosts(&volume, "a"), "10.0.0.2 volume\n");
}

#[test]
fn an_app_cannot_write_what_it_is_told() {
    let Some(site) = Site::new(images::TOOLS, &[&["shop"]]) else {
        return;
    };
    let image = DEBIAN.oci();
    let pod = site.start(
        "shop",
        &[
            "--caps-retain=all",
            &image,
            "--name=a",
            "--",
            "sleep",
            "600",
        ],
    );
    let other = site.start("shop", &["--hostname=other"]);
    wait_for_line(&pod, "\tother\n");
    let before = hosts(&pod, "a");
    let attack = "echo 6.6.6.6 other > /etc/hosts; mount -o remount,rw /etc/hosts; \
                  echo 6.6.6.6 other >> /etc/hosts; rm -f /etc/hosts; mv /etc/hosts /x; true";
    pod.enter(Some("a"), &["sh", "-c", attack]).ok();
    assert_eq!(hosts(&pod, "a"), before);
    // The supervisor can, still.
    other.kill().ok();
    wait_for_no(&pod, "other");
}

#[test]
fn pods_on_a_network_of_plugins_find_each_other_too() {
    let list = r#"{"cniVersion":"1.0.0","name":"lab","plugins":[{"type":"counts"}]}"#;
    let Some((rkt, option)) = super::plugins::configured_with(list, &[]) else {
        return;
    };
    let count = rkt.file("count").display().to_string();
    let script = format!(
        r#"[ $CNI_COMMAND = ADD ] || exit 0; echo >> {count}
        echo '{{"cniVersion":"1.0.0","ips":[{{"address":"10.7.7.'$(wc -l < {count})'/24"}}]}}'"#
    );
    super::plugins::plugin(&rkt, "counts", &script);
    let start = |name: &str| {
        let name = format!("--hostname={name}");
        rkt.start(&[
            &option,
            "--net=lab",
            &name,
            PROBE,
            "--name=a",
            "--",
            "sleep",
        ])
    };
    let (first, second) = (start("first"), start("second"));
    wait_for_line(&first, "10.7.7.2\tsecond\n");
    assert!(hosts(&second, "a").contains("10.7.7.1\tfirst\n"));
    second.kill().ok();
    wait_for_no(&first, "second");
    first.kill().ok();
    rkt.gc();
    rkt.leaves_nothing();
}
