//! `rkt auth login|logout REGISTRY`: names and passwords of registries, in docker's file.

mod secret;

use crate::args::{self, Format, Globals};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::registry;
use clap::{Parser, Subcommand};
use rkt_store::login::{self, Kept, Login};
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;

/// Log in to registries, and out again
#[derive(Debug, Parser)]
#[command(name = "rkt auth")]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show name and password to a registry, and keep them when it takes them
    Login(In),
    /// Forget name and password for a registry
    Logout(Out),
}

#[derive(Debug, clap::Args)]
struct In {
    /// The registry, HOST[:PORT] (default: the default registry)
    registry: Option<String>,
    /// The user; asked for on a terminal
    #[arg(short = 'u', long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password from standard input, without its last line end
    #[arg(long)]
    password_stdin: bool,
    /// File to keep it in (default: REGISTRY_AUTH_FILE, or docker's config.json)
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Args)]
struct Out {
    /// The registry, HOST[:PORT] (default: the default registry)
    registry: Option<String>,
    /// File to look into (default: all that a fetch would read)
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    match args::parse::<Words>("auth", words)?.verb {
        Verb::Login(asked) => log_in(&asked),
        Verb::Logout(asked) => log_out(&asked),
    }
}

fn log_in(asked: &In) -> Result<u8, Failure> {
    let globals = &asked.globals;
    let network = registry::options(globals.insecure_options, &globals.configs)?.network;
    let host = match &asked.registry {
        Some(text) => login::registry(text)?,
        None => network.registries.default_registry().to_owned(),
    };
    let (user, password) = secret::ask(&host, asked.username.as_deref(), asked.password_stdin)?;
    let progress = Progress::new(globals.quiet, globals.debug);
    let events = |event: rkt_store::Event<'_>| progress.event(event);
    let said = login::try_login(&host, &user, &password, &network, &events)?;
    let files = registry::credentials();
    let default = asked.authfile.clone().or_else(registry::login_file);
    let default = default.ok_or_else(|| {
        Failure::usage("keep the login")
            .because("HOME is not set, so there is no place for it")
            .hint("name a file with `--authfile`")
    })?;
    let file = match &asked.authfile {
        Some(file) => file,
        None => login::place(&files, &host, &default),
    };
    let kept = login::keep(file, &host, &user, &password)?;
    if said == Login::NotAsked && !globals.quiet {
        super::note(&format!(
            "auth: `{host}` lets in anybody and has not looked at the password"
        ));
    }
    super::say(&match asked.format {
        Format::Table => format!("logged in to {host} as {user}; kept {}\n", place(&kept)),
        format => super::json(
            &json!({
                "registry": host,
                "user": user,
                "checked": said == Login::Taken,
                "kept": value(&kept),
            }),
            format,
        )?,
    });
    Ok(0)
}

fn log_out(asked: &Out) -> Result<u8, Failure> {
    let host = match &asked.registry {
        Some(text) => login::registry(text)?,
        None => registry::registries(&asked.globals.configs)?
            .default_registry()
            .to_owned(),
    };
    let files = match &asked.authfile {
        Some(file) => vec![file.clone()],
        None => registry::credentials(),
    };
    let mut gone = Vec::new();
    for file in &files {
        gone.extend(login::forget(file, &host)?);
    }
    if gone.is_empty() {
        return Err(
            Failure::usage(format!("forget the login for `{host}`")).because("there is none")
        );
    }
    super::say(&match asked.format {
        Format::Table => gone
            .iter()
            .map(|kept| format!("logged out of {host}; it was kept {}\n", place(kept)))
            .collect(),
        format => super::json(
            &json!({
                "registry": host,
                "forgotten": gone.iter().map(value).collect::<Vec<_>>(),
            }),
            format,
        )?,
    });
    Ok(0)
}

fn place(kept: &Kept) -> String {
    match kept {
        Kept::File(path) => format!("in {}, which is not encrypted", path.display()),
        Kept::Program(name) => format!("by docker-credential-{name}"),
    }
}

fn value(kept: &Kept) -> serde_json::Value {
    match kept {
        Kept::File(path) => json!({ "file": path.display().to_string() }),
        Kept::Program(name) => json!({ "program": format!("docker-credential-{name}") }),
    }
}
