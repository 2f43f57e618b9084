//! The names that completion offers. Whatever goes wrong, there are none: a Tab
//! must not print errors, nor repair or change anything.

use std::path::PathBuf;

use rcnt_base::roots::{DEFAULT_DATA_ROOT, DEFAULT_EXEC_ROOT, Roots};
use rcnt_engine::images::Store;
use rcnt_engine::netstack::network::PREDEFINED;
use rcnt_engine::paths::Paths;
use rcnt_engine::records;

/// The instance of the environment.
fn paths() -> Paths {
    let root = |variable, default| {
        PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| String::from(default).into()))
    };
    Paths {
        roots: Roots {
            data: root("RCNT_DATA_ROOT", DEFAULT_DATA_ROOT),
            exec: root("RCNT_EXEC_ROOT", DEFAULT_EXEC_ROOT),
        },
    }
}

/// Names of containers, running or not.
pub(crate) fn containers() -> Vec<String> {
    let all = records::list(&paths()).unwrap_or_default();
    all.into_iter().map(|container| container.name.to_string()).collect()
}

/// Names of networks.
pub(crate) fn networks() -> Vec<String> {
    let roots = paths().roots;
    let stored = rcnt_engine::netstack::network::stored(&roots).unwrap_or_default();
    let mut names: Vec<String> = PREDEFINED.iter().map(|name| (*name).to_owned()).collect();
    names.extend(stored.iter().filter(|n| !n.is_predefined()).map(|n| n.name.to_string()));
    names
}

/// Names of images.
pub(crate) fn images() -> Vec<String> {
    let root = paths().images();
    // Opening a store makes it.
    let store = if root.is_dir() { Store::open(&root).ok() } else { None };
    let all = store.and_then(|store| store.list().ok()).unwrap_or_default();
    let names = all.iter().flat_map(|image| &image.tags);
    names.map(|name| name.familiar()).collect()
}

/// Both.
pub(crate) fn containers_and_images() -> Vec<String> {
    let mut names = containers();
    names.extend(images());
    names
}
