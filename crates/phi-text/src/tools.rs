//! Tools that a model may call, and its calls.
//!
//! Tools go into the system turn as a JSON list, written as Python's `json.dumps` does, which is what the models were
//! trained on. Nothing else of the JSON is touched: the order of keys, the spelling of numbers and escapes stay.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{CallProblem, TextError};
use crate::sections::{CALL, LIST, Section, Sections};

/// Tools that a model may call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tools {
    json: String,
    names: Vec<String>,
}

/// A call of a tool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolCall {
    /// The tool. A model may make one up.
    pub name: String,
    /// A JSON object, as the model wrote it.
    pub arguments: String,
}

impl Tools {
    /// From a JSON list of functions, each alone (`{"name": …}`) or as OpenAI wraps them (`{"type": "function",
    /// "function": {"name": …}}`). The model gets them alone.
    pub fn parse(text: &str) -> Result<Tools, TextError> {
        if text.len() > MAX_BYTES {
            return Err(TextError::ToolsSize { got: text.len(), max: MAX_BYTES });
        }
        let list: Vec<&RawValue> = serde_json::from_str(text).map_err(TextError::Tools)?;
        if list.len() > MAX_TOOLS {
            return Err(TextError::ToolsCount { got: list.len(), max: MAX_TOOLS });
        }
        let mut tools = Tools { json: "[".into(), names: Vec::new() };
        for (index, tool) in list.into_iter().enumerate() {
            let wrong = |source| TextError::Tool { index, source };
            let function = serde_json::from_str::<Wrapped<'_>>(tool.get()).map_err(wrong)?.function.unwrap_or(tool);
            let Named { name } = serde_json::from_str(function.get()).map_err(wrong)?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(plain) {
                return Err(TextError::ToolName { index, name: phi_gguf::printable(name.as_bytes()) });
            }
            if index > 0 {
                tools.json += ", ";
            }
            write_spaced(function.get(), &mut tools.json);
            tools.names.push(name.into_owned());
        }
        tools.json += "]";
        Ok(tools)
    }

    /// The list, for [`Message::tools`](crate::Message::tools).
    pub fn json(&self) -> &str {
        &self.json
    }

    /// What they are called, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

#[derive(Deserialize)]
struct Wrapped<'j> {
    #[serde(borrow, default)]
    function: Option<&'j RawValue>,
}

#[derive(Deserialize)]
struct Named<'j> {
    #[serde(borrow)]
    name: Cow<'j, str>,
}

/// A call in the model's own words.
#[derive(Deserialize)]
struct Written<'j> {
    #[serde(borrow)]
    name: Cow<'j, str>,
    #[serde(borrow)]
    arguments: &'j RawValue,
}

/// Some JSON with a space behind each comma and colon, and no other blank outside of strings.
fn write_spaced(json: &str, out: &mut String) {
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        match c {
            _ if in_string => {
                in_string = escaped || c != '"';
                escaped = !escaped && c == '\\';
                out.push(c);
            }
            ' ' | '\t' | '\n' | '\r' => {}
            ',' | ':' => out.extend([c, ' ']),
            _ => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
}

/// The calls in an answer: `<|tool_call|>[{"name": …, "arguments": {…}}]<|/tool_call|>`, a single call without its list,
/// or `functools[…]`. Text around them is no error. Arguments may be an object, or its JSON as a string.
///
/// * `thinking`: whether the prompt already opened the model's thinking; what is thought is not called
pub fn tool_calls(answer: &str, thinking: bool) -> Result<Vec<ToolCall>, TextError> {
    let mut sections = Sections::new(thinking);
    let pieces = sections.push(answer);
    let mut calls = Vec::new();
    let mut at = 0;
    for (section, text) in pieces.into_iter().chain(sections.finish()) {
        if section == Section::ToolCall {
            for (offset, block) in blocks(&text) {
                read_block(block, at + offset, &mut calls)?;
            }
        }
        at += text.len();
    }
    Ok(calls)
}

/// The JSON texts of a stretch of calls, with their places.
fn blocks(stretch: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = stretch;
    std::iter::from_fn(move || {
        let blank = rest.len() - rest.trim_start().len();
        rest = &rest[blank..];
        if rest.starts_with(LIST) {
            // It ends with its own bracket, and so does the stretch.
            let at = stretch.len() - rest.len() + LIST.len() - 1;
            return Some((at, &std::mem::take(&mut rest)[LIST.len() - 1..]));
        }
        let inside = rest.strip_prefix(CALL[0])?;
        let at = stretch.len() - inside.len();
        // Where the closing mark is missing, the end of the turn came first.
        let (block, after) = inside.split_once(CALL[1]).unwrap_or((inside, ""));
        rest = after;
        Some((at, block))
    })
}

fn read_block(block: &str, at: usize, calls: &mut Vec<ToolCall>) -> Result<(), TextError> {
    let wrong = |problem| TextError::ToolCall { at, problem };
    if block.len() > MAX_BYTES {
        return Err(wrong(CallProblem::Size { got: block.len(), max: MAX_BYTES }));
    }
    let json = |e: serde_json::Error| {
        wrong(if e.is_eof() { CallProblem::CutOff } else { CallProblem::Json(e.to_string().into()) })
    };
    let list: Vec<&RawValue> = if block.trim_start().starts_with('{') {
        vec![serde_json::from_str(block).map_err(json)?]
    } else {
        serde_json::from_str(block).map_err(json)?
    };
    if calls.len() + list.len() > MAX_TOOLS {
        return Err(wrong(CallProblem::Count { max: MAX_TOOLS }));
    }
    for call in list {
        let Written { name, arguments } = serde_json::from_str(call.get()).map_err(json)?;
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(wrong(CallProblem::Name));
        }
        let arguments = match serde_json::from_str::<String>(arguments.get()) {
            Ok(quoted) => serde_json::from_str::<&RawValue>(&quoted).map_err(json)?.get().to_string(),
            Err(_) => arguments.get().to_string(),
        };
        if !arguments.starts_with('{') {
            return Err(wrong(CallProblem::Arguments));
        }
        calls.push(ToolCall { name: name.into_owned(), arguments });
    }
    Ok(())
}

/// Bytes of a list of tools, and of one stretch of calls.
const MAX_BYTES: usize = 1 << 20;
/// Tools of a list, and calls of an answer.
const MAX_TOOLS: usize = 1024;
/// Bytes of a tool's name. OpenAI allows 64.
const MAX_NAME_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_become_what_models_were_trained_on() {
        let bare = r#"[{"name":"f","b":1.0,"a":{"x":"a,b: \"c\\","y":[1,2e3,{}]}},{"name":"g-2.h_"}]"#;
        let want = r#"[{"name": "f", "b": 1.0, "a": {"x": "a,b: \"c\\", "y": [1, 2e3, {}]}}, {"name": "g-2.h_"}]"#;
        let tools = Tools::parse(bare).unwrap();
        assert_eq!((tools.json(), tools.names()), (want, &["f".to_string(), "g-2.h_".into()][..]));
        let wrapped =
            bare.replace(r#"{"name":"f""#, "{\"type\": \"function\",\n\t\"function\" : {\"name\" :\r\n \"f\"");
        let wrapped = wrapped.replace("{}]}}", "{}]}}}");
        assert_eq!(Tools::parse(&wrapped).unwrap(), tools);
        assert_eq!(Tools::parse(want).unwrap(), tools, "what is written is read");
        assert_eq!(Tools::parse(" [ ] ").unwrap().json(), "[]");
    }

    #[test]
    fn lists_that_are_none_have_their_answer() {
        let many = format!("[{}]", vec![r#"{"name":"f"}"#; 1025].join(","));
        let deep = format!(r#"[{{"name":"f","a":{}"#, "[".repeat(500_000));
        let large = " ".repeat((1 << 20) + 1);
        let cases: &[(&str, &str)] = &[
            ("", "tools: not a JSON list of functions"),
            (r#"{"name":"f"}"#, "tools: not a JSON list of functions"),
            ("[1]", "tools[0]: not a function with a name"),
            (r#"[{"name":"f"},{"description":"x"}]"#, "tools[1]: not a function with a name"),
            (r#"[{"type":"function","function":{}}]"#, "tools[0]: not a function with a name"),
            (r#"[{"type":"function","function":7}]"#, "tools[0]: not a function with a name"),
            (r#"[{"name":7}]"#, "tools[0]: not a function with a name"),
            (r#"[{"name":""}]"#, r#"tools[0]: name "" is not a plain word"#),
            (r#"[{"name":"f\n<|end|>"}]"#, "tools[0]: name "),
            (&many, "tools: 1025 exceed 1024"),
            (&deep, "tools: not a JSON list of functions"),
            (&large, "tools: 1048577 bytes exceed 1048576"),
        ];
        for (text, want) in cases {
            let error = Tools::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(want), "{}: {error}", &text[..text.len().min(60)]);
        }
    }

    fn call(name: &str, arguments: &str) -> ToolCall {
        ToolCall { name: name.into(), arguments: arguments.into() }
    }

    #[test]
    fn calls_are_read() {
        let one = r#"[{"name": "get_weather", "arguments": {"city": "Paris", "n": 1.50}}]"#;
        let paris = call("get_weather", r#"{"city": "Paris", "n": 1.50}"#);
        let nested = r#"{"a": {"b": [{"c": "<|/tool_call"}, null]}, "q": "\"]}"}"#;
        for (answer, want) in [
            (format!("<|tool_call|>{one}<|/tool_call|>"), vec![paris.clone()]),
            (format!("Let me see. <|tool_call|>\n{one} \n<|/tool_call|> Done [1]."), vec![paris.clone()]),
            (format!("<think><|tool_call|>x</think> <|tool_call|>{one}<|/tool_call|>"), vec![paris.clone()]),
            // The turn ended before the mark.
            (format!("<|tool_call|>{one}"), vec![paris.clone()]),
            (format!("<|tool_call|>{}<|/tool_call|>", &one[1..one.len() - 1]), vec![paris.clone()]),
            (format!(" functools{one}"), vec![paris.clone()]),
            (format!("<think>functools</think>\nfunctools{one}, and so on"), vec![paris.clone()]),
            (
                format!("<|tool_call|>{one}<|/tool_call|>\n<|tool_call|>{one}<|/tool_call|>"),
                vec![paris.clone(), paris.clone()],
            ),
            (
                format!(
                    r#"<|tool_call|>[{{"arguments": {nested}, "name": "f", "id": 3}}, {{"name": "é", "arguments": {{}}}}]"#
                ),
                vec![call("f", nested), call("é", "{}")],
            ),
            (
                r#"<|tool_call|>[{"name": "f", "arguments": "{\"a\": \"b\"}"}]<|/tool_call|>"#.into(),
                vec![call("f", r#"{"a": "b"}"#)],
            ),
            ("<|tool_call|>[]<|/tool_call|>".into(), vec![]),
            ("no call, functools[1], <|/tool_call|>".into(), vec![]),
            (String::new(), vec![]),
        ] {
            assert_eq!(tool_calls(&answer, false).unwrap(), want, "{answer}");
        }
        let thought = format!("<|tool_call|>nonsense</think><|tool_call|>{one}<|/tool_call|>");
        assert_eq!(tool_calls(&thought, true).unwrap(), [paris]);
    }

    #[test]
    fn calls_that_are_none_have_their_answer() {
        let deep = format!("<|tool_call|>{}", "[".repeat(500_000));
        let deep_arguments = format!(r#"<|tool_call|>[{{"name":"f","arguments":{}"#, r#"{"a":"#.repeat(150_000));
        let many = format!("<|tool_call|>[{}]", vec![r#"{"name":"f","arguments":{}}"#; 1025].join(","));
        let long = format!("<|tool_call|>[{{\"name\":\"{}\",\"arguments\":{{}}}}]", "f".repeat(257));
        let cases: &[(&str, &str)] = &[
            ("<|tool_call|>", "cut off"),
            ("<|tool_call|><|/tool_call|>", "cut off"),
            (r#"<|tool_call|>[{"name": "f", "argum"#, "cut off"),
            (r#"functools[{"name": "f", "arguments": {"a": 1}"#, "cut off"),
            ("<|tool_call|>f(1)<|/tool_call|>", "no JSON list of calls: expected "),
            ("<|tool_call|>[1]<|/tool_call|>", "no JSON list of calls: invalid type"),
            ("functools[]]", ""),
            (r#"<|tool_call|>[{"arguments": {}}]<|/tool_call|>"#, "no JSON list of calls: missing field `name`"),
            (r#"<|tool_call|>[{"name": "f"}]<|/tool_call|>"#, "no JSON list of calls: missing field `arguments`"),
            (r#"<|tool_call|>[{"name": "", "arguments": {}}]<|/tool_call|>"#, "a name of 1 to 256 bytes"),
            (&long, "a name of 1 to 256 bytes"),
            (r#"<|tool_call|>[{"name": "f", "arguments": [1]}]<|/tool_call|>"#, "arguments are no JSON object"),
            (r#"<|tool_call|>[{"name": "f", "arguments": "[1]"}]<|/tool_call|>"#, "arguments are no JSON object"),
            (
                r#"<|tool_call|>[{"name": "f", "arguments": "x"}]<|/tool_call|>"#,
                "no JSON list of calls: expected value",
            ),
            (r#"<|tool_call|>[{"name": "f", "arguments": {}}] and<|/tool_call|>"#, "no JSON list of calls: trailing"),
            (&deep, "cut off"),
            (&deep_arguments, "cut off"),
            (&many, "more than 1024"),
        ];
        for (answer, want) in cases {
            match tool_calls(answer, false) {
                Ok(calls) => assert!(want.is_empty() && calls.is_empty(), "{answer}: {calls:?}"),
                Err(error) => {
                    let start: String = answer.chars().take(60).collect();
                    let error = error.to_string();
                    assert!(error.starts_with("tool call at byte ") && error.contains(want), "{start}: {error}");
                }
            }
        }
        let late = format!("Text. {}", r#"<|tool_call|>[{"name": "f"}]<|/tool_call|>"#);
        assert!(tool_calls(&late, false).unwrap_err().to_string().starts_with("tool call at byte 19: "));
    }
}
