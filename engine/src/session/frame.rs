//! What goes over a control socket: frames of one kind byte, a length and a
//! payload. Both sides are rcnt; still, nothing here trusts a length.

/// Most payload bytes of a frame. Larger writes are cut into several.
pub const MAX_PAYLOAD: usize = 64 << 10;
const HEADER: usize = 5;

/// From a client to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// First on a connection: what the client wants.
    Hello {
        /// It will send input.
        stdin: bool,
        /// It wants the output from now on; otherwise only the end.
        output: bool,
    },
    /// Bytes for stdin.
    Input(Vec<u8>),
    /// No more input.
    CloseInput,
    /// The terminal's size.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters per line.
        columns: u16,
    },
    /// A signal for the container's first process.
    Signal(i32),
    /// The container's networks have changed: a `NamesPlan` as JSON, to be served from
    /// now on. Answered by [`Reply::Changed`].
    Names(Vec<u8>),
    /// Its networks are other ones now.
    NetworksChanged,
    /// More published ports: `HeldPort`s as JSON, their sockets come beside
    /// (SCM_RIGHTS). Answered by [`Reply::Changed`].
    Hold(Vec<u8>),
    /// Ports that are not published any more: `PublishedPort`s as JSON. Answered by
    /// [`Reply::Changed`].
    LetGo(Vec<u8>),
}

/// From the supervisor to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The command runs.
    Started,
    /// The command could not be started: a `StartError` as JSON.
    Failed(Vec<u8>),
    /// Bytes of stdout, or of the terminal.
    Stdout(Vec<u8>),
    /// Bytes of stderr.
    Stderr(Vec<u8>),
    /// The container has ended and is cleaned up.
    Exited(i32),
    /// What was asked for is done, or why it is not.
    Changed(Result<(), String>),
}

/// Bytes that are no frame: the other side is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message on a control socket")]
pub struct Malformed;

fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    // Callers cut payloads to MAX_PAYLOAD, which fits.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.push(kind);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
}

fn put_chunks(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    bytes.chunks(MAX_PAYLOAD).for_each(|chunk| put(out, kind, chunk));
}

/// Takes one whole frame off the front of `buffer`, if there is one.
fn take(buffer: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, Malformed> {
    let Some((header, rest)) = buffer.split_at_checked(HEADER) else { return Ok(None) };
    let [kind, length @ ..] = header else { return Ok(None) };
    let length = <[u8; 4]>::try_from(length).map_err(|_| Malformed)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| Malformed)?;
    if length > MAX_PAYLOAD {
        return Err(Malformed);
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let frame = (*kind, payload.to_vec());
    buffer.drain(..HEADER + length);
    Ok(Some(frame))
}

fn number(payload: &[u8]) -> Result<i32, Malformed> {
    payload.try_into().map(i32::from_le_bytes).map_err(|_| Malformed)
}

impl Request {
    /// Appends the frame's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Request::Hello { stdin, output } => {
                put(out, b'A', &[u8::from(*stdin), u8::from(*output)])
            }
            Request::Input(bytes) => put_chunks(out, b'I', bytes),
            Request::CloseInput => put(out, b'C', &[]),
            Request::Resize { rows, columns } => {
                let ([a, b], [c, d]) = (rows.to_le_bytes(), columns.to_le_bytes());
                put(out, b'W', &[a, b, c, d]);
            }
            Request::Signal(signal) => put(out, b'K', &signal.to_le_bytes()),
            Request::Names(plan) => put(out, b'N', plan.get(..MAX_PAYLOAD).unwrap_or(plan)),
            Request::Hold(ports) => put(out, b'P', ports.get(..MAX_PAYLOAD).unwrap_or(ports)),
            Request::LetGo(ports) => put(out, b'Q', ports.get(..MAX_PAYLOAD).unwrap_or(ports)),
            Request::NetworksChanged => put(out, b'P', &[]),
        }
    }

    /// Takes one whole request off the front of `buffer`, if there is one.
    ///
    /// # Errors
    /// The bytes are no request.
    pub fn decode(buffer: &mut Vec<u8>) -> Result<Option<Self>, Malformed> {
        let Some((kind, payload)) = take(buffer)? else { return Ok(None) };
        Ok(Some(match (kind, payload.as_slice()) {
            (b'A', [stdin, output]) => Request::Hello { stdin: *stdin != 0, output: *output != 0 },
            (b'I', _) => Request::Input(payload),
            (b'C', []) => Request::CloseInput,
            (b'P', []) => Request::NetworksChanged,
            (b'W', [a, b, c, d]) => Request::Resize {
                rows: u16::from_le_bytes([*a, *b]),
                columns: u16::from_le_bytes([*c, *d]),
            },
            (b'N', _) => Request::Names(payload),
            (b'P', _) => Request::Hold(payload),
            (b'Q', _) => Request::LetGo(payload),
            (b'K', number_bytes) => Request::Signal(number(number_bytes)?),
            _ => return Err(Malformed),
        }))
    }
}

impl Reply {
    /// Appends the frame's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Started => put(out, b'S', &[]),
            Reply::Failed(error) => put(out, b'F', error.get(..MAX_PAYLOAD).unwrap_or(error)),
            Reply::Stdout(bytes) => put_chunks(out, b'O', bytes),
            Reply::Stderr(bytes) => put_chunks(out, b'E', bytes),
            Reply::Exited(code) => put(out, b'X', &code.to_le_bytes()),
            Reply::Changed(Ok(())) => put(out, b'D', &[]),
            Reply::Changed(Err(why)) => put(out, b'U', why.as_bytes()),
        }
    }

    /// Takes one whole reply off the front of `buffer`, if there is one.
    ///
    /// # Errors
    /// The bytes are no reply.
    pub fn decode(buffer: &mut Vec<u8>) -> Result<Option<Self>, Malformed> {
        let Some((kind, payload)) = take(buffer)? else { return Ok(None) };
        Ok(Some(match kind {
            b'S' => Reply::Started,
            b'F' => Reply::Failed(payload),
            b'O' => Reply::Stdout(payload),
            b'E' => Reply::Stderr(payload),
            b'X' => Reply::Exited(number(&payload)?),
            b'D' => Reply::Changed(Ok(())),
            b'U' => Reply::Changed(Err(String::from_utf8_lossy(&payload).into_owned())),
            _ => return Err(Malformed),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> impl Strategy<Value = Request> {
        prop_oneof![
            any::<(bool, bool)>().prop_map(|(stdin, output)| Request::Hello { stdin, output }),
            proptest::collection::vec(any::<u8>(), 1..100).prop_map(Request::Input),
            Just(Request::CloseInput),
            any::<(u16, u16)>().prop_map(|(rows, columns)| Request::Resize { rows, columns }),
            any::<i32>().prop_map(Request::Signal),
            proptest::collection::vec(any::<u8>(), 1..100).prop_map(Request::Names),
            proptest::collection::vec(any::<u8>(), 1..100).prop_map(Request::Hold),
            proptest::collection::vec(any::<u8>(), 1..100).prop_map(Request::LetGo),
            Just(Request::NetworksChanged),
        ]
    }

    #[test]
    fn long_output_is_cut() {
        let mut bytes = Vec::new();
        Reply::Stdout(vec![7; MAX_PAYLOAD + 1]).encode(&mut bytes);
        let mut got = 0;
        while let Some(Reply::Stdout(part)) = Reply::decode(&mut bytes).unwrap() {
            got += part.len();
        }
        assert_eq!((got, bytes.len()), (MAX_PAYLOAD + 1, 0));
    }

    proptest! {
        #[test]
        fn requests_survive_any_cutting(list in proptest::collection::vec(request(), 1..8), cut in 1usize..9) {
            let mut bytes = Vec::new();
            list.iter().for_each(|r| r.encode(&mut bytes));
            let (mut buffer, mut got) = (Vec::new(), Vec::new());
            for chunk in bytes.chunks(cut) {
                buffer.extend_from_slice(chunk);
                while let Some(r) = Request::decode(&mut buffer).unwrap() {
                    got.push(r);
                }
            }
            prop_assert_eq!(got, list);
        }

        #[test]
        fn strangers_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            while let Ok(Some(_)) = Request::decode(&mut bytes) {}
            while let Ok(Some(_)) = Reply::decode(&mut bytes) {}
        }
    }
}
