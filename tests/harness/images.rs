//! Real images, made from Debian's packages and kept by the list of what is in them.
//!
//! Programs that this needs, by Debian package: `umoci`, `skopeo`, `mmdebstrap`,
//! `busybox-static`, `docker-registry`.

use crate::command::{run, tool};
use crate::need::Need;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the makers need.
pub const TOOLS: &[Need] = &[
    Need::Tool("umoci"),
    Need::Tool("skopeo"),
    Need::Tool("mmdebstrap"),
    Need::Tool("busybox"),
];

/// The tag of every image made here.
pub const TAG: &str = "latest";

/// An image to be had.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Name.
    pub name: &'static str,
    /// Debian packages beside the essential ones; none means busybox alone.
    packages: Option<&'static [&'static str]>,
    /// Options of `umoci config`.
    config: &'static [&'static str],
}

/// busybox and nothing else.
pub const BUSYBOX: Recipe = Recipe {
    name: "busybox",
    packages: None,
    config: &["--config.cmd=sh"],
};

/// Debian's essential packages.
pub const DEBIAN: Recipe = Recipe {
    name: "debian",
    packages: Some(&[]),
    config: &["--config.cmd=bash"],
};

/// nginx, in the foreground, with its log on stdout as the usual image has it.
pub const NGINX: Recipe = Recipe {
    name: "nginx",
    packages: Some(&["nginx-light"]),
    config: &[
        "--config.entrypoint=/usr/sbin/nginx",
        "--config.cmd=-g",
        "--config.cmd=daemon off; error_log /dev/stderr info;",
        "--config.exposedports=80/tcp",
        "--config.stopsignal=SIGQUIT",
    ],
};

/// redis, which begins as root and drops to its own user as the usual image's script does.
pub const REDIS: Recipe = Recipe {
    name: "redis",
    packages: Some(&["redis-server", "gosu"]),
    config: &[
        "--config.entrypoint=/usr/local/bin/docker-entrypoint.sh",
        "--config.cmd=redis-server",
        "--config.workingdir=/data",
        "--config.volume=/data",
        "--config.exposedports=6379/tcp",
    ],
};

/// python3.
pub const PYTHON: Recipe = Recipe {
    name: "python3",
    packages: Some(&["python3-minimal"]),
    config: &["--config.cmd=python3"],
};

/// postgresql.
pub const POSTGRES: Recipe = Recipe {
    name: "postgres",
    packages: Some(&["postgresql", "gosu"]),
    config: &["--config.cmd=bash", "--config.exposedports=5432/tcp"],
};

/// What redis' own image runs first: files of the volume to its user, then itself as that user.
const REDIS_SCRIPT: &str = "#!/bin/sh\nset -e\nif [ \"$1\" = redis-server ] && [ \"$(id -u)\" = 0 ]; then\n\
    find . \\! -user redis -exec chown redis '{}' +\n    exec gosu redis \"$0\" \"$@\"\nfi\nexec \"$@\"\n";

impl Recipe {
    /// The image as an OCI layout; made once, under a lock that other tests wait for.
    pub fn layout(&self) -> PathBuf {
        let dir = cache().join(format!("{}-{}", self.name, self.key()));
        let lock = File::create(cache().join(format!("{}.lock", self.name))).unwrap();
        lock.lock().unwrap();
        if !dir.join("done").exists() {
            let _ = fs::remove_dir_all(&dir);
            self.make(&dir);
            fs::write(dir.join("done"), "").unwrap();
        }
        dir.join("layout")
    }

    /// `oci:DIR:TAG`.
    pub fn oci(&self) -> String {
        format!("oci:{}:{TAG}", self.layout().display())
    }

    /// As `docker save` writes it: `docker-archive:FILE`.
    pub fn docker_archive(&self, dir: &Path) -> String {
        self.copy("docker-archive", dir, &format!(":{}:{TAG}", self.name))
    }

    /// As one tar file: `oci-archive:FILE`.
    pub fn oci_archive(&self, dir: &Path) -> String {
        self.copy("oci-archive", dir, &format!(":{TAG}"))
    }

    fn copy(&self, kind: &str, dir: &Path, suffix: &str) -> String {
        let to = format!("{kind}:{}/{}.tar", dir.display(), self.name);
        tool(
            "skopeo",
            &["copy", "--quiet", &self.oci(), &format!("{to}{suffix}")],
        );
        to
    }

    /// Changes with everything that the image is made of.
    fn key(&self) -> String {
        let words = format!("{:?}{REDIS_SCRIPT}1", self);
        crate::layout::digest(words.as_bytes())[7..19].to_owned()
    }

    fn make(&self, dir: &Path) {
        let root = dir.join("root");
        fs::create_dir_all(&root).unwrap();
        match self.packages {
            None => busybox(&root),
            Some(packages) => debian(&root, packages),
        }
        if self.name == "redis" {
            let script = root.join("usr/local/bin/docker-entrypoint.sh");
            fs::write(&script, REDIS_SCRIPT).unwrap();
            fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
            fs::create_dir_all(root.join("data")).unwrap();
        }
        let layout = dir.join("layout").display().to_string();
        let image = format!("{layout}:{TAG}");
        tool("umoci", &["init", "--layout", &layout]);
        tool("umoci", &["new", "--image", &image]);
        tool(
            "umoci",
            &[
                "insert",
                "--image",
                &image,
                &root.display().to_string(),
                "/",
            ],
        );
        let mut config = vec![
            "config",
            "--image",
            &image,
            "--config.env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ];
        config.extend(self.config);
        tool("umoci", &config);
        tool("umoci", &["gc", "--layout", &layout]);
        fs::remove_dir_all(&root).unwrap();
    }
}

/// `target/rkt-test-cache`, or where `RKT_TEST_CACHE` says.
fn cache() -> PathBuf {
    let dir = std::env::var_os("RKT_TEST_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/rkt-test-cache"),
        PathBuf::from,
    );
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn busybox(root: &Path) {
    for dir in ["bin", "etc", "root", "tmp", "usr", "var"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::set_permissions(
        root.join("tmp"),
        std::os::unix::fs::PermissionsExt::from_mode(0o1777),
    )
    .unwrap();
    let program = crate::need::find("busybox").unwrap();
    fs::copy(&program, root.join("bin/busybox")).unwrap();
    for applet in tool(&program.display().to_string(), &["--list"]).lines() {
        if applet != "busybox" {
            let _ = symlink("busybox", root.join("bin").join(applet));
        }
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var:/bin/sh\n",
    )
    .unwrap();
    fs::write(
        root.join("etc/group"),
        "root:x:0:\nweb:x:33:\nlog:x:44:web\n",
    )
    .unwrap();
}

fn debian(root: &Path, packages: &[&str]) {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=essential",
    ]);
    command.arg("--dpkgopt=path-exclude=/usr/share/doc/*");
    command.arg("--dpkgopt=path-exclude=/usr/share/locale/*");
    if !packages.is_empty() {
        command.arg(format!("--include={}", packages.join(",")));
    }
    command
        .arg("--skip=cleanup/reproducible")
        .arg("bookworm")
        .arg(root);
    run(command, None).ok();
    let _ = fs::remove_dir_all(root.join("var/lib/apt/lists"));
}
