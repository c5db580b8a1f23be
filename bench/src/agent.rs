//! The measuring process: runs commands it is told of and times them.
//!
//! Peers that refuse a hybrid cgroup tree need a mount namespace with another view of it. An
//! agent is started once in each such world, so that the way in costs no measurement anything.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::{Deserialize, Serialize};

use crate::{
    fault::{Doing, Fault, Result},
    world::World,
};

/// Seconds that one command may take.
const LIMIT: i64 = 60;

/// Commands to run and time as one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Program and arguments of each.
    pub(crate) commands: Vec<Vec<String>>,
    /// When the next one starts, and when the clock stops.
    pub(crate) pace: Pace,
}

/// The order of a request's commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// One after the other; the clock stops at the last one's end.
    InTurn,
    /// All at once; the clock stops when all have ended.
    Together,
    /// One, which says "up" by a byte on its output: the clock stops there.
    UntilByte,
}

/// What a request took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Microseconds on the wall.
    pub(crate) wall_us: f64,
    /// Microseconds from the byte of `UntilByte` to the end.
    pub(crate) rest_us: Option<f64>,
    /// Microseconds of processor time of everything that was waited for.
    pub(crate) cpu_us: f64,
    /// The words of the first command's output, at most a few.
    pub(crate) words: Vec<String>,
    /// Why it does not count.
    pub(crate) failed: Option<String>,
}

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    requests: Option<ChildStdin>,
    costs: BufReader<ChildStdout>,
}

impl Agent {
    /// Starts one in `world`; `desk` is where it keeps the output of what it runs.
    pub(crate) fn start(world: World, desk: &Path, env: &[(String, String)]) -> Result<Self> {
        let me = std::env::current_exe().doing(|| "find the own program".to_owned())?;
        let mut command = match world.way_in()? {
            None => Command::new(&me),
            Some(script) => {
                let mut way = Command::new("unshare");
                way.args(["--mount", "--propagation", "private"]);
                if world.has_network() {
                    way.arg("--net");
                }
                way.args(["sh", "-ec"])
                    .arg(format!("{script}; exec \"$@\""))
                    .arg("sh")
                    .arg(&me);
                way
            }
        };
        command.arg("agent").arg(desk).envs(env.iter().cloned());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(|| format!("start the agent of {world:?}"))?;
        let requests = child.stdin.take();
        let costs = child
            .stdout
            .take()
            .ok_or_else(|| Fault::new("the agent has no output"))?;
        Ok(Self {
            child,
            requests,
            costs: BufReader::new(costs),
        })
    }

    /// Runs and times `request`.
    pub(crate) fn run(&mut self, request: &Request) -> Result<Cost> {
        let pipe = self
            .requests
            .as_mut()
            .ok_or_else(|| Fault::new("the agent has ended"))?;
        let mut line = serde_json::to_string(request).doing(|| "write a request".to_owned())?;
        line.push('\n');
        pipe.write_all(line.as_bytes())
            .doing(|| "ask the agent".to_owned())?;
        let mut answer = String::new();
        self.costs
            .read_line(&mut answer)
            .doing(|| "hear the agent".to_owned())?;
        serde_json::from_str(&answer).doing(|| "understand the agent".to_owned())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // End of input is the agent's sign to leave.
        drop(self.requests.take());
        let _ended = self.child.wait();
    }
}

/// The agent's own loop, until its input ends.
pub(crate) fn serve(desk: &Path) -> Result<()> {
    // Best effort: without it, other sessions' work weighs the same as ours.
    let _weight = fs::write("/proc/self/autogroup", "-10");
    let desk = desk.join(format!("agent-{}", std::process::id()));
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.doing(|| "read a request".to_owned())?;
        let request: Request =
            serde_json::from_str(&line).doing(|| "parse a request".to_owned())?;
        let cost = take(&request, &desk).unwrap_or_else(|fault| Cost {
            wall_us: 0.0,
            rest_us: None,
            cpu_us: 0.0,
            words: Vec::new(),
            failed: Some(fault.to_string()),
        });
        let mut answer = serde_json::to_string(&cost).doing(|| "write a cost".to_owned())?;
        answer.push('\n');
        out.write_all(answer.as_bytes())
            .and_then(|()| out.flush())
            .doing(|| "answer".to_owned())?;
    }
    Ok(())
}

/// Runs one request with the clock on.
fn take(request: &Request, desk: &Path) -> Result<Cost> {
    let (said, wrong) = (desk.with_extension("out"), desk.with_extension("err"));
    let mut prepared = Vec::new();
    for words in &request.commands {
        prepared.push(prepare(words, request.pace, &said, &wrong)?);
    }
    let cpu = rkt_sys::usage::ended_children();
    let begin = Instant::now();
    let (wall, ends) = match request.pace {
        Pace::InTurn => {
            let mut ends = Vec::new();
            for command in &mut prepared {
                ends.push(wait(&mut spawn(command)?)?);
            }
            (begin.elapsed(), ends)
        }
        Pace::Together => {
            let mut running = prepared.iter_mut().map(spawn).collect::<Result<Vec<_>>>()?;
            let ends = running.iter_mut().map(wait).collect::<Result<Vec<_>>>()?;
            (begin.elapsed(), ends)
        }
        Pace::UntilByte => until_byte(&mut prepared, begin)?,
    };
    let cpu = rkt_sys::usage::ended_children().saturating_sub(cpu);
    let bad = ends.iter().position(|end| !end.success());
    let words = fs::read_to_string(&said).unwrap_or_default();
    Ok(Cost {
        wall_us: wall.as_secs_f64() * 1e6,
        rest_us: (request.pace == Pace::UntilByte)
            .then(|| begin.elapsed().saturating_sub(wall).as_secs_f64() * 1e6),
        cpu_us: cpu.as_secs_f64() * 1e6,
        words: words
            .split_whitespace()
            .take(64)
            .map(str::to_owned)
            .collect(),
        failed: bad.map(|at| complaint(&request.commands[at], ends[at], &wrong)),
    })
}

/// A command that is ready to run: no input, output and complaints to files.
fn prepare(words: &[String], pace: Pace, said: &PathBuf, wrong: &PathBuf) -> Result<Command> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Fault::new("a command without words"))?;
    let mut command = Command::new(program);
    let errors = File::create(wrong).doing(|| format!("create `{}`", wrong.display()))?;
    command.args(arguments).stdin(Stdio::null()).stderr(errors);
    if pace == Pace::UntilByte {
        command.stdout(Stdio::piped());
    } else {
        command.stdout(File::create(said).doing(|| format!("create `{}`", said.display()))?);
    }
    Ok(command)
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().doing(|| format!("run {command:?}"))
}

/// Waits for a command's end, and ends it at [`LIMIT`]: one that hangs spoils its round only.
fn wait(child: &mut Child) -> Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let handle = pidfd_open(
        pid.ok_or_else(|| Fault::new("no pid"))?,
        PidfdFlags::empty(),
    );
    let handle = handle.doing(|| "watch a command".to_owned())?;
    let limit = Timespec {
        tv_sec: LIMIT,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit));
    if ready.doing(|| "watch a command".to_owned())? == 0 {
        child.kill().doing(|| "end a command".to_owned())?;
        let _killed = child.wait();
        return Err(Fault::new(format!("it hung for {LIMIT} s and was killed")));
    }
    child.wait().doing(|| "wait".to_owned())
}

/// Runs the first command until it has said something, then lets it end.
fn until_byte(prepared: &mut [Command], begin: Instant) -> Result<(Duration, Vec<ExitStatus>)> {
    let command = prepared
        .first_mut()
        .ok_or_else(|| Fault::new("nothing to run"))?;
    let mut child = spawn(command)?;
    let mut byte = [0];
    if let Some(output) = child.stdout.as_mut() {
        // An end without a byte shows in the exit status.
        let _count = output
            .read(&mut byte)
            .doing(|| "hear the command".to_owned())?;
    }
    let wall = begin.elapsed();
    Ok((wall, vec![wait(&mut child)?]))
}

/// The command, how it ended and its last complaint, on one line.
fn complaint(words: &[String], end: ExitStatus, wrong: &Path) -> String {
    let text = fs::read_to_string(wrong).unwrap_or_default();
    let last: Vec<&str> = text
        .lines()
        .rev()
        .filter(|line| !line.is_empty())
        .take(3)
        .collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!("`{}`: {end}: {}", words.join(" "), last.join(" / "))
}
