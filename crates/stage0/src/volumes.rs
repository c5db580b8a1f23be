//! Volumes and mounts: which belong together, where they may go, which sources are safe.

use crate::error::Error;
use rkt_spec::image::ImageConfig;
use rkt_spec::manifest::{Mount, MountPoint, Volume, VolumeKind, VolumeOwner};
use rkt_spec::name::sanitise;
use rkt_spec::{AppName, VolumeName};

/// Trees of an app that rkt makes itself: no volume goes on them or below.
const RESERVED: [&str; 3] = ["/proc", "/sys", "/dev"];

/// A mount's target in the one form that is compared and mounted.
///
/// # Errors
/// When it is not absolute, has `.` or `..` in it or a control character, or is a place that
/// rkt makes itself.
pub fn target(path: &str) -> Result<String, Error> {
    let bad = |why: &str| {
        Err(Error::usage(format!(
            "mount target `{}` {why}",
            path.escape_debug()
        )))
    };
    if !path.starts_with('/') {
        return bad("is not absolute");
    }
    if path.chars().any(char::is_control) {
        return bad("has a control character");
    }
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    if parts.iter().any(|p| *p == "." || *p == "..") {
        return bad("has `.` or `..` in it");
    }
    if parts.is_empty() {
        return bad("is the app's root, which is its image");
    }
    if path.len() > 4000 || parts.iter().any(|p| p.len() > 255) {
        return bad("is too long");
    }
    let clean = format!("/{}", parts.join("/"));
    if let Some(tree) = RESERVED.iter().find(|tree| is_below(&clean, tree)) {
        return bad(&format!("is in {tree}, which rkt makes for the app"));
    }
    Ok(clean)
}

/// Whether `path` is `tree` or below it; both clean.
pub fn is_below(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a volume that nobody gave begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// What the image has at its path, as docker's images expect.
    OverImage,
    /// Nothing, as App Container Images expect.
    Empty,
}

/// The paths for which an image wants volumes: an App Container Image names them, those of
/// another are named as docker2aci names them.
///
/// # Errors
/// When such a path is one that no volume may have.
pub fn mount_points(config: &ImageConfig) -> Result<Vec<MountPoint>, Error> {
    let mut points: Vec<MountPoint> = Vec::new();
    for point in &config.mount_points {
        let path =
            target(&point.path).map_err(|e| e.while_doing("read the image's mount points"))?;
        if points.iter().any(|p| p.path == path) {
            return Err(Error::new(format!(
                "two mount points of the image are at `{path}`"
            )));
        }
        points.push(MountPoint {
            path,
            ..point.clone()
        });
    }
    for path in &config.volumes {
        let path = target(path).map_err(|e| e.while_doing("read the image's volumes"))?;
        if points.iter().any(|p| p.path == path) {
            continue;
        }
        let stem = sanitise(&format!("volume{path}"))?;
        let mut name = stem.clone();
        let mut n = 0;
        while points.iter().any(|p| p.name.as_str() == name) {
            n += 1;
            let room = stem.get(..58).unwrap_or(&stem);
            name = format!("{room}-{n}");
        }
        points.push(MountPoint {
            name: VolumeName::new(name)?,
            path,
            read_only: false,
        });
    }
    Ok(points)
}

/// The mounts of one app, parents first; volumes that the image wants and nobody gave are added
/// to `volumes` as `<app>-<path>`, or `<app>-<name>` where the image names them.
///
/// An app's own mount wins over one for all apps at the same path, and over the image's.
///
/// # Errors
/// For an unknown volume, a bad target, or two mounts of the same rank at one path.
pub fn mounts_of(
    app: &AppName,
    own: &[Mount],
    for_all: &[Mount],
    (points, fresh): (&[MountPoint], Fresh),
    volumes: &mut Vec<Volume>,
) -> Result<Vec<Mount>, Error> {
    let mut list = checked(own, volumes)?;
    for mount in checked(for_all, volumes)? {
        if !list.iter().any(|m| m.path == mount.path) {
            list.push(mount);
        }
    }
    for point in points {
        if list.iter().any(|m| m.path == point.path) {
            continue;
        }
        let given = volumes.iter().find(|v| v.name == point.name);
        let volume = match given {
            Some(volume) => volume.name.clone(),
            None => implicit(app, point, fresh, volumes)?,
        };
        list.push(Mount {
            volume,
            path: point.path.clone(),
            read_only: point.read_only,
        });
    }
    // By components, so that `/a` comes before `/a/b` and never between it and `/a-b`.
    list.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
    Ok(list)
}

fn checked(mounts: &[Mount], volumes: &[Volume]) -> Result<Vec<Mount>, Error> {
    let mut list: Vec<Mount> = Vec::new();
    for mount in mounts {
        let path = target(&mount.path)?;
        if !volumes.iter().any(|v| v.name == mount.volume) {
            return Err(Error::usage(format!(
                "could not find volume `{}` of the mount at `{path}`",
                mount.volume
            ))
            .hint(format!("name it: --volume={},kind=empty", mount.volume)));
        }
        if list.iter().any(|m| m.path == path) {
            return Err(Error::usage(format!("two mounts have the target `{path}`")));
        }
        list.push(Mount {
            path,
            ..mount.clone()
        });
    }
    Ok(list)
}

fn implicit(
    app: &AppName,
    point: &MountPoint,
    fresh: Fresh,
    volumes: &mut Vec<Volume>,
) -> Result<VolumeName, Error> {
    let stem = match fresh {
        Fresh::OverImage => sanitise(&format!("{app}{}", point.path))?,
        Fresh::Empty => sanitise(&format!("{app}-{}", point.name))?,
    };
    let mut text = stem.clone();
    let mut n = 0;
    while volumes.iter().any(|v| v.name.as_str() == text) {
        n += 1;
        text = format!("{}-{n}", stem.get(..58).unwrap_or(&stem));
    }
    let name = VolumeName::new(text)?;
    volumes.push(Volume {
        name: name.clone(),
        kind: match fresh {
            Fresh::OverImage => VolumeKind::Image,
            Fresh::Empty => VolumeKind::Empty,
        },
        source: None,
        read_only: point.read_only,
        recursive: true,
        mode: None,
        uid: 0,
        gid: 0,
        owner: VolumeOwner::App,
        size: None,
    });
    Ok(name)
}

/// Volumes that no app mounts.
pub fn unused<'a>(
    volumes: &'a [Volume],
    mounts: impl Iterator<Item = &'a Mount> + Clone,
) -> impl Iterator<Item = &'a VolumeName> {
    volumes
        .iter()
        .map(|v| &v.name)
        .filter(move |name| !mounts.clone().any(|m| m.volume == **name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(volume: &str, path: &str) -> Mount {
        Mount {
            volume: VolumeName::new(volume).unwrap(),
            path: path.to_owned(),
            read_only: false,
        }
    }

    fn empty(name: &str) -> Volume {
        Volume {
            name: VolumeName::new(name).unwrap(),
            kind: VolumeKind::Empty,
            source: None,
            read_only: false,
            recursive: true,
            mode: None,
            uid: 0,
            gid: 0,
            owner: VolumeOwner::App,
            size: None,
        }
    }

    #[test]
    fn targets_are_clean_or_refused() {
        assert_eq!(target("/data//x/").unwrap(), "/data/x");
        assert_eq!(target("/devices").unwrap(), "/devices");
        for bad in [
            "data",
            "",
            "/",
            "//",
            "/a/../b",
            "/./a",
            "/proc",
            "/proc/sys",
            "/sys/fs/cgroup",
            "/dev/shm",
            "/a\nb",
        ] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_apps_own_mount_wins_and_parents_come_first() {
        let app = AppName::new("web").unwrap();
        let mut volumes = vec![empty("a"), empty("b"), empty("c")];
        let list = mounts_of(
            &app,
            &[mount("a", "/x/y"), mount("b", "/x")],
            &[mount("c", "/x/"), mount("c", "/x-y")],
            (&[], Fresh::OverImage),
            &mut volumes,
        )
        .unwrap();
        let told: Vec<_> = list
            .iter()
            .map(|m| format!("{} {}", m.path, m.volume))
            .collect();
        assert_eq!(told, ["/x b", "/x/y a", "/x-y c"]);
    }

    #[test]
    fn images_get_the_volumes_they_want() {
        let config = ImageConfig {
            volumes: vec!["/data/".into(), "/data".into(), "/Data".into()],
            ..ImageConfig::default()
        };
        let points = mount_points(&config).unwrap();
        let names: Vec<_> = points.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["volume-data", "volume-data-1"]);
        let app = AppName::new("db").unwrap();
        let mut volumes = vec![empty("volume-data-1")];
        let list = mounts_of(&app, &[], &[], (&points, Fresh::OverImage), &mut volumes).unwrap();
        assert_eq!(list.len(), 2);
        let made = volumes.last().unwrap();
        assert_eq!(
            (made.name.as_str(), made.kind),
            ("db-data", VolumeKind::Image)
        );
        assert_eq!(volumes.len(), 2);
    }

    #[test]
    fn dangling_and_double_mounts_are_refused() {
        let app = AppName::new("web").unwrap();
        let mut volumes = vec![empty("a")];
        for own in [
            vec![mount("nosuch", "/x")],
            vec![mount("a", "/x"), mount("a", "/x/")],
        ] {
            let error =
                mounts_of(&app, &own, &[], (&[], Fresh::OverImage), &mut volumes).unwrap_err();
            assert_eq!(error.status(), 254);
        }
    }
}
