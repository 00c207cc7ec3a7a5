//! The kernels of prompts one at a time, for tests and measurements: no model, no session.
//!
//! Outputs begin as NaN, so what a kernel leaves out is seen.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use bytemuck::cast_slice;

pub use super::prefill::Tiles;
use super::{
    argument::kernel_name,
    driver::{Device, Memory, Stream},
    module::Module,
    pass::{Mode, Plane, Row},
    prefill::{Attention, Prefill},
    program::{Dimensions, PAGE, Program},
    weights::Matrix,
};
use crate::{
    backend::weights::Packed,
    error::{Error, Result},
    model::spec::Activation,
    quant::Format,
};

/// What becomes of a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum After {
    Store,
    /// Added to what is there, which begins as this number.
    Add(f32),
    /// Of two matrices: activation(first) * second.
    Gated(Activation),
    Activated(Activation),
}

/// A sequence of bf16 keys and values, whose last positions are the rows of the chunk.
#[derive(Debug)]
pub struct Sequence {
    /// [KV][positions][HD]
    pub keys: Vec<u16>,
    pub values: Vec<u16>,
    pub positions: usize,
    /// Positions that are in the chunk.
    pub rows: usize,
}

/// How a layer attends.
#[derive(Debug, Clone, Copy)]
pub struct Attending {
    pub window: Option<usize>,
    pub scale: f32,
    pub softcap: Option<f32>,
}

/// The kernels of a model's dimensions and formats.
pub struct PromptLab {
    device: Arc<Device>,
    dimensions: Dimensions,
    module: Module,
    /// wgmma, which only Hopper has.
    is_wide: bool,
    stream: Stream,
}

impl PromptLab {
    pub fn new(
        device: &Arc<Device>,
        dimensions: &Dimensions,
        formats: &BTreeSet<Format>,
        is_wide: bool,
    ) -> Result<Self> {
        let names = formats.iter().map(|format| kernel_name(*format)).collect();
        let module = Program::new(dimensions, &names, None, is_wide).module(device)?;
        let stream = device.stream()?;
        Ok(PromptLab { device: Arc::clone(device), dimensions: dimensions.clone(), module, is_wide, stream })
    }

    /// A matrix of stored rows.
    pub fn matrix(&self, format: Format, rows: usize, cols: usize, stored: &[u8], bias: &[f32]) -> Result<Matrix> {
        let mut matrix = Matrix::new(&self.device, format, rows, cols)?;
        matrix.set_rows(&(0..rows).collect::<Vec<_>>(), stored)?;
        if !bias.is_empty() {
            matrix.set_bias(bias)?;
        }
        Ok(matrix)
    }

    fn prefill(&self, matrices: &[&Matrix]) -> Result<Prefill> {
        Prefill::new(&self.device, &self.module, Some(&self.dimensions), &[matrices.to_vec()], self.is_wide)
    }

    /// Rows as a chunk's plane, whose other elements are 0, or `fill` in all of it where there are none.
    fn plane(&self, width: usize, rows: &[f32], fill: f32) -> Result<Plane> {
        let plane = Plane::new(&self.device, super::forward::CHUNK, width)?;
        let stride = plane.stride as usize;
        if rows.is_empty() {
            plane.memory.write(0, cast_slice(&vec![fill; super::forward::CHUNK * stride]))?;
        }
        for (i, row) in rows.chunks_exact(width.max(1)).enumerate() {
            plane.memory.write(i * stride * 4, cast_slice(row))?;
        }
        Ok(plane)
    }

    fn read(&self, plane: &Plane) -> Result<Vec<f32>> {
        let count = plane.memory.bytes() / 4;
        let mut host = self.device.pinned(count * 4)?;
        self.stream.fetch::<f32>(&plane.memory, &mut host, count)?;
        self.stream.wait()?;
        Ok(host.as_slice::<f32>()[..count].to_vec())
    }

    /// after(W x + bias) of each matrix for `count` rows of x, [count][cols]: f32 [count][rows] each, one for a pair that
    /// is gated. Errors: `Internal` where a kernel wrote beside its rows.
    pub fn multiply(
        &self,
        matrices: &[&Matrix],
        x: &[f32],
        count: usize,
        after: After,
        by: Tiles,
    ) -> Result<Vec<Vec<f32>>> {
        let Some(cols) = matrices.first().map(|matrix| matrix.cols()) else { return Ok(vec![]) };
        if x.len() != count * cols {
            return Err(Error::Internal { reason: format!("{} numbers for {count} rows", x.len()) });
        }
        let prefill = self.prefill(matrices)?;
        let input = self.plane(cols, x, 0.0)?;
        let before = if let After::Add(before) = after { before } else { f32::NAN };
        let outputs =
            matrices.iter().map(|matrix| self.plane(matrix.rows(), &[], before)).collect::<Result<Vec<_>>>()?;
        let parts: Vec<_> = matrices.iter().copied().zip(&outputs).collect();
        prefill.round(&self.stream, &input, cols, count as u32)?;
        prefill.multiply_by(by, &self.stream, &parts, &prefill.rounded, count as u32, mode(after))?;
        let written = if matches!(after, After::Gated(_)) { 1 } else { parts.len() };
        parts.iter().take(written).map(|(matrix, output)| self.rows(output, count, matrix.rows(), before)).collect()
    }

    /// The first `count` rows of a plane; everything else is still `before`.
    fn rows(&self, plane: &Plane, count: usize, width: usize, before: f32) -> Result<Vec<f32>> {
        let (all, mut rows) = (self.read(plane)?, vec![]);
        for (i, row) in all.chunks_exact(plane.stride as usize).enumerate() {
            let (written, rest) = row.split_at(if i < count { width } else { 0 });
            if rest.iter().any(|other| other.to_bits() != before.to_bits()) {
                return Err(Error::Internal { reason: format!("row {i} was written beside its {width} columns") });
            }
            rows.extend_from_slice(written);
        }
        Ok(rows)
    }

    /// Attention of all sequences' rows in one chunk: f32 [rows][H * HD], as `query`.
    pub fn attend(&self, sequences: &[Sequence], query: &[f32], attending: Attending) -> Result<Vec<f32>> {
        let (heads, kv, head) = (self.dimensions.heads, self.dimensions.kv_heads, self.dimensions.head_dim);
        let (mut rows, mut tables, mut pages): (Vec<Row>, Vec<Memory>, Vec<Memory>) = (vec![], vec![], vec![]);
        for sequence in sequences {
            let mut addresses = vec![];
            for first in (0..sequence.positions).step_by(PAGE) {
                // A NaN where nobody may look.
                let mut page = vec![0x7fc1_u16; 2 * kv * PAGE * head];
                let count = (sequence.positions - first).min(PAGE);
                for (half, from) in [&sequence.keys, &sequence.values].into_iter().enumerate() {
                    for of in 0..kv {
                        let (to, at) = ((half * kv + of) * PAGE * head, (of * sequence.positions + first) * head);
                        page[to..to + count * head].copy_from_slice(&from[at..at + count * head]);
                    }
                }
                let page = self.device.upload(&page)?;
                addresses.push(page.at());
                pages.push(page);
            }
            let table = self.device.upload(&addresses)?;
            let positions = sequence.positions - sequence.rows..sequence.positions;
            rows.extend(positions.map(|position| Row {
                pages: table.at(),
                position: position as u32,
                token: 0,
                is_long: 0,
                pad: 0,
            }));
            tables.push(table);
        }
        let prefill = self.prefill(&[])?;
        let (query, mixed) = (self.plane(heads * head, query, 0.0)?, self.plane(heads * head, &[], f32::NAN)?);
        let memory = self.device.upload(&rows)?;
        let attention = Attention {
            rows: &memory,
            layer: 0,
            heads: heads as u32,
            query: &query,
            mixed: &mixed,
            window: attending.window,
            scale: attending.scale,
            softcap: attending.softcap,
        };
        prefill.attend(&self.stream, &attention, rows.len() as u32)?;
        self.rows(&mixed, rows.len(), heads * head, f32::NAN)
    }

    /// Seconds of one product of `count` rows, its weights' turn to f16 included; the best of five runs of twenty.
    pub fn seconds(&self, matrices: &[&Matrix], count: usize, after: After, by: Tiles) -> Result<f64> {
        let prefill = self.prefill(matrices)?;
        let outputs = matrices.iter().map(|matrix| self.plane(matrix.rows(), &[], 0.0)).collect::<Result<Vec<_>>>()?;
        let parts: Vec<_> = matrices.iter().copied().zip(&outputs).collect();
        let cols = matrices.first().map_or(0, |matrix| matrix.cols());
        // Numbers that differ: zeros take less power, and with it less time.
        let x: Vec<f32> = (0..count * cols).map(|i| (i as f32 * 0.618_034).fract() - 0.5).collect();
        prefill.round(&self.stream, &self.plane(cols, &x, 0.0)?, cols, count as u32)?;
        self.stream.wait()?;
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let start = Instant::now();
            for _ in 0..20 {
                prefill.multiply_by(by, &self.stream, &parts, &prefill.rounded, count as u32, mode(after))?;
            }
            self.stream.wait()?;
            best = best.min(start.elapsed().as_secs_f64() / 20.0);
        }
        Ok(best)
    }
}

fn mode(after: After) -> Mode {
    match after {
        After::Store => Mode::Store,
        After::Add(_) => Mode::Add,
        After::Gated(activation) => Mode::Gated(activation),
        After::Activated(activation) => Mode::Activated(activation),
    }
}
