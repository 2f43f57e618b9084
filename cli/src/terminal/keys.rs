//! The keys that detach: docker's `--detach-keys` syntax, and the watch for
//! them in what is typed.

/// Ctrl-P Ctrl-Q.
const DEFAULT: &[u8] = &[16, 17];

/// A key sequence that detaches; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    fn default() -> Self {
        Self(DEFAULT.to_vec())
    }
}

impl DetachKeys {
    /// `a,ctrl-b,…`: single characters, or `ctrl-` and one of a–z @ [ \ ] ^ _.
    /// Nothing, or the empty text, is the default.
    ///
    /// # Errors
    /// docker's words for a key that is none.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Self::default()) };
        let key = |key: &str| match key.as_bytes() {
            [byte] => Some(*byte),
            _ => match key.strip_prefix("ctrl-").map(str::as_bytes) {
                Some([letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => {
                    // Control characters are the letters' codes modulo 32.
                    Some(letter & 0x1f)
                }
                _ => None,
            },
        };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.map(Self).ok_or_else(|| format!("invalid detach keys ({text}) provided"))
    }

    /// How `parse` would be told, for the hint that is shown when detaching.
    #[cfg(test)]
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What to do with what was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// For the container.
    pub(crate) forward: Vec<u8>,
    /// The sequence is complete; what was typed after it is dropped.
    pub(crate) detach: bool,
}

/// Watches for the sequence. Bytes that may be its beginning are held back
/// until it is clear, then passed on, so the container misses nothing.
#[derive(Debug)]
pub(crate) struct Watch {
    keys: DetachKeys,
    held: usize,
}

impl Watch {
    /// Watches for `keys`.
    pub(crate) fn new(keys: DetachKeys) -> Self {
        Self { keys, held: 0 }
    }

    /// Takes what was typed.
    pub(crate) fn feed(&mut self, typed: &[u8]) -> Typed {
        let keys = &self.keys.0;
        let mut forward = Vec::with_capacity(typed.len() + self.held);
        for byte in typed {
            // The held bytes are keys[..held]; give up as few of them as it
            // takes for the rest and this byte to be a beginning again.
            loop {
                if keys.get(self.held) == Some(byte) {
                    self.held += 1;
                    break;
                }
                if self.held == 0 {
                    forward.push(*byte);
                    break;
                }
                let shorter = (0..self.held)
                    .rev()
                    .find(|len| keys.get(..*len) == keys.get(self.held - len..self.held))
                    .unwrap_or(0);
                forward.extend(keys.iter().take(self.held - shorter));
                self.held = shorter;
            }
            if self.held == keys.len() {
                self.held = 0;
                return Typed { forward, detach: true };
            }
        }
        Typed { forward, detach: false }
    }

    /// Nothing more will be typed: what was held back.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        self.keys.0.iter().take(held).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(keys: &str) -> Watch {
        Watch::new(DetachKeys::parse(Some(keys)).unwrap())
    }

    #[test]
    fn keys_are_written_as_docker_writes_them() {
        let parse = |text| DetachKeys::parse(Some(text)).map(|keys| keys.bytes().to_vec());
        assert_eq!(parse("ctrl-p,ctrl-q"), Ok(vec![16, 17]));
        assert_eq!(parse("a"), Ok(vec![b'a']));
        assert_eq!(
            parse("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_"),
            Ok(vec![0, 27, 28, 29, 30, 31])
        );
        assert_eq!(parse(""), Ok(vec![16, 17]));
        for wrong in ["ctrl-", "ctrl-P", "ctrl-1", "ab", "a,,b", "ä"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_sequence_detaches_even_in_pieces() {
        let mut watch = Watch::new(DetachKeys::default());
        assert_eq!(watch.feed(b"ls\x10"), Typed { forward: b"ls".to_vec(), detach: false });
        assert_eq!(watch.feed(b"\x11rest"), Typed { forward: Vec::new(), detach: true });
    }

    #[test]
    fn half_a_sequence_reaches_the_container_after_all() {
        let mut watch = Watch::new(DetachKeys::default());
        assert_eq!(watch.feed(b"\x10"), Typed { forward: Vec::new(), detach: false });
        assert_eq!(watch.feed(b"x"), Typed { forward: b"\x10x".to_vec(), detach: false });
        assert_eq!(watch.feed(b"\x10\x10"), Typed { forward: b"\x10".to_vec(), detach: false });
        assert_eq!(watch.finish(), b"\x10");
    }

    #[test]
    fn a_sequence_that_repeats_itself_is_found() {
        let mut watch = watch("a,a,b");
        assert_eq!(watch.feed(b"aaab"), Typed { forward: b"a".to_vec(), detach: true });
    }

    proptest::proptest! {
        #[test]
        fn nothing_typed_is_lost(chunks in proptest::collection::vec("[abc]{0,4}", 0..8)) {
            let (mut watch, mut got) = (watch("a,b,a"), Vec::new());
            let typed = chunks.concat();
            for chunk in &chunks {
                let Typed { forward, detach } = watch.feed(chunk.as_bytes());
                got.extend(forward);
                if detach {
                    let at = typed.find("aba").unwrap();
                    proptest::prop_assert_eq!(got, &typed.as_bytes()[..at]);
                    return Ok(());
                }
            }
            got.extend(watch.finish());
            proptest::prop_assert!(!typed.contains("aba"));
            proptest::prop_assert_eq!(got, typed.into_bytes());
        }
    }
}
