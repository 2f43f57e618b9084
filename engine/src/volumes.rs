//! Volumes: directories below `data-root/volumes`, named by the user or after
//! the container they were made for.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rcnt_base::files;
use rcnt_base::ids::{ContainerId, Name};

use crate::container::{Record, VolumeMount};
use crate::error::{EngineError, Result};
use crate::paths::Paths;
use crate::plan::VolumeSource;
use crate::request::{MountRequest, MountSource};

/// Decides a container's volumes: those asked for, and one for each `VOLUME` of
/// the image that nothing else is mounted on. Anonymous ones get a random name.
///
/// # Errors
/// The random source failed.
pub(crate) fn decide<'a>(
    mounts: &[MountRequest],
    image_volumes: impl Iterator<Item = &'a str>,
) -> Result<Vec<VolumeMount>> {
    let mut volumes = Vec::new();
    for mount in mounts {
        if let MountSource::Volume { name, copy } = &mount.source {
            volumes.push(VolumeMount {
                anonymous: name.is_none(),
                name: name.clone().map_or_else(random_name, Ok)?,
                destination: mount.destination.clone(),
                copy: *copy,
                read_only: mount.read_only,
            });
        }
    }
    for path in image_volumes {
        let destination = Path::new("/").join(path.trim_start_matches('/'));
        let hidden = destination == Path::new("/")
            || destination.components().any(|c| c == std::path::Component::ParentDir)
            || mounts.iter().any(|m| m.destination == destination);
        if !hidden {
            volumes.push(VolumeMount {
                anonymous: true,
                name: random_name()?,
                destination,
                copy: true,
                read_only: false,
            });
        }
    }
    Ok(volumes)
}

fn random_name() -> Result<Name> {
    let id = ContainerId::random().map_err(EngineError::state("cannot name a volume"))?;
    id.as_str().parse().map_err(EngineError::Name)
}

/// Makes the data directories that do not exist yet.
///
/// # Errors
/// The disk is full.
pub(crate) fn prepare(paths: &Paths, record: &Record) -> Result<Vec<VolumeSource>> {
    record
        .volumes
        .iter()
        .map(|volume| {
            let data = paths.volume_data(&volume.name);
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o701)
                .create(paths.volumes().join(&volume.name))
                .and_then(|()| match fs::DirBuilder::new().mode(0o755).create(&data) {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                    made => made,
                });
            made.map_err(EngineError::state(format!("cannot make volume {}", volume.name)))?;
            Ok(VolumeSource {
                data,
                destination: volume.destination.clone(),
                copy: volume.copy,
                read_only: volume.read_only,
            })
        })
        .collect()
}

/// Removes the volumes that were made for this container alone.
///
/// # Errors
/// The first that cannot be removed.
pub(crate) fn remove_anonymous(paths: &Paths, record: &Record) -> io::Result<()> {
    for volume in record.volumes.iter().filter(|v| v.anonymous) {
        files::remove_tree(&paths.volumes().join(&volume.name))?;
    }
    Ok(())
}

/// Bind sources: those that `-v` should make are made, others must exist.
///
/// # Errors
/// The first that is missing or cannot be made.
pub(crate) fn check_binds(mounts: &[MountRequest], make: bool) -> Result<()> {
    for mount in mounts {
        let MountSource::Bind { path, create, .. } = &mount.source else { continue };
        if path.symlink_metadata().is_ok() {
            continue;
        }
        if !create {
            return Err(EngineError::BindSource(path.clone()));
        }
        if make {
            fs::create_dir_all(path)
                .map_err(|source| EngineError::CreateBindSource { path: path.clone(), source })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_volumes_get_a_volume_unless_something_is_mounted_there() {
        let bind = MountRequest {
            destination: "/data".into(),
            source: MountSource::Bind { path: "/srv".into(), create: true, recursive: true },
            read_only: false,
            propagation: None,
        };
        let volumes = decide(&[bind], ["/data", "/cache", "/", "/a/../b"].into_iter()).unwrap();
        assert_eq!(volumes.len(), 1);
        assert_eq!(volumes[0].destination, Path::new("/cache"));
        assert!(volumes[0].anonymous && volumes[0].name.as_str().len() == 64);
    }
}
