//! Real images, made from Debian's packages and kept by the list of what is in them.
//!
//! Programs that this needs, by Debian package: `mmdebstrap`, `skopeo`, `busybox-static`,
//! `docker-registry`.

use crate::command::{Done, run_for, tool};
use crate::layout::Image;
use crate::need::Need;
use crate::tar::{self, Entry};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What the makers need.
pub const TOOLS: &[Need] = &[
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
    /// The configuration's `config`, as JSON.
    config: &'static str,
    /// A program that a layer of its own puts to `/usr/local/bin/docker-entrypoint.sh`.
    script: &'static str,
}

/// busybox and nothing else.
pub const BUSYBOX: Recipe = Recipe {
    name: "busybox",
    packages: None,
    config: r#"{ "Cmd": ["sh"] }"#,
    script: "",
};

/// Debian's essential packages and apt.
pub const DEBIAN: Recipe = Recipe {
    name: "debian",
    packages: Some(&["apt"]),
    config: r#"{ "Cmd": ["bash"] }"#,
    script: "",
};

/// ping of iputils, which asks for a datagram socket of ICMP before a raw one.
pub const PING: Recipe = Recipe {
    name: "ping",
    packages: Some(&["iputils-ping"]),
    config: r#"{ "Cmd": ["bash"] }"#,
    script: "",
};

/// nginx, in the foreground, with its stop signal as the usual image has it.
pub const NGINX: Recipe = Recipe {
    name: "nginx",
    packages: Some(&["nginx-light"]),
    config: r#"{ "Entrypoint": ["/usr/sbin/nginx"],
        "Cmd": ["-g", "daemon off; error_log /dev/stderr info;"],
        "ExposedPorts": { "80/tcp": {} }, "StopSignal": "SIGQUIT" }"#,
    script: "",
};

/// redis, which begins as root and drops to its own user as the usual image's script does.
pub const REDIS: Recipe = Recipe {
    name: "redis",
    packages: Some(&["redis-server", "gosu"]),
    config: r#"{ "Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["redis-server"],
        "WorkingDir": "/data", "Volumes": { "/data": {} }, "ExposedPorts": { "6379/tcp": {} } }"#,
    script: "#!/bin/sh\nset -e\nif [ \"$1\" = redis-server ] && [ \"$(id -u)\" = 0 ]; then\n\
        find . \\! -user redis -exec chown redis '{}' +\n    exec gosu redis \"$0\" \"$@\"\nfi\nexec \"$@\"\n",
};

/// python3.
pub const PYTHON: Recipe = Recipe {
    name: "python3",
    packages: Some(&["python3-minimal"]),
    config: r#"{ "Cmd": ["python3"] }"#,
    script: "",
};

/// postgresql, which begins as root and drops to its own user as the usual image's script does.
pub const POSTGRES: Recipe = Recipe {
    name: "postgres",
    packages: Some(&["postgresql", "gosu"]),
    config: r#"{ "Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["postgres"],
        "Volumes": { "/data": {} }, "ExposedPorts": { "5432/tcp": {} }, "StopSignal": "SIGINT" }"#,
    script: "#!/bin/sh\nset -e\nexport PGDATA=/data/db\nif [ \"$(id -u)\" = 0 ]; then\n\
        mkdir -p $PGDATA /run/postgresql\n    chmod 700 $PGDATA\n\
        chown -R postgres $PGDATA /run/postgresql\n    exec gosu postgres \"$0\" \"$@\"\nfi\n\
        cd /usr/lib/postgresql/*/bin\n\
        [ -s $PGDATA/PG_VERSION ] || ./initdb --auth=trust --no-sync > /dev/null\nexec ./\"$@\"\n",
};

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
        let to = format!("{kind}:{}/{}-{kind}.tar", dir.display(), self.name);
        let with_tag = format!("{to}{suffix}");
        tool("skopeo", &["copy", "--quiet", &self.oci(), &with_tag]);
        to
    }

    /// Changes with everything that the image is made of.
    fn key(&self) -> String {
        crate::layout::digest(format!("{self:?}").as_bytes())[7..19].to_owned()
    }

    fn make(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        let mut image = Image::new(&[]);
        image.layers.push(match self.packages {
            None => busybox(),
            Some(packages) => debian(dir, packages),
        });
        if !self.script.is_empty() {
            let script = Entry::file("usr/local/bin/docker-entrypoint.sh", self.script);
            let layer = [Entry::dir("data"), script.mode(0o755)];
            image.layers.push(tar::archive(&layer));
        }
        let mut config: Value = serde_json::from_str(self.config).unwrap();
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        config["Env"] = json!([path]);
        image.config["config"] = config;
        image.write(&dir.join("layout"));
    }
}

/// `target/rkt-test-cache`, or where `RKT_TEST_CACHE` says.
pub fn cache() -> PathBuf {
    let dir = std::env::var_os("RKT_TEST_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/rkt-test-cache"),
        PathBuf::from,
    );
    fs::create_dir_all(&dir).unwrap();
    dir.canonicalize().unwrap()
}

fn busybox() -> Vec<u8> {
    let program = crate::need::find("busybox").unwrap();
    let mut all: Vec<Entry> = ["bin", "etc", "root", "usr", "var"].map(Entry::dir).into();
    all.push(Entry::dir("tmp").mode(0o1777));
    all.push(Entry::file("bin/busybox", fs::read(&program).unwrap()).mode(0o755));
    for applet in tool(&program.display().to_string(), &["--list"]).lines() {
        if applet != "busybox" {
            all.push(Entry::link(format!("bin/{applet}"), "busybox"));
        }
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var:/bin/sh\n";
    all.push(Entry::file("etc/passwd", users));
    all.push(Entry::file(
        "etc/group",
        "root:x:0:\nweb:x:33:\nlog:x:44:web\n",
    ));
    tar::archive(&all)
}

fn debian(dir: &Path, packages: &[&str]) -> Vec<u8> {
    let archive = dir.join("root.tar");
    let include = format!("--include={}", packages.join(","));
    let words = [
        "--variant=essential",
        "--skip=cleanup/reproducible",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        &include,
        "bookworm",
    ];
    mmdebstrap(&words, &archive);
    let bytes = fs::read(&archive).unwrap();
    fs::remove_file(&archive).unwrap();
    bytes
}

/// Debian's packages as files, at `to`: a tar or a directory, by its name.
#[track_caller]
pub fn mmdebstrap(words: &[&str], to: &Path) {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .args(["mmdebstrap", "--quiet", "--mode=root"])
        .args(words)
        .arg(to);
    // Packages come over the network, and their scripts want a processor.
    let _: Done = run_for(command, None, Duration::from_secs(600)).ends_with(0);
}
