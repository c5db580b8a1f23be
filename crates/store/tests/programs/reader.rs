//! The reader of layers, as `rkt` is under its hidden verb; and a starter with one thread, as
//! stage0 is.
#![forbid(unsafe_code)]

use rkt_store::layer::{self, ChainId};
use rkt_store::mounts::{self, Way};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

fn main() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let status = match args.split_first() {
        Some((verb, rest)) if verb == "starter" => {
            let words: Vec<String> = rest.iter().map(|w| w.to_string_lossy().into()).collect();
            match starter(&words) {
                Ok(()) => 0,
                Err(error) => {
                    let _ = writeln!(std::io::stderr(), "{error}");
                    1
                }
            }
        }
        _ => layer::child_main(&args),
    };
    std::process::exit(status);
}

/// `STORE RUN_DIR TIMES CHAIN...` (topmost first): attaches that often, and prints for each time
/// the microseconds and the device number of every layer's mount.
fn starter(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [store, run_dir, times, chains @ ..] = words else {
        return Err("too few words".into());
    };
    let chains = chains
        .iter()
        .map(|c| Ok(ChainId::from_digest(c.parse()?)))
        .collect::<Result<Vec<_>, rkt_spec::Error>>()?;
    let before = place()?;
    // Never used: there is one thread.
    let program = rkt_store::options::LayerProgram::default();
    for _ in 0..times.parse()? {
        let start = Instant::now();
        let fds = mounts::attach(
            Path::new(store),
            Path::new(run_dir),
            &program,
            Way::Best,
            &chains,
        )?;
        let micros = start.elapsed().as_micros();
        let mut line = format!("{micros}");
        for fd in fds {
            line += &format!(" {}", rustix::fs::fstat(&fd)?.st_dev);
        }
        writeln!(std::io::stdout(), "{line}")?;
    }
    if place()? != before {
        return Err("it did not come back to where it was".into());
    }
    Ok(())
}

/// Where this process is: namespace, root and working directory.
fn place() -> std::io::Result<(std::path::PathBuf, [u64; 4])> {
    let namespace = std::fs::read_link("/proc/self/ns/mnt")?;
    let (root, cwd) = (std::fs::metadata("/")?, std::fs::metadata(".")?);
    Ok((namespace, [root.dev(), root.ino(), cwd.dev(), cwd.ino()]))
}
