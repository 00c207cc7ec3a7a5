//! A prompt's chunk through a layer on tensor cores: activations and weights as f16 with a power of two a row, f32 sums.
//!
//! norm_half and round_rows make a product's input, halve_<format> makes f16 of weights that are stored otherwise, in
//! memory that the next product uses again, and kernels/gemm.cu multiplies; attention is kernels/flash.cu. On Hopper
//! kernels/gemm_f8.cu multiplies F8_E4M3 weights as they are.
//!
//! The one surprise: a model whose layers hold F32 weights, or whose cache is f32, has no `Prefill`. Who keeps 24 bits
//! wants them, so its prompts run through the products of decoding, which are exact in the weights.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    argument::{Argument, MatrixArgument, kernel_name},
    driver::{Device, Memory, Stream},
    forward::{CHUNK, CudaModel},
    module::{Kernel, Module},
    pass::{Mode, Pass, Plane},
    program::{Dimensions, KvFormat},
    weights::{Layer, Matrix, Norm, Weights},
};
use crate::{
    backend::weights::Packed,
    error::{Error, Result},
    quant::Format,
};

// As in kernels/gemm.cu and kernels/flash.cu.
const TILE_TOKENS: u32 = 128;
const STAGES: u32 = 3;
const ROW_BYTES: u32 = 128;
// As in kernels/gemm_f8.cu.
const CODE_STAGES: u32 = 4;
const CODE_ROW_BYTES: u32 = 80;
const FLASH_ROWS: u32 = 64;
/// Matrices of one launch.
const PARTS: usize = 3;

/// One kernel of kernels/gemm.cu or kernels/gemm_f8.cu.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gemm {
    kernel: Kernel,
    /// Rows of a tile.
    rows: u32,
    threads: u32,
    shared: u32,
}

impl Gemm {
    fn new(module: &Module, is_wide: bool, rows: u32) -> Result<Gemm> {
        let kernel = module.kernel(&format!("gemm_{}{rows}", if is_wide { "wide_" } else { "" }))?;
        let shared = STAGES * (TILE_TOKENS + rows) * ROW_BYTES;
        kernel.allow_shared(shared)?;
        Ok(Gemm { kernel, rows, threads: if is_wide { 256 } else { 128 }, shared })
    }

    /// Those for codes, where they were compiled.
    fn codes(module: &Module) -> Result<Option<[Gemm; 2]>> {
        let gemm = |rows: u32| -> Result<Option<Gemm>> {
            let Some(kernel) = module.find(&format!("gemm_f8_{rows}"))? else { return Ok(None) };
            let shared = CODE_STAGES * (TILE_TOKENS * ROW_BYTES + rows * CODE_ROW_BYTES);
            kernel.allow_shared(shared)?;
            Ok(Some(Gemm { kernel, rows, threads: 256, shared }))
        };
        Ok(gemm(128)?.zip(gemm(64)?).map(|(wide, narrow)| [wide, narrow]))
    }
}

/// f16 [CHUNK][stride] with a scale a row.
pub(super) struct Halves {
    values: Memory,
    scales: Memory,
    stride: u32,
}

impl Halves {
    pub fn new(device: &Arc<Device>, width: usize) -> Result<Halves> {
        let stride = width.next_multiple_of(64);
        let (values, scales) = (device.zeros(CHUNK * stride * 2)?, device.zeros(CHUNK * 4)?);
        Ok(Halves { values, scales, stride: stride as u32 })
    }
}

/// What prompts need beside a `Pass`.
pub(super) struct Prefill {
    /// Tiles of 128 rows, of 64 rows.
    gemms: [Gemm; 2],
    /// The same for matrices of which `has_codes` is true.
    codes: Option<[Gemm; 2]>,
    halve: HashMap<Format, Kernel>,
    round_rows: Kernel,
    norm_half: Kernel,
    /// With its bytes of shared memory; None: the head's width is not one of its.
    pub flash: Option<(Kernel, u32)>,
    /// What a norm gave; kept over attention, for layers whose halves run side by side.
    pub normed: Halves,
    pub rounded: Halves,
    /// f16 weights of the product under way.
    weights: Memory,
    /// The scales of each matrix' rows, by the address of its weights.
    scales: HashMap<u64, Memory>,
    multiprocessors: u32,
}

/// The matrices of each launch of a layer.
fn launches(layer: &Layer) -> Vec<Vec<&Matrix>> {
    let mut ffn: Vec<&Matrix> = layer.gate.iter().map(|gate| &**gate).collect();
    ffn.push(&layer.up);
    vec![vec![&layer.query, &layer.key, &layer.value], vec![&layer.output], ffn, vec![&layer.down]]
}

/// Bytes of a matrix as f16, so that the next one is aligned.
fn half_bytes(matrix: &Matrix) -> usize {
    match matrix.format() {
        Format::F16 => 0,
        _ => (matrix.rows() * matrix.cols().next_multiple_of(8) * 2).next_multiple_of(256),
    }
}

/// Whether a matrix has what kernels/gemm_f8.cu reads: F8_E4M3 with a scale a row at most, in pieces of sixteen.
fn has_codes(matrix: &Matrix) -> bool {
    matrix.format() == Format::F8E4m3 && matrix.matrix().scale_blocks <= 1 && matrix.cols().is_multiple_of(16)
}

/// Tiles of 128 or of 64 rows of W.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiles {
    Rows128,
    Rows64,
}

impl Prefill {
    /// What a model needs; None where prompts run through the products of decoding.
    pub fn of(
        device: &Arc<Device>,
        module: &Module,
        dimensions: &Dimensions,
        weights: &Weights,
    ) -> Result<Option<Prefill>> {
        let launches: Vec<Vec<&Matrix>> = weights.layers.iter().flat_map(launches).collect();
        let is_exact = launches.iter().flatten().any(|matrix| matrix.format() == Format::F32);
        if is_exact || dimensions.kv_format == KvFormat::F32 {
            return Ok(None);
        }
        let is_wide = module.find("gemm_wide_128")?.is_some();
        Prefill::new(device, module, Some(dimensions), &launches, is_wide).map(Some)
    }

    pub fn new(
        device: &Arc<Device>,
        module: &Module,
        dimensions: Option<&Dimensions>,
        launches: &[Vec<&Matrix>],
        is_wide: bool,
    ) -> Result<Prefill> {
        let gemms = [Gemm::new(module, is_wide, 128)?, Gemm::new(module, is_wide, 64)?];
        let shared = dimensions.and_then(|dimensions| flash_bytes(dimensions.head_dim));
        let flash = match (shared, module.find("flash")?) {
            (Some(shared), Some(kernel)) if shared <= device.shared_bytes => {
                kernel.allow_shared(shared)?;
                Some((kernel, shared))
            }
            _ => None,
        };
        let codes = Gemm::codes(module)?;
        let halved: Vec<&Vec<&Matrix>> = launches
            .iter()
            .filter(|launch| codes.is_none() || !launch.iter().all(|matrix| has_codes(matrix)))
            .collect();
        let matrices = || halved.iter().copied().flatten();
        let formats: BTreeSet<Format> = matrices().map(|matrix| matrix.format()).collect();
        let named = |prefix: &str| -> Result<HashMap<Format, Kernel>> {
            let stored_otherwise = formats.iter().filter(|format| **format != Format::F16);
            stored_otherwise
                .map(|format| Ok((*format, module.kernel(&format!("{prefix}_{}", kernel_name(*format)))?)))
                .collect()
        };
        let widths = launches.iter().flatten().map(|matrix| matrix.cols());
        let width = widths.max().unwrap_or(0);
        let bytes = halved.iter().map(|launch| launch.iter().map(|matrix| half_bytes(matrix)).sum::<usize>());
        let scales = row_scales(device, &named("scale")?, matrices().copied())?;
        Ok(Prefill {
            gemms,
            codes,
            halve: named("halve")?,
            round_rows: module.kernel("round_rows")?,
            norm_half: module.kernel("norm_half")?,
            flash,
            normed: Halves::new(device, width)?,
            rounded: Halves::new(device, width)?,
            weights: device.memory(bytes.max().unwrap_or(0))?,
            scales,
            multiprocessors: device.multiprocessors,
        })
    }

    /// Queues a layer of `count` rows.
    pub fn layer(&self, model: &CudaModel, pass: &Pass, index: usize, count: u32, spans: u32) -> Result<()> {
        let (layer, spec) = (&model.weights.layers[index], &model.spec.layers[index]);
        let stream = &pass.stream;
        self.norm(stream, &layer.attention_norm, &pass.x, model.spec.width, count)?;
        let parts = [(&*layer.query, &pass.query), (&*layer.key, &pass.key), (&*layer.value, &pass.value)];
        self.multiply(stream, &parts, &self.normed, count, Mode::Store)?;
        model.rotate(pass, index, layer, count)?;
        if self.flash.is_some() {
            let attention = Attention {
                rows: &pass.rows,
                layer: index as u32,
                heads: model.spec.heads as u32,
                query: &pass.query,
                mixed: &pass.mixed,
                window: spec.window,
                scale: spec.attention_scale,
                softcap: spec.attention_softcap,
            };
            self.attend(stream, &attention, count)?;
        } else {
            model.attend(pass, index, count, spans)?;
        }
        self.round(stream, &pass.mixed, layer.output.cols(), count)?;
        self.add_product(model, pass, &layer.output, layer.attention_post_norm.as_ref(), count)?;
        if let Some(norm) = &layer.ffn_norm {
            self.norm(stream, norm, &pass.x, model.spec.width, count)?;
        }
        match &layer.gate {
            Some(gate) => {
                let parts = [(&**gate, &pass.gate), (&*layer.up, &pass.gate)];
                self.multiply(stream, &parts, &self.normed, count, Mode::Gated(spec.activation))?;
            }
            None => {
                let parts = [(&*layer.up, &pass.gate)];
                self.multiply(stream, &parts, &self.normed, count, Mode::Activated(spec.activation))?;
            }
        }
        self.round(stream, &pass.gate, layer.down.cols(), count)?;
        self.add_product(model, pass, &layer.down, layer.ffn_post_norm.as_ref(), count)
    }

    /// x += post_norm(W rounded)
    fn add_product(
        &self,
        model: &CudaModel,
        pass: &Pass,
        matrix: &Matrix,
        post_norm: Option<&Norm>,
        count: u32,
    ) -> Result<()> {
        let Some(norm) = post_norm else {
            return self.multiply(&pass.stream, &[(matrix, &pass.x)], &self.rounded, count, Mode::Add);
        };
        self.multiply(&pass.stream, &[(matrix, &pass.delta)], &self.rounded, count, Mode::Store)?;
        model.add_norm(pass, norm, count)
    }

    /// normed = norm(x)
    pub fn norm(&self, stream: &Stream, norm: &Norm, x: &Plane, width: usize, count: u32) -> Result<()> {
        let mut arguments = vec![norm.argument(), x.at(), x.stride(), Argument::Count(width as u32)];
        arguments.extend(self.normed.arguments());
        let threads = (width.div_ceil(8).next_multiple_of(32) as u32).clamp(32, 512);
        // SAFETY: both have CHUNK rows of at least `width` numbers, rounded up to eight, and live as long as the stream.
        unsafe { stream.launch(&self.norm_half, [count, 1, 1], threads, 0, &arguments) }
    }

    /// rounded = x
    pub fn round(&self, stream: &Stream, x: &Plane, width: usize, count: u32) -> Result<()> {
        let mut arguments = vec![x.at(), x.stride(), Argument::Count(width as u32)];
        arguments.extend(self.rounded.arguments());
        // SAFETY: as in `norm`.
        unsafe { stream.launch(&self.round_rows, [count, 1, 1], 256, 0, &arguments) }
    }

    /// output = mode(W input + bias) for up to three matrices of one input; of a gate and its `up` where they are gated.
    pub fn multiply(
        &self,
        stream: &Stream,
        parts: &[(&Matrix, &Plane)],
        input: &Halves,
        count: u32,
        mode: Mode,
    ) -> Result<()> {
        self.multiply_by(self.tiles(parts, mode), stream, parts, input, count, mode)
    }

    /// The same with given tiles.
    pub fn multiply_by(
        &self,
        of: Tiles,
        stream: &Stream,
        parts: &[(&Matrix, &Plane)],
        input: &Halves,
        count: u32,
        mode: Mode,
    ) -> Result<()> {
        let none = MatrixArgument { weights: 0, scales: 0, bias: 0, rows: 0, cols: 0, scale_cols: 1, scale_blocks: 1 };
        let (mut matrices, mut outputs, mut strides) = ([none; PARTS], [0; PARTS], [0; PARTS]);
        let codes = self.codes.as_ref().filter(|_| parts.iter().all(|(matrix, _)| has_codes(matrix)));
        let [wide, narrow] = codes.unwrap_or(&self.gemms);
        let gemm = if of == Tiles::Rows128 { wide } else { narrow };
        let mut at = self.weights.at();
        for (i, (matrix, output)) in parts.iter().enumerate().take(PARTS) {
            matrices[i] = if codes.is_some() { matrix.matrix() } else { self.half(stream, matrix, &mut at)? };
            (outputs[i], strides[i]) = (output.memory.at(), output.stride);
        }
        let cols = matrices[0].cols;
        let is_gated = matches!(mode, Mode::Gated(_));
        let fits = parts.len() <= PARTS
            && matrices[..parts.len()].iter().all(|matrix| matrix.cols == cols)
            && cols <= input.stride
            && (!is_gated || (parts.len() == 2 && matrices[0].rows == matrices[1].rows))
            && parts.iter().all(|(matrix, output)| matrix.rows() <= output.stride as usize)
            && !matches!(mode, Mode::Cap(_) | Mode::Scaled)
            && count as usize <= CHUNK;
        if !fits {
            return Err(Error::Internal { reason: format!("a product of {} matrices of {cols} columns", parts.len()) });
        }
        let grid = [count.div_ceil(TILE_TOKENS), tiles(parts, mode, gemm.rows), 1];
        let ending = mode.ending();
        let mut arguments: Vec<Argument> = matrices.iter().copied().map(Argument::Matrix).collect();
        arguments.extend(outputs.map(Argument::Address));
        arguments.extend(strides.map(Argument::Count));
        arguments.extend([
            Argument::Address(input.values.at()),
            Argument::Count(input.stride),
            Argument::Address(input.scales.at()),
            Argument::Count(count),
            Argument::Count(ending.mode),
            Argument::Count(ending.activation),
        ]);
        // SAFETY: the matrices' rows have `cols` columns, as the input's have; each output has CHUNK rows as wide as its
        // matrix is high; all of it lives until the stream is done.
        unsafe { stream.launch(&gemm.kernel, grid, gemm.threads, gemm.shared, &arguments) }
    }

    /// Narrow tiles where there are too few wide ones for the multiprocessors, whatever the chunk's length is: a row's
    /// bits may not depend on it.
    fn tiles(&self, parts: &[(&Matrix, &Plane)], mode: Mode) -> Tiles {
        let blocks = tiles(parts, mode, self.gemms[0].rows) * (CHUNK as u32 / TILE_TOKENS);
        if blocks * 4 <= self.multiprocessors * 3 { Tiles::Rows64 } else { Tiles::Rows128 }
    }

    /// The matrix as f16, made at `at` where it is stored otherwise.
    fn half(&self, stream: &Stream, matrix: &Matrix, at: &mut u64) -> Result<MatrixArgument> {
        let stored = matrix.matrix();
        if matrix.format() == Format::F16 {
            return Ok(stored);
        }
        let none = || Error::Internal { reason: format!("no f16 twin of a {} matrix", matrix.format()) };
        let scales = self.scales.get(&stored.weights).ok_or_else(none)?.at();
        let kernel = self.halve.get(&matrix.format()).ok_or_else(none)?;
        let twin = MatrixArgument { weights: *at, scales, scale_cols: stored.cols, scale_blocks: 1, ..stored };
        *at += half_bytes(matrix) as u64;
        if *at > self.weights.at() + self.weights.bytes() as u64 {
            return Err(none());
        }
        let arguments = [Argument::Matrix(stored), Argument::Address(scales), Argument::Address(twin.weights)];
        // SAFETY: the rows were just checked to fit.
        unsafe { stream.launch(kernel, [stored.rows, 1, 1], 256, 0, &arguments)? };
        Ok(twin)
    }

    /// mixed = attention(query, cache), for heads of a width that kernels/flash.cu has.
    pub fn attend(&self, stream: &Stream, of: &Attention, count: u32) -> Result<()> {
        let Some((kernel, shared)) = &self.flash else {
            return Err(Error::Internal { reason: "no attention for heads of this width".into() });
        };
        let arguments = [
            Argument::Address(of.rows.at()),
            Argument::Count(of.layer),
            of.query.at(),
            of.query.stride(),
            Argument::Count(of.window.map_or(0, |window| u32::try_from(window).unwrap_or(0))),
            Argument::Float(of.scale),
            Argument::Float(of.softcap.unwrap_or(0.0)),
            of.mixed.at(),
            Argument::Count(count),
        ];
        // SAFETY: `rows` names `count` rows whose pages were made room for, the planes have H * HD columns.
        unsafe { stream.launch(kernel, [of.heads, count.div_ceil(FLASH_ROWS), 1], 128, *shared, &arguments) }
    }
}

/// What attention works on.
pub(super) struct Attention<'a> {
    pub rows: &'a Memory,
    pub layer: u32,
    pub heads: u32,
    pub query: &'a Plane,
    /// As wide as `query`.
    pub mixed: &'a Plane,
    pub window: Option<usize>,
    pub scale: f32,
    pub softcap: Option<f32>,
}

impl Halves {
    fn arguments(&self) -> [Argument; 3] {
        [Argument::Address(self.values.at()), Argument::Count(self.stride), Argument::Address(self.scales.at())]
    }
}

/// Tiles of all matrices' rows; those of a gate and its `up` share theirs.
fn tiles(parts: &[(&Matrix, &Plane)], mode: Mode, rows: u32) -> u32 {
    let of = |matrix: &Matrix, rows: u32| (matrix.rows() as u32).div_ceil(rows);
    match (mode, parts) {
        (Mode::Gated(_), [(gate, _), ..]) => of(gate, rows / 2),
        _ => parts.iter().map(|(matrix, _)| of(matrix, rows)).sum(),
    }
}

/// Shared memory of kernels/flash.cu; None: not for heads of this width.
pub(super) fn flash_bytes(head_dim: usize) -> Option<u32> {
    let tile = if head_dim > 128 { 32 } else { 64 };
    let rows = 2 * FLASH_ROWS as usize + 2 * tile;
    (head_dim.is_multiple_of(16) && head_dim <= 256).then_some((rows * (head_dim + 8) * 2) as u32)
}

/// Finds the scale of every row of the matrices that are not f16 as they are.
fn row_scales<'a>(
    device: &Arc<Device>,
    kernels: &HashMap<Format, Kernel>,
    matrices: impl Iterator<Item = &'a Matrix>,
) -> Result<HashMap<u64, Memory>> {
    let stream = device.stream()?;
    let mut all = HashMap::new();
    for matrix in matrices {
        let stored = matrix.matrix();
        let Some(kernel) = kernels.get(&matrix.format()) else { continue };
        if all.contains_key(&stored.weights) {
            continue;
        }
        let scales = device.memory(matrix.rows() * 4)?;
        let arguments = [Argument::Matrix(stored), Argument::Address(scales.at())];
        // SAFETY: the kernel writes a float a row, and `scales` outlives the wait below.
        unsafe { stream.launch(kernel, [stored.rows, 1, 1], 256, 0, &arguments)? };
        all.insert(stored.weights, scales);
    }
    stream.wait()?;
    Ok(all)
}
