//! The kernels of a model: sources, the model's dimensions as macros, and the formats that it uses.
//!
//! What NVRTC makes of them is kept by `cubin_cache`, so a model's second load compiles nothing.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    cubin_cache,
    driver::kernel_name,
    nvrtc::{Compiled, nvrtc},
};
use crate::{error::Result, model::spec::ModelSpec, quant::Format};

const SOURCES: [&str; 5] = [
    include_str!("../../../../../kernels/common.cuh"),
    include_str!("../../../../../kernels/gemv.cu"),
    include_str!("../../../../../kernels/pointwise.cu"),
    include_str!("../../../../../kernels/attention.cu"),
    include_str!("../../../../../kernels/sample.cu"),
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
}

impl Dimensions {
    pub fn of(spec: &ModelSpec, kv_format: KvFormat, context: usize) -> Dimensions {
        let group = spec.heads / spec.kv_heads.max(1);
        // As HEADS of kernels/attention.cu.
        let heads = [8, 4, 2, 1].into_iter().find(|heads| group.is_multiple_of(*heads)).unwrap_or(1);
        let heads = if group <= 8 { group } else { heads };
        let shared = |span: usize| 4 * heads * (spec.head_dim + span / 32 * (spec.head_dim + 34));
        let long = |span: &usize| context > 16384 && shared(*span) <= SHARED_BYTES;
        let span = [256, 128].into_iter().find(long).unwrap_or(64);
        let (width, heads, kv_heads, head_dim) = (spec.width, spec.heads, spec.kv_heads, spec.head_dim);
        Dimensions { width, heads, kv_heads, head_dim, kv_format, span }
    }
}

/// One source with its options, but for the architecture.
#[derive(Debug, Clone)]
pub struct Program {
    source: String,
    options: Vec<String>,
}

impl Program {
    pub fn new(dimensions: &Dimensions, formats: &BTreeSet<Format>) -> Program {
        let mut source = SOURCES.join("\n");
        for format in formats {
            let name = kernel_name(*format);
            // Writing to a string does not fail.
            let _ = writeln!(source, "GEMV({name}) EMBED({name}) DEQUANTIZE({name})");
        }
        let options = [
            ("D", dimensions.width),
            ("H", dimensions.heads),
            ("KV", dimensions.kv_heads),
            ("HD", dimensions.head_dim),
            ("PAGE", PAGE),
            ("SPAN", dimensions.span),
            ("KV_FLOAT", usize::from(dimensions.kv_format == KvFormat::F32)),
        ];
        let mut options: Vec<String> = options.iter().map(|(name, value)| format!("-D{name}={value}")).collect();
        options.extend(["--std=c++17".into(), "-default-device".into()]);
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
