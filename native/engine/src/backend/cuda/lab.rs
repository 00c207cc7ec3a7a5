//! One kernel at a time, for tests and measurements: no model, no session.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{
    argument::{Argument, PartArgument, kernel_name},
    driver::{Device, Module},
    pass::{Mode, Plane},
    program::{Dimensions, KvFormat, Program},
    weights::{BLOCKED_F8, Matrix},
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
        let (heads, kv_heads, head_dim, span, splits) = (1, 1, 32, 64, 1);
        let kv_format = KvFormat::F32;
        let dimensions = Dimensions { width: 1 << 30, heads, kv_heads, head_dim, kv_format, span, splits };
        let mut names = BTreeSet::from([kernel_name(format)]);
        if format == Format::F8E4m3 {
            names.insert(BLOCKED_F8);
        }
        let image = Program::new(&dimensions, &names, None).image(device.capability)?;
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

    /// W x for each of `count` rows of x, [count][cols]; at most eight go together.
    pub fn multiply(&self, matrix: &Matrix, x: &[f32], count: usize) -> Result<Vec<f32>> {
        if x.len() != count * matrix.cols() {
            return Err(Error::Internal { reason: format!("{} numbers for {count} rows", x.len()) });
        }
        let (input, output) =
            (Plane::new(&self.device, count, matrix.cols())?, Plane::new(&self.device, count, matrix.rows())?);
        let (stride, out_stride) = (input.stride as usize, output.stride as usize);
        let mut rows = vec![0.0_f32; count * stride];
        for (out, row) in rows.chunks_exact_mut(stride).zip(x.chunks_exact(matrix.cols())) {
            out.iter_mut().zip(row).for_each(|(out, x)| *out = *x);
        }
        input.memory.write(0, bytemuck::cast_slice(&rows))?;
        output.memory.write(0, bytemuck::cast_slice(&vec![f32::NAN; count * out_stride]))?;
        let together = if count > 4 { 8 } else { 4 };
        let kernel = self.module.kernel(&format!("gemv{together}_{}", matrix.kernel_name()))?;
        let stream = self.device.stream()?;
        let part = matrix.part(&output);
        let arguments = [
            Argument::Part(part),
            Argument::Part(PartArgument::default()),
            Argument::Part(PartArgument::default()),
            input.at(),
            input.stride(),
            Argument::Count(count as u32),
            Argument::Ending(Mode::Store.ending()),
        ];
        let grid = [part.tiles.div_ceil(2), count.div_ceil(together) as u32, 1];
        // SAFETY: input has `count` padded rows, output `count` rows of the matrix' height.
        unsafe { stream.launch(&kernel, grid, 512, 0, &arguments)? };
        let mut host = self.device.pinned(count * out_stride * 4)?;
        stream.fetch::<f32>(&output.memory, &mut host, count * out_stride)?;
        stream.wait()?;
        let rows = host.as_slice::<f32>().chunks_exact(out_stride).take(count);
        Ok(rows.flat_map(|row| row.iter().take(matrix.rows())).copied().collect())
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
