//! The fast road of decoding: kernels/decode.cu computes a token of one sequence in one launch.
//!
//! `Plan` says whether a model and a GPU suit it, and with which constants the kernel is compiled; `Decoder` has what the
//! kernel keeps between launches. What does not suit goes the general road, kernel by kernel, with the same bits.

use std::{fmt::Write, sync::Arc};

use bytemuck::{Pod, Zeroable};

use super::{
    argument::{Argument, DecodeArgument, kernel_name},
    driver::{Device, Memory},
    module::{Kernel, Module},
    pass::{Angles, Pass, activation_code},
    program::{Dimensions, TEAM},
    weights::{Matrix, Weights},
};
use crate::{
    backend::weights::{Packed, Weights as HostNormed},
    error::Result,
    model::spec::{LayerSpec, ModelSpec, NormKind},
    quant::Format,
};

/// Warps of a block: those that multiply, two that finish sums, one that copies, and one that fills its warpgroup up.
const WARPS: usize = TEAM + 4;
/// Warps that finish sums, and for each the places for sums on their way to it.
const FINISHERS: usize = 2;
const HANDOVERS: usize = 2;
/// Columns that the warps of a block take in turn, a block of 32 each.
const TURN: usize = 32 * TEAM;
/// Stages of the ring below which it would drain at every phase, and beyond which more serve nothing.
const FEWEST_STAGES: usize = 3;
const MOST_STAGES: usize = 5;
/// Bytes of a layer in a block from which on the memory's speed is what counts: then two stages are under way at once, not
/// one behind which packets wait less.
const LARGE_LAYER: usize = 512 << 10;

/// The constants of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One a multiprocessor.
    pub blocks: usize,
    pub layers: usize,
    pub ffn: usize,
    pub vocab: usize,
    pub stages: usize,
    /// Of these, how many may be on their way from memory.
    pub under_way: usize,
    pub activation: u32,
    pub layer_format: &'static str,
    pub head_format: &'static str,
    pub embedding_format: &'static str,
    pub shared_bytes: usize,
}

impl Plan {
    /// `None`: this model or GPU goes the general road.
    pub fn of<N>(
        device: &Device,
        spec: &ModelSpec,
        weights: &HostNormed<Matrix, N>,
        dimensions: &Dimensions,
    ) -> Option<Plan> {
        let first = spec.layers.first()?;
        let (head, embedding) = (&weights.head, &weights.embedding);
        let layer_format = weights.layers.first()?.query.kernel_name();
        let ffn = weights.layers.first()?.up.rows();
        let suits = device.capability.0 >= 9
            && dimensions.heads_on_tensor_cores()
            && spec.layers.iter().all(|layer| is_alike(layer, first))
            && spec.final_norm.kind == NormKind::Rms
            && spec.final_norm.bias.is_none()
            && spec.final_norm.eps == first.attention_norm.eps
            && weights.layers.iter().all(|layer| {
                let gate = layer.gate.iter();
                let all = [&layer.query, &layer.key, &layer.value, &layer.output, &layer.up, &layer.down];
                layer.up.rows() == ffn
                    && all.into_iter().chain(gate).all(|matrix| matrix.kernel_name() == layer_format && streams(matrix))
            })
            && streams(head);
        let (width, heads) = (spec.width, spec.heads * spec.head_dim);
        let qkv = heads + 2 * spec.kv_heads * spec.head_dim;
        let fewest = [qkv, width, ffn, head.rows()].into_iter().min()? / 8;
        let blocks = (device.multiprocessors as usize).min(fewest);
        if !suits || spec.kv_heads * dimensions.splits > blocks {
            return None;
        }
        let stage = stage_bytes(weights.layers.first()?.query.format()).max(stage_bytes(head.format()));
        let turns = width.max(heads).max(ffn).div_ceil(TURN);
        let group = spec.heads / spec.kv_heads;
        let scratch = (TEAM * turns * 128).max(TEAM * group * spec.head_dim * 4);
        let heads_bytes = dimensions.heads_bytes();
        let own_rows = (width / 8).div_ceil(blocks) * 8 + 8;
        // Counters, sums, squares, the residual, heads, the table of layers, and what alignment takes.
        let places = FINISHERS * HANDOVERS;
        let counters = 8 * (2 * MOST_STAGES + 2 * places);
        let sums = places * 16 * (TEAM + 4) * 4 + 2 * TEAM * 4;
        let table = size_of::<LayerArgument>() * spec.layers.len();
        let rest = counters + sums + own_rows * 4 + heads_bytes + table + 512;
        let room = (device.shared_bytes as usize).checked_sub(rest + scratch)?;
        let stages = (room / stage).min(MOST_STAGES);
        let shared_bytes = (rest + scratch + stages * stage).next_multiple_of(128).min(device.shared_bytes as usize);
        let layer = weights.layers.first()?;
        let matrices = [&layer.query, &layer.key, &layer.value, &layer.output, &layer.up, &layer.down];
        let layer_bytes: usize = matrices.into_iter().chain(&layer.gate).map(|matrix| matrix.bytes()).sum();
        (stages >= FEWEST_STAGES).then(|| Plan {
            blocks,
            layers: spec.layers.len(),
            ffn,
            vocab: head.rows(),
            stages,
            under_way: if layer_bytes / blocks < LARGE_LAYER { 1 } else { 2 },
            activation: activation_code(first.activation),
            layer_format,
            head_format: head.kernel_name(),
            embedding_format: kernel_name(embedding.format()),
            shared_bytes,
        })
    }

    /// The kernel's constants, as lines of source.
    pub fn definitions(&self) -> String {
        let mut out = String::from("#define DECODE 1\n");
        let constants = [
            ("BLOCKS", self.blocks),
            ("LAYERS", self.layers),
            ("FFN", self.ffn),
            ("VOCAB", self.vocab),
            ("STAGES", self.stages),
            ("UNDER_WAY", self.under_way),
            ("SHARED_BYTES", self.shared_bytes),
            ("ACTIVATION", self.activation as usize),
        ];
        let formats = [
            ("LAYER_FORMAT", self.layer_format),
            ("HEAD_FORMAT", self.head_format),
            ("EMBEDDING_FORMAT", self.embedding_format),
        ];
        // Writing to a string does not fail.
        for (name, value) in constants {
            let _ = writeln!(out, "#define {name} {value}");
        }
        for (name, value) in formats {
            let _ = writeln!(out, "#define {name} {value}");
        }
        out
    }
}

/// Whether two layers differ in their weights and their window alone, and are of the kind that the kernel knows.
fn is_alike(layer: &LayerSpec, first: &LayerSpec) -> bool {
    let plain = |norm: &crate::model::spec::Norm| {
        norm.kind == NormKind::Rms && norm.bias.is_none() && norm.eps == first.attention_norm.eps
    };
    plain(&layer.attention_norm)
        && layer.ffn_norm.as_ref().is_some_and(plain)
        && layer.query_norm.as_ref().is_none_or(plain)
        && layer.key_norm.as_ref().is_none_or(plain)
        && layer.attention_post_norm.is_none()
        && layer.ffn_post_norm.is_none()
        && layer.gate.is_some()
        && layer.activation == first.activation
        && layer.attention_scale == first.attention_scale
        && layer.attention_softcap == first.attention_softcap
}

/// Whether rows of a matrix can be copied in bulk: whole tiles, and pieces of whole 16 bytes.
fn streams(matrix: &Matrix) -> bool {
    let format = matrix.format();
    let aligned = |bytes: usize| (matrix.cols() / lane_block(format) * bytes).is_multiple_of(16);
    let blocked = matrix.kernel_name() == super::weights::BLOCKED_F8;
    !blocked
        && matrix.is_dense()
        && matrix.rows().is_multiple_of(8)
        && matrix.cols().is_multiple_of(32)
        && planes(format).iter().all(|bytes| aligned(*bytes))
}

/// LEN of kernels/formats.cuh.
fn lane_block(format: Format) -> usize {
    format.block_len().max(8)
}

/// The bytes of a block in each plane, as kernels/formats.cuh has them.
fn planes(format: Format) -> Vec<usize> {
    match format {
        Format::F32 => vec![32],
        Format::F16 | Format::Bf16 => vec![16],
        Format::F8E4m3 => vec![8],
        other => super::weights::fields(other).iter().map(|(_, bytes)| *bytes).collect(),
    }
}

/// `stage_bytes` of kernels/decode.cu: 16 rows of 2 KB of quants and what belongs to them, each row padded.
fn stage_bytes(format: Format) -> usize {
    let (planes, block) = (planes(format), lane_block(format));
    let cols = 2048 / planes[0] * block;
    let rows = planes.iter().map(|bytes| 16 * (cols / block * bytes + (bytes * 32 / block).max(16)));
    rows.sum::<usize>().next_multiple_of(128)
}

/// `DecodeLayer` of kernels/decode.cu.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LayerArgument {
    weights: [u64; 7],
    scales: [u64; 7],
    bias: [u64; 7],
    norms: [u64; 4],
    tables: [u64; 2],
    window: u64,
}

/// What the kernel keeps on the device.
pub(super) struct Decoder {
    kernel: Kernel,
    plan: Plan,
    layers: Memory,
    packets: Memory,
    best: Memory,
    /// Finishing warps that are through, then the epoch of the last vector.
    counters: Memory,
}

impl Decoder {
    pub fn new(
        device: &Arc<Device>,
        module: &Module,
        plan: &Plan,
        spec: &ModelSpec,
        weights: &Weights,
        angles: &[Angles],
        dimensions: &Dimensions,
    ) -> Result<Decoder> {
        let kernel = module.kernel("decode_token")?;
        kernel.allow_shared(plan.shared_bytes as u32)?;
        let table = weights.layers.iter().zip(&spec.layers).map(|(layer, spec)| {
            let gate = layer.gate.as_ref().unwrap_or(&layer.up);
            let matrices = [&layer.query, &layer.key, &layer.value, &layer.output, gate, &layer.up, &layer.down];
            let arguments = matrices.map(|matrix| matrix.matrix());
            let norm = |norm: Option<&super::weights::Norm>| norm.map_or(0, super::weights::Norm::weight);
            let (short, long) = &angles[spec.rope].tables;
            LayerArgument {
                weights: arguments.map(|matrix| matrix.weights),
                scales: arguments.map(|matrix| matrix.scales),
                bias: arguments.map(|matrix| matrix.bias),
                norms: [
                    layer.attention_norm.weight(),
                    norm(layer.ffn_norm.as_ref()),
                    norm(layer.query_norm.as_ref()),
                    norm(layer.key_norm.as_ref()),
                ],
                tables: [short.at(), long.as_ref().map_or(0, Memory::at)],
                window: spec.window.map_or(0, |window| u32::try_from(window).unwrap_or(0).into()),
            }
        });
        let heads = spec.heads * spec.head_dim;
        let qkv = heads + 2 * spec.kv_heads * spec.head_dim;
        let partial = spec.heads * dimensions.splits * (spec.head_dim + 2);
        Ok(Decoder {
            kernel,
            plan: plan.clone(),
            layers: device.upload(&table.collect::<Vec<_>>())?,
            packets: device.zeros((qkv + heads + 2 * spec.width + plan.ffn + partial) * 8)?,
            best: device.zeros(plan.blocks * FINISHERS * 8)?,
            counters: device.zeros(8)?,
        })
    }

    /// Queues the token of the pass's first row: its logits, and where `feed` says so the choice of the largest.
    pub fn queue(&self, pass: &Pass, spec: &ModelSpec, weights: &Weights, feed: bool) -> Result<()> {
        let Some(first) = spec.layers.first() else { return Ok(()) };
        let argument = DecodeArgument {
            layers: self.layers.at(),
            embedding: weights.embedding.matrix(),
            head: weights.head.matrix(),
            final_norm: weights.final_norm.weight(),
            row: pass.rows.at(),
            logits: pass.logits.memory.at(),
            packets: self.packets.at(),
            best: self.best.at(),
            done: self.counters.at(),
            epoch: self.counters.at() + 4,
            out: pass.tokens.at(),
            step: pass.steps.at(),
            eps: weights.final_norm.eps(),
            embedding_scale: spec.embedding_scale,
            attention_scale: first.attention_scale,
            attention_cap: first.attention_softcap.unwrap_or(0.0),
            logit_cap: spec.logit_softcap.unwrap_or(0.0),
            rotary: spec.ropes.get(first.rope).map_or(0, |rope| rope.rotary as u32),
            feed: u32::from(feed),
            pad: 0,
        };
        let (blocks, shared) = (self.plan.blocks as u32, self.plan.shared_bytes as u32);
        // SAFETY: `Plan::of` checked that the model is what the kernel was compiled for, `prepare` made room in the cache,
        // and everything the argument names lives as long as the model, whose pass this is.
        unsafe {
            pass.stream.launch_together(&self.kernel, blocks, WARPS as u32 * 32, shared, &[Argument::Decode(argument)])
        }
    }
}
