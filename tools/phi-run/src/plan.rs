//! How much memory a model takes, and whether there is so much: nothing is loaded.

mod answer;
mod args;
mod json;
mod svg;
mod table;
mod verify;

use std::path::Path;

use phi_cli::{Align, Exit, Io, Report, Size, Table};
use phi_convert::Rule;
use phi_plan::{Asked, Budget, Card, Device, Error, Need, Quant, Subject, Verdict, fit};
use phi_runtime::{Bytes, Gguf};

pub(crate) use args::PlanArgs;

use crate::embedded::PHI_TINY;
use crate::named::named;
use crate::{job, report};

const MIB: f64 = (1 << 20) as f64;

/// A model, what is asked of it, and what there is.
struct Question {
    subject: Subject,
    asked: Asked,
    budget: Budget,
    card: Option<Card>,
}

pub(crate) fn plan(typed: &PlanArgs, io: &mut Io) -> Result<(), Report> {
    if typed.device.as_deref() == Some("list") {
        return devices(io);
    }
    let device = typed.device.as_deref().map(find_device).transpose()?;
    let budget = budget(typed, device);
    let vram = typed.vram.map(|size| size.0).or(device.and_then(|device| device.vram_gib).map(|gib| gib << 30));
    let models: Vec<_> = typed.models.iter().chain(&typed.model_flag).map(|path| Some(path.as_path())).collect();
    let models = if models.is_empty() { vec![None] } else { models };
    let mut refused = None;
    let mut objects = Vec::new();
    for (i, model) in models.iter().enumerate() {
        if typed.verify {
            verify::verify(*model, typed, io)?;
            continue;
        }
        let (subject, asked) = subject(*model, typed)?;
        let card = vram.map(|bytes| Card { bytes });
        let question = Question { subject, asked, budget: budget.clone(), card };
        let of = |e: Error| of_plan(e, &question.subject.name);
        if let Some(path) = &typed.svg {
            let drawing = svg::draw(&question).map_err(of)?;
            std::fs::write(path, drawing).map_err(|e| Report::new("cannot write").file(path).causes(Some(&e)))?;
        } else if let Some(format) = typed.table {
            io.print(table::whole(&question, format).map_err(of)?)?;
        } else if typed.json {
            objects.push(json::object(&question).map_err(of)?);
        } else {
            if i > 0 {
                io.print("\n")?;
            }
            io.print(answer::text(&question, typed.verbose).map_err(of)?)?;
        }
        let need = question.subject.need(&question.asked).map_err(of)?;
        if need.verdict(question.budget.bytes) == Verdict::No {
            refused = Some(does_not_fit(&question, &need).map_err(of)?);
        }
    }
    match objects.as_slice() {
        [] => {}
        [object] => io.print(format_args!("{object}\n"))?,
        all => io.print(format_args!("{}\n", serde_json::Value::from(all)))?,
    }
    // What is drawn or listed for documentation is no question.
    let asks = typed.table.is_none() && typed.svg.is_none() && !typed.verify;
    refused.filter(|_| asks).map_or(Ok(()), Err)
}

/// The refusal, with the cheapest remedy.
fn does_not_fit(question: &Question, need: &Need) -> Result<Report, Error> {
    let Question { subject, asked, budget, .. } = question;
    let (total, available) = (spaced(mib(need.total())), spaced(budget.bytes >> 20));
    let report = Report::new(format_args!("needs {total} MiB, of {available} MiB available ({})", budget.from));
    let remedy = match fit::cheapest(subject, asked, budget.bytes)? {
        Some(change) => format!("{} fits, with {} MiB", change.options, spaced(mib(change.need.total()))),
        None => "nothing makes it fit: a smaller model would".into(),
    };
    Ok(report.file(&subject.name).exit(Exit::DoesNotFit).hint(remedy))
}

/// The model, and the run that is asked for.
fn subject(model: Option<&Path>, typed: &PlanArgs) -> Result<(Subject, Asked), Report> {
    let failed = |e: Error| of_plan(e, &model.map_or("phi-tiny".into(), |path| path.display().to_string()));
    let (subject, tag) = match model {
        None => {
            let file = Gguf::from_bytes(Bytes::new(PHI_TINY)).map_err(|e| failed(e.into()))?;
            (Subject::of_gguf(&file, "phi-tiny").map_err(failed)?, None)
        }
        Some(path) => match named(path)? {
            Some(named) => (Subject::config(named.config, &named.name, named.source).map_err(failed)?, named.tag),
            None => (Subject::gguf(path).map_err(failed)?, None),
        },
    };
    let quant = match (tag.map(Quant::of).unwrap_or_else(|| subject.usual()), typed.rule) {
        (Quant::Mix(file_type, _), args::RuleArg::Classic) => Quant::Mix(file_type, Rule::Classic),
        (quant, _) => quant,
    };
    let run = job::run_options(&typed.run)?;
    Ok((subject, Asked { quant, run, sequences: typed.seqs.max(1) }))
}

/// What there is: as typed, as the device has, or as the system says.
fn budget(typed: &PlanArgs, device: Option<Device>) -> Budget {
    let bandwidth = device.map(|device| device.gb_per_s * 1e9);
    if let Some(Size(bytes)) = typed.ram {
        return Budget { bytes, from: "--ram".into(), bandwidth };
    }
    if let Some(device) = device {
        return Budget { bytes: device.ram_mib << 20, from: device.what.into(), bandwidth };
    }
    crate::memory::available()
}

fn find_device(name: &str) -> Result<Device, Report> {
    Device::find(name).ok_or_else(|| {
        let names: Vec<_> = Device::ALL.iter().map(|device| device.name).collect();
        Report::misuse(format_args!("--device: `{name}` is not known")).hint(names.join(", "))
    })
}

fn devices(io: &mut Io) -> Result<(), Report> {
    let mut table = Table::new([
        ("device", Align::Left),
        ("memory left", Align::Right),
        ("card", Align::Right),
        ("GB/s, assumed", Align::Right),
        ("what", Align::Left),
    ]);
    for d in Device::ALL {
        let card = d.vram_gib.map_or(String::new(), |gib| format!("{gib} GiB"));
        table.row([d.name.into(), format!("{} MiB", d.ram_mib), card, d.gb_per_s.to_string(), d.what.into()]);
    }
    Ok(io.print(table)?)
}

/// A failure to plan, in the words of the tools.
fn of_plan(error: Error, name: &str) -> Report {
    match error {
        Error::Gguf(e) => report::of(&(*e).into()).file(name),
        Error::Model(e) => report::of(&(*e).into()).file(name),
        Error::Runtime(e) => report::of(&e).file(name),
        Error::Convert(e) => report::of_folder(*e),
        Error::Unknown(_) => Report::of(&error),
    }
}

/// Whole mebibytes, rounded up: what is said to fit does.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// A number with spaces between its thousands.
fn spaced(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}
