//! Who we are to a registry: nobody until it asks.
//!
//! The first request carries no secret. A 401 names a challenge; `Bearer` sends us to a token
//! service (with the password, if there is one, else as anybody), `Basic` takes the password
//! itself. A password goes over TLS, or over loopback, or where the user allowed plain HTTP.

use super::address::{Address, Scheme};
use super::challenge::{self, Challenge};
use super::http::{Answer, Ask, Http, read_document};
use crate::blob::SMALL;
use crate::credentials::{self, Found, base64_encode};
use crate::error::{Doing, Error, Kind, Result};
use crate::options::Secret;
use crate::reference::RegistryName;
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::Method;

/// What one fetch may show at its registry.
#[derive(Debug)]
pub(super) struct Auth {
    name: RegistryName,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pass: Option<Pass>,
    /// Grows with each new pass, so that four threads with one old token ask for one new one.
    round: u64,
    secrets: Option<Found>,
}

#[derive(Debug, Clone)]
struct Pass {
    header: String,
    /// When to ask for a new one, and how.
    renew: Option<(Instant, Challenge)>,
}

/// A pass as it was when a request was sent.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) header: Option<String>,
    round: u64,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Auth {
    pub(super) fn new(name: &RegistryName) -> Self {
        Self {
            name: name.clone(),
            state: Mutex::default(),
        }
    }

    /// What to send with the next request; renews a token that is about to end.
    pub(super) fn show(&self, http: &Http, registry: &Address) -> Result<Shown> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Pass {
            renew: Some((when, challenge)),
            ..
        }) = &state.pass
            && Instant::now() >= *when
        {
            let challenge = challenge.clone();
            state.pass = Some(self.bearer(http, registry, &mut state.secrets, &challenge)?);
            state.round += 1;
        }
        Ok(Shown {
            header: state.pass.as_ref().map(|p| p.header.clone()),
            round: state.round,
        })
    }

    /// Answers a 401; afterwards the request may be sent again.
    ///
    /// # Errors
    /// `Unauthorized` when there is nothing more that we could show.
    pub(super) fn answer(
        &self,
        http: &Http,
        registry: &Address,
        shown: &Shown,
        refusal: &Answer,
    ) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.round != shown.round {
            return Ok(());
        }
        let challenges: Vec<Challenge> = refusal
            .headers
            .get_all("www-authenticate")
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let pass = match challenges.iter().find(|c| c.scheme == "bearer") {
            Some(bearer) => self.bearer(http, registry, &mut state.secrets, bearer)?,
            None if challenges.iter().any(|c| c.scheme == "basic") => {
                self.basic(http, registry, &mut state.secrets)?
            }
            None => {
                return Err(Error::new(
                    Kind::Unauthorized,
                    format!(
                        "`{}` wants a proof of identity that rkt does not know",
                        self.name.registry
                    ),
                ));
            }
        };
        // The same again would be refused again.
        if state
            .pass
            .as_ref()
            .is_some_and(|old| old.header == pass.header)
        {
            return Err(self.refused(&state.secrets));
        }
        state.pass = Some(pass);
        state.round += 1;
        Ok(())
    }

    /// Whether the registry wanted to see something of us.
    pub(super) fn has_shown(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pass.is_some()
    }

    /// The error for a final 401.
    pub(super) fn denied(&self) -> Error {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.refused(&state.secrets)
    }

    fn refused(&self, found: &Option<Found>) -> Error {
        let registry = &self.name.registry;
        let place = match self.name.repository.as_str() {
            "" => registry,
            repository => repository,
        };
        match found {
            Some(Found {
                secret: Some(_), ..
            }) => Error::new(
                Kind::Unauthorized,
                format!("`{registry}` does not take our user and password for `{place}`"),
            ),
            Some(Found {
                trouble: Some(trouble),
                ..
            }) => Error::new(
                Kind::Unauthorized,
                format!("`{registry}` wants a login for `{place}`, and {trouble}"),
            ),
            _ => Error::new(
                Kind::Unauthorized,
                format!("`{place}` does not exist on `{registry}`, or it wants a login"),
            )
            .hint(format!(
                "check the name; for a private image log in with `rkt auth login {registry}`"
            )),
        }
    }

    fn secret<'a>(&self, http: &Http, found: &'a mut Option<Found>) -> Result<Option<&'a Secret>> {
        if found.is_none() {
            *found = Some(credentials::find(&http.network().credentials, &self.name)?);
        }
        Ok(found.as_ref().and_then(|f| f.secret.as_ref()))
    }

    fn basic(&self, http: &Http, registry: &Address, found: &mut Option<Found>) -> Result<Pass> {
        may_carry_secret(http, registry)?;
        match self.secret(http, found)? {
            Some(Secret::Password { user, password }) => Ok(Pass {
                header: basic_header(user, password),
                renew: None,
            }),
            _ => Err(self.refused(found)),
        }
    }

    fn bearer(
        &self,
        http: &Http,
        registry: &Address,
        found: &mut Option<Found>,
        challenge: &Challenge,
    ) -> Result<Pass> {
        let realm = challenge.param("realm").ok_or_else(|| {
            Error::new(
                Kind::Refused,
                format!(
                    "`{}` wants a token and does not say whose",
                    self.name.registry
                ),
            )
        })?;
        let realm = Address::parse(realm)?;
        if registry.scheme == Scheme::Https && realm.scheme == Scheme::Http {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "`{}` sends us to a token service on plain HTTP",
                    self.name.registry
                ),
            ));
        }
        let secret = self.secret(http, found)?.cloned();
        let answer = self
            .ask_token(http, &realm, challenge, secret.as_ref())
            .doing(|| format!("get a token from `{}`", realm.authority()))?;
        if matches!(answer.status, 400 | 401 | 403) {
            return Err(self.refused(found));
        }
        if answer.status != 200 {
            return Err(Error::new(
                if answer.status >= 500 {
                    Kind::Unreachable
                } else {
                    Kind::Refused
                },
                format!(
                    "the token service `{}` answers {}",
                    realm.authority(),
                    answer.status
                ),
            ));
        }
        let bytes = read_document(answer.body, SMALL, http.network().patience)
            .doing(|| format!("read a token from `{}`", realm.authority()))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| {
            Error::new(
                Kind::Refused,
                format!("`{}` does not answer with a token", realm.authority()),
            )
        })?;
        let text = token
            .token
            .filter(|t| !t.is_empty())
            .or(token.access_token)
            .filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| {
                Error::new(
                    Kind::Refused,
                    format!("`{}` gives an empty token", realm.authority()),
                )
            })?;
        // The spec's default is 60 s; renew after four fifths of the time, but not at once.
        let seconds = token.expires_in.unwrap_or(60).clamp(10, 86_400);
        Ok(Pass {
            header: format!("Bearer {text}"),
            renew: Some((
                Instant::now() + Duration::from_millis(seconds * 800),
                challenge.clone(),
            )),
        })
    }

    fn ask_token(
        &self,
        http: &Http,
        realm: &Address,
        challenge: &Challenge,
        secret: Option<&Secret>,
    ) -> Result<Answer> {
        let mut scopes: Vec<String> = challenge.params("scope").map(str::to_owned).collect();
        if scopes.is_empty() && !self.name.repository.is_empty() {
            scopes.push(format!("repository:{}:pull", self.name.repository));
        }
        let service = challenge.param("service").unwrap_or("");
        let joined = scopes.join(" ");
        if let Some(Secret::Identity(token)) = secret {
            may_carry_secret(http, realm)?;
            let form = form(&[
                ("grant_type", "refresh_token"),
                ("client_id", "rkt"),
                ("service", service),
                ("scope", &joined),
                ("refresh_token", token),
            ]);
            return http.send(
                realm,
                &Ask {
                    method: Method::POST,
                    form: Some(form),
                    ..Ask::default()
                },
            );
        }
        let mut fields = Vec::new();
        if !service.is_empty() {
            fields.push(("service", service));
        }
        fields.extend(scopes.iter().map(|s| ("scope", s.as_str())));
        let mut authorization = None;
        if let Some(Secret::Password { user, password }) = secret {
            may_carry_secret(http, realm)?;
            fields.push(("account", user));
            authorization = Some(basic_header(user, password));
        }
        let mut address = realm.clone();
        address
            .path
            .push(if address.path.contains('?') { '&' } else { '?' });
        address.path.push_str(&form(&fields));
        http.send(
            &address,
            &Ask {
                authorization,
                ..Ask::default()
            },
        )
    }
}

/// Refuses to show a password where others could read it.
fn may_carry_secret(http: &Http, to: &Address) -> Result<()> {
    if to.scheme == Scheme::Https || http.allows_http(to) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Unauthorized,
        format!("`{}` wants a password over plain HTTP", to.authority()),
    ))
}

fn basic_header(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        base64_encode(format!("{user}:{password}").as_bytes())
    )
}

/// `a=b&c=d` with everything but letters, digits and `-._~` escaped.
fn form(fields: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        for b in value.bytes() {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                out.push(char::from(b));
            } else {
                out.push('%');
                out.push_str(&rkt_spec::digest::hex(&[b]).to_ascii_uppercase());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_escaped() {
        assert_eq!(
            form(&[("scope", "repository:a/b:pull,push"), ("account", "ü &=")]),
            "scope=repository%3Aa%2Fb%3Apull%2Cpush&account=%C3%BC%20%26%3D"
        );
    }
}
