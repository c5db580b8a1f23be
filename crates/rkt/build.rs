//! Puts `rkt-stage1` and `rkt-probe` into the command, so that one file installs everything.
//!
//! `RKT_EMBED_DIR` names a directory that has them built (`make` does that first); without it
//! a nested cargo builds them, in a target directory of its own, so that a bare `cargo test`
//! in a fresh clone works.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The programs, and the crates whose change makes them other programs.
const PROGRAMS: [(&str, &str); 2] = [("rkt-stage1", "STAGE1"), ("rkt-probe", "PROBE")];
const CRATES: [&str; 8] = [
    "stage1", "stage2", "spec", "sys", "pod", "isolate", "net", "probe",
];

fn main() -> Outcome<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RKT_EMBED_DIR");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let from = match env::var_os("RKT_EMBED_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => nested(&out)?,
    };
    for (name, variable) in PROGRAMS {
        let file = from.join(name);
        println!("cargo:rerun-if-changed={}", file.display());
        let bytes = fs::read(&file).map_err(|e| format!("read {}: {e}", file.display()))?;
        fs::write(out.join(name), &bytes)?;
        let hex: String = Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        println!("cargo:rustc-env=RKT_{variable}_SHA256={hex}");
    }
    let version = Command::new(env::var("RUSTC")?).arg("-V").output()?.stdout;
    let version = String::from_utf8_lossy(&version);
    let number = version.split(' ').nth(1).unwrap_or("unknown");
    println!("cargo:rustc-env=RKT_RUSTC={number}");
    Ok(())
}

/// Builds the programs for the same target, always for release; gives their directory.
fn nested(out: &Path) -> Outcome<PathBuf> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..");
    for name in CRATES {
        let at = root.join("crates").join(name);
        for part in ["src", "Cargo.toml", "build.rs"] {
            if at.join(part).exists() {
                println!("cargo:rerun-if-changed={}", at.join(part).display());
            }
        }
    }
    println!(
        "cargo:rerun-if-changed={}",
        root.join("Cargo.toml").display()
    );
    let target = env::var("TARGET")?;
    let dir = out.join("embed");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .current_dir(&root)
        .args(["build", "--release", "--target", &target, "--target-dir"])
        .arg(&dir);
    for (name, _) in PROGRAMS {
        cargo.args(["-p", name]);
    }
    if env::var_os("CARGO_FEATURE_WEAKEN").is_some() {
        cargo.args(["--features", "rkt-stage1/weaken"]);
    }
    // What the outer cargo, clippy or a coverage tool wants of its own crates is not meant here.
    for variable in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_FEATURE_WEAKEN",
    ] {
        cargo.env_remove(variable);
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("build rkt-stage1 and rkt-probe: {status}").into());
    }
    Ok(dir.join(target).join("release"))
}
