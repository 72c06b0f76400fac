//! `tokenizer.model`: the few fields of SentencePiece's protobuf that a GGUF needs, read with a cursor that can only take
//! what is left.
//!
//! ```text
//! ModelProto     1 pieces: SentencePiece*   2 trainer_spec   3 normalizer_spec
//! SentencePiece  1 piece: string   2 score: float   3 type: enum (1 normal … 6 byte)
//! TrainerSpec    3 model_type: enum (1 unigram, 2 bpe)
//! NormalizerSpec 3 add_dummy_prefix: bool
//! ```

use std::path::Path;

use super::{Family, Kind, MAX_TOKENIZER_BYTES, Token, Vocab};
use crate::error::{ConvertError, Problem, Result};
use crate::file;

const BPE: u64 = 2;

pub(super) fn open(path: &Path) -> Result<Option<Vocab>> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    let bytes = file::read(path, MAX_TOKENIZER_BYTES)?;
    parse(&bytes, path).map(Some).map_err(|e| e.of(path))
}

fn parse(bytes: &[u8], path: &Path) -> Result<Vocab> {
    let mut vocab = Vocab::new(Family::SentencePiece { add_space_prefix: true });
    // The default of the format, which is not what any Phi uses.
    let mut model_type = 1;
    let mut message = Message { rest: bytes, at: 0 };
    let mut id = 0;
    while let Some((field, value)) = message.next("ModelProto")? {
        match (field, value) {
            (1, Field::Bytes(piece)) => {
                let token = token(piece, || format!("pieces[{id}]"))?;
                vocab.put(id, token, path)?;
                id += 1;
            }
            (2, Field::Bytes(mut spec)) => {
                while let Some((field, value)) = spec.next("trainer_spec")? {
                    if let (3, Field::Number(number)) = (field, value) {
                        model_type = number;
                    }
                }
            }
            (3, Field::Bytes(mut spec)) => {
                while let Some((field, value)) = spec.next("normalizer_spec")? {
                    if let (3, Field::Number(add)) = (field, value) {
                        vocab.family = Family::SentencePiece { add_space_prefix: add != 0 };
                    }
                }
            }
            _ => {}
        }
    }
    if model_type != BPE {
        let got = if model_type == 1 { "UNIGRAM".into() } else { model_type.to_string().into() };
        return Err(ConvertError::new("trainer_spec.model_type", None, Problem::Value { got, want: "BPE".into() }));
    }
    if id == 0 {
        return Err(ConvertError::new("pieces", None, Problem::Empty));
    }
    Ok(vocab)
}

fn token(mut piece: Message<'_>, field: impl Fn() -> String) -> Result<Token> {
    let mut token = Token { text: String::new(), score: 0.0, kind: Kind::Normal };
    let at = piece.at;
    let fail = |name: &str, problem| ConvertError::new(format!("{}.{name}", field()), at, problem);
    while let Some((number, value)) = piece.next(&field())? {
        match (number, value) {
            (1, Field::Bytes(text)) => {
                let text = std::str::from_utf8(text.rest);
                token.text = text.map_err(|e| fail("piece", Problem::NotUtf8 { at: e.valid_up_to() }))?.to_string();
            }
            (2, Field::Float(score)) if score.is_finite() => token.score = score,
            (2, Field::Float(score)) => {
                let problem = Problem::Value { got: score.to_string().into(), want: "a finite score".into() };
                return Err(fail("score", problem));
            }
            (3, Field::Number(kind)) => {
                // SentencePiece and GGUF number the kinds alike.
                let found = i32::try_from(kind).ok().and_then(Kind::from_number);
                let unknown = || Problem::Value { got: kind.to_string().into(), want: "1 to 6".into() };
                token.kind = found.ok_or_else(|| fail("type", unknown()))?;
            }
            _ => {}
        }
    }
    if token.text.is_empty() { Err(fail("piece", Problem::Empty)) } else { Ok(token) }
}

/// What is left of a message.
#[derive(Clone, Copy)]
struct Message<'a> {
    rest: &'a [u8],
    /// Where in the file that begins.
    at: u64,
}

enum Field<'a> {
    Number(u64),
    Float(f32),
    Bytes(Message<'a>),
    Other,
}

impl<'a> Message<'a> {
    /// The next field: its number and value, or `None` at the end.
    fn next(&mut self, name: &str) -> Result<Option<(u64, Field<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        let cut = |_| {
            ConvertError::new(
                name,
                start,
                Problem::Expected { want: "a protobuf field; the file ends, or is no protobuf" },
            )
        };
        self.field().map(Some).ok_or(()).map_err(cut)
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Other
            }
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                let at = self.at;
                Field::Bytes(Message { rest: self.take(len)?, at })
            }
            5 => Field::Float(f32::from_le_bytes(*self.take(4)?.first_chunk()?)),
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        self.at = self.at.saturating_add(len as u64);
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(pieces: &[(&str, f32, u8)], model_type: u8) -> Vec<u8> {
        let mut out = Vec::new();
        for (text, score, kind) in pieces {
            let mut piece = vec![0x0a, text.len() as u8];
            piece.extend(text.bytes());
            piece.push(0x15);
            piece.extend(score.to_le_bytes());
            piece.extend([0x18, *kind]);
            out.extend([0x0a, piece.len() as u8]);
            out.extend(piece);
        }
        out.extend([0x12, 2, 0x18, model_type]);
        out
    }

    #[test]
    fn pieces_are_read() {
        let bytes = model(&[("<unk>", 0.0, 2), ("▁a", -1.0, 1), ("<0x0A>", 0.0, 6)], 2);
        let vocab = parse(&bytes, Path::new("m")).unwrap();
        let read: Vec<_> = vocab.present().map(|(id, t)| (id, t.text.as_str(), t.score, t.kind as i32)).collect();
        assert_eq!(read, [(0, "<unk>", 0.0, 2), (1, "▁a", -1.0, 1), (2, "<0x0A>", 0.0, 6)]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let field = |bytes: &[u8]| parse(bytes, Path::new("m")).unwrap_err().field;
        assert_eq!(field(&model(&[("a", 0.0, 1)], 1)), "trainer_spec.model_type");
        assert_eq!(field(&model(&[("a", f32::NAN, 1)], 2)), "pieces[0].score");
        assert_eq!(field(&model(&[("a", 0.0, 9)], 2)), "pieces[0].type");
        assert_eq!(field(&model(&[], 2)), "pieces");
    }

    #[test]
    fn no_cut_and_no_flip_panics() {
        let bytes = model(&[("<unk>", 0.0, 2), ("▁a", -1.0, 1)], 2);
        for cut in 0..bytes.len() {
            let _ = parse(&bytes[..cut], Path::new("m"));
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[cut] ^= 1 << bit;
                let _ = parse(&flipped, Path::new("m"));
            }
        }
    }
}
