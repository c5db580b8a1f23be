//! A command for every plugin of a network, in the order that the specification has.

use super::capability;
use super::exec::{self, Said};
use super::list::{List, Plugin, Version, programs};
use super::outcome;
use super::phantom;
use super::record::{Answer, Command, Refusal, Request};
use rkt_spec::codec::Bytes;
use rkt_sys::fd;
use rustix::fd::OwnedFd;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one plugin may take: a lease by DHCP comes late where the network is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a plugin answers to STATUS when it cannot add now, by the specification.
const NOT_AVAILABLE: [u64; 2] = [50, 51];

/// Does what is asked. After a failed ADD what was made is taken away again.
pub fn run(request: &Request) -> Answer {
    let doing = match request.command {
        Command::Add => "join the network",
        Command::Check => "check the network",
        Command::Del => "leave the network",
        Command::Gc => "clean up the network",
        Command::Status | Command::Version => "ask the plugins of the network",
    };
    let doing = format!("{doing} `{}`", request.network.name);
    let answer = attempt(request).unwrap_or_else(|refusal| Answer {
        refusal: Some(refusal),
        ..Answer::default()
    });
    let refusal = answer.refusal.map(|refusal| Refusal {
        because: refusal.to_string(),
        doing,
        hint: refusal.hint,
    });
    Answer { refusal, ..answer }
}

fn attempt(request: &Request) -> Result<Answer, Refusal> {
    let list = List::parse(&request.network.config.0)?;
    let phantom = phantom(request, &list);
    let request = &Request {
        namespace: phantom.as_ref().map_or(request.namespace, fd::number),
        ..request.clone()
    };
    let mut directories = request.directories.clone();
    directories.extend(super::DIRECTORIES.map(str::to_owned));
    let names: Vec<String> = list.plugins.iter().map(|p| p.name.clone()).collect();
    let programs = programs(&names, &directories)?;
    let call = Call {
        request,
        list: &list,
        path: directories.join(":"),
        arguments: capability::arguments(&list, request),
    };
    let each = || list.plugins.iter().zip(&programs);
    let known = request.result.0.as_slice();
    match request.command {
        Command::Add => return call.add(&programs),
        Command::Del => call.del(&programs, known)?,
        Command::Check if list.unchecked().is_none() => {
            for (plugin, program) in each() {
                call.one(Command::Check, plugin, program, known)?;
            }
        }
        Command::Gc if list.version >= Version(1, 1) && !list.disable_gc => {
            for (plugin, program) in each() {
                call.one(Command::Gc, plugin, program, &[])?;
            }
        }
        Command::Status if list.version >= Version(1, 1) => {
            for (plugin, program) in each() {
                call.one(Command::Status, plugin, program, &[])?;
            }
        }
        Command::Version => {
            for (plugin, program) in each() {
                call.version(plugin, program)?;
            }
        }
        // Older versions do not have the command.
        Command::Check | Command::Gc | Command::Status => {}
    }
    Ok(Answer::default())
}

/// For a DEL whose namespace is gone: one that looks like it. Without it (no result, a kernel that
/// does not let us) the plugins do what they can.
fn phantom(request: &Request, list: &List) -> Option<OwnedFd> {
    let wanted = request.command == Command::Del && request.namespace < 0;
    if !wanted || request.result.0.is_empty() {
        return None;
    }
    let wired = outcome::wired(&request.result.0, list.version, request).ok()?;
    phantom::namespace(&request.network.interface, &wired.addresses).ok()
}

struct Call<'a> {
    request: &'a Request,
    list: &'a List,
    path: String,
    arguments: String,
}

impl Call<'_> {
    fn add(&self, programs: &[PathBuf]) -> Result<Answer, Refusal> {
        let mut result = Vec::new();
        let mut done = 0;
        for (plugin, program) in self.list.plugins.iter().zip(programs) {
            done += 1;
            match self.one(Command::Add, plugin, program, &result) {
                Ok(said) => result = said.out,
                Err(refusal) => return Ok(self.undo(programs, done, &result, refusal)),
            }
        }
        let wired = outcome::wired(&result, self.list.version, self.request);
        let wired = match wired {
            Ok(wired) => wired,
            Err(why) => {
                let name = self.list.plugins.last().map_or("", |p| p.name.as_str());
                let doing = format!("read the result of plugin `{name}`");
                let refusal = Refusal::new(doing, why);
                return Ok(self.undo(programs, done, &[], refusal));
            }
        };
        Ok(Answer {
            wired: Some(wired),
            result: Bytes(result),
            ports_done: self.list.maps_ports(),
            ..Answer::default()
        })
    }

    /// Takes away what the first plugins have made; why it has to be done goes before what goes
    /// wrong with that.
    fn undo(&self, programs: &[PathBuf], done: usize, result: &[u8], why: Refusal) -> Answer {
        let made = programs.get(..done).unwrap_or(programs);
        let left = self.del(made, result).err();
        let hint = left.as_ref().map(|l| format!("something may be left: {l}"));
        Answer {
            left: left.is_some(),
            refusal: Some(Refusal {
                hint: hint.unwrap_or(why.hint),
                ..why
            }),
            ..Answer::default()
        }
    }

    /// In reverse order, and each whatever becomes of the others; the first failure is told.
    fn del(&self, programs: &[PathBuf], result: &[u8]) -> Result<(), Refusal> {
        let mut first = None;
        let all: Vec<_> = self.list.plugins.iter().zip(programs).collect();
        for (plugin, program) in all.into_iter().rev() {
            if let Err(refusal) = self.one(Command::Del, plugin, program, result) {
                first.get_or_insert(refusal);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// One command for one plugin; `previous` is a result of an earlier one.
    fn one(
        &self,
        command: Command,
        plugin: &Plugin,
        program: &Path,
        previous: &[u8],
    ) -> Result<Said, Refusal> {
        let doing = || format!("{} by plugin `{}`", command.as_str(), plugin.name);
        let input = self
            .input(command, plugin, previous)
            .map_err(|why| Refusal::new(doing(), why))?;
        let said = self.execute(command, program, &input);
        let said = said.map_err(|why| Refusal::new(doing(), why))?;
        if said.status == 0 {
            return Ok(said);
        }
        let mut refusal = Refusal::new(doing(), outcome::reason(&said));
        if command == Command::Status && NOT_AVAILABLE.contains(&outcome::code(&said)) {
            refusal.hint = "the plugin says that it cannot add a pod now".to_owned();
        }
        Err(refusal)
    }

    /// The pod's network namespace by the path that plugins get; empty when it is gone.
    fn namespace(&self) -> String {
        match self.request.namespace {
            number if number < 0 => String::new(),
            number => format!("/proc/{}/fd/{number}", std::process::id()),
        }
    }

    fn execute(&self, command: Command, program: &Path, input: &[u8]) -> Result<Said, String> {
        let namespace = self.namespace();
        let mut variables = vec![
            ("CNI_COMMAND", command.as_str().to_owned()),
            ("CNI_PATH", self.path.clone()),
            // The original's, for plugins of its time.
            ("CNI_VERSION", "0.1.0".to_owned()),
        ];
        if matches!(command, Command::Add | Command::Check | Command::Del) {
            variables.extend([
                ("CNI_CONTAINERID", self.request.pod.to_string()),
                ("CNI_NETNS", namespace),
                ("CNI_IFNAME", self.request.network.interface.clone()),
                ("CNI_ARGS", self.arguments.clone()),
            ]);
        }
        exec::run(program, input, &variables, PATIENCE).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => {
                format!(
                    "it did not end within {} s and was killed",
                    PATIENCE.as_secs()
                )
            }
            std::io::ErrorKind::FileTooLarge => "it says too much".to_owned(),
            _ => error.to_string(),
        })
    }

    /// A result names the namespace by the path that it had at ADD, through another process of
    /// ours; a plugin that checks compares that with the path it gets now.
    fn move_to_namespace(&self, result: &mut Map<String, Value>) {
        let interfaces = result.get_mut("interfaces").and_then(Value::as_array_mut);
        for interface in interfaces.into_iter().flatten() {
            if let Some(Value::String(path)) = interface.get_mut("sandbox")
                && !path.is_empty()
            {
                *path = self.namespace();
            }
        }
    }

    /// A plugin's configuration with what the specification adds to it; that of the original's
    /// time goes to the plugin as it is in the file.
    fn input(&self, command: Command, plugin: &Plugin, previous: &[u8]) -> Result<Vec<u8>, String> {
        let mut config = plugin.config.clone();
        let runtime = capability::runtime(&config, self.request);
        let chained = command != Command::Gc && self.list.version >= Version(0, 3);
        let previous = (chained && !previous.is_empty()).then_some(previous);
        if let Some(raw) = &plugin.raw
            && runtime.is_empty()
            && previous.is_none()
            && command != Command::Gc
            && !config.contains_key("capabilities")
        {
            return Ok(raw.clone());
        }
        config.remove("capabilities");
        config.insert("name".to_owned(), json!(self.list.name));
        config.remove("cniVersions");
        if !self.list.version_text.is_empty() {
            config.insert("cniVersion".to_owned(), json!(self.list.version_text));
        }
        if !runtime.is_empty() && command != Command::Gc {
            config.insert("runtimeConfig".to_owned(), Value::Object(runtime));
        }
        if let Some(bytes) = previous {
            let value = serde_json::from_slice::<Map<String, Value>>(bytes);
            let mut value = value.map_err(|e| format!("the result before it is none: {e}"))?;
            if command == Command::Check {
                self.move_to_namespace(&mut value);
            }
            config.insert("prevResult".to_owned(), Value::Object(value));
        }
        if command == Command::Gc {
            let valid = self.request.valid.iter();
            let valid: Vec<Value> = valid
                .map(|a| json!({ "containerID": a.pod.to_string(), "ifname": a.interface }))
                .collect();
            // The second is what the specification's text has, the first what libcni had first.
            config.insert("cni.dev/attachments".to_owned(), json!(valid));
            config.insert("cni.dev/valid-attachments".to_owned(), json!(valid));
        }
        serde_json::to_vec(&config).map_err(|e| e.to_string())
    }

    /// Whether the plugin says that it knows the version of the configuration.
    fn version(&self, plugin: &Plugin, program: &Path) -> Result<(), Refusal> {
        let doing = || format!("VERSION by plugin `{}`", plugin.name);
        let ours = match self.list.version_text.as_str() {
            "" => "0.1.0",
            text => text,
        };
        let input = json!({ "cniVersion": ours }).to_string();
        let said = self.execute(Command::Version, program, input.as_bytes());
        let said = said.map_err(|why| Refusal::new(doing(), why))?;
        let known: Option<Value> = serde_json::from_slice(&said.out).ok();
        let known = known
            .as_ref()
            .and_then(|v| v.get("supportedVersions")?.as_array());
        // Before 0.2.0 a plugin could not say.
        let Some(known) = known.filter(|_| said.status == 0) else {
            return match self.list.version < Version(0, 2) {
                true => Ok(()),
                false => Err(Refusal::new(doing(), outcome::reason(&said))),
            };
        };
        let known: Vec<&str> = known.iter().filter_map(Value::as_str).collect();
        if known.contains(&ours) {
            return Ok(());
        }
        let list = known.join(", ");
        let because = format!("it knows {list}, and the network is of version {ours}");
        Err(Refusal::new(doing(), because.escape_debug().to_string()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rkt_spec::Uuid;
    use rkt_spec::network::{Driver, NetworkPlan};

    /// An ADD for this configuration.
    pub(in crate::cni) fn request(config: &str) -> Request {
        Request {
            command: Command::Add,
            pod: Uuid::from_random([7; 16]),
            network: NetworkPlan {
                name: "n".to_owned().try_into().unwrap(),
                interface: "eth0".into(),
                driver: Driver::Cni,
                device: String::new(),
                macvlan: rkt_spec::network::MacvlanMode::Bridge,
                mtu: 0,
                gateway: false,
                masquerade: false,
                isolated: false,
                hairpin: false,
                restricted: false,
                names: false,
                pools: vec![],
                routes: vec![],
                mac: None,
                config: Bytes(config.as_bytes().to_vec()),
                args: String::new(),
            },
            namespace: -1,
            ports: vec![],
            resolv_conf: Bytes::default(),
            result: Bytes::default(),
            directories: vec![],
            valid: vec![],
        }
    }

    /// Plugins that write down how they were called, and answer from files.
    struct Lab {
        dir: PathBuf,
    }

    impl Lab {
        fn new(name: &str) -> Self {
            let dir = format!("rkt-cni-{}-{name}", std::process::id());
            let dir = std::env::temp_dir().join(dir);
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            Self { dir }
        }

        fn plugin(&self, name: &str, script: &str) {
            let path = self.dir.join(name);
            let log = self.dir.join("log");
            let text = format!(
                "#!/bin/sh\nin=$(cat)\necho \"{name} $CNI_COMMAND $CNI_IFNAME [$CNI_ARGS] $in\" \
                 >> {}\n{script}\n",
                log.display()
            );
            std::fs::write(&path, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&path, mode).unwrap();
        }

        fn run(&self, command: Command, config: &str, result: &str) -> (Answer, Vec<String>) {
            let mut request = request(config);
            request.command = command;
            request.result.0 = result.as_bytes().to_vec();
            request.directories = vec![self.dir.display().to_string()];
            request.network.args = "A=1".into();
            request.valid = vec![super::super::Attachment {
                pod: Uuid::from_random([7; 16]),
                interface: "eth0".into(),
            }];
            let log = self.dir.join("log");
            let _ = std::fs::remove_file(&log);
            let answer = run(&request);
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            (answer, text.lines().map(str::to_owned).collect())
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    const TWO: &str = r#"{"cniVersion":"1.1.0","name":"n","plugins":[
        {"type":"first","capabilities":{"mac":true}},{"type":"second","x":1}]}"#;

    #[test]
    fn plugins_are_called_in_order_and_in_reverse() {
        let lab = Lab::new("order");
        lab.plugin(
            "first",
            r#"echo '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.2/8"}]}'"#,
        );
        lab.plugin(
            "second",
            r#"echo '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.3/8"}]}'"#,
        );
        let (answer, log) = lab.run(Command::Add, TWO, "");
        assert_eq!(answer.refusal, None);
        let wired = answer.wired.unwrap();
        assert_eq!(wired.addresses[0].to_string(), "10.0.0.3/8");
        assert!(log[0].starts_with("first ADD eth0 [A=1] {"), "{log:?}");
        assert!(
            !log[0].contains("capabilities") && !log[0].contains("prevResult"),
            "{log:?}"
        );
        assert!(log[0].contains(r#""name":"n""#), "{log:?}");
        assert!(
            log[1].starts_with("second ADD") && log[1].contains("10.0.0.2/8"),
            "{log:?}"
        );
        let (answer, log) = lab.run(Command::Del, TWO, r#"{"ips":[]}"#);
        assert_eq!(answer.refusal, None);
        assert!(
            log[0].starts_with("second DEL") && log[1].starts_with("first DEL"),
            "{log:?}"
        );
        assert!(log.iter().all(|l| l.contains("prevResult")), "{log:?}");
        let (_, log) = lab.run(Command::Gc, TWO, "");
        assert!(log[0].starts_with("first GC  [] {"), "{log:?}");
        assert!(
            log[0].contains(r#""cni.dev/valid-attachments":[{"containerID":"07"#),
            "{log:?}"
        );
        let (_, log) = lab.run(Command::Check, TWO, r#"{"ips":[]}"#);
        assert_eq!(log.len(), 2);
        let old = TWO.replace("1.1.0", "0.3.1");
        for command in [Command::Check, Command::Gc, Command::Status] {
            assert!(lab.run(command, &old, "").1.is_empty(), "{command:?}");
        }
    }

    #[test]
    fn a_failed_plugin_is_named_and_what_was_made_is_unmade() {
        let lab = Lab::new("failed");
        lab.plugin("first", r#"[ $CNI_COMMAND != ADD ] || echo '{"ips":[]}'"#);
        lab.plugin(
            "second",
            r#"echo '{"code":11,"msg":"no room"}'; [ $CNI_COMMAND != ADD ]"#,
        );
        let (answer, log) = lab.run(Command::Add, TWO, "");
        let refusal = answer.refusal.unwrap();
        assert_eq!(
            refusal.to_string(),
            "join the network `n`: ADD by plugin `second`: no room"
        );
        let calls: Vec<_> = log
            .iter()
            .map(|l| l.split(" eth0").next().unwrap())
            .collect();
        assert_eq!(
            calls,
            ["first ADD", "second ADD", "second DEL", "first DEL"]
        );
        let (answer, log) = lab.run(Command::Add, r#"{"type":"nowhere"}"#, "");
        assert!(answer.refusal.unwrap().because.contains("is in none of"));
        assert!(log.is_empty());
        lab.plugin("third", "echo nonsense");
        let (answer, log) = lab.run(Command::Add, r#"{"type":"third"}"#, "");
        assert!(
            answer
                .refusal
                .unwrap()
                .because
                .contains("read the result of plugin `third`")
        );
        assert_eq!(log.len(), 2, "{log:?}");
    }

    #[test]
    fn a_file_of_the_originals_time_goes_to_its_plugin_unchanged() {
        let lab = Lab::new("old");
        lab.plugin("old", r#"echo '{"ip4":{"ip":"10.0.0.2/8"}}'"#);
        let config = r#"{ "type" : "old",  "name":"n" }"#;
        let (answer, log) = lab.run(Command::Add, config, "");
        assert_eq!(answer.refusal, None);
        assert_eq!(log, [format!("old ADD eth0 [A=1] {config}")]);
    }

    #[test]
    fn versions_are_asked_for() {
        let lab = Lab::new("version");
        lab.plugin("first", r#"echo '{"supportedVersions":["0.4.0","1.1.0"]}'"#);
        lab.plugin(
            "second",
            r#"echo '{"supportedVersions":["0.4.0","1.0.0"]}'"#,
        );
        let (answer, _) = lab.run(Command::Version, TWO, "");
        let text = answer.refusal.unwrap().because;
        assert!(
            text.contains("plugin `second`") && text.contains("of version 1.1.0"),
            "{text}"
        );
        let known = TWO.replace("1.1.0", "0.4.0");
        assert_eq!(lab.run(Command::Version, &known, "").0.refusal, None);
        lab.plugin("first", r#"echo '{"code":50,"msg":"not now"}'; exit 1"#);
        let (answer, _) = lab.run(Command::Status, TWO, "");
        let refusal = answer.refusal.unwrap();
        assert!(refusal.because.ends_with("not now") && refusal.hint.contains("cannot add"));
    }
}
