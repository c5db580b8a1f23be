//! The texts of `--volume`, `--mount` and `-v`. Pure.

use rkt_spec::manifest::{Mount, Volume, VolumeKind, VolumeOwner};
use rkt_spec::name::sanitise;
use rkt_spec::{Error, VolumeName};

/// The smallest volume in memory, bytes.
const LEAST_SIZE: u64 = 64 << 10;

/// What a `-v` or `--volume` text asks for.
pub(crate) struct Asked {
    /// The volume.
    pub(crate) volume: Volume,
    /// docker's form also says where to mount it.
    pub(crate) mount: Option<Mount>,
}

/// Reads `NAME,kind=host|empty,...` (rkt's) or `/src:/dst[:ro|rw|rro]` (docker's).
///
/// `taken` is how many volumes there are already: docker's form has no name and gets one.
///
/// # Errors
/// Names the part that is wrong.
pub(crate) fn volume(text: &str, taken: usize) -> Result<Asked, Error> {
    if text.starts_with(['/', '.', '~']) {
        return docker(text, taken);
    }
    if let Some((name, _)) = text.split_once(':')
        && !text.contains(',')
    {
        return Err(Error::new(
            "volume",
            text,
            format!(
                "named volumes such as `{name}` do not exist; use `{name},kind=empty` or a host path"
            ),
        ));
    }
    let (name, rest) = text.split_once(',').ok_or_else(|| {
        Error::new(
            "volume",
            text,
            "needs `NAME,kind=host,source=/path` or `NAME,kind=empty` or `/src:/dst[:ro]`",
        )
    })?;
    let mut volume = new(VolumeName::new(name)?, VolumeKind::Empty);
    let mut kind = None;
    for (key, value) in pairs(text, rest)? {
        match key {
            "kind" => {
                kind = Some(match value {
                    "host" | "bind" => VolumeKind::Host,
                    "empty" | "tmpfs" => VolumeKind::Empty,
                    _ => return Err(Error::new("volume", text, "`kind` is `host` or `empty`")),
                });
            }
            "source" => volume.source = Some(source(text, value)?),
            "readOnly" | "readonly" | "ro" => volume.read_only = yes_no(text, key, value)?,
            "recursive" => volume.recursive = yes_no(text, key, value)?,
            "mode" => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|m| *m <= 0o7777);
                volume.mode = Some(mode.ok_or_else(|| {
                    Error::new("volume", text, "`mode` is octal, such as `0755`")
                })?);
            }
            "uid" => volume.uid = id(text, key, value)?,
            "gid" => volume.gid = id(text, key, value)?,
            "size" => volume.size = Some(size(value)?),
            // What other engines call the same.
            "owner" | "idmap" => {
                volume.owner = match value {
                    "app" => VolumeOwner::App,
                    "host" | "none" => VolumeOwner::Host,
                    "host-root" => VolumeOwner::HostRoot,
                    _ => {
                        return Err(Error::new(
                            "volume",
                            text,
                            "`owner` is `app`, `host` or `host-root`",
                        ));
                    }
                };
            }
            _ => {
                return Err(Error::new(
                    "volume",
                    text,
                    format!(
                        "`{key}` is none of kind, source, readOnly, recursive, mode, uid, gid, owner, size"
                    ),
                ));
            }
        }
    }
    volume.kind =
        kind.ok_or_else(|| Error::new("volume", text, "needs `kind=host` or `kind=empty`"))?;
    match (volume.kind, &volume.source) {
        (VolumeKind::Host, None) => Err(Error::new(
            "volume",
            text,
            "`kind=host` needs `source=/path`",
        )),
        (VolumeKind::Empty, Some(_)) => {
            Err(Error::new("volume", text, "`kind=empty` has no source"))
        }
        (VolumeKind::Host, _) if volume.mode.is_some() => Err(Error::new(
            "volume",
            text,
            "`mode` is for `kind=empty`; a host source keeps its own",
        )),
        (VolumeKind::Host, _) if volume.size.is_some() => Err(Error::new(
            "volume",
            text,
            "`size` is for `kind=empty`; the file system of a host source has its own bounds",
        )),
        _ => Ok(Asked {
            volume,
            mount: None,
        }),
    }
}

/// Reads a bound on bytes that are kept in memory.
///
/// # Errors
/// Below 64 KiB, in which no directory tree has room: 0 would be no bound at all.
pub(crate) fn size(text: &str) -> Result<u64, Error> {
    let bytes = rkt_spec::quantity::bytes(text)?;
    if bytes < LEAST_SIZE {
        return Err(Error::new("size", text, "needs at least 64Ki"));
    }
    Ok(bytes)
}

/// Reads `volume=NAME,target=/path[,readOnly=true]`.
///
/// # Errors
/// Names the part that is wrong.
pub(crate) fn mount(text: &str) -> Result<Mount, Error> {
    let mut volume = None;
    let mut path = None;
    let mut read_only = false;
    for (key, value) in pairs(text, text)? {
        match key {
            "volume" => volume = Some(VolumeName::new(value)?),
            "target" | "destination" | "dst" => path = Some(value.to_owned()),
            "readOnly" | "readonly" | "ro" => read_only = yes_no(text, key, value)?,
            "type" | "source" | "src" => {
                return Err(Error::new(
                    "mount",
                    text,
                    "docker's form is not read here; use `-v /src:/dst[:ro]`, or `--volume` and `--mount volume=NAME,target=/path`",
                ));
            }
            _ => {
                return Err(Error::new(
                    "mount",
                    text,
                    format!("`{key}` is none of volume, target, readOnly"),
                ));
            }
        }
    }
    match (volume, path) {
        (Some(volume), Some(path)) => Ok(Mount {
            volume,
            path,
            read_only,
        }),
        _ => Err(Error::new(
            "mount",
            text,
            "needs `volume=NAME,target=/path`",
        )),
    }
}

/// A volume with every default.
pub(crate) fn new(name: VolumeName, kind: VolumeKind) -> Volume {
    Volume {
        name,
        kind,
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

fn docker(text: &str, taken: usize) -> Result<Asked, Error> {
    let mut parts = text.split(':');
    let (Some(from), Some(to)) = (parts.next(), parts.next()) else {
        return Err(Error::new(
            "volume",
            text,
            "needs `/src:/dst[:ro]`; a new empty one is `NAME,kind=empty` with `--mount volume=NAME,target=/dst`",
        ));
    };
    let options = parts.next().unwrap_or("");
    if parts.next().is_some() {
        return Err(Error::new("volume", text, "has too many `:`"));
    }
    let stem =
        sanitise(from.rsplit('/').next().unwrap_or("")).unwrap_or_else(|_| "host".to_owned());
    let stem = stem.get(..50).unwrap_or(&stem).trim_end_matches('-');
    let mut volume = new(
        VolumeName::new(format!("{stem}-{taken}"))?,
        VolumeKind::Host,
    );
    volume.source = Some(source(text, from)?);
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" | "rro" => volume.read_only = true,
            "rw" | "z" | "Z" | "rprivate" | "private" => {}
            "U" => volume.owner = VolumeOwner::App,
            _ => {
                return Err(Error::new(
                    "volume",
                    text,
                    format!("option `{option}` is none of ro, rw"),
                ));
            }
        }
    }
    let mount = Mount {
        volume: volume.name.clone(),
        path: to.to_owned(),
        read_only: false,
    };
    Ok(Asked {
        volume,
        mount: Some(mount),
    })
}

fn source(text: &str, path: &str) -> Result<String, Error> {
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err(Error::new(
            "volume",
            text,
            format!("the source `{path}` is not absolute"),
        ))
    }
}

fn pairs<'a>(whole: &str, text: &'a str) -> Result<Vec<(&'a str, &'a str)>, Error> {
    let mut list: Vec<(&str, &str)> = Vec::new();
    for item in text.split(',') {
        let (key, value) = match item.split_once('=') {
            Some(pair) => pair,
            // A bare word is a switch, as in docker's `readonly`.
            None => (item, "true"),
        };
        if list.iter().any(|(k, _)| *k == key) {
            return Err(Error::new("volume", whole, format!("says `{key}` twice")));
        }
        list.push((key, value));
    }
    Ok(list)
}

fn yes_no(text: &str, key: &str, value: &str) -> Result<bool, Error> {
    super::table::yes_no(value)
        .ok_or_else(|| Error::new("volume", text, format!("`{key}` is `true` or `false`")))
}

fn id(text: &str, key: &str, value: &str) -> Result<u32, Error> {
    value
        .parse::<u32>()
        .ok()
        .filter(|id| *id <= 65_535)
        .ok_or_else(|| Error::new("volume", text, format!("`{key}` is 0 to 65535")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_in_rkts_and_dockers_words() {
        let v = volume("data,kind=host,source=/srv,readOnly=true,owner=host", 0).unwrap();
        assert_eq!(v.volume.source.as_deref(), Some("/srv"));
        assert!(v.volume.read_only && v.volume.recursive && v.mount.is_none());
        assert_eq!(v.volume.owner, VolumeOwner::Host);
        let owner = |words: &str| volume(words, 0).unwrap().volume.owner;
        let root = owner("data,kind=host,source=/srv,idmap=host-root");
        assert_eq!(root, VolumeOwner::HostRoot);
        assert_eq!(root, owner("data,kind=host,source=/srv,owner=host-root"));
        let v = volume("scratch,kind=empty,mode=0700,uid=5,gid=6", 0).unwrap();
        assert_eq!(
            (v.volume.mode, v.volume.uid, v.volume.gid),
            (Some(0o700), 5, 6)
        );
        assert_eq!(v.volume.size, None);
        let v = volume("scratch,kind=tmpfs,size=64Mi", 0).unwrap();
        assert_eq!(
            (v.volume.kind, v.volume.size),
            (VolumeKind::Empty, Some(64 << 20))
        );
        let v = volume("/srv/Web Data:/data:ro", 3).unwrap();
        assert_eq!(v.volume.name.as_str(), "web-data-3");
        assert!(v.volume.read_only);
        assert_eq!(v.mount.unwrap().path, "/data");
    }

    #[test]
    fn wrong_volumes_say_what_is_wrong() {
        for (text, why) in [
            ("data", "needs `NAME,kind=host"),
            ("data,source=/x", "needs `kind=host`"),
            ("data,kind=host", "needs `source="),
            ("data,kind=host,source=rel", "not absolute"),
            ("./rel:/x", "not absolute"),
            ("data,kind=empty,colour=red", "`colour` is none of"),
            ("data,kind=empty,kind=host", "twice"),
            ("data,kind=empty,uid=65536", "0 to 65535"),
            ("data,kind=empty,mode=9", "octal"),
            ("data,kind=empty,size=0", "at least 64Ki"),
            ("data,kind=empty,size=lots", "needs a number"),
            (
                "data,kind=host,source=/x,size=1Mi",
                "`size` is for `kind=empty`",
            ),
            ("pgdata:/var/lib/pg", "named volumes"),
            ("/a:/b:wild", "`wild` is none of"),
            ("/a", "needs `/src:/dst"),
            ("Bad Name,kind=empty", "volume name"),
        ] {
            let error = volume(text, 0).err().unwrap().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(mount("volume=a").is_err());
        assert!(mount("type=bind,src=/a,dst=/b").is_err());
        assert_eq!(mount("volume=a,target=/p").unwrap().path, "/p");
    }
}
