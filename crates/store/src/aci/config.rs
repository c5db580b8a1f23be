//! From an image manifest to the one model of images.

use super::isolators;
use super::manifest::{App, Manifest};
use super::words::{self, bad};
use crate::error::{Doing, Result};
use rkt_spec::image::{ImageConfig, Port, Unmet};
use rkt_spec::manifest::MountPoint;

/// Most ports of one range; more are no list any more.
const MAX_RANGE: u16 = 64;

/// The run-time defaults of an App Container Image, and what there is to say about them.
///
/// # Errors
/// `Corrupt` for labels and isolators that appc does not allow.
pub(crate) fn config(manifest: &Manifest) -> Result<(ImageConfig, Vec<String>)> {
    let mut config = ImageConfig {
        labels: pairs(&manifest.labels),
        annotations: pairs(&manifest.annotations),
        ..ImageConfig::default()
    };
    platform(manifest, &mut config)?;
    let mut notes = Vec::new();
    if let Some(app) = &manifest.app {
        notes = run_defaults(app, &mut config)?;
    }
    Ok((config, notes))
}

fn pairs(list: &[rkt_spec::manifest::Pair]) -> std::collections::BTreeMap<String, String> {
    list.iter()
        .map(|p| (p.name.clone(), p.value.clone()))
        .collect()
}

fn platform(manifest: &Manifest, config: &mut ImageConfig) -> Result<()> {
    let (os, arch) = (manifest.label("os"), manifest.label("arch"));
    if let (Some(os), Some(arch)) = (os, arch) {
        (config.architecture, config.variant) = words::architecture(os, arch)?;
    }
    if let Some(os) = os {
        if !matches!(os, "linux" | "freebsd" | "darwin") {
            return Err(bad(format!(
                "label `os` is `{}`, which appc does not know",
                words::show(os)
            )));
        }
        config.os = os.to_owned();
    }
    // The original runs no image that does not say both, whatever else it can do with it.
    for (label, value) in [("os", os), ("arch", arch)] {
        if value.is_none() {
            config.unmet.push(Unmet {
                wish: "to run anywhere".to_owned(),
                why: format!("missing {label} label in the image manifest"),
                insecure: String::new(),
            });
        }
    }
    Ok(())
}

fn run_defaults(app: &App, config: &mut ImageConfig) -> Result<Vec<String>> {
    config.entrypoint.clone_from(&app.exec);
    // A group of its own: members of other groups in the image's /etc/group do not count.
    config.user = format!("{}:{}", app.user, app.group);
    config.groups.clone_from(&app.groups);
    config.working_dir.clone_from(&app.working_dir);
    config.env = app
        .environment
        .iter()
        .map(|v| format!("{}={}", v.name, v.value))
        .collect();
    config.mount_points = app
        .mount_points
        .iter()
        .map(|p| MountPoint {
            name: p.name.clone(),
            path: p.path.clone(),
            read_only: p.read_only,
        })
        .collect();
    for handler in &app.handlers {
        unmet(
            config,
            format!("event handler `{handler}`"),
            "rkt runs no event handlers",
        );
    }
    for port in &app.ports {
        if port.socket_activated {
            let wish = format!("port `{}` opened for it", port.name);
            unmet(config, wish, "rkt opens no sockets for apps");
        }
        if port.count > MAX_RANGE {
            let wish = format!("{} ports from `{}` on", port.count, port.name);
            unmet(
                config,
                wish,
                &format!("a range has at most {MAX_RANGE} ports here"),
            );
            continue;
        }
        config.ports.extend((0..port.count).map(|n| Port {
            name: match n {
                0 => port.name.clone(),
                n => format!("{}-{n}", port.name),
            },
            protocol: port.protocol.clone(),
            port: port.port.saturating_add(n),
        }));
    }
    let understood = isolators::understand(&app.isolators).doing(|| "read its isolators".into())?;
    config.isolators = understood.isolators;
    config.unmet.extend(understood.unmet);
    Ok(understood.notes)
}

fn unmet(config: &mut ImageConfig, wish: String, why: &str) {
    config.unmet.push(Unmet {
        wish,
        why: why.to_owned(),
        insecure: String::new(),
    });
}
