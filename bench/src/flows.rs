//! One GiB from pod to host, from pod to pod on a network of theirs, and by a published port; beside
//! it the same through devices and a rule that are made by hand.
//!
//! Each column lives in a network of its own, so that neither pays for the other's rules. What sends
//! and takes is this program, which enters the networks from outside: it is the way that is measured,
//! not what an app may do.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{
    bench::Bench,
    case::Series,
    fault::{Doing, Fault, Result},
    image,
};

/// Name of the table.
pub(crate) const CASE: &str = "flows";
/// What it is, in words.
pub(crate) const ABOUT: &str = "1 GiB by one TCP connection";
/// The column that is made by hand.
pub(crate) const PLAIN: &str = "plain veth and rule";
/// The steps.
pub(crate) const STEPS: [&str; 4] = ["to host", "to pod", "by port", FILTERED];
/// The same with `br_netfilter`, which shows to iptables, and so tracks, what a bridge passes on: as
/// on hosts of docker and Kubernetes. A fresh Debian does not load it, so the other steps go without.
const FILTERED: &str = "to pod, br_nf";

const BYTES: u64 = 1 << 30;
const PORT: u16 = 5201;
/// The published port, and where outside clients find the host.
const PUBLISHED: &str = "10.99.9.1:18080";

/// Measures both columns in turn, half of the rounds.
pub(crate) fn measure(bench: &mut Bench, rkt: Option<&str>, rounds: usize) -> Result<Vec<Series>> {
    let home = bench.place.room("flows")?;
    let layout = home.join("layout");
    let root = bench.place.room("flows-root")?;
    image::small(&layout, &root)?;
    let image = format!("oci:{}:latest", layout.display());
    let rkt = rkt.map(|program| (program, image.as_str()));
    let mut columns = vec![(PLAIN, World::start(&home, "plain", None)?)];
    if let Some(rkt) = rkt {
        columns.push(("rkt", World::start(&home, "rkt", Some(rkt))?));
    }
    let mut all: Vec<Series> = columns
        .iter()
        .flat_map(|(column, _)| STEPS.map(|step| blank(column, step)))
        .collect();
    let rounds = rounds.div_ceil(2);
    for round in 0..=rounds {
        columns.rotate_left(1);
        for step in STEPS {
            for (column, world) in &mut columns {
                let took = world.ask(step);
                let series = all
                    .iter_mut()
                    .find(|s| s.step == step && s.column == *column);
                // The first round warms up.
                if let Some(series) = series.filter(|_| round > 0) {
                    series.wall_us.push(took.as_ref().ok().copied());
                    series.cpu_us.push(None);
                    series.failed = took.err().map(|fault| fault.to_string());
                }
            }
        }
        bench.progress(CASE, round, rounds);
    }
    Ok(all)
}

fn blank(column: &str, step: &'static str) -> Series {
    Series {
        case: CASE,
        column: column.to_owned(),
        step,
        wall_us: Vec::new(),
        cpu_us: Vec::new(),
        failed: None,
    }
}

/// This program once more, in a network and mounts of its own; it ends with its standard input.
struct World {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl World {
    fn start(home: &Path, name: &str, rkt: Option<(&str, &str)>) -> Result<Self> {
        let doing = || format!("start the network of `{name}`");
        let dir = home.join(name);
        std::fs::create_dir_all(&dir).doing(doing)?;
        let (program, image) = rkt.unwrap_or_default();
        let mut child = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "--"])
            .arg(own())
            .arg("flows")
            .arg(&dir)
            .args([program, image])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(doing)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (ask, answers) = pipes.ok_or_else(|| Fault::new("no pipes"))?;
        let mut world = Self {
            child,
            ask: Some(ask),
            answers: BufReader::new(answers),
        };
        match world.line()?.as_str() {
            "ready" => Ok(world),
            why => Err(Fault::new(format!("{}: {why}", doing()))),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .doing(|| "hear of a network".to_owned())?;
        Ok(line.trim_end().to_owned())
    }

    fn ask(&mut self, step: &str) -> Result<f64> {
        if let Some(ask) = &mut self.ask {
            writeln!(ask, "{step}").doing(|| "ask for a flow".to_owned())?;
        }
        let line = self.line()?;
        line.parse().map_err(|_| Fault::new(line))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.ask.take());
        let _ended = self.child.wait();
    }
}

/// What runs in such a network: makes what is to be measured, then answers for each step that is
/// asked for.
pub(crate) fn serve(dir: &Path, rkt: &str, image: &str) -> Result<()> {
    let made = if rkt.is_empty() {
        plain()
    } else {
        pods(dir, rkt, image)
    };
    let inside = match made {
        Ok(inside) => inside,
        Err(fault) => return crate::say(&format!("{fault}\n")),
    };
    filter_bridges(false)?;
    crate::say("ready\n")?;
    for step in std::io::stdin().lines() {
        let step = step.doing(|| "hear what to measure".to_owned())?;
        let took = inside.flow(&step);
        crate::say(&match took {
            Ok(us) => format!("{us}\n"),
            Err(fault) => format!("{fault}\n"),
        })?;
    }
    if !rkt.is_empty() {
        run(&format!("{} stop --force a b c", global(dir, rkt)))?;
        run(&format!("{} rm a b c", global(dir, rkt)))?;
        run(&format!("{} image gc --grace-period=0s", global(dir, rkt)))?;
    }
    Ok(())
}

/// A process in each network, and the address that others have of it.
struct Inside {
    /// To and from the host, and where the published port leads.
    a: (u32, String),
    /// Where the host is for it.
    gateway: String,
    b: (u32, String),
    c: (u32, String),
    /// Outside, a client of the host.
    outside: Holder,
    /// The other holders.
    _others: Vec<Holder>,
    /// A rule that is there only while the port is measured.
    rule: Option<&'static str>,
}

impl Inside {
    fn flow(&self, step: &str) -> Result<f64> {
        match step {
            "to host" => flow(None, self.a.0, &self.gateway, None),
            "to pod" => flow(Some(self.b.0), self.c.0, &self.b.1, None),
            FILTERED => {
                filter_bridges(true)?;
                let took = flow(Some(self.b.0), self.c.0, &self.b.1, None);
                filter_bridges(false)?;
                took
            }
            _ => {
                if let Some(rule) = self.rule {
                    run(&format!("nft {rule}"))?;
                }
                let took = flow(
                    Some(self.a.0),
                    self.outside.0.id(),
                    &self.a.1,
                    Some(PUBLISHED),
                );
                if self.rule.is_some() {
                    run("nft delete table ip plain")?;
                }
                took
            }
        }
    }
}

/// The host's switch of `br_netfilter`; nothing when the kernel has none.
fn filter_bridges(on: bool) -> Result<()> {
    for family in ["iptables", "ip6tables", "arptables"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
        match std::fs::write(&path, if on { "1" } else { "0" }) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.doing(|| format!("write `{path}`"))?,
        }
    }
    Ok(())
}

/// From the network of `client` to that of `server`, which is the host's when none; `by` is another
/// address that leads to `at`.
fn flow(server: Option<u32>, client: u32, at: &str, by: Option<&str>) -> Result<f64> {
    let at = format!("{at}:{PORT}");
    let to = by.unwrap_or(&at);
    let doing = || format!("measure a flow to `{to}`");
    let mut taking = ready(within(server).args(["traffic", "take", &at])).doing(doing)?;
    let sent = within(Some(client))
        .args(["traffic", "send", to, &BYTES.to_string()])
        .output()
        .doing(doing);
    // Nobody comes to it any more.
    if !sent.as_ref().is_ok_and(|out| out.status.success()) {
        let _ended = taking.kill();
    }
    let _ended = taking.wait();
    let sent = sent?;
    let text = String::from_utf8_lossy(&sent.stdout);
    let why = || Fault::new(String::from_utf8_lossy(&sent.stderr).trim().to_owned());
    text.trim().parse().map_err(|_| why())
}

/// Starts a command and waits until it says a line.
fn ready(command: &mut Command) -> std::io::Result<Child> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut String::new())?;
    }
    Ok(child)
}

/// This program.
fn own() -> std::path::PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into())
}

fn within(pid: Option<u32>) -> Command {
    match pid {
        None => Command::new(own()),
        Some(pid) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{pid}/ns/net")).arg(own());
            command
        }
    }
}

/// A process whose network somebody else's devices are put into.
struct Holder(Child);

impl Holder {
    fn start() -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo there; exec sleep 3600"]);
        let child = ready(&mut command).doing(|| "make a network".to_owned())?;
        Ok(Self(child))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Runs words; their error stream is the reason.
fn run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let out = Command::new(words.next().unwrap_or_default())
        .args(words)
        .output()
        .doing(|| format!("run `{line}`"))?;
    if !out.status.success() {
        let why = String::from_utf8_lossy(&out.stderr)
            .trim()
            .replace('\n', "; ");
        return Err(Fault::new(format!("run `{line}`: {why}")));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A device pair: `host` here with `gateway`, or as a port of `bridge`; `address` there.
fn pair(host: &str, pid: u32, address: &str, gateway: &str, bridge: Option<&str>) -> Result<()> {
    run(&format!(
        "ip link add {host} type veth peer name eth0 netns {pid}"
    ))?;
    match bridge {
        None => run(&format!("ip addr add {gateway}/24 dev {host}"))?,
        Some(bridge) => run(&format!("ip link set {host} master {bridge}"))?,
    };
    run(&format!("ip link set {host} up"))?;
    for words in [
        "ip link set lo up".to_owned(),
        format!("ip addr add {address}/24 dev eth0"),
        "ip link set eth0 up".to_owned(),
        format!("ip route add default via {gateway}"),
    ] {
        run(&format!("nsenter --net=/proc/{pid}/ns/net {words}"))?;
    }
    Ok(())
}

fn plain() -> Result<Inside> {
    run("ip link set lo up")?;
    run("sysctl -q -w net.ipv4.ip_forward=1")?;
    let holders = [Holder::start()?, Holder::start()?, Holder::start()?];
    let [a, b, c] = [0, 1, 2].map(|n: usize| holders[n].0.id());
    pair("va", a, "10.99.1.2", "10.99.1.1", None)?;
    run("ip link add name br0 type bridge")?;
    run("ip addr add 10.99.2.1/24 dev br0")?;
    run("ip link set br0 up")?;
    pair("vb", b, "10.99.2.2", "10.99.2.1", Some("br0"))?;
    pair("vc", c, "10.99.2.3", "10.99.2.1", Some("br0"))?;
    Ok(Inside {
        a: (a, "10.99.1.2".to_owned()),
        gateway: "10.99.1.1".to_owned(),
        b: (b, "10.99.2.2".to_owned()),
        c: (c, "10.99.2.3".to_owned()),
        outside: outside()?,
        _others: holders.into(),
        rule: Some(
            "table ip plain { chain in { type nat hook prerouting priority -100; \
             tcp dport 18080 dnat to 10.99.1.2:5201; } ; }",
        ),
    })
}

fn outside() -> Result<Holder> {
    let holder = Holder::start()?;
    pair("vo", holder.0.id(), "10.99.9.2", "10.99.9.1", None)?;
    Ok(holder)
}

fn global(dir: &Path, rkt: &str) -> String {
    let dir = dir.display();
    format!("{rkt} --dir={dir}/data --run-dir={dir}/run --local-config={dir}/etc")
}

fn pods(dir: &Path, rkt: &str, image: &str) -> Result<Inside> {
    run("ip link set lo up")?;
    let rkt = global(dir, rkt);
    run(&format!("{rkt} network create flows --subnet=10.98.0.0/24"))?;
    let app = format!("{image} --exec=/bin/sleep -- 3600");
    let run_pod = |name: &str, net: &str| {
        run(&format!(
            "{rkt} run --quiet --detach --pod-name={name} {net} {app}"
        ))
    };
    run_pod("a", &format!("--net=default --port=0.0.0.0:18080:{PORT}"))?;
    run_pod("b", "--net=flows")?;
    run_pod("c", "--net=flows")?;
    let status = |name: &str| -> Result<serde_json::Value> {
        let text = run(&format!("{rkt} status {name} --format=json"))?;
        serde_json::from_str(&text).doing(|| format!("read the status of `{name}`"))
    };
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let place = |status: &serde_json::Value| {
        let pid = status["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok());
        (pid.unwrap_or(0), word(&status["networks"][0]["ip"]))
    };
    let a = status("a")?;
    Ok(Inside {
        a: place(&a),
        gateway: word(&a["networks"][0]["gateways"][0]),
        b: place(&status("b")?),
        c: place(&status("c")?),
        outside: outside()?,
        _others: Vec::new(),
        rule: None,
    })
}
