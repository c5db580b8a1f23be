use super::message::{Answer, Kind, answer, query};
use super::*;
use std::net::TcpListener;

/// An answer to `query`: an alias to `real.example`, then one address of it.
fn aliased(query: &[u8], flags: u16) -> Vec<u8> {
    let mut out = query.to_vec();
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    out[7] = 2;
    let kind = out[out.len() - 3];
    let alias = out.len() + 12;
    out.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 14]);
    out.extend_from_slice(b"\x04real\x07example\x00");
    let pointer = u16::try_from(alias).unwrap() | 0xc000;
    out.extend_from_slice(&pointer.to_be_bytes());
    out.extend_from_slice(&[0, kind, 0, 1, 0, 0, 0, 1]);
    if kind == 1 {
        out.extend_from_slice(&[0, 4, 192, 0, 2, 7]);
    } else {
        out.extend_from_slice(&[0, 16]);
        out.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
    }
    out
}

#[test]
fn aliases_are_followed() {
    let query = query(7, "www.example", Kind::A).unwrap();
    let bytes = aliased(&query, 0x8180);
    let want = Answer::Addresses(vec!["192.0.2.7".parse().unwrap()]);
    assert_eq!(answer(&bytes, 7, "WWW.example", Kind::A), Some(want));
    assert_eq!(
        answer(&bytes, 8, "www.example", Kind::A),
        None,
        "another id"
    );
    assert_eq!(
        answer(&bytes, 7, "xxx.example", Kind::A),
        None,
        "another question"
    );
    assert_eq!(
        answer(&bytes, 7, "www.example", Kind::Aaaa),
        None,
        "another kind"
    );
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let good = aliased(&query(7, "www.example", Kind::A).unwrap(), 0x8180);
    for cut in 0..good.len() {
        let _ = answer(&good[..cut], 7, "www.example", Kind::A);
        for value in [0, 1, 63, 64, 0xc0, 0xff] {
            let mut bad = good.clone();
            bad[cut] = value;
            let _ = answer(&bad, 7, "www.example", Kind::A);
        }
    }
    let mut looped = good.clone();
    let alias = good.len() - 16;
    looped[alias] = 0xc0;
    looped[alias + 1] = u8::try_from(alias).unwrap();
    let _ = answer(&looped, 7, "www.example", Kind::A);
    for bad in ["", "a..b", &"a".repeat(64), &"a.".repeat(200)] {
        assert!(query(1, bad, Kind::A).is_none(), "{bad}");
    }
}

fn dns(dir: &std::path::Path, resolv: &str, hosts: &str) -> Dns {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("resolv.conf"), resolv).unwrap();
    std::fs::write(dir.join("hosts"), hosts).unwrap();
    Dns {
        hosts: dir.join("hosts"),
        resolv_conf: dir.join("resolv.conf"),
    }
}

#[test]
fn names_are_found_in_hosts_over_udp_and_over_tcp() {
    let dir = std::env::temp_dir().join(format!("rkt-dns-{}", std::process::id()));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    let tcp = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((n, from)) = udp.recv_from(&mut buffer) {
            let query = &buffer[..n];
            // A forged answer first: another id must be passed over.
            let mut forged = aliased(query, 0x8180);
            forged[0] ^= 0xff;
            udp.send_to(&forged, from).unwrap();
            let flags = if query.windows(3).any(|w| w == b"tcp") {
                0x8380
            } else if query.windows(4).any(|w| w == b"none") {
                0x8183
            } else {
                0x8180
            };
            udp.send_to(&aliased(query, flags), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).unwrap();
            let answer = aliased(&query, 0x8180);
            stream
                .write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes())
                .unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    let resolver = dns(
        &dir,
        &format!("nameserver 127.0.0.1:{port}\n"),
        "10.9.8.7 box box.example\n",
    );
    let within = Duration::from_secs(5);
    let both: Vec<IpAddr> = vec!["192.0.2.7".parse().unwrap(), Ipv6Addr::LOCALHOST.into()];
    assert_eq!(
        resolver.look_up("box", within).unwrap(),
        ["10.9.8.7".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(resolver.look_up("www.example", within).unwrap(), both);
    assert_eq!(resolver.look_up("tcp.example", within).unwrap(), both);
    assert_eq!(
        resolver.look_up("none.example", within),
        Err(Failure::NoSuchName)
    );
    assert_eq!(
        resolver.look_up("[::1]", within).unwrap(),
        [IpAddr::from(Ipv6Addr::LOCALHOST)]
    );
    assert!(resolver.look_up("localhost", within).unwrap()[0].is_loopback());
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let deaf = dns(
        &dir.join("deaf"),
        &format!(
            "nameserver {}\noptions timeout:1 attempts:1\n",
            silent.local_addr().unwrap()
        ),
        "",
    );
    let start = Instant::now();
    assert_eq!(
        deaf.look_up("www.example", Duration::from_millis(300)),
        Err(Failure::NoAnswer)
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    std::fs::remove_dir_all(&dir).unwrap();
}
