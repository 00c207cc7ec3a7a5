//! One kernel at a time, for tests and measurements: no model, no session.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{
    argument::{Argument, PartArgument, kernel_name},
    driver::Device,
    module::Module,
    pass::{Mode, Plane, Row, Split, units_of_eight},
    program::{Dimensions, KvFormat, Program, TEAM, is_wide},
    sampling::{Feed, Sampler},
    upload::Vram,
    weights::{BLOCKED_F8, Matrix},
};
use crate::{
    backend::weights::{Chunk, Packed, Store},
    error::{Error, Result},
    quant::Format,
    sampler::Choice,
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
        let program = Program::new(&dimensions, &names, None, is_wide(device.capability));
        let module = program.module(device)?;
        Ok(Lab { device: Arc::clone(device), format, module })
    }

    /// A matrix of stored rows.
    pub fn matrix(&self, rows: usize, cols: usize, stored: &[u8]) -> Result<Matrix> {
        let mut matrix = Matrix::new(&self.device, self.format, rows, cols)?;
        matrix.set_rows(&(0..rows).collect::<Vec<_>>(), stored)?;
        Ok(matrix)
    }

    /// The same by the way that a model's weights take: chunks of `together` rows, read side by side.
    pub fn uploaded(&self, rows: usize, cols: usize, stored: &[u8], together: usize) -> Result<Matrix> {
        let row_bytes = stored.len() / rows.max(1);
        let mut matrix = Matrix::new(&self.device, self.format, rows, cols)?;
        let mut store = Vram::new(&self.device);
        let firsts: Vec<usize> = (0..rows).step_by(together.max(1)).collect();
        for firsts in firsts.chunks(store.together()) {
            let chunk = |first: &usize| {
                let end = (first + together).min(rows);
                Chunk { range: (first * row_bytes) as u64..(end * row_bytes) as u64, places: (*first..end).collect() }
            };
            let chunks: Vec<Chunk> = firsts.iter().map(chunk).collect();
            store.fill(&mut matrix, &chunks, &|chunk, out| {
                let part = stored.get(chunk.range.start as usize..chunk.range.end as usize);
                let short = || Error::Internal { reason: format!("{rows} rows in {} bytes", stored.len()) };
                out.copy_from_slice(part.ok_or_else(short)?);
                Ok(())
            })?;
        }
        store.settle()?;
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
        let kernel = |kind: &str| self.module.kernel(&format!("{kind}_{}", matrix.kernel_name()));
        let stream = self.device.stream()?;
        let part = matrix.part(&output);
        let (none, threads) = (Argument::Part(PartArgument::default()), 32 * TEAM as u32);
        let (rows, ending) = (Argument::Count(count as u32), Argument::Ending(Mode::Store.ending()));
        let units = part.tiles.div_ceil(2);
        if count <= 4 {
            let arguments = [Argument::Part(part), none, none, input.at(), input.stride(), rows, ending];
            // SAFETY: input has `count` padded rows, output `count` rows of the matrix' height.
            unsafe { stream.launch(&kernel("gemv4")?, [units, 1, 1], threads, 0, &arguments)? };
        } else {
            let split = Split::new(&self.device, matrix.cols())?;
            let split_at = [&split.pieces, &split.scales, &split.squares].map(|memory| Argument::Address(memory.at()));
            let cols = Argument::Count(matrix.cols() as u32);
            let start = [input.at(), input.stride(), cols, rows, Argument::Address(0)];
            let groups = count.div_ceil(8) as u32;
            // SAFETY: as above; `split` has room for any pass, and lives until the stream has been waited for.
            unsafe {
                let arguments = [&start[..], &split_at].concat();
                stream.launch(&kernel("split8")?, [TEAM as u32, 3, groups], 256, 0, &arguments)?;
                let arguments = [&[Argument::Part(part), none, none][..], &split_at, &[rows, ending]].concat();
                stream.launch(
                    &kernel("gemv8")?,
                    [units.div_ceil(units_of_eight(matrix.format())), groups, 1],
                    threads,
                    0,
                    &arguments,
                )?;
            }
            stream.wait()?;
        }
        let mut host = self.device.pinned(count * out_stride * 4)?;
        stream.fetch::<f32>(&output.memory, &mut host, count * out_stride)?;
        stream.wait()?;
        let rows = host.as_slice::<f32>().chunks_exact(out_stride).take(count);
        Ok(rows.flat_map(|row| row.iter().take(matrix.rows())).copied().collect())
    }
}

/// Draws from given logits, again and again.
#[derive(Debug)]
pub struct Draws {
    lab: Lab,
    sampler: Sampler,
    vocab: usize,
}

impl Draws {
    pub fn new(device: &Arc<Device>, vocab: usize) -> Result<Draws> {
        let lab = Lab::new(device, Format::F16)?;
        let sampler = Sampler::new(device, &lab.module, vocab)?;
        Ok(Draws { lab, sampler, vocab })
    }

    /// For each choice `steps` tokens from its row of `logits`, [choices][V], the same at each step; and the seconds that
    /// the device took. A token of ~0 says that a logit was no finite number.
    pub fn draw(&mut self, logits: &[f32], choices: &[Choice], steps: usize) -> Result<(Vec<Vec<u32>>, f64)> {
        if logits.len() != choices.len() * self.vocab || choices.is_empty() || steps == 0 {
            return Err(Error::Internal { reason: format!("{} logits for {} rows", logits.len(), choices.len()) });
        }
        let (device, count) = (&self.lab.device, choices.len());
        let stride = self.vocab.next_multiple_of(32);
        let mut padded = vec![f32::NAN; count * stride];
        for (out, row) in padded.chunks_exact_mut(stride).zip(logits.chunks_exact(self.vocab)) {
            out.iter_mut().zip(row).for_each(|(out, logit)| *out = *logit);
        }
        let (logits, stream) = (device.upload(&padded)?, device.stream()?);
        let (rows, out) = (device.zeros(count * size_of::<Row>())?, device.upload(&vec![77_u32; steps * count])?);
        let done = device.zeros(count * 4)?;
        self.sampler.send(&stream, choices, steps)?;
        stream.wait()?;
        let feed = Feed { rows: rows.at(), tokens: out.at(), steps: done.at() };
        let start = Instant::now();
        for _ in 0..steps {
            // SAFETY: all have room for `count` rows, `out` for as many steps, and the stream is waited for below.
            unsafe { self.sampler.queue(&stream, logits.at(), stride as u32, count as u32, feed)? };
        }
        stream.wait()?;
        let seconds = start.elapsed().as_secs_f64();
        let mut host = device.pinned(steps * count * 4)?;
        stream.fetch::<u32>(&out, &mut host, steps * count)?;
        stream.wait()?;
        let tokens = host.as_slice::<u32>();
        let of_row = |row: usize| tokens.iter().take(steps * count).skip(row).step_by(count).copied().collect();
        Ok(((0..count).map(of_row).collect(), seconds))
    }
}

/// Loses the device to this process: a kernel reads where nothing is. Returns the error that came of it.
pub fn lose(device: &Arc<Device>) -> Result<()> {
    let lab = Lab::new(device, Format::F16)?;
    let kernel = lab.module.kernel("read_words")?;
    let (out, stream) = (device.zeros(4)?, device.stream()?);
    let arguments = [Argument::Address(16), Argument::Long(1 << 20), Argument::Address(out.at())];
    // SAFETY: none is kept, on purpose; the GPU stops the kernel, and no memory of anybody is changed.
    unsafe { stream.launch(&kernel, [1, 1, 1], 1024, 0, &arguments)? };
    stream.wait()
}

/// Bytes a second of a plain read of device memory, best of ten: the ceiling of decoding.
pub fn read_bandwidth(device: &Arc<Device>) -> Result<f64> {
    read_bandwidth_by(device, &Lab::new(device, Format::F16)?.module)
}

/// The same with a module that is loaded.
pub(super) fn read_bandwidth_by(device: &Arc<Device>, module: &Module) -> Result<f64> {
    const BYTES: usize = 2 << 30;
    let kernel = module.kernel("read_words")?;
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
