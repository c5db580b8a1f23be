//! Whom to believe: the system's roots, and further ones for a host from `certs.d`.

use super::address::Address;
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::options::Network;
use std::path::Path;
use std::sync::Arc;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

/// Largest PEM file that is read.
const LIMIT: u64 = 16 << 20;

/// The TLS side of connections to one host.
pub(super) fn config(network: &Network, host: &Address, insecure: bool) -> Result<TlsConfig> {
    let builder = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    if network.insecure.tls || insecure {
        return Ok(builder.disable_verification(true).build());
    }
    let mut roots = roots(network)?;
    for dir in &network.cert_dirs {
        for name in [host.authority(), format!("{}:{}", host.host, host.port)] {
            roots.extend(host_roots(&dir.join(name))?);
        }
    }
    if roots.is_empty() {
        return Err(Error::new(
            Kind::System,
            "this host has no root certificates, so no HTTPS server can be believed",
        )
        .hint("install the package `ca-certificates`"));
    }
    Ok(builder
        .root_certs(RootCerts::new_with_certs(&roots))
        .build())
}

fn roots(network: &Network) -> Result<Vec<Certificate<'static>>> {
    if network.roots.is_empty() {
        // Single files that cannot be read are no reason to stop: others hold the roots too.
        return Ok(rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|der| Certificate::from_der(der.as_ref()).to_owned())
            .collect());
    }
    let mut roots = Vec::new();
    for path in &network.roots {
        roots.extend(read(path).doing(|| format!("read root certificates `{}`", path.display()))?);
    }
    Ok(roots)
}

/// Every `*.crt` of a directory such as `/etc/docker/certs.d/HOST:PORT`.
fn host_roots(dir: &Path) -> Result<Vec<Certificate<'static>>> {
    let mut roots = Vec::new();
    let Ok(list) = std::fs::read_dir(dir) else {
        return Ok(roots);
    };
    for entry in list {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "crt") {
            roots.extend(
                read(&path).doing(|| format!("read root certificates `{}`", path.display()))?,
            );
        }
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = disk::read_limited(std::fs::File::open(path)?, LIMIT)?;
    let mut list = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => list.push(certificate),
            Ok(_) => {}
            Err(e) => return Err(Error::new(Kind::Corrupt, e.to_string())),
        }
    }
    Ok(list)
}
