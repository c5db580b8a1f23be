//! What kind of archive a layer is: OCI's, or an App Container Image with its `rootfs` inside.

use super::ChainId;
use rkt_spec::Digest;
use rkt_spec::digest::Algorithm;
use rkt_spec::record;
use sha2::{Digest as _, Sha256};

/// Kind of an archive. It decides what names mean and how the archive is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Files at the top, whiteouts; named by SHA-256.
    Oci,
    /// `manifest` and `rootfs/`, no whiteouts; named by SHA-512. Source: appc 0.8.11, "Image Archives".
    Aci,
}

impl Form {
    /// The kind of a stored layer. Its digest tells: an OCI layer is never named by SHA-512 here.
    pub(crate) fn of(diff: &Digest) -> Self {
        match diff.algorithm() {
            Algorithm::Sha256 => Self::Oci,
            Algorithm::Sha512 => Self::Aci,
        }
    }

    /// The hash that names such archives.
    pub(crate) fn algorithm(self) -> Algorithm {
        match self {
            Self::Oci => Algorithm::Sha256,
            Self::Aci => Algorithm::Sha512,
        }
    }
}

record! {
    /// Which paths of an App Container Image are shown; `None` shows all. Paths are absolute in
    /// the app, exact, and imply no children.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Filter {
        /// For everything but directories.
        pub files: Option<Vec<String>>,
        /// For directories. One that is not listed and has something shown in it is made anew.
        pub directories: Option<Vec<String>>,
    }
}

impl Filter {
    /// A name of this filter; the same paths have the same name.
    pub(crate) fn digest(&self) -> Digest {
        use rkt_spec::codec::Record as _;
        Digest::sha256(&Sha256::digest(self.to_bytes()).into())
    }
}

/// One layer of an image and what of it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The layer.
    pub diff: Digest,
    /// Of an App Container Image, the paths that are left; `None` for all.
    pub filter: Option<Filter>,
}

impl Step {
    /// All of a layer.
    pub fn whole(diff: Digest) -> Self {
        Self { diff, filter: None }
    }

    /// The chain with this step on top of `below`.
    fn chain(&self, below: Option<&ChainId>) -> ChainId {
        let Some(filter) = &self.filter else {
            return match below {
                Some(below) => below.on_top(&self.diff),
                None => ChainId::base(&self.diff),
            };
        };
        let below = below.map(ToString::to_string).unwrap_or_default();
        let text = format!("filtered {below} {} {}", self.diff, filter.digest());
        ChainId::from_digest(Digest::sha256(&Sha256::digest(text).into()))
    }
}

/// The chain ids of these steps, both lowest first.
pub(crate) fn step_ids(steps: &[Step]) -> Vec<ChainId> {
    let mut ids: Vec<ChainId> = Vec::with_capacity(steps.len());
    for step in steps {
        ids.push(step.chain(ids.last()));
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_app_images_never_meet_those_of_oci_layers() {
        let aci = Digest::sha512(&[1; 64]);
        let oci = Digest::sha256(&[1; 32]);
        assert_eq!(Form::of(&aci), Form::Aci);
        assert_eq!(ChainId::base(&oci).digest(), &oci);
        assert_eq!(
            ChainId::base(&aci).digest().algorithm(),
            Algorithm::Sha256,
            "chains have one kind of name"
        );
        let filter = |path: &str| {
            Some(Filter {
                files: Some(vec![path.to_owned()]),
                directories: None,
            })
        };
        let steps = [
            Step::whole(aci.clone()),
            Step {
                diff: aci.clone(),
                filter: filter("/a"),
            },
            Step {
                diff: aci,
                filter: filter("/b"),
            },
        ];
        let alone: Vec<ChainId> = steps.iter().map(|s| s.chain(None)).collect();
        assert_ne!(alone[0], alone[1]);
        assert_ne!(alone[1], alone[2]);
        assert_eq!(step_ids(&steps)[0], alone[0]);
    }
}
