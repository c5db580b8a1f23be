//! What users say of networks and ports: obeyed, or one clear error and nothing left.

use super::PROBE;
use rkt_tests::layout::Image;
use rkt_tests::{Done, Rkt};
use serde_json::json;

const USAGE: i32 = 254;

#[track_caller]
fn fails(rkt: &Rkt, words: &[&str], said: &str) -> Done {
    let mut all = vec!["run", "--rm", "--quiet"];
    all.extend(words);
    let done = rkt
        .rkt(&all)
        .ends_with(USAGE)
        .is_one_clear_error()
        .says(said);
    rkt.leaves_nothing();
    done
}

#[test]
fn networks_that_are_none_are_named() {
    let Some(rkt) = Rkt::networked(&[]) else {
        return;
    };
    fails(
        &rkt,
        &["--net=web,default,db", PROBE],
        "networks not found: web, db",
    )
    .says("there are: none, host, default, default-restricted");
    for (net, said) in [
        ("", "netname must not be empty"),
        ("default,", "netname must not be empty"),
        ("a,b,a", "found duplicate netname \"a\""),
        (
            "all:IP=1.2.3.4",
            "arguments are not supported by special netname \"all\"",
        ),
        (
            "host:IP=1.2.3.4",
            "arguments are not supported by special netname \"host\"",
        ),
        (
            "default:IP",
            "network \"default\" provided with invalid arguments: IP",
        ),
        (
            "none,default",
            "the network \"none\" does not go with others",
        ),
        ("../../etc", "network name"),
        (
            "default:COLOUR=red",
            "the network `default` knows no argument `COLOUR`",
        ),
        (
            "default:IP=10.9.8.7",
            "requested IP address \"10.9.8.7\" is not available in network: default",
        ),
        ("default:IP=172.16.28.1", "it is the gateway's"),
        ("default:MAC=01:00:5e:00:00:01", "address of a group"),
    ] {
        fails(&rkt, &[&format!("--net={net}"), PROBE], said);
    }
    fails(
        &rkt,
        &["--net=host", "--net=default", PROBE],
        "does not go with others",
    );
}

#[test]
fn ports_that_are_none_are_named() {
    let Some(rkt) = Rkt::networked(&[]) else {
        return;
    };
    let image = Image::with_probe(&[]).set("ExposedPorts", json!({ "80/tcp": {}, "53/udp": {} }));
    let image = image.write(&rkt.file("image")).reference();
    let image = image.as_str();
    for (port, said) in [
        ("80", "needs NAME:[ADDRESS:]PORT"),
        ("127.0.0.1::80", "the port of the host is missing"),
        ("0:80", "`0` is no port 1 to 65535"),
        ("80:70000", "`70000` is no port"),
        ("1-3:1-2", "different lengths"),
        ("80:80/icmp", "protocol"),
        ("[::1:80:80", "has no `]`"),
        ("80:80,via=tunnel", "via=socket"),
    ] {
        fails(&rkt, &[&format!("-p{port}"), image], said);
    }
    for (net, word) in [("--net=none", "none"), ("--net=host", "host")] {
        let said = format!("--port flag does not work with '{word}' networking");
        fails(&rkt, &[net, "-p80:80", image], &said);
    }
    let default = "--net=default";
    fails(
        &rkt,
        &[default, "--port=http:8080", image],
        "port name \"http\" could not be found in any apps",
    )
    .says("80-tcp");
    fails(
        &rkt,
        &[default, "-p8080:80", "--port=80-tcp:0.0.0.0:8080", image],
        "port tcp-0.0.0.0:8080 already mapped to pod port 80",
    );
    fails(
        &rkt,
        &[
            default,
            "--port=80-tcp:8080",
            image,
            "--name=a",
            image,
            "--name=b",
        ],
        "port name \"80-tcp\" defined multiple apps",
    )
    .says(",app=NAME");
    fails(
        &rkt,
        &[default, "-p8080:80,app=c", image],
        "the pod has no app `c`",
    );
}

#[test]
fn names_that_are_none_are_named() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for (words, said) in [
        (["--dns=one.one.one.one", ""], "no address of a name server"),
        (
            ["--dns=host", "--dns=1.1.1.1"],
            "no other --dns options allowed when --dns=host is passed",
        ),
        (
            ["--dns-search=a", "--dns=none"],
            "no other --dns options allowed when --dns=none is passed",
        ),
        (["--dns-search=a b", ""], "is no domain"),
        (["--dns-domain=a\nnameserver 6.6.6.6", ""], "is no domain"),
        (["--dns-opt=", ""], "is no option of a resolver"),
        (["--hosts-entry=db", ""], "needs ADDRESS=NAME"),
        (
            ["--hosts-entry=10.0.0.1=a\n6.6.6.6 bank", ""],
            "is no name of a host",
        ),
        (
            ["--hosts-entry=10.0.0.1=a", "--hosts-entry=host"],
            "cannot pass --hosts-entry=host with multiple hosts-entries",
        ),
        (["--add-host=db", ""], "needs NAME:ADDRESS"),
        (["--hostname=a b", ""], "at most 64 letters"),
    ] {
        fails(&rkt, &[words[0], words[1], "--net=none", PROBE], said);
    }
}
