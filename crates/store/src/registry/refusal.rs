//! What a registry says when it does not give what it was asked for.

use super::http::Answer;
use crate::error::{Error, Kind};
use serde::Deserialize;
use std::io::Read;

#[derive(Deserialize)]
struct Body {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// The error for any answer that is no success.
pub(super) fn explain(answer: Answer, registry: &str, repository: &str) -> Error {
    let status = answer.status;
    let wait = answer.retry_after();
    let mut bytes = Vec::new();
    // The words of the refusal are welcome, not needed.
    let _ = answer.body.take(64 << 10).read_to_end(&mut bytes);
    let entry = serde_json::from_slice::<Body>(&bytes)
        .ok()
        .and_then(|b| b.errors.into_iter().next());
    let code = entry.as_ref().map_or("", |e| e.code.as_str());
    let words = entry
        .as_ref()
        .map(|e| {
            plain(&format!(
                "{}: {}",
                e.code,
                e.message.as_deref().unwrap_or("")
            ))
        })
        .unwrap_or_default();
    let mut said = format!("HTTP status {status}");
    if !words.is_empty() {
        said.push_str(", ");
        said.push_str(&words);
    }
    if let Some(wait) = wait {
        said.push_str(&format!("; come back in {} s", wait.as_secs()));
    }
    match (status, code) {
        (404, "MANIFEST_UNKNOWN") => Error::new(
            Kind::NotFound,
            format!("`{registry}` has `{repository}`, but not this tag or digest of it ({said})"),
        ),
        (404, _) => Error::new(
            Kind::NotFound,
            format!("`{registry}` has no such part of `{repository}` ({said})"),
        ),
        (401 | 403, _) | (_, "DENIED" | "UNAUTHORIZED") => Error::new(
            Kind::Unauthorized,
            format!("`{registry}` does not give us `{repository}` ({said})"),
        ),
        (429, _) => Error::new(
            Kind::Refused,
            format!("`{registry}` wants us to ask less often ({said})"),
        )
        .hint("a login often raises the limit"),
        (500.., _) => Error::new(
            Kind::Unreachable,
            format!("`{registry}` is not well ({said})"),
        ),
        _ => Error::new(
            Kind::Refused,
            format!("`{registry}` does not give us `{repository}` ({said})"),
        ),
    }
}

/// One short line without control characters: the text is a stranger's.
fn plain(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect();
    line.trim().trim_end_matches(':').to_owned()
}
