//! `rkt why POD[:APP]`: system calls of traced apps that were refused, by which rule, and the flag.

use super::look;
use crate::args::{self, Format, Globals};
use crate::columns;
use crate::failure::{Failure, printable};
use clap::Parser;
use rkt_isolate::seccomp::trace;
use rkt_pod::denials::Denial;
use rkt_spec::errno;
use rkt_spec::plan::Plan;
use serde_json::{Value, json};
use std::ffi::OsString;

/// Tell which system calls of an app were refused, by which rule, and the flag that opens it
///
/// Only of apps that were started with --trace-denials, and of their own processes: those that
/// `rkt enter` adds are refused the same and not noted. What file modes, Landlock or missing
/// capabilities refuse the kernel tells nobody of.
#[derive(Debug, Parser)]
#[command(name = "rkt why")]
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
    let asked: Words = args::parse("why", words)?;
    let (word, app) = look::pod_and_app(&asked.pod);
    let pods = look::open(&asked.globals)?;
    let pod = look::find(&pods, word)?;
    let doing = || format!("tell what pod `{}` was refused", pod.uuid());
    let plan = pod
        .plan()?
        .and_then(|bytes| Plan::decode(&bytes).ok())
        .ok_or_else(|| Failure::usage(doing()).because("its plan cannot be read"))?;
    let apps: Vec<_> = plan
        .apps
        .iter()
        .filter(|a| app.is_none_or(|name| a.name.as_str() == name))
        .collect();
    if apps.is_empty() {
        let why = format!("it has no app `{}`", app.unwrap_or_default());
        return Err(Failure::usage(doing()).because(why));
    }
    if apps.iter().all(|a| a.walls.traced.0.is_empty()) {
        return Err(Failure::usage(doing())
            .because("its denials are not noted")
            .hint("start it with `--trace-denials` after the image"));
    }
    let (mut list, more) = pod.denials()?.unwrap_or_default();
    list.retain(|d| apps.iter().any(|a| a.name == d.app));
    list.sort_by_key(|d| std::cmp::Reverse(d.count));
    super::say(&match asked.format {
        Format::Table => table(&list),
        format => super::json(
            &json!({ "uuid": pod.uuid(), "denials": list.iter().map(value).collect::<Vec<_>>(), "more": more }),
            format,
        )?,
    });
    if more > 0 {
        super::note(&format!("why: {more} calls of other kinds were not kept"));
    }
    Ok(0)
}

fn error_name(number: u16) -> String {
    let found = errno::NAMES.iter().find(|(_, n)| *n == number);
    found.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

fn call(d: &Denial) -> String {
    let name = trace::name(d.number);
    let name = match name {
        "unknown" => format!("call {}", d.number),
        name => name.to_owned(),
    };
    match d.arg {
        Some(arg) => format!("{name}({arg:#x})"),
        None => name,
    }
}

fn table(list: &[Denial]) -> String {
    let heading = ["APP", "TIMES", "CALL", "ERROR", "PROGRAM", "RULE", "FLAG"];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    for d in list {
        let why = trace::why(d.number, d.arg.unwrap_or(0));
        lines.push(vec![
            d.app.to_string(),
            d.count.to_string(),
            call(d),
            error_name(d.errno),
            printable(&d.program).replace('\n', "\u{fffd}"),
            why.rule,
            why.flag,
        ]);
    }
    columns::text(&lines)
}

fn value(d: &Denial) -> Value {
    let why = trace::why(d.number, d.arg.unwrap_or(0));
    json!({
        "app": d.app, "times": d.count, "call": trace::name(d.number), "number": d.number, "arg": d.arg,
        "error": error_name(d.errno), "program": d.program, "rule": why.rule, "flag": why.flag,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_a_line_whatever_the_program_calls_itself() {
        let denial = Denial {
            app: "web".parse().unwrap(),
            number: 41,
            errno: 97,
            arg: Some(40),
            count: 3,
            program: "a\n\x1b[2J".into(),
        };
        let text = table(&[denial]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.contains("EAFNOSUPPORT") && !text.contains('\x1b'),
            "{text}"
        );
    }
}
