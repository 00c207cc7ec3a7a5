//! The kernels of a model in pieces: sources, the model's dimensions as macros, and the formats that it uses.
//!
//! Each piece is a program of its own, so that all are compiled side by side, and one that no dimension goes into (the
//! products of a format) serves every model. What NVRTC makes of them is kept by `cubin_cache`, so a model's second load
//! compiles nothing.

use std::{collections::BTreeSet, fmt::Write, sync::Arc};

use super::{
    argument::kernel_name,
    compiling::Compiling,
    cubin_cache,
    decode::Plan,
    driver::Device,
    module::Module,
    nvrtc::{Compiled, nvrtc},
    weights::BLOCKED_F8,
};
use crate::{error::Result, model::spec::ModelSpec, quant::Format};

macro_rules! kernel {
    ($name:ident, $file:literal) => {
        pub(super) const $name: &str = include_str!(concat!("../../../../../kernels/", $file));
    };
}
kernel!(MACHINE, "machine.cuh");
kernel!(COMMON, "common.cuh");
kernel!(FORMATS, "formats.cuh");
kernel!(DOT, "dot.cuh");
kernel!(HALVES, "halves.cuh");
kernel!(NORM, "norm.cuh");
kernel!(CACHE, "cache.cuh");
kernel!(BEST, "best.cuh");
kernel!(GEMV, "gemv.cu");
kernel!(GEMM, "gemm.cu");
kernel!(GEMM_F8, "gemm_f8.cu");
kernel!(POINTWISE, "pointwise.cu");
kernel!(ATTENTION, "attention.cu");
kernel!(FLASH, "flash.cu");
kernel!(HEADS, "heads.cu");
kernel!(SAMPLE, "sample.cu");
kernel!(DECODE_PARTS, "decode.cuh");
kernel!(DECODE, "decode.cu");
kernel!(MACHINE_PANEL, "machine_panel.cuh");
kernel!(PANEL, "panel.cuh");
kernel!(PANEL_PACK, "panel_pack.cu");
kernel!(PANEL_HALVES, "panel_halves.cu");
kernel!(PANEL_UNPACK, "panel_unpack.cu");
kernel!(PANEL_GEMV, "panel_gemv.cu");
kernel!(PANEL_GEMV_FLOAT, "panel_gemv_float.cu");
kernel!(PANEL_GEMM, "panel_gemm.cu");

/// All of a model's.
pub(super) const SOURCES: [&str; 18] = [
    MACHINE,
    COMMON,
    FORMATS,
    DOT,
    HALVES,
    NORM,
    CACHE,
    BEST,
    GEMV,
    GEMM,
    GEMM_F8,
    POINTWISE,
    ATTENTION,
    FLASH,
    HEADS,
    SAMPLE,
    DECODE_PARTS,
    DECODE,
];

/// Positions of a page of the cache.
pub const PAGE: usize = 256;
/// Most static shared memory of a block.
const SHARED_BYTES: usize = 48 << 10;

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum KvFormat {
    #[default]
    Bf16,
    F32,
}

impl KvFormat {
    pub fn bytes(self) -> usize {
        match self {
            KvFormat::Bf16 => 2,
            KvFormat::F32 => 4,
        }
    }
}

/// What the kernels are compiled for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimensions {
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub kv_format: KvFormat,
    /// Positions that one block of attention handles.
    pub span: usize,
    /// Blocks that share the positions of one key-value head, at most (kernels/heads.cu).
    pub splits: usize,
}

/// HEADS of kernels/attention.cu: of a group, as many as go together.
fn together(group: usize) -> usize {
    if group <= 8 {
        return group.max(1);
    }
    [8, 4, 2].into_iter().find(|heads| group.is_multiple_of(*heads)).unwrap_or(1)
}

/// Warps that share the columns of a row, or the positions of a split, as in kernels/dot.cuh.
pub(super) const TEAM: usize = 8;

/// Most splits: more would only wait for each other.
const SPLITS: usize = 16;

impl Dimensions {
    pub fn of(spec: &ModelSpec, kv_format: KvFormat, context: usize, multiprocessors: u32) -> Dimensions {
        let heads = together(spec.heads / spec.kv_heads.max(1));
        let shared = |span: usize| 4 * heads * (spec.head_dim + span / 32 * (spec.head_dim + 34));
        let long = |span: &usize| context > 16384 && shared(*span) <= SHARED_BYTES;
        let span = [256, 128].into_iter().find(long).unwrap_or(64);
        // Those that decode.cu's blocks can take, of which each has rows of the narrowest matrix.
        let blocks = (multiprocessors as usize).min(spec.width / 8);
        let splits = (blocks / spec.kv_heads.max(1)).clamp(1, SPLITS);
        let (width, heads, kv_heads, head_dim) = (spec.width, spec.heads, spec.kv_heads, spec.head_dim);
        Dimensions { width, heads, kv_heads, head_dim, kv_format, span, splits }
    }

    /// HEADS_ON_TENSOR_CORES of kernels/heads.cu.
    pub fn heads_on_tensor_cores(&self) -> bool {
        self.kv_format == KvFormat::Bf16 && matches!(self.head_dim, 64 | 128) && self.group() <= 8
    }

    /// What the kernels are compiled with.
    fn macros(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("H", self.heads),
            ("KV", self.kv_heads),
            ("HD", self.head_dim),
            ("PAGE", PAGE),
            ("SPAN", self.span),
            ("SPLITS", self.splits),
            ("KV_FLOAT", usize::from(self.kv_format == KvFormat::F32)),
        ]
    }

    /// Query heads of a key-value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }

    /// Query heads that a block of attention takes.
    pub fn together(&self) -> usize {
        together(self.group())
    }

    /// Dynamic shared memory of `attend_heads`.
    pub fn attend_bytes(&self) -> usize {
        self.heads_bytes() + TEAM * self.group() * self.head_dim * 4
    }

    /// sizeof(Heads) of kernels/heads.cu.
    pub fn heads_bytes(&self) -> usize {
        let vectors = (self.group() + 2) * self.head_dim * 4 + 2 * 8 * (self.head_dim + 8) * 2;
        (vectors + self.head_dim / 2 * 8 + 8 * 4 + 3 * TEAM * 8 * 4 + 3 * 8 * 4).next_multiple_of(16)
    }
}

/// One program for NVRTC, but for the architecture.
#[derive(Debug, Clone)]
pub struct Piece {
    source: String,
    options: Vec<String>,
}

impl Piece {
    /// Sources, lines before and after them, and macros.
    pub(super) fn new(before: &str, sources: &[&str], after: &str, macros: &[(&str, usize)]) -> Piece {
        let mut source = before.to_owned();
        // Writing to a string does not fail.
        for part in [MACHINE, COMMON].iter().chain(sources) {
            let _ = writeln!(source, "{part}");
        }
        source.push_str(after);
        let mut options: Vec<String> = macros.iter().map(|(name, value)| format!("-D{name}={value}")).collect();
        // 177: a function that this model does not need.
        let fixed = ["--std=c++17", "-default-device", "--diag-suppress=177"];
        options.extend(fixed.map(String::from));
        Piece { source, options }
    }

    /// The products of a format, by its kernel name, its embedding, and its turn to f16.
    pub fn format(name: &str) -> Piece {
        // Single rows are read the same way whatever their scales serve.
        let read = if name == BLOCKED_F8 { kernel_name(Format::F8E4m3) } else { name };
        let mut after = format!("GEMV({name})\nREAD({read})\n");
        // F16 is what it would become, and F32 would lose by it.
        if ![Format::F16, Format::F32].map(kernel_name).contains(&read) {
            let _ = writeln!(after, "HALVE({read})");
        }
        Piece::new("", &[FORMATS, DOT, HALVES, GEMV], &after, &[])
    }

    /// The products of prompts; wide: those of Hopper.
    pub fn prompts(is_wide: bool) -> Piece {
        Piece::new("", &[FORMATS, HALVES, NORM, GEMM, GEMM_F8], "", &[("WIDE", usize::from(is_wide))])
    }

    /// The choice of the next token.
    pub fn choice() -> Piece {
        Piece::new("", &[FORMATS, BEST, SAMPLE], "", &[])
    }

    /// Norms, rotation and attention.
    pub fn attention(dimensions: &Dimensions) -> Piece {
        Piece::new("", &[NORM, CACHE, POINTWISE, ATTENTION, FLASH], "", &dimensions.macros())
    }

    /// Attention on tensor cores, and the whole token in one launch where there is a plan for it.
    pub fn token(dimensions: &Dimensions, plan: Option<&Plan>) -> Piece {
        let mut macros = dimensions.macros();
        macros.push(("D", dimensions.width));
        let before = plan.map(Plan::definitions).unwrap_or_default();
        Piece::new(&before, &[FORMATS, DOT, NORM, CACHE, HEADS, BEST, DECODE_PARTS, DECODE], "", &macros)
    }

    /// Compiles, whatever the cache holds. `extra` are further options.
    pub fn compile(&self, architecture: &str, extra: &[&str]) -> Result<Compiled> {
        let mut options = self.options.clone();
        options.push(format!("--gpu-architecture={architecture}"));
        options.extend(extra.iter().map(|option| (*option).to_owned()));
        nvrtc()?.compile(&self.source, &options)
    }

    /// What the cache knows a piece by, for an architecture.
    pub(super) fn key(&self, architecture: &str) -> Result<u128> {
        let version = nvrtc()?.version;
        let version = format!("{}.{}", version.0, version.1);
        let mut parts = vec![self.source.as_bytes(), architecture.as_bytes(), version.as_bytes()];
        parts.extend(self.options.iter().map(String::as_bytes));
        Ok(cubin_cache::hash(&parts))
    }
}

/// The pieces of a model.
#[derive(Debug, Clone)]
pub struct Program {
    pub pieces: Vec<Piece>,
}

impl Program {
    /// `formats` are the kernel names of the linears' formats; wide: prompts are multiplied as only Hopper can.
    pub fn new(dimensions: &Dimensions, formats: &BTreeSet<&str>, decode: Option<&Plan>, is_wide: bool) -> Program {
        let mut pieces = Program::without_weights(dimensions, is_wide).pieces;
        pieces.extend(formats.iter().map(|name| Piece::format(name)));
        if dimensions.heads_on_tensor_cores() {
            pieces.push(Piece::token(dimensions, decode));
        }
        Program { pieces }
    }

    /// Those that do not depend on what the weights are.
    pub fn without_weights(dimensions: &Dimensions, is_wide: bool) -> Program {
        Program { pieces: vec![Piece::prompts(is_wide), Piece::attention(dimensions), Piece::choice()] }
    }

    /// Those of linears with packed weights, which no model needs.
    pub fn linears() -> Program {
        let piece = |sources: &[&str]| {
            let shared = [MACHINE_PANEL, FORMATS, HALVES, PANEL];
            Piece::new("", &[&shared, sources].concat(), "", &[])
        };
        let own = piece(&[PANEL_PACK, PANEL_HALVES, PANEL_UNPACK]);
        Program { pieces: vec![own, piece(&[PANEL_GEMV]), piece(&[PANEL_GEMV_FLOAT]), piece(&[PANEL_GEMM])] }
    }

    /// Code on a GPU: from the cache, or compiled and put there.
    pub fn module(&self, device: &Arc<Device>) -> Result<Module> {
        let mut compiling = Compiling::new(device);
        compiling.start(&self.pieces)?;
        compiling.module()
    }
}

/// Whether a GPU multiplies prompts as only Hopper can.
pub fn is_wide(capability: (i32, i32)) -> bool {
    capability.0 == 9
}
