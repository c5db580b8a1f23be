//! The words of `--net`: which networks a pod joins, and with which arguments. Pure.
//!
//! `none`, `host`, or a list of names with `all` among them, each `NAME[:KEY=VALUE;KEY=VALUE]`.
//! Texts of errors are the original's where it had one.

use crate::refusal::Refusal;
use rkt_spec::NetworkName;
use rkt_spec::plan::Net;
use std::fmt;
use std::str::FromStr;

/// What a pod wants for a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetRequest {
    /// Loopback only.
    None,
    /// The host's own.
    Host,
    /// Networks of the configuration.
    Private {
        /// Whether every configured one is wanted.
        all: bool,
        /// Those named, in order, each once.
        named: Vec<Named>,
    },
}

/// One network by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: NetworkName,
    /// What it is told about this pod, in order.
    pub args: Vec<Arg>,
}

/// One argument of a network (`CNI_ARGS`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// Such as `IP`.
    pub key: String,
    /// Never empty; no `;`, no `,`, no control character.
    pub value: String,
}

impl NetRequest {
    /// What the pod's namespace is like.
    pub const fn net(&self) -> Net {
        match self {
            Self::None => Net::None,
            Self::Host => Net::Host,
            Self::Private { .. } => Net::Private,
        }
    }

    /// The network `default` and no other: what a pod gets when nobody says anything.
    ///
    /// # Errors
    /// Never; the name is a name.
    pub fn default_network() -> Result<Self, Refusal> {
        "default".parse()
    }

    /// What this and one more `--net` ask for together.
    ///
    /// # Errors
    /// When a name is empty, no name, or there twice; when `none` or `host` is not alone; when
    /// arguments are no `KEY=VALUE` or belong to a word that takes none.
    pub fn and(self, list: &str) -> Result<Self, Refusal> {
        let mut words = Words::default();
        match self {
            Self::None => words.special.push("none"),
            Self::Host => words.special.push("host"),
            Self::Private { all, named } => {
                words.special.extend(all.then_some("all"));
                words.named = named;
            }
        }
        words.read(list)?;
        words.finish()
    }
}

impl FromStr for NetRequest {
    type Err = Refusal;
    /// As [`NetRequest::and`], from nothing.
    fn from_str(list: &str) -> Result<Self, Refusal> {
        let mut words = Words::default();
        words.read(list)?;
        words.finish()
    }
}

impl fmt::Display for NetRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Private { all, named } => {
                let all = all.then(|| "all".to_owned());
                let words: Vec<String> = all
                    .into_iter()
                    .chain(named.iter().map(Named::to_string))
                    .collect();
                f.write_str(&words.join(","))
            }
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        for (at, arg) in self.args.iter().enumerate() {
            let mark = if at == 0 { ':' } else { ';' };
            write!(f, "{mark}{arg}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// Words that are no network's name.
const SPECIAL: [&str; 3] = ["none", "host", "all"];

#[derive(Default)]
struct Words {
    special: Vec<&'static str>,
    named: Vec<Named>,
}

impl Words {
    fn read(&mut self, list: &str) -> Result<(), Refusal> {
        list.split(',').try_for_each(|word| self.word(word))
    }

    fn word(&mut self, word: &str) -> Result<(), Refusal> {
        let (name, args) = match word.split_once(':') {
            Some((name, args)) => (name, Some(args)),
            None => (word, None),
        };
        if name.is_empty() {
            return Err(Refusal::new("netname must not be empty"));
        }
        let twice = || Refusal::new(format!("found duplicate netname \"{name}\""));
        if let Some(special) = SPECIAL.into_iter().find(|s| *s == name) {
            if args.is_some() {
                return Err(Refusal::new(format!(
                    "arguments are not supported by special netname \"{name}\""
                )));
            }
            if self.special.contains(&special) {
                return Err(twice());
            }
            self.special.push(special);
            return Ok(());
        }
        let checked = NetworkName::new(name)?;
        if self.named.iter().any(|n| n.name == checked) {
            return Err(twice());
        }
        self.named.push(Named {
            name: checked,
            args: args
                .map(|a| arguments(name, a))
                .transpose()?
                .unwrap_or_default(),
        });
        Ok(())
    }

    fn finish(self) -> Result<NetRequest, Refusal> {
        let alone = self.special.len() + self.named.len() == 1;
        for (word, request) in [("none", NetRequest::None), ("host", NetRequest::Host)] {
            match self.special.contains(&word) {
                true if alone => return Ok(request),
                true => {
                    return Err(Refusal::new(format!(
                        "the network \"{word}\" does not go with others"
                    )));
                }
                false => {}
            }
        }
        Ok(NetRequest::Private {
            all: !self.special.is_empty(),
            named: self.named,
        })
    }
}

fn arguments(name: &str, text: &str) -> Result<Vec<Arg>, Refusal> {
    let wrong = || {
        Refusal::new(format!(
            "network \"{name}\" provided with invalid arguments: {}",
            text.escape_debug()
        ))
        .hint(format!(
            "{name}:KEY=VALUE;KEY=VALUE, such as {name}:IP=ADDRESS"
        ))
    };
    let one = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let key_ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let ok = !key.is_empty()
            && key.bytes().all(key_ok)
            && !value.is_empty()
            && !value.chars().any(|c| c.is_control() || c.is_whitespace());
        ok.then(|| Arg {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    };
    text.split(';')
        .map(|pair| one(pair).ok_or_else(wrong))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        text.parse::<NetRequest>().unwrap_err().to_string()
    }

    #[test]
    fn words_and_back() {
        for text in [
            "none",
            "host",
            "all",
            "default",
            "default,web:IP=10.1.2.3",
            "all,web:IP=10.1.2.3;MAC=02:00:5e:10:00:01",
            "six:IP=fd00::5",
        ] {
            let request: NetRequest = text.parse().unwrap();
            assert_eq!(request.to_string(), text);
        }
        let more = "a".parse::<NetRequest>().unwrap().and("b,all").unwrap();
        assert_eq!(more.to_string(), "all,a,b");
        assert_eq!(more.net(), Net::Private);
        assert_eq!(
            NetRequest::default_network().unwrap().to_string(),
            "default"
        );
    }

    #[test]
    fn wrong_words_have_the_originals_texts() {
        assert_eq!(why(""), "netname must not be empty");
        assert_eq!(why("a,,b"), "netname must not be empty");
        assert_eq!(why(":IP=1.2.3.4"), "netname must not be empty");
        assert_eq!(why("a,b,a"), "found duplicate netname \"a\"");
        assert_eq!(why("all,all"), "found duplicate netname \"all\"");
        for word in SPECIAL {
            assert_eq!(
                why(&format!("{word}:IP=1.2.3.4")),
                format!("arguments are not supported by special netname \"{word}\"")
            );
        }
        for bad in ["a:", "a:b", "a:=b", "a:IP=", "a:IP=1;", "a:I P=1", "a:b:c"] {
            let text = why(bad);
            assert!(
                text.starts_with("network \"a\" provided with invalid arguments: "),
                "{text}"
            );
        }
        for alone in ["none,a", "host,a", "none,host", "all,none"] {
            assert!(why(alone).contains("does not go with others"), "{alone}");
        }
        assert!(why("../x").contains("network name"));
        let first: NetRequest = "none".parse().unwrap();
        assert!(first.clone().and("none").is_err() && first.and("a").is_err());
    }
}
