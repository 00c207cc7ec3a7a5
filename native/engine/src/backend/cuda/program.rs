//! The kernels of a model: sources, the model's dimensions as macros, and the formats that it uses.
//!
//! What NVRTC makes of them is kept by `cubin_cache`, so a model's second load compiles nothing.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    argument::kernel_name,
    cubin_cache,
    decode::Plan,
    nvrtc::{Compiled, nvrtc},
    weights::BLOCKED_F8,
};
use crate::{error::Result, model::spec::ModelSpec, quant::Format};

const SOURCES: [&str; 12] = [
    include_str!("../../../../../kernels/machine.cuh"),
    include_str!("../../../../../kernels/common.cuh"),
    include_str!("../../../../../kernels/formats.cuh"),
    include_str!("../../../../../kernels/dot.cuh"),
    include_str!("../../../../../kernels/gemv.cu"),
    include_str!("../../../../../kernels/pointwise.cu"),
    include_str!("../../../../../kernels/gemm.cu"),
    include_str!("../../../../../kernels/attention.cu"),
    include_str!("../../../../../kernels/flash.cu"),
    include_str!("../../../../../kernels/heads.cu"),
    include_str!("../../../../../kernels/sample.cu"),
    include_str!("../../../../../kernels/decode.cu"),
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

/// Most splits: more would only wait for each other.
const SPLITS: usize = 16;

impl Dimensions {
    pub fn of(spec: &ModelSpec, kv_format: KvFormat, context: usize, multiprocessors: u32) -> Dimensions {
        let group = spec.heads / spec.kv_heads.max(1);
        // As HEADS of kernels/attention.cu.
        let heads = [8, 4, 2, 1].into_iter().find(|heads| group.is_multiple_of(*heads)).unwrap_or(1);
        let heads = if group <= 8 { group } else { heads };
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

    /// Query heads of a key-value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }

    /// Dynamic shared memory of `attend_heads`.
    pub fn attend_bytes(&self) -> usize {
        self.heads_bytes() + 16 * self.group() * self.head_dim * 4
    }

    /// sizeof(Heads) of kernels/heads.cu.
    pub fn heads_bytes(&self) -> usize {
        let vectors = (self.group() + 2) * self.head_dim * 4 + 2 * 8 * (self.head_dim + 8) * 2;
        (vectors + self.head_dim / 2 * 8 + 8 * 4 + 2 * 16 * 8 * 4).next_multiple_of(16)
    }
}

/// One source with its options, but for the architecture.
#[derive(Debug, Clone)]
pub struct Program {
    source: String,
    options: Vec<String>,
}

impl Program {
    /// `formats` are the kernel names of the linears' formats.
    pub fn new(dimensions: &Dimensions, formats: &BTreeSet<&str>, decode: Option<&Plan>) -> Program {
        let mut source = decode.map(Plan::definitions).unwrap_or_default();
        source.push_str(&SOURCES.join("\n"));
        // Writing to a string does not fail.
        for name in formats {
            let _ = writeln!(source, "GEMV({name})");
        }
        // Single rows are read the same way whatever their scales serve.
        let read = formats.iter().map(|name| if *name == BLOCKED_F8 { kernel_name(Format::F8E4m3) } else { name });
        for name in read.collect::<BTreeSet<_>>() {
            let _ = writeln!(source, "READ({name})");
            // F16 is what it would become, and F32 would lose by it.
            if ![Format::F16, Format::F32].map(kernel_name).contains(&name) {
                let _ = writeln!(source, "HALVE({name})");
            }
        }
        let options = [
            ("D", dimensions.width),
            ("H", dimensions.heads),
            ("KV", dimensions.kv_heads),
            ("HD", dimensions.head_dim),
            ("PAGE", PAGE),
            ("SPAN", dimensions.span),
            ("SPLITS", dimensions.splits),
            ("KV_FLOAT", usize::from(dimensions.kv_format == KvFormat::F32)),
        ];
        let mut options: Vec<String> = options.iter().map(|(name, value)| format!("-D{name}={value}")).collect();
        // 177: a function that this model does not need.
        let fixed = ["--std=c++17", "-default-device", "--diag-suppress=177"];
        options.extend(fixed.map(String::from));
        Program { source, options }
    }

    /// Compiles, whatever the cache holds. `extra` are further options.
    pub fn compile(&self, architecture: &str, extra: &[&str]) -> Result<Compiled> {
        let mut options = self.options.clone();
        options.push(format!("--gpu-architecture={architecture}"));
        options.extend(extra.iter().map(|option| (*option).to_owned()));
        nvrtc()?.compile(&self.source, &options)
    }

    /// Code for a GPU: from the cache, or compiled and put there.
    pub fn image(&self, capability: (i32, i32)) -> Result<Vec<u8>> {
        let compiler = nvrtc()?;
        let architecture = compiler.architecture(capability);
        let version = format!("{}.{}", compiler.version.0, compiler.version.1);
        let mut parts = vec![self.source.as_bytes(), architecture.as_bytes(), version.as_bytes()];
        parts.extend(self.options.iter().map(String::as_bytes));
        let key = cubin_cache::hash(&parts);
        if let Some(image) = cubin_cache::read(key) {
            return Ok(image);
        }
        let image = self.compile(&architecture, &[])?.image;
        cubin_cache::write(key, &image);
        Ok(image)
    }
}
