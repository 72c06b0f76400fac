/// Bytes in, whole characters out.
///
/// A token is often half a character. Bytes are held back until their character is complete; bytes that can never
/// become one turn into `U+FFFD` at once.
///
/// ```
/// let mut stream = phi_text::Utf8Stream::new();
/// assert_eq!(stream.push(&[0xe2, 0x82]), "");
/// assert_eq!(stream.push(&[0xac, b'!']), "€!");
/// assert_eq!(stream.finish(), "");
/// ```
#[derive(Clone, Default, Debug)]
pub struct Utf8Stream {
    /// Bytes of an unfinished character, then those of one `push`.
    held: Vec<u8>,
    /// What the last `push` gave back.
    text: String,
}

impl Utf8Stream {
    /// Nothing held back.
    pub fn new() -> Self {
        Utf8Stream::default()
    }

    /// Adds bytes, and returns the characters they complete.
    pub fn push(&mut self, bytes: &[u8]) -> &str {
        self.text.clear();
        self.held.extend(bytes);
        let mut kept = 0;
        for chunk in self.held.utf8_chunks() {
            self.text.push_str(chunk.valid());
            kept += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() || (kept + invalid.len() == self.held.len() && may_continue(invalid)) {
                continue;
            }
            self.text.push(char::REPLACEMENT_CHARACTER);
            kept += invalid.len();
        }
        self.held.drain(..kept);
        &self.text
    }

    /// What is still held back, as `U+FFFD` if anything.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.held).into_owned()
    }
}

/// Whether more bytes can turn this into a character.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streamed(parts: &[&[u8]]) -> String {
        let mut stream = Utf8Stream::new();
        let mut text: String = parts.iter().map(|part| stream.push(part).to_string()).collect();
        text.push_str(&stream.finish());
        text
    }

    #[test]
    fn every_split_in_three_gives_the_same_text() {
        let text = "aé€😀नि\u{200d}👩\u{200d}💻".as_bytes();
        for i in 0..=text.len() {
            for j in i..=text.len() {
                let got = streamed(&[&text[..i], &text[i..j], &text[j..]]);
                assert_eq!(got.as_bytes(), text, "cut at {i} and {j}");
            }
        }
    }

    #[test]
    fn invalid_bytes_give_what_the_whole_would_give_lossily() {
        let cases: [&[u8]; 8] = [
            b"\xff",
            b"a\x80b",
            b"\xe2\x82",
            b"\xe2\x28\xa1",
            b"\xf0\x9f\x98",
            b"\xed\xa0\x80",
            b"\xc0\xaf",
            b"\xf4\x90\x80\x80",
        ];
        for bytes in cases {
            let want = String::from_utf8_lossy(bytes);
            for i in 0..=bytes.len() {
                assert_eq!(streamed(&[&bytes[..i], &bytes[i..]]), want, "{bytes:x?} cut at {i}");
            }
        }
    }

    #[test]
    fn only_what_can_complete_is_held_back() {
        let mut stream = Utf8Stream::new();
        assert_eq!(stream.push(b"ok\xf0\x9f"), "ok");
        assert_eq!(stream.push(b"x"), "\u{fffd}x");
        assert_eq!(stream.finish(), "");
    }
}
