use super::frame::{decode, encode, send};
use super::*;
use crate::tests::Scratch;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, socketpair};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

fn process() -> Process {
    Process {
        argv: vec![Bytes(b"/bin/true".to_vec())],
        env: vec![Bytes(b"A=b".to_vec())],
        uid: 0,
        gid: 0,
        groups: vec![1, 2],
        cwd: "/".into(),
        make_cwd: false,
        umask: 0o22,
    }
}

fn port(host_port: u16) -> PortPlan {
    PortPlan {
        name: "web".into(),
        app: None,
        protocol: Protocol::Udp,
        host: "127.0.0.1".parse().unwrap(),
        host_port,
        pod_port: 80,
        way: rkt_spec::network::PortWay::Nat,
        socket: -1,
    }
}

fn enter(tty: bool) -> Request {
    Request::Enter {
        app: AppName::new("web").unwrap(),
        process: process(),
        tty,
        rows: 24,
        cols: 80,
    }
}

fn pair() -> (Connection, Connection) {
    let (a, b) = raw_pair();
    (Connection::of(a), Connection::of(b))
}

fn raw_pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn every_message_comes_back_as_it_went() {
    let requests = [
        Request::Status,
        Request::Stop {
            force: true,
            grace_ms: Some(5),
        },
        enter(true),
        Request::Signal {
            app: None,
            signal: 64,
        },
        Request::Publish {
            port: port(8080),
            held: false,
        },
        Request::Withdraw {
            host: Some("::1".parse().unwrap()),
            port: 8080,
            protocol: Protocol::Sctp,
        },
        Request::Guard,
    ];
    let (a, b) = pair();
    for request in requests {
        a.send_request(&request, &[]).unwrap();
        assert_eq!(b.recv_request().unwrap().unwrap().0, request);
    }
    let replies = [
        Reply::Done,
        Reply::Status(vec![1, 2, 3]),
        Reply::Exited {
            status: 137,
            signal: 9,
        },
        Reply::Failed {
            exit: 126,
            doing: "start".into(),
            because: vec!["x".into(), "y".into()],
            hint: String::new(),
        },
    ];
    for reply in replies {
        b.send_reply(&reply, &[]).unwrap();
        assert_eq!(a.recv_reply().unwrap().unwrap().0, reply);
    }
    drop(b);
    assert!(a.recv_reply().unwrap().is_none());
    assert_eq!(
        a.send_request(&Request::Status, &[]).unwrap_err().kind(),
        Kind::Gone
    );
}

#[test]
fn descriptors_travel_and_are_closed_on_exec() {
    let (a, b) = pair();
    let (stdin, stdout, stderr) = (
        std::fs::File::open("/dev/null").unwrap(),
        std::fs::File::open("/dev/zero").unwrap(),
        std::fs::File::open("/dev/full").unwrap(),
    );
    let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    a.send_request(&enter(false), &fds).unwrap();
    let (_, got) = b.recv_request().unwrap().unwrap();
    let target = |fd: &OwnedFd| {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        std::fs::read_link(link).unwrap()
    };
    let targets: Vec<_> = got.iter().map(target).collect();
    assert_eq!(targets.len(), 3);
    assert_eq!(targets[2], std::path::Path::new("/dev/full"));
    for fd in &got {
        let flags = rustix::io::fcntl_getfd(fd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
    b.send_reply(&Reply::Entered { pid: 7 }, &[stdin.as_fd()])
        .unwrap();
    assert_eq!(a.recv_reply().unwrap().unwrap().1.len(), 1);
}

#[test]
fn hostile_frames_are_errors_and_leak_nothing() {
    let good = encode(&enter(false)).unwrap();
    let mut frames: Vec<Vec<u8>> = (1..good.len()).map(|n| good[..n].to_vec()).collect();
    let mut other = good.clone();
    other[4] = 200;
    frames.push(other.clone());
    other = good.clone();
    other[0] = b'X';
    frames.push(other);
    // A length that lies, both ways, and as far as it can.
    for length in [0u32, 1, u32::MAX] {
        let mut lying = good.clone();
        lying[6..10].copy_from_slice(&length.to_le_bytes());
        frames.push(lying);
    }
    let mut longer = good.clone();
    longer.push(0);
    frames.push(longer);
    // Every tag that is none.
    for tag in 4..=255u8 {
        frames.push([b"RKTC\x01\x00\x01\x00\x00\x00".as_slice(), &[tag]].concat());
    }
    let before = open_fds();
    for frame in &frames {
        let (a, b) = raw_pair();
        let null = std::fs::File::open("/dev/null").unwrap();
        send(a.as_fd(), frame, &[null.as_fd(), null.as_fd()]).unwrap();
        let error = Connection::of(b).recv_request().unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(decode::<Reply>(frame).is_err());
    }
    // Other tests open descriptors too: only a leak of one a frame would show.
    assert!(open_fds() < before + frames.len() / 2);
}

#[test]
fn random_bytes_never_panic_the_reader() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let good = encode(&enter(true)).unwrap();
    for _ in 0..20_000 {
        let mut frame = good.clone();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = (state as usize >> 8) % frame.len();
            frame[at] = state as u8;
        }
        let _ = decode::<Request>(&frame);
        let _ = decode::<Reply>(&frame);
    }
}

#[test]
fn a_frame_that_is_too_long_is_refused_at_both_ends() {
    let (a, b) = pair();
    let mut request = enter(true);
    if let Request::Enter { process, .. } = &mut request {
        process.argv.push(Bytes(vec![b'x'; MAX_FRAME]));
    }
    let error = a.send_request(&request, &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.hint().is_some());
    send(a.as_fd(), &vec![0; MAX_FRAME + 1], &[]).unwrap();
    let error = b.recv_request().unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    // The longest that is allowed does pass.
    if let Request::Enter { process, .. } = &mut request {
        process.argv = vec![Bytes(vec![b'x'; MAX_FRAME - 200])];
    }
    a.send_request(&request, &[]).unwrap();
    assert_eq!(b.recv_request().unwrap().unwrap().0, request);
}

#[test]
fn a_wrong_number_of_descriptors_is_refused() {
    let null = std::fs::File::open("/dev/null").unwrap();
    for (request, n) in [(enter(false), 2), (enter(true), 1), (Request::Status, 3)] {
        let (a, b) = pair();
        a.send_request(&request, &vec![null.as_fd(); n]).unwrap();
        assert_eq!(b.recv_request().unwrap_err().kind(), Kind::Corrupt);
    }
    let (a, b) = pair();
    let too_many = a.send_request(&enter(false), &[null.as_fd(); 4]);
    assert_eq!(too_many.unwrap_err().kind(), Kind::Corrupt);
    // And from a peer that does not ask us: more than there is room for.
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let many = [null.as_fd(); 64];
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&many)));
    let frame = encode(&enter(false)).unwrap();
    let slices = [std::io::IoSlice::new(&frame)];
    rustix::net::sendmsg(&a, &slices, &mut control, rustix::net::SendFlags::empty()).unwrap();
    assert_eq!(b.recv_request().unwrap_err().kind(), Kind::Corrupt);
    let reply = b.send_reply(&Reply::Done, &[null.as_fd()]);
    reply.unwrap();
    assert_eq!(a.recv_reply().unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let signal = |signal| Request::Signal { app: None, signal };
    let mut bad = vec![signal(0), signal(65)];
    let mut change = |f: &dyn Fn(&mut Process)| {
        let mut request = enter(true);
        if let Request::Enter { process, .. } = &mut request {
            f(process);
        }
        bad.push(request);
    };
    change(&|p| p.argv.clear());
    change(&|p| p.argv[0].0.push(0));
    change(&|p| p.env.push(Bytes(b"A=\0".to_vec())));
    change(&|p| p.cwd = "relative".into());
    change(&|p| p.cwd = "/a\0b".into());
    for request in bad {
        let (a, b) = pair();
        assert!(a.send_request(&request, &[]).is_err());
        send(a.as_fd(), &encode(&request).unwrap(), &[]).unwrap();
        assert_eq!(b.recv_request().unwrap_err().kind(), Kind::Corrupt);
    }
}

#[test]
fn a_supervisor_never_blocks_on_a_client_that_does_not_read() {
    let (_silent, supervisor) = pair();
    assert_eq!(
        supervisor.recv_request().unwrap_err().kind(),
        Kind::WouldBlock
    );
    let status = Reply::Status(vec![0; 32 * 1024]);
    let full = (0..1000).find_map(|_| supervisor.send_reply(&status, &[]).err());
    assert_eq!(full.unwrap().kind(), Kind::WouldBlock);
}

#[test]
fn a_socket_is_found_however_deep_its_directory_stands() {
    let dir = Scratch::new();
    let deep = "d".repeat(100);
    dir.mkdir(&format!("{deep}/{deep}/{deep}"));
    let pod = std::fs::File::open(dir.path.join(format!("{deep}/{deep}/{deep}"))).unwrap();
    let gone = Connection::connect(pod.as_fd()).unwrap_err();
    assert_eq!(gone.kind(), Kind::Gone);
    let listener = Listener::bind(pod.as_fd()).unwrap();
    assert!(listener.accept().unwrap().is_none());
    let client = Connection::connect(pod.as_fd()).unwrap();
    let server = listener.accept().unwrap().unwrap();
    client.send_request(&Request::Status, &[]).unwrap();
    assert_eq!(server.recv_request().unwrap().unwrap().0, Request::Status);
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.path.join(format!("{deep}/{deep}/{deep}/control"));
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    drop(listener);
    assert_eq!(
        Connection::connect(pod.as_fd()).unwrap_err().kind(),
        Kind::Gone
    );
    // A dead supervisor's socket is replaced.
    let again = Listener::bind(pod.as_fd()).unwrap();
    let _client = Connection::connect(pod.as_fd()).unwrap();
    assert!(again.accept().unwrap().is_some());
}

/// Needs root: another uid connects and is dropped, root after it is served.
#[test]
fn a_stranger_is_dropped() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = Scratch::new();
    let listener = Listener::bind(dir.fd()).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&dir.path, open.clone()).unwrap();
    std::fs::set_permissions(dir.path.join("control"), open).unwrap();
    let path = dir.path.join("control");
    // The uid of one thread only; the socket of the connection remembers it.
    let stranger = std::thread::spawn(move || {
        let uid = rustix::fs::Uid::from_raw(65_534);
        rustix::thread::set_thread_uid(uid).unwrap();
        let flags = SocketFlags::CLOEXEC;
        let s = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        connect(&s, &rustix::net::SocketAddrUnix::new(path).unwrap()).unwrap();
        s
    })
    .join()
    .unwrap();
    let friend = Connection::connect(dir.fd()).unwrap();
    let served = listener.accept().unwrap().unwrap();
    friend.send_request(&Request::Status, &[]).unwrap();
    assert!(served.recv_request().unwrap().is_some());
    assert!(listener.accept().unwrap().is_none());
    assert!(Connection::of(stranger).recv_reply().unwrap().is_none());
}
