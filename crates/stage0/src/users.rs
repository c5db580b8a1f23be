//! Users and groups by name: read from an image's own files, strictly.
//!
//! The files are hostile text of at most 1 MiB. A name that is not there is an error, and so is
//! a number that does not fit: nothing ever falls back to root (CVE-2024-40635, CVE-2026-30892).

use crate::error::Error;
use rkt_spec::image::Accounts;

/// Largest id of an app: its range has 65536.
pub const MAX_ID: u32 = 65_535;
/// Most supplementary groups; the kernel's own limit (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;
/// Longest line that is looked at, bytes.
const MAX_LINE: usize = 64 << 10;

/// Who an app is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id, 0..=65535.
    pub uid: u32,
    /// Group id, 0..=65535.
    pub gid: u32,
    /// Supplementary groups, without doubles, in the order found.
    pub groups: Vec<u32>,
    /// Name of the user, when its files have one that is harmless to repeat.
    pub name: Option<String>,
    /// Home of the user, when its files have a clean absolute one.
    pub home: Option<String>,
}

/// One line of /etc/passwd.
struct User<'a> {
    name: &'a str,
    uid: &'a str,
    gid: &'a str,
    home: &'a str,
}

/// Whether a user and group can be told without the image's files: nobody named anybody.
pub fn is_plain_root(user: &str, group: Option<&str>) -> bool {
    user.is_empty() && group.is_none_or(is_number)
}

/// Finds out who `user` (`name`, `7`, `name:group`, `7:8` or empty for root) is.
///
/// `group` (`--group`) wins over the group in `user`. Without any group, the user's own and
/// those that list it as a member apply (OCI image-spec, config.md, "User"); with one, only
/// it. `extra` is added in both cases.
///
/// # Errors
/// When a name is not in the files or a number is above 65535.
pub fn resolve(
    user: &str,
    group: Option<&str>,
    extra: &[u32],
    accounts: &Accounts,
) -> Result<Identity, Error> {
    let (user, own_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let group = group.filter(|g| !g.is_empty()).or(own_group);
    clean("user", user)?;
    let mut who = Identity::default();
    let mut primary = 0;
    if !user.is_empty() {
        let line = if is_number(user) {
            who.uid = number("user", user)?;
            users(accounts).find(|u| number("user", u.uid).is_ok_and(|id| id == who.uid))
        } else {
            let found = users(accounts).find(|u| u.name == user);
            if found.is_none() && user != "root" {
                return Err(missing("user", user, "/etc/passwd"));
            }
            found
        };
        if let Some(line) = line {
            if !is_number(user) {
                who.uid = number("user", line.uid)?;
            }
            primary = number("group", line.gid)?;
            who.name = Some(line.name.to_owned()).filter(|n| harmless(n));
            who.home = Some(line.home.to_owned()).filter(|h| h.starts_with('/') && harmless(h));
        } else if user == "root" {
            who.name = Some("root".to_owned());
        }
    }
    match group {
        Some(group) => who.gid = named_group(group, accounts)?,
        None => {
            who.gid = primary;
            if let Some(name) = who.name.as_deref().filter(|_| !user.is_empty()) {
                who.groups = memberships(name, accounts)?;
            }
        }
    }
    for gid in extra {
        if !who.groups.contains(gid) {
            who.groups.push(*gid);
        }
    }
    Ok(who)
}

fn named_group(group: &str, accounts: &Accounts) -> Result<u32, Error> {
    clean("group", group)?;
    if is_number(group) {
        return number("group", group);
    }
    let found = lines(&accounts.group)
        .filter_map(group_line)
        .find(|(name, ..)| *name == group);
    match found {
        Some((_, gid, _)) => number("group", gid),
        None if group == "root" => Ok(0),
        None => Err(missing("group", group, "/etc/group")),
    }
}

fn memberships(name: &str, accounts: &Accounts) -> Result<Vec<u32>, Error> {
    let mut list: Vec<u32> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (group, gid, members) in lines(&accounts.group).filter_map(group_line) {
        if members.split(',').any(|m| m == name) {
            let gid = number("group", gid).map_err(|e| {
                e.while_doing(format!(
                    "read group `{}` of user `{name}`",
                    group.escape_debug()
                ))
            })?;
            if seen.insert(gid) {
                list.push(gid);
            }
        }
    }
    if list.len() >= MAX_GROUPS {
        return Err(Error::new(format!(
            "user `{name}` is in {} groups",
            list.len()
        )));
    }
    Ok(list)
}

fn users(accounts: &Accounts) -> impl Iterator<Item = User<'_>> {
    lines(&accounts.passwd).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        Some(User {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or(""),
        })
    })
}

fn group_line(line: &str) -> Option<(&str, &str, &str)> {
    let mut fields = line.split(':');
    let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
    Some((name, gid, fields.next().unwrap_or("")))
}

/// The lines of a file that are text of a sane length.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes
        .split(|b| *b == b'\n')
        .filter(|line| line.len() <= MAX_LINE)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A whole decimal number of the app's range and nothing else: no sign, no blank, no overflow.
fn number(what: &'static str, text: &str) -> Result<u32, Error> {
    let id = if is_number(text) {
        text.parse::<u32>().ok()
    } else {
        None
    };
    id.filter(|id| *id <= MAX_ID).ok_or_else(|| {
        Error::new(format!(
            "{what} `{}` is not a number from 0 to {MAX_ID}; an app has a range of 65536 ids of its own",
            text.escape_debug()
        ))
    })
}

fn clean(what: &'static str, text: &str) -> Result<(), Error> {
    if text.chars().any(char::is_control) || text.starts_with('/') {
        return Err(Error::new(format!(
            "{what} `{}` is neither a name nor a number",
            text.escape_debug()
        )));
    }
    Ok(())
}

fn harmless(text: &str) -> bool {
    !text.is_empty() && text.len() <= 4096 && !text.chars().any(char::is_control)
}

fn missing(what: &'static str, name: &str, file: &str) -> Error {
    Error::new(format!("\"{name}\" {what} not found")).hint(format!(
        "the app's {file} has no `{name}`; numbers need no entry there"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Accounts {
        Accounts {
            passwd: b"root:x:0:0:root:/root:/bin/sh\n\
                redis:x:999:1000:,,,:/var/lib/redis:/bin/false\n\
                big:x:4294967296:0::/:\n\
                none:x::0::/:\n\
                minus:x:-1:0::/:\n\
                evil:x:5:5::/home\x1b[2J:/bin/sh\n\
                short:x\n\
                \xff\xfe:x:6:6::/:\n"
                .to_vec(),
            group: b"root:x:0:\nredis:x:1000:\nadm:x:4:redis,evil\nssl:x:105:redis\nagain:x:4:redis\nhuge:x:70000:\n"
                .to_vec(),
        }
    }

    fn who(user: &str, group: Option<&str>) -> Result<Identity, Error> {
        resolve(user, group, &[], &files())
    }

    #[test]
    fn users_by_name_and_number() {
        let redis = who("redis", None).unwrap();
        assert_eq!((redis.uid, redis.gid), (999, 1000));
        assert_eq!(redis.groups, [4, 105]);
        assert_eq!(redis.home.as_deref(), Some("/var/lib/redis"));
        assert_eq!(who("999", None).unwrap(), redis);
        let with_group = who("redis:adm", None).unwrap();
        assert_eq!((with_group.gid, with_group.groups.len()), (4, 0));
        assert_eq!(who("redis:adm", Some("7")).unwrap().gid, 7);
        let stranger = who("1234", None).unwrap();
        assert_eq!((stranger.uid, stranger.gid, stranger.name), (1234, 0, None));
        assert_eq!(who("", None).unwrap(), Identity::default());
        assert_eq!(resolve("0", None, &[9, 9], &files()).unwrap().groups, [9]);
        assert_eq!(
            resolve("root:root", None, &[], &Accounts::default())
                .unwrap()
                .uid,
            0
        );
    }

    #[test]
    fn nothing_falls_back_to_root() {
        for user in [
            "nobody",
            "big",
            "none",
            "minus",
            "4294967296",
            "65536",
            "+5",
            "-1",
            "1e3",
            " 0",
            "short",
            "/etc/passwd",
            "a\nb",
            "redis:nosuch",
            "redis:huge",
        ] {
            assert!(who(user, None).is_err(), "{user:?}");
        }
    }

    #[test]
    fn a_home_with_an_escape_sequence_is_no_home() {
        assert_eq!(who("evil", None).unwrap().home, None);
    }
}
