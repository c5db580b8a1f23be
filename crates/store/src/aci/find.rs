//! App Container Images that are in the store already.

use super::words::appc_architecture;
use crate::error::Result;
use crate::image::Record;
use crate::platform::Platform;
use crate::reference::AppImageName;
use crate::store::Store;
use std::collections::BTreeMap;

/// All records of App Container Images.
pub(crate) fn records(store: &Store) -> Result<Vec<Record>> {
    let mut list = Vec::new();
    for path in crate::store::entries(&store.dir().join("images"))? {
        // Their file names are SHA-512.
        if path.file_stem().is_some_and(|s| s.len() == 128)
            && let Ok(record) = Record::read_at(&path)
            && record.aci.is_some()
        {
            list.push(record);
        }
    }
    Ok(list)
}

/// The image that has this name and all of these labels. Of several: when no version is asked
/// for, one that was found as the latest; then the one that came last.
pub(crate) fn by_name(store: &Store, name: &AppImageName) -> Result<Option<Record>> {
    let any_version = !name.labels().contains_key("version");
    let found = records(store)?.into_iter().filter(|record| {
        record.aci.as_ref().is_some_and(|aci| {
            aci.name == name.name()
                && name
                    .labels()
                    .iter()
                    .all(|(label, value)| aci.labels.get(label) == Some(value))
        })
    });
    Ok(found.max_by_key(|record| {
        let latest = record.aci.as_ref().is_some_and(|aci| aci.latest);
        (any_version && latest, record.fetched_at, record.id.clone())
    }))
}

/// The image whose id begins with these hex digits, when there is exactly one.
pub(crate) fn by_id(store: &Store, hex: &str) -> Result<Option<Record>> {
    let mut found = records(store)?
        .into_iter()
        .filter(|record| record.id.hex().starts_with(hex));
    Ok(match (found.next(), found.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    })
}

/// A name with the platform's labels where none were asked for, as the original adds them.
pub(crate) fn for_platform(name: &AppImageName, platform: &Platform) -> AppImageName {
    let mut labels: BTreeMap<String, String> = name.labels().clone();
    let arch = appc_architecture(&platform.architecture, &platform.variant);
    labels
        .entry("os".to_owned())
        .or_insert_with(|| platform.os.clone());
    labels.entry("arch".to_owned()).or_insert(arch);
    AppImageName::new(name.name(), labels)
}
