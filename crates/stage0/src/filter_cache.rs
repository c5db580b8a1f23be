//! Compiled filters by the digest of what they were compiled from: `seccomp/DIGEST` in the data
//! directory.
//!
//! A file is the digest of its program and the program. One that is damaged is compiled anew; a
//! cache that cannot be read or written costs a compilation and nothing else.

use rkt_isolate::seccomp::Special;
use rkt_sys::seccomp::{INSTRUCTION, MAX_INSTRUCTIONS};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// More files than this, and all are thrown away.
const MOST: usize = 128;
const DIGEST: usize = 32;

/// The program of `special`: from the cache below `data`, or compiled and put there.
///
/// # Errors
/// Those of the compiler only.
pub(crate) fn program(data: &Path, special: &Special<'_>) -> Result<Vec<u8>, rkt_isolate::Error> {
    let mut name = String::with_capacity(2 * DIGEST);
    for byte in Sha256::digest(special.key()) {
        name.push_str(&format!("{byte:02x}"));
    }
    let dir = data.join("seccomp");
    let path = dir.join(&name);
    if let Some(program) = fs::read(&path).ok().and_then(|bytes| intact(&bytes)) {
        return Ok(program);
    }
    let program = special.compile()?;
    // Without a cache every start compiles: slower by a millisecond, and that is all.
    let _ = keep(&dir, &path, &program);
    Ok(program)
}

fn intact(bytes: &[u8]) -> Option<Vec<u8>> {
    let (digest, program) = bytes.split_at_checked(DIGEST)?;
    let length = program.len().is_multiple_of(INSTRUCTION)
        && (1..=MAX_INSTRUCTIONS).contains(&(program.len() / INSTRUCTION));
    (length && Sha256::digest(program).as_slice() == digest).then(|| program.to_vec())
}

fn keep(dir: &Path, path: &PathBuf, program: &[u8]) -> std::io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let files: Vec<_> = fs::read_dir(dir)?.flatten().collect();
    if files.len() >= MOST {
        for file in files {
            let _ = fs::remove_file(file.path());
        }
    }
    let temporary = dir.join(format!(".{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(Sha256::digest(program).as_slice())?;
    file.write_all(program)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkt_isolate::seccomp::{Openings, Within};
    use rkt_spec::capability::CapSet;

    #[test]
    fn a_program_is_compiled_once_and_a_damaged_one_again() {
        let data = std::env::temp_dir().join(format!("rkt-filters-{}", std::process::id()));
        fs::create_dir_all(&data).unwrap();
        let openings = Openings {
            families: vec![1, 40],
            nested: false,
        };
        let special = |caps| Special {
            list: None,
            within: Within::Floor,
            openings: &openings,
            caps: CapSet(caps),
        };
        let first = program(&data, &special(0)).unwrap();
        let file = || {
            fs::read_dir(data.join("seccomp"))
                .unwrap()
                .flatten()
                .next()
                .unwrap()
                .path()
        };
        // The cache is what answers: a file with another whole program is believed.
        let mut other = vec![6u8, 0, 0, 0, 0, 0, 0, 0];
        let mut bytes = Sha256::digest(&other).to_vec();
        bytes.append(&mut other);
        fs::write(file(), &bytes).unwrap();
        assert_eq!(program(&data, &special(0)).unwrap().len(), 8);
        bytes[40 - 1] ^= 1;
        fs::write(file(), &bytes).unwrap();
        assert_eq!(program(&data, &special(0)).unwrap(), first);
        assert_eq!(intact(&fs::read(file()).unwrap()).unwrap(), first);
        // What does not change the program does not change its name, and what does does.
        program(&data, &special(1)).unwrap();
        assert_eq!(fs::read_dir(data.join("seccomp")).unwrap().count(), 1);
        program(&data, &special(1 << 18)).unwrap();
        assert_eq!(fs::read_dir(data.join("seccomp")).unwrap().count(), 2);
        assert_eq!(
            program(Path::new("/proc/none"), &special(0)).unwrap(),
            first
        );
        fs::remove_dir_all(&data).unwrap();
    }
}
