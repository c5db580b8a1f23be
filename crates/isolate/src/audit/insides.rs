//! What the kernel tells only to a process in the app's namespaces: the limit on user namespaces
//! and the settings of the pod. Read by a child of ours that goes there, and ends.

use super::compare::{Finding, Group};
use super::facts::Facts;
use super::locks::namespace;
use crate::attempt::attempt;
use crate::error::{Doing, Error};
use rkt_spec::plan::{AppPlan, Net, Plan};
use rkt_sys::{fd, ns};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// Longest setting, bytes.
const VALUE: usize = 4096;
/// Findings that are told.
const MOST: usize = 20;
/// Where the limit is.
const NESTED: &str = "user/max_user_namespaces";

/// Reads what the app's first process is bound by; empty when it has ended meanwhile.
///
/// # Errors
/// When a namespace cannot be entered.
pub(super) fn read(first: &Facts, plan: &Plan, app: &AppPlan) -> Result<Vec<Finding>, Error> {
    let mut spaces = Vec::new();
    for (name, kind) in [
        ("net", ns::kind::NET),
        ("ipc", ns::kind::IPC),
        ("user", ns::kind::USER),
    ] {
        match namespace(first, name)? {
            Some(fd) => spaces.push((fd, kind)),
            None => return Ok(Vec::new()),
        }
    }
    let text = attempt(|| found(&spaces, plan, app));
    let text = text.doing(|| format!("read settings beside process {}", first.pid))?;
    Ok(text.lines().filter_map(finding).collect())
}

fn finding(line: &str) -> Option<Finding> {
    let mut parts = line.split('\t');
    let (field, wanted, found) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Finding {
        group: Group::Namespaces,
        field: field.to_owned(),
        wanted: wanted.to_owned(),
        found: found.to_owned(),
    })
}

/// The child's part. The host's own /proc is read: which namespace it tells of is the reader's.
fn found(spaces: &[(OwnedFd, i32)], plan: &Plan, app: &AppPlan) -> Result<String, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let all = rustix::fs::openat(CWD, "/proc/sys", flags, Mode::empty())
        .doing(|| "open `/proc/sys`".into())?;
    let mut lines: Vec<String> = Vec::new();
    for (fd, kind) in spaces {
        if *kind == ns::kind::USER {
            // The settings of network and IPC are told with the powers of the host.
            for setting in plan.sysctls.iter().filter(|_| plan.net != Net::Host) {
                match value(all.as_fd(), &setting.path) {
                    Ok(is) if same(&is, &setting.value) => {}
                    Ok(is) => lines.push(line(&setting.path, &setting.value, &is)),
                    // Of a device that is gone.
                    Err(Errno::NOENT) => {}
                    Err(e) => return Err(e).doing(|| format!("read `{}`", setting.path)),
                }
            }
        }
        match ns::enter(fd.as_fd(), *kind) {
            // The app is in the host's own.
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                return Ok(join(&lines));
            }
            other => other.doing(|| "enter the app's namespaces".into())?,
        }
    }
    let most = app.walls.max_user_namespaces;
    let is = value(all.as_fd(), NESTED).doing(|| format!("read `{NESTED}`"))?;
    if is.trim().parse::<u32>().map_or(true, |n| n > most) {
        let is = is.trim();
        lines.push(format!("max_user_namespaces\tat most {most}\t{is}"));
    }
    Ok(join(&lines))
}

fn join(lines: &[String]) -> String {
    lines.iter().take(MOST).map(|l| format!("{l}\n")).collect()
}

fn line(path: &str, wanted: &str, found: &str) -> String {
    let flat = |text: &str| text.trim().replace(['\n', '\t'], " ");
    format!("setting {path}\t{}\t{}", flat(wanted), flat(found))
}

fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

fn value(all: BorrowedFd<'_>, path: &str) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(all, path, flags, Mode::empty())?;
    let bytes = fd::read_all(file.as_fd(), VALUE).map_err(|_| Errno::IO)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_the_same_whatever_stands_between_their_numbers() {
        assert!(same("0\t2147483647\n", "0 2147483647"));
        assert!(!same("0 5", "0 50"));
        let told = finding(&line("net/a", "1\n", "2\n")).unwrap();
        assert_eq!(
            (told.field.as_str(), told.found.as_str()),
            ("setting net/a", "2")
        );
    }
}
