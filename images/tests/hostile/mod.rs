//! An HTTP server that does what it is told, however wrong: cuts, stalls, lies.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Path and query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that a `Range` asks for.
    pub(crate) fn offset(&self) -> usize {
        let range = self.header("range").unwrap_or("bytes=0-");
        range["bytes=".len()..].trim_end_matches('-').parse().unwrap()
    }
}

/// What to do on the connection, one after the other; then it is closed.
pub(crate) enum Act {
    Send(Vec<u8>),
    Sleep(Duration),
}

/// A running server. Ends with the value.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopped, answer) = (Arc::clone(&seen), Arc::clone(&stop), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self { addr, seen, stop }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn name(&self) -> String {
        self.addr.to_string()
    }

    /// How often `path` (a part of it) was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|r| r.path.contains(path)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Vec<Act>) {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut first = [0u8; 1];
    // A TLS hello is no request: a plain server hangs up.
    if stream.peek(&mut first).is_err() || !first[0].is_ascii_uppercase() {
        return;
    }
    let Some(request) = read_request(&stream) else { return };
    log.lock().unwrap().push(request.clone());
    for act in answer(&request) {
        match act {
            Act::Send(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            Act::Sleep(time) => std::thread::sleep(time),
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    // Unread input at close would turn our answer into a reset.
    let _ = stream.read(&mut [0u8; 1024]);
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).take(64 << 10).lines();
    let line = lines.next()?.ok()?;
    let mut words = line.split(' ');
    let path = words.nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            return Some(Request { path, headers });
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    None
}

/// A head with these header lines, then `body`.
pub(crate) fn reply(status: u16, headers: &[&str], body: &[u8]) -> Vec<Act> {
    let mut bytes = head(status, headers, body.len()).into_bytes();
    bytes.extend_from_slice(body);
    vec![Act::Send(bytes)]
}

/// A head that promises `length` bytes.
pub(crate) fn head(status: u16, headers: &[&str], length: usize) -> String {
    let mut head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

pub(crate) fn not_found(code: &str) -> Vec<Act> {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#);
    reply(404, &[], body.as_bytes())
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
