//! What users and scripts see of phi-run: exit status, stdout, stderr. Run in this process, through the front door.

use phi_cli::Exit;
use phi_testkit::npy;
use phi_tests::models::{Converted, Oracle};
use phi_tests::programs::{Ran, phi_run};
use phi_tests::text;

#[test]
fn one_answer_and_only_the_answer_on_stdout() {
    let answer = phi_run(["-p", "What is 17 + 25?", "-t", "2"]);
    assert_eq!(answer.exit, Exit::Done, "{}", answer.err);
    assert!(
        answer.out.contains("42") && answer.out.ends_with('\n') && answer.out.lines().count() == 1,
        "{}",
        answer.out
    );
    let [plan, speed, memory]: [&str; 3] = answer.err.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(plan.starts_with("plan: weights 3.") && plan.contains("available"), "{}", answer.err);
    assert!(speed.contains("tokens/s") && memory.starts_with("memory: weights 3."), "{}", answer.err);
}

#[test]
fn the_same_text_for_any_number_of_threads() {
    let texts = ["1", "2", "3"]
        .map(|t| phi_run(["-p", "Tell me a story about a fox.", "-n", "40", "--temp", "0", "-t", t]).out);
    assert!(texts[0].len() > 40 && texts[0] == texts[1] && texts[1] == texts[2], "{texts:?}");
    let sampled =
        ["1", "2"].map(|t| phi_run(["-p", "Tell me a story.", "-n", "20", "--temp", "1", "-s", "7", "-t", t]).out);
    assert_eq!(sampled[0], sampled[1]);
}

#[test]
fn json_has_the_answer_and_its_figures() {
    let answer = phi_run(["-p", "What is 17 + 25?", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert!(json["text"].as_str().unwrap().contains("42"));
    assert_eq!(json["finish"], "stop");
    let buffers = json["buffer_bytes"].as_u64().unwrap();
    assert!(buffers > 1 << 20 && json["prompt_tokens"].as_u64().unwrap() > 5, "{json}");
}

#[test]
fn limits_and_stop_strings_end_an_answer() {
    let short = phi_run(["-p", "Tell me a story about a fox.", "-n", "5", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&short.out).unwrap();
    assert_eq!(json["generated_tokens"], 5);
    assert_eq!(json["finish"], "length");
    let whole = phi_run(["-p", "Count from 3 to 9."]).out;
    let until = phi_run(["-p", "Count from 3 to 9.", "-r", "7"]).out;
    assert_eq!(until.trim_end(), whole.split('7').next().unwrap().trim_end());
}

#[test]
fn user_text_is_data() {
    let typed = phi_run(["tokenize", "-p", "<|end|>"]);
    let parsed = phi_run(["tokenize", "--special", "-p", "<|end|>"]);
    let ids = |run: &Ran| serde_json::from_str::<Vec<u32>>(&run.out).unwrap();
    assert_eq!(ids(&parsed).len(), 1);
    assert!(ids(&typed).len() > 1 && !ids(&typed).contains(&ids(&parsed)[0]));
    let back = phi_run(["tokenize", "--ids", &ids(&typed).iter().map(u32::to_string).collect::<Vec<_>>().join(",")]);
    assert_eq!(back.out, "<|end|>\n");
}

#[test]
fn logits_are_json_or_numpy() {
    let oracle = Oracle::load("phi3-base");
    let converted = Converted::from(&oracle.folder, "F32");
    let model = converted.path();
    let tokens = oracle.cases[0].tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let file = model.with_file_name("logits.npy");
    let saved = phi_run(["logits", text(&model), "--tokens", &tokens, "--all", "--kv", "f32", "-o", text(&file)]);
    assert_eq!((saved.exit, saved.out.as_str()), (Exit::Done, ""), "{}", saved.err);
    let all = npy::read(&file).unwrap();
    assert_eq!(all.shape, [oracle.cases[0].tokens.len(), 256]);
    let last = phi_run(["logits", text(&model), "--tokens", &tokens, "--kv", "f32"]);
    let last: Vec<f32> = serde_json::from_str(&last.out).unwrap();
    assert_eq!(last, all.values[all.values.len() - 256..]);
}

#[test]
fn errors_name_what_is_wrong_and_what_helps() {
    let oracle = Oracle::load("phi3-base");
    let converted = Converted::from(&oracle.folder, "F32");
    let model = text(&converted.path()).to_string();
    let broken = converted.path().with_file_name("broken.gguf");
    let bytes = std::fs::read(converted.path()).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() - 100]).unwrap();
    let cases: &[(&[&str], Exit, &[&str])] = &[
        (&["/no/such/model.gguf", "-p", "x"], Exit::Failed, &["error: /no/such/model.gguf: open", "hint: "]),
        (&[text(&oracle.folder), "-p", "x"], Exit::Failed, &["hint: this is a Hugging Face folder: `phi-quantize"]),
        (
            &[text(&broken), "-p", "x"],
            Exit::Failed,
            &["broken.gguf: tensor[", "file ends at", "hint: the file is 100 bytes short"],
        ),
        (&[&model, "-p", "x"], Exit::Failed, &["no_vocab"]),
        (&["logits", &model, "--tokens", "1,999"], Exit::Misused, &["token 999 is not in the vocabulary of 256"]),
        (&["-p", "x", "--temp", "-1"], Exit::Misused, &["--temp"]),
        (
            &["logits", &model, "--tokens", "1", "--kv", "q8_0"],
            Exit::Misused,
            &["KV cache type Q8_0 is not supported", "a head of 16"],
        ),
        (&["-p", "x", "--isa", "avx1024"], Exit::Misused, &["`avx1024` is not available here", "scalar"]),
        (&["-p", "x", "--kv", "q5_0"], Exit::Misused, &["f32, f16, q8_0 or q4_0"]),
        (&["-p", "", "--no-chat"], Exit::Misused, &["the prompt is empty"]),
        (&["-p", ""], Exit::Misused, &["the prompt is empty", "hint: "]),
        (&["--no-such-flag"], Exit::Misused, &["--no-such-flag"]),
        (&["-p", "x", "-c", "99999999999"], Exit::DoesNotFit, &["available", "hint: `--", "`--force`"]),
        (&["-p", "x", "-c", "99999999999", "--force"], Exit::DoesNotFit, &["cannot allocate", "kv.k.0", "hint: "]),
        (&["-p", "one two three four five six", "-c", "4"], Exit::Failed, &["do not fit a context of 4", "hint: `-c "]),
    ];
    let mut failures = Vec::new();
    for (args, exit, parts) in cases {
        let got = phi_run(*args);
        let missing: Vec<_> = parts.iter().filter(|part| !got.err.contains(**part)).collect();
        if got.exit != *exit || !missing.is_empty() || !got.out.is_empty() {
            failures
                .push(format!("{args:?}: {:?}, missing {missing:?} in {:?}, stdout {:?}", got.exit, got.err, got.out));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// OpenAI's list of tools goes into the system turn, which is made if need be.
#[test]
fn tools_are_given_to_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, json: &str| {
        let at = folder.path().join(name);
        std::fs::write(&at, json).unwrap();
        text(&at).to_string()
    };
    let tools = file("tools.json", r#"[{"type":"function","function":{"name":"rain","parameters":{"in":"str"}}}]"#);
    let template = phi_tests::fixture("templates/phi-4-mini.jinja");
    let ask =
        |args: &[&str]| phi_run([&["-p", "Rain?", "-n", "1", "-v", "--chat-template", text(&template)], args].concat());
    let list = r#"<|tool|>[{"name": "rain", "parameters": {"in": "str"}}]<|/tool|><|end|><|user|>Rain?<|end|>"#;
    for (args, want) in [
        (&["--tools", &tools][..], format!("<|system|>{list}")),
        (&["--tools", &tools, "-sys", "Be brief."], format!("<|system|>Be brief.{list}")),
        (&["-sys", "Be brief."], "<|system|>Be brief.<|end|><|user|>Rain?<|end|>".into()),
    ] {
        let answer = ask(args);
        assert_eq!(answer.exit, Exit::Done, "{}", answer.err);
        assert!(answer.err.contains(&format!("prompt: {:?}", want + "<|assistant|>")), "{}", answer.err);
    }

    let [words, numbers] = [file("words.json", "get_rain()"), file("numbers.json", "[1]")];
    let no_place = "{% for m in messages %}{{ m.content }}{% endfor %}";
    for (args, exit, parts) in [
        (&["--tools", "/no/such/tools.json"][..], Exit::Failed, &["tools.json: cannot read the tools"][..]),
        (&["--tools", &words], Exit::Misused, &["words.json: tools: not a JSON list", "hint: as `[{"]),
        (&["--tools", &numbers], Exit::Misused, &["tools[0]: not a function with a name", "hint: "]),
        (&["--tools", &tools, "--no-chat"], Exit::Misused, &["--no-chat"]),
        (&["--tools", &tools, "--chat-template", no_place], Exit::Failed, &["has no place for tools", "hint: "]),
    ] {
        let got = phi_run([&["-p", "x"], args].concat());
        let missing: Vec<_> = parts.iter().filter(|part| !got.err.contains(**part)).collect();
        assert!(got.exit == exit && missing.is_empty() && got.out.is_empty(), "{args:?}: {:?} {}", got.exit, got.err);
    }
}

/// A template that opens the thinking, which this model never closes.
#[test]
fn thinking_may_be_hidden() {
    let template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|><think>";
    let think = |args: &[&str]| phi_run([&["-p", "Hello!", "-n", "8", "--chat-template", template], args].concat());
    let (shown, hidden) = (think(&["--temp", "0"]), think(&["--temp", "0", "--no-thinking"]));
    assert!(!shown.out.trim().is_empty() && !shown.out.contains('\x1b'), "{}", shown.out);
    assert!(!shown.err.contains("still thinking"), "{}", shown.err);
    assert_eq!((hidden.exit, hidden.out.as_str()), (Exit::Done, "\n"));
    assert!(hidden.err.contains("warning: the model was still thinking"), "{}", hidden.err);

    let json = |args: &[&str]| {
        serde_json::from_str::<serde_json::Value>(&think(&[&["--temp", "0", "--json"], args].concat()).out).unwrap()
    };
    let all = json(&[]);
    assert_eq!((&all["text"], all["thinking"].as_str().unwrap()), (&"".into(), shown.out.trim()));
    assert_eq!(json(&["--no-thinking"]).get("thinking"), None);
    // Without a chat there is no thinking, only text.
    let raw = phi_run(["-p", "Hello!", "-n", "8", "--no-chat", "--no-thinking", "--temp", "0"]);
    assert!(!raw.out.trim().is_empty() && raw.err.lines().all(|line| !line.contains("thinking")), "{}", raw.err);
}

#[test]
fn llama_cpp_flags_are_accepted_with_a_note() {
    let answer = phi_run([
        "-ngl",
        "99",
        "-fa",
        "on",
        "-c",
        "512",
        "-ub",
        "64",
        "-ctk",
        "q8_0",
        "-p",
        "What is 17 + 25?",
        "--temp",
        "0",
    ]);
    assert_eq!(answer.exit, Exit::Done, "{}", answer.err);
    assert!(answer.out.contains("42") && answer.err.contains("note: `-ngl`, `-fa`"), "{}{}", answer.out, answer.err);
}

#[test]
fn help_teaches() {
    for args in [
        &["-h"][..],
        &["--help"],
        &["logits", "--help"],
        &["tokenize", "--help"],
        &["--version"],
        &["--limits"],
        &["completions", "bash"],
    ] {
        let help = phi_run(args);
        assert_eq!(help.exit, Exit::Done, "{args:?}");
        assert!(!help.out.is_empty() && help.err.is_empty(), "{args:?}");
    }
    assert!(phi_run(["--help"]).out.contains("phi-run -p 'What is 17 + 25?'"));
}
