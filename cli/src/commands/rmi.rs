//! `rmi`.

use rcnt_engine::images::store::Use;
use rcnt_engine::{Container, Engine, Status};

use crate::args::image::RemoveImageFlags;
use crate::failure::Failure;

/// `rmi`.
///
/// # Errors
/// The containers cannot be listed; stdout is gone.
pub(super) fn remove(engine: &Engine, flags: &RemoveImageFlags) -> Result<u8, Failure> {
    let store = engine.store()?;
    super::each(&flags.images, |name| {
        // Asked under the store's lock: a container stored just now counts. What
        // cannot be listed may well be in use.
        let in_use = |image: &rcnt_base::ids::Digest| match engine.list() {
            Ok(containers) => user(&containers, image),
            Err(_) => Some(Use { container: "unknown (cannot list them)".into(), running: true }),
        };
        let removed = store.remove(name, flags.force, &in_use).map_err(|e| Failure::of(&e))?;
        let lines: Vec<String> = removed.iter().map(ToString::to_string).collect();
        Ok(lines.join("\n"))
    })
}

/// Who uses an image, one that runs first.
fn user(containers: &[Container], image: &rcnt_base::ids::Digest) -> Option<Use> {
    let ours = || containers.iter().filter(|container| container.record.image_id == *image);
    let running = |container: &&Container| container.state.status == Status::Running;
    let container = ours().find(running).or_else(|| ours().next())?;
    Some(Use {
        container: format!("{} ({})", container.id.short(), container.name),
        running: running(&container),
    })
}
