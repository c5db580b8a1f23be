//! A private rkt: its own directories, its own cgroup, its own mount namespace.

use crate::command::{self, Done};
use crate::need::{self, Need};
use crate::netns::Netns;
use crate::pod::Pod;
use crate::{eyes, host};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A number that no other test of this process has.
pub fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// rkt with everything of its own. Dropping it stops its pods and removes what is left.
pub struct Rkt {
    binary: PathBuf,
    /// Directory for everything of this test.
    pub top: PathBuf,
    /// Cgroup parent, relative to each hierarchy's root.
    pub cgroup: String,
    /// Keeps the mount namespace: ends when its stdin does, so also when the test is killed.
    holder: Child,
    /// Its own network; without one its pods get none but what a test asks for by name.
    net: Option<Netns>,
}

impl Rkt {
    /// One for the running test; `None`, and a visible skip, when the host lacks a need.
    /// Root and the binary are always needed.
    pub fn needs(needs: &[Need]) -> Option<Self> {
        let mut all = vec![Need::Root, Need::Binary];
        all.extend_from_slice(needs);
        need::all(&all).then(|| Self::with(need::binary().unwrap()))
    }

    /// As [`Rkt::needs`], in a network namespace of its own: pods of it may have networks. `ip` is
    /// needed too.
    pub fn networked(needs: &[Need]) -> Option<Self> {
        let mut all = vec![Need::Tool("ip")];
        all.extend_from_slice(needs);
        let mut rkt = Self::needs(&all)?;
        rkt.net = Some(Netns::new());
        Some(rkt)
    }

    /// The network that it is in; panics when that is the host's.
    #[track_caller]
    pub fn net(&self) -> &Netns {
        self.net.as_ref().expect("made by `networked`")
    }

    /// With another binary.
    pub fn with(binary: PathBuf) -> Self {
        let words = format!("rkt-test-{}-{}", std::process::id(), unique());
        let base = std::env::var_os("RKT_TEST_DIR")
            .map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        static SWEPT: std::sync::Once = std::sync::Once::new();
        SWEPT.call_once(|| sweep(&base));
        let top = base.join(&words);
        for dir in ["data", "run", "files"] {
            fs::create_dir_all(top.join(dir)).unwrap();
        }
        // Apps are no users of the host: what they are given must be reachable for others.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&top, open).unwrap();
        let holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let ours = fs::read_link("/proc/self/ns/mnt").unwrap();
        let theirs = format!("/proc/{}/ns/mnt", holder.id());
        crate::wait_for("a mount namespace", 10, || {
            let unshared = fs::read_link(&theirs).is_ok_and(|l| l != ours);
            let name = fs::read_to_string(format!("/proc/{}/comm", holder.id()));
            unshared && name.is_ok_and(|n| n.trim() == "cat")
        });
        Self {
            binary,
            top,
            cgroup: words,
            holder,
            net: None,
        }
    }

    /// A path for the test's own files, readable by everybody.
    pub fn file(&self, name: &str) -> PathBuf {
        self.top.join("files").join(name)
    }

    /// Makes a directory that anybody may write to, for volumes. It belongs to a user: rkt lets
    /// no app write to what is the host's root's, for it could leave setuid programs there.
    pub fn open_dir(&self, name: &str) -> PathBuf {
        let dir = self.file(name);
        fs::create_dir_all(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(4321), Some(4321)).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&dir, open).unwrap();
        dir
    }

    /// Data directory.
    pub fn data(&self) -> PathBuf {
        self.top.join("data")
    }

    /// Run directory.
    pub fn run_dir(&self) -> PathBuf {
        self.top.join("run")
    }

    /// A command that runs in this rkt's namespaces.
    pub fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        // A shell without job control starts what it puts in the background deaf to Ctrl-C.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT", "nsenter"])
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .args(self.net.as_ref().map(|n| format!("--net={}", n.path())))
            .arg("--")
            .arg(program);
        command.env_remove("NOTIFY_SOCKET").env("NO_COLOR", "1");
        command
    }

    /// `rkt WORDS` with the private places. A pod that is run in the host's network, by a test that
    /// says nothing of networks, gets none.
    pub fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = self.inside(&self.binary);
        command
            .arg(format!("--dir={}", self.data().display()))
            .arg(format!("--run-dir={}", self.run_dir().display()))
            .arg(format!("--cgroup-parent={}", self.cgroup));
        let mut rest = words.iter().map(AsRef::as_ref);
        if let Some(verb) = rest.next() {
            command.arg(verb);
            if verb == "run" && self.net.is_none() && !asks_for_network(words) {
                command.arg("--net=none");
            }
        }
        command.args(rest);
        command
    }

    /// Runs `rkt WORDS` to the end.
    #[track_caller]
    pub fn rkt<S: AsRef<OsStr>>(&self, words: &[S]) -> Done {
        command::run(self.command(words), None)
    }

    /// As [`Rkt::rkt`], with this on stdin.
    #[track_caller]
    pub fn rkt_with<S: AsRef<OsStr>>(&self, words: &[S], stdin: &[u8]) -> Done {
        command::run(self.command(words), Some(stdin))
    }

    /// `rkt run --rm` in the foreground, without a network unless one is asked for.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> Done {
        let mut all: Vec<&OsStr> = ["run", "--rm", "--quiet"].map(OsStr::new).into();
        if !asks_for_network(words) {
            all.push(OsStr::new("--net=none"));
        }
        all.extend(words.iter().map(AsRef::as_ref));
        self.rkt(&all)
    }

    /// `rkt run --detach`, without a network unless one is asked for; a pod that runs.
    #[track_caller]
    pub fn start<S: AsRef<OsStr>>(&self, words: &[S]) -> Pod<'_> {
        let file = self.top.join(format!("uuid-{}", unique()));
        let save = format!("--uuid-file-save={}", file.display());
        let mut all: Vec<&OsStr> = ["run", "--detach", "--quiet", &save].map(OsStr::new).into();
        if !asks_for_network(words) {
            all.push(OsStr::new("--net=none"));
        }
        all.extend(words.iter().map(AsRef::as_ref));
        self.rkt(&all).ok();
        let uuid = fs::read_to_string(&file).unwrap().trim().to_owned();
        fs::remove_file(&file).unwrap();
        Pod::new(self, uuid)
    }

    /// Processes that belong to this rkt: in its cgroups, or with a file of its directories open.
    pub fn processes(&self) -> Vec<i32> {
        let own = std::process::id();
        let mut found: Vec<i32> = host::cgroup_roots()
            .iter()
            .flat_map(|(root, _)| host::cgroup_processes(&root.join(&self.cgroup)))
            .collect();
        for pid in eyes::all_pids() {
            if pid.unsigned_abs() == own || pid.unsigned_abs() == self.holder.id() {
                continue;
            }
            let uses = fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|e| fs::read_link(e.path()).ok())
                .any(|link| link.starts_with(&self.top));
            if uses {
                found.push(pid);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Cgroups of this rkt that exist, its parent not counted.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        host::cgroup_roots()
            .iter()
            .flat_map(|(root, _)| {
                fs::read_dir(root.join(&self.cgroup))
                    .into_iter()
                    .flatten()
                    .flatten()
            })
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .map(|e| e.path())
            .collect()
    }

    /// Mounts in this rkt's namespace that lie in its directories.
    pub fn mounts(&self) -> Vec<String> {
        let top = self.top.display().to_string();
        eyes::Process::read(i32::try_from(self.holder.id()).unwrap())
            .unwrap()
            .mounts()
            .into_iter()
            .map(|m| m.path)
            .filter(|p| p.starts_with(&top))
            .collect()
    }

    /// Pod directories, whatever their state.
    pub fn pod_dirs(&self) -> Vec<PathBuf> {
        let states = fs::read_dir(self.data().join("pods"))
            .into_iter()
            .flatten()
            .flatten();
        states
            .flat_map(|s| fs::read_dir(s.path()).into_iter().flatten().flatten())
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .map(|e| e.path())
            .collect()
    }

    /// Panics when a process, a cgroup or a pod's directory is left.
    #[track_caller]
    pub fn leaves_nothing(&self) {
        // The last processes may still be on their way out.
        for _ in 0..200 {
            if self.processes().is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let names =
            |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let left: Vec<String> = self.processes().iter().map(names).collect();
        assert!(left.is_empty(), "processes are left: {left:?}");
        assert!(
            self.cgroups().is_empty(),
            "cgroups are left: {:?}",
            self.cgroups()
        );
        assert!(
            self.pod_dirs().is_empty(),
            "pods are left: {:?}",
            self.pod_dirs()
        );
    }

    /// `rkt gc` of everything that may go.
    #[track_caller]
    pub fn gc(&self) -> Done {
        self.rkt(&["gc", "--grace-period=0s", "--expire-prepared=0s"])
    }
}

impl Drop for Rkt {
    fn drop(&mut self) {
        for dir in self.pod_dirs() {
            if let Some(uuid) = dir
                .file_name()
                .filter(|_| dir.parent().is_some_and(|p| p.ends_with("run")))
            {
                let words = [OsStr::new("stop"), OsStr::new("--force"), uuid];
                let mut command = self.command(&words);
                let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            }
        }
        let mut gc = self.command(&["gc", "--grace-period=0s"]);
        let _ = gc.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let keep = std::env::var_os("RKT_TEST_KEEP").is_some();
        for pid in self.processes() {
            host::kill(pid);
        }
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        for _ in 0..50 {
            for (root, _) in host::cgroup_roots() {
                host::remove_cgroup(&root.join(&self.cgroup));
            }
            if host::cgroup_roots()
                .iter()
                .all(|(root, _)| !root.join(&self.cgroup).exists())
            {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if !keep {
            remove(&self.top);
        }
    }
}

/// Whether a word is `--net`, or `--network`, with or without its value.
fn asks_for_network<S: AsRef<OsStr>>(words: &[S]) -> bool {
    let asks = |w: &S| w.as_ref().as_encoded_bytes().starts_with(b"--net");
    words.iter().any(asks)
}

/// Removes what test programs left that were killed: their name has the pid.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix("rkt-test-") else {
            continue;
        };
        let pid = rest.split('-').next().unwrap_or_default();
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            for (root, _) in host::cgroup_roots() {
                host::remove_cgroup(&root.join(&name));
            }
            remove(&entry.path());
        }
    }
}

/// Removes a tree, but never what is mounted in it.
fn remove(top: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if !table.contains(&*top.to_string_lossy()) {
        host::thaw(&top.join("data"));
        let _ = fs::remove_dir_all(top);
    }
}
