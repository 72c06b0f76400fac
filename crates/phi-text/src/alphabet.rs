//! The GPT-2 byte alphabet: each byte as one printable character, so that a vocabulary of bytes can be a list of texts.
//!
//! Bytes that print stand for themselves (`!`…`~`, `¡`…`¬`, `®`…`ÿ`); the other 68 are `U+0100`, `U+0101`, … in order.

/// The character that stands for a byte.
pub fn char_of(byte: u8) -> char {
    if prints(byte) {
        return char::from(byte);
    }
    let others_before = (0..byte).filter(|&b| !prints(b)).count() as u32;
    char::from_u32(0x100 + others_before).expect("0x100..=0x143 are characters")
}

/// The byte that a character stands for.
pub fn byte_of(c: char) -> Option<u8> {
    match u8::try_from(u32::from(c)) {
        Ok(byte) => prints(byte).then_some(byte),
        Err(_) => OTHERS.get((u32::from(c) - 0x100) as usize).copied(),
    }
}

/// The bytes that a text stands for, if each of its characters stands for one.
pub fn bytes_of(text: &str) -> Option<Vec<u8>> {
    text.chars().map(byte_of).collect()
}

/// The text that stands for bytes.
pub fn text_of(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char_of(byte)).collect()
}

const fn prints(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

const OTHERS: [u8; 68] = {
    let mut others = [0; 68];
    let (mut byte, mut n) = (0, 0);
    while byte < 256 {
        if !prints(byte as u8) {
            others[n] = byte as u8;
            n += 1;
        }
        byte += 1;
    }
    others
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_go_there_and_back() {
        assert!((0..=255).all(|byte| byte_of(char_of(byte)) == Some(byte)));
        assert_eq!(text_of(b" the\n"), "ĠtheĊ");
        assert_eq!(bytes_of("Ġthe"), Some(b" the".to_vec()));
        assert_eq!(bytes_of("the "), None);
        assert_eq!(byte_of('\u{144}'), None);
    }
}
