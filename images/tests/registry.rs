//! The registry client against servers that misbehave on purpose.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod hostile;

use std::error::Error as _;
use std::io::Read;
use std::time::{Duration, Instant};

use hostile::{Act, Request, Server, digest, head, not_found, reply};
use rcnt_base::report::chain;
use rcnt_images::reference::Reference;
use rcnt_images::registry::{Client, Options, RegistryError, Repository};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;
const TYPE: &str = "content-type: application/vnd.oci.image.index.v1+json";

/// Options that never read the tester's own config.json and give up soon.
fn options() -> Options {
    Options {
        docker_config: Some("/nonexistent/config.json".into()),
        connect_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_millis(500),
        ..Options::default()
    }
}

fn repository(server: &Server, options: Options) -> Repository {
    let reference: Reference = format!("{}/team/app", server.name()).parse().unwrap();
    Client::new(options).repository(&reference)
}

/// A config.json with the password `u:pw` for `registry`.
fn with_password(registry: &str) -> (tempfile::TempDir, Options) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let json = format!(r#"{{"auths":{{"{registry}":{{"auth":"dTpwdw=="}}}}}}"#);
    std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), json.as_bytes()).unwrap();
    (dir, Options { docker_config: Some(path), ..options() })
}

fn text(error: &RegistryError) -> String {
    chain(error)
}

#[test]
fn a_plain_loopback_registry_is_found_and_its_manifest_checked() {
    let server = Server::start(|_| reply(200, &[TYPE], MANIFEST));
    let fetched = repository(&server, options()).manifest("latest").unwrap();
    assert_eq!(fetched.bytes, MANIFEST);
    assert_eq!(fetched.digest.as_str(), digest(MANIFEST));
    assert_eq!(fetched.media_type, "application/vnd.oci.image.index.v1+json");
}

#[test]
fn errors_are_in_dockers_words() {
    let server = Server::start(|r| match r.path.as_str() {
        p if p.ends_with("/unknown") => not_found("MANIFEST_UNKNOWN"),
        p if p.ends_with("/name") => not_found("NAME_UNKNOWN"),
        p if p.ends_with("/denied") => reply(403, &[], b"<html>no"),
        p if p.ends_with("/login") => reply(401, &["www-authenticate: Basic realm=x"], b""),
        _ => reply(500, &[], br#"{"errors":[{"code":"X","message":"disk\nfull"}]}"#),
    });
    let repository = repository(&server, options());
    let name = format!("{}/team/app", server.name());
    for (tag, expected) in [
        ("unknown", format!("manifest for {name}:unknown not found: manifest unknown: no")),
        ("name", format!("repository {name} not found: no")),
        (
            "denied",
            format!(
                "pull access denied for {name}, repository does not exist or may require 'docker login'"
            ),
        ),
        (
            "login",
            format!(
                "pull access denied for {name}, repository does not exist or may require 'docker login'"
            ),
        ),
        (
            "broken",
            format!("{} answered 500 when asked for manifest broken: diskfull", server.name()),
        ),
    ] {
        let error = repository.manifest(tag).unwrap_err();
        assert_eq!(text(&error), expected);
        assert_eq!(error.is_transient(), tag == "broken");
    }
}

#[test]
fn an_unreachable_registry_is_named_with_address_cause_and_hint() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reference: Reference = format!("{closed}/x").parse().unwrap();
    let error = Client::new(options()).repository(&reference).manifest("latest").unwrap_err();
    assert!(
        text(&error).starts_with(&format!("cannot reach registry {closed} at http://{closed}: ")),
        "{}",
        text(&error)
    );
    assert!(text(&error).to_lowercase().contains("refused"), "{}", text(&error));
    assert!(error.hint().unwrap().contains("is the registry running"));
}

#[test]
fn lies_about_digests_are_caught() {
    let other = digest(b"other");
    let announced = format!("docker-content-digest: {other}");
    let server = Server::start(move |_| reply(200, &[TYPE, &announced], MANIFEST));
    let repository = repository(&server, options());
    for target in ["latest", &other] {
        let error = repository.manifest(target).unwrap_err();
        assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
    }
}

#[test]
fn a_login_page_is_no_manifest() {
    let server = Server::start(|_| reply(200, &["content-type: text/html; x=y"], b"<html>"));
    let error = repository(&server, options()).manifest("latest").unwrap_err();
    let expected =
        format!("{} answered with text/html when asked for manifest latest", server.name());
    assert_eq!(text(&error), expected);
}

#[test]
fn a_server_that_swallows_a_tls_hello_is_tried_in_plain() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut first = listener.accept().unwrap().0;
        let mut second = listener.accept().unwrap().0;
        let _ = (first.read(&mut [0; 999]), second.read(&mut [0; 999]));
        let answer =
            format!("{}{}", head(200, &[TYPE], MANIFEST.len()), String::from_utf8_lossy(MANIFEST));
        std::io::Write::write_all(&mut second, answer.as_bytes()).unwrap();
        let _ = second.read(&mut [0; 999]);
    });
    let reference: Reference = format!("{name}/x").parse().unwrap();
    let begun = Instant::now();
    let client = Client::new(Options { connect_timeout: Duration::from_secs(1), ..options() });
    assert_eq!(client.repository(&reference).manifest("latest").unwrap().bytes, MANIFEST);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn documents_are_bounded_in_size_and_time() {
    let server = Server::start(|r| match r.path.as_str() {
        p if p.ends_with("/announced") => vec![Act::Send(head(200, &[TYPE], 5 << 20).into_bytes())],
        p if p.ends_with("/endless") => {
            let mut acts = vec![Act::Send(b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n".to_vec())];
            acts.extend((0..10).map(|_| Act::Send(vec![b'['; 1 << 20])));
            acts
        }
        p if p.ends_with("/cut") => vec![Act::Send((head(200, &[TYPE], 999) + "{").into_bytes())],
        _ => {
            vec![Act::Send(head(200, &[TYPE], 99).into_bytes()), Act::Sleep(Duration::from_secs(4))]
        }
    });
    let repository = repository(&server, options());
    for tag in ["announced", "endless"] {
        let error = repository.manifest(tag).unwrap_err();
        assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    }
    for tag in ["cut", "stalled"] {
        let begun = Instant::now();
        let error = repository.manifest(tag).unwrap_err();
        assert!(matches!(error, RegistryError::Broken { .. }) && error.is_transient(), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{tag}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_silent_server_is_given_up() {
    let server = Server::start(|_| vec![Act::Sleep(Duration::from_secs(6))]);
    let begun = Instant::now();
    let error = repository(&server, options()).manifest("latest").unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert!(text(&error).contains("no answer in time"), "{}", text(&error));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn endless_and_foreign_redirects_are_not_followed() {
    let server = Server::start(|r| match r.path.as_str() {
        p if p.contains("/loop") => reply(307, &["location: /v2/team/app/manifests/loop"], b""),
        p if p.ends_with("/file") => reply(302, &["location: file:///etc/passwd"], b""),
        _ => reply(302, &["location: gopher://127.0.0.1/"], b""),
    });
    let repository = repository(&server, options());
    for (tag, why) in [("loop", "more than 10 times"), ("file", "to \"file:"), ("x", "gopher")] {
        let error = repository.manifest(tag).unwrap_err();
        assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
        assert!(text(&error).contains(why), "{}", text(&error));
    }
    assert_eq!(server.count("/loop"), 11);
}

fn authorizations(server: &Server) -> Vec<Option<String>> {
    let seen = server.seen.lock().unwrap();
    seen.iter().map(|r| r.header("authorization").map(str::to_owned)).collect()
}

#[test]
fn a_password_goes_to_its_registry_and_not_where_that_redirects() {
    let stranger = Server::start(|_| reply(200, &[TYPE], MANIFEST));
    let elsewhere = format!("location: http://{}/blob", stranger.name());
    let server = Server::start(move |r| match r.header("authorization") {
        Some("Basic dTpwdw==") => reply(307, &[&elsewhere], b""),
        _ => reply(401, &["www-authenticate: Basic realm=\"r\""], b""),
    });
    let (_dir, options) = with_password(&server.name());
    let fetched = repository(&server, options).manifest("latest").unwrap();
    assert_eq!(fetched.bytes, MANIFEST);
    assert_eq!(authorizations(&server), [None, Some("Basic dTpwdw==".to_owned())]);
    assert_eq!(authorizations(&stranger), [None]);
}

#[test]
fn a_redirect_target_cannot_ask_for_the_password() {
    let stranger =
        Server::start(|_| reply(401, &["www-authenticate: Basic realm=\"your registry\""], b""));
    let elsewhere = format!("location: http://{}/blob", stranger.name());
    let server = Server::start(move |_| reply(307, &[&elsewhere], b""));
    let (_dir, mut options) = with_password(&server.name());
    // Even if the user has a password for the stranger, too.
    let json = format!(
        r#"{{"auths":{{"{}":{{"auth":"dTpwdw=="}},"{}":{{"auth":"dTpwdw=="}}}}}}"#,
        server.name(),
        stranger.name()
    );
    let path = options.docker_config.take().unwrap();
    std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), json.as_bytes()).unwrap();
    options.docker_config = Some(path);
    let error = repository(&server, options).manifest("latest").unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    assert_eq!(authorizations(&stranger), [None]);
}

fn bearer(realm: &str) -> impl Fn(&Request) -> Vec<Act> + Send + Sync + use<> {
    let challenge = format!(
        r#"www-authenticate: Bearer realm="{realm}",service="s",scope="registry:catalog:*""#
    );
    move |r| match r.header("authorization") {
        Some("Bearer good-token") => reply(200, &[TYPE], MANIFEST),
        _ => reply(401, &[&challenge], b""),
    }
}

#[test]
fn a_token_is_fetched_once_and_used_for_all_requests() {
    let tokens = Server::start(|_| reply(200, &[], br#"{"token":"good-token"}"#));
    let server = Server::start(bearer(&format!("http://{}/token", tokens.name())));
    let repository = repository(&server, options());
    for _ in 0..3 {
        repository.manifest("latest").unwrap();
    }
    let seen = tokens.seen.lock().unwrap();
    // For this repository, whatever scope the challenge would like.
    let paths: Vec<&str> = seen.iter().map(|r| r.path.as_str()).collect();
    assert_eq!(paths, ["/token?scope=repository:team/app:pull&service=s"]);
}

#[test]
fn an_expired_token_is_renewed() {
    let given = std::sync::atomic::AtomicU32::new(0);
    let server = Server::start(move |r| {
        if r.path.starts_with("/token") {
            let n = given.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            return reply(200, &[], format!(r#"{{"access_token":"t{n}"}}"#).as_bytes());
        }
        let good = format!("Bearer t{}", u8::from(r.path.ends_with("/second")));
        match r.header("authorization") {
            Some(token) if token == good => reply(200, &[TYPE], MANIFEST),
            _ => {
                let host = r.header("host").unwrap();
                let challenge = format!("www-authenticate: Bearer realm=http://{host}/token");
                reply(401, &[&challenge], b"")
            }
        }
    });
    let repository = repository(&server, options());
    repository.manifest("first").unwrap();
    repository.manifest("second").unwrap();
    assert_eq!(server.count("/token"), 2);
}

#[test]
fn a_password_is_not_told_to_a_foreign_token_service() {
    // 127.0.0.2 is this machine, but not the registry's host.
    let tokens = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    tokens.set_nonblocking(true).unwrap();
    let realm = tokens.local_addr().unwrap();
    let server = Server::start(bearer(&format!("http://{realm}/token")));
    let (_dir, options) = with_password(&server.name());
    let error = repository(&server, options).manifest("latest").unwrap_err();
    assert!(matches!(error, RegistryError::ForeignRealm { .. }), "{error}");
    assert!(error.hint().unwrap().contains("127.0.0.2"));
    assert!(tokens.accept().is_err(), "the realm was contacted");
}

#[test]
fn token_services_that_misbehave_are_named() {
    let server = Server::start(|r| {
        let host = r.header("host").unwrap().to_owned();
        match r.path.as_str() {
            p if p.starts_with("/html") => reply(200, &[], b"<html>"),
            p if p.starts_with("/broken") => reply(503, &[], b""),
            p if p.starts_with("/inject") => reply(200, &[], br#"{"token":"a\r\nx: y"}"#),
            p => {
                let tag = p.rsplit('/').next().unwrap();
                let realm =
                    if tag == "file" { "file:///x".into() } else { format!("http://{host}/{tag}") };
                reply(401, &[&format!("www-authenticate: Bearer realm=\"{realm}\"")], b"")
            }
        }
    });
    for (tag, why) in [
        ("html", "it did not answer with a token document"),
        ("broken", "it answered 503"),
        ("inject", "it did not answer with a usable token"),
        ("file", "not a URL"),
    ] {
        let error = repository(&server, options()).manifest(tag).unwrap_err();
        assert!(matches!(error, RegistryError::Token { .. }), "{error}");
        assert!(text(&error).ends_with(why), "{}", text(&error));
    }
}

fn read(repository: &Repository, blob: &[u8], size: u64, offset: u64) -> std::io::Result<Vec<u8>> {
    let name = digest(blob).parse().unwrap();
    let mut stream = repository.blob(&name, size, offset).map_err(std::io::Error::other)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

#[test]
fn a_blob_can_begin_anywhere_with_and_without_ranges() {
    let blob: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let served = blob.clone();
    let knows_ranges = Server::start(move |r| {
        let from = r.offset();
        let range = format!("content-range: bytes {from}-{}/{}", served.len() - 1, served.len());
        reply(if from > 0 { 206 } else { 200 }, &[&range], &served[from..])
    });
    let served = blob.clone();
    let knows_none = Server::start(move |_| reply(200, &[], &served));
    for server in [knows_ranges, knows_none] {
        let repository = repository(&server, options());
        for offset in [0, 1, 99_999, 200_000 - 1] {
            let bytes = read(&repository, &blob, 200_000, offset).unwrap();
            assert_eq!(bytes, &blob[offset as usize..], "from {offset}");
        }
    }
}

#[test]
fn wrong_lengths_are_errors_and_never_an_end_of_file() {
    let server = Server::start(|r| match r.header("range") {
        // Chunked: no length is announced.
        None => vec![Act::Send(
            b"HTTP/1.1 200 X\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
              3\r\nabc\r\n0\r\n\r\n"
                .to_vec(),
        )],
        Some(_) => reply(206, &["content-range: bytes 0-2/3"], b"abc"),
    });
    let repository = repository(&server, options());
    assert_eq!(read(&repository, b"x", 3, 0).unwrap(), b"abc");
    assert_eq!(
        read(&repository, b"x", 9, 0).unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof
    );
    assert_eq!(read(&repository, b"x", 2, 0).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    // A range that is not the one asked for.
    let error = repository.blob(&digest(b"x").parse().unwrap(), 3, 1).unwrap_err();
    assert!(matches!(error, RegistryError::WrongSize { .. }), "{error}");
    assert!(error.source().is_none());
}
