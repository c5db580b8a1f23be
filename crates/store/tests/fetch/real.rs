//! Debian's docker-registry on loopback, filled by skopeo: plain, and with a password over TLS.

use super::fake::{Fake, Reply};
use super::lab::{Lab, has};
use super::local::layout;
use super::make::three_layers;
use rkt_store::{Kind, PullPolicy, Secret};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    fn start(dir: &Path, more: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = dir.join("registry.yml");
        let root = dir.join("registry");
        std::fs::write(&config, format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
            root.display()
        )).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "docker-registry does not start"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, port }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn push(from: &Path, to: &str, more: &[&str]) {
    let out = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"])
        .args(more)
        .arg(format!("oci:{}:x", from.display()))
        .arg(format!("docker://{to}"))
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn a_plain_registry_on_loopback() {
    if !has("docker-registry") || !has("skopeo") {
        return;
    }
    let lab = Lab::new();
    let daemon = Daemon::start(&lab.dir, "");
    let made = three_layers();
    let dir = layout(&lab.dir.join("layout"), &[("x", &made)]);
    let host = format!("127.0.0.1:{}", daemon.port);
    push(&dir, &format!("{host}/team/web:1"), &[]);
    push(&dir, &format!("{host}/docker:1"), &["--format=v2s2"]);

    let image = lab.resolve(&format!("docker://{host}/team/web:1")).unwrap();
    assert_eq!(image.id.to_string(), made.id());
    let by_digest = format!(
        "docker://{host}/team/web@{}",
        image.manifest.as_ref().unwrap()
    );
    assert_eq!(lab.resolve(&by_digest).unwrap().id, image.id);
    let docker = lab
        .resolve(&format!("docker://localhost:{}/docker:1", daemon.port))
        .unwrap();
    assert_eq!(docker.layers, image.layers);

    let mut update = lab.options.clone();
    update.policy = PullPolicy::Update;
    lab.told();
    lab.resolve_with(&format!("docker://{host}/team/web:1"), &update)
        .unwrap();
    assert_eq!(lab.told(), ["resolving", "using unchanged"]);

    for (name, part) in [("team/web:2", "not this tag"), ("team/none", "so")] {
        let error = lab.resolve(&format!("docker://{host}/{name}")).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        assert!(
            error.because().contains(part) || error.because().contains("UNKNOWN"),
            "{error}"
        );
    }
}

/// An authority `ca.crt` in a directory, and what it vouches for: `server.crt`, for this host.
fn certify(dir: &Path) {
    let path = |name: &str| dir.join(name).display().to_string();
    let openssl = |line: &str| {
        let out = Command::new("openssl")
            .args(line.split(' '))
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -nodes -keyout {} -out {} -days 2 -subj /CN=lab-root",
        path("ca.key"),
        path("ca.crt")
    ));
    openssl(&format!(
        "req -newkey rsa:2048 -nodes -keyout {} -out {} -subj /CN=localhost",
        path("server.key"),
        path("server.csr")
    ));
    std::fs::write(
        path("ext"),
        "subjectAltName=DNS:localhost,DNS:registry.corp.example,IP:127.0.0.1\n",
    )
    .unwrap();
    openssl(&format!(
        "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -out {} -days 2 -extfile {}",
        path("server.csr"),
        path("ca.crt"),
        path("ca.key"),
        path("server.crt"),
        path("ext")
    ));
}

/// bcrypt of `secret`, cost 5.
const HASH: &str = "$2a$05$";

#[test]
fn a_registry_with_a_password_over_tls() {
    if !has("docker-registry") || !has("skopeo") || !has("openssl") || !has("perl") {
        return;
    }
    let mut lab = Lab::new();
    let path = |name: &str| lab.dir.join(name).display().to_string();
    certify(&lab.dir);
    let salt = format!("{HASH}abcdefghijklmnopqrstuu");
    let hash = Command::new("perl")
        .args(["-e", "print crypt($ARGV[0], $ARGV[1])", "secret", &salt])
        .output()
        .unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    if !hash.starts_with(HASH) {
        eprintln!("skipped: needs a crypt(3) with bcrypt");
        return;
    }
    std::fs::write(path("htpasswd"), format!("me:{hash}\n")).unwrap();
    let daemon = Daemon::start(
        &lab.dir,
        &format!(
            "  tls: {{certificate: {}, key: {}}}\nauth: {{htpasswd: {{realm: \"a, realm\", path: {}}}}}\n",
            path("server.crt"),
            path("server.key"),
            path("htpasswd")
        ),
    );
    let made = three_layers();
    let dir = layout(&lab.dir.join("layout"), &[("x", &made)]);
    push(
        &dir,
        &format!("localhost:{}/web:1", daemon.port),
        &["--dest-creds=me:secret"],
    );

    std::fs::write(path("hosts"), "127.0.0.1 registry.corp.example\n").unwrap();
    lab.options.network.hosts = lab.dir.join("hosts");
    let host = format!("registry.corp.example:{}", daemon.port);
    let name = format!("docker://{host}/web:1");
    let error = lab.resolve(&name).unwrap_err();
    assert_eq!(error.kind(), Kind::Untrusted);
    assert!(
        error.because().contains("not believed") && error.remedy().unwrap().contains("certs.d"),
        "{error}"
    );
    lab.assert_nothing_half_done();

    let certs = lab.dir.join("certs.d").join(&host);
    std::fs::create_dir_all(&certs).unwrap();
    std::fs::copy(path("ca.crt"), certs.join("ca.crt")).unwrap();
    let error = lab.resolve(&name).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error}");
    let secret = |password: &str| Secret::Password {
        user: "me".into(),
        password: password.into(),
    };
    lab.options
        .network
        .credentials
        .by_host
        .insert(host.clone(), secret("guess"));
    assert_eq!(lab.resolve(&name).unwrap_err().kind(), Kind::Unauthorized);
    lab.options
        .network
        .credentials
        .by_host
        .insert(host.clone(), secret("secret"));
    assert_eq!(lab.resolve(&name).unwrap().id.to_string(), made.id());

    let error = lab
        .resolve(&format!("docker://localhost:{}/web:1", daemon.port))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Untrusted, "{error}");

    // The same over loopback names, with the roots given as a whole, and without any check.
    std::fs::remove_dir_all(&certs).unwrap();
    let local = format!("localhost:{}", daemon.port);
    lab.options
        .network
        .credentials
        .by_host
        .insert(local.clone(), secret("secret"));
    lab.options.network.roots = vec![lab.dir.join("ca.crt")];
    lab.options.policy = PullPolicy::Update;
    lab.resolve(&format!("docker://{local}/web:1")).unwrap();
    lab.options.network.roots = Vec::new();
    lab.options.network.insecure.tls = true;
    lab.resolve(&name).unwrap();
}

#[test]
fn a_registry_over_tls_cannot_send_us_to_a_service_in_the_open() {
    if !has("docker-registry") || !has("openssl") {
        return;
    }
    let mut lab = Lab::new();
    certify(&lab.dir);
    let path = |name: &str| lab.dir.join(name).display().to_string();
    let service = Fake::start(|_| Reply::new(200, r#"{"token":"t"}"#));
    let daemon = Daemon::start(
        &lab.dir,
        &format!(
            "  tls: {{certificate: {}, key: {}}}\nauth: {{token: {{realm: \"http://{}/token\", service: s, issuer: i, rootcertbundle: {}}}}}\n",
            path("server.crt"),
            path("server.key"),
            service.address,
            path("ca.crt"),
        ),
    );
    let host = format!("localhost:{}", daemon.port);
    lab.options.network.roots = vec![lab.dir.join("ca.crt")];
    for secret in [
        None,
        Some(Secret::Identity("tok".into())),
        Some(Secret::Password {
            user: "me".into(),
            password: "pw".into(),
        }),
    ] {
        let by_host = &mut lab.options.network.credentials.by_host;
        by_host.extend(secret.map(|s| (host.clone(), s)));
        let error = lab.resolve(&format!("docker://{host}/x")).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(
            error.because().contains("token service on plain HTTP"),
            "{error}"
        );
    }
    assert_eq!(service.log().len(), 0, "loopback or not, it is not asked");
    lab.assert_nothing_half_done();
}
