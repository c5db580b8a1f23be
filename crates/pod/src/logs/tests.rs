use super::*;
use crate::tests::Scratch;
use std::collections::BTreeMap;

const T: u64 = 1_795_468_200_000_000_000;

fn app() -> AppName {
    AppName::new("web").unwrap()
}

fn content(dir: &Scratch, name: &str) -> String {
    std::fs::read_to_string(dir.path.join("logs").join(name)).unwrap()
}

fn all(reader: &mut LogReader) -> Vec<Entry> {
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

/// The bytes an app wrote to a stream, as the entries tell them.
fn joined(entries: &[Entry], stream: Stream) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries.iter().filter(|e| e.stream == stream) {
        out.extend_from_slice(&entry.text);
        if entry.full {
            out.push(b'\n');
        }
    }
    out
}

/// Small random numbers without a dependency; the same in every run.
struct Dice(u64);
impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

#[test]
fn lines_are_records_in_cri_format() {
    let dir = Scratch::new();
    let mut log = LogWriter::open(dir.fd(), &app(), 1 << 20, 3).unwrap();
    log.write(Stream::Stdout, b"one\ntwo\npar", T).unwrap();
    log.write(Stream::Stderr, b"oops\n\n", T + 1).unwrap();
    assert!(log.has_partial());
    log.write(Stream::Stdout, b"tial\nprompt> ", T + 2).unwrap();
    log.flush(T + 3).unwrap();
    assert!(!log.has_partial());
    assert_eq!(
        content(&dir, "web.log"),
        "2026-11-23T21:10:00.000000000Z stdout F one\n\
         2026-11-23T21:10:00.000000000Z stdout F two\n\
         2026-11-23T21:10:00.000000001Z stderr F oops\n\
         2026-11-23T21:10:00.000000001Z stderr F \n\
         2026-11-23T21:10:00.000000002Z stdout F partial\n\
         2026-11-23T21:10:00.000000003Z stdout P prompt> \n"
    );
    let entries = all(&mut LogReader::open(dir.fd(), &app()).unwrap());
    assert_eq!(entries.len(), 6);
    assert_eq!(
        joined(&entries, Stream::Stdout),
        b"one\ntwo\npartial\nprompt> "
    );
}

#[test]
fn a_line_without_end_is_cut_into_parts_of_bounded_size() {
    let dir = Scratch::new();
    let mut log = LogWriter::open(dir.fd(), &app(), 1 << 30, 3).unwrap();
    let mut sent = Vec::new();
    let mut dice = Dice(7);
    for i in 0..200u32 {
        let n = dice.below(3000) as usize;
        let part = vec![b'a' + (i % 26) as u8; n];
        sent.extend_from_slice(&part);
        log.write(Stream::Stdout, &part, T).unwrap();
    }
    log.write(Stream::Stdout, &[b'z'; 100_000], T).unwrap();
    sent.extend_from_slice(&[b'z'; 100_000]);
    log.write(Stream::Stdout, b"\n", T).unwrap();
    sent.push(b'\n');
    let entries = all(&mut LogReader::open(dir.fd(), &app()).unwrap());
    assert!(entries.iter().all(|e| e.text.len() <= MAX_TEXT));
    assert_eq!(entries.iter().filter(|e| e.full).count(), 1);
    assert_eq!(joined(&entries, Stream::Stdout), sent);
}

#[test]
fn what_was_written_comes_back_byte_for_byte_whatever_the_pieces() {
    for seed in 1..30u64 {
        let dir = Scratch::new();
        let mut dice = Dice(seed);
        let max = 1000 + dice.below(5000);
        let mut sent: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        let mut log = LogWriter::open(dir.fd(), &app(), max, 200).unwrap();
        for i in 0..100 {
            let stream = [Stream::Stdout, Stream::Stderr][dice.below(2) as usize];
            let n = dice.below(400) as usize;
            let bytes: Vec<u8> = (0..n)
                .map(|_| match dice.below(12) {
                    0 => b'\n',
                    _ => dice.below(256) as u8,
                })
                .collect();
            sent.entry(stream.as_str())
                .or_default()
                .extend_from_slice(&bytes);
            log.write(stream, &bytes, T + i).unwrap();
            if dice.below(20) == 0 {
                log.flush(T + i).unwrap();
            }
            if dice.below(50) == 0 {
                // The supervisor's log goes on after a restart.
                log.flush(T + i).unwrap();
                log = LogWriter::open(dir.fd(), &app(), max, 200).unwrap();
            }
        }
        log.flush(T + 100).unwrap();
        let entries = all(&mut LogReader::open(dir.fd(), &app()).unwrap());
        for stream in [Stream::Stdout, Stream::Stderr] {
            let want = sent.get(stream.as_str()).map_or(&[][..], Vec::as_slice);
            assert!(joined(&entries, stream) == want, "seed {seed}");
        }
        assert!(entries.is_sorted_by_key(|e| e.time));
    }
}

#[test]
fn an_app_never_gets_more_disk_than_its_share() {
    let dir = Scratch::new();
    let (max, files) = (10_000, 3);
    let mut log = LogWriter::open(dir.fd(), &app(), max, files).unwrap();
    let mut dice = Dice(3);
    for i in 0..3000u64 {
        let text = vec![b'x'; dice.below(300) as usize];
        log.write(Stream::Stdout, &text, T + i).unwrap();
        log.write(Stream::Stdout, b"\n\n\n", T + i).unwrap();
    }
    // Many lines at once, more than a file holds.
    log.write(Stream::Stderr, &[b'\n'; 5000], T + 4000).unwrap();
    let sizes: Vec<u64> = std::fs::read_dir(dir.path.join("logs"))
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|s| *s <= max), "{sizes:?}");
    // The newest is there to its last line, and every record is whole.
    let entries = all(&mut LogReader::open(dir.fd(), &app()).unwrap());
    assert_eq!(entries.last().unwrap().time, T + 4000);
    let lines = (0..3).map(|n| content(&dir, &file_name(&app(), n)).lines().count());
    assert_eq!(lines.sum::<usize>(), entries.len());
}

#[test]
fn one_file_only_is_begun_anew() {
    let dir = Scratch::new();
    let mut log = LogWriter::open(dir.fd(), &app(), 200, 0).unwrap();
    for i in 0..50 {
        log.write(Stream::Stdout, format!("{i}\n").as_bytes(), T + i)
            .unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path.join("logs")).unwrap().count(), 1);
    assert!(content(&dir, "web.log").ends_with("F 49\n"));
}

#[test]
fn the_last_lines_are_found_from_the_end_across_files() {
    let dir = Scratch::new();
    let mut log = LogWriter::open(dir.fd(), &app(), 3000, 900).unwrap();
    let mut dice = Dice(11);
    let mut lines = Vec::new();
    for i in 0..500u64 {
        let line = format!("{i} {}", "y".repeat(dice.below(120) as usize));
        let (head, tail) = line.split_at(line.len() / 2);
        log.write(Stream::Stdout, head.as_bytes(), T + i).unwrap();
        if dice.below(3) == 0 {
            log.flush(T + i).unwrap();
        }
        log.write(Stream::Stdout, format!("{tail}\n").as_bytes(), T + i)
            .unwrap();
        lines.push(line);
    }
    let check = |lines: &[String], open: bool| {
        for n in [0usize, 1, 2, 3, 10, 77, 499, 500, 501, 10_000] {
            let mut reader = LogReader::open(dir.fd(), &app())
                .unwrap()
                .tail(n as u64)
                .unwrap();
            let text = joined(&all(&mut reader), Stream::Stdout);
            let mut want = lines[lines.len().saturating_sub(n)..].join("\n");
            if !want.is_empty() && !open {
                want.push('\n');
            }
            assert_eq!(String::from_utf8(text).unwrap(), want, "last {n}");
        }
    };
    check(&lines, false);
    // An unfinished last line counts as one.
    log.write(Stream::Stdout, b"prompt> ", T + 600).unwrap();
    log.flush(T + 600).unwrap();
    lines.push("prompt> ".into());
    check(&lines, true);
}

#[test]
fn the_end_of_a_big_log_is_found_without_reading_it_all() {
    let dir = Scratch::new();
    let mut log = LogWriter::open(dir.fd(), &app(), 1 << 30, 3).unwrap();
    let block = "0123456789abcdef\n".repeat(20_000);
    for i in 0..30 {
        log.write(Stream::Stdout, block.as_bytes(), T + i).unwrap();
    }
    // 34 MB lie before it.
    let before = bytes_read();
    let mut reader = LogReader::open(dir.fd(), &app()).unwrap().tail(5).unwrap();
    assert_eq!(all(&mut reader).len(), 5);
    let read = bytes_read() - before;
    assert!(read < 200_000, "{read}");
}

/// Bytes that this thread has read so far, by any call.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find_map(|l| l.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

#[test]
fn older_records_are_skipped() {
    let dir = Scratch::new();
    let mut log = LogWriter::open(dir.fd(), &app(), 500, 100).unwrap();
    for i in 0..100u64 {
        log.write(Stream::Stdout, b"x\n", T + i).unwrap();
    }
    let mut reader = LogReader::open(dir.fd(), &app()).unwrap().since(T + 90);
    let times: Vec<_> = all(&mut reader).iter().map(|e| e.time - T).collect();
    assert!(times.into_iter().eq(90..100));
}

#[test]
fn a_follower_sees_every_line_once_through_rotations() {
    let dir = Scratch::new();
    let mut reader = LogReader::open(dir.fd(), &app()).unwrap();
    assert!(all(&mut reader).is_empty());
    let mut log = LogWriter::open(dir.fd(), &app(), 700, 50).unwrap();
    let mut dice = Dice(5);
    let mut seen = Vec::new();
    for i in 0..2000u32 {
        log.write(Stream::Stdout, format!("{i}\n").as_bytes(), T)
            .unwrap();
        // Now and then the follower is late by several rotations.
        if dice.below(10) == 0 || dice.below(200) == 0 {
            seen.extend(all(&mut reader));
        }
    }
    seen.extend(all(&mut reader));
    let want: Vec<String> = (0..2000).map(|i| i.to_string()).collect();
    let got: Vec<String> = seen
        .iter()
        .map(|e| String::from_utf8(e.text.clone()).unwrap())
        .collect();
    assert_eq!(got, want);
}

#[test]
fn a_follower_beside_a_writer_misses_nothing_and_is_woken() {
    let dir = Scratch::new();
    drop(LogWriter::open(dir.fd(), &app(), 1 << 20, 2).unwrap());
    let mut watch = LogWatch::open(dir.fd()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = LogWriter::open(dir.fd(), &app(), 20_000, 1000).unwrap();
            for i in 0..5000u32 {
                log.write(Stream::Stdout, format!("{i}\n").as_bytes(), T)
                    .unwrap();
                if i % 500 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(3));
                }
            }
        });
        let mut reader = LogReader::open(dir.fd(), &app()).unwrap();
        let mut next = 0u32;
        loop {
            while let Some(entry) = reader.next_entry().unwrap() {
                assert_eq!(entry.text, next.to_string().as_bytes());
                next += 1;
            }
            if next == 5000 {
                break;
            }
            let begin = std::time::Instant::now();
            watch.wait(std::time::Duration::from_secs(20)).unwrap();
            assert!(begin.elapsed().as_secs() < 10, "not woken at {next}");
        }
    });
}

/// Needs root: a small tmpfs in a mount namespace of its own thread is the full disk.
#[test]
fn a_full_disk_loses_lines_and_says_so_later() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = Scratch::new();
    dir.mkdir("pod");
    let path = dir.path.join("pod");
    std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        const NEWNS_AND_FS: i32 = 0x0002_0000 | 0x200;
        rkt_sys::ns::unshare(NEWNS_AND_FS).unwrap();
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        mount(
            "none",
            &path,
            "tmpfs",
            MountFlags::empty(),
            Some(c"size=64k"),
        )
        .unwrap();
        let pod = std::fs::File::open(&path).unwrap();
        use std::os::fd::AsFd as _;
        let mut log = LogWriter::open(pod.as_fd(), &app(), 1 << 20, 3).unwrap();
        let line = format!("{}\n", "z".repeat(999));
        let mut failed = 0;
        for i in 0..100 {
            failed += u64::from(log.write(Stream::Stdout, line.as_bytes(), T + i).is_err());
        }
        assert!(failed > 20);
        assert_eq!(log.lost(), failed);
        // No reader sees half a record.
        let mut reader = LogReader::open(pod.as_fd(), &app()).unwrap();
        let entries = all(&mut reader);
        assert_eq!(entries.len() as u64, 100 - failed);
        assert!(entries.iter().all(|e| e.text.len() == 999));
        // Room again: the next write tells how many were lost.
        rustix::mount::mount_remount(&path, MountFlags::empty(), c"size=1m").unwrap();
        log.write(Stream::Stdout, b"again\n", T + 200).unwrap();
        assert_eq!(log.lost(), 0);
        let entries = all(&mut reader);
        assert_eq!(entries[0].text, b"again");
        let note = String::from_utf8(entries[1].text.clone()).unwrap();
        assert!(note.contains(&failed.to_string()), "{note}");
        rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn a_log_that_was_tampered_with_is_skipped_not_feared() {
    let dir = Scratch::new();
    let mut log = LogWriter::open(dir.fd(), &app(), 1 << 20, 3).unwrap();
    // A pod that says nothing costs no file.
    assert!(!dir.path.join("logs").exists());
    log.write(Stream::Stdout, b"first\n", 1).unwrap();
    let mut bytes = b"no record\n\n2026-11-23T21:10:00.000000000Z stdin F x\n".to_vec();
    bytes.extend_from_slice(&vec![b'a'; 300_000]);
    bytes.extend_from_slice(b"\n2026-11-23T21:10:00.000000000Z stdout F ok\n\xff\xfe");
    std::fs::write(dir.path.join("logs/web.log"), &bytes).unwrap();
    let mut reader = LogReader::open(dir.fd(), &app()).unwrap();
    let entries = all(&mut reader);
    assert_eq!(entries.len(), 1);
    let mut reader = LogReader::open(dir.fd(), &app()).unwrap().tail(1).unwrap();
    assert_eq!(all(&mut reader).len(), 1);
}
