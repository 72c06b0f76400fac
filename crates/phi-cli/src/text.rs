use std::borrow::Cow;

/// Text from outside, fit for a terminal: without the characters by which it could do more than be read (escape, the
/// other control characters of both sets, carriage return). What remains of an escape sequence is harmless letters.
///
/// It needs no memory of what came before, so it may be applied to a stream piece by piece.
pub fn printable(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(acts) { Cow::Owned(text.replace(acts, "")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_only_be_read() {
        assert_eq!(printable("a\tb\n"), "a\tb\n");
        assert_eq!(printable("\x1b]0;title\x07x\u{9b}31my\r"), "]0;titlex31my");
    }
}
