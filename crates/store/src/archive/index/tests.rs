use super::*;
use std::io::Write;

fn header(name: &str, kind: u8, size: u64, link: &str) -> Vec<u8> {
    let mut h = vec![0_u8; 512];
    h[..name.len()].copy_from_slice(name.as_bytes());
    h[100..107].copy_from_slice(b"0000644");
    h[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    h[156] = kind;
    h[157..157 + link.len()].copy_from_slice(link.as_bytes());
    h[257..263].copy_from_slice(b"ustar\0");
    h[148..156].fill(b' ');
    let sum: u64 = h.iter().map(|b| u64::from(*b)).sum();
    h[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    h
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    entry(name, b'0', data, "")
}

fn entry(name: &str, kind: u8, data: &[u8], link: &str) -> Vec<u8> {
    let mut out = header(name, kind, u64::try_from(data.len()).unwrap(), link);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn tar(parts: &[Vec<u8>]) -> Result<Tar> {
    let mut bytes = parts.concat();
    bytes.extend_from_slice(&[0; 1024]);
    raw(&bytes)
}

fn raw(bytes: &[u8]) -> Result<Tar> {
    let path = std::env::temp_dir().join(format!(
        "rkt-tar-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(bytes).unwrap();
    Tar::read(file)
}

fn content(tar: &Tar, path: &str) -> Result<String> {
    let (mut file, size) = tar.open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    assert_eq!(u64::try_from(text.len()).unwrap(), size);
    Ok(text)
}

#[test]
fn files_are_found_by_name_and_through_links() {
    let long = format!("{}/layer.tar", "d".repeat(200));
    let record = |key: &str, value: &str| {
        let body = format!(" {key}={value}\n");
        let mut length = body.len() + 1;
        while length.to_string().len() + body.len() != length {
            length = length.to_string().len() + body.len();
        }
        format!("{length}{body}")
    };
    let tar = tar(&[
        file("./a/layer.tar", b"one"),
        entry("b/layer.tar", b'2', b"", "../a/layer.tar"),
        entry("c/layer.tar", b'1', b"", "b/layer.tar"),
        entry("././@LongLink", b'L', format!("{long}\0").as_bytes(), ""),
        file("short", b"two"),
        entry("pax", b'x', record("path", "p/ä").as_bytes(), ""),
        file("short2", b"three"),
        entry("ring1", b'2', b"", "ring2"),
        entry("ring2", b'2', b"", "ring1"),
        entry("out", b'2', b"", "../../etc/passwd"),
        file("../up", b"no"),
        file("twice", b"old"),
        file("twice", b"new"),
        entry("dir/", b'5', b"", ""),
    ])
    .unwrap();
    for (path, want) in [
        ("a/layer.tar", "one"),
        ("b/layer.tar", "one"),
        ("c/layer.tar", "one"),
        (long.as_str(), "two"),
        ("p/ä", "three"),
        ("twice", "new"),
    ] {
        assert_eq!(content(&tar, path).unwrap(), want);
    }
    for path in ["out", "../up", "up", "dir", "nothing", "short"] {
        assert_eq!(
            content(&tar, path).unwrap_err().kind(),
            Kind::NotFound,
            "{path}"
        );
    }
    assert_eq!(content(&tar, "ring1").unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn strange_headers_end_the_reading() {
    let two_sizes = [entry("p", b'x', b"12 size=999\n", ""), file("a", b"data")];
    let mut wrong_sum = file("a", b"x");
    wrong_sum[0] = b'z';
    let negative = {
        let mut h = header("a", b'0', 0, "");
        h[124] = 0xff;
        h[148..156].fill(b' ');
        let sum: u64 = h.iter().map(|b| u64::from(*b)).sum();
        h[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        h
    };
    let beyond = header("a", b'0', 1 << 30, "");
    let long_pax = entry("p", b'x', &vec![b'1'; 70_000], "");
    for parts in [
        two_sizes.to_vec(),
        vec![wrong_sum],
        vec![negative],
        vec![beyond],
        vec![long_pax],
        vec![],
    ] {
        assert_eq!(tar(&parts).unwrap_err().kind(), Kind::Corrupt);
    }
    for bytes in [&b"x"[..], &[1; 512], &[0xff; 2048]] {
        assert_eq!(raw(bytes).unwrap_err().kind(), Kind::Corrupt);
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let good = [
        entry("p", b'x', b"12 size=0004\n", ""),
        file("a", b"data"),
        entry("l", b'2', b"", "a"),
    ]
    .concat();
    let mut state = 1_u32;
    for _ in 0..3000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = usize::try_from(state >> 8).unwrap() % bytes.len();
            bytes[at] = u8::try_from(state & 0xff).unwrap();
        }
        let _ = raw(&bytes);
    }
}
