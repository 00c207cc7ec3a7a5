//! The model's weights in this backend's tiles; how they get there is `backend::weights`.

use super::{matrix::Matrix, tile::LANES};
use crate::{
    backend::weights::{self, Chunk, Packed, Read, Store},
    checkpoint::Checkpoint,
    error::Result,
    model::spec::ModelSpec,
    quant::{Format, WeightFormat},
};

pub type Weights = weights::Weights<Matrix>;
pub type Layer = weights::Layer<Matrix>;
pub type Loading = weights::Loading<Host>;

/// The host's memory.
#[derive(Debug, Default)]
pub struct Host {
    chunk: Vec<u8>,
}

impl Store for Host {
    type Matrix = Matrix;

    fn matrix(&self, format: Format, rows: usize, cols: usize) -> Result<Matrix> {
        Matrix::new(format, rows, cols)
    }

    fn free_bytes(&self) -> u64 {
        crate::buffer::free_bytes()
    }

    fn fill(&mut self, matrix: &mut Matrix, chunks: &[Chunk], read: Read) -> Result<()> {
        for chunk in chunks {
            self.chunk.resize(chunk.bytes(), 0);
            read(chunk, &mut self.chunk)?;
            matrix.set_rows(&chunk.places, &self.chunk)?;
        }
        Ok(())
    }
}

impl Packed for Matrix {
    fn format(&self) -> Format {
        self.format()
    }

    fn rows(&self) -> usize {
        self.rows()
    }

    fn cols(&self) -> usize {
        self.cols()
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }

    fn set_rows(&mut self, places: &[usize], stored: &[u8]) -> Result<()> {
        for (place, row) in places.iter().zip(stored.chunks_exact(self.row_bytes().max(1))) {
            self.set_row(*place, row);
        }
        Ok(())
    }

    fn set_scales(&mut self, scale_cols: usize, rows: &[Vec<f32>]) -> Result<()> {
        let scale = |row: usize, block: usize| rows.get(row).and_then(|row| row.get(block)).copied().unwrap_or(0.0);
        self.set_scales(scale_cols, scale)
    }

    fn set_bias(&mut self, bias: &[f32]) -> Result<()> {
        self.set_bias(bias);
        Ok(())
    }
}

impl Loading {
    pub fn new(spec: &ModelSpec, checkpoint: &Checkpoint) -> Result<Self> {
        Loading::with(spec, checkpoint, WeightFormat::Keep)
    }

    /// In another format than the stored one.
    pub fn with(spec: &ModelSpec, checkpoint: &Checkpoint, format: WeightFormat) -> Result<Self> {
        Loading::into(Host::default(), spec, checkpoint, format)
    }
}

/// Padded width of a row of `width` floats.
pub fn padded(width: usize) -> usize {
    width.next_multiple_of(LANES)
}
