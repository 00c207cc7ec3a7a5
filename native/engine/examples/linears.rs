//! The speed of linears with packed weights on the CPU: `cargo run --release --example linears [INPUTS OUTPUTS]`.
//!
//! One JSON object a format. At batch 1 the weight's bytes a second stand beside what all cores read from memory in a
//! plain loop, measured just before; at batch 128 multiply-adds a second stand beside those of the f32 product of the
//! tensors (gemm), measured likewise. Each figure is the median of seven.

use std::time::{Duration, Instant};

use serde_json::json;
use viva_tensor_engine::{
    backend::{
        cpu::{
            self,
            linear::{Activations, PackedWeight, Weight},
        },
        tensor::{self, Matrix},
    },
    error::Result,
    quant::{Format, Packing},
};

const ROUNDS: usize = 7;
const BATCH: usize = 128;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (inputs, outputs): (usize, usize) = (arguments.next().unwrap_or(4096), arguments.next().unwrap_or(8192));
    let weight: Vec<f32> = random(inputs * outputs, 7);
    let input = random(BATCH * inputs, 8);
    let mut product = vec![0.0; BATCH * outputs];
    let formats = [
        ("fp8", Format::F8E4m3, inputs, Activations::Float),
        ("fp8, blocks of 16", Format::F8E4m3, 16, Activations::Float),
        ("fp8, inputs too", Format::F8E4m3, inputs, Activations::F8E4m3),
        ("int8, inputs too", Format::Int8, inputs, Activations::Int8),
        ("int4, groups of 64", Format::Int4, 64, Activations::Float),
        ("int8 2:4, inputs too", Format::Int8Sparse24, inputs, Activations::Int8),
        ("int4 2:4, inputs too", Format::Int4Sparse24, inputs, Activations::Int8),
    ];
    for (name, format, scale_cols, activations) in formats {
        let shape = Weight { data: &weight, inputs, outputs, transposed: true };
        let packed = PackedWeight::pack(shape, Packing { format, scale_cols }, &|| true)?;
        let read = cpu::read_bandwidth(None, Duration::from_millis(300), &|| true)?;
        let one = median(|| packed.multiply(&input[..inputs], activations, &[], &mut product[..outputs], &|| true))?;
        let many = median(|| packed.multiply(&input, activations, &[], &mut product, &|| true))?;
        let gemm = median(|| gemm(&input, &weight, inputs, outputs, &mut product))?;
        let gb = packed.bytes() as f64 / 1e9;
        let gflops = 2.0 * (BATCH * inputs * outputs) as f64 / 1e9;
        let line = json!({
            "weights": name,
            "in_features": inputs,
            "out_features": outputs,
            "gb_per_second": gb / one,
            "read_gb_per_second": read / 1e9,
            "share_of_read": gb / one / (read / 1e9),
            "batch": BATCH,
            "gflops": gflops / many,
            "gemm_f32_gflops": gflops / gemm,
            "over_gemm": gemm / many,
        });
        println!("{line}");
    }
    Ok(())
}

fn gemm(input: &[f32], weight: &[f32], inputs: usize, outputs: usize, out: &mut [f32]) -> Result<()> {
    let a = Matrix { data: input, row_stride: inputs, column_stride: 1 };
    // [out, in] read as [in, out]
    let b = Matrix { data: weight, row_stride: 1, column_stride: inputs };
    tensor::pool()?.install(|| tensor::matmul((BATCH, inputs, outputs), &a, &b, out, outputs))
}

/// Seconds of one call.
fn median(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut laps = vec![];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work()?;
        laps.push(start.elapsed().as_secs_f64());
    }
    laps.sort_by(f64::total_cmp);
    Ok(laps[ROUNDS / 2])
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
