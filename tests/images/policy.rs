//! What images of registries have to show, by the policy files.

use rkt_tests::cosign::{Cosign, digest_of, policy};
use rkt_tests::images::TAG;
use rkt_tests::layout::Image;
use rkt_tests::registry::Registry;
use rkt_tests::tar::Entry;
use rkt_tests::{Done, Need, Rkt};

/// A registry, and a rkt with policies of its own.
pub(super) struct Lab {
    pub(super) registry: Registry,
    pub(super) rkt: Rkt,
}

impl Lab {
    fn new() -> Option<Self> {
        Self::with(&[])
    }

    pub(super) fn with(more: &[Need]) -> Option<Self> {
        let mut needs = ["skopeo", "openssl", "docker-registry"]
            .map(Need::Tool)
            .to_vec();
        needs.extend_from_slice(more);
        let rkt = Rkt::needs(&needs)?;
        Some(Self {
            registry: Registry::start(&rkt.file("registry")),
            rkt,
        })
    }

    /// Pushes an image; its name, and the digest of its manifest.
    pub(super) fn push(&self, name: &str) -> (String, String) {
        let layout = Image::with_probe(&[Entry::file("which", name)])
            .write(&self.rkt.file(&format!("l{}", rkt_tests::rkt::unique())));
        let full = self.registry.push(&layout.dir, TAG, name);
        (full, digest_of(&self.registry.address, name, "latest"))
    }

    #[track_caller]
    pub(super) fn call(&self, words: &[&str]) -> Done {
        let mut all = vec![format!(
            "--local-config={}",
            self.rkt.file("local").display()
        )];
        all.extend(words.iter().map(|w| (*w).to_owned()));
        self.rkt.rkt(&all)
    }

    #[track_caller]
    pub(super) fn run(&self, image: &str) -> Done {
        self.call(&[
            "run",
            "--rm",
            "--quiet",
            "--net=none",
            image,
            "--",
            "exit",
            "3",
        ])
    }

    #[track_caller]
    pub(super) fn refused(&self, image: &str, why: &str) {
        self.run(image)
            .ends_with(125)
            .is_one_clear_error()
            .says(why);
    }

    pub(super) fn policy(&self, text: &str) {
        policy(
            &self.rkt.file("local"),
            "one",
            &text.replace("HOST", &self.registry.address),
        );
    }
}

#[test]
fn prefixes_decide_what_is_accepted_pinned_or_refused() {
    let Some(lab) = Lab::new() else { return };
    let (open, _) = lab.push("open/app");
    let (pinned, digest) = lab.push("pinned/app");
    let (closed, _) = lab.push("closed/app");
    lab.run(&closed).ends_with(3);
    lab.policy(
        "[[policy]]\nprefix = \"\"\nverdict = \"refuse\"\n\
         [[policy]]\nprefix = \"HOST/open\"\nverdict = \"accept\"\n\
         [[policy]]\nprefix = \"HOST/pinned\"\nverdict = \"digest-pinned\"\n",
    );
    lab.run(&open).ends_with(3);
    lab.run("builtin:probe").ends_with(3);
    lab.refused(&pinned, "named by their digest");
    lab.run(&format!("{}@{digest}", pinned.trim_end_matches(":latest")))
        .ends_with(3);
    // What is in the store already is judged too, by its name and by its id.
    lab.refused(&closed, "refuses its images");
    let list = lab.call(&["image", "list", "--format=json"]).ok();
    let id = list
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
        .find(|v| v["name"].as_str().unwrap().contains("closed"))
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    lab.refused(&id, "refuses its images");
    // A wrong file stops everything: nobody guesses.
    policy(
        &lab.rkt.file("local"),
        "two",
        "[[policy]]\nprefix = \"\"\nverdict = \"accept\"\n",
    );
    lab.refused(&open, "two policies");
    policy(&lab.rkt.file("local"), "two", "[[polices]]\n");
    lab.refused(&open, "two.toml");
}

#[test]
fn a_signature_of_cosign_by_the_policys_key_is_asked_for() {
    let Some(lab) = Lab::new() else { return };
    let address = lab.registry.address.clone();
    let good = Cosign::new(lab.rkt.file("good"));
    let wrong = Cosign::new(lab.rkt.file("wrong"));
    let key = good.public().display().to_string();
    lab.policy(&format!(
        "[[policy]]\nprefix = \"HOST/team\"\nverdict = \"signed-by\"\nkeys = [\"{key}\"]\n"
    ));
    let place = |name: &str| format!("{address}/{name}");
    let (unsigned, _) = lab.push("team/unsigned");
    lab.refused(&unsigned, "there is none");
    assert_eq!(
        lab.call(&["image", "list", "--no-legend"]).ok(),
        "",
        "not even fetched"
    );
    let (signed, digest) = lab.push("team/signed");
    good.sign(
        &address,
        "team/signed",
        &digest,
        &place("team/signed"),
        &digest,
    );
    let said = lab.call(&["fetch", &signed]);
    assert!(
        said.err.contains("signed by the policy's key sha256:"),
        "{said}"
    );
    lab.run(&signed).ends_with(3);
    let value = lab.call(&["image", "list", "--format=json"]).json();
    assert_eq!(
        (&value["trust"]["verdict"], &value["trust"]["digest"]),
        (&"cosigned".into(), &digest.as_str().into())
    );
    // Signed by another key; by the right one for another image, or for another name.
    let (image, other) = lab.push("team/other");
    wrong.sign(&address, "team/other", &other, &place("team/other"), &other);
    lab.refused(&image, "only others");
    good.sign(
        &address,
        "team/other",
        &other,
        &place("team/other"),
        &digest,
    );
    lab.refused(&image, "only others");
    good.sign(
        &address,
        "team/other",
        &other,
        &place("team/signed"),
        &other,
    );
    lab.refused(&image, "only others");
    good.sign(&address, "team/other", &other, &place("team/other"), &other);
    lab.run(&image).ends_with(3);
    // A tag that moves loses its signature.
    let changed =
        Image::with_probe(&[Entry::file("which", "changed")]).write(&lab.rkt.file("changed"));
    lab.registry.push(&changed.dir, TAG, "team/signed");
    let words = [
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        "--pull-policy=update",
        &signed,
        "--",
        "exit",
        "3",
    ];
    lab.call(&words)
        .ends_with(125)
        .is_one_clear_error()
        .says("there is none");
    // Another key from now on: what the old one let in is judged anew.
    let key = wrong.public().display().to_string();
    lab.policy(&format!(
        "[[policy]]\nprefix = \"HOST/team\"\nverdict = \"signed-by\"\nkeys = [\"{key}\"]\n"
    ));
    lab.refused(&image, "only others");
    let words = [
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        "--insecure-options=image",
        &image,
        "--",
        "exit",
        "3",
    ];
    lab.call(&words).ends_with(3);
    lab.refused(&image, "only others");
    // A key that is none.
    lab.policy(
        "[[policy]]\nprefix = \"HOST/team\"\nverdict = \"signed-by\"\nkeys = [\"/etc/passwd\"]\n",
    );
    lab.refused(&image, "no public key");
    lab.policy(
        "[[policy]]\nprefix = \"oci:\"\nverdict = \"signed-by\"\nkeys = [\"/etc/passwd\"]\n",
    );
    lab.run(&image).ends_with(3);
}
