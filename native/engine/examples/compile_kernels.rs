//! Compiles every kernel for every architecture with NVRTC, without a GPU, and looks at what ptxas says of it; then the code
//! for any model, as PTX.
//!
//! `compile_kernels FILE` writes the PTX to FILE; with --generic that is all it does. Fails at an error, and where a kernel
//! keeps something in local memory, a spill or a stack frame, that is not `KNOWN`.

use std::{env, error::Error, fs, process::ExitCode};

use rayon::prelude::*;
use viva_tensor_engine::{
    backend::cuda::{
        argument::kernel_name,
        decode::Plan,
        generic::{self, Generic},
        nvrtc::nvrtc,
        program::{Dimensions, KvFormat, Piece, Program},
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
    ("decode_token", 32),
    ("attend_heads", 8),
    ("tensor_short_rows_f64", 16),
    ("tensor_long_rows_f64", 16),
    ("tensor_product_f64", 16),
];

/// The whole-token kernel as it is compiled for Llama 1B and 8B on a GPU of 132 multiprocessors.
fn plan(architecture: &str, shape: usize) -> Option<Plan> {
    let [layers, ffn, under_way] = *[[16, 8192, 1], [32, 14336, 2]].get(shape)?;
    let format = kernel_name(Format::F8E4m3);
    (architecture == "sm_90a").then_some(Plan {
        blocks: 132,
        layers,
        ffn,
        vocab: 128256,
        stages: 4,
        under_way,
        activation: 0,
        layer_format: format,
        head_format: format,
        embedding_format: format,
        shared_bytes: 227 << 10,
    })
}

/// What is compiled for an architecture, each with what it is for.
fn pieces(architecture: &str) -> Vec<(String, Piece)> {
    let formats = Format::ALL.map(kernel_name).into_iter().chain([BLOCKED_F8]);
    let mut all: Vec<_> = formats.map(|name| (name.to_owned(), Piece::format(name))).collect();
    all.extend([("prompts".into(), Piece::prompts(false)), ("choice".into(), Piece::choice())]);
    if architecture == "sm_90a" {
        all.push(("prompts on Hopper".into(), Piece::prompts(true)));
    }
    all.extend(Program::linears().pieces.into_iter().map(|piece| ("linears".into(), piece)));
    for (i, shape) in SHAPES.iter().enumerate() {
        let [width, heads, kv_heads, head_dim, span] = *shape;
        let (kv_format, splits) = (KvFormat::Bf16, 132 / kv_heads.max(8));
        let dimensions = Dimensions { width, heads, kv_heads, head_dim, kv_format, span, splits };
        all.push((format!("attention {shape:?}"), Piece::attention(&dimensions)));
        if dimensions.heads_on_tensor_cores() {
            all.push((format!("token {shape:?}"), Piece::token(&dimensions, plan(architecture, i).as_ref())));
        }
    }
    all
}

/// What there is to say of a program's log: lines that tell what is wrong, and how many kernels there are.
fn look(log: &str, program: &str) -> (Vec<String>, usize) {
    let (mut lines, mut kernel, mut kernels) = (vec![], "", 0);
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
    if kernels == 0 {
        lines.push(format!("{program}: ptxas said nothing"));
    }
    (lines, kernels)
}

/// Checks all architectures; returns how much is wrong.
fn check_all() -> Result<usize> {
    let mut wrong = 0;
    for architecture in ARCHITECTURES {
        let verbose = ["--ptxas-options=-v"];
        let log = |piece: &Piece| Ok(piece.compile(architecture, &verbose)?.log);
        let check = |(name, piece): &(String, Piece)| Ok(look(&log(piece)?, &format!("{architecture} {name}")));
        // A minute or more of one core.
        let mut checked: Vec<Result<_>> = pieces(architecture).par_iter().map(check).collect();
        let tensors = tensor::compile(architecture, &verbose)?;
        checked.push(Ok(look(&tensors.log, &format!("{architecture} tensors"))));
        let mut kernels = 0;
        for checked in checked {
            let (lines, count) = checked?;
            lines.iter().for_each(|line| println!("{line}"));
            wrong += lines.len();
            kernels += count;
        }
        println!("{architecture}: {kernels} kernels");
    }
    Ok(wrong)
}

/// The code for any model.
fn generic() -> Result<Vec<u8>> {
    let pieces = generic::pieces();
    let compile =
        |(name, piece): &(String, Piece)| Ok((name.clone(), piece.compile(generic::ARCHITECTURE, &[])?.image));
    Ok(Generic::new(pieces.par_iter().map(compile).collect::<Result<_>>()?)?.to_bytes())
}

fn main() -> std::result::Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (only_generic, file) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [file] => (false, file),
        ["--generic", file] => (true, file),
        _ => return Err("usage: compile_kernels [--generic] FILE".into()),
    };
    let compiler = nvrtc()?;
    println!("NVRTC {}.{}", compiler.version.0, compiler.version.1);
    if !only_generic && check_all()? > 0 {
        return Ok(ExitCode::FAILURE);
    }
    let bytes = generic()?;
    // Nobody is to build with a half.
    fs::write(format!("{file}.new"), &bytes)?;
    fs::rename(format!("{file}.new"), file)?;
    println!("{}: {} KB, PTX {}", generic::ARCHITECTURE, bytes.len() >> 10, generic::PTX_VERSION);
    Ok(ExitCode::SUCCESS)
}
