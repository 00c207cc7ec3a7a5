//! Draws on the device: what kernels/sample.cu needs to choose the token that sampler.rs would, without a look from the host.
//!
//! `send` puts temperature, cuts, the tokens seen so far and the uniform numbers of the coming steps on the device, once a
//! slice; `queue` chooses from the logits of every row and feeds the token to the row's next position. The surprise: a row
//! that takes the largest logit may stand among those that draw, and is served by the same kernels.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::{
    argument::Argument,
    driver::{Device, Memory, Pinned, Stream},
    forward::{BATCH, STEPS},
    module::{Kernel, Module},
};
use crate::{
    error::{Error, Result},
    sampler::{self, Cuts, uniform_bits},
};

/// Parts of the vocabulary that are looked at side by side.
const PARTS: u32 = 64;
/// `BINS` of kernels/sample.cu.
const BINS: usize = 2048;
/// Weights of up to so many tokens add up in 64 bits.
const MOST_TOKENS: usize = (1 << 20) - 1;

/// `Choice` of kernels/sample.cu.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Choice {
    inverse: f64,
    top_p: u64,
    least: u64,
    top_k: u32,
    penalty: f32,
}

/// Where the chosen tokens go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feed {
    /// `Row` [n]: token and position of the next pass.
    pub rows: u64,
    /// u32 [STEPS][n]
    pub tokens: u64,
    /// u32 [n]: steps that are done.
    pub steps: u64,
}

/// Kernels and memory of drawing, for up to `BATCH` rows.
#[derive(Debug)]
pub(super) struct Sampler {
    parts: Kernel,
    bins: Kernel,
    pick: Kernel,
    vocab: u32,
    /// Words of 32 tokens.
    words: usize,
    bin_stride: u32,
    choices: Memory,
    /// A bit for each token of the sequence: u32 [BATCH][words]
    seen: Memory,
    /// u64 [STEPS][n]
    uniforms: Memory,
    /// u64 [BATCH][PARTS]
    best: Memory,
    /// u16 [BATCH][bin_stride]
    bin_of: Memory,
    /// u32 and u64 [BATCH][BINS]
    counts: Memory,
    weights: Memory,
    /// u64 [BATCH]
    above: Memory,
    choices_host: Pinned,
    seen_host: Pinned,
    uniforms_host: Pinned,
}

/// Whether draws from so large a vocabulary are made on the device.
pub fn can_draw(vocab: usize) -> bool {
    vocab <= MOST_TOKENS
}

impl Sampler {
    pub fn new(device: &Arc<Device>, module: &Module, vocab: usize) -> Result<Sampler> {
        let (words, bin_stride) = (vocab.div_ceil(32), vocab.next_multiple_of(8));
        Ok(Sampler {
            parts: module.kernel("sample_parts")?,
            bins: module.kernel("sample_bins")?,
            pick: module.kernel("sample_pick")?,
            vocab: vocab as u32,
            words,
            bin_stride: bin_stride as u32,
            choices: device.zeros(BATCH * size_of::<Choice>())?,
            seen: device.zeros(BATCH * words * 4)?,
            uniforms: device.zeros(STEPS * BATCH * 8)?,
            best: device.zeros(BATCH * PARTS as usize * 8)?,
            bin_of: device.zeros(BATCH * bin_stride * 2)?,
            counts: device.zeros(BATCH * BINS * 4)?,
            weights: device.zeros(BATCH * BINS * 8)?,
            above: device.zeros(BATCH * 8)?,
            choices_host: device.pinned(BATCH * size_of::<Choice>())?,
            seen_host: device.pinned(BATCH * words * 4)?,
            uniforms_host: device.pinned(STEPS * BATCH * 8)?,
        })
    }

    /// Sends what decides about the next `steps` tokens of each row. The stream must be at rest.
    pub fn send(&mut self, stream: &Stream, choices: &[sampler::Choice], steps: usize) -> Result<()> {
        let rows = choices.len();
        if rows > BATCH || steps > STEPS || !can_draw(self.vocab as usize) {
            let reason = format!("{steps} draws of {rows} rows from {} tokens", self.vocab);
            return Err(Error::Internal { reason });
        }
        for (out, choice) in self.choices_host.as_mut_slice::<Choice>().iter_mut().zip(choices) {
            let cuts = Cuts::of(choice.sampling);
            *out = Choice {
                inverse: cuts.inverse,
                top_p: cuts.top_p,
                least: cuts.least,
                top_k: u32::try_from(cuts.top_k).unwrap_or(u32::MAX),
                penalty: choice.sampling.repetition_penalty,
            };
        }
        stream.send::<Choice>(&self.choices_host, &self.choices, rows)?;
        // Without a penalty nobody looks.
        if choices.iter().any(|choice| choice.sampling.repetition_penalty != 1.0) {
            let seen = self.seen_host.as_mut_slice::<u32>();
            for (seen, choice) in seen.chunks_exact_mut(self.words).zip(choices) {
                seen.fill(0);
                for id in choice.sequence.iter().filter(|id| **id < self.vocab) {
                    if let Some(word) = seen.get_mut(*id as usize / 32) {
                        *word |= 1 << (id % 32);
                    }
                }
            }
            stream.send::<u32>(&self.seen_host, &self.seen, rows * self.words)?;
        }
        let uniforms = self.uniforms_host.as_mut_slice::<u64>();
        for (step, uniforms) in uniforms.chunks_exact_mut(rows.max(1)).take(steps).enumerate() {
            for (uniform, choice) in uniforms.iter_mut().zip(choices) {
                *uniform = match choice.sampling.temperature {
                    0.0 => 0,
                    _ => uniform_bits(choice.sampling.seed, (choice.sequence.len() + step) as u64),
                };
            }
        }
        stream.send::<u64>(&self.uniforms_host, &self.uniforms, rows * steps)
    }

    /// Queues the choice from logits f32 [rows][stride], and its way to the next position.
    ///
    /// # Safety
    /// `logits` and what `feed` names have room for as many rows, and live until the stream is done.
    pub unsafe fn queue(&self, stream: &Stream, logits: u64, stride: u32, rows: u32, feed: Feed) -> Result<()> {
        if rows as usize > BATCH {
            return Err(Error::Internal { reason: format!("{rows} rows to draw for") });
        }
        let at = |memory: &Memory| Argument::Address(memory.at());
        let seen = [at(&self.seen), Argument::Count(self.words as u32)];
        let mut head = vec![Argument::Address(logits), Argument::Count(stride), Argument::Count(self.vocab)];
        head.push(at(&self.choices));
        head.extend(seen);
        head.push(at(&self.best));
        let sums = [at(&self.counts), at(&self.weights), at(&self.above)];
        let bins = [at(&self.bin_of), Argument::Count(self.bin_stride)];
        let grid = [PARTS, rows, 1];
        // SAFETY: the arguments are those that the kernels declare; own memory is for BATCH rows, the rest is the caller's.
        unsafe {
            stream.launch(&self.parts, grid, 256, 0, &[&head[..], &sums].concat())?;
            stream.launch(&self.bins, grid, 256, 0, &[&head[..], &bins, &sums].concat())?;
        }
        let tail = [
            at(&self.uniforms),
            Argument::Address(feed.rows),
            Argument::Address(feed.tokens),
            Argument::Address(feed.steps),
        ];
        let arguments = [&head[..], &[Argument::Count(PARTS)], &bins, &sums, &tail].concat();
        // SAFETY: as above.
        unsafe { stream.launch(&self.pick, [rows, 1, 1], 1024, 0, &arguments) }
    }
}
