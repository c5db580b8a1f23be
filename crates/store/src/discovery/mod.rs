//! From the name of an App Container Image to where it and the keys that sign it are.
//!
//! A page at `https://NAME?ac-discovery=1`, or at a shorter name above, has `meta` tags with
//! templates of addresses. Source: appc 0.8.11, "Image Discovery"; simple discovery is not part of
//! it any more. HTTPS always; plain HTTP after it, and only when the user allows that.

mod html;

use crate::disk::read_limited;
use crate::error::{Doing, Error, Kind, Result};
use crate::options::Network;
use crate::reference::AppImageName;
use crate::registry::web::{From, Web};
use crate::trust::openpgp::MAX_KEY;

/// Largest page that is looked at, bytes.
const MAX_PAGE: u64 = 1 << 20;
/// Most pages that are asked for one name.
const MAX_PAGES: usize = 16;
/// Most addresses of one page that are used.
const MAX_FOUND: usize = 8;

/// Where an image is and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) image: String,
    pub(crate) signature: String,
}

/// The places of an image, in the order of its page. Labels that a template wants have to be
/// there; without a version it is `latest`.
pub(crate) fn images(web: &Web, network: &Network, name: &AppImageName) -> Result<Vec<Found>> {
    let templates = tags(web, network.insecure.http, name.name(), "ac-discovery")?;
    let found: Vec<Found> = templates
        .iter()
        .filter_map(|template| {
            Some(Found {
                image: fill(template, name, "aci")?,
                signature: fill(template, name, "aci.asc")?,
            })
        })
        .take(MAX_FOUND)
        .collect();
    if found.is_empty() {
        return Err(Error::new(
            Kind::NotFound,
            format!("no template of its page fits the labels of `{name}`"),
        ));
    }
    Ok(found)
}

/// A key that a page offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKey {
    /// Where it came from.
    pub url: String,
    /// The file with the key.
    pub bytes: Vec<u8>,
}

/// The keys that the page of a name offers for its images. Nobody has vouched for them but the
/// server. `insecure.http` of `network` allows plain HTTP for pages and keys.
///
/// # Errors
/// `BadReference`, `NotFound`, and whatever asking gives.
pub fn keys(network: &Network, name: &str) -> Result<Vec<OfferedKey>> {
    let name = AppImageName::parse(name)?;
    offered(&Web::new(network), network, name.name())
        .doing(|| format!("find the keys of `{}`", name.name()))
}

pub(crate) fn offered(web: &Web, network: &Network, name: &str) -> Result<Vec<OfferedKey>> {
    let mut list = Vec::new();
    for url in tags(web, network.insecure.http, name, "ac-discovery-pubkeys")? {
        if !may_ask(&url, network.insecure.http) {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "the key at `{}` comes by plain HTTP, which anybody on the way can change",
                    url.escape_debug()
                ),
            )
            .hint("`--insecure-options=pubkey` allows it"));
        }
        let doing = || format!("fetch key `{url}`");
        let answer = web.get(&url, &From::default()).doing(doing)?;
        if answer.status != 200 {
            let why = format!("the server does not give it (status {})", answer.status);
            return Err(Error::new(Kind::NotFound, why)).doing(doing);
        }
        let bytes = read_limited(answer.body, MAX_KEY).doing(doing)?;
        list.push(OfferedKey { url, bytes });
    }
    Ok(list)
}

fn may_ask(url: &str, http: bool) -> bool {
    let lower = url.get(..8).unwrap_or(url).to_ascii_lowercase();
    lower.starts_with("https://") || (http && lower.starts_with("http://"))
}

/// What the tags of a kind say that are for this name: from the first page, walking up, that has
/// one.
fn tags(web: &Web, http: bool, name: &str, kind: &str) -> Result<Vec<String>> {
    let mut first = None;
    let mut part = name;
    for _ in 0..MAX_PAGES {
        let schemes: &[&str] = if http { &["https", "http"] } else { &["https"] };
        for scheme in schemes {
            match page(web, &format!("{scheme}://{part}?ac-discovery=1")) {
                Ok(bytes) => {
                    let found: Vec<String> = html::metas(&bytes)
                        .into_iter()
                        .filter(|(tag, _)| tag == kind)
                        .filter_map(|(_, content)| for_name(&content, name))
                        .take(MAX_FOUND)
                        .collect();
                    if !found.is_empty() {
                        return Ok(found);
                    }
                }
                Err(e) if e.kind() == Kind::Interrupted => return Err(e),
                Err(e) => {
                    first.get_or_insert(e);
                }
            }
        }
        match part.rsplit_once('/') {
            Some((above, _)) => part = above,
            None => break,
        }
    }
    let error = first.unwrap_or_else(|| {
        Error::new(
            Kind::NotFound,
            format!("no page of `{name}` has a tag `{kind}` for it"),
        )
    });
    Err(error.while_doing(format!("ask `{name}` and the names above it")))
}

fn page(web: &Web, url: &str) -> Result<Vec<u8>> {
    let doing = || format!("ask `{url}`");
    let answer = web.get(url, &From::default()).doing(doing)?;
    if answer.status != 200 {
        let why = format!("the server answers with status {}", answer.status);
        return Err(Error::new(Kind::NotFound, why)).doing(doing);
    }
    read_limited(answer.body, MAX_PAGE).doing(doing)
}

/// The address of a tag `PREFIX ADDRESS`, if its prefix is one of the name: whole parts count.
fn for_name(content: &str, name: &str) -> Option<String> {
    let (prefix, address) = content.trim().split_once(char::is_whitespace)?;
    let address = address.trim();
    let rest = name.strip_prefix(prefix)?;
    let fits = !prefix.is_empty() && (rest.is_empty() || rest.starts_with('/'));
    (fits && !address.is_empty()).then(|| address.to_owned())
}

/// A template with everything filled in; `None` when something is left.
fn fill(template: &str, name: &AppImageName, ext: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (key, after) = after.split_once('}')?;
        out.push_str(before);
        match key {
            "name" => out.push_str(name.name()),
            "ext" => out.push_str(ext),
            "version" => {
                let version = name
                    .labels()
                    .get("version")
                    .map_or("latest", String::as_str);
                escape(version, &mut out);
            }
            label => escape(name.labels().get(label)?, &mut out),
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// A label's value cannot become another part of the address.
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&rkt_spec::digest::hex(&[byte]).to_ascii_uppercase());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in_or_left_out() {
        let name = AppImageName::parse("example.com/app:1.0+x,os=linux,evil=a/../b?c").unwrap();
        for (template, want) in [
            (
                "https://a/{name}-{version}-{os}.{ext}",
                Some("https://a/example.com/app-1.0+x-linux.aci"),
            ),
            ("https://a/x.{ext}", Some("https://a/x.aci")),
            ("https://a/{arch}.{ext}", None),
            ("https://a/{", None),
            ("https://a/{evil}", Some("https://a/a%2F..%2Fb%3Fc")),
        ] {
            assert_eq!(fill(template, &name, "aci").as_deref(), want, "{template}");
        }
        let none = AppImageName::parse("example.com/app").unwrap();
        assert_eq!(fill("{version}", &none, "aci").as_deref(), Some("latest"));
    }

    #[test]
    fn a_prefix_is_whole_parts_of_a_name() {
        for (content, want) in [
            ("example.com https://a/{name}", Some("https://a/{name}")),
            ("  example.com/app\n https://a ", Some("https://a")),
            ("example.co https://a", None),
            ("example.com/ap https://a", None),
            ("example.com", None),
            (" https://a", None),
        ] {
            assert_eq!(
                for_name(content, "example.com/app").as_deref(),
                want,
                "{content:?}"
            );
        }
        assert!(
            may_ask("HTTPS://a", false)
                && !may_ask("http://a", false)
                && !may_ask("file://a", true)
        );
    }
}
