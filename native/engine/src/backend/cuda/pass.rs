//! What a pass on the device works with: its memory, its stream, and the kernels by name.
//!
//! There is one `Pass` a model; its planes are as wide as the widest linear that reads or writes them, and what lies
//! between a row's width and its stride is 0 for ever, so that kernels may read whole vectors.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytemuck::{Pod, Zeroable};

use super::{
    argument::{Argument, EndingArgument, kernel_name},
    driver::{Device, Graph, Memory, Pinned, Stream},
    forward::{ARGMAX_PARTS, BATCH, CHUNK, STEPS},
    module::{Kernel, Module},
    program::{Dimensions, TEAM},
    sampling::Sampler,
};
use crate::{
    error::Result,
    model::spec::{Activation, ModelSpec, Rope},
    quant::Format,
};

/// `Row` of kernels/common.cuh.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Row {
    pub pages: u64,
    pub position: u32,
    pub token: u32,
    pub is_long: u32,
    pub pad: u32,
}

/// f32 [rows][stride] on the device; what lies between width and stride stays 0.
pub(super) struct Plane {
    pub memory: Memory,
    pub stride: u32,
}

impl Plane {
    pub fn new(device: &Arc<Device>, rows: usize, width: usize) -> Result<Plane> {
        let stride = width.next_multiple_of(32);
        Ok(Plane { memory: device.zeros(rows * stride * 4)?, stride: stride as u32 })
    }

    pub fn at(&self) -> Argument {
        Argument::Address(self.memory.at())
    }

    pub fn stride(&self) -> Argument {
        Argument::Count(self.stride)
    }
}

/// `units_of_eight` of kernels/gemv.cu: units of a block that multiplies eight rows.
pub(super) fn units_of_eight(format: Format) -> u32 {
    if format.block_len() == 256 { 1 } else { 2 }
}

/// Rows of activations as `gemv8` of kernels/gemv.cu multiplies them.
pub(super) struct Split {
    /// uint4 [CHUNK / 8][blocks of 32 columns][2][32]
    pub pieces: Memory,
    /// f32 [CHUNK][TEAM] each
    pub scales: Memory,
    pub squares: Memory,
}

impl Split {
    pub fn new(device: &Arc<Device>, widest: usize) -> Result<Split> {
        let some = || device.zeros(CHUNK * TEAM * 4);
        let pieces = device.zeros(CHUNK * widest.next_multiple_of(32) * 4)?;
        Ok(Split { pieces, scales: some()?, squares: some()? })
    }
}

/// The memory of a pass; one at a time.
pub(super) struct Pass {
    pub rows: Memory,
    pub wanted: Memory,
    pub x: Plane,
    pub h: Plane,
    pub query: Plane,
    pub key: Plane,
    pub value: Plane,
    pub mixed: Plane,
    pub gate: Plane,
    pub delta: Plane,
    pub logits: Plane,
    pub split: Split,
    /// f32 [BATCH][H][spans][HD + 2]
    pub partial: Memory,
    pub best: Memory,
    pub steps: Memory,
    pub tokens: Memory,
    pub rows_host: Pinned,
    pub wanted_host: Pinned,
    pub logits_host: Pinned,
    pub steps_host: Pinned,
    pub tokens_host: Pinned,
    pub sampler: Sampler,
    /// Decoding passes by (rows, spans, whether a row draws).
    pub graphs: HashMap<(u32, u32, bool), Graph>,
    // Last: everything above may still be used by what is under way.
    pub stream: Stream,
}

/// Products of up to four rows, and of eight that are split before; plain and gated.
pub(super) struct Products {
    pub four: [Kernel; 2],
    pub split: Kernel,
    pub eight: [Kernel; 2],
}

pub(super) struct Kernels {
    /// By the format's name in the kernels.
    pub gemv: HashMap<&'static str, Products>,
    pub embed: Kernel,
    pub norm_rows: Kernel,
    pub add_norm: Kernel,
    pub rotate: Kernel,
    pub attend: Kernel,
    pub combine: Kernel,
    pub attend_rows: Kernel,
    /// attend_heads and combine_splits, where they serve the model.
    pub heads: Option<[Kernel; 2]>,
    pub argmax_parts: Kernel,
    pub argmax_feed: Kernel,
}

impl Kernels {
    pub fn new(
        module: &Module,
        names: &BTreeSet<&'static str>,
        embedding: Format,
        dimensions: &Dimensions,
    ) -> Result<Kernels> {
        let gemv = |name: &&'static str| {
            let kernel = |kind: &str| module.kernel(&format!("{kind}_{name}"));
            let four = [kernel("gemv4")?, kernel("gemv4_gated")?];
            let following = |kind: &str| kernel(kind)?.following();
            let eight = [following("gemv8")?, following("gemv8_gated")?];
            Ok((*name, Products { four, split: following("split8")?, eight }))
        };
        let heads = |attend: Kernel| {
            attend.allow_shared(dimensions.attend_bytes() as u32)?;
            Ok([attend.following()?, module.kernel("combine_splits")?.following()?])
        };
        Ok(Kernels {
            gemv: names.iter().map(gemv).collect::<Result<_>>()?,
            heads: module.find("attend_heads")?.map(heads).transpose()?,
            embed: module.kernel(&format!("embed_{}", kernel_name(embedding)))?,
            norm_rows: module.kernel("norm_rows")?,
            add_norm: module.kernel("add_norm")?,
            rotate: module.kernel("rotate")?,
            attend: module.kernel("attend")?,
            combine: module.kernel("combine")?,
            attend_rows: module.kernel("attend_rows")?,
            argmax_parts: module.kernel("argmax_parts")?,
            argmax_feed: module.kernel("argmax_feed")?,
        })
    }
}

impl Pass {
    pub fn new(
        device: &Arc<Device>,
        module: &Module,
        spec: &ModelSpec,
        dimensions: &Dimensions,
        context: usize,
    ) -> Result<Pass> {
        let ffn = spec.layers.iter().map(|layer| layer.up.out()).max().unwrap_or(0);
        let (heads, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let plane = |width| Plane::new(device, CHUNK, width);
        let logits = Plane::new(device, BATCH, spec.vocab)?;
        let spans = context.div_ceil(dimensions.span);
        Ok(Pass {
            rows: device.zeros(CHUNK * size_of::<Row>())?,
            wanted: device.zeros(BATCH * 4)?,
            x: plane(spec.width)?,
            h: plane(spec.width)?,
            query: plane(heads)?,
            key: plane(kv)?,
            value: plane(kv)?,
            mixed: plane(heads)?,
            gate: plane(ffn)?,
            delta: plane(spec.width)?,
            split: Split::new(device, ffn.max(heads).max(spec.width))?,
            partial: device.zeros(BATCH * spec.heads * spans.max(dimensions.splits) * (spec.head_dim + 2) * 4)?,
            best: device.zeros(BATCH * ARGMAX_PARTS as usize * 8)?,
            steps: device.zeros(BATCH * 4)?,
            tokens: device.zeros(STEPS * BATCH * 4)?,
            rows_host: device.pinned(CHUNK * size_of::<Row>())?,
            wanted_host: device.pinned(BATCH * 4)?,
            logits_host: device.pinned(logits.memory.bytes())?,
            steps_host: device.pinned(BATCH * 4)?,
            tokens_host: device.pinned(STEPS * BATCH * 4)?,
            logits,
            sampler: Sampler::new(device, module, spec.vocab)?,
            graphs: HashMap::new(),
            stream: device.stream()?,
        })
    }
}

/// What becomes of a product.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    Store,
    Add,
    /// activation(product of the first matrix) * product of the second
    Gated(Activation),
    /// what is there * product
    Scaled,
    Activated(Activation),
    /// cap tanh(product / cap)
    Cap(f32),
}

impl Mode {
    /// `Ending` of kernels/gemv.cu, for sums that no norm goes before.
    pub fn ending(self) -> EndingArgument {
        let (mode, activation, cap) = match self {
            Mode::Store => (0, 0, 1.0),
            Mode::Add => (1, 0, 1.0),
            Mode::Gated(activation) => (2, activation_code(activation), 1.0),
            Mode::Activated(activation) => (3, activation_code(activation), 1.0),
            Mode::Cap(cap) => (4, 0, cap),
            Mode::Scaled => (5, 0, 1.0),
        };
        EndingArgument { mode, activation, cap, ..EndingArgument::default() }
    }
}

/// `kind` of `activate` in kernels/common.cuh.
pub(super) fn activation_code(activation: Activation) -> u32 {
    match activation {
        Activation::Silu => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::Relu => 3,
    }
}

/// The rotations of a rope, on the device.
pub(super) struct Angles {
    /// float2 (cos, sin) [context][rotary / 2], and that of long sequences.
    pub tables: (Memory, Option<Memory>),
}

/// cos and sin of every pair's angle at every position, times the magnitude.
pub(super) fn upload_angles(device: &Arc<Device>, rope: &Rope, context: usize) -> Result<Angles> {
    let table = |frequencies: &[f32]| {
        let angles = (0..context).flat_map(|position| {
            frequencies.iter().flat_map(move |frequency| {
                let angle = position as f32 * frequency;
                [angle.cos() * rope.magnitude, angle.sin() * rope.magnitude]
            })
        });
        device.upload(&angles.collect::<Vec<f32>>())
    };
    let long = rope.long.as_ref().map(|long| table(&long.inverse_frequencies)).transpose()?;
    Ok(Angles { tables: (table(&rope.inverse_frequencies)?, long) })
}
