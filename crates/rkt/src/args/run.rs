//! The words of `rkt run`: `[options] IMG [options] [-- ARG..] [--- IMG ..]`, to a request. Pure.
//!
//! Options of an app bind to the nearest image before them, options of the pod may stand
//! anywhere. Between `--` and `---` every word is the app's.

use super::table::{Effect, FLAGS, Flag, Run, Value};
use crate::failure::Failure;
use rkt_stage0::request::{AppRequest, Place, RunRequest};
use std::ffi::OsString;

/// Reads the words after `run`.
///
/// # Errors
/// A usage failure that names the word.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Run, Failure> {
    let mut scan = Scan {
        words: words.into_iter(),
        run: Run {
            request: RunRequest::new(Place {
                dir: super::DIR.into(),
                run_dir: super::RUN_DIR.into(),
                cgroup_parent: None,
            }),
            configs: super::Configs::default(),
            trust_keys_from_https: false,
            explain: false,
            format: super::Format::Table,
            limits: rkt_store::layer::Limits::default(),
            help: false,
        },
        early: Vec::new(),
        first_early: None,
    };
    while let Some(word) = scan.next()? {
        scan.word(word)?;
    }
    scan.finish()
}

struct Scan {
    words: std::vec::IntoIter<OsString>,
    run: Run,
    /// Options of an app that came before any image, as docker's users type them: they are for
    /// the first one, and wrong when there are several.
    early: Vec<(&'static Flag, String, String)>,
    /// The first of these, as typed.
    first_early: Option<String>,
}

impl Scan {
    fn next(&mut self) -> Result<Option<String>, Failure> {
        match self.words.next() {
            None => Ok(None),
            Some(word) => word.into_string().map(Some).map_err(|bad| {
                Failure::usage(format!("read the word `{}`", bad.to_string_lossy()))
                    .because("it is not UTF-8")
            }),
        }
    }

    fn word(&mut self, word: String) -> Result<(), Failure> {
        if word == "---" || word.is_empty() {
            return Ok(());
        }
        if word == "--" {
            return self.app_args();
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let Some(flag) = FLAGS
                .iter()
                .find(|f| f.name == name || f.aliases.contains(&name))
            else {
                return Err(self.unknown(&word, name));
            };
            return self.option(flag, format!("--{name}"), value);
        }
        if word.len() > 1 && word.starts_with('-') {
            return self.shorts(&word);
        }
        self.run.request.apps.push(AppRequest {
            image: word,
            ..AppRequest::default()
        });
        for (flag, typed, value) in std::mem::take(&mut self.early) {
            self.apply(flag, typed, value)?;
        }
        Ok(())
    }

    /// `-dit`, `-eA=b`, `-e A=b`.
    fn shorts(&mut self, word: &str) -> Result<(), Failure> {
        let letters = word.trim_start_matches('-');
        // docker's `-it`, in any order and company, is a terminal; `-i` alone is a pipe.
        for (at, letter) in letters.char_indices() {
            let Some(flag) = FLAGS.iter().find(|f| f.short == Some(letter)) else {
                return Err(self.unknown(word, letters));
            };
            let rest = letters.get(at + letter.len_utf8()..).unwrap_or("");
            match flag.value {
                Value::Switch if !rest.starts_with('=') => {
                    self.option(flag, format!("-{letter}"), None)?;
                }
                _ => {
                    let value = rest.strip_prefix('=').unwrap_or(rest);
                    let value = (!rest.is_empty()).then(|| value.to_owned());
                    return self.option(flag, format!("-{letter}"), value);
                }
            }
        }
        Ok(())
    }

    fn option(
        &mut self,
        flag: &'static Flag,
        typed: String,
        value: Option<String>,
    ) -> Result<(), Failure> {
        let value = match (value, flag.value) {
            (Some(value), _) => value,
            (None, Value::Switch) => "true".to_owned(),
            (None, Value::Text(what)) => self.next()?.ok_or_else(|| {
                Failure::usage(format!("option `{typed}` needs a value"))
                    .hint(format!("{typed} {what}"))
            })?,
        };
        self.apply(flag, typed, value)
    }

    fn apply(&mut self, flag: &'static Flag, typed: String, value: String) -> Result<(), Failure> {
        let last = self.run.request.apps.len().checked_sub(1);
        let outcome = match flag.effect {
            Effect::Pod(set) => set(&mut self.run, &value),
            Effect::Mount(set) => set(&mut self.run.request, last, &value),
            Effect::App(set) => match self.run.request.apps.last_mut() {
                Some(app) => set(app, &value),
                None => {
                    self.first_early.get_or_insert_with(|| typed.clone());
                    self.early.push((flag, typed, value));
                    return Ok(());
                }
            },
            Effect::No(reason) => {
                return Err(
                    Failure::usage(format!("option `{typed}` is not there")).because(reason)
                );
            }
        };
        outcome.map_err(|why| {
            let said = if flag.value == Value::Switch {
                typed.clone()
            } else {
                format!("{typed}={value}")
            };
            Failure::usage(format!("read option `{said}`")).because(why)
        })
    }

    fn app_args(&mut self) -> Result<(), Failure> {
        let mut list = Vec::new();
        while let Some(word) = self.next()? {
            if word == "---" {
                break;
            }
            list.push(word);
        }
        let app = self.run.request.apps.last_mut().ok_or_else(|| {
            Failure::usage("an image is required before any app arguments")
                .hint("rkt run IMAGE -- ARGUMENTS")
        })?;
        if app.args.replace(list).is_some() {
            return Err(Failure::usage(
                "only one set of app arguments allowed per image",
            ));
        }
        Ok(())
    }

    fn unknown(&self, word: &str, name: &str) -> Failure {
        let name = name.split('=').next().unwrap_or(name);
        let failure = Failure::usage(format!("unknown flag: {word}"));
        let names = FLAGS
            .iter()
            .filter(|f| !f.help.is_empty())
            .flat_map(|f| std::iter::once(&f.name).chain(f.aliases))
            .copied();
        if let Some(near) = super::nearest(name, names) {
            return failure.hint(format!("did you mean `--{near}`?"));
        }
        match self.run.request.apps.last() {
            Some(app) => failure.hint(format!(
                "if it is meant for the program in `{}`, put it after `--`: rkt run {} -- {word}",
                app.image, app.image
            )),
            None => failure.hint("run `rkt help run` for the list"),
        }
    }

    fn finish(self) -> Result<Run, Failure> {
        if self.run.help {
            return Ok(self.run);
        }
        if let Some(typed) = &self.first_early
            && self.run.request.apps.len() != 1
        {
            let failure = Failure::usage("an image is required before any app arguments").because(
                format!("`{typed}` belongs to an app, and no image stands before it"),
            );
            return Err(if self.run.request.apps.is_empty() {
                failure
            } else {
                failure.hint(format!("put `{typed}` after the image it is for"))
            });
        }
        if self.run.format != super::Format::Table && !self.run.explain && !self.run.request.detach
        {
            return Err(Failure::usage("print the pod as JSON")
                .because("in the foreground the output is the apps' own")
                .hint("`--format` goes with `--detach` or `--explain`"));
        }
        if self.run.request.apps.is_empty() {
            return Err(Failure::usage("must provide at least one image")
                .hint("rkt run docker://busybox -- echo hello"));
        }
        Ok(self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkt_spec::manifest::Isolator;
    use rkt_stage0::request::Stdin;

    fn read(words: &[&str]) -> Result<Run, Failure> {
        parse(words.iter().map(OsString::from).collect())
    }

    fn good(words: &[&str]) -> RunRequest {
        read(words).unwrap().request
    }

    fn bad(words: &[&str]) -> String {
        let failure = read(words).unwrap_err();
        assert_eq!(failure.status, 254);
        failure.to_string()
    }

    #[test]
    fn app_options_bind_to_the_nearest_image_before_them() {
        let r = good(&[
            "--net=none",
            "a",
            "--name=web",
            "--memory",
            "64Mi",
            "--",
            "-x",
            "--",
            "y",
            "---",
            "b",
            "--name=log",
            "--rm",
            "c",
        ]);
        let images: Vec<_> = r.apps.iter().map(|a| a.image.as_str()).collect();
        assert_eq!(images, ["a", "b", "c"]);
        assert_eq!(r.net.unwrap().to_string(), "none");
        assert!(r.remove);
        let first = r.apps.first().unwrap();
        assert_eq!(first.args.as_deref().unwrap(), ["-x", "--", "y"]);
        assert_eq!(
            first.isolators,
            [Isolator::Memory {
                limit: "67108864".into()
            }]
        );
        let second = r.apps.get(1).unwrap();
        assert_eq!(second.name.as_ref().unwrap().as_str(), "log");
        assert_eq!(second.args, None);
    }

    #[test]
    fn dockers_habits_are_understood() {
        let r = good(&[
            "-dit", "--rm", "-eA=b", "-e", "C=d", "-u", "7:8", "-w/x", "img", "--", "sh",
        ]);
        assert!(r.detach && r.remove);
        assert_eq!(r.stdin, Stdin::Tty);
        assert_eq!(r.set_env.len(), 2);
        let app = r.apps.first().unwrap();
        assert_eq!(app.user.as_deref(), Some("7:8"));
        assert_eq!(app.working_dir.as_deref(), Some("/x"));
        assert_eq!(good(&["-i", "img"]).stdin, Stdin::Stream);
        assert_eq!(good(&["--interactive", "img"]).stdin, Stdin::Auto);
        // What stands after the image wins over what stands before it.
        let r = good(&["--user=1", "img", "--user=2"]);
        assert_eq!(r.apps.first().unwrap().user.as_deref(), Some("2"));
    }

    #[test]
    fn volumes_before_the_first_image_are_for_all() {
        let r = good(&[
            "-v",
            "/srv:/srv",
            "a",
            "-v/etc/x:/x:ro",
            "--mount=volume=srv-0,target=/y",
        ]);
        assert_eq!(r.volumes.len(), 2);
        assert_eq!(r.mounts.len(), 1);
        assert_eq!(r.apps.first().unwrap().mounts.len(), 2);
    }

    #[test]
    fn wrong_words_say_what_is_wrong() {
        for (words, why) in [
            (&["--nosuch", "a"][..], "unknown flag: --nosuch"),
            (&["a", "--memroy=1Mi"], "did you mean `--memory`?"),
            (&["a", "-l"], "rkt run a -- -l"),
            (&[], "must provide at least one image"),
            (
                &["--user=1"],
                "an image is required before any app arguments",
            ),
            (&["--user=1", "a", "b"], "put `--user` after"),
            (
                &["--", "x"],
                "an image is required before any app arguments",
            ),
            (
                &["a", "--", "x", "---", "--", "y"],
                "only one set of app arguments",
            ),
            (&["a", "--memory=abc"], "option `--memory=abc`"),
            (&["a", "--memory=1"], "at least 4096"),
            (&["a", "--caps-retain=CAP_ROOT"], "is unknown"),
            (
                &["a", "--caps-retain=CHOWN", "--caps-remove=KILL"],
                "does not go with",
            ),
            (&["a", "--set-env=A=1", "--set-env=A=2"], "set twice"),
            (&["a", "--set-env=\n=1"], "environment"),
            (&["a", "--net=b,b"], "found duplicate netname \"b\""),
            (&["a", "--net=host", "--net=b"], "does not go with others"),
            (
                &["a", "--dns=host", "--dns-search=x"],
                "no other --dns options allowed",
            ),
            (&["a", "--dns=one.one"], "no address of a name server"),
            (&["a", "--hosts-entry=db"], "needs ADDRESS=NAME"),
            (&["a", "--add-host=db"], "needs NAME:ADDRESS"),
            (&["a", "-p80"], "needs NAME:[ADDRESS:]PORT"),
            (&["a", "--privileged"], "there is no --privileged"),
            (&["a", "--weaken=caps"], "weaken"),
            (&["a", "--stop-signal=SIGNONE"], "signal"),
            (&["a", "--supplementary-gids=70000"], "65535"),
            (&["a", "--insecure-options=everything"], "insecure option"),
            (&["a", "--oom-score-adj=5000"], "-1000 to 1000"),
            (&["a", "--user"], "needs a value"),
            (&["a", "--detach=maybe"], "`true` or `false`"),
        ] {
            if cfg!(feature = "weaken") && why == "weaken" {
                continue;
            }
            let text = bad(words);
            assert!(text.contains(why), "{words:?}: {text}");
        }
    }
}
