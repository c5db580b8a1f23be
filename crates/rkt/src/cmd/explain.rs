//! `rkt explain POD[:APP]`: what was wanted of a pod, what is held, by what, and the flag for it.

use super::look;
use crate::args::{self, Format, Globals};
use crate::failure::Failure;
use clap::Parser;
use rkt_stage0::explain::Explanation;
use std::ffi::OsString;

/// Tell what was wanted of a pod, what holds it, and which flag changes it
///
/// It was decided when the pod was started; `rkt audit` compares it with what runs now, and
/// `rkt run --explain` tells the same of a pod that is not there yet.
#[derive(Debug, Parser)]
#[command(name = "rkt explain")]
struct Words {
    /// UUID, its beginning, or a name; with :APP that app alone
    #[arg(value_name = "POD[:APP]")]
    pod: String,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Words = args::parse("explain", words)?;
    let (word, app) = look::pod_and_app(&asked.pod);
    let pods = look::open(&asked.globals)?;
    let pod = look::find(&pods, word)?;
    let doing = || format!("explain pod `{}`", pod.uuid());
    let bytes = pod.explanation()?.ok_or_else(|| {
        Failure::usage(doing())
            .because("nothing was written of it: it never got as far as its start")
    })?;
    let mut told: Explanation = serde_json::from_slice(&bytes).map_err(|e| {
        Failure::usage(doing())
            .because(e.to_string())
            .hint("a pod is explained by the rkt that started it")
    })?;
    if let Some(app) = app {
        only(&mut told, app).ok_or_else(|| {
            let names = app_names(&told);
            let failure = Failure::usage(doing()).because(format!("it has no app `{app}`"));
            match args::nearest(app, names.iter().map(String::as_str)) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint(format!("it has {}", names.join(", "))),
            }
        })?;
    }
    super::say(&match asked.format {
        Format::Table => told.table(),
        format => super::json(&told, format)?,
    });
    Ok(0)
}

fn app_names(told: &Explanation) -> Vec<String> {
    let titles = told.sections.iter().map(|s| s.title.as_str());
    let names = titles.filter_map(|t| t.strip_prefix("app "));
    names.map(str::to_owned).collect()
}

/// Leaves one app; `None` when there is no such app, and then all stays.
fn only(told: &mut Explanation, app: &str) -> Option<()> {
    let title = format!("app {app}");
    let found = told.sections.iter().position(|s| s.title == title)?;
    let section = told.sections.swap_remove(found);
    told.sections = vec![section];
    told.notes.clear();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_app_is_left() {
        let text = r#"{"sections":[{"title":"pod","rows":[]},
            {"title":"app a","rows":[{"what":"x","is":"y"}]},{"title":"app b","rows":[]}],"notes":["n"]}"#;
        let mut told: Explanation = serde_json::from_str(text).unwrap();
        assert_eq!(app_names(&told), ["a", "b"]);
        assert!(only(&mut told, "c").is_none() && told.sections.len() == 3);
        only(&mut told, "a").unwrap();
        assert!(told.table().contains("APP a") && !told.table().contains("Note"));
    }
}
