//! Runs a chat template that may have been written to harm.
//!
//! The engine bounds steps and recursion. It does not bound what one step makes: `a ~ a` doubles, and sixty-four of them
//! make 2⁶⁴ characters. So the compiled template is rewritten before it runs: every step that makes text or lists becomes
//! a call of a function here, which pays from one purse for the bytes before it makes them; every loop, and every step
//! that may take long, looks at the clock; and what is stored is never nested more deeply than dropping it can bear.
//!
//! What remains: between two looks at the clock one step works on at most [`MAX_TEXT`] bytes, and constants are computed
//! while compiling (bounded by `lint` to a hundred times the source).

use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use minijinja::machinery::{self, CodeGenerator, Instruction, Instructions};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use serde::Serialize;

use crate::error::{Position, TextError};
use crate::lint;

/// Whether the engine can compile the source.
pub(crate) fn check(source: &str) -> Result<(), TextError> {
    lint::check(source)?;
    on_thread(|| compile(source).map(drop).map_err(|e| convert(e, source)))
}

/// What the template makes of the variables.
pub(crate) fn render(source: &str, variables: &Value) -> Result<String, TextError> {
    on_thread(|| {
        let instructions = compile(source).map_err(|e| convert(e, source))?;
        let env = environment(source);
        let blocks = Default::default();
        let mut text = String::new();
        let mut out = machinery::make_string_output(&mut text);
        let ran = machinery::eval(&env, &instructions, variables.clone(), &blocks, &mut out, AutoEscape::None);
        ran.map(drop).map_err(|e| convert(e, source))?;
        if text.len() > MAX_TEXT {
            return Err(TextError::TemplateOutput { max: MAX_TEXT });
        }
        Ok(text)
    })
}

/// The engine recurses where templates nest: on a stack of known size.
fn on_thread<T: Send>(work: impl FnOnce() -> Result<T, TextError> + Send) -> Result<T, TextError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("chat-template".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work).map_err(TextError::TemplateThread)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn compile(source: &str) -> Result<Instructions<'_>, Error> {
    // As Hugging Face sets its engine.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    let tree = machinery::parse(source, NAME, syntax)?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&tree);
    let (instructions, _) = generator.finish();
    rewrite(&instructions, source)
}

/// The same program with meters.
fn rewrite<'s>(old: &Instructions<'s>, source: &'s str) -> Result<Instructions<'s>, Error> {
    let all: Vec<&Instruction<'s>> = (0..).map_while(|i| old.get(i)).collect();
    let with_meters: Vec<Vec<Instruction<'s>>> =
        all.iter().enumerate().map(|(i, step)| metered(step, all.get(i + 1).copied())).collect();
    // Where each old step now begins.
    let starts: Vec<u32> = with_meters
        .iter()
        .scan(0, |next, steps| {
            let start = *next;
            *next += steps.len() as u32;
            Some(start)
        })
        .collect();
    let end: u32 = with_meters.iter().map(|steps| steps.len() as u32).sum();
    let moved = |target: u32| starts.get(target as usize).copied().unwrap_or(end);
    let mut new = Instructions::new(NAME, source);
    for (i, steps) in (0..).zip(with_meters) {
        for step in steps {
            let step = match step {
                Instruction::Iterate(to) => Instruction::Iterate(moved(to)),
                Instruction::Jump(to) => Instruction::Jump(moved(to)),
                Instruction::JumpIfFalse(to) => Instruction::JumpIfFalse(moved(to)),
                Instruction::JumpIfFalseOrPop(to) => Instruction::JumpIfFalseOrPop(moved(to)),
                Instruction::JumpIfTrueOrPop(to) => Instruction::JumpIfTrueOrPop(moved(to)),
                Instruction::BuildMacro(name, to, flags) => Instruction::BuildMacro(name, moved(to), flags),
                other => other,
            };
            match (old.get_span(i), old.get_line(i)) {
                (Some(span), _) => new.add_with_span(step, span),
                (None, Some(line)) => new.add_with_line(step, u16::try_from(line).unwrap_or(u16::MAX)),
                (None, None) => new.add(step),
            };
        }
    }
    Ok(new)
}

/// One step with its meter. No template can name these functions: their names are no words.
fn metered<'s>(step: &Instruction<'s>, next: Option<&Instruction<'s>>) -> Vec<Instruction<'s>> {
    let clock = || [Instruction::CallFunction(CLOCK, Some(0)), Instruction::DiscardTop];
    match step {
        // Text outside of tags is counted like any other output.
        Instruction::EmitRaw(text) => vec![Instruction::LoadConst(Value::from(*text)), Instruction::Emit],
        Instruction::StringConcat => vec![Instruction::CallFunction(CONCAT, Some(2))],
        Instruction::Add => vec![Instruction::CallFunction(ADD, Some(2))],
        Instruction::Mul => vec![Instruction::CallFunction(MUL, Some(2))],
        Instruction::StoreLocal(_) => vec![Instruction::CallFunction(STORE, Some(1)), step.clone()],
        // `set ns.x`: the value lies on the stack while its owner is looked up.
        Instruction::Lookup(_) if matches!(next, Some(Instruction::SetAttr(_))) => {
            vec![Instruction::CallFunction(STORE_IN, Some(1)), step.clone()]
        }
        // A filter of a list may turn its characters or its lazy items into a list of values.
        Instruction::ApplyFilter(name, Some(1), _) if !OF_TEXT.contains(name) => {
            vec![Instruction::CallFunction(ITEMS, Some(1)), step.clone()]
        }
        Instruction::Iterate(_)
        | Instruction::Slice
        | Instruction::In
        | Instruction::Eq
        | Instruction::Ne
        | Instruction::Lt
        | Instruction::Lte
        | Instruction::Gt
        | Instruction::Gte
        | Instruction::CompareAndPreserve(_)
        | Instruction::ApplyFilter(..)
        | Instruction::PerformTest(..)
        | Instruction::CallMethod(..) => clock().into_iter().chain([step.clone()]).collect(),
        other => vec![(*other).clone()],
    }
}

/// What one rendering may still use.
struct Meter {
    purse: AtomicUsize,
    deadline: Instant,
}

impl Meter {
    fn pay(&self, bytes: usize) -> Result<(), Error> {
        let paid = self.purse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |purse| purse.checked_sub(bytes));
        if paid.is_err() || bytes > MAX_TEXT {
            return Err(Stop::Output.into());
        }
        self.clock()
    }

    fn clock(&self) -> Result<(), Error> {
        if Instant::now() > self.deadline { Err(Stop::Steps.into()) } else { Ok(()) }
    }

    /// Text of values one behind the other, paid for as it grows.
    fn text<'v>(&self, values: impl IntoIterator<Item = &'v Value>) -> Result<String, Error> {
        let mut text = Capped { text: String::new(), left: MAX_TEXT.min(self.purse.load(Ordering::Relaxed)) };
        for value in values {
            text.value(value).map_err(|_| Stop::Output)?;
        }
        self.pay(text.text.len())?;
        Ok(text.text)
    }
}

/// Why a rendering was stopped.
#[derive(Debug)]
enum Stop {
    Output,
    Steps,
    Depth,
    Raised(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Stop {}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Error {
        Error::from(ErrorKind::InvalidOperation).with_source(stop)
    }
}

/// Text that stops growing.
struct Capped {
    text: String,
    left: usize,
}

impl Capped {
    /// As Python prints values.
    fn value(&mut self, value: &Value) -> fmt::Result {
        match (value.as_str(), value.kind()) {
            (Some(text), _) => self.write_str(text),
            (None, ValueKind::None) => self.write_str("None"),
            (None, ValueKind::Bool) => self.write_str(if value.is_true() { "True" } else { "False" }),
            _ => write!(self, "{value}"),
        }
    }
}

impl Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.text.push_str(text);
        Ok(())
    }
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn environment(source: &str) -> Environment<'_> {
    let meter = Arc::new(Meter { purse: AtomicUsize::new(MAX_MADE), deadline: Instant::now() + TIME });
    let mut env = Environment::new();
    env.set_debug(false);
    env.set_fuel(Some(MAX_STEPS));
    env.set_recursion_limit(MAX_CALLS * FRAMES_PER_CALL);
    for name in [
        "format",
        "indent",
        "batch",
        "slice",
        "pprint",
        "urlencode",
        "groupby",
        "zip",
        "chain",
        "sort",
        "unique",
        "lines",
        "sum",
    ] {
        env.remove_filter(name);
    }
    env.remove_global("debug");

    let m = meter.clone();
    env.set_formatter(move |out, _, value| {
        let text = m.text([value])?;
        out.write_str(&text).map_err(Error::from)
    });
    let m = meter.clone();
    env.add_function(CLOCK, move || m.clock());
    let m = meter.clone();
    env.add_function(CONCAT, move |a: &Value, b: &Value| m.text([a, b]));
    let m = meter.clone();
    env.add_function(ADD, move |a: &Value, b: &Value| add(&m, a, b));
    let m = meter.clone();
    env.add_function(MUL, move |a: &Value, b: &Value| multiply(&m, a, b));
    let m = meter.clone();
    env.add_function(STORE, move |value: Value| stored(&m, value, true));
    let m = meter.clone();
    env.add_function(STORE_IN, move |value: Value| stored(&m, value, false));
    let m = meter.clone();
    env.add_function(ITEMS, move |value: Value| items(&m, value));
    let m = meter.clone();
    env.add_filter("string", move |value: &Value| m.text([value]));
    let m = meter.clone();
    env.add_filter("split", move |state: &mut State<'_, '_>, text: &Value, args: Rest<Value>| {
        call_method(&m, state, text, "split", &args)
    });
    let m = meter.clone();
    env.add_filter("join", move |values: &Value, by: Option<&str>| join(&m, values, by.unwrap_or_default()));
    let m = meter.clone();
    env.add_filter("replace", move |text: &str, old: &str, new: &str| replace(&m, text, old, new, None));
    let m = meter.clone();
    env.add_filter("tojson", move |value: &Value, options: Kwargs| to_json(&m, value, &options));
    let m = meter.clone();
    env.set_unknown_method_callback(move |state, value, method, args| call_method(&m, state, value, method, args));

    env.add_function("range", range);
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Stop::Raised(message).into())
    });
    if source.contains("strftime_now") {
        env.add_function("strftime_now", |format: &str| crate::clock::now(format));
    }
    env
}

fn add(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    let list = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if a.as_str().is_some() && b.as_str().is_some() {
        return meter.text([a, b]).map(Value::from);
    }
    if list(a) && list(b) {
        let mut both = collect(meter, a)?;
        both.extend(collect(meter, b)?);
        return if both.len() > MAX_ITEMS { Err(Stop::Output.into()) } else { Ok(Value::from(both)) };
    }
    arithmetic(a, b, "+", i64::checked_add, |a, b| a + b)
}

fn multiply(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    let (repeated, times) = if b.as_i64().is_none() { (b, a) } else { (a, b) };
    let times_of = |times: &Value| usize::try_from(times.as_i64().unwrap_or(0).max(0)).unwrap_or(usize::MAX);
    if let Some(text) = repeated.as_str() {
        let times = times_of(times);
        meter.pay(text.len().saturating_mul(times))?;
        return Ok(Value::from(text.repeat(times)));
    }
    if matches!(repeated.kind(), ValueKind::Seq | ValueKind::Iterable) {
        let (items, times) = (collect(meter, repeated)?, times_of(times));
        if items.len().saturating_mul(times) > MAX_ITEMS {
            return Err(Stop::Output.into());
        }
        return Ok(Value::from(std::iter::repeat_n(items, times).flatten().collect::<Vec<_>>()));
    }
    arithmetic(a, b, "*", i64::checked_mul, |a, b| a * b)
}

fn arithmetic(
    a: &Value,
    b: &Value,
    sign: &str,
    whole: fn(i64, i64) -> Option<i64>,
    real: fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        let result = whole(a, b).map(Value::from);
        return result.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "number too large"));
    }
    match (f64::try_from(a.clone()), f64::try_from(b.clone())) {
        (Ok(a), Ok(b)) => Ok(Value::from(real(a, b))),
        _ => {
            let kinds = format!("cannot compute {} {sign} {}", a.kind(), b.kind());
            Err(Error::new(ErrorKind::InvalidOperation, kinds))
        }
    }
}

fn collect(meter: &Meter, list: &Value) -> Result<Vec<Value>, Error> {
    let mut items = Vec::new();
    for item in list.try_iter()? {
        if items.len() == MAX_ITEMS {
            return Err(Stop::Output.into());
        }
        meter.pay(size_of::<Value>())?;
        items.push(item);
    }
    Ok(items)
}

/// A value fit to be kept: lists that are not yet made are made, and none is nested too deeply. A namespace is kept in
/// a variable only, since in itself or in another it could become a circle.
fn stored(meter: &Meter, value: Value, in_variable: bool) -> Result<Value, Error> {
    let value = match value.kind() {
        ValueKind::Iterable => Value::from(collect(meter, &value)?),
        _ => value,
    };
    if !(in_variable && is_namespace(&value)) {
        check_depth(meter, &value, 0)?;
    }
    Ok(value)
}

/// A value of which a list of values may be made.
fn items(meter: &Meter, value: Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) if text.len() > MAX_ITEMS => Err(Stop::Output.into()),
        None if value.kind() == ValueKind::Iterable => collect(meter, &value).map(Value::from),
        _ => meter.clock().map(|()| value),
    }
}

fn check_depth(meter: &Meter, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_NESTED || is_namespace(value) {
        return Err(Stop::Depth.into());
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in object.try_iter().into_iter().flatten() {
                meter.pay(size_of::<Value>())?;
                check_depth(meter, &item, depth + 1)?;
            }
        }
        ValueKind::Map => {
            for (_, item) in object.try_iter_pairs().into_iter().flatten() {
                meter.pay(size_of::<Value>())?;
                check_depth(meter, &item, depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"))
}

fn join(meter: &Meter, values: &Value, by: &str) -> Result<String, Error> {
    let by = Value::from(by);
    let items = collect(meter, values)?;
    meter.text(items.iter().enumerate().flat_map(|(i, item)| [(i > 0).then_some(&by), Some(item)]).flatten())
}

fn replace(meter: &Meter, text: &str, old: &str, new: &str, count: Option<usize>) -> Result<String, Error> {
    let found = text.matches(old).take(count.unwrap_or(usize::MAX)).count();
    meter.pay(text.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, found))
}

fn call_method(
    meter: &Meter,
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (value.as_str(), method) {
        (Some(by), "join") => {
            let (values,): (&Value,) = minijinja::value::from_args(args)?;
            join(meter, values, by).map(Value::from)
        }
        (Some(text), "replace") => {
            let (old, new, count): (&str, &str, Option<i64>) = minijinja::value::from_args(args)?;
            replace(meter, text, old, new, count.and_then(|count| usize::try_from(count).ok())).map(Value::from)
        }
        (Some(_), "format") => Err(Error::from(ErrorKind::UnknownMethod)),
        (Some(text), _) => {
            let pieces = match (method, args.first().and_then(|by| by.as_str())) {
                ("split" | "splitlines", Some(by)) => text.matches(by).count(),
                ("split" | "splitlines", None) => text.matches(char::is_whitespace).count(),
                _ => 0,
            };
            meter.pay(text.len().saturating_add(pieces.saturating_mul(size_of::<Value>())))?;
            minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// Numbers, of which the steps will not see the end if there are too many.
fn range(first: i64, end: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (start, end) = end.map_or((0, first), |end| (first, end));
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "range with step 0"));
    }
    let mut numbers = Vec::new();
    let mut at = start;
    while if step > 0 { at < end } else { at > end } {
        if numbers.len() == MAX_ITEMS {
            return Err(Stop::Steps.into());
        }
        numbers.push(Value::from(at));
        at = at.saturating_add(step);
    }
    Ok(Value::from(numbers))
}

/// As Python's `json.dumps(value, ensure_ascii=False)` writes it.
fn to_json(meter: &Meter, value: &Value, options: &Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    for ignored in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<Value> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    check_depth(meter, value, 0)?;
    let mut text = Capped { text: String::new(), left: MAX_TEXT.min(meter.purse.load(Ordering::Relaxed)) };
    let written = match indent {
        Some(indent) => {
            let indent = " ".repeat(indent.min(16));
            let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, pretty))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Spaced)),
    };
    written
        .map_err(|error| if error.is_io() { Stop::Output.into() } else { Error::from(ErrorKind::BadSerialization) })?;
    meter.pay(text.text.len())?;
    Ok(Value::from(text.text))
}

/// A space behind each comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

fn convert(error: Error, source: &str) -> TextError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        match current.downcast_ref::<Stop>() {
            Some(Stop::Output) => return TextError::TemplateOutput { max: MAX_TEXT },
            Some(Stop::Steps) => return TextError::TemplateSteps,
            Some(Stop::Depth) => return TextError::TemplateValue { max: MAX_NESTED },
            Some(Stop::Raised(message)) => {
                return TextError::TemplateRaised { message: phi_gguf::printable(message.as_bytes()) };
            }
            None => {}
        }
        if let Some(engine) = current.downcast_ref::<Error>() {
            if engine.kind() == ErrorKind::OutOfFuel {
                return TextError::TemplateSteps;
            }
            if engine.detail().is_some_and(|detail| detail.contains("recursion limit")) {
                return TextError::TemplateRecursion { max: MAX_CALLS };
            }
        }
        cause = current.source();
    }
    let by_range = error.range().map(|range| lint::position(source, range.start));
    let at = by_range.or_else(|| error.line().map(|line| Position { line, column: 1 }));
    TextError::Template { at, source: Box::new(error) }
}

const NAME: &str = "chat_template";
const CLOCK: &str = "(clock)";
const CONCAT: &str = "(~)";
const ADD: &str = "(+)";
const MUL: &str = "(*)";
const STORE: &str = "(=)";
const STORE_IN: &str = "(.=)";
const ITEMS: &str = "(items)";

/// Filters that make one text of a text.
const OF_TEXT: [&str; 12] =
    ["trim", "upper", "lower", "title", "capitalize", "length", "count", "string", "tojson", "safe", "escape", "e"];

/// Steps of one rendering: a message takes some fifty.
const MAX_STEPS: u64 = 1_000_000;
/// Macros in macros.
const MAX_CALLS: usize = 64;
/// What the engine counts for the call of a macro.
const FRAMES_PER_CALL: usize = 6;
/// Bytes of one text, and of the output.
const MAX_TEXT: usize = 16 << 20;
/// Bytes of all texts and lists that one rendering makes.
const MAX_MADE: usize = 64 << 20;
/// Entries of a list.
const MAX_ITEMS: usize = 100_000;
/// Lists in lists, of what is kept in variables.
const MAX_NESTED: usize = 32;
/// Far beyond any honest rendering, which takes milliseconds.
const TIME: Duration = Duration::from_secs(2);
/// Reserved, not used: the deepest nesting that passes takes a few of these in a debug build.
const STACK_BYTES: usize = 16 << 20;
