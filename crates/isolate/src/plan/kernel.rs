//! What the kernel's own walls are to be: user namespaces, seccomp, Landlock.

use super::report::Report;
use super::{Denials, Insecure, Landlock, WallsRequest};
use crate::defaults;
use crate::defences::id;
use crate::error::{Error, Kind};
use crate::host::Host;
use crate::landlock::{MIN_ABI, SCOPES_ABI};
use crate::seccomp::list::{Effect, ListRule, Return, passes};
use crate::seccomp::profile::FAMILIES;
use crate::seccomp::sets::{self, Mode, NEEDED};
use crate::seccomp::trace;
use crate::seccomp::{self, List, Openings, Special, Within, families};
use rkt_spec::capability::CapSet;
use rkt_spec::codec::Bytes;
use rkt_spec::manifest::{Asker, Isolator, SeccompSet, UserNamespace};
use rkt_spec::plan::{SLOT_IDS, UserSpace};

/// The one isolator that `pick` takes; two contradict each other.
pub(super) fn only<'a, T>(
    isolators: &'a [Isolator],
    name: &str,
    pick: impl Fn(&'a Isolator) -> Option<T>,
) -> Result<Option<T>, Error> {
    let mut found = isolators.iter().filter_map(pick);
    let first = found.next();
    if found.next().is_some() {
        return Err(Error::new(Kind::Request, format!("{name} is given twice")));
    }
    Ok(first)
}

/// The app's user namespace, and how many it may nest.
pub(super) fn user_namespace(
    request: &WallsRequest<'_>,
    host: &Host,
    report: &mut Report,
) -> Result<(UserSpace, u32), Error> {
    if host.user_namespaces == 0 {
        return Err(Error::new(
            Kind::Host,
            "this kernel gives no user namespaces, and an app without one of its own is not offered",
        )
        .with_hint("set the sysctl `user.max_user_namespaces` to 10000 or more"));
    }
    let asked = only(request.isolators, "the user namespace", |i| match i {
        Isolator::UserNamespace(which) => Some(*which),
        _ => None,
    })?;
    let own = format!("its own, {SLOT_IDS} ids");
    let space = match asked.unwrap_or_default() {
        UserNamespace::App => {
            report.held(id::USER, "user namespace", own, "clone", "--userns");
            UserSpace::Own
        }
        UserNamespace::Pod => {
            let held = "the pod's: its capabilities act on the pod's network, IPC and host name, and apps of --userns=pod share their ids";
            report.lost(
                id::USER,
                "user namespace",
                own,
                held,
                "the user",
                "--userns",
            );
            UserSpace::Pod
        }
    };
    let nested = only(
        request.isolators,
        "the number of nested user namespaces",
        |i| match i {
            Isolator::NestedUserNamespaces(n) => Some(*n),
            _ => None,
        },
    )?;
    let count = nested.unwrap_or(defaults::MAX_USER_NAMESPACES);
    let what = "nested user namespaces";
    let none = defaults::MAX_USER_NAMESPACES.to_string();
    if count > defaults::MAX_USER_NAMESPACES {
        if space == UserSpace::Pod {
            let why = "user namespaces are nested in an app's own user namespace only";
            return Err(Error::new(Kind::Request, why)
                .with_hint("leave out `--userns=pod`, or `--userns-nested`"));
        }
        let held = format!("{count}; mount calls stay refused");
        report.lost(id::NESTED, what, none, held, "the user", "--userns-nested");
    } else {
        report.held(
            id::NESTED,
            what,
            none,
            "user.max_user_namespaces",
            "--userns-nested",
        );
    }
    Ok((space, count))
}

/// What was asked for of system calls.
enum Asked<'a> {
    Default,
    Nothing(&'static str),
    Set(Mode, &'a SeccompSet),
    Profile(&'a str),
}

fn asked<'a>(request: &WallsRequest<'a>) -> Result<Asked<'a>, Error> {
    let found = only(request.isolators, "a list of system calls", |i| match i {
        Isolator::SeccompRetain(set) => Some(Asked::Set(Mode::Retain, set)),
        Isolator::SeccompRemove(set) => Some(Asked::Set(Mode::Remove, set)),
        Isolator::SeccompProfile { source, .. } => Some(Asked::Profile(source)),
        Isolator::SeccompUnconfined => Some(Asked::Nothing("--seccomp=unconfined")),
        _ => None,
    })?;
    Ok(match found {
        Some(asked) => asked,
        None if request.insecure.has(Insecure::SECCOMP) => {
            Asked::Nothing("--insecure-options=seccomp")
        }
        None => Asked::Default,
    })
}

/// The app's filter.
pub(super) fn filter(
    request: &WallsRequest<'_>,
    bounding: CapSet,
    nested: bool,
    no_new_privs: bool,
    host: &Host,
    report: &mut Report,
) -> Result<Bytes, Error> {
    const FLAG: &str = "--seccomp";
    const DEFAULT: &str = "the default list";
    let asked = asked(request)?;
    let openings = openings(request, nested)?;
    let usual = families::words(FAMILIES);
    let sockets = families::words(&openings.families);
    if let Asked::Nothing(flag) = asked {
        if openings.families != FAMILIES {
            return Err(Error::new(
                Kind::Request,
                "socket families are held by the filter of system calls, and there is to be none",
            )
            .with_hint(format!("leave out `{flag}` or `--socket-family`")));
        }
        report.lost(
            id::SECCOMP,
            "system calls",
            DEFAULT,
            "all allowed",
            "the user",
            flag,
        );
        report.lost(
            id::FAMILIES,
            "socket families",
            usual,
            "all",
            "the user",
            flag,
        );
        return Ok(Bytes(Vec::new()));
    }
    if !host.seccomp {
        return Err(Error::new(
            Kind::Host,
            "this kernel cannot filter system calls (seccomp)",
        )
        .with_hint("`--seccomp=unconfined` starts it without"));
    }
    let own = own_list(request, &asked, no_new_privs)?;
    let within = match &asked {
        Asked::Set(_, set) if set.by == Asker::Image => Within::Default,
        _ => Within::Floor,
    };
    let special = Special {
        list: own.as_ref(),
        within,
        openings: &openings,
        caps: bounding,
    };
    let program = if own.is_none() && openings == Openings::default() {
        seccomp::default_program(bounding)?.into_owned()
    } else {
        request.compile(&special)?
    };
    let size = program.len() / rkt_sys::seccomp::INSTRUCTION;
    let by = match own {
        Some(_) => format!("seccomp, {size} instructions; what rkt always refuses stays refused"),
        None => format!("seccomp, {size} instructions"),
    };
    let told = match &asked {
        Asked::Default | Asked::Nothing(_) => DEFAULT.to_owned(),
        Asked::Set(mode, set) => told(*mode, set),
        Asked::Profile(source) => format!("the profile `{source}`"),
    };
    report.held(id::SECCOMP, "system calls", told, by, FLAG);
    if let (Some(list), Within::Floor) = (&own, within) {
        overruled(list, &openings, bounding, report)?;
    }
    let flag = "--socket-family";
    if openings.families.iter().any(|f| !FAMILIES.contains(f)) {
        report.lost(
            id::FAMILIES,
            "socket families",
            usual,
            sockets,
            "the user",
            flag,
        );
    } else {
        report.held(id::FAMILIES, "socket families", sockets, "seccomp", flag);
    }
    Ok(Bytes(program))
}

/// The filter that tells what it refuses; empty when nobody wants to know.
pub(super) fn traced(
    request: &WallsRequest<'_>,
    filter: &Bytes,
    report: &mut Report,
) -> Result<Bytes, Error> {
    const FLAG: &str = "--trace-denials";
    if request.denials == Denials::Silent {
        return Ok(Bytes(Vec::new()));
    }
    if !trace::allows(&filter.0, "sendmsg") {
        let why = match filter.0.is_empty() {
            true => "there is no filter that could refuse a system call",
            false => "the list refuses `sendmsg`, by which the start tells of its filter",
        };
        return Err(Error::new(Kind::Request, why).with_hint(format!("leave out `{FLAG}`")));
    }
    let told = "noted for `rkt why`, and slower";
    report.held(
        id::SECCOMP,
        "refused calls",
        told,
        "seccomp, user notification",
        FLAG,
    );
    Ok(Bytes(trace::traced(&filter.0)))
}

/// Word of the row that tells what a list cannot open.
pub const OVERRULED: &str = "calls that stay refused";

fn overruled(
    list: &List,
    openings: &Openings,
    caps: CapSet,
    report: &mut Report,
) -> Result<(), Error> {
    let names = seccomp::list::overruled(list, openings, caps.0, seccomp::NATIVE)
        .map_err(|why| Error::new(Kind::Request, why))?;
    if !names.is_empty() {
        let flag = "--caps-retain, --userns-nested, --seccomp=unconfined";
        let by = "what rkt always refuses";
        report.lost(
            id::SECCOMP,
            OVERRULED,
            names.join(" "),
            "none of them made",
            by,
            flag,
        );
    }
    Ok(())
}

fn openings(request: &WallsRequest<'_>, nested: bool) -> Result<Openings, Error> {
    let asked = only(
        request.isolators,
        "the list of socket families",
        |i| match i {
            Isolator::SocketFamilies { add, remove } => Some((add, remove)),
            _ => None,
        },
    )?;
    let families = match asked {
        Some((add, remove)) => families::chosen(add, remove)?,
        None => FAMILIES.to_vec(),
    };
    Ok(Openings { families, nested })
}

fn own_list(
    request: &WallsRequest<'_>,
    asked: &Asked<'_>,
    no_new_privs: bool,
) -> Result<Option<List>, Error> {
    let mut list = match asked {
        Asked::Default | Asked::Nothing(_) => return Ok(None),
        Asked::Set(mode, set) => sets::list(*mode, set)?,
        Asked::Profile(source) => request.profile.cloned().ok_or_else(|| {
            Error::new(
                Kind::Request,
                format!("the profile `{source}` was not read"),
            )
        })?,
    };
    // Without no_new_privs the filter is loaded before the last capset.
    let last = (!no_new_privs).then_some("capset");
    if let Asked::Set(Mode::Retain, _) = asked {
        list.rules.extend(last.map(|name| ListRule {
            names: vec![name.to_owned()],
            effect: Effect::Return(Return::Allow),
            args: Vec::new(),
        }));
        return Ok(Some(list));
    }
    for name in NEEDED.iter().copied().chain(last) {
        // An app may be without these once it runs; only its start cannot.
        if matches!(name, "exit" | "rt_sigreturn" | "write") {
            continue;
        }
        if !passes(&list, name) {
            return Err(Error::new(
                Kind::Request,
                format!("the list refuses `{name}`, without which no program can be started"),
            ));
        }
    }
    Ok(Some(list))
}

fn told(mode: Mode, set: &SeccompSet) -> String {
    let words = match set.set.as_slice() {
        [] => "nothing".to_owned(),
        some if some.len() <= 6 => some.join(" "),
        some => format!("{} names", some.len()),
    };
    let refused = match set.errno.as_str() {
        "" => "SIGSYS",
        name => name,
    };
    let whose = match set.by {
        Asker::User => "",
        Asker::Image => ", by the image, within the default list",
    };
    match mode {
        Mode::Retain => format!("{words} only, else {refused}{whose}"),
        Mode::Remove => format!("all but {words}, which get {refused}{whose}"),
    }
}

/// Whether the app lives in a Landlock domain.
pub(super) fn landlock(
    request: &WallsRequest<'_>,
    host: &Host,
    report: &mut Report,
) -> Result<bool, Error> {
    const FILES: &str = "files below its own / only";
    const SCOPE: &str = "no signal or abstract socket out";
    const OFF: &str = "--landlock=off";
    let by = format!("Landlock ABI {}", host.landlock_abi);
    let rows = [(id::DOMAIN, "domain", FILES), (id::SCOPES, "scope", SCOPE)];
    if request.landlock == Landlock::Off {
        for (id, what, wanted) in rows {
            report.lost(id, what, wanted, "none", "the user", OFF);
        }
        return Ok(false);
    }
    if host.landlock_abi < MIN_ABI {
        if request.insecure.has(Insecure::LANDLOCK) {
            for (id, what, wanted) in rows {
                let flag = "--insecure-options=landlock";
                report.lost(id, what, wanted, "none", by.clone(), flag);
            }
            return Ok(false);
        }
        return Err(Error::new(
            Kind::Host,
            format!(
                "this kernel has Landlock ABI {}, and {MIN_ABI} is needed",
                host.landlock_abi
            ),
        )
        .with_hint("`--insecure-options=landlock` starts it without"));
    }
    report.held(id::DOMAIN, "domain", FILES, by.clone(), OFF);
    if host.landlock_abi < SCOPES_ABI {
        let held = "signals are held by ids alone";
        report.lost(id::SCOPES, "scope", SCOPE, held, by, OFF);
    } else {
        report.held(id::SCOPES, "scope", SCOPE, by, OFF);
    }
    Ok(true)
}
