//! Pulling into a real store: from Debian's registry, and from servers that
//! break in every way we could think of.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod hostile;
mod made;
mod real;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hostile::{Act, Request, Server, digest, head, not_found, reply};
use made::{Image, Packing, image, index, layer, noise, write_layout};
use rcnt_base::report::chain;
use rcnt_images::progress::{Plain, Progress, Silent};
use rcnt_images::pull::{PullError, PullOptions, Pulled, Retries, parse_platform, pull};
use rcnt_images::reference::Reference;
use rcnt_images::registry::{Client, Options};
use rcnt_images::store::Store;

/// A store of its own and a client that reads nobody's config.json.
struct Place {
    dir: tempfile::TempDir,
    store: Store,
    client: Options,
    options: PullOptions,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images")).unwrap();
    let client = Options {
        docker_config: Some(dir.path().join("config.json")),
        connect_timeout: Duration::from_secs(3),
        idle_timeout: Duration::from_millis(400),
        ..Options::default()
    };
    let retries = Retries { forgiven: 3, wait: Duration::from_millis(20) };
    Place { dir, store, client, options: PullOptions { retries, ..PullOptions::default() } }
}

impl Place {
    fn pull(&self, name: &str) -> Result<Pulled, PullError> {
        let reference: Reference = name.parse().unwrap();
        let client = Client::new(self.client.clone());
        pull(&self.store, &client, &reference, &self.options, &Silent)
    }

    fn fails(&self, name: &str) -> String {
        let begun = Instant::now();
        let error = chain(&self.pull(name).unwrap_err());
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        error
    }

    /// The content of `path` in the image, searched from the top layer down.
    fn file(&self, name: &str, path: &str) -> Option<Vec<u8>> {
        let image = self.store.resolve(name).unwrap();
        image.layers.iter().find_map(|dir| std::fs::read(dir.join(path)).ok())
    }

    fn files_below(&self, path: &str) -> Vec<String> {
        fn walk(dir: &Path, out: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => walk(&entry.path(), out),
                    false => out.push(entry.file_name().to_string_lossy().into_owned()),
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.dir.path().join("images").join(path), &mut out);
        out
    }

    /// No image, no name, no blob and no layer; `parts`: nor anything half done.
    fn is_untouched(&self, parts: bool) {
        assert!(self.store.list().unwrap().is_empty());
        for dir in ["refs", "records", "blobs", "layers"] {
            assert_eq!(self.files_below(dir), Vec::<String>::new(), "{dir}");
        }
        let left: Vec<_> =
            self.files_below("tmp").into_iter().filter(|f| !f.ends_with(".lock")).collect();
        assert!(left.iter().all(|f| f.ends_with(".part")), "{left:?}");
        assert!(parts || left.is_empty(), "{left:?}");
    }
}

fn small(architecture: &str) -> Image {
    let bottom = layer(&[("hello", b"bottom"), ("etc/low", b"low")], Packing::Gzip);
    let middle = layer(&[("hello", architecture.as_bytes())], Packing::Zstd);
    let top = layer(&[("top", b"top")], Packing::None);
    image(architecture, &[bottom, middle, top])
}

/// One layer of about `size` bytes that do not compress.
fn large(size: usize) -> Image {
    let content = noise(7, size);
    image("amd64", &[layer(&[("noise", &content)], Packing::Gzip)])
}

const MANIFEST_TYPE: &str = "content-type: application/vnd.oci.image.manifest.v1+json";

/// A registry of one image whose blobs `serve` answers for.
fn registry(
    image: &Image,
    serve: impl Fn(&Request, &str, &[u8]) -> Vec<Act> + Send + Sync + 'static,
) -> Server {
    let (manifest, blobs): (_, BTreeMap<_, _>) = (image.manifest.clone(), image.blobs());
    let config = digest(&image.config);
    Server::start(move |request| {
        if request.path.contains("/manifests/") {
            return reply(200, &[MANIFEST_TYPE], &manifest);
        }
        let name = request.path.rsplit('/').next().unwrap();
        match blobs.get(name) {
            Some(blob) if name == config => reply(200, &[], blob),
            Some(blob) => serve(request, name, blob),
            None => not_found("BLOB_UNKNOWN"),
        }
    })
}

/// The rest of `blob` that the request asks for, as a server that knows ranges.
fn ranged(request: &Request, blob: &[u8]) -> (String, usize) {
    let from = request.offset();
    let range = format!("content-range: bytes {from}-{}/{}", blob.len() - 1, blob.len());
    (head(if from > 0 { 206 } else { 200 }, &[&range], blob.len() - from), from)
}

#[test]
fn an_image_of_all_packings_comes_from_debians_registry() {
    let (registry, place) = (real::Registry::start(), place());
    write_layout(place.dir.path(), &[small("amd64")]);
    // Or skopeo would compress the plain layer.
    registry.push(place.dir.path(), "team/app:1", &["--preserve-digests"]);
    let name = format!("{}/team/app:1", registry.name);
    let reference: Reference = name.parse().unwrap();
    let out = Mutex::new(Vec::new());
    let client = Client::new(place.client.clone());
    let say = Plain::new(Out(&out));
    let pulled = pull(&place.store, &client, &reference, &place.options, &say).unwrap();
    assert!(pulled.newer);
    assert_eq!(pulled.digest.as_str(), digest(&small("amd64").manifest));
    assert_eq!(place.file(&name, "hello").unwrap(), b"amd64");
    assert_eq!(place.file(&name, "etc/low").unwrap(), b"low");
    assert_eq!(place.file(&name, "top").unwrap(), b"top");
    let said = String::from_utf8(out.into_inner().unwrap()).unwrap();
    assert!(said.starts_with("1: Pulling from team/app\n"), "{said}");
    for layer in &small("amd64").layers {
        let id = &digest(&layer.blob)["sha256:".len()..][..12];
        assert!(said.contains(&format!("{id}: Pulling fs layer\n")), "{said}");
        assert!(said.contains(&format!("{id}: Pull complete\n")), "{said}");
    }
    let again = place.pull(&name).unwrap();
    assert_eq!(again.lines()[1], format!("Status: Image is up to date for {name}"));
    assert_eq!((again.image, again.digest), (pulled.image, pulled.digest));
    // By digest it is the same image, too.
    let by_digest = format!("{}@{}", reference.name(), digest(&small("amd64").manifest));
    assert!(!place.pull(&by_digest).unwrap().newer);
}

/// Items that have begun and not ended, and how many have ended.
#[derive(Default)]
struct Open(Mutex<(BTreeMap<String, u64>, usize)>);

impl Progress for Open {
    fn start(&self, id: &str, _: &str, _: Option<u64>) {
        self.0.lock().unwrap().0.insert(id.to_owned(), 0);
    }
    fn advance(&self, id: &str, done: u64) {
        let mut open = self.0.lock().unwrap();
        let before = open.0.insert(id.to_owned(), done).expect("it has begun");
        assert!(before <= done, "{id} went back from {before} to {done}");
    }
    fn finish(&self, id: &str, _: &str) {
        let mut open = self.0.lock().unwrap();
        open.0.remove(id);
        open.1 += 1;
    }
    fn line(&self, _: &str) {}
}

#[test]
fn every_item_that_begins_ends_and_items_are_layers() {
    let image = small("amd64");
    let server = registry(&image, |request, _, blob| {
        let (head, from) = ranged(request, blob);
        vec![
            Act::Send(head.into_bytes()),
            Act::Send(blob[from..from.midpoint(blob.len() + 1)].to_vec()),
        ]
    });
    let mut place = place();
    place.options.retries.forgiven = 30;
    place.options.retries.wait = Duration::from_millis(1);
    let reference: Reference = format!("{}/x", server.name()).parse().unwrap();
    let open = Open::default();
    let client = Client::new(place.client.clone());
    pull(&place.store, &client, &reference, &place.options, &open).unwrap();
    let (left, ended) = open.0.into_inner().unwrap();
    assert_eq!((left, ended), (BTreeMap::new(), 3));
}

struct Out<'a>(&'a Mutex<Vec<u8>>);

impl std::io::Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_platforms_image_is_taken_from_an_index_and_layers_are_shared() {
    let (registry, mut place) = (real::Registry::start(), place());
    write_layout(place.dir.path(), &[small("amd64"), small("s390x"), small("arm64")]);
    registry.push(place.dir.path(), "multi", &["--all"]);
    let name = format!("{}/multi", registry.name);
    for platform in ["linux/s390x", "linux/amd64", "arm64"] {
        let platform = parse_platform(platform).unwrap();
        place.options.platform = Some(platform.clone());
        let pulled = place.pull(&name).unwrap();
        assert!(pulled.newer, "{platform}");
        assert_eq!(place.file(&name, "hello").unwrap(), platform.architecture.as_bytes());
        assert!(!place.pull(&name).unwrap().newer);
    }
    place.options.platform = Some(parse_platform("linux/riscv64").unwrap());
    let error = place.fails(&name);
    assert!(
        error.ends_with("no matching manifest for linux/riscv64 in the manifest list entries"),
        "{error}"
    );
}

#[test]
fn dockers_own_format_is_as_good_and_a_wrong_platform_is_told() {
    let (registry, mut place) = (real::Registry::start(), place());
    let one = layer(&[("hello", b"docker")], Packing::Gzip);
    write_layout(place.dir.path(), &[image("amd64", &[one])]);
    registry.push(place.dir.path(), "x:docker", &["--format", "v2s2"]);
    let name = format!("{}/x:docker", registry.name);
    place.options.platform = Some(parse_platform("linux/arm64").unwrap());
    let error = place.fails(&name);
    assert_eq!(error, format!("image {name} was found but is for linux/amd64, not linux/arm64/v8"));
    place.options.platform = None;
    place.pull(&name).unwrap();
    assert_eq!(place.file(&name, "hello").unwrap(), b"docker");
}

#[test]
fn what_the_registry_does_not_have_is_told_in_dockers_words() {
    let (registry, place) = (real::Registry::start(), place());
    write_layout(place.dir.path(), &[small("amd64")]);
    registry.push(place.dir.path(), "x:1", &[]);
    let name = |rest: &str| format!("{}/{rest}", registry.name);
    let error = place.fails(&name("x:2"));
    assert_eq!(error, format!("manifest for {} not found: manifest unknown", name("x:2")));
    let error = place.fails(&name("never:1"));
    assert!(error.contains("not found"), "{error}");
    place.is_untouched(false);
}

#[test]
fn a_password_opens_a_closed_registry() {
    let place = place();
    let htpasswd = place.dir.path().join("htpasswd");
    // bcrypt's published test vector for the password "U*U".
    let line = "user:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
    save(&htpasswd, line.as_bytes());
    let auth = format!("auth:\n  htpasswd:\n    realm: basic\n    path: {}\n", htpasswd.display());
    let registry = real::Registry::start_with(&auth);
    write_layout(place.dir.path(), &[small("amd64")]);
    registry.push(place.dir.path(), "x", &["--dest-creds", "user:U*U"]);
    let name = format!("{}/x", registry.name);
    let denied = "repository does not exist or may require 'docker login'";
    assert!(place.fails(&name).contains(denied));
    let auths = |auth: &str| format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.name);
    // user:wrong
    save(&place.dir.path().join("config.json"), auths("dXNlcjp3cm9uZw==").as_bytes());
    assert!(place.fails(&name).contains(denied));
    // user:U*U
    save(&place.dir.path().join("config.json"), auths("dXNlcjpVKlU=").as_bytes());
    place.pull(&name).unwrap();
}

fn save(path: &Path, bytes: &[u8]) {
    std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), bytes).unwrap();
}

#[test]
fn a_blob_that_rotted_in_the_registry_is_refused() {
    let (registry, place) = (real::Registry::start(), place());
    let image = small("amd64");
    write_layout(place.dir.path(), std::slice::from_ref(&image));
    registry.push(place.dir.path(), "x", &[]);
    let victim = digest(&image.layers[0].blob);
    let path = registry.blob_path(&victim);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    save(&path, &bytes);
    let error = place.fails(&format!("{}/x", registry.name));
    assert!(error.contains(&victim) && error.contains("wrong content"), "{error}");
    // The other layers may stay for the next attempt, the bad one may not.
    place.is_untouched(true);
    let bad = format!("blob-{}.part", &victim["sha256:".len()..]);
    assert!(!place.files_below("tmp").contains(&bad));
}

#[test]
fn broken_connections_are_continued_where_they_broke() {
    let image = large(1 << 20);
    let sent = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    let server = registry(&image, move |request, _, blob| {
        let (head, from) = ranged(request, blob);
        let to = blob.len().min(from + 150_000);
        count.fetch_add(to - from, Ordering::SeqCst);
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&blob[from..to]);
        vec![Act::Send(bytes)]
    });
    let mut place = place();
    place.options.retries.forgiven = 20;
    let name = format!("{}/x", server.name());
    place.pull(&name).unwrap();
    assert_eq!(place.file(&name, "noise").unwrap(), noise(7, 1 << 20));
    assert_eq!(sent.load(Ordering::SeqCst), image.layers[0].blob.len(), "no byte came twice");
}

#[test]
fn a_connection_that_closes_without_a_word_is_tried_again() {
    let image = small("amd64");
    let (manifest, blobs) = (image.manifest.clone(), image.blobs());
    let asked = Mutex::new(BTreeMap::<String, usize>::new());
    let server = Server::start(move |request| {
        let name = request.path.rsplit('/').next().unwrap();
        let mut asked = asked.lock().unwrap();
        let times = asked.entry(name.to_owned()).or_default();
        *times += 1;
        match blobs.get(name) {
            // Whatever is asked for first, the server hangs up.
            _ if *times == 1 => Vec::new(),
            Some(blob) => reply(200, &[], blob),
            None => reply(200, &[MANIFEST_TYPE], &manifest),
        }
    });
    let place = place();
    let name = format!("{}/x", server.name());
    place.pull(&name).unwrap();
    assert_eq!(place.file(&name, "top").unwrap(), b"top");
}

#[test]
fn a_server_without_ranges_is_read_past_what_is_here() {
    let image = large(1 << 20);
    let server = {
        let tries = AtomicUsize::new(0);
        registry(&image, move |_, _, blob| {
            let to = blob.len() / 3 * (1 + tries.fetch_add(1, Ordering::SeqCst));
            let mut bytes = head(200, &[], blob.len()).into_bytes();
            bytes.extend_from_slice(&blob[..to.min(blob.len())]);
            vec![Act::Send(bytes)]
        })
    };
    let place = place();
    let name = format!("{}/x", server.name());
    place.pull(&name).unwrap();
    assert_eq!(place.file(&name, "noise").unwrap(), noise(7, 1 << 20));
}

#[test]
fn a_server_that_never_gets_further_is_given_up_and_continued_later() {
    let image = large(1 << 20);
    let half = registry(&image, |request, _, blob| {
        let (head, from) = ranged(request, blob);
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&blob[from..from.max(blob.len() / 2)]);
        vec![Act::Send(bytes), Act::Sleep(Duration::from_secs(2))]
    });
    let place = place();
    let error = place.fails(&format!("{}/x", half.name()));
    assert!(error.contains("broke off"), "{error}");
    place.is_untouched(true);
    // The same layer from another registry: only the missing half is asked for.
    let whole = registry(&image, |request, _, blob| {
        let (head, from) = ranged(request, blob);
        assert!(from == blob.len() / 2, "asked from {from}");
        vec![Act::Send(head.into_bytes()), Act::Send(blob[from..].to_vec())]
    });
    let name = format!("{}/x", whole.name());
    place.pull(&name).unwrap();
    assert_eq!(place.file(&name, "noise").unwrap(), noise(7, 1 << 20));
}

#[test]
fn a_server_that_drips_is_given_up() {
    let server = registry(&large(1 << 20), |request, _, blob| {
        let (head, from) = ranged(request, blob);
        let mut acts = vec![Act::Send(head.into_bytes())];
        for byte in &blob[from..from + 200] {
            acts.push(Act::Send(vec![*byte]));
            acts.push(Act::Sleep(Duration::from_millis(50)));
        }
        acts
    });
    let begun = Instant::now();
    let error = place().fails(&format!("{}/x", server.name()));
    assert!(error.ends_with("it comes too slowly"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_bad_partial_blob_does_not_spoil_the_next_pull() {
    let image = large(1 << 20);
    let liar = registry(&image, |request, _, blob| {
        let (head, from) = ranged(request, blob);
        let junk = vec![0; (blob.len() / 2).saturating_sub(from)];
        vec![Act::Send(head.into_bytes()), Act::Send(junk)]
    });
    let place = place();
    place.fails(&format!("{}/x", liar.name()));
    let honest = registry(&image, |request, _, blob| {
        let (head, from) = ranged(request, blob);
        vec![Act::Send(head.into_bytes()), Act::Send(blob[from..].to_vec())]
    });
    let name = format!("{}/x", honest.name());
    place.pull(&name).unwrap();
    assert_eq!(place.file(&name, "noise").unwrap(), noise(7, 1 << 20));
}

#[test]
fn lies_about_content_and_length_leave_nothing() {
    type Lie = fn(&[u8]) -> Vec<Act>;
    let lies: [(&str, Lie); 5] = [
        ("wrong content", |blob| reply(200, &[], &vec![b'x'; blob.len()])),
        ("wrong size", |blob| reply(200, &[], &blob[1..])),
        ("wrong size", |blob| reply(200, &[], &[blob, b"more"].concat())),
        ("which its own manifest names", |_| not_found("BLOB_UNKNOWN")),
        ("answered 500", |_| reply(500, &[], b"")),
    ];
    for (text, lie) in lies {
        let server = registry(&large(10_000), move |_, _, blob| lie(blob));
        let place = place();
        let error = place.fails(&format!("{}/x", server.name()));
        assert!(error.contains(text), "{text}: {error}");
        place.is_untouched(true);
    }
}

#[test]
fn manifests_that_are_no_images_are_refused_clearly() {
    let old = br#"{"schemaVersion":1,"name":"x","tag":"t","fsLayers":[],"history":[]}"#.to_vec();
    let nested = |inner: &[u8]| {
        let entry = format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"amd64"}}}}"#,
            made::INDEX,
            digest(inner),
            inner.len()
        );
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#).into_bytes()
    };
    let mut documents = vec![index(&[])];
    for _ in 0..4 {
        let next = nested(documents.last().unwrap());
        documents.push(next);
    }
    let wrong_size = nested(&documents[0]).iter().map(|b| char::from(*b)).collect::<String>();
    let wrong_size = wrong_size.replace(&format!("\"size\":{}", documents[0].len()), "\"size\":1");
    let mut few = image("amd64", &[layer(&[("a", b"b")], Packing::None)]);
    let mut config: serde_json::Value = serde_json::from_slice(&few.config).unwrap();
    config["rootfs"]["diff_ids"] = serde_json::json!([]);
    few.config = config.to_string().into_bytes();
    few.manifest = remake(&few);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("old", old, "schema version 1, which is no longer supported"),
        ("html", b"<html>log in to the wifi</html>".to_vec(), "malformed"),
        ("deep", format!("{{\"manifests\":{}", "[".repeat(100_000)).into_bytes(), "malformed"),
        ("both", br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_vec(), "ambiguous"),
        ("nested", documents.last().unwrap().clone(), "too deep"),
        ("size", wrong_size.into_bytes(), "wrong size"),
        ("few", few.manifest.clone(), "has 1 layers, its configuration 0"),
    ];
    let answers: BTreeMap<String, Vec<u8>> = cases
        .iter()
        .map(|(tag, bytes, _)| ((*tag).to_owned(), bytes.clone()))
        .chain(documents.iter().map(|d| (digest(d), d.clone())))
        .chain(few.blobs())
        .collect();
    let server = Server::start(move |r| match answers.get(r.path.rsplit('/').next().unwrap()) {
        Some(bytes) => reply(200, &["content-type: application/json"], bytes),
        None => not_found("MANIFEST_UNKNOWN"),
    });
    let place = place();
    for (tag, _, text) in cases {
        let error = place.fails(&format!("{}/x:{tag}", server.name()));
        assert!(error.contains(text), "{tag}: {error}");
    }
    assert!(place.store.list().unwrap().is_empty());
}

/// The manifest of `image` after its configuration was changed.
fn remake(image: &Image) -> Vec<u8> {
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["config"]["digest"] = digest(&image.config).into();
    manifest["config"]["size"] = image.config.len().into();
    manifest.to_string().into_bytes()
}

#[test]
fn pulls_at_the_same_time_download_each_blob_once() {
    let layers: Vec<_> =
        (0..5).map(|n| layer(&[("noise", &noise(n, 300_000)[..])], Packing::Gzip)).collect();
    let image = image("amd64", &layers);
    let server = registry(&image, |request, _, blob| {
        let (head, from) = ranged(request, blob);
        let (one, two) = blob[from..].split_at((blob.len() - from) / 2);
        vec![
            Act::Send(head.into_bytes()),
            Act::Send(one.to_vec()),
            Act::Sleep(Duration::from_millis(50)),
            Act::Send(two.to_vec()),
        ]
    });
    let place = place();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (place, name) = (&place, format!("{}/x:{n}", server.name()));
            scope.spawn(move || place.pull(&name).unwrap());
        }
    });
    for layer in &layers {
        assert_eq!(server.count(&digest(&layer.blob)), 1);
    }
    assert_eq!(place.store.list().unwrap().len(), 1);
    assert_eq!(place.store.list().unwrap()[0].tags.len(), 4);
}

/// Not a test of its own: what the next ones run, and kill.
#[test]
fn child_that_pulls() {
    let Some(name) = std::env::var_os("RCNT_TEST_PULL") else { return };
    let root = std::env::var_os("RCNT_TEST_STORE").unwrap();
    let store = Store::open(Path::new(&root)).unwrap();
    let reference: Reference = name.to_str().unwrap().parse().unwrap();
    let client =
        Client::new(Options { docker_config: Some("/nonexistent".into()), ..Options::default() });
    if let Err(e) = pull(&store, &client, &reference, &PullOptions::default(), &Silent) {
        panic!("{}", chain(&e));
    }
}

#[test]
fn a_full_disk_is_told_and_left_as_it_was() {
    let image = large(2 << 20);
    let server = registry(&image, |request, _, blob| {
        let (head, from) = ranged(request, blob);
        vec![Act::Send(head.into_bytes()), Act::Send(blob[from..].to_vec())]
    });
    // 1 MiB: the blob does not fit. 3 MiB: it does, but its layer does not as well.
    for size in ["1m", "3m"] {
        let place = place();
        let root = place.dir.path().join("full");
        let script = "mkdir $RCNT_TEST_STORE && mount -t tmpfs -o size=$0 tmpfs $RCNT_TEST_STORE && \
                      \"$1\" --exact --nocapture child_that_pulls 2>&1; \
                      find $RCNT_TEST_STORE/tmp -size +1k | sed 's/^/remains /'";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, size])
            .arg(std::env::current_exe().unwrap())
            .env("RCNT_TEST_PULL", format!("{}/x", server.name()))
            .env("RCNT_TEST_STORE", &root)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("is full: no space left on its disk"), "{size}: {said}");
        assert!(!said.contains("remains "), "{size}: {said}");
    }
}

#[test]
fn a_pull_killed_at_any_point_leaves_only_what_the_next_one_uses() {
    let image = large(1 << 20);
    let server = registry(&image, |request, _, blob| {
        let (head, from) = ranged(request, blob);
        let mut acts = vec![Act::Send(head.into_bytes())];
        for chunk in blob[from..].chunks(20_000) {
            acts.push(Act::Send(chunk.to_vec()));
            acts.push(Act::Sleep(Duration::from_millis(4)));
        }
        acts
    });
    let place = place();
    let name = format!("{}/x", server.name());
    for ms in [5, 30, 60, 90, 120, 150] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_pulls"])
            .env("RCNT_TEST_PULL", &name)
            .env("RCNT_TEST_STORE", place.dir.path().join("images"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().unwrap();
        if !child.wait().unwrap().success() {
            assert!(place.store.list().unwrap().is_empty());
            assert_eq!(place.files_below("refs"), Vec::<String>::new());
        }
    }
    place.pull(&name).unwrap();
    assert_eq!(place.file(&name, "noise").unwrap(), noise(7, 1 << 20));
    let offsets: Vec<usize> = {
        let seen = server.seen.lock().unwrap();
        let layer = digest(&image.layers[0].blob);
        seen.iter().filter(|r| r.path.ends_with(&layer)).map(Request::offset).collect()
    };
    assert!(offsets.windows(2).all(|w| w[0] <= w[1]), "went back: {offsets:?}");
    assert!(offsets.last().unwrap() > &0, "nothing was continued: {offsets:?}");
}
