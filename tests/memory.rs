//! The memory table is the allocation: a counting allocator compares them.

use phi_gguf::Gguf;
use phi_memory::{Planned, Residency, Row};
use phi_model::{Model, Sizes, State};
use phi_tensor::DType;
use phi_testkit::{TinyPhi3, run_cases};
use phi_tests::heap::{self, Counting};

#[global_allocator]
static HEAP: Counting = Counting;

/// What may come on top of the table: the list of the layers, and the system's rounding of nothing.
const SPARE_BYTES: i64 = 4 << 10;

fn model() -> Model {
    let gguf = Gguf::from_bytes(TinyPhi3::default().gguf().bytes().into()).expect("the tiny model is valid");
    Model::bind(&gguf).expect("the tiny model is valid")
}

fn sizes(n_ctx: usize, n_batch: usize, n_logits: usize, kv: DType) -> Sizes {
    Sizes { n_ctx, n_batch, n_logits, k_type: kv, v_type: kv }
}

fn total(rows: &[Row]) -> u64 {
    rows.iter().map(|row| row.bytes).sum()
}

#[test]
fn a_run_takes_what_its_table_says() {
    let model = model();
    let runs = [
        sizes(1, 1, 1, DType::F32),
        sizes(128, 1, 1, DType::F16),
        sizes(100, 7, 1, DType::Q8_0),
        sizes(4096, 64, 64, DType::F16),
        sizes(33, 512, 512, DType::Q4_0),
    ];
    let n = run_cases(runs.map(|sizes| (format!("{sizes:?}"), sizes)), |sizes| {
        let plan = State::<Planned>::of(&model.decoder, sizes);
        let planned = total(&plan.rows()) as i64;
        let (state, heap) = heap::of_this_thread(|| plan.allocate());
        let state = state.map_err(|e| e.to_string())?;
        let more = heap.grown - planned;
        if !(0..=SPARE_BYTES).contains(&more) || heap.peak > planned + SPARE_BYTES {
            return Err(format!("the table says {planned} bytes, the heap {heap:?}"));
        }
        let ((), heap) = heap::of_this_thread(|| drop(state));
        if heap.grown + planned + more == 0 { Ok(()) } else { Err(format!("dropping it gave {heap:?}")) }
    });
    assert_eq!(n, runs.len());
}

#[test]
fn planning_allocates_a_table_and_no_buffer() {
    let model = model();
    let (plan, heap) =
        heap::of_this_thread(|| State::<Planned>::of(&model.decoder, sizes(1 << 20, 512, 1, DType::F16)));
    assert!(total(&plan.rows()) > 1 << 28);
    assert!(heap.peak < 16 << 10, "{heap:?}");
}

#[test]
fn the_cache_is_reserved_and_the_rest_is_filled() {
    let plan = State::<Planned>::of(&model().decoder, sizes(64, 4, 1, DType::F16));
    for row in plan.rows() {
        let want = if row.name.starts_with("kv.") { Residency::Reserved } else { Residency::Filled };
        assert_eq!(row.residency, want, "{}", row.name);
    }
}

#[test]
fn a_plan_too_large_is_an_error_that_names_its_buffer() {
    let model = model();
    let runs = [
        // More than any machine has.
        ("address space", sizes(1 << 50, 1, 1, DType::F32), "kv.k.0"),
        // More than 64 bits count.
        ("64 bits", sizes(usize::MAX, 1, 1, DType::F32), "kv.k.0"),
        ("batch", sizes(1, usize::MAX, 1, DType::F32), "x"),
        ("logits", sizes(1, 1, usize::MAX / 8, DType::F32), "logits"),
    ];
    run_cases(runs.map(|(what, sizes, name)| (what, (sizes, name))), |(sizes, name)| {
        let (result, heap) = heap::of_this_thread(|| State::<Planned>::of(&model.decoder, sizes).allocate().err());
        let error = result.ok_or("was allocated")?;
        let text = error.to_string();
        if !text.contains(&format!("`{name}`")) || !text.contains(&error.bytes.to_string()) {
            return Err(format!("the message is {text:?}"));
        }
        // The error's own text is all that stays.
        if error.name == name && heap.grown < 256 { Ok(()) } else { Err(format!("{error:?}, {heap:?}")) }
    });
}
