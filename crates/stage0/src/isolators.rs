//! Isolators of an app: the user's over the image's, and what an image may ask for by itself. Pure.
//!
//! An image may take from its app what rkt gives by default. What goes beyond, such as a
//! capability more, is the user's to grant: the word of an image alone is refused, and never
//! passed over.

use crate::error::Error;
use crate::request::{AppRequest, InsecureOptions};
use rkt_isolate::defaults::{CAPABILITIES, INERT, Instead};
use rkt_isolate::seccomp::sets::{self, Mode};
use rkt_spec::capability::CapSet;
use rkt_spec::image::ImageConfig;
use rkt_spec::manifest::{Isolator, SeccompSet};
use std::mem::discriminant;

/// Weight of an app that asks for none.
const USUAL_SHARES: u64 = 1024;

/// The isolators of an app, at most one of a kind.
///
/// # Errors
/// When the image asks for what rkt does not do, or does not do on its word alone.
pub fn of_app(
    app: &AppRequest,
    image: &ImageConfig,
    insecure: InsecureOptions,
) -> Result<Vec<Isolator>, Error> {
    for unmet in &image.unmet {
        let open = InsecureOptions::parse(&unmet.insecure).is_ok_and(|o| insecure.has(o))
            && !unmet.insecure.is_empty();
        if open {
            continue;
        }
        let error = Error::new(unmet.why.clone())
            .while_doing(format!("give the image what it asks for: {}", unmet.wish));
        return Err(match unmet.insecure.as_str() {
            "" => error,
            word => error.hint(format!("`--insecure-options={word}` runs it without")),
        });
    }
    let mut list = app.isolators.clone();
    for isolator in &image.isolators {
        if app.isolators.iter().any(|own| replaces(own, isolator)) {
            continue;
        }
        allowed(isolator, insecure)?;
        list.push(isolator.clone());
    }
    Ok(list)
}

/// Whether the user's isolator takes the place of the image's. Both sets of capabilities are one
/// kind here, and so are all lists of system calls.
fn replaces(own: &Isolator, image: &Isolator) -> bool {
    let is_set = |i: &Isolator| {
        matches!(
            i,
            Isolator::CapabilitiesRetain { .. } | Isolator::CapabilitiesRemove { .. }
        )
    };
    let is_list = |i: &Isolator| {
        matches!(
            i,
            Isolator::SeccompRetain(_)
                | Isolator::SeccompRemove(_)
                | Isolator::SeccompProfile { .. }
                | Isolator::SeccompUnconfined
        )
    };
    discriminant(own) == discriminant(image)
        || is_set(own) && is_set(image)
        || is_list(own) && is_list(image)
}

fn allowed(isolator: &Isolator, insecure: InsecureOptions) -> Result<(), Error> {
    match isolator {
        Isolator::CapabilitiesRetain { set } if !insecure.has(InsecureOptions::CAPABILITIES) => {
            let mut more = CapSet::EMPTY;
            for name in set {
                more = more.union(CapSet::parse_one(name)?);
            }
            let more = more.without(CAPABILITIES);
            if more.is_empty() {
                return Ok(());
            }
            Err(Error::new(format!(
                "the image asks for capabilities that are not rkt's default: {more}"
            ))
            .hint(grant(set)?))
        }
        Isolator::SeccompRetain(list) => within_default(Mode::Retain, list),
        Isolator::SeccompRemove(list) => within_default(Mode::Remove, list),
        Isolator::OomScoreAdj(score) if *score < 0 => Err(Error::new(format!(
            "the image asks to be spared when memory is short (oom-score-adj {score})"
        ))
        .hint(format!("grant it: --oom-score-adj={score}"))),
        Isolator::CpuShares(shares) if *shares > USUAL_SHARES => Err(Error::new(format!(
            "the image asks for more processor time than other apps (cpu-shares {shares})"
        ))
        .hint(format!("grant it: --cpu-shares={shares}"))),
        _ => Ok(()),
    }
}

/// Grants what the image asks for and can act; what cannot would be refused in its turn.
fn grant(set: &[String]) -> Result<String, Error> {
    let mut all = CapSet::EMPTY;
    for name in set {
        all = all.union(CapSet::parse_one(name)?);
    }
    let idle = INERT
        .iter()
        .filter(|(_, _, instead)| *instead != Instead::Needless);
    let idle = idle.fold(CapSet::EMPTY, |set, (n, _, _)| set.union(CapSet(1 << n)));
    let names: Vec<String> = all
        .without(idle)
        .names()
        .map(|n| format!("CAP_{n}"))
        .collect();
    let list = names.join(",");
    let idle = CapSet(all.0 & idle.0);
    Ok(if idle.is_empty() {
        format!("grant what it needs by name: --caps-retain={list}")
    } else {
        format!("grant what can act in its user namespace: --caps-retain={list} (not {idle})")
    })
}

/// An image's list never goes beyond the default; what it names by itself and would not get is
/// a reason not to run it. Wildcards are engines' own lists and name nothing.
fn within_default(mode: Mode, list: &SeccompSet) -> Result<(), Error> {
    let beyond = sets::beyond_default(mode, list)?;
    if beyond.is_empty() {
        return Ok(());
    }
    let shown = beyond.join(" ");
    Err(Error::new(format!(
        "the image asks for system calls that rkt's default refuses: {shown}"
    ))
    .hint(format!(
        "grant them by a list of your own: --seccomp=mode=retain,{}",
        list.set.join(",")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkt_spec::image::Unmet;

    fn retain(set: &[&str]) -> Isolator {
        Isolator::CapabilitiesRetain {
            set: set.iter().map(|c| (*c).to_owned()).collect(),
        }
    }

    fn asking(isolators: Vec<Isolator>) -> ImageConfig {
        ImageConfig {
            isolators,
            ..ImageConfig::default()
        }
    }

    #[test]
    fn the_users_isolators_take_the_place_of_the_images() {
        let memory = |n: &str| Isolator::Memory { limit: n.into() };
        let image = asking(vec![memory("1"), retain(&["CAP_KILL"])]);
        let user = AppRequest {
            isolators: vec![
                memory("2"),
                Isolator::CapabilitiesRemove {
                    set: vec!["CAP_KILL".into()],
                },
            ],
            ..AppRequest::default()
        };
        let none = InsecureOptions::default();
        assert_eq!(of_app(&user, &image, none).unwrap(), user.isolators);
        let got = of_app(&AppRequest::default(), &image, none).unwrap();
        assert_eq!(got, image.isolators);
    }

    #[test]
    fn an_image_gets_no_more_than_the_default_by_its_own_word() {
        let none = InsecureOptions::default();
        let plain = AppRequest::default();
        for isolator in [
            retain(&["CAP_KILL", "CAP_SYS_ADMIN"]),
            Isolator::OomScoreAdj(-1),
        ] {
            let image = asking(vec![isolator.clone()]);
            assert!(of_app(&plain, &image, none).unwrap_err().remedy().is_some());
            let user = AppRequest {
                isolators: vec![isolator],
                ..AppRequest::default()
            };
            assert!(of_app(&user, &image, none).is_ok(), "by the user's word");
        }
        let image = asking(vec![Isolator::OomScoreAdj(7)]);
        assert!(of_app(&plain, &image, none).is_ok());
    }

    #[test]
    fn what_is_not_done_is_refused_unless_the_user_says_so() {
        let mut image = asking(Vec::new());
        image.unmet.push(Unmet {
            wish: "isolator `os/linux/some-filter`".into(),
            why: "rkt has its own".into(),
            insecure: "seccomp".into(),
        });
        let plain = AppRequest::default();
        let error = of_app(&plain, &image, InsecureOptions::default()).unwrap_err();
        assert!(error.remedy().unwrap().contains("seccomp"));
        assert!(of_app(&plain, &image, InsecureOptions::SECCOMP).is_ok());
        image.unmet[0].insecure.clear();
        assert!(of_app(&plain, &image, InsecureOptions::SECCOMP).is_err());
    }
}
