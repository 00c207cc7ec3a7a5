//! The model's weights on the device: each format's blocks taken apart into fields, so that every load is aligned.
//!
//! A block of Q4_0 is a scale and sixteen bytes of quants; here all quants of the matrix come first, then all scales.
//! kernels/common.cuh reads them so. The bits are those of the checkpoint.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use super::{
    argument::{Argument, MatrixArgument, NormArgument, PartArgument, kernel_name},
    driver::{Device, Memory},
    pass::Plane,
    upload::Vram,
};
use crate::{
    backend::weights::{self, Packed},
    checkpoint::Checkpoint,
    error::{Error, Result},
    model::spec::{ModelSpec, NormKind},
    quant::{Format, WeightFormat},
};

pub type Weights = weights::Weights<Matrix, Norm>;
/// The same with the norms still on the host.
pub type HostNormed = weights::Weights<Matrix>;
pub type Layer = weights::Layer<Matrix, Norm>;
pub type Loading = weights::Loading<Vram>;

impl Loading {
    pub fn new(device: &Arc<Device>, spec: &ModelSpec, checkpoint: &Checkpoint, format: WeightFormat) -> Result<Self> {
        Loading::into(Vram::new(device), spec, checkpoint, format)
    }
}

/// The fields of a block in the order of their arrays: (offset in the stored block, bytes).
pub(super) const fn fields(format: Format) -> &'static [(usize, usize)] {
    match format {
        Format::F32 | Format::F16 | Format::Bf16 | Format::F8E4m3 => &[],
        // `Store::matrix` refuses them.
        Format::Int8 | Format::Int4 | Format::Int8Sparse24 | Format::Int4Sparse24 => &[],
        Format::Q8_0 => &[(2, 32), (0, 2)],
        Format::Q4_0 => &[(2, 16), (0, 2)],
        Format::Q4_1 => &[(4, 16), (0, 4)],
        Format::Q5_0 => &[(6, 16), (2, 4), (0, 2)],
        Format::Q5_1 => &[(8, 16), (0, 4), (4, 4)],
        Format::Q2K => &[(16, 64), (0, 16), (80, 4)],
        Format::Q3K => &[(32, 64), (0, 32), (96, 12), (108, 2)],
        Format::Q4K => &[(16, 128), (0, 16)],
        Format::Q5K => &[(48, 128), (16, 32), (0, 16)],
        Format::Q6K => &[(0, 128), (128, 64), (192, 16), (208, 2)],
    }
}

/// W: [rows, cols] on the device.
#[derive(Debug)]
pub struct Matrix {
    device: Arc<Device>,
    format: Format,
    rows: usize,
    cols: usize,
    /// Columns, rounded up to what a lane takes.
    padded: usize,
    weights: Memory,
    /// f32 [rows][scale_blocks]
    scales: Option<Memory>,
    scale_cols: usize,
    scale_blocks: usize,
    bias: Option<Memory>,
}

impl Matrix {
    pub fn new(device: &Arc<Device>, format: Format, rows: usize, cols: usize) -> Result<Matrix> {
        let too_large = || Error::malformed(format!("{format} matrix"), "a size that fits", format!("{rows} x {cols}"));
        let padded = cols.checked_next_multiple_of(8).ok_or_else(too_large)?;
        let row_bytes = format.bytes_of(padded).ok_or_else(|| {
            let expected = format!("rows of whole blocks of {} weights", format.block_len());
            Error::malformed(format!("{format} matrix"), expected, format!("{cols} columns"))
        })?;
        if u32::try_from(rows).is_err() || u32::try_from(padded).is_err() {
            return Err(too_large());
        }
        let weights = device.zeros(row_bytes.checked_mul(rows).ok_or_else(too_large)?)?;
        let device = Arc::clone(device);
        let (scales, bias) = (None, None);
        Ok(Matrix {
            device,
            format,
            rows,
            cols,
            padded,
            weights,
            scales,
            scale_cols: cols.max(1),
            scale_blocks: 1,
            bias,
        })
    }

    /// The name of what its kernels read: the format's, but for F8_E4M3 whose scales serve blocks of columns.
    pub fn kernel_name(&self) -> &'static str {
        if self.scale_blocks > 1 { BLOCKED_F8 } else { kernel_name(self.format) }
    }

    /// Whether rows lie one behind the other without padding.
    pub fn is_dense(&self) -> bool {
        self.padded == self.cols
    }

    pub fn argument(&self) -> Argument {
        Argument::Matrix(self.matrix())
    }

    /// The products of this matrix go to `plane`.
    pub(super) fn part(&self, plane: &Plane) -> PartArgument {
        let tiles = (self.rows as u32).div_ceil(8);
        PartArgument { matrix: self.matrix(), y: plane.memory.at(), stride: plane.stride, tiles }
    }

    pub fn matrix(&self) -> MatrixArgument {
        let at = |memory: &Option<Memory>| memory.as_ref().map_or(0, Memory::at);
        MatrixArgument {
            weights: self.weights.at(),
            scales: at(&self.scales),
            bias: at(&self.bias),
            // All four were checked to fit.
            rows: self.rows as u32,
            cols: self.padded as u32,
            scale_cols: self.scale_cols as u32,
            scale_blocks: self.scale_blocks as u32,
        }
    }

    /// F8_E4M3 with scales that serve no whole blocks of 32 columns: the weights become what they mean, in f32.
    fn widen(&mut self, scale_cols: usize, rows: &[Vec<f32>]) -> Result<()> {
        let codes = self.weights.read(self.rows * self.padded)?;
        let mut wide = Matrix::new(&self.device, Format::F32, self.rows, self.cols)?;
        let mut values = vec![0.0_f32; self.cols];
        for (row, (codes, scales)) in codes.chunks_exact(self.padded).zip(rows).enumerate() {
            self.format.dequantize(&codes[..self.cols], &mut values)?;
            for (values, scale) in values.chunks_mut(scale_cols).zip(scales) {
                values.iter_mut().for_each(|value| *value *= scale);
            }
            wide.set_rows(&[row], bytemuck::cast_slice(&values))?;
        }
        wide.bias = self.bias.take();
        *self = wide;
        Ok(())
    }

    pub fn memory(&self) -> &Memory {
        &self.weights
    }

    /// Whether rows that keep their places go to the device as they are stored; then they belong to `offset`.
    pub fn offset_as_stored(&self, places: &[usize]) -> Option<usize> {
        let first = *places.first()?;
        let in_place = places.iter().zip(first..).all(|(place, expected)| *place == expected);
        let as_stored = fields(self.format).is_empty() && self.padded == self.cols && in_place;
        as_stored.then_some(first * self.format.bytes_of(self.cols).unwrap_or(0))
    }

    /// Bytes that `rows` take on the device.
    pub fn packed_bytes(&self, rows: usize) -> usize {
        self.format.bytes_of(self.padded).unwrap_or(0) * rows
    }

    /// Puts stored rows, which belong to `places`, into the order of the device; returns which of them go where.
    pub fn pack(&self, places: &[usize], stored: &[u8], staged: &mut [u8]) -> Result<Vec<Piece>> {
        let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) else { return Ok(vec![]) };
        let stored_bytes = self.format.bytes_of(self.cols).unwrap_or(0);
        if last - first + 1 != places.len()
            || *last >= self.rows
            || stored.len() != places.len() * stored_bytes
            || staged.len() != self.packed_bytes(places.len())
        {
            return Err(Error::Internal { reason: format!("rows {first} to {last} out of {} places", places.len()) });
        }
        let fields = fields(self.format);
        if fields.is_empty() {
            let row_bytes = self.format.bytes_of(self.padded).unwrap_or(0);
            for (place, row) in places.iter().zip(stored.chunks_exact(stored_bytes)) {
                let start = (place - first) * row_bytes;
                staged[start..start + stored_bytes].copy_from_slice(row);
                staged[start + stored_bytes..start + row_bytes].fill(0);
            }
            return Ok(vec![Piece { from: 0..staged.len(), to: first * row_bytes }]);
        }
        let blocks = self.cols / self.format.block_len();
        let (mut plane, mut start, mut pieces) = (0, 0, vec![]);
        for (offset, bytes) in fields {
            let row_bytes = blocks * bytes;
            let end = start + places.len() * row_bytes;
            let part = &mut staged[start..end];
            for (place, row) in places.iter().zip(stored.chunks_exact(stored_bytes)) {
                let out = &mut part[(place - first) * row_bytes..][..row_bytes];
                for (block, out) in row.chunks_exact(self.format.block_bytes()).zip(out.chunks_exact_mut(*bytes)) {
                    out.copy_from_slice(&block[*offset..offset + bytes]);
                }
            }
            pieces.push(Piece { from: start..end, to: plane + first * row_bytes });
            plane += self.rows * row_bytes;
            start = end;
        }
        Ok(pieces)
    }
}

/// Packed bytes and their offset on the device.
#[derive(Debug, Clone)]
pub struct Piece {
    pub from: Range<usize>,
    pub to: usize,
}

/// F8_E4M3 with a scale for each block of columns, in the kernels.
pub const BLOCKED_F8: &str = "f8_blocks";

impl Packed for Matrix {
    fn format(&self) -> Format {
        self.format
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn bytes(&self) -> usize {
        let stored = self.format.bytes_of(self.padded).unwrap_or(0) * self.rows;
        stored
            + self.scales.as_ref().map_or(0, |_| self.rows * self.scale_blocks * 4)
            + self.bias.as_ref().map_or(0, |_| self.rows * 4)
    }

    fn set_rows(&mut self, places: &[usize], stored: &[u8]) -> Result<()> {
        let mut staged = vec![0; self.packed_bytes(places.len())];
        let pieces = self.pack(places, stored, &mut staged)?;
        pieces.into_iter().try_for_each(|piece| self.weights.write(piece.to, &staged[piece.from]))
    }

    fn set_scales(&mut self, scale_cols: usize, rows: &[Vec<f32>]) -> Result<()> {
        let blocks = self.cols.div_ceil(scale_cols.max(1)).max(1);
        if blocks > 1 && !scale_cols.is_multiple_of(32) {
            return self.widen(scale_cols, rows);
        }
        let mut values = vec![0.0_f32; self.rows * blocks];
        for (out, row) in values.chunks_exact_mut(blocks).zip(rows) {
            out.iter_mut().zip(row).for_each(|(out, scale)| *out = *scale);
        }
        self.scales = Some(self.device.upload(&values)?);
        // The padding belongs to the last block.
        (self.scale_cols, self.scale_blocks) = (if blocks == 1 { self.padded } else { scale_cols }, blocks);
        Ok(())
    }

    fn set_bias(&mut self, bias: &[f32]) -> Result<()> {
        let mut values = vec![0.0_f32; self.rows];
        values.iter_mut().zip(bias).for_each(|(out, bias)| *out = *bias);
        self.bias = Some(self.device.upload(&values)?);
        Ok(())
    }
}

/// A norm's weights on the device.
#[derive(Debug)]
pub struct Norm {
    kind: NormKind,
    eps: f32,
    weight: Memory,
    bias: Option<Memory>,
}

impl Norm {
    fn upload(device: &Arc<Device>, norm: &weights::Norm) -> Result<Norm> {
        let bias = (!norm.bias.is_empty()).then(|| device.upload(&norm.bias)).transpose()?;
        // Products read whole blocks of 32.
        let mut weight = norm.weight.clone();
        weight.resize(weight.len().next_multiple_of(32), 0.0);
        Ok(Norm { kind: norm.kind, eps: norm.eps, weight: device.upload(&weight)?, bias })
    }

    /// Whether it is x / sqrt(mean(x^2) + eps) * weight, which products can take care of.
    pub fn is_plain(&self) -> bool {
        self.kind == NormKind::Rms && self.bias.is_none()
    }

    pub fn eps(&self) -> f32 {
        self.eps
    }

    /// Where the weights are.
    pub fn weight(&self) -> u64 {
        self.weight.at()
    }

    pub fn argument(&self) -> Argument {
        Argument::Norm(self.norm())
    }

    pub fn norm(&self) -> NormArgument {
        let kind = match self.kind {
            NormKind::Rms => 0,
            NormKind::Layer => 1,
        };
        let bias = self.bias.as_ref().map_or(0, Memory::at);
        NormArgument { weight: self.weight.at(), bias, kind, eps: self.eps }
    }

    pub fn none() -> Argument {
        Argument::Norm(NormArgument::default())
    }
}

/// Puts the norms beside the matrices.
pub fn with_norms(device: &Arc<Device>, weights: weights::Weights<Matrix>) -> Result<Weights> {
    weights.map_norms(&|norm| Norm::upload(device, &norm))
}

/// What the kernels of a model's linears are called by.
pub fn kernel_names<N>(weights: &weights::Weights<Matrix, N>) -> BTreeSet<&'static str> {
    weights.matrices().iter().map(|matrix| matrix.kernel_name()).collect()
}
