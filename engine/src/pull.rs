//! From IMAGE to an image in the store: there already, or pulled.

use rcnt_images::progress::Progress;
use rcnt_images::pull::{Pulled, pull as fetch};
use rcnt_images::reference::Reference;
use rcnt_images::registry::{Client, Options};
use rcnt_images::store::Lease;
use rcnt_images::{Image, manifest::Platform};

use crate::Engine;
use crate::error::{EngineError, Result};

/// `--pull`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// When it is not here.
    #[default]
    Missing,
    /// Even when it is here.
    Always,
    /// Not even when it is missing.
    Never,
}

/// How an image gets here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullOptions {
    /// `--pull`.
    pub policy: PullPolicy,
    /// `--platform`.
    pub platform: Option<Platform>,
}

/// Finds the image, and pulls it if the policy says so. The lease keeps it from
/// being removed until a container that names it is stored.
///
/// # Errors
/// It is nowhere, or cannot be fetched.
pub(crate) fn image(
    engine: &Engine,
    name: &str,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<(Image, Lease)> {
    let store = engine.store()?;
    let missing = match options.policy {
        PullPolicy::Always => true,
        PullPolicy::Never => false,
        PullPolicy::Missing => store.resolve(name).is_err_and(|e| e.is_not_found()),
    };
    if missing {
        if options.policy == PullPolicy::Missing {
            progress.line(&format!("Unable to find image '{}' locally", familiar(name)));
        }
        pull(engine, name, options, progress)?;
    }
    // Not while pulling: that ends with the store's lock taken for itself.
    let lease = store.lease().map_err(|e| EngineError::Image(Box::new(e)))?;
    let image = store.resolve(name).map_err(|e| EngineError::Resolve(Box::new(e)))?;
    Ok((image, lease))
}

fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |r| r.familiar())
}

/// `pull`: fetches an image from its registry.
///
/// # Errors
/// The name is none, or the registry does not give it.
pub fn pull(
    engine: &Engine,
    name: &str,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let reference: Reference = name.parse().map_err(|e| EngineError::Pull(Box::new(e)))?;
    let client = Client::new(Options {
        insecure_registries: engine.config.insecure_registries.clone(),
        ..Options::default()
    });
    let options =
        rcnt_images::pull::PullOptions { platform: options.platform.clone(), ..Default::default() };
    let pulled = fetch(&engine.store()?, &client, &reference, &options, progress)
        .map_err(|e| EngineError::PullImage(Box::new(e)))?;
    pulled.lines().iter().for_each(|line| progress.line(line));
    Ok(pulled)
}
