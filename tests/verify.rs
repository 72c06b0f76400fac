//! What was planned against what the system counts, in processes of their own: `phi-run plan --verify` over types of
//! weights, contexts, types of caches and batches.

use std::path::Path;
use std::process::Command;

use phi_testkit::run_cases;
use phi_tests::programs::{phi_quantize, phi_run};
use phi_tests::text;

/// Tells a process of this file that it is one of those measured, and what to run.
const ARGUMENTS: &str = "PHI_VERIFY_ARGUMENTS";

/// 8 million weights and a cache of up to 16 MiB: more than what may be off, and 8000 tokens take a second or so.
const CONFIG: &str = r#"{
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 256, "intermediate_size": 2048,
    "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 4096,
    "max_position_embeddings": 16384, "original_max_position_embeddings": 16384, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "rope_scaling": null, "tie_word_embeddings": true, "hidden_act": "silu",
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "torch_dtype": "bfloat16"
}"#;

#[test]
fn spawned_runs_take_what_was_planned() {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("config.json");
    std::fs::write(&config, CONFIG).unwrap();
    let mut cases = Vec::new();
    for quant in ["Q4_0", "Q4_K_M", "Q6_K", "Q8_0", "F16"] {
        let file = place.path().join(format!("{quant}.gguf"));
        synth(&config, quant, &file);
        for ctx in ["2048", "8192"] {
            for kv in ["f16", "q8_0", "q4_0"] {
                for batch in ["32", "512"] {
                    cases.push((format!("{quant} {ctx} {kv} {batch}"), (file.clone(), ctx, kv, batch)));
                }
            }
        }
    }
    let n = run_cases(cases, |(file, ctx, kv, batch)| {
        let arguments =
            ["plan", &file.display().to_string(), "--verify", "-c", ctx, "--kv", kv, "-ub", batch, "-t", "2"];
        let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
        command.args(["--exact", "measured", "--ignored", "--nocapture"]).env(ARGUMENTS, arguments.join("\n"));
        let ran = command.output().map_err(|e| e.to_string())?;
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        // Where the system does not tell, the program says so.
        let untold = err.contains("does not tell") && !cfg!(target_os = "linux");
        if ran.status.success() || untold { Ok(()) } else { Err(format!("{out}{err}")) }
    });
    assert_eq!(n, 60);
}

#[test]
#[ignore = "spawned by the test above, which says what to run"]
fn measured() {
    let arguments = std::env::var(ARGUMENTS).expect("this is no test by itself");
    phi_run(arguments.lines()).done();
}

fn synth(config: &Path, quant: &str, out: &Path) {
    phi_quantize(["synth", text(config), quant, text(out)]).done();
}
