//! Compiles every kernel for every architecture with NVRTC, without a GPU, and looks at what ptxas says of it.
//!
//! Fails at an error, and where a kernel keeps something in local memory, a spill or a stack frame, that is not `KNOWN`. VIVA_TENSOR_PTX names
//! a folder for the PTX of the generic shapes.

use std::{collections::BTreeSet, process::ExitCode};

use rayon::prelude::*;
use viva_tensor_engine::{
    backend::cuda::{
        argument::kernel_name,
        decode::Plan,
        nvrtc::nvrtc,
        program::{Dimensions, KvFormat, Program},
        tensor,
        weights::BLOCKED_F8,
    },
    error::Result,
    quant::Format,
};

const ARCHITECTURES: [&str; 5] = ["sm_80", "sm_89", "sm_90a", "sm_100", "sm_120"];

/// D, H, KV, HD, span: Llama 1B, Llama 8B at a long context, SmolLM2, Gemma 3, Phi 2, an 80 wide head.
const SHAPES: [[usize; 5]; 6] = [
    [2048, 32, 8, 64, 64],
    [4096, 32, 8, 128, 256],
    [576, 9, 3, 64, 64],
    [1152, 4, 1, 256, 64],
    [2560, 32, 32, 80, 64],
    [3072, 24, 8, 96, 64],
];

/// Kernels that are known to keep something in local memory, and the most bytes of it.
const KNOWN: [(&str, usize); 5] = [
    ("decode_token", 512),
    ("attend_heads", 48),
    ("tensor_short_rows_f64", 16),
    ("tensor_long_rows_f64", 16),
    ("tensor_product_f64", 16),
];

/// The whole-token kernel as it is compiled for Llama 1B and 8B on a GPU of 132 multiprocessors.
fn plan(architecture: &str, shape: usize) -> Option<Plan> {
    let [layers, ffn, stages] = *[[16, 8192, 5], [32, 14336, 4]].get(shape)?;
    let format = kernel_name(Format::F8E4m3);
    (architecture == "sm_90a").then_some(Plan {
        blocks: 132,
        layers,
        ffn,
        vocab: 128256,
        stages,
        activation: 0,
        layer_format: format,
        head_format: format,
        embedding_format: format,
        shared_bytes: 227 << 10,
    })
}

/// Adds to `lines` what is wrong, and returns the number of kernels.
fn look(log: &str, program: &str, lines: &mut Vec<String>) -> usize {
    let (mut kernel, mut kernels) = ("", 0);
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next().unwrap_or(rest);
            kernels += 1;
        }
        let clean = line.contains(" 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads");
        let bytes = line.split("bytes stack frame").next().and_then(|text| text.split_whitespace().last());
        let bytes = bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(usize::MAX);
        let known = KNOWN.iter().any(|(name, most)| kernel == *name && bytes <= *most);
        if line.contains("bytes stack frame") && !clean && !known {
            lines.push(format!("{program}: {kernel}: {}", line.trim()));
        }
        if line.contains("warning") {
            lines.push(format!("{program}: {line}"));
        }
    }
    kernels
}

/// What there is to say of an architecture: lines to print, and how many of them are wrong.
fn check(architecture: &str) -> Result<(Vec<String>, usize)> {
    let mut lines = vec![];
    let compiled = tensor::compile(architecture, &["--ptxas-options=-v"])?;
    let mut kernels = look(&compiled.log, &format!("{architecture} tensors"), &mut lines);
    for (i, [width, heads, kv_heads, head_dim, span]) in SHAPES.into_iter().enumerate() {
        // The products do not depend on the shape: all formats once.
        let all = Format::ALL.map(kernel_name).into_iter().chain([BLOCKED_F8]);
        let formats: BTreeSet<&str> = if i == 0 { all.collect() } else { BTreeSet::from(["bf16"]) };
        let (kv_format, splits) = (KvFormat::Bf16, 132 / kv_heads.max(8));
        let dimensions = Dimensions { width, heads, kv_heads, head_dim, kv_format, span, splits };
        let program = Program::new(&dimensions, &formats, plan(architecture, i).as_ref());
        let compiled = program.compile(architecture, &["--ptxas-options=-v"])?;
        kernels += look(&compiled.log, &format!("{architecture} {:?}", SHAPES[i]), &mut lines);
    }
    if kernels == 0 {
        lines.push(format!("{architecture}: ptxas said nothing"));
    }
    let wrong = lines.len();
    lines.push(format!("{architecture}: {kernels} kernels"));
    Ok((lines, wrong))
}

fn main() -> Result<ExitCode> {
    let compiler = nvrtc()?;
    println!("NVRTC {}.{}", compiler.version.0, compiler.version.1);
    let mut wrong = 0;
    // Each takes a minute or more of one core.
    let checked: Vec<_> = ARCHITECTURES.into_par_iter().map(check).collect();
    for checked in checked {
        let (lines, bad) = checked?;
        lines.iter().for_each(|line| println!("{line}"));
        wrong += bad;
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
