//! One kernel at a time, for tests and measurements: no model, no session.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{
    driver::{Argument, Device, Module, kernel_name},
    program::{Dimensions, KvFormat, Program},
    weights::Matrix,
};
use crate::{
    backend::weights::Packed,
    error::{Error, Result},
    quant::Format,
};

/// The kernels of one format, compiled for the GPU at hand.
#[derive(Debug)]
pub struct Lab {
    device: Arc<Device>,
    format: Format,
    module: Module,
}

impl Lab {
    pub fn new(device: &Arc<Device>, format: Format) -> Result<Lab> {
        let (heads, kv_heads, head_dim, span) = (1, 1, 32, 64);
        let dimensions = Dimensions { width: 1 << 30, heads, kv_heads, head_dim, kv_format: KvFormat::F32, span };
        let image = Program::new(&dimensions, &BTreeSet::from([format])).image(device.capability)?;
        Ok(Lab { device: Arc::clone(device), format, module: device.module(&image)? })
    }

    /// A matrix of stored rows.
    pub fn matrix(&self, rows: usize, cols: usize, stored: &[u8]) -> Result<Matrix> {
        let mut matrix = Matrix::new(&self.device, self.format, rows, cols)?;
        matrix.set_rows(&(0..rows).collect::<Vec<_>>(), stored)?;
        Ok(matrix)
    }

    /// Every weight as the kernels read it: f32 [rows][cols].
    pub fn dequantize(&self, matrix: &Matrix) -> Result<Vec<f32>> {
        let padded = matrix.cols().next_multiple_of(8);
        let kernel = self.module.kernel(&format!("dequantize_{}", kernel_name(self.format)))?;
        let poison = vec![f32::from_bits(0x7fa0_0001); matrix.rows() * padded];
        let out = self.device.upload(&poison)?;
        let stream = self.device.stream()?;
        let arguments = [matrix.argument(), Argument::Address(out.at())];
        // SAFETY: the kernel writes rows x padded floats, which is what `out` has.
        unsafe { stream.launch(&kernel, [matrix.rows() as u32, 1, 1], 128, 0, &arguments)? };
        let mut host = self.device.pinned(poison.len() * 4)?;
        stream.fetch::<f32>(&out, &mut host, poison.len())?;
        stream.wait()?;
        let rows = host.as_slice::<f32>().chunks_exact(padded).take(matrix.rows());
        Ok(rows.flat_map(|row| row.iter().take(matrix.cols())).copied().collect())
    }

    /// W x for each of `count` rows of x, [count][cols]; by the kernel for `together` rows at a time: 1, 2, 4 or 8.
    pub fn multiply(&self, matrix: &Matrix, x: &[f32], count: usize, together: usize) -> Result<Vec<f32>> {
        if x.len() != count * matrix.cols() {
            return Err(Error::Internal { reason: format!("{} numbers for {count} rows", x.len()) });
        }
        let padded = matrix.cols().next_multiple_of(8);
        let mut rows = vec![0.0_f32; count * padded];
        for (out, row) in rows.chunks_exact_mut(padded).zip(x.chunks_exact(matrix.cols())) {
            out.iter_mut().zip(row).for_each(|(out, x)| *out = *x);
        }
        let kernel = self.module.kernel(&format!("gemv_{}_m{together}", kernel_name(self.format)))?;
        let poison = vec![f32::NAN; count * matrix.rows()];
        let (input, output) = (self.device.upload(&rows)?, self.device.upload(&poison)?);
        let stream = self.device.stream()?;
        let arguments = [
            matrix.argument(),
            Argument::Address(input.at()),
            Argument::Count(padded as u32),
            Argument::Address(output.at()),
            Argument::Count(matrix.rows() as u32),
            Argument::Count(count as u32),
            Argument::Count(0),
            Argument::Count(0),
            Argument::Address(0),
            Argument::Float(1.0),
        ];
        let grid = [matrix.rows().div_ceil(8) as u32, count.div_ceil(together) as u32, 1];
        // SAFETY: input has `count` padded rows, output `count` rows of the matrix' height.
        unsafe { stream.launch(&kernel, grid, 256, 0, &arguments)? };
        let mut host = self.device.pinned(poison.len() * 4)?;
        stream.fetch::<f32>(&output, &mut host, poison.len())?;
        stream.wait()?;
        Ok(host.as_slice::<f32>().iter().take(poison.len()).copied().collect())
    }
}

/// Bytes a second of a plain read of device memory, best of ten: the ceiling of decoding.
pub fn read_bandwidth(device: &Arc<Device>) -> Result<f64> {
    const BYTES: usize = 2 << 30;
    let lab = Lab::new(device, Format::F16)?;
    let kernel = lab.module.kernel("read_words")?;
    let (words, out, stream) = (device.zeros(BYTES)?, device.zeros(4)?, device.stream()?);
    let arguments = [Argument::Address(words.at()), Argument::Long(BYTES as u64 / 16), Argument::Address(out.at())];
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let start = Instant::now();
        for _ in 0..4 {
            // SAFETY: the kernel reads BYTES / 16 words of `words`.
            unsafe { stream.launch(&kernel, [device.multiprocessors * 2, 1, 1], 1024, 0, &arguments)? };
        }
        stream.wait()?;
        best = best.min(start.elapsed().as_secs_f64() / 4.0);
    }
    Ok(BYTES as f64 / best)
}
