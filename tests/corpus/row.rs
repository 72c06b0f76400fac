//! A row of the table, and how an answer is judged by it.

use phi_gguf::Gguf;
use phi_model::Model;
use phi_testkit::{RawEntry, RawGguf, RawTensor, RawValue};

/// Which door a file failed at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Door {
    /// It is no sound container.
    File,
    /// It is one, but no model we can run.
    Model,
}

pub(crate) struct Refusal {
    pub(crate) door: Door,
    /// The message, and the hint where there is one.
    pub(crate) text: String,
}

/// Reads a file as far as it goes; returns the warnings.
pub(crate) fn load(bytes: Vec<u8>) -> Result<Vec<String>, Refusal> {
    let gguf = Gguf::from_bytes(bytes.into()).map_err(|e| {
        let hint = e.hint().map_or(String::new(), |hint| format!("\nhint: {hint}"));
        Refusal { door: Door::File, text: format!("{e}{hint}") }
    })?;
    let model = Model::bind(&gguf).map_err(|e| Refusal { door: Door::Model, text: e.to_string() })?;
    let of_file = gguf.warnings().iter().map(ToString::to_string);
    Ok(of_file.chain(model.unused_tensors().iter().map(|name| format!("{name} is not used"))).collect())
}

#[derive(Clone)]
pub(crate) struct Row {
    /// As the contract numbers it.
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) make: fn(RawGguf) -> Vec<u8>,
    answer: Answer,
}

#[derive(Clone)]
pub(crate) enum Answer {
    Loads,
    /// Loads, with one warning that contains this.
    Warns(&'static str),
    /// Refused with a message that names the field, the place, and all of these facts.
    Refused(Door, &'static str, At, &'static [&'static str]),
}

/// Where a message points.
#[derive(Clone, Copy)]
pub(crate) enum At {
    Byte(u64),
    /// At some byte of the file.
    SomeByte,
    /// At none: what is missing has no place.
    NoByte,
}

pub(crate) use Answer::{Loads, Refused, Warns};
pub(crate) use At::{Byte, NoByte, SomeByte};

pub(crate) fn row(id: &'static str, what: &'static str, make: fn(RawGguf) -> Vec<u8>, answer: Answer) -> Row {
    Row { id, what, make, answer }
}

pub(crate) fn file(field: &'static str, at: At, facts: &'static [&'static str]) -> Answer {
    Refused(Door::File, field, at, facts)
}

pub(crate) fn model(field: &'static str, at: At, facts: &'static [&'static str]) -> Answer {
    Refused(Door::Model, field, at, facts)
}

impl Row {
    pub(crate) fn judge(&self, answer: Result<Vec<String>, Refusal>, file_bytes: u64) -> Result<(), String> {
        match (&self.answer, answer) {
            (Loads, Ok(warnings)) if warnings.is_empty() => Ok(()),
            (Warns(text), Ok(warnings)) if warnings.len() == 1 && warnings[0].contains(text) => Ok(()),
            (Loads | Warns(_), Ok(warnings)) => Err(format!("loads with {warnings:?}")),
            (Loads | Warns(_), Err(refusal)) => Err(format!("refused: {}", refusal.text)),
            (Refused(..), Ok(warnings)) => Err(format!("was accepted with {warnings:?}")),
            (&Refused(door, field, at, facts), Err(refusal)) => {
                let text = &refusal.text;
                let said = match at {
                    NoByte => text.contains(&format!("{field}: ")),
                    Byte(n) => text.contains(&format!("{field} at {n}: ")),
                    SomeByte => some_byte(text, field).is_some_and(|n| n < file_bytes),
                };
                let missing = facts.iter().find(|fact| !text.contains(**fact));
                match missing {
                    _ if refusal.door != door => Err(format!("refused as a {:?}: {text}", refusal.door)),
                    _ if !said => Err(format!("does not say `{field}` and where: {text}")),
                    Some(fact) => Err(format!("does not say `{fact}`: {text}")),
                    None => Ok(()),
                }
            }
        }
    }
}

/// The number in `FIELD at NUMBER: `.
fn some_byte(text: &str, field: &str) -> Option<u64> {
    let rest = text.split_once(&format!("{field} at "))?.1;
    rest.split_once(": ")?.0.parse().ok()
}

/// Puts the key `x` second.
pub(crate) fn second(mut file: RawGguf, value: impl Into<RawValue>) -> Vec<u8> {
    file.entries.insert(1, RawEntry::new("x", value));
    file.bytes()
}

/// Puts a key first.
pub(crate) fn first_key(mut file: RawGguf, key: &[u8], key_len: Option<u64>) -> Vec<u8> {
    file.entries.insert(0, RawEntry { key_len, ..RawEntry::new(key, 1_u32) });
    file.bytes()
}

pub(crate) fn with(mut file: RawGguf, key: &str, value: impl Into<RawValue>) -> Vec<u8> {
    file.set(key, value);
    file.bytes()
}

/// Changes the first tensor.
pub(crate) fn first_tensor(mut file: RawGguf, change: impl FnOnce(&mut RawTensor)) -> Vec<u8> {
    change(&mut file.tensors[0]);
    file.bytes()
}
