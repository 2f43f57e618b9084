//! Blobs: continued when they break off, several layers at a time.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use rcnt_base::ids::Digest;

use super::{Pull, PullError};
use crate::config::ImageConfig;
use crate::manifest::{Descriptor, Manifest};
use crate::progress::Silent;
use crate::registry::RegistryError;
use crate::store::{BlobError, BlobWriter, Fetch};

/// One read of a connection; the HTTP client's own buffer is as large.
const CHUNK: usize = 128 << 10;

/// Why the others should end.
#[derive(Debug, Default)]
pub(super) struct Halt {
    stop: AtomicBool,
    /// The disk is full: what has come must not stay on it.
    full: AtomicBool,
}

impl Halt {
    fn raise(&self, cause: &PullError) {
        self.full.fetch_or(cause.is_full(), Ordering::Relaxed);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn is_raised(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A layer to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Layer<'a> {
    digest: &'a Digest,
    diff_id: &'a Digest,
}

impl Pull<'_> {
    /// Fetches a blob that is not a layer, unless it is here.
    pub(super) fn blob(&self, blob: &Descriptor) -> Result<(), PullError> {
        // Small, and no layer: users are told of layers.
        let quiet = Pull { progress: &Silent, ..*self };
        quiet.fresh(blob, &Halt::default(), &|| self.session.blob(blob)).map(|_| ())
    }

    /// Fetches and unpacks all layers that are not here.
    pub(super) fn layers(
        &self,
        manifest: &Manifest,
        config: &ImageConfig,
    ) -> Result<(), PullError> {
        let mut wanted = Vec::new();
        let mut met = BTreeSet::new();
        for (blob, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            // An image may use one layer twice.
            if !met.insert(Layer { digest: &blob.digest, diff_id }) {
                continue;
            }
            let id = blob.digest.short();
            if self.session.has_blob(&blob.digest) && self.session.has_layer(diff_id) {
                self.progress.finish(id, "Already exists");
            } else {
                self.progress.start(id, "Pulling fs layer", None);
                wanted.push((blob, diff_id));
            }
        }
        let threads = self.options.parallel.clamp(1, 16).min(wanted.len());
        let queue = Mutex::new(wanted.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let halt = Halt::default();
        let first = Mutex::new(None);
        let work = || {
            while let Some((blob, diff_id)) = next() {
                if let Err(e) = self.layer(blob, diff_id, &halt) {
                    // The cause is noted before the others hear of it and end, too.
                    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                    halt.raise(first.get_or_insert(e));
                }
                if halt.is_raised() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let thread = std::thread::Builder::new().name("download".to_owned());
                if let Err(e) = thread.spawn_scoped(scope, work) {
                    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                    halt.raise(first.get_or_insert(PullError::Thread(e)));
                }
            }
        });
        first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn layer(&self, blob: &Descriptor, diff_id: &Digest, halt: &Halt) -> Result<(), PullError> {
        let id = blob.digest.short();
        let fetched = self.fresh(blob, halt, &|| self.session.layer(blob, diff_id))?;
        self.progress.finish(id, if fetched { "Pull complete" } else { "Already exists" });
        Ok(())
    }

    /// Downloads what `begin` opens; `false`: it was here. What an earlier,
    /// interrupted pull left may be bad: then once more from the start.
    fn fresh(
        &self,
        blob: &Descriptor,
        halt: &Halt,
        begin: &dyn Fn() -> Result<Fetch, BlobError>,
    ) -> Result<bool, PullError> {
        let mut continued = false;
        loop {
            let Fetch::Write(writer) = begin()? else { return Ok(false) };
            let stale = writer.offset() > 0 && !continued;
            match self.download(*writer, blob, halt) {
                Err(PullError::Blob(e)) if stale => {
                    log::debug!("a partial blob was bad: {}", rcnt_base::report::chain(&e));
                    continued = true;
                }
                done => return done.map(|()| true),
            }
        }
    }

    fn download(
        &self,
        mut writer: BlobWriter,
        blob: &Descriptor,
        halt: &Halt,
    ) -> Result<(), PullError> {
        let id = blob.digest.short();
        self.progress.start(id, "Downloading", Some(blob.size));
        let mut patience = self.options.retries.begin();
        loop {
            let before = writer.offset();
            let error = match self.stream(&mut writer, blob, halt) {
                Ok(()) => break,
                Err(e) => e,
            };
            let came = writer.offset() - before;
            let again = match &error {
                PullError::Registry(e) => !halt.is_raised() && patience.again(e, came),
                _ => false,
            };
            if !again {
                if !error.is_full() && !halt.full.load(Ordering::Relaxed) {
                    // What has come is good as far as anyone knows; the next pull goes on from it.
                    writer.keep_partial();
                }
                return Err(error);
            }
            self.progress.start(id, "Retrying", Some(blob.size));
        }
        self.progress.start(id, "Extracting", None);
        Ok(writer.finish()?)
    }

    /// One connection's worth of a blob.
    fn stream(
        &self,
        writer: &mut BlobWriter,
        blob: &Descriptor,
        halt: &Halt,
    ) -> Result<(), PullError> {
        if writer.offset() >= blob.size {
            return Ok(());
        }
        let id = blob.digest.short();
        let object = || format!("blob {id}");
        let mut body = self.repository.blob(&blob.digest, blob.size, writer.offset())?;
        let mut buffer = vec![0; CHUNK];
        loop {
            if halt.is_raised() {
                return Err(PullError::Stopped);
            }
            let n = body.read(&mut buffer).map_err(|e| self.broken(object(), e))?;
            let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else { return Ok(()) };
            writer
                .write_all(bytes)
                .map_err(|source| PullError::Write { object: object(), source })?;
            self.progress.advance(id, writer.offset());
        }
    }

    fn broken(&self, object: String, source: io::Error) -> RegistryError {
        let registry = self.reference.registry().to_owned();
        RegistryError::Broken { object, registry, source }
    }
}
