//! What is in rkt's tables, read back from the kernel.

use super::elements;
use super::table;
use super::transaction::{Element, Family, TABLE, Target, get, kind, list, read_comment};
use crate::error::{Doing, Error, Kind};
use crate::netlink::{Attributes, Socket};
use rkt_spec::Uuid;
use rustix::io::Errno;

/// Number of the last change of nf_tables in this network namespace.
pub(super) fn generation(socket: &Socket) -> Result<u32, Error> {
    let answers = get(
        socket,
        kind::GET_GENERATION,
        Family::Any,
        "ask for the generation of nf_tables",
        |_| {},
    )?;
    let body = answers.first().and_then(|a| a.body.get(4..));
    let value = body.and_then(|b| Attributes::new(b).find(|(k, _)| *k == 1));
    value
        .and_then(|(_, v)| v.first_chunk())
        .map(|b| u32::from_be_bytes(*b))
        .ok_or_else(|| Error::new(Kind::System, "the kernel told no generation of nf_tables"))
}

pub(super) fn has_table(socket: &Socket, family: Family) -> Result<bool, Error> {
    let doing = format!("look for table `{} {TABLE}`", family.word());
    let got = get(socket, kind::GET_TABLE, family, &doing, |m| {
        m.attr_text(1, TABLE);
    });
    match got {
        Ok(_) => Ok(true),
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(false),
        Err(error) => Err(super::told(&error)),
    }
}

/// An element as the kernel tells it.
struct Told {
    element: Element,
    comment: String,
}

fn elements_of(socket: &Socket, family: Family, set: &'static str) -> Result<Vec<Told>, Error> {
    const ELEMENTS: u16 = 3;
    let what = format!("list set `{set}` of table `{} {TABLE}`", family.word());
    let answers = list(socket, kind::GET_ELEMENT, family, &what, |m| {
        m.attr_text(1, TABLE).attr_text(2, set);
    })?;
    let mut told = vec![];
    for answer in &answers {
        let body = answer.body.get(4..).unwrap_or(&[]);
        let lists = Attributes::new(body).filter(|(k, _)| *k == ELEMENTS);
        for (_, items) in lists {
            for (_, item) in Attributes::new(items) {
                told.extend(element(family, set, item));
            }
        }
    }
    Ok(told)
}

fn element(family: Family, set: &'static str, bytes: &[u8]) -> Option<Told> {
    let value = |nested: &[u8]| {
        let found = Attributes::new(nested).find(|(k, _)| *k == 1);
        found.map(|(_, v)| v.to_vec())
    };
    let (mut key, mut end, mut data, mut comment) = (None, None, None, None);
    for (kind, bytes) in Attributes::new(bytes) {
        match kind {
            1 => key = value(bytes),
            2 => data = value(bytes),
            6 => comment = read_comment(bytes),
            10 => end = value(bytes),
            _ => {}
        }
    }
    Some(Told {
        element: Element {
            family,
            set,
            key: key?,
            end,
            leads: data.map(Target::Data),
            what: format!("an element of set `{set}`"),
        },
        comment: comment?.to_owned(),
    })
}

/// Everything that belongs to pods, with the pod. Tables that are not there have nothing.
pub(super) fn owned(socket: &Socket) -> Result<Vec<(Element, Uuid)>, Error> {
    let mut all = vec![];
    for family in [Family::Bridge, Family::Inet] {
        for set in table::sets(family) {
            match elements_of(socket, family, set.name) {
                Ok(told) => all.extend(told.into_iter().filter_map(|t| {
                    let owner = Uuid::new(&t.comment).ok()?;
                    Some((t.element, owner))
                })),
                Err(error) if error.errno() == Some(Errno::NOENT) => break,
                Err(error) => return Err(error).doing(|| "look for what pods left".into()),
            }
        }
    }
    Ok(all)
}

/// Whether no pod is in a table.
///
/// # Errors
/// `ENOENT` when there is no such table.
pub(super) fn is_empty(socket: &Socket, family: Family) -> Result<bool, Error> {
    let mut sets = vec![table::set::LINKS];
    if family == Family::Inet {
        // Pods on bridges, and pods of foreign networks with ports, have no link here.
        for names in [table::set::PODS, table::set::PORTS, table::set::ANY] {
            sets.extend(names);
        }
    }
    for set in sets {
        if !elements_of(socket, family, set)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Bridges that the host speaks to from its loopback.
pub(super) fn bridges(socket: &Socket) -> Result<Vec<String>, Error> {
    let told = elements_of(socket, Family::Inet, table::set::LOCALNET)?;
    let names = told.iter().map(|t| elements::device_name(&t.element.key));
    Ok(names.collect())
}
