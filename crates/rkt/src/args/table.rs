//! The options of `run`, one row each. The scanner and the help read this table and nothing else.

use super::walls::{self, Cover, capabilities};
use super::{network, volume};
use rkt_isolate::plan::Denials;
use rkt_spec::manifest::{Isolator, Pair};
use rkt_spec::{AppName, PodName, quantity, signal};
use rkt_stage0::request::{AppRequest, InsecureOptions, Notes, RunRequest, Stdin};
use rkt_store::mounts::Way;
use std::collections::BTreeMap;

/// What an option's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// None; `=true` and `=false` are understood.
    Switch,
    /// The text after `=` or the next word; the name is for the help.
    Text(&'static str),
}

/// Why a value was refused.
pub(crate) type Refusal = String;

/// What an option does.
#[derive(Clone, Copy)]
pub(crate) enum Effect {
    /// To the pod; may stand anywhere.
    Pod(fn(&mut Run, &str) -> Result<(), Refusal>),
    /// To the nearest image before it.
    App(fn(&mut AppRequest, &str) -> Result<(), Refusal>),
    /// To the nearest image before it; without one, to every app or to the pod.
    Mount(fn(&mut RunRequest, Option<usize>, &str) -> Result<(), Refusal>),
    /// Nothing yet, for this reason.
    No(&'static str),
}

/// The request, and what only the command needs to know.
#[derive(Debug)]
pub(crate) struct Run {
    /// For stage0.
    pub(crate) request: RunRequest,
    /// `--system-config`, `--local-config`, `--user-config`.
    pub(crate) configs: super::Configs,
    /// `--trust-keys-from-https`.
    pub(crate) trust_keys_from_https: bool,
    /// `--explain`.
    pub(crate) explain: bool,
    /// `--format`.
    pub(crate) format: super::Format,
    /// `--layer-limits`.
    pub(crate) limits: rkt_store::layer::Limits,
    /// `--help`.
    pub(crate) help: bool,
}

/// One option.
pub(crate) struct Flag {
    /// Name without dashes.
    pub(crate) name: &'static str,
    /// Other names.
    pub(crate) aliases: &'static [&'static str],
    /// One-letter name.
    pub(crate) short: Option<char>,
    /// Whether it takes a value.
    pub(crate) value: Value,
    /// What it does.
    pub(crate) effect: Effect,
    /// One line for the help; empty hides the row.
    pub(crate) help: &'static str,
}

const fn pod(
    name: &'static str,
    value: Value,
    help: &'static str,
    set: fn(&mut Run, &str) -> Result<(), Refusal>,
) -> Flag {
    Flag {
        name,
        aliases: &[],
        short: None,
        value,
        effect: Effect::Pod(set),
        help,
    }
}

const fn app(
    name: &'static str,
    value: Value,
    help: &'static str,
    set: fn(&mut AppRequest, &str) -> Result<(), Refusal>,
) -> Flag {
    Flag {
        name,
        aliases: &[],
        short: None,
        value,
        effect: Effect::App(set),
        help,
    }
}

const fn no(name: &'static str, value: Value, reason: &'static str) -> Flag {
    Flag {
        name,
        aliases: &[],
        short: None,
        value,
        effect: Effect::No(reason),
        help: "",
    }
}

impl Flag {
    const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }
}

use Value::{Switch, Text};

/// Every option of `run`.
pub(crate) const FLAGS: &[Flag] = &[
    // The pod.
    pod("detach", Switch, "return when every app runs; prints name and UUID", |r, v| {
        r.request.detach = switch(v)?;
        Ok(())
    })
    .short('d'),
    pod("interactive", Switch, "give the app a terminal (-it), or a pipe when stdin is none (-i: always a pipe)", |r, v| {
        r.request.stdin = if switch(v)? { Stdin::Auto } else { Stdin::Null };
        Ok(())
    }),
    Flag {
        short: Some('i'),
        ..pod("open-stdin", Switch, "", |r, v| {
            if switch(v)? && r.request.stdin != Stdin::Tty {
                r.request.stdin = Stdin::Stream;
            }
            Ok(())
        })
    },
    pod("tty", Switch, "give the app a terminal", |r, v| {
        if switch(v)? {
            r.request.stdin = Stdin::Tty;
        }
        Ok(())
    })
    .short('t'),
    pod("rm", Switch, "remove the pod when it ends", |r, v| {
        r.request.remove = switch(v)?;
        Ok(())
    }),
    pod("pod-name", Text("NAME"), "name of the pod", |r, v| {
        r.request.pod_name = Some(PodName::new(v).map_err(text)?);
        Ok(())
    }),
    pod("hostname", Text("NAME"), "host name of the pod (default rkt-UUID)", |r, v| {
        r.request.hostname = Some(hostname(v)?);
        Ok(())
    }),
    pod("net", Text("NAME[:KEY=VALUE;..],..|all|none|host|pasta"), "networks: names, all of them, loopback only, the host's own, or by way of the program pasta\n(default `default`)", |r, v| {
        network::net(&mut r.request, v)
    })
    .also(&["network"]),
    pod("port", Text("PORT"), "open a port of the host: NAME:[ADDRESS:]PORT with a port that the image names, or\n[ADDRESS:]PORT:PORT[/udp|sctp], also of ranges; address 127.0.0.1 unless said, IPv6 in brackets;\n,via=socket hands the listening socket to the app (LISTEN_FDS)", |r, v| {
        network::port(&mut r.request, v)
    })
    .also(&["publish"])
    .short('p'),
    pod("dns", Text("ADDRESS,..|host|none"), "name servers; the host's file as it is; or the image's (default: those of the networks)", |r, v| {
        network::dns(r.request.dns.servers(v))
    }),
    pod("dns-search", Text("DOMAIN,.."), "domains to search names in", |r, v| network::dns(r.request.dns.search(v))),
    pod("dns-opt", Text("OPTION,.."), "options of the resolver, such as ndots:2", |r, v| network::dns(r.request.dns.options(v)))
        .also(&["dns-option"]),
    pod("dns-domain", Text("DOMAIN"), "domain of the pod", |r, v| network::dns(r.request.dns.domain(v))),
    pod("hosts-entry", Text("ADDRESS=NAME,..|host"), "lines of /etc/hosts, or the host's file as it is", |r, v| {
        network::dns(r.request.hosts.entry(v))
    }),
    pod("add-host", Text("NAME:ADDRESS"), "", |r, v| network::dns(r.request.hosts.add_host(v))),
    pod("set-env", Text("NAME=VALUE"), "environment of every app; NAME alone copies yours", |r, v| {
        let (name, value) = match v.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (v, None),
        };
        rkt_stage0::environment::check_name(name).map_err(text)?;
        if r.request.set_env.iter().any(|(n, _)| n == name) {
            return Err(format!("`{name}` is set twice"));
        }
        r.request.set_env.push((name.to_owned(), value));
        Ok(())
    })
    .also(&["env"])
    .short('e'),
    pod("set-env-file", Text("FILE"), "environment of every app, a NAME=VALUE a line", |r, v| {
        r.request.env_files.push(v.into());
        Ok(())
    })
    .also(&["env-file"]),
    pod("inherit-env", Switch, "give apps what your environment has and their image lacks", |r, v| {
        r.request.inherit_env = switch(v)?;
        Ok(())
    }),
    Flag {
        name: "volume",
        aliases: &[],
        short: Some('v'),
        value: Text("VOLUME"),
        effect: Effect::Mount(|request, at, v| {
            let asked = volume::volume(v, request.volumes.len()).map_err(text)?;
            if request.volumes.iter().any(|o| o.name == asked.volume.name) {
                return Err(format!("there is a volume `{}` already", asked.volume.name));
            }
            request.volumes.push(asked.volume);
            if let Some(mount) = asked.mount {
                mounts(request, at).push(mount);
            }
            Ok(())
        }),
        help: "NAME,kind=host,source=/path[,readOnly=true][,recursive=false][,owner=app|host|host-root],\n\
               NAME,kind=empty[,size=64Mi][,mode=0755][,uid=0][,gid=0], or /src:/dst[:ro];\n\
               with a size it lies in memory and holds no more, without it on disk",
    },
    Flag {
        name: "mount",
        aliases: &[],
        short: None,
        value: Text("MOUNT"),
        effect: Effect::Mount(|request, at, v| {
            let mount = volume::mount(v).map_err(text)?;
            mounts(request, at).push(mount);
            Ok(())
        }),
        help: "volume=NAME,target=/path[,readOnly=true]; before the first image: for every app",
    },
    pod("uuid-file-save", Text("FILE"), "write the pod's UUID there before it starts", |r, v| {
        r.request.uuid_file = Some(v.into());
        Ok(())
    })
    .also(&["cidfile"]),
    pod("pull-policy", Text("new|never|update"), "when to ask the registry (default new: what is missing)", |r, v| {
        r.request.pull = v.parse().map_err(text)?;
        Ok(())
    })
    .also(&["pull"]),
    pod("layer-limits", Text("LIST"), "how much a fetched layer may ask for: bytes=SIZE,ratio=N,entries=N,depth=N,metadata=SIZE", |r, v| {
        r.limits = super::limits::limits(v)?;
        Ok(())
    }),
    pod("arch", Text("ARCH"), "architecture to choose from an index, such as arm64", |r, v| {
        r.request.arch = Some(word(v)?);
        Ok(())
    }),
    pod("os", Text("OS"), "operating system to choose from an index", |r, v| {
        r.request.os = Some(word(v)?);
        Ok(())
    }),
    pod("platform", Text("OS/ARCH"), "", |r, v| {
        let (os, arch) = v.split_once('/').ok_or("needs `OS/ARCH`, such as `linux/amd64`")?;
        r.request.os = Some(word(os)?);
        r.request.arch = Some(word(arch)?);
        Ok(())
    }),
    pod("sysctl", Text("NAME=VALUE"), "setting of the pod's own namespaces: net.*, kernel.shm*, kernel.msg*, kernel.sem,\nfs.mqueue.*", |r, v| {
        walls::sysctl(&mut r.request, v)
    }),
    pod("pod-memory", Text("SIZE"), "limit of memory of all apps together", |r, v| {
        let limit = quantity::bytes(v).map_err(text)?.to_string();
        set_pod_isolator(r, Isolator::Memory { limit });
        Ok(())
    }),
    pod("pod-cpu", Text("CORES"), "limit of processor time of all apps together", |r, v| {
        quantity::milli(v).map_err(text)?;
        set_pod_isolator(r, Isolator::Cpu { limit: v.to_owned() });
        Ok(())
    }),
    pod("pod-pids", Text("N"), "limit of tasks of all apps together, 0 is none (default 4096)", |r, v| {
        let limit = v.parse().map_err(|_| "needs a number, 0 for no limit".to_owned())?;
        set_pod_isolator(r, Isolator::Pids { limit });
        Ok(())
    }),
    pod("pod-caps-retain", Text("CAP,.."), "capabilities that apps of the pod may have at most", |r, v| {
        let set = capabilities(v)?;
        set_pod_isolator(r, Isolator::CapabilitiesRetain { set });
        Ok(())
    }),
    pod("landlock", Text("on|off"), "Landlock domain of the apps (default on)", |r, v| {
        r.request.landlock = match v {
            "on" => true,
            "off" => false,
            _ => return Err("needs `on` or `off`".to_owned()),
        };
        Ok(())
    }),
    pod("explain", Switch, "print the plan and run nothing", |r, v| {
        r.explain = switch(v)?;
        Ok(())
    }),
    pod("format", Text("table|json|json-pretty"), "how --explain, and --detach, print", |r, v| {
        r.format = match v {
            "table" => super::Format::Table,
            "json" => super::Format::Json,
            "json-pretty" => super::Format::JsonPretty,
            _ => return Err("needs one of table, json, json-pretty".to_owned()),
        };
        Ok(())
    }),
    // The app.
    app("name", Text("NAME"), "name of the app (default: the image's last word)", |a, v| {
        a.name = Some(AppName::new(v).map_err(text)?);
        Ok(())
    }),
    app("signature", Text("FILE"), "file with the signature of this App Container Image, instead of the one beside it", |a, v| {
        a.signature = Some(v.into());
        Ok(())
    }),
    app("exec", Text("PROGRAM"), "program instead of the image's entrypoint", |a, v| {
        if v.is_empty() {
            return Err("needs a program".to_owned());
        }
        a.exec = Some(v.to_owned());
        Ok(())
    })
    .also(&["entrypoint"]),
    app("environment", Text("NAME=VALUE"), "environment of this app", |a, v| {
        let (name, value) = v.split_once('=').ok_or("needs `NAME=VALUE`")?;
        rkt_stage0::environment::check_name(name).map_err(text)?;
        a.environment.push((name.to_owned(), value.to_owned()));
        Ok(())
    }),
    app("working-dir", Text("DIR"), "directory to start in", |a, v| {
        a.working_dir = Some(v.to_owned());
        Ok(())
    })
    .also(&["workdir"])
    .short('w'),
    app("user", Text("USER[:GROUP]"), "user, a number or a name of the image", |a, v| {
        a.user = Some(v.to_owned());
        Ok(())
    })
    .short('u'),
    app("group", Text("GROUP"), "group, a number or a name of the image", |a, v| {
        a.group = Some(v.to_owned());
        Ok(())
    }),
    app("supplementary-gids", Text("N,.."), "more groups, by number", |a, v| {
        for one in v.split(',') {
            let gid = one.parse().ok().filter(|gid| *gid <= 65_535);
            a.groups.push(gid.ok_or(format!("`{one}` is no number 0 to 65535"))?);
        }
        Ok(())
    })
    .also(&["group-add"]),
    app("readonly-rootfs", Switch, "make `/` read-only; volumes stay as they are", |a, v| {
        a.read_only = switch(v)?;
        Ok(())
    })
    .also(&["read-only"]),
    app("root-size", Text("SIZE"), "limit of what the app writes to `/`, which is kept in memory then (default: on disk,\nwithout a limit)", |a, v| {
        a.root_bytes = Some(volume::size(v).map_err(text)?);
        Ok(())
    }),
    app("memory", Text("SIZE"), "limit of memory, such as 64Mi", |a, v| {
        let bytes = quantity::bytes(v).map_err(text)?;
        if bytes < 4096 {
            return Err("needs at least 4096 bytes".to_owned());
        }
        set_isolator(a, Isolator::Memory { limit: bytes.to_string() });
        Ok(())
    })
    .short('m'),
    app("pids", Text("N"), "limit of tasks, 0 is none (default 1024)", |a, v| {
        let limit = if v == "-1" {
            0
        } else {
            v.parse().map_err(|_| "needs a number, 0 for no limit".to_owned())?
        };
        set_isolator(a, Isolator::Pids { limit });
        Ok(())
    })
    .also(&["pids-limit"]),
    app("cpu", Text("CORES"), "limit of processor time, such as 500m for half a core", |a, v| {
        if quantity::milli(v).map_err(text)? == 0 {
            return Err("needs more than nothing".to_owned());
        }
        set_isolator(a, Isolator::Cpu { limit: v.to_owned() });
        Ok(())
    })
    .also(&["cpus"]),
    app("cpu-shares", Text("N"), "weight beside the other apps of the pod when processors are short, 2 to 262144 (default 1024)", |a, v| {
        let shares = v.parse().ok().filter(|n| (2..=262_144).contains(n));
        set_isolator(a, Isolator::CpuShares(shares.ok_or("needs 2 to 262144")?));
        Ok(())
    }),
    app("caps-retain", Text("CAP,.."), "exactly these capabilities", |a, v| {
        let set = capabilities(v)?;
        if a.isolators.iter().any(|i| matches!(i, Isolator::CapabilitiesRemove { .. })) {
            return Err("does not go with --caps-remove".to_owned());
        }
        set_isolator(a, Isolator::CapabilitiesRetain { set });
        Ok(())
    })
    .also(&["cap-retain"]),
    app("caps-remove", Text("CAP,.."), "the default capabilities without these", |a, v| {
        let set = capabilities(v)?;
        if a.isolators.iter().any(|i| matches!(i, Isolator::CapabilitiesRetain { .. })) {
            return Err("does not go with --caps-retain".to_owned());
        }
        set_isolator(a, Isolator::CapabilitiesRemove { set });
        Ok(())
    })
    .also(&["cap-remove"]),
    app("seccomp", Text("LIST"), "system calls: mode=retain|remove[,errno=NAME],CALL,.. with wildcards such as\n@docker/default-whitelist; a file with a profile in docker's JSON; or unconfined. What breaks out\nof an app stays refused by all but the last", walls::seccomp),
    app("trace-denials", Switch, "note every refused system call for `rkt why`; makes them slower", |a, v| {
        a.denials = match switch(v)? {
            true => Denials::Told,
            false => Denials::Silent,
        };
        Ok(())
    }),
    app("socket-family", Text("+AF_X,-AF_Y"), "socket families beside or without UNIX, INET, INET6 and NETLINK", |a, v| {
        set_isolator(a, walls::families(v)?);
        Ok(())
    }),
    app("userns", Text("app|pod"), "user namespace: the app's own, or the pod's, where capabilities act on its network\n(default app)", |a, v| {
        set_isolator(a, walls::userns(v)?);
        Ok(())
    }),
    app("userns-nested", Text("N"), "user namespaces that the app may make itself (default 0)", |a, v| {
        let n = v.parse().ok().filter(|n| *n <= 10_000);
        set_isolator(a, Isolator::NestedUserNamespaces(n.ok_or("needs 0 to 10000")?));
        Ok(())
    }),
    app("mask", Text("PATH,.."), "paths to hide from the app", |a, v| walls::paths(a, Cover::Mask, v)),
    app("unmask", Text("PATH,..|all"), "hidden and read-only paths of /proc and /sys to show and open, with all below", |a, v| {
        walls::paths(a, Cover::Unmask, v)
    }),
    app("readonly-paths", Text("PATH,.."), "paths to make read-only", |a, v| walls::paths(a, Cover::ReadOnly, v)),
    app("device", Text("/dev/X[:/dev/Y][:rw]"), "a device of the host, by a node of the app's own", walls::device),
    app("rlimit", Text("NAME=SOFT[:HARD]"), "limit of each process, such as nofile=1024:4096", walls::rlimit)
        .also(&["ulimit"]),
    app("no-new-privs", Text("BOOL"), "whether execve may not raise privileges (default true)", |a, v| {
        set_isolator(a, Isolator::NoNewPrivileges(switch(v)?));
        Ok(())
    })
    .also(&["no-new-privileges"]),
    app("oom-score-adj", Text("N"), "-1000 to 1000: whom the kernel kills first", |a, v| {
        let n = v.parse().ok().filter(|n| (-1000..=1000).contains(n));
        set_isolator(a, Isolator::OomScoreAdj(n.ok_or("needs -1000 to 1000")?));
        Ok(())
    })
    .also(&["oom-score-adjust"]),
    app("stop-signal", Text("SIGNAL"), "signal that asks the app to end (default: the image's)", |a, v| {
        a.stop_signal = Some(signal::name(signal::parse(v).map_err(text)?));
        Ok(())
    }),
    app("stop-timeout", Text("TIME"), "time from that signal to SIGKILL, seconds or 1m30s (default 10)", |a, v| {
        let ms = crate::view::time::duration(v)?.as_millis();
        let ms = u32::try_from(ms).ok().filter(|ms| *ms <= 600_000);
        a.stop_timeout_ms = Some(ms.ok_or("needs 0 to 600 seconds")?);
        Ok(())
    }),
    app("shm-size", Text("SIZE"), "size of /dev/shm (default 64Mi)", |a, v| {
        a.shm_bytes = Some(quantity::bytes(v).map_err(text)?);
        Ok(())
    }),
    app("log-max-size", Text("SIZE"), "rotate the app's log when it grows past this (default 10Mi)", |a, v| {
        let bytes = quantity::bytes(v).map_err(text)?;
        if bytes < 4096 {
            return Err("needs at least 4096 bytes".to_owned());
        }
        a.log_max_bytes = Some(bytes);
        Ok(())
    }),
    app("log-files", Text("N"), "log files kept, 1 to 100 (default 3)", |a, v| {
        let n = v.parse().ok().filter(|n| (1..=100).contains(n));
        a.log_files = Some(n.ok_or("needs 1 to 100")?);
        Ok(())
    }),
    app("annotation", Text("NAME=VALUE"), "a free note in the manifest", |a, v| {
        let (name, value) = v.split_once('=').ok_or("needs `NAME=VALUE`")?;
        let (name, value) = (name.to_owned(), value.to_owned());
        a.annotations.push(Pair { name, value });
        Ok(())
    })
    .also(&["label"]),
    Flag {
        name: "user-label",
        aliases: &[],
        short: None,
        value: Text("NAME=VALUE"),
        effect: Effect::Mount(|request, at, v| keep(&mut notes(request, at).labels, v)),
        help: "a label for other programs, shown by list and status; before the first image: the pod's",
    },
    Flag {
        name: "user-annotation",
        aliases: &[],
        short: None,
        value: Text("NAME=VALUE"),
        effect: Effect::Mount(|request, at, v| keep(&mut notes(request, at).annotations, v)),
        help: "a note for other programs; before the first image: the pod's",
    },
    // Global.
    pod("dir", Text("DIR"), "directory of images and pods (default /var/lib/rkt)", |r, v| {
        r.request.place.dir = v.into();
        Ok(())
    }),
    pod("run-dir", Text("DIR"), "", |r, v| {
        r.request.place.run_dir = v.into();
        Ok(())
    }),
    pod("system-config", Text("DIR"), "", |r, v| {
        r.configs.system_config = v.into();
        Ok(())
    }),
    pod("local-config", Text("DIR"), "directory of this host's configuration (default /etc/rkt)", |r, v| {
        r.configs.local_config = v.into();
        Ok(())
    }),
    pod("user-config", Text("DIR"), "", |r, v| {
        r.configs.user_config = Some(v.into());
        Ok(())
    }),
    pod("cgroup-parent", Text("NAME"), "cgroup below which the pod's is made, instead of a systemd scope or `rkt`", |r, v| {
        r.request.place.cgroup_parent = Some(v.to_owned());
        Ok(())
    }),
    pod("debug", Switch, "tell every step on stderr", |r, v| {
        r.request.debug = switch(v)?;
        Ok(())
    }),
    pod("quiet", Switch, "no progress and no notes, errors only", |r, v| {
        r.request.quiet = switch(v)?;
        Ok(())
    })
    .short('q'),
    pod("trust-keys-from-https", Switch, "trust the keys that the page of an ACI offers, when none is trusted yet", |r, v| {
        r.trust_keys_from_https = switch(v)?;
        Ok(())
    }),
    pod("insecure-options", Text("LIST"), "checks to leave out: image,tls,http,capabilities,paths,seccomp,landlock,..", |r, v| {
        let more = InsecureOptions::parse(v).map_err(text)?;
        r.request.insecure = r.request.insecure.with(more);
        Ok(())
    }),
    pod("insecure-skip-verify", Switch, "", |r, v| {
        if switch(v)? {
            r.request.insecure = r.request.insecure.with(InsecureOptions::IMAGE);
            r.request.notes.push(
                "--insecure-skip-verify is the old spelling of --insecure-options=image".to_owned(),
            );
        }
        Ok(())
    }),
    pod("layers", Text("WAY"), "", |r, v| {
        r.request.layers = match v {
            "best" => Way::Best,
            "file" => Way::File,
            "loop" => Way::Loop,
            "directory" => Way::Directory,
            _ => return Err("needs one of best, file, loop, directory".to_owned()),
        };
        Ok(())
    }),
    pod("weaken", Text("LIST"), "", weaken),
    pod("help", Switch, "", |r, v| {
        r.help = switch(v)?;
        Ok(())
    })
    .short('h'),
    // What people type and this version does not have.
    no("privileged", Switch, "there is no --privileged; grant what is missing with --caps-retain, --seccomp, --device, --userns=pod, --no-new-privs=false or a volume"),
    no("cap-add", Text("CAP"), "name the whole set with --caps-retain=CAP,.."),
    no("cap-drop", Text("CAP"), "use --caps-remove=CAP,.."),
    no("security-opt", Text("OPTION"), "use --no-new-privs, --landlock, --seccomp=FILE and --unmask"),
    no("restart", Text("POLICY"), "restarts do not exist yet; let systemd restart `rkt run`"),
    no("pod-manifest", Text("FILE"), "pod manifests are not read yet; name the images on the command line"),
    no("private-users", Switch, "every app has a user namespace of its own; there is nothing to switch on"),
    no("init", Switch, "every pod has an init already"),
    no("tmpfs", Text("PATH"), "use --volume=NAME,kind=empty,size=64Mi --mount=volume=NAME,target=PATH"),
    no("mds-register", Switch, "there is no metadata service yet"),
    no("stage1-name", Text("NAME"), "stage1 is part of rkt; there are no stage1 images any more")
        .also(&["stage1-url", "stage1-path", "stage1-hash", "stage1-from-dir"]),
];

/// The app's own list, or the one for all apps.
fn mounts(request: &mut RunRequest, at: Option<usize>) -> &mut Vec<rkt_spec::manifest::Mount> {
    match at.and_then(|at| request.apps.get_mut(at)) {
        Some(app) => &mut app.mounts,
        None => &mut request.mounts,
    }
}

/// The app's own, or the pod's.
fn notes(request: &mut RunRequest, at: Option<usize>) -> &mut Notes {
    match at.and_then(|at| request.apps.get_mut(at)) {
        Some(app) => &mut app.notes_of_user,
        None => &mut request.notes_of_user,
    }
}

fn keep(map: &mut BTreeMap<String, String>, text: &str) -> Result<(), Refusal> {
    let (name, value) = text.split_once('=').ok_or("needs `NAME=VALUE`")?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("needs a name of printable characters".to_owned());
    }
    match map.insert(name.to_owned(), value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(format!("`{name}` is given twice")),
    }
}

#[cfg(feature = "weaken")]
fn weaken(run: &mut Run, list: &str) -> Result<(), Refusal> {
    for word in list.split(',').filter(|w| !w.is_empty()) {
        let found = rkt_spec::plan::weaken::NAMES
            .iter()
            .find(|(n, _)| *n == word);
        run.request.weaken |= found.ok_or(format!("no defence is called `{word}`"))?.1;
    }
    Ok(())
}

#[cfg(not(feature = "weaken"))]
fn weaken(_: &mut Run, _: &str) -> Result<(), Refusal> {
    Err("exists only in builds for tests".to_owned())
}

fn text(error: rkt_spec::Error) -> Refusal {
    error.to_string()
}

fn switch(value: &str) -> Result<bool, Refusal> {
    yes_no(value).ok_or_else(|| "needs `true` or `false`".to_owned())
}

/// `true`, `false` and what people write for them.
pub(super) fn yes_no(value: &str) -> Option<bool> {
    match value {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn word(value: &str) -> Result<String, Refusal> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.';
    if !value.is_empty() && value.len() <= 32 && value.bytes().all(ok) {
        Ok(value.to_owned())
    } else {
        Err("needs a word such as `linux` or `arm64`".to_owned())
    }
}

fn hostname(value: &str) -> Result<String, Refusal> {
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if value.len() <= 64 && value.split('.').all(label) {
        Ok(value.to_owned())
    } else {
        Err("needs at most 64 letters, digits and inner `-` and `.`".to_owned())
    }
}

fn set_pod_isolator(run: &mut Run, isolator: Isolator) {
    let kind = std::mem::discriminant(&isolator);
    let list = &mut run.request.isolators;
    list.retain(|i| std::mem::discriminant(i) != kind);
    list.push(isolator);
}

fn set_isolator(app: &mut AppRequest, isolator: Isolator) {
    let kind = std::mem::discriminant(&isolator);
    app.isolators.retain(|i| std::mem::discriminant(i) != kind);
    app.isolators.push(isolator);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_share_a_name() {
        let mut seen = std::collections::HashSet::new();
        let mut letters = std::collections::HashSet::new();
        for flag in FLAGS {
            for name in std::iter::once(&flag.name).chain(flag.aliases) {
                assert!(seen.insert(*name), "--{name} twice");
            }
            if let Some(letter) = flag.short {
                assert!(letters.insert(letter), "-{letter} twice");
            }
        }
    }

    #[test]
    fn host_names_are_host_names() {
        assert!(hostname("web-1.example").is_ok());
        for bad in ["", "-a", "a\nb", "a b", "a..b", &"a".repeat(65)] {
            assert!(hostname(bad).is_err(), "{bad:?}");
        }
    }
}
