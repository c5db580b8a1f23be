//! Profiles of system calls in docker's JSON (and the OCI runtime specification's), read. Pure but
//! for [`load`].
//!
//! Source: the runtime specification's `linux.seccomp`, docker's `includes` and `excludes`, podman's
//! names of errors. A key or a word that is not understood refuses the profile: it might have been
//! meant to forbid. Names of system calls are the exception; every profile of the world has some of
//! other architectures and kernels.

use crate::error::{Doing, Error};
use crate::request::{AppRequest, RunRequest};
use rkt_isolate::seccomp::list::{self, Compare, Effect, List, ListRule, Op, Return};
use rkt_isolate::seccomp::{Arch, NATIVE};
use rkt_spec::capability::CapSet;
use rkt_spec::errno;
use rkt_spec::manifest::Isolator;
use serde::Deserialize;
use std::io::Read;
use std::path::Path;

/// Longest profile, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Most rules of a profile.
const MAX_RULES: usize = 4096;
/// Unknown names that a note shows.
const SHOWN: usize = 6;

/// A profile as it holds for one app.
#[derive(Debug)]
pub(crate) struct Understood {
    pub(crate) list: List,
    /// What is to be told.
    pub(crate) notes: Vec<String>,
}

/// What decides which rules hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    pub(crate) caps: CapSet,
    pub(crate) kernel: (u32, u32),
}

/// Reads the files that `--seccomp=FILE` names into isolators.
///
/// # Errors
/// When one cannot be read, is too long or no text.
pub(crate) fn load(request: &RunRequest) -> Result<RunRequest, Error> {
    let mut request = request.clone();
    for app in &mut request.apps {
        load_app(app)?;
    }
    Ok(request)
}

fn load_app(app: &mut AppRequest) -> Result<(), Error> {
    let Some(source) = app.seccomp_file.take() else {
        return Ok(());
    };
    let doing = || format!("read the seccomp profile `{}`", source.escape_debug());
    let file = std::fs::File::open(Path::new(&source)).doing(doing)?;
    if !file.metadata().doing(doing)?.is_file() {
        return Err(Error::usage("it is no file").while_doing(doing()));
    }
    let mut profile = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut profile)
        .doing(doing)?;
    if profile.len() as u64 > MAX_BYTES {
        let why = format!("it is longer than {MAX_BYTES} bytes");
        return Err(Error::usage(why).while_doing(doing()));
    }
    app.isolators
        .push(Isolator::SeccompProfile { source, profile });
    Ok(())
}

/// Reads a profile for an app.
///
/// # Errors
/// Says what of it is not understood.
pub(crate) fn read(source: &str, text: &str, here: Here) -> Result<Understood, Error> {
    let doing = || format!("read the seccomp profile `{}`", source.escape_debug());
    let profile: Profile = serde_json::from_str(text)
        .map_err(|e| Error::usage(e.to_string()))
        .doing(doing)?;
    profile.understand(here).doing(doing)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    #[serde(rename = "listenerMetadata")]
    _listener_metadata: Option<String>,
    syscalls: Option<Vec<Call>>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMap {
    architecture: String,
    #[serde(rename = "subArchitectures")]
    _sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Call {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<Argument>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u8,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Go's name and libseccomp's of this machine.
const fn native() -> (&'static str, &'static str) {
    match NATIVE {
        Arch::X86_64 => ("amd64", "SCMP_ARCH_X86_64"),
        Arch::Aarch64 => ("arm64", "SCMP_ARCH_AARCH64"),
    }
}

impl Profile {
    fn understand(self, here: Here) -> Result<Understood, Error> {
        let (_, native) = native();
        let maps = self.arch_map.unwrap_or_default();
        let mut archs: Vec<&str> = maps.iter().map(|m| m.architecture.as_str()).collect();
        let more = self.architectures.unwrap_or_default();
        archs.extend(more.iter().map(String::as_str));
        if !archs.is_empty() && !archs.contains(&native) {
            return Err(Error::usage(format!(
                "it is for {}, and this machine is {native}",
                archs.join(", ").escape_debug()
            )));
        }
        if self.listener_path.is_some() {
            return Err(Error::usage("rkt asks no other program about system calls")
                .hint("leave out `listenerPath`"));
        }
        let mut notes = Vec::new();
        for flag in self.flags.iter().flatten() {
            match flag.as_str() {
                // The supervisor has one thread, and each process loads its own.
                "SECCOMP_FILTER_FLAG_TSYNC" | "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => {}
                "SECCOMP_FILTER_FLAG_LOG" | "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => notes.push(format!(
                    "the seccomp profile's flag {flag} is not set: rkt loads filters without flags"
                )),
                other => {
                    let why = format!("there is no flag `{}`", other.escape_debug());
                    return Err(Error::usage(why));
                }
            }
        }
        let named = self.default_errno.as_deref();
        let default = action(&self.default_action, self.default_errno_ret, named)?;
        let calls = self.syscalls.unwrap_or_default();
        if calls.len() > MAX_RULES {
            let why = format!("it has more than {MAX_RULES} rules");
            return Err(Error::usage(why));
        }
        let mut rules = Vec::new();
        for (n, call) in calls.into_iter().enumerate() {
            call.understand(here, &mut rules)
                .doing(|| format!("read rule {} of `syscalls`", n + 1))?;
        }
        let list = List { default, rules };
        notes.extend(unknown(&list));
        Ok(Understood { list, notes })
    }
}

fn unknown(list: &List) -> Option<String> {
    let names = list::unknown(list);
    let shown: Vec<&str> = names.iter().take(SHOWN).copied().collect();
    let more = if names.len() > SHOWN { " ..." } else { "" };
    (!names.is_empty()).then(|| {
        format!(
            "the seccomp profile names {} system calls that this machine does not have: {}{more}",
            names.len(),
            shown.join(" ").escape_debug()
        )
    })
}

impl Call {
    fn understand(self, here: Here, rules: &mut Vec<ListRule>) -> Result<(), Error> {
        // Read first, so that what does not hold here is not wrong either.
        let given = action(&self.action, self.errno_ret, self.errno.as_deref())?;
        let mut names = self.names.unwrap_or_default();
        names.extend(self.name);
        let args: Vec<Compare> = self
            .args
            .unwrap_or_default()
            .iter()
            .map(Argument::understand)
            .collect::<Result<_, _>>()?;
        let includes = self.includes.unwrap_or_default();
        let excludes = self.excludes.unwrap_or_default();
        if !includes.includes(here)? || excludes.excludes(here)? {
            return Ok(());
        }
        let rule = |args: Vec<Compare>| ListRule {
            names: names.clone(),
            effect: Effect::Return(given),
            args,
        };
        // As runc has it: several conditions on one argument are alternatives.
        let twice = args
            .iter()
            .any(|a| args.iter().filter(|b| b.arg == a.arg).count() > 1);
        if twice {
            rules.extend(args.iter().map(|a| rule(vec![*a])));
        } else {
            rules.push(rule(args));
        }
        Ok(())
    }
}

impl Argument {
    fn understand(&self) -> Result<Compare, Error> {
        if self.index > 5 {
            return Err(Error::usage(format!(
                "a system call has no argument {}",
                self.index
            )));
        }
        let (op, value) = match self.op.as_str() {
            "SCMP_CMP_EQ" => (Op::Equal, self.value),
            "SCMP_CMP_NE" => (Op::NotEqual, self.value),
            "SCMP_CMP_LT" => (Op::Less, self.value),
            "SCMP_CMP_LE" => (Op::AtMost, self.value),
            "SCMP_CMP_GE" => (Op::AtLeast, self.value),
            "SCMP_CMP_GT" => (Op::More, self.value),
            "SCMP_CMP_MASKED_EQ" => (Op::Masked(self.value), self.value_two.unwrap_or(0)),
            other => {
                let why = format!("there is no comparison `{}`", other.escape_debug());
                return Err(Error::usage(why));
            }
        };
        Ok(Compare {
            arg: self.index,
            op,
            value,
        })
    }
}

impl Condition {
    fn caps(&self) -> Result<Vec<CapSet>, Error> {
        let names = self.caps.iter().flatten();
        Ok(names
            .map(|n| CapSet::parse_one(n))
            .collect::<Result<_, _>>()?)
    }

    fn kernel(&self) -> Result<Option<(u32, u32)>, Error> {
        let Some(text) = &self.min_kernel else {
            return Ok(None);
        };
        let parts = text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let why = || {
            format!(
                "`{}` is no version of a kernel, such as 4.8",
                text.escape_debug()
            )
        };
        parts.map(Some).ok_or_else(|| Error::usage(why()))
    }

    /// All that is named holds.
    fn includes(&self, here: Here) -> Result<bool, Error> {
        let archs = self.arches.as_deref().unwrap_or_default();
        let caps = self.caps()?;
        let kernel = self.kernel()?;
        Ok(caps.iter().all(|c| here.caps.contains(*c))
            && (archs.is_empty() || archs.iter().any(|a| a == native().0))
            && kernel.is_none_or(|least| here.kernel >= least))
    }

    /// Any of what is named holds.
    fn excludes(&self, here: Here) -> Result<bool, Error> {
        let archs = self.arches.as_deref().unwrap_or_default();
        let caps = self.caps()?;
        let kernel = self.kernel()?;
        Ok(caps.iter().any(|c| here.caps.contains(*c))
            || archs.iter().any(|a| a == native().0)
            || kernel.is_some_and(|least| here.kernel >= least))
    }
}

fn action(name: &str, number: Option<u32>, word: Option<&str>) -> Result<Return, Error> {
    let error = match (number, word) {
        // podman writes both; the number is the specification's.
        (Some(n), _) => u16::try_from(n)
            .ok()
            .filter(|n| *n <= 4095)
            .ok_or_else(|| Error::usage(format!("`errnoRet` is {n}, and needs 0 to 4095")))?,
        (None, Some("")) | (None, None) => 1,
        (None, Some(word)) => errno::parse(word)?,
    };
    Ok(match name {
        "SCMP_ACT_ALLOW" => Return::Allow,
        "SCMP_ACT_LOG" => Return::Log,
        "SCMP_ACT_ERRNO" => Return::Errno(error),
        "SCMP_ACT_TRAP" => Return::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Return::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Return::KillProcess,
        "SCMP_ACT_TRACE" | "SCMP_ACT_NOTIFY" => {
            return Err(Error::usage(format!(
                "the action {name} asks another program, and rkt asks none"
            ))
            .hint("SCMP_ACT_ERRNO or SCMP_ACT_LOG is the nearest"));
        }
        other => {
            return Err(Error::usage(format!(
                "there is no action `{}`",
                other.escape_debug()
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Here = Here {
        caps: CapSet(1 << 21),
        kernel: (6, 1),
    };

    fn list(text: &str) -> Result<Understood, Error> {
        read("/p.json", text, HERE)
    }

    #[test]
    fn dockers_profile_is_understood() {
        let got = list(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,
              "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
                         {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
              "syscalls":[
                {"names":["read","socketcall"],"action":"SCMP_ACT_ALLOW","comment":"x","includes":{},"excludes":{}},
                {"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]},
                {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
                {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.0"}},
                {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
                {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}},
                {"names":["clone"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}},
                {"names":["sync"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["s390"]}},
                {"name":"kcmp","action":"SCMP_ACT_ERRNO","errno":"EACCES"},
                {"names":["clone"],"action":"SCMP_ACT_ALLOW",
                 "args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}
              ]}"#,
        )
        .unwrap();
        assert_eq!(got.list.default, Return::Errno(38));
        let names: Vec<_> = got.list.rules.iter().map(|r| r.names[0].as_str()).collect();
        assert_eq!(
            names,
            ["read", "personality", "ptrace", "mount", "kcmp", "clone"]
        );
        assert_eq!(got.list.rules[4].effect, Effect::Return(Return::Errno(13)));
        assert_eq!(got.list.rules[5].args[0].op, Op::Masked(0x7e02_0000));
        assert_eq!(got.notes.len(), 1);
        assert!(got.notes[0].contains("socketcall"), "{:?}", got.notes);
    }

    #[test]
    fn several_conditions_on_one_argument_are_alternatives() {
        let got = list(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW",
               "args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}]}"#,
        )
        .unwrap();
        assert_eq!(got.list.rules.len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, word) in [
            ("{", "EOF"),
            ("{}", "defaultAction"),
            (r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#, "SCMP_ACT_MAYBE"),
            (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "asks none"),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","colour":1}"#, "colour"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_MIPS"]}"#,
                "SCMP_ARCH_MIPS",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}"#,
                "no other program",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#,
                "flag `X`",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}"#,
                "4095",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOPE"}"#,
                "ENOPE",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"X"}]}"#,
                "action `X`",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG",
                 "args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
                "argument 6",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG",
                 "args":[{"index":1,"value":1,"op":"EQ"}]}]}"#,
                "comparison `EQ`",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG",
                 "includes":{"caps":["CAP_ROOT"]}}]}"#,
                "CAP_ROOT",
            ),
        ] {
            let error = list(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
            assert!(error.contains("/p.json"), "{error}");
        }
    }
}
