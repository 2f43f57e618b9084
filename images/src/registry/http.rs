//! Plain GETs with a bound on everything: time to connect, silence, redirects,
//! size of heads and documents. Credentials go to the origin they are for and
//! are dropped at the first redirect elsewhere (CVE-2020-15157's lesson).

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ureq::http::{Response, StatusCode, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

use super::lookup::HostNames;
use super::url::{self, Origin};
use super::{Options, USER_AGENT};

/// docker follows ten as well (Go's net/http).
const REDIRECTS_MAX: usize = 10;
/// Heads larger than this are no registry's.
const HEAD_MAX: usize = 64 << 10;
/// One read per system call should be worth it; blobs come through this buffer.
const INPUT_BUFFER: usize = 128 << 10;

/// Connections to this machine stand at once or not at all.
const LOOPBACK_CONNECT: Duration = Duration::from_secs(3);

/// How far a server's certificate is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// A CA of the system must vouch for it.
    System,
    /// The user listed it as insecure: any certificate will do.
    Insecure,
    /// As `Insecure`, and no proxy can stand between us and ourselves.
    Loopback,
}

/// The connections of one command, kept open between requests.
#[derive(Debug)]
pub(super) struct Http {
    options: Options,
    system: OnceLock<Agent>,
    insecure: OnceLock<Agent>,
    loopback: OnceLock<Agent>,
}

/// A GET (or HEAD) to be made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ask<'a> {
    pub(super) head: bool,
    pub(super) accept: Option<&'a str>,
    /// `Authorization`, for the first origin only.
    pub(super) authorization: Option<&'a str>,
    /// The first byte wanted.
    pub(super) offset: u64,
}

/// An answer and who gave it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) origin: Origin,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum HttpError {
    /// No connection, or it broke.
    Io(Origin, io::Error),
    /// TLS says no: the certificate, or no TLS spoken there.
    Tls(Origin, io::Error),
    /// A redirect that is not followed, with the reason.
    Redirect(String),
}

impl Http {
    pub(super) fn new(options: Options) -> Self {
        let (system, insecure, loopback) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { options, system, insecure, loopback }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Asks `start`, following redirects.
    pub(super) fn get(&self, start: &Uri, ask: &Ask<'_>) -> Result<Answer, HttpError> {
        let nowhere = || HttpError::Redirect(format!("to {start}"));
        let first = Origin::of(start).ok_or_else(nowhere)?;
        let mut url = start.clone();
        let mut credentials = ask.authorization;
        for _ in 0..=REDIRECTS_MAX {
            let origin = Origin::of(&url).ok_or_else(nowhere)?;
            if origin != first {
                // Gone for good: a redirect back does not bring them back.
                credentials = None;
            }
            let response = self.once(&url, &origin, ask, credentials)?;
            let Some(location) = redirect(&response) else {
                return Ok(Answer { response, origin });
            };
            let shown: String = location.chars().take(200).collect();
            let next = url::join(&url, &location)
                .ok_or_else(|| HttpError::Redirect(format!("to \"{shown}\"")))?;
            if origin.https && Origin::of(&next).is_none_or(|o| !o.https) {
                return Err(HttpError::Redirect(format!("from https to \"{shown}\"")));
            }
            log::debug!("redirected from {origin} to {}", next.host().unwrap_or_default());
            url = next;
        }
        Err(HttpError::Redirect(format!("more than {REDIRECTS_MAX} times")))
    }

    fn once(
        &self,
        url: &Uri,
        origin: &Origin,
        ask: &Ask<'_>,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, HttpError> {
        let agent = self.agent(self.trust(origin));
        let mut request = if ask.head { agent.head(url) } else { agent.get(url) };
        if let Some(accept) = ask.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        if ask.offset > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", ask.offset));
        }
        request.call().map_err(|e| classify(origin.clone(), e))
    }

    fn trust(&self, origin: &Origin) -> Trust {
        if origin.is_loopback() {
            Trust::Loopback
        } else if self.options.is_listed_insecure(&origin.host, origin.port) {
            Trust::Insecure
        } else {
            Trust::System
        }
    }

    fn agent(&self, trust: Trust) -> &Agent {
        let slot = match trust {
            Trust::System => &self.system,
            Trust::Insecure => &self.insecure,
            Trust::Loopback => &self.loopback,
        };
        slot.get_or_init(|| build(&self.options, trust))
    }
}

fn build(options: &Options, trust: Trust) -> Agent {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .disable_verification(trust != Trust::System)
        .root_certs(if trust == Trust::System {
            system_roots()
        } else {
            RootCerts::from(Vec::new())
        })
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(options.connect_timeout * 2))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_recv_response(Some(options.idle_timeout * 2))
        .timeout_per_read(Some(options.idle_timeout))
        .timeout_per_write(Some(options.idle_timeout))
        .max_response_header_size(HEAD_MAX)
        .input_buffer_size(INPUT_BUFFER)
        .user_agent(USER_AGENT)
        // A body compressed on the way would have neither the size nor the digest asked for.
        .accept_encoding("identity")
        .max_idle_age(Duration::from_secs(15))
        .tls_config(tls);
    if trust == Trust::Loopback {
        // A plain server may wait for the rest of what is a TLS hello to us: on
        // loopback, who does not answer soon does not speak TLS.
        let soon = options.connect_timeout.min(LOOPBACK_CONNECT);
        config = config.proxy(None).timeout_connect(Some(soon));
    }
    Agent::with_parts(config.build(), DefaultConnector::default(), HostNames::default())
}

/// The CAs of this host: `SSL_CERT_FILE`, `SSL_CERT_DIR`, or where distributions keep them.
fn system_roots() -> RootCerts {
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        log::debug!("a CA certificate was left out: {error}");
    }
    log::debug!("{} CA certificates", loaded.certs.len());
    let owned = loaded.certs.iter().map(|c| Certificate::from_der(c).to_owned()).collect();
    RootCerts::Specific(Arc::new(owned))
}

fn redirect(response: &Response<Body>) -> Option<String> {
    let follows = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(header::LOCATION).filter(|_| follows)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// ureq's error as an io::Error whose text a user can read.
fn classify(origin: Origin, error: ureq::Error) -> HttpError {
    use ureq::{Error, Timeout};
    match error {
        Error::Rustls(e) => HttpError::Tls(origin, io::Error::new(io::ErrorKind::InvalidData, e)),
        Error::Tls(text) => {
            HttpError::Tls(origin, io::Error::new(io::ErrorKind::InvalidData, text))
        }
        Error::Io(e) if e.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            HttpError::Tls(origin, e)
        }
        Error::Io(e) => HttpError::Io(origin, e),
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            HttpError::Io(origin, timed_out("no connection in time"))
        }
        Error::Timeout(_) => HttpError::Io(origin, timed_out("no answer in time")),
        Error::Other(e) => HttpError::Io(origin, io::Error::other(e)),
        other => HttpError::Io(origin, io::Error::other(other.to_string())),
    }
}

fn timed_out(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Why a document could not be read whole.
#[derive(Debug)]
pub(super) enum BodyError {
    TooLarge,
    Io(io::Error),
}

/// The whole body, if it is at most `limit` bytes and comes within `patience`:
/// per-read time-outs alone would let a drip hold us for hours.
pub(super) fn read_document(
    response: Response<Body>,
    limit: u64,
    patience: Duration,
) -> Result<Vec<u8>, BodyError> {
    let announced = response.body().content_length();
    if announced.is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge);
    }
    let until = std::time::Instant::now() + patience;
    let mut reader = response.into_body().into_reader();
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 16 << 10];
    loop {
        let n = reader.read(&mut chunk).map_err(BodyError::Io)?;
        if n == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(chunk.get(..n).unwrap_or_default());
        if bytes.len() as u64 > limit {
            return Err(BodyError::TooLarge);
        }
        if std::time::Instant::now() > until {
            return Err(BodyError::Io(timed_out("the document did not come in time")));
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use std::io::Write;
    use std::net::TcpListener;
    use std::process::Command;

    /// An HTTPS server for `127.0.0.1` that answers every request with `head`.
    /// Returns its address and its certificate in PEM.
    fn https(head: &'static str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let der: CertificateDer<'static> = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], key.into())
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/x", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(tls, tcp);
                let mut buffer = [0u8; 4096];
                if stream.read(&mut buffer).is_ok_and(|n| n > 0) {
                    let _ = stream.write_all(head.as_bytes());
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        });
        use base64::Engine;
        let body = base64::engine::general_purpose::STANDARD.encode(&der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        (url, pem)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";

    #[test]
    fn any_certificate_will_do_on_loopback() {
        let (url, _) = https(OK);
        let answer = Http::new(Options::default()).get(&url.parse().unwrap(), &Ask::default());
        let body = read_document(answer.unwrap().response, 10, Duration::from_secs(5)).unwrap();
        assert_eq!(body, b"hi");
    }

    #[test]
    fn https_is_not_left_for_http() {
        let (url, _) = https(
            "HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
        let answer = Http::new(Options::default()).get(&url.parse().unwrap(), &Ask::default());
        let Err(HttpError::Redirect(why)) = answer else { panic!("{answer:?}") };
        assert_eq!(why, "from https to \"http://127.0.0.1:1/\"");
    }

    /// What a verified connection to `url` says.
    fn verified(url: &str) -> String {
        let origin = Origin::of(&url.parse().unwrap()).unwrap();
        match Http::new(Options::default()).agent(Trust::System).get(url).call() {
            Ok(response) => response.status().to_string(),
            Err(e) => match classify(origin, e) {
                HttpError::Tls(_, e) => format!("tls: {e}"),
                other => format!("{other:?}"),
            },
        }
    }

    /// Not a test of its own: the next one runs it with another environment.
    #[test]
    fn child_that_asks() {
        if let Ok(url) = std::env::var("RCNT_TEST_URL") {
            println!("said {}", verified(&url));
        }
    }

    #[test]
    fn elsewhere_a_ca_of_the_system_must_vouch() {
        let (url, pem) = https(OK);
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all(pem.as_bytes()).unwrap();
        let ask = |ca: &std::path::Path| {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", "registry::http::tests::child_that_asks"])
                .env("RCNT_TEST_URL", &url)
                .env("SSL_CERT_FILE", ca)
                .env_remove("SSL_CERT_DIR")
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let said = ask(file.path());
        assert!(said.contains("said 200 OK"), "{said}");
        let said = ask("/nonexistent".as_ref());
        assert!(said.contains("said tls: invalid peer certificate: UnknownIssuer"), "{said}");
    }
}
