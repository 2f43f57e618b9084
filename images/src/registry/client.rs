//! Manifests and blobs of one repository.
//!
//! The first request settles the scheme (HTTPS, or HTTP where that is allowed)
//! and, by the registry's 401, whether and how to log in; later requests, also
//! those of other threads, use what it learned.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rcnt_base::ids::Digest;
use sha2::{Digest as _, Sha256};
use ureq::Body;
use ureq::http::{Response, StatusCode, Uri, header};

use super::Options;
use super::auth::Auth;
use super::error::{RegistryError, Said};
use super::http::{Answer, Ask, BodyError, Http, HttpError, read_document};
use super::stream::BlobStream;
use super::url::Origin;
use crate::reference::{DEFAULT_REGISTRY, Reference};

/// Where Docker Hub's registry really is.
const HUB_HOST: &str = "registry-1.docker.io";
/// The Distribution specification's bound for manifests.
const MANIFEST_MAX: u64 = 4 << 20;
/// How long a manifest may take once its head is there.
const MANIFEST_PATIENCE: Duration = Duration::from_secs(60);
/// The most of an error document that is read.
const ERROR_MAX: u64 = 64 << 10;
/// The longest wait a registry may ask of us (429, 503), in seconds.
const RETRY_AFTER_MAX: u64 = 60;

/// What we can make an image of; schema 1 is named so that a registry sends it
/// and we can say what is wrong.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1";

/// Talks to any number of registries; keep one per command.
#[derive(Debug)]
pub struct Client(Arc<Http>);

impl Client {
    /// Nothing is read or connected before the first request.
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Http::new(options)))
    }

    /// The repository that `reference` names.
    pub fn repository(&self, reference: &Reference) -> Repository {
        let registry = reference.registry();
        Repository {
            http: Arc::clone(&self.0),
            auth: Auth::new(registry, reference.repository(), reference.familiar_name()),
            base: OnceLock::new(),
        }
    }
}

/// One repository of one registry. Threads may share it.
#[derive(Debug)]
pub struct Repository {
    http: Arc<Http>,
    auth: Auth,
    base: OnceLock<Origin>,
}

/// A manifest or index as it came, its digest checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// `Content-Type` without parameters, lower case.
    pub media_type: String,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The document.
    pub bytes: Vec<u8>,
}

impl Repository {
    /// Fetches the manifest or index `target` (a tag or a digest).
    ///
    /// # Errors
    /// No such image, no access, no connection, or not the bytes of the digest.
    pub fn manifest(&self, target: &str) -> Result<FetchedManifest, RegistryError> {
        let object = format!("manifest {target}");
        let ask = Ask { accept: Some(ACCEPT), ..Ask::default() };
        let response = self.request(&format!("manifests/{target}"), &object, &ask)?;
        if !response.status().is_success() {
            return Err(self.refusal(response, &object, Some(target)));
        }
        let media_type = text_header(&response, &header::CONTENT_TYPE);
        let announced = text_header_named(&response, "docker-content-digest");
        let media_type =
            media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !may_be_manifest(&media_type) {
            let registry = self.auth.registry.clone();
            let media_type = media_type.chars().take(100).collect();
            return Err(RegistryError::WrongType { object, registry, media_type });
        }
        let bytes = read_document(response, MANIFEST_MAX, MANIFEST_PATIENCE)
            .map_err(|e| self.body_error(e, &object, MANIFEST_MAX))?;
        let digest = Digest::from_sha256(Sha256::digest(&bytes).into());
        // A tag's digest is what the registry says it is; a registry that uses another
        // algorithm there says nothing we could check.
        let expected = if target.contains(':') { target } else { announced.as_str() };
        if expected.starts_with("sha256:") && expected != digest.as_str() {
            return Err(RegistryError::WrongDigest {
                object,
                registry: self.auth.registry.clone(),
                expected: expected.to_owned(),
                actual: digest.to_string(),
            });
        }
        Ok(FetchedManifest { media_type, digest, bytes })
    }

    /// The digest that `tag` means now, without fetching the manifest (registries
    /// that ration pulls count only GETs). `None`: the registry does not say.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub fn tag_digest(&self, tag: &str) -> Result<Option<Digest>, RegistryError> {
        let object = format!("manifest {tag}");
        let ask = Ask { accept: Some(ACCEPT), head: true, ..Ask::default() };
        let response = self.request(&format!("manifests/{tag}"), &object, &ask)?;
        if !response.status().is_success() {
            return Err(self.refusal(response, &object, Some(tag)));
        }
        Ok(text_header_named(&response, "docker-content-digest").parse().ok())
    }

    /// The bytes of a blob from `offset` on. The stream ends with an error, not
    /// an end of file, when it is shorter or longer than `size`; the digest is
    /// for the reader to check.
    ///
    /// # Errors
    /// No such blob, no access, no connection, or another size than `size`.
    pub fn blob(
        &self,
        digest: &Digest,
        size: u64,
        offset: u64,
    ) -> Result<BlobStream, RegistryError> {
        let object = format!("blob {}", digest.short());
        let ask = Ask { offset, ..Ask::default() };
        let response = self.request(&format!("blobs/{digest}"), &object, &ask)?;
        let wrong_size = |actual| RegistryError::WrongSize {
            object: object.clone(),
            registry: self.auth.registry.clone(),
            expected: size,
            actual,
        };
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (start, total) = content_range(&response).ok_or_else(|| wrong_size(0))?;
                if start != offset || total.is_some_and(|total| total != size) {
                    return Err(wrong_size(total.unwrap_or(start)));
                }
                start
            }
            // The registry does not know ranges: skip what we have.
            StatusCode::OK => 0,
            _ => return Err(self.refusal(response, &object, None)),
        };
        let left = size.saturating_sub(start);
        if let Some(length) = response.body().content_length().filter(|length| *length != left) {
            return Err(wrong_size(start.saturating_add(length)));
        }
        let reader = Box::new(response.into_body().into_reader());
        let skip = offset - start.min(offset);
        Ok(BlobStream::new(reader, left, skip, self.http.options().idle_timeout))
    }

    /// Sends `ask`, logging in when the registry wants that.
    fn request(
        &self,
        path: &str,
        object: &str,
        ask: &Ask<'_>,
    ) -> Result<Response<Body>, RegistryError> {
        let mut challenged = false;
        loop {
            let header = self.auth.header();
            let ask = Ask { authorization: header.as_deref(), ..*ask };
            let Answer { response, origin } = self.send(path, object, &ask)?;
            let own = self.base.get() == Some(&origin);
            if response.status() != StatusCode::UNAUTHORIZED || challenged || !own {
                return Ok(response);
            }
            challenged = true;
            self.auth.answer(&self.http, &origin, response.headers(), header.as_deref())?;
        }
    }

    /// Sends `ask` to the registry, finding out its scheme if that is unknown.
    fn send(&self, path: &str, object: &str, ask: &Ask<'_>) -> Result<Answer, RegistryError> {
        if let Some(base) = self.base.get() {
            return self
                .http
                .get(&self.url(base.https, path)?, ask)
                .map_err(|e| self.error(e, object));
        }
        let mut first = Err(HttpError::Redirect(String::new()));
        let plain = self.http.options().allows_plain(&self.auth.registry);
        let schemes: &[bool] = if plain { &[true, false] } else { &[true] };
        for (nth, https) in schemes.iter().enumerate() {
            let url = self.url(*https, path)?;
            let answer = self.http.get(&url, ask);
            if answer.is_ok() || matches!(answer, Err(HttpError::Redirect(_))) {
                if let Some(origin) = Origin::of(&url) {
                    let _ = self.base.set(origin);
                }
                return answer.map_err(|e| self.error(e, object));
            }
            // Of two failures the plain one says more about a plain registry, unless
            // HTTPS is spoken there with a problem of its own.
            if nth == 0 || !matches!(answer, Err(HttpError::Tls(..))) {
                first = answer;
            }
        }
        first.map_err(|e| self.error(e, object))
    }

    fn url(&self, https: bool, path: &str) -> Result<Uri, RegistryError> {
        let registry = &self.auth.registry;
        let host = if registry == DEFAULT_REGISTRY { HUB_HOST } else { registry };
        let scheme = if https { "https" } else { "http" };
        let text = format!("{scheme}://{host}/v2/{}/{path}", self.auth.repository);
        text.parse().map_err(|e| RegistryError::Unreachable {
            registry: registry.clone(),
            origin: text.clone(),
            source: io::Error::new(io::ErrorKind::InvalidInput, e),
        })
    }

    fn error(&self, error: HttpError, object: &str) -> RegistryError {
        let registry = self.auth.registry.clone();
        match error {
            HttpError::Io(origin, source) => {
                RegistryError::Unreachable { registry, origin: origin.to_string(), source }
            }
            HttpError::Tls(origin, source) => {
                RegistryError::Untrusted { registry, origin: origin.to_string(), source }
            }
            HttpError::Redirect(why) => {
                RegistryError::Redirect { registry, object: object.to_owned(), why }
            }
        }
    }

    fn body_error(&self, error: BodyError, object: &str, limit: u64) -> RegistryError {
        let (object, registry) = (object.to_owned(), self.auth.registry.clone());
        match error {
            BodyError::TooLarge => RegistryError::TooLarge { object, registry, limit },
            BodyError::Io(source) => RegistryError::Broken { object, registry, source },
        }
    }

    /// The error that a status which is no success means.
    fn refusal(
        &self,
        response: Response<Body>,
        object: &str,
        target: Option<&str>,
    ) -> RegistryError {
        let status = response.status();
        let retry_after = text_header(&response, &header::RETRY_AFTER).parse::<u64>().ok();
        let body = read_document(response, ERROR_MAX, MANIFEST_PATIENCE).unwrap_or_default();
        let said = Said::from_body(&body);
        let name = self.auth.name.clone();
        match (status, target) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                RegistryError::Denied { name, said }
            }
            (StatusCode::NOT_FOUND, _) if said.code == "NAME_UNKNOWN" => {
                RegistryError::NameUnknown { name, said }
            }
            (StatusCode::NOT_FOUND, Some(target)) => {
                let joint = if target.contains(':') { '@' } else { ':' };
                let reference = format!("{name}{joint}{target}");
                // docker repeats "manifest unknown"; once is enough.
                let said = if said.message == "manifest unknown" { Said::default() } else { said };
                RegistryError::ManifestUnknown { reference, said }
            }
            (StatusCode::NOT_FOUND, None) => RegistryError::BlobUnknown {
                object: object.to_owned(),
                registry: self.auth.registry.clone(),
            },
            _ => RegistryError::Status {
                registry: self.auth.registry.clone(),
                status: status.as_u16(),
                object: object.to_owned(),
                said,
                retry_after: retry_after.map(|s| s.min(RETRY_AFTER_MAX)),
            },
        }
    }
}

/// What registries send manifests as: their own types, or the generic ones that
/// state nothing. Which of them it really is, is for the reader of the document.
fn may_be_manifest(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.")
        || matches!(media_type, "" | "application/json" | "application/octet-stream" | "text/plain")
}

fn text_header(response: &Response<Body>, name: &header::HeaderName) -> String {
    let value = response.headers().get(name).and_then(|v| v.to_str().ok());
    value.unwrap_or_default().trim().to_owned()
}

fn text_header_named(response: &Response<Body>, name: &'static str) -> String {
    text_header(response, &header::HeaderName::from_static(name))
}

/// `bytes START-END/TOTAL` (RFC 9110, 14.4); a `*` total is `None`.
fn content_range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let text = text_header(response, &header::CONTENT_RANGE);
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    match total {
        "*" => Some((start, None)),
        total => Some((start, Some(total.parse().ok()?))),
    }
}
