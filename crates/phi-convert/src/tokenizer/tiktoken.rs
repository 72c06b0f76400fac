//! A `.tiktoken` file, the only vocabulary that Phi-3-small comes with: a line for each token, its bytes in base 64 and its
//! rank, which is its id.
//!
//! There are no merges in it. Each token is what two earlier ones make, namely those that are left when its bytes are
//! merged by all ranks before its own. Nor does it say how texts are cut or which tokens stand beside the vocabulary:
//! that is known of the vocabularies that are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use phi_text::alphabet;

use super::{Added, Family, Kind, Token, Vocab};
use crate::config;
use crate::error::{ConvertError, Problem, Result};
use crate::file;

/// That of o200k has 3.6 MB.
const MAX_BYTES: u64 = 8 << 20;

/// The longest token of the published ones has 128 bytes. Merging takes the square of it.
const MAX_TOKEN_BYTES: usize = 256;

/// Tokens of cl100k.
const CL100K: usize = 100_256;

pub(super) fn open(folder: &Path, arch: &str, pre: Option<&'static str>) -> Result<Option<(Vocab, Vec<Added>)>> {
    let Some(path) = find(folder)? else { return Ok(None) };
    let ranks = parse(&file::read(&path, MAX_BYTES)?).map_err(|e| e.of(&path))?;
    let known = (ranks.len() == CL100K).then_some("dbrx");
    let Some(pre) = pre.or(known) else {
        let pattern = "unknown: a tiktoken file has none".into();
        let problem = Problem::UnknownPre { pattern, known: super::known_pres() };
        return Err(ConvertError::new("", None, problem).of(&path));
    };
    let mut vocab = Vocab::new(Family::Bytes { pre: pre.into() });
    for (rank, bytes) in ranks.iter().enumerate() {
        let token = Token { text: alphabet::text_of(bytes), score: 0.0, kind: Kind::Normal };
        vocab.put(rank as u32, token, &path)?;
    }
    let text = |bytes: &[u8]| alphabet::text_of(bytes);
    for (left, right) in merges(&ranks).map_err(|e| e.of(&path))? {
        vocab.merges.push(format!("{} {}", text(left), text(right)));
    }
    let added = if arch == "phi3small" && ranks.len() == CL100K { phi3small() } else { Vec::new() };
    Ok(Some((vocab, added)))
}

/// The only file of its kind.
fn find(folder: &Path) -> Result<Option<PathBuf>> {
    let io = |error| ConvertError::new("", None, Problem::Io(error)).of(folder);
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "tiktoken") {
            found.push(path);
        }
    }
    if found.len() > 1 {
        let problem = Problem::TooMany { got: found.len() as u64, what: "`.tiktoken` files", max: 1 };
        return Err(ConvertError::new("", None, problem).of(folder));
    }
    Ok(found.pop())
}

/// The bytes of each token, by rank.
fn parse(text: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut ranks: Vec<Option<Vec<u8>>> = Vec::new();
    for (i, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let fail = |problem| ConvertError::new(format!("line {}", i + 1), None, problem);
        let expected = |want| fail(Problem::Expected { want });
        let at = line.iter().position(|&byte| byte == b' ').ok_or_else(|| expected("a token, a space and its rank"))?;
        let bytes = base64(&line[..at]).ok_or_else(|| expected("a token in base 64"))?;
        if bytes.is_empty() || bytes.len() > MAX_TOKEN_BYTES {
            return Err(expected("a token of 1 to 256 bytes"));
        }
        let rank = std::str::from_utf8(&line[at + 1..]).ok().and_then(|rank| rank.parse::<usize>().ok());
        let rank = rank.ok_or_else(|| expected("a token, a space and its rank"))?;
        let max = *config::VOCABULARY.end();
        if rank as u64 >= max {
            return Err(fail(Problem::Limit { got: rank as u64, max: max - 1 }));
        }
        if ranks.len() <= rank {
            ranks.resize(rank + 1, None);
        }
        if ranks[rank].replace(bytes).is_some() {
            return Err(fail(Problem::Duplicate));
        }
    }
    let missing = |rank: usize| ConvertError::new(format!("rank {rank}"), None, Problem::Missing);
    ranks.into_iter().enumerate().map(|(rank, bytes)| bytes.ok_or_else(|| missing(rank))).collect()
}

/// The two tokens that make each token of more than a byte, in the order of ranks.
fn merges(ranks: &[Vec<u8>]) -> Result<Vec<(&[u8], &[u8])>> {
    let mut by_bytes: HashMap<&[u8], usize> = HashMap::with_capacity(ranks.len());
    let mut merges = Vec::new();
    for (rank, bytes) in ranks.iter().enumerate() {
        let fail = |problem| ConvertError::new(format!("rank {rank}"), None, problem);
        if bytes.len() > 1 {
            // Only earlier tokens are in the map.
            match parts(bytes, &by_bytes)[..] {
                [0, middle] => merges.push(bytes.split_at(middle)),
                _ => return Err(fail(Problem::Expected { want: "a token that two earlier ones make" })),
            }
        }
        if by_bytes.insert(bytes, rank).is_some() {
            return Err(fail(Problem::Duplicate));
        }
    }
    Ok(merges)
}

/// Where the tokens begin that are left of a text when neighbours were merged as long as they make one, the earliest
/// first.
fn parts(bytes: &[u8], ranks: &HashMap<&[u8], usize>) -> Vec<usize> {
    let mut begins: Vec<usize> = (0..bytes.len()).collect();
    loop {
        let end = |i: usize| begins.get(i).copied().unwrap_or(bytes.len());
        let rank = |i: usize| Some((ranks.get(&bytes[begins[i]..end(i + 2)])?, i));
        let Some((_, i)) = (0..begins.len() - 1).filter_map(rank).min() else { return begins };
        begins.remove(i + 1);
    }
}

/// Base 64 with its padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let value = |byte: u8| {
        Some(u32::from(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        }))
    };
    let (quads, []) = text.as_chunks::<4>() else { return None };
    let mut bytes = Vec::with_capacity(3 * quads.len());
    for (i, quad) in quads.iter().enumerate() {
        let padding =
            if i + 1 == quads.len() { quad.iter().rev().take_while(|&&byte| byte == b'=').count() } else { 0 };
        if padding > 2 {
            return None;
        }
        let bits = quad[..4 - padding].iter().try_fold(0, |bits, &byte| Some(bits << 6 | value(byte)?))?;
        let [_, group @ ..] = (bits << (6 * padding)).to_be_bytes();
        bytes.extend_from_slice(&group[..3 - padding]);
    }
    Some(bytes)
}

/// What stands beside cl100k in Phi-3-small, as its own code has it.
fn phi3small() -> Vec<Added> {
    let named = [
        (100_257, "endoftext"),
        (100_258, "fim_prefix"),
        (100_259, "fim_middle"),
        (100_260, "fim_suffix"),
        (100_261, "system"),
        (100_262, "user"),
        (100_263, "assistant"),
        (100_266, "end"),
        (100_276, "endofprompt"),
    ];
    // Placeholders, by number.
    let dummies = (100_264..=100_265).chain(100_256..=100_256).chain(100_267..=100_275).chain(100_277..=100_351);
    let dummies = dummies.enumerate().map(|(n, id)| (id, format!("dummy_id_{n}")));
    let all = named.map(|(id, name)| (id, name.to_string())).into_iter().chain(dummies);
    all.map(|(id, name)| Added { id, text: format!("<|{name}|>"), special: true }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte, and then these.
    fn file(tokens: &[&str]) -> String {
        let bytes = (0..=255_u8).map(|byte| vec![byte]).chain(tokens.iter().map(|token| token.as_bytes().to_vec()));
        bytes.enumerate().map(|(rank, bytes)| format!("{} {rank}\n", encode(&bytes))).collect()
    }

    fn encode(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let group = |chunk: &[u8]| {
            let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
            let letter = |i: usize| match i <= chunk.len() {
                true => char::from(LETTERS[(bits >> (18 - 6 * i)) as usize & 63]),
                false => '=',
            };
            (0..4).map(letter).collect::<String>()
        };
        bytes.chunks(3).map(group).collect()
    }

    #[test]
    fn base_64_is_the_usual_one() {
        for (text, bytes) in [("", ""), ("IQ==", "!"), ("aGk=", "hi"), ("IHRo", " th"), ("IHRoZQ==", " the")] {
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        for text in ["I", "IQ=", "IQ!=", "I===", "====", "IQ==IQ==", "aG k"] {
            assert_eq!(base64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn merges_follow_from_ranks() {
        let ranks = parse(file(&["he", "ll", "hell", "lo", "hello", "o!", "llo"]).as_bytes()).unwrap();
        let merges = merges(&ranks).unwrap();
        let text = |(left, right): &(&[u8], &[u8])| {
            [left, right].map(|part| String::from_utf8_lossy(part).into_owned()).join(" ")
        };
        let merges: Vec<String> = merges.iter().map(text).collect();
        assert_eq!(merges, ["h e", "l l", "he ll", "l o", "hell o", "o !", "ll o"]);
    }

    /// As many tokens as cl100k has: all bytes, all pairs, some triples.
    fn as_many_as_cl100k() -> String {
        let pairs = (0..=u16::MAX).map(|pair| pair.to_be_bytes().to_vec());
        let triples = (0..1 << 24).map(|triple: u32| triple.to_be_bytes()[1..].to_vec());
        let all = (0..=255_u8).map(|byte| vec![byte]).chain(pairs).chain(triples).take(CL100K);
        all.enumerate().map(|(rank, bytes)| format!("{} {rank}\n", encode(&bytes))).collect()
    }

    #[test]
    fn a_folder_has_one_such_file() {
        let folder = tempfile::tempdir().unwrap();
        let open = |arch, pre| open(folder.path(), arch, pre);
        assert!(open("phi3small", None).unwrap().is_none());
        std::fs::write(folder.path().join("cl100k_base.tiktoken"), as_many_as_cl100k()).unwrap();
        let (vocab, added) = open("phi3small", None).unwrap().unwrap();
        assert_eq!(vocab.family, Family::Bytes { pre: "dbrx".into() });
        assert_eq!((vocab.tokens.len(), vocab.merges.len(), added.len()), (CL100K, 100_000, 96));
        assert!(open("phi3", None).unwrap().unwrap().1.is_empty());

        std::fs::write(folder.path().join("cl100k_base.tiktoken"), file(&["he"])).unwrap();
        let error = open("phi3small", None).unwrap_err();
        assert!(error.to_string().contains("is not one of ours"), "{error}");
        let (vocab, added) = open("phi3small", Some("dbrx")).unwrap().unwrap();
        assert_eq!((vocab.tokens.len(), vocab.merges.len(), added.len()), (257, 1, 0));
        std::fs::write(folder.path().join("other.tiktoken"), "").unwrap();
        let error = open("phi3small", None).unwrap_err();
        assert!(error.to_string().contains("2 `.tiktoken` files exceeds 1"), "{error}");
    }

    #[test]
    fn files_that_lie_have_their_answer() {
        let good = file(&["he"]);
        for (text, want) in [
            (good.replace("aGU= 256", "aGU=256"), "line 257: expected a token, a space and its rank"),
            (good.replace("aGU= 256", "aGU= x"), "line 257: expected a token, a space and its rank"),
            (good.replace("aGU= 256", "aGU 256"), "line 257: expected a token in base 64"),
            (good.replace("aGU= 256", " 256"), "line 257: expected a token of 1 to 256 bytes"),
            (good.replace("aGU= 256", "aGU= 258"), "rank 256: missing"),
            (good.replace("aGU= 256", "aGU= 255"), "line 257: duplicate"),
            (good.replace("aGU= 256", "aGU= 99999999999"), "line 257: 99999999999 exceeds 1048575"),
            (good.replace("aGU= 256", "QQ== 256"), "rank 256: duplicate"),
            (file(&["hello"]), "rank 256: expected a token that two earlier ones make"),
        ] {
            let error = parse(text.as_bytes()).and_then(|ranks| merges(&ranks).map(|_| ())).unwrap_err();
            assert!(error.to_string().contains(want), "{error}, {want}");
        }
    }

    #[test]
    fn what_stands_beside_has_every_id_once() {
        let mut added = phi3small();
        added.sort_by_key(|token| token.id);
        assert!(added.iter().zip(100_256..=100_351).all(|(token, id)| token.id == id) && added.len() == 96);
        let text = |id: usize| added[id - 100_256].text.as_str();
        assert_eq!(
            (text(100_256), text(100_264), text(100_265)),
            ("<|dummy_id_2|>", "<|dummy_id_0|>", "<|dummy_id_1|>")
        );
        assert_eq!((text(100_267), text(100_275)), ("<|dummy_id_3|>", "<|dummy_id_11|>"));
        assert_eq!((text(100_277), text(100_351)), ("<|dummy_id_12|>", "<|dummy_id_86|>"));
    }
}
