//! Image defaults and request, put together: the pod manifest. Pure.
//!
//! What wins is decided here and nowhere else; the plan is this manifest and facts of the host.

use crate::environment::{Environment, PATH, of_pod};
use crate::error::{Doing, Error};
use crate::isolators;
use crate::ports;
use crate::request::{AppRequest, RunRequest, Stdin};
use crate::users::{self, Identity};
use crate::volumes::{self, Fresh};
use rkt_spec::image::{Accounts, ImageConfig};
use rkt_spec::manifest::{App, Pair, PodManifest, RuntimeApp, RuntimeImage, Volume};
use rkt_spec::name::sanitise;
use rkt_spec::{AppName, Uuid, signal};

/// Milliseconds from the stop signal to SIGKILL when nobody says otherwise (docker's value).
pub const STOP_TIMEOUT_MS: u32 = 10_000;

/// Annotation of an app that lists the chain ids of its layers, with commas; for gc.
pub const CHAINS: &str = "rkt/chains";

/// What is known of an app's image.
#[derive(Debug, Clone)]
pub struct ImageFacts {
    /// `sha256:...` of the configuration; `sha512-...` of an App Container Image.
    pub id: String,
    /// The word that names it to a person, when its reference has one.
    pub short_name: Option<String>,
    /// Chain ids of its layers: what the store must keep while the pod exists.
    pub chains: Vec<String>,
    /// Its run-time defaults.
    pub config: ImageConfig,
    /// Its users and groups; needed unless the app is plain root.
    pub accounts: Option<Accounts>,
}

/// Whether an app's user can only be told with the image's own files.
pub fn needs_accounts(app: &AppRequest, config: &ImageConfig) -> bool {
    let user = app.user.as_deref().unwrap_or(&config.user);
    !users::is_plain_root(user, app.group.as_deref())
}

/// Puts the request over the images' defaults; `images` has one entry an app.
///
/// # Errors
/// For a word of the request or an image that cannot be run as it says.
pub fn manifest(
    request: &RunRequest,
    images: &[ImageFacts],
    uuid: Uuid,
) -> Result<PodManifest, Error> {
    let pod_env = of_pod(request)?;
    let mut volumes = request.volumes.clone();
    for volume in &volumes {
        if volumes.iter().filter(|v| v.name == volume.name).count() > 1 {
            return Err(Error::usage(format!(
                "duplicate volume name `{}`",
                volume.name
            )));
        }
    }
    let mut apps: Vec<RuntimeApp> = Vec::with_capacity(images.len());
    for (app, image) in request.apps.iter().zip(images) {
        let name = app_name(app, image)?;
        if apps.iter().any(|a| a.name == name) {
            return Err(Error::usage(format!("multiple apps with name {name}"))
                .hint("give each a name of its own with --name"));
        }
        let one = runtime_app(request, app, image, &name, &pod_env, &mut volumes)
            .doing(|| format!("prepare app `{name}`"))?;
        apps.push(one);
    }
    let ports = ports::exposed(&request.ports, request.network().net(), &apps)?;
    Ok(PodManifest {
        ac_version: "0.8.11".to_owned(),
        ac_kind: "PodManifest".to_owned(),
        name: request.pod_name.clone(),
        apps,
        volumes,
        isolators: request.isolators.clone(),
        annotations: Vec::new(),
        hostname: request
            .hostname
            .clone()
            .unwrap_or_else(|| format!("rkt-{uuid}")),
        net: request.network().to_string(),
        ports,
        user_labels: request.notes_of_user.labels.clone(),
        user_annotations: request.notes_of_user.annotations.clone(),
    })
}

/// How an image runs when nobody says anything: for images that are written in another form.
///
/// # Errors
/// For a user or a path that nobody could run it with.
pub fn of_image(config: &ImageConfig, accounts: &Accounts) -> Result<App, Error> {
    let who = users::resolve(&config.user, None, &config.groups, accounts)?;
    let environment = config.env.iter().filter_map(|word| word.split_once('='));
    Ok(App {
        exec: [config.entrypoint.as_slice(), &config.cmd].concat(),
        user: who.uid.to_string(),
        group: who.gid.to_string(),
        supplementary_gids: who.groups,
        working_directory: working_directory(&AppRequest::default(), config)?,
        environment: environment
            .map(|(name, value)| Pair {
                name: name.to_owned(),
                value: value.to_owned(),
            })
            .collect(),
        mount_points: volumes::mount_points(config)?,
        ports: config.ports.clone(),
        isolators: config.isolators.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        stop_timeout_ms: STOP_TIMEOUT_MS,
        user_labels: Default::default(),
        user_annotations: Default::default(),
    })
}

fn app_name(app: &AppRequest, image: &ImageFacts) -> Result<AppName, Error> {
    if let Some(name) = &app.name {
        return Ok(name.clone());
    }
    let text = image.short_name.as_deref().unwrap_or(&app.image);
    let name = sanitise(text).and_then(AppName::new);
    Ok(name.or_else(|_| AppName::new("app"))?)
}

fn runtime_app(
    request: &RunRequest,
    app: &AppRequest,
    image: &ImageFacts,
    name: &AppName,
    pod_env: &[(String, String)],
    volumes: &mut Vec<Volume>,
) -> Result<RuntimeApp, Error> {
    let config = &image.config;
    if !config.os.is_empty() && config.os != "linux" {
        return Err(Error::new(format!(
            "bad os \"{}\" (must be one of: linux)",
            config.os.escape_debug()
        )));
    }
    let user = app.user.as_deref().unwrap_or(&config.user);
    let none = Accounts::default();
    let accounts = image.accounts.as_ref().unwrap_or(&none);
    let mut groups = config.groups.clone();
    groups.extend(&app.groups);
    let who = users::resolve(user, app.group.as_deref(), &groups, accounts)?;
    let mount_points = volumes::mount_points(config)?;
    let fresh = match config.mount_points.is_empty() {
        true => Fresh::OverImage,
        false => Fresh::Empty,
    };
    let mounts = volumes::mounts_of(
        name,
        &app.mounts,
        &request.mounts,
        (&mount_points, fresh),
        volumes,
    )?;
    let stop = app.stop_signal.as_deref().or(config.stop_signal.as_deref());
    let stop =
        signal::parse(stop.unwrap_or("SIGTERM")).doing(|| "read the stop signal".to_owned())?;
    Ok(RuntimeApp {
        name: name.clone(),
        image: RuntimeImage {
            id: image.id.clone(),
            name: app.image.clone(),
            labels: labels(config),
        },
        app: App {
            exec: command(app, config)?,
            user: who.uid.to_string(),
            group: who.gid.to_string(),
            supplementary_gids: who.groups.clone(),
            working_directory: working_directory(app, config)?,
            environment: environment(request, app, config, name, &who, pod_env)?,
            mount_points,
            ports: config.ports.clone(),
            isolators: isolators::of_app(app, config, request.insecure)?,
            stop_signal: signal::name(stop),
            stop_timeout_ms: app.stop_timeout_ms.unwrap_or(STOP_TIMEOUT_MS),
            user_labels: app.notes_of_user.labels.clone(),
            user_annotations: app.notes_of_user.annotations.clone(),
        },
        read_only_root_fs: app.read_only,
        root_size: app.root_bytes,
        mounts,
        annotations: annotations(app, image),
    })
}

fn annotations(app: &AppRequest, image: &ImageFacts) -> Vec<Pair> {
    let mut list = app.annotations.clone();
    list.retain(|pair| pair.name != CHAINS);
    list.push(Pair {
        name: CHAINS.to_owned(),
        value: image.chains.join(","),
    });
    list
}

fn labels(config: &ImageConfig) -> Vec<Pair> {
    [("os", &config.os), ("arch", &config.architecture)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| Pair {
            name: name.to_owned(),
            value: value.clone(),
        })
        .collect()
}

/// The command: `--exec` replaces the entrypoint and drops the image's arguments; words after
/// `--` replace the image's arguments, as docker's do.
fn command(app: &AppRequest, config: &ImageConfig) -> Result<Vec<String>, Error> {
    let mut exec = match &app.exec {
        Some(program) => vec![program.clone()],
        None => config.entrypoint.clone(),
    };
    match (&app.args, &app.exec) {
        (Some(args), _) => exec.extend(args.iter().cloned()),
        (None, None) => exec.extend(config.cmd.iter().cloned()),
        (None, Some(_)) => {}
    }
    match exec.first() {
        None => Err(Error::usage(format!(
            "image \"{}\" has an empty \"exec\" (try --exec=BINARY)",
            app.image
        ))),
        Some(program) if program.is_empty() => {
            Err(Error::usage("the name of the program is empty"))
        }
        Some(_) if exec.iter().any(|w| w.contains('\0')) => {
            Err(Error::new("a word of the image's command has a NUL byte"))
        }
        Some(_) => Ok(exec),
    }
}

fn working_directory(app: &AppRequest, config: &ImageConfig) -> Result<String, Error> {
    let dir = match &app.working_dir {
        Some(dir) if !dir.starts_with('/') => {
            return Err(Error::usage(format!(
                "working directory `{}` is not absolute",
                dir.escape_debug()
            )));
        }
        Some(dir) => dir.clone(),
        // docker's images may say it relative to `/`.
        None if config.working_dir.starts_with('/') => config.working_dir.clone(),
        None => format!("/{}", config.working_dir),
    };
    if dir.chars().any(char::is_control) {
        return Err(Error::new(format!(
            "working directory `{}` has a control character",
            dir.escape_debug()
        )));
    }
    Ok(dir)
}

/// Later wins: rkt's defaults, the caller's (`--inherit-env`, only what the image lacks), the
/// image's, `--environment`, `--set-env-file`, `--set-env`, and what rkt itself has to say.
fn environment(
    request: &RunRequest,
    app: &AppRequest,
    config: &ImageConfig,
    name: &AppName,
    who: &Identity,
    pod_env: &[(String, String)],
) -> Result<Vec<Pair>, Error> {
    let user = who
        .name
        .as_deref()
        .unwrap_or(if who.uid == 0 { "root" } else { "" });
    let home = who
        .home
        .as_deref()
        .unwrap_or(if who.uid == 0 { "/root" } else { "/" });
    let mut env = Environment::default();
    for (name, value) in [
        ("PATH", PATH),
        ("SHELL", "/bin/sh"),
        ("USER", user),
        ("LOGNAME", user),
        ("HOME", home),
    ] {
        if !value.is_empty() {
            env.set(name, value)?;
        }
    }
    if matches!(request.stdin, Stdin::Tty | Stdin::Auto) {
        let term = request.caller_env.iter().find(|(n, _)| n == "TERM");
        env.set("TERM", term.map_or("xterm", |(_, value)| value))?;
    }
    let image: Vec<(&str, &str)> = config
        .env
        .iter()
        .filter_map(|e| e.split_once('='))
        .collect();
    if request.inherit_env {
        for (name, value) in &request.caller_env {
            if !image.iter().any(|(n, _)| n == name) {
                env.set(name, value)?;
            }
        }
    }
    for (name, value) in image {
        env.set(name, value)
            .doing(|| "read the image's environment".to_owned())?;
    }
    for (name, value) in app.environment.iter().chain(pod_env) {
        env.set(name, value)?;
    }
    env.set("AC_APP_NAME", name.as_str())?;
    env.set("container", "rkt")?;
    Ok(env.into_pairs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Place;
    use rkt_spec::manifest::{Mount, VolumeKind};

    fn request(apps: Vec<AppRequest>) -> RunRequest {
        let mut request = RunRequest::new(Place {
            dir: "/d".into(),
            run_dir: "/r".into(),
            cgroup_parent: None,
        });
        request.apps = apps;
        request
    }

    fn app(image: &str) -> AppRequest {
        AppRequest {
            image: image.to_owned(),
            ..AppRequest::default()
        }
    }

    fn facts() -> ImageFacts {
        ImageFacts {
            id: format!("sha256:{}", "a".repeat(64)),
            short_name: Some("redis".into()),
            chains: Vec::new(),
            config: ImageConfig {
                os: "linux".into(),
                architecture: "amd64".into(),
                entrypoint: vec!["/entry".into()],
                cmd: vec!["serve".into(), "--fast".into()],
                env: vec!["PATH=/opt".into(), "A=image".into(), "nonsense".into()],
                working_dir: "data".into(),
                ..ImageConfig::default()
            },
            accounts: None,
        }
    }

    fn one(app: AppRequest, facts: ImageFacts) -> Result<RuntimeApp, Error> {
        let pod = manifest(&request(vec![app]), &[facts], Uuid::from_random([1; 16]))?;
        Ok(pod.apps.into_iter().next().unwrap())
    }

    fn value<'a>(app: &'a RuntimeApp, name: &str) -> Option<&'a str> {
        let mut of_name = app.app.environment.iter().filter(|p| p.name == name);
        let found = of_name.next().map(|p| p.value.as_str());
        assert!(of_name.next().is_none(), "{name} twice");
        found
    }

    #[test]
    fn the_command_is_put_together_as_docker_does() {
        let run = |exec: Option<&str>, args: Option<&[&str]>| {
            let mut a = app("x");
            a.exec = exec.map(str::to_owned);
            a.args = args.map(|l| l.iter().map(|w| (*w).to_owned()).collect());
            one(a, facts()).unwrap().app.exec
        };
        assert_eq!(run(None, None), ["/entry", "serve", "--fast"]);
        assert_eq!(run(None, Some(&["x"])), ["/entry", "x"]);
        assert_eq!(run(Some("/bin/sh"), None), ["/bin/sh"]);
        assert_eq!(
            run(Some("/bin/sh"), Some(&["-c", ""])),
            ["/bin/sh", "-c", ""]
        );
        let mut empty = facts();
        empty.config.entrypoint.clear();
        empty.config.cmd.clear();
        let error = one(app("x"), empty).unwrap_err().to_string();
        assert!(
            error.contains("has an empty \"exec\" (try --exec=BINARY)"),
            "{error}"
        );
    }

    #[test]
    fn later_sources_of_the_environment_win() {
        let mut a = app("x");
        a.environment = vec![("A".into(), "app".into()), ("B".into(), "app".into())];
        let mut r = request(vec![a]);
        r.set_env = vec![
            ("B".into(), Some("pod".into())),
            ("C".into(), None),
            ("D".into(), None),
        ];
        r.caller_env = vec![
            ("A".into(), "mine".into()),
            ("C".into(), "mine".into()),
            ("E".into(), "mine".into()),
            ("USER".into(), "me".into()),
        ];
        r.inherit_env = true;
        let pod = manifest(&r, &[facts()], Uuid::from_random([1; 16])).unwrap();
        let app = pod.apps.first().unwrap();
        for (name, want) in [
            ("PATH", Some("/opt")),
            ("A", Some("app")),
            ("B", Some("pod")),
            ("C", Some("mine")),
            ("D", None),
            ("E", Some("mine")),
            ("USER", Some("me")),
            ("HOME", Some("/root")),
            ("AC_APP_NAME", Some("redis")),
            ("container", Some("rkt")),
            ("TERM", None),
        ] {
            assert_eq!(value(app, name), want, "{name}");
        }
    }

    #[test]
    fn a_user_of_the_image_gets_its_ids_and_home() {
        let mut image = facts();
        image.config.user = "redis".into();
        image.accounts = Some(Accounts {
            passwd: b"redis:x:999:1000::/var/lib/redis:/bin/sh\n".to_vec(),
            group: b"tty:x:5:redis\n".to_vec(),
        });
        let app = one(app("x"), image.clone()).unwrap();
        assert_eq!(
            (app.app.user.as_str(), app.app.group.as_str()),
            ("999", "1000")
        );
        assert_eq!(app.app.supplementary_gids, [5]);
        assert_eq!(value(&app, "HOME"), Some("/var/lib/redis"));
        assert_eq!(value(&app, "USER"), Some("redis"));
        image.accounts = None;
        assert!(one(super::tests::app("x"), image).is_err());
    }

    #[test]
    fn apps_take_the_images_name_and_two_of_a_name_are_refused() {
        let mut nameless = facts();
        nameless.short_name = None;
        assert_eq!(
            one(app("oci:/srv/My_Image"), nameless)
                .unwrap()
                .name
                .as_str(),
            "oci--srv-my-image"
        );
        let r = request(vec![app("x"), app("x")]);
        let error = manifest(&r, &[facts(), facts()], Uuid::from_random([1; 16])).unwrap_err();
        assert_eq!(error.status(), 254);
        assert!(error.to_string().contains("multiple apps with name redis"));
    }

    #[test]
    fn volumes_of_the_pod_are_shared_and_those_of_images_are_not() {
        let mut image = facts();
        image.config.volumes = vec!["/data".into()];
        let (mut a, mut b) = (app("x"), app("y"));
        a.name = Some(AppName::new("a").unwrap());
        b.name = Some(AppName::new("b").unwrap());
        b.mounts = vec![Mount {
            volume: "shared".to_owned().try_into().unwrap(),
            path: "/data".into(),
            read_only: true,
        }];
        let mut r = request(vec![a, b]);
        r.volumes = vec![Volume {
            name: "shared".to_owned().try_into().unwrap(),
            kind: VolumeKind::Empty,
            source: None,
            read_only: false,
            recursive: true,
            mode: None,
            uid: 0,
            gid: 0,
            owner: Default::default(),
            size: None,
        }];
        let pod = manifest(&r, &[image.clone(), image], Uuid::from_random([1; 16])).unwrap();
        let names: Vec<_> = pod.volumes.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["shared", "a-data"]);
        assert_eq!(pod.hostname, format!("rkt-{}", Uuid::from_random([1; 16])));
    }

    #[test]
    fn hostile_words_of_an_image_are_refused() {
        let with = |change: fn(&mut ImageConfig)| {
            let mut image = facts();
            change(&mut image.config);
            one(app("x"), image).unwrap_err().to_string()
        };
        for (change, why) in [
            (
                (|c| c.os = "windows".into()) as fn(&mut ImageConfig),
                "bad os",
            ),
            (|c| c.working_dir = "/a\nb".into(), "control character"),
            (
                |c| c.env.push("HOME=/x\nroot::0:0".into()),
                "control character",
            ),
            (|c| c.volumes.push("/proc".into()), "which rkt makes"),
            (|c| c.volumes.push("/a/../..".into()), "`..`"),
            (|c| c.stop_signal = Some("SIGNONE".into()), "signal"),
            (|c| c.user = "4294967296".into(), "0 to 65535"),
            (|c| c.entrypoint = vec![String::new()], "is empty"),
        ] {
            let error = with(change);
            assert!(error.contains(why), "{error}");
        }
    }
}
