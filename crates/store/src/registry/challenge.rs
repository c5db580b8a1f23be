//! `WWW-Authenticate`, read as RFC 9110 (section 11) writes it.
//!
//! Several challenges may stand in one line or in several; values may be quoted, hold commas and
//! escapes, come in any order and in any case. What cannot be read is passed over, never guessed.

/// One challenge: its scheme in lower case, its parameters with names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) scheme: String,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// The first parameter of that name.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// All parameters of that name; a `scope` may stand several times.
    pub(super) fn params<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.params
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// Longest header and most parameters that are looked at.
const LONGEST: usize = 16 << 10;

/// Reads one header line.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut list: Vec<Challenge> = Vec::new();
    if header.len() > LONGEST {
        return list;
    }
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            return list;
        }
        let gap = after.trim_start_matches([' ', '\t']);
        // `name = value` belongs to the challenge at hand; anything else begins a new one.
        if let Some(value) = gap.strip_prefix('=').filter(|v| !v.starts_with('='))
            && let Some(challenge) = list.last_mut()
        {
            let Some((value, after)) = value_of(value.trim_start_matches([' ', '\t'])) else {
                return list;
            };
            challenge.params.push((word.to_ascii_lowercase(), value));
            rest = after;
            continue;
        }
        list.push(Challenge {
            scheme: word.to_ascii_lowercase(),
            params: Vec::new(),
        });
        rest = skip_token68(gap);
    }
}

/// `[!#$%&'*+.^_`|~0-9A-Za-z-]+`
fn token(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|b| !(b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A token or a quoted string, and what follows it. `None` when the quote does not end.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(inner) = text.strip_prefix('"') else {
        // Some registries leave out the quotes around URLs: read to the next separator.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return Some((value.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((value, inner.get(i + 1..).unwrap_or(""))),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Passes over the one blob that schemes such as `Negotiate` put after their name.
fn skip_token68(text: &str) -> &str {
    let end = text
        .bytes()
        .position(|b| !(b.is_ascii_alphanumeric() || b"-._~+/".contains(&b)))
        .unwrap_or(text.len());
    let (blob, after) = text.split_at(end);
    let padded = after.trim_start_matches('=');
    let ends = padded.is_empty() || padded.trim_start_matches([' ', '\t']).starts_with(',');
    // `realm="x"` looks like a blob up to its `=`, but a quote follows.
    if !blob.is_empty() && ends && after.len() != padded.len() {
        padded
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn real_challenges_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/redis:pull,push""#;
        let list = parse(hub);
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].scheme, "bearer");
        assert_eq!(list[0].param("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(
            list[0].param("scope"),
            Some("repository:library/redis:pull,push")
        );

        let two = parse(
            r#"Negotiate YWJj==, BASIC realm="a \"b\", c" , charset=UTF-8, bearer Service=x , realm = "y""#,
        );
        let schemes: Vec<_> = two.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["negotiate", "basic", "bearer"]);
        assert_eq!(two[1].param("realm"), Some(r#"a "b", c"#));
        assert_eq!(two[2].param("service"), Some("x"));
        assert_eq!(two[2].param("realm"), Some("y"));

        assert_eq!(parse("Basic")[0].scheme, "basic");
        assert_eq!(
            parse("Bearer realm=https://x.example/t,service=s")[0].param("realm"),
            Some("https://x.example/t")
        );
        assert_eq!(
            parse(r#"Bearer scope="a",scope="b""#)[0]
                .params("scope")
                .count(),
            2
        );
    }

    #[test]
    fn nonsense_is_passed_over_and_ends() {
        for text in [
            "",
            ",,,",
            "=",
            "Basic realm=\"open",
            "\"",
            "Bearer =x",
            "a=b",
            "é",
            "Bearer realm=\"\\",
            "x\0y",
        ] {
            let _ = parse(text);
        }
    }

    /// A challenge in one of the ways of writing it.
    fn spelled() -> impl Strategy<Value = (String, Challenge)> {
        let param = (
            "[a-zA-Z][a-zA-Z0-9_-]{0,8}",
            "[ -~\u{e9}\u{4e2d}]{0,16}",
            "[ \t]{0,2}",
            any::<bool>(),
        );
        let scheme = "[a-zA-Z][a-zA-Z0-9-]{0,10}";
        (scheme, prop::collection::vec(param, 0..5), "[ \t]{0,2}").prop_map(
            |(scheme, params, gap)| {
                let mut text = scheme.clone();
                let mut list = Vec::new();
                for (index, (name, value, space, bare)) in params.into_iter().enumerate() {
                    text.push_str(if index == 0 { " " } else { "," });
                    text.push_str(&gap);
                    // Without quotes only what cannot be taken for something else.
                    let plain = !value.is_empty()
                        && value
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b"-._~/:".contains(&b));
                    let written = match bare && plain {
                        true => value.clone(),
                        false => {
                            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
                            format!("\"{escaped}\"")
                        }
                    };
                    text.push_str(&format!("{name}{space}={space}{written}"));
                    list.push((name.to_ascii_lowercase(), value));
                }
                let challenge = Challenge {
                    scheme: scheme.to_ascii_lowercase(),
                    params: list,
                };
                (text, challenge)
            },
        )
    }

    proptest! {
        #[test]
        fn challenges_are_read_as_they_are_written(
            list in prop::collection::vec(spelled(), 1..4), between in "[ \t]{0,2},[ \t,]{0,3}",
        ) {
            let text: Vec<&str> = list.iter().map(|(text, _)| text.as_str()).collect();
            let want: Vec<Challenge> = list.iter().map(|(_, c)| c.clone()).collect();
            prop_assert_eq!(parse(&text.join(&between)), want);
        }

        #[test]
        fn any_mess_is_read_to_no_more_than_it_holds(
            text in "(Basic|Bearer|realm|scope|=|==|\"|\\\\|,| |\t|:|/|~|[a-c]|\u{e9}){0,60}"
        ) {
            let list = parse(&text);
            let held: usize = list
                .iter()
                .map(|c| c.scheme.len() + c.params.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>())
                .sum();
            prop_assert!(held <= text.len(), "{:?}", list);
            prop_assert!(list.iter().all(|c| !c.scheme.is_empty()));
        }
    }

    #[test]
    fn what_is_too_long_is_not_looked_at() {
        let long = format!("Basic realm=\"{}\"", "x".repeat(LONGEST));
        assert!(parse(&long).is_empty());
    }
}
