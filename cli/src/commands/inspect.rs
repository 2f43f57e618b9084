//! `inspect`, also as `container inspect` and `image inspect`.

use rcnt_engine::images::{ImageSummary, Store};
use rcnt_engine::{Engine, EngineError};
use serde_json::{Map, Value, json};

use super::disk;
use crate::args::container::InspectFlags;
use crate::args::values::ObjectKind;
use crate::failure::Failure;
use crate::render;
use crate::render::listing::parse;
use crate::render::template::Template;

/// `inspect`: all that is found, as docker's JSON array or by the template;
/// then what is not, one line each.
///
/// # Errors
/// A template that is none.
pub(super) fn inspect(engine: &Engine, flags: &InspectFlags) -> Result<u8, Failure> {
    show(&flags.targets, flags.format.as_deref(), &|target| look(engine, target, flags))
}

/// Shows what `look` finds of each target, then what it does not.
///
/// # Errors
/// A template that is none.
pub(super) fn show(
    targets: &[String],
    format: Option<&str>,
    look: &dyn Fn(&str) -> Result<Value, Failure>,
) -> Result<u8, Failure> {
    let template = match format {
        None | Some("") => None,
        Some("json") => Some(parse("{{json .}}")?),
        Some(format) => Some(
            Template::parse(format)
                .map_err(|e| Failure::general(format!("template parsing error: {e}")))?,
        ),
    };
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for target in targets {
        let value = look(target).and_then(|value| match &template {
            None => Ok(value),
            Some(template) => {
                let text = template.render(&value);
                text.map(Value::String)
                    .map_err(|e| Failure::general(format!("template parsing error: {e}")))
            }
        });
        match value {
            Ok(value) => found.push(value),
            Err(failure) => failures.push(failure),
        }
    }
    let text = match template {
        None => render::pretty(&Value::Array(found)) + "\n",
        Some(_) => found.iter().filter_map(Value::as_str).map(|t| format!("{t}\n")).collect(),
    };
    render::out(&text)?;
    failures.iter().for_each(Failure::print);
    Ok(u8::from(!failures.is_empty()))
}

/// A container, else an image.
fn look(engine: &Engine, target: &str, flags: &InspectFlags) -> Result<Value, Failure> {
    if flags.kind != Some(ObjectKind::Image) {
        match engine.find(target) {
            Ok(container) => {
                let mut value = engine.inspect(&container);
                if let (true, Some(object)) = (flags.size, value.as_object_mut()) {
                    let (written, all) = disk::sizes(engine, &container);
                    object.insert("SizeRw".into(), json!(written));
                    object.insert("SizeRootFs".into(), json!(all));
                }
                return Ok(value);
            }
            Err(EngineError::NoSuchContainer(_)) if flags.kind.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let store = engine.store()?;
    match image(&store, target) {
        Err(error) if flags.kind.is_none() && error.is_missing() => {
            Err(Failure::general(format!("No such object: {target}")))
        }
        result => result.map_err(|error| Failure::of(&error)),
    }
}

#[derive(Debug, thiserror::Error)]
enum ImageError {
    #[error(transparent)]
    Resolve(#[from] rcnt_engine::images::store::ResolveError),
    #[error(transparent)]
    Store(#[from] rcnt_engine::images::store::StoreError),
    #[error("image {0} is damaged")]
    Damaged(String, #[source] serde_json::Error),
}

impl ImageError {
    /// There is no image of this name (or it could never be one's name).
    fn is_missing(&self) -> bool {
        use rcnt_engine::images::store::ResolveError;
        match self {
            Self::Resolve(ResolveError::Reference(_)) => true,
            Self::Resolve(error) => error.is_not_found(),
            _ => false,
        }
    }
}

/// The image in docker's JSON.
fn image(store: &Store, target: &str) -> Result<Value, ImageError> {
    let image = store.resolve(target)?;
    let summary = store.list()?.into_iter().find(|summary| summary.id == image.id);
    // The configuration as it was built: fields that rcnt has no use for, too.
    let blob = store.config_blob(&image.id)?;
    let stored: Value = serde_json::from_slice(&blob)
        .map_err(|e| ImageError::Damaged(image.id.short().to_owned(), e))?;
    let text = |field: &str| stored.get(field).cloned().unwrap_or_else(|| json!(""));
    let names = |names: fn(&ImageSummary) -> &[rcnt_engine::images::Reference]| {
        let names = summary.as_ref().map(names).unwrap_or_default();
        names.iter().map(|name| json!(name.familiar())).collect::<Vec<_>>()
    };
    let layers = image.layers.iter().map(|layer| layer.display().to_string()).collect::<Vec<_>>();
    let mut driver = Map::new();
    if let Some((top, lower)) = layers.split_first() {
        driver.insert("UpperDir".into(), json!(top));
        if !lower.is_empty() {
            driver.insert("LowerDir".into(), json!(lower.join(":")));
        }
    }
    let mut value = json!({
        "Id": image.id,
        "RepoTags": names(|summary| &summary.tags),
        "RepoDigests": names(|summary| &summary.digests),
        "Parent": "",
        "Comment": text("comment"),
        "Created": text("created"),
        "DockerVersion": text("docker_version"),
        "Author": text("author"),
        "Config": stored.get("config"),
        "Architecture": text("architecture"),
        "Os": text("os"),
        "Size": image.size,
        "GraphDriver": { "Data": driver, "Name": "overlay2" },
        "RootFS": { "Type": "layers", "Layers": image.config.rootfs.diff_ids },
    });
    if let (Some(variant), Some(object)) = (stored.get("variant"), value.as_object_mut()) {
        object.insert("Variant".into(), variant.clone());
    }
    Ok(value)
}
