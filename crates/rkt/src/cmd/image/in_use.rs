//! Which layers pods need.

use rkt_pod::Pods;
use rkt_spec::manifest::PodManifest;
use rkt_spec::{Digest, Uuid};
use rkt_stage0::merge::CHAINS;
use rkt_store::error::Doing;
use rkt_store::{Error, Kind, Result};
use std::path::Path;

/// A pod and the chains that it was made of.
pub(crate) struct PodChains {
    pub(crate) uuid: Uuid,
    pub(crate) name: Option<String>,
    pub(crate) chains: Vec<Digest>,
}

/// The chains that pods were made of, whatever state they are in.
pub(crate) fn in_use(data_dir: &Path) -> Result<Vec<Digest>> {
    let pods = by_pod(data_dir)?;
    Ok(pods.into_iter().flat_map(|pod| pod.chains).collect())
}

/// Every pod, whatever state it is in.
pub(crate) fn by_pod(data_dir: &Path) -> Result<Vec<PodChains>> {
    let pods = Pods::open(data_dir).map_err(foreign)?;
    let mut all = Vec::new();
    for (uuid, shelf) in pods.uuids().map_err(foreign)? {
        // One that has gone on to another shelf meanwhile is looked for there.
        let pod = match pods.get_from(uuid, shelf).map_err(foreign)? {
            Some(pod) => Some(pod),
            None => pods.get(uuid).map_err(foreign)?,
        };
        let Some(json) = pod.map(|pod| pod.manifest()) else {
            continue;
        };
        let Some(json) = json.map_err(foreign)? else {
            continue;
        };
        let (name, chains) =
            chains(&json).doing(|| format!("read the manifest of pod `{uuid}`"))?;
        all.push(PodChains { uuid, name, chains });
    }
    Ok(all)
}

fn chains(json: &[u8]) -> Result<(Option<String>, Vec<Digest>)> {
    let manifest: PodManifest =
        serde_json::from_slice(json).map_err(|e| Error::new(Kind::Corrupt, e.to_string()))?;
    let chains = manifest
        .apps
        .iter()
        .flat_map(|app| &app.annotations)
        .filter(|pair| pair.name == CHAINS)
        .flat_map(|pair| pair.value.split(','))
        .filter(|chain| !chain.is_empty())
        .map(|chain| Ok(Digest::new(chain)?))
        .collect::<Result<Vec<_>>>()?;
    Ok((manifest.name.map(|name| name.to_string()), chains))
}

/// A failure of the pods' side in the words of the store's.
fn foreign(error: rkt_pod::Error) -> Error {
    let mut all: Vec<String> = vec![error.doing().to_owned()];
    all.extend(error.because().map(str::to_owned));
    all.retain(|part| !part.is_empty());
    Error::new(Kind::System, all.join(": ")).while_doing("look which layers pods need")
}
