//! One pass of a batch of tokens through the model on the device, and several decoding passes without the host.
//!
//! A pass is queued on one stream: embedding, layers, head. What changes from token to token (positions, tokens, pages)
//! is in device memory, so a decoding pass is recorded once as a graph and replayed; the last kernel puts the token it
//! chose where the next replay reads it.
//!
//! The one surprise: a recorded graph serves many lengths. Its attention has blocks for as many spans as a power of two,
//! and those beyond a row's position leave at once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    driver::{Argument, Device, Kernel, Memory, Module},
    kv_cache::KvCache,
    pass::{Kernels, Mode, Pass, Plane, Row, upload_angles},
    program::{Dimensions, PAGE},
    weights::{self, Layer, Matrix, Norm, Weights},
};
use crate::{
    backend::weights::{Packed, Weights as HostNormed},
    error::{Error, Result},
    model::spec::ModelSpec,
    quant::Format,
};

/// Most tokens of a pass; prompts are cut at multiples of it.
pub const CHUNK: usize = 512;
/// Most rows of a pass that decodes, and most logits of any pass.
pub const BATCH: usize = 8;
/// Most decoding passes between two looks of the host.
pub const STEPS: usize = 64;
/// Parts of the vocabulary whose largest logits are found side by side.
pub(super) const ARGMAX_PARTS: u32 = 64;
/// What the passes between two looks of the host should take together.
const SLICE_NANOSECONDS: u64 = 10_000_000;
const WARPS_OF_GEMV: u32 = 8;

/// A model on the device.
pub struct CudaModel {
    spec: ModelSpec,
    weights: Weights,
    device: Arc<Device>,
    dimensions: Dimensions,
    kernels: Kernels,
    /// For each rope: float2 (cos, sin) [context][rotary / 2], and that of long sequences.
    angles: Vec<(Memory, Option<Memory>)>,
    context: usize,
    pass: Mutex<Pass>,
    /// What a decoding pass took last; 0: none was.
    nanoseconds: AtomicU64,
    // After what was loaded from it.
    _module: Module,
}

/// Some tokens of one session, to be appended to its cache.
#[derive(Debug)]
pub struct Slot<'a> {
    pub cache: &'a mut KvCache,
    pub tokens: &'a [u32],
    /// Length of the sequence that this pass is part of (longrope looks at it): the prompt's, or the position + 1.
    pub horizon: usize,
    /// Where the logits of the last token go, [V]; None when they are not needed.
    pub logits: Option<&'a mut [f32]>,
}

impl CudaModel {
    /// `weights` were loaded to `device`, for which `image` was compiled.
    pub fn new(
        spec: ModelSpec,
        weights: HostNormed<Matrix>,
        device: &Arc<Device>,
        dimensions: &Dimensions,
        image: &[u8],
        context: usize,
    ) -> Result<Self> {
        let weights = weights::with_norms(device, weights)?;
        let formats: BTreeSet<Format> = weights::formats(&weights);
        let module = device.module(image)?;
        let kernels = Kernels::new(&module, &formats, weights.embedding.format())?;
        let angles = spec.ropes.iter().map(|rope| upload_angles(device, rope, context)).collect::<Result<_>>()?;
        let pass = Mutex::new(Pass::new(device, &spec, dimensions, context)?);
        let (device, dimensions, nanoseconds) = (Arc::clone(device), dimensions.clone(), AtomicU64::new(0));
        Ok(CudaModel {
            spec,
            weights,
            device,
            dimensions,
            kernels,
            angles,
            context,
            pass,
            nanoseconds,
            _module: module,
        })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Whether a sequence of `len` tokens uses other rotary frequencies than a short one.
    pub fn is_long(&self, len: usize) -> bool {
        let originals = self.spec.ropes.iter().filter_map(|rope| rope.long.as_ref());
        originals.map(|long| long.original_context).any(|original| len > original)
    }

    /// An empty cache for one session.
    pub fn new_cache(&self) -> KvCache {
        let head = PAGE * self.spec.head_dim * self.dimensions.kv_format.bytes();
        KvCache::new(&self.device, self.spec.layers.len() * 2 * self.spec.kv_heads * head, self.context)
    }

    /// Appends each slot's tokens to its cache and computes the logits that are asked for.
    ///
    /// On an error the caches hold what they held before. At most `CHUNK` tokens in all, `BATCH` logits.
    pub fn forward(&self, slots: &mut [Slot], alive: &dyn Fn() -> bool) -> Result<()> {
        self.device.enter()?;
        let mut pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = &mut *pass;
        let count = self.prepare(pass, slots, 0)?;
        if !alive() {
            return Err(Error::Cancelled);
        }
        let mut wanted = 0;
        let mut end = 0;
        for slot in slots.iter() {
            end += slot.tokens.len();
            if slot.logits.is_some() {
                let place = pass.wanted_host.as_mut_slice::<u32>().get_mut(wanted);
                let Some(place) = place else { return Err(too_many("logits", wanted + 1, BATCH)) };
                (*place, wanted) = (end as u32 - 1, wanted + 1);
            }
        }
        pass.stream.send::<u32>(&pass.wanted_host, &pass.wanted, wanted)?;
        let longest = slots.iter().map(|slot| slot.cache.len() + slot.tokens.len()).max().unwrap_or(0);
        let queued = self.queue(pass, count, self.spans(longest), wanted as u32, true).and_then(|()| {
            let floats = wanted * pass.logits.stride as usize;
            pass.stream.fetch::<f32>(&pass.logits.memory, &mut pass.logits_host, floats)
        });
        // Also after an error: nothing may be under way when the slots' memory goes.
        let done = pass.stream.wait();
        queued.and(done)?;
        let mut computed = pass.logits_host.as_slice::<f32>().chunks_exact(pass.logits.stride as usize);
        for slot in slots.iter_mut() {
            if let Some(out) = slot.logits.as_deref_mut()
                && let Some(logits) = computed.next()
            {
                let width = out.len().min(self.spec.vocab);
                out[..width].copy_from_slice(&logits[..width]);
            }
            slot.cache.advance(slot.tokens.len());
        }
        Ok(())
    }

    /// How many tokens to decode at once: as many as take some milliseconds.
    pub fn steps(&self) -> usize {
        match self.nanoseconds.load(Ordering::Relaxed) {
            0 => 8,
            took => usize::try_from(SLICE_NANOSECONDS / took).unwrap_or(1).clamp(1, STEPS),
        }
    }

    /// Decodes `steps` tokens of each slot by argmax, without a look from the host: each slot gives one token, and gets
    /// the ones that follow it. The caches hold all but the last.
    pub fn decode(&self, slots: &mut [Slot], steps: usize, alive: &dyn Fn() -> bool) -> Result<Vec<Vec<u32>>> {
        self.device.enter()?;
        let mut pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = &mut *pass;
        if steps > STEPS {
            return Err(too_many("steps", steps, STEPS));
        }
        let rows = self.prepare(pass, slots, steps)?;
        if rows as usize != slots.len() || slots.len() > BATCH {
            return Err(too_many("rows", rows as usize, BATCH));
        }
        let longest = slots.iter().map(|slot| slot.cache.len() + steps).max().unwrap_or(0);
        let spans = self.spans(longest).next_power_of_two().min(self.spans(self.context));
        if !pass.graphs.contains_key(&(rows, spans)) {
            let graph = pass.stream.record(|| {
                self.queue(pass, rows, spans, rows, false)?;
                self.choose(pass, rows)
            })?;
            pass.graphs.insert((rows, spans), graph);
        }
        pass.stream.send::<u32>(&pass.steps_host, &pass.steps, BATCH)?;
        let start = Instant::now();
        let mut queued = Ok(());
        if let Some(graph) = pass.graphs.get(&(rows, spans)) {
            for _ in 0..steps {
                if !alive() {
                    queued = Err(Error::Cancelled);
                    break;
                }
                queued = queued.and_then(|()| pass.stream.replay(graph));
            }
        }
        let count = steps * slots.len();
        let fetched = pass.stream.fetch::<u32>(&pass.tokens, &mut pass.tokens_host, count);
        let done = pass.stream.wait();
        queued.and(fetched).and(done)?;
        let took = start.elapsed().as_nanos() as u64 / steps.max(1) as u64;
        self.nanoseconds.store(took.max(1), Ordering::Relaxed);
        let tokens = pass.tokens_host.as_slice::<u32>();
        let mut out = vec![Vec::with_capacity(steps); slots.len()];
        for step in tokens.chunks_exact(slots.len()).take(steps) {
            for (out, token) in out.iter_mut().zip(step) {
                if *token == u32::MAX {
                    let found = "an overflow: the weights or the activations are out of range";
                    return Err(Error::malformed("logits", "finite numbers", found));
                }
                out.push(*token);
            }
        }
        slots.iter_mut().for_each(|slot| slot.cache.advance(steps));
        Ok(out)
    }

    /// Sends the rows of a pass; returns how many there are. Room is made for `ahead` positions behind the first token.
    fn prepare(&self, pass: &mut Pass, slots: &mut [Slot], ahead: usize) -> Result<u32> {
        let count: usize = slots.iter().map(|slot| slot.tokens.len()).sum();
        if count == 0 || count > CHUNK {
            return Err(Error::Internal { reason: format!("a pass of {count} tokens") });
        }
        let mut rows = pass.rows_host.as_mut_slice::<Row>().iter_mut();
        for slot in slots.iter_mut() {
            let start = slot.cache.len();
            slot.cache.reserve(start + slot.tokens.len().max(ahead))?;
            let is_long = u32::from(self.is_long(slot.horizon));
            for (i, token) in slot.tokens.iter().enumerate() {
                if *token as usize >= self.weights.embedding.rows() {
                    let expected = format!("token ids below {}", self.weights.embedding.rows());
                    return Err(Error::InvalidOption { option: "tokens".into(), expected, found: token.to_string() });
                }
                if let Some(row) = rows.next() {
                    let position = (start + i) as u32;
                    *row = Row { pages: slot.cache.table(), position, token: *token, is_long, pad: 0 };
                }
            }
        }
        pass.stream.send::<Row>(&pass.rows_host, &pass.rows, count)?;
        Ok(count as u32)
    }

    /// Spans of attention that `positions` take.
    fn spans(&self, positions: usize) -> u32 {
        positions.div_ceil(self.dimensions.span) as u32
    }

    /// Queues embedding, layers and head of `count` rows; logits of the `wanted` ones, which are all rows unless `listed`.
    fn queue(&self, pass: &Pass, count: u32, spans: u32, wanted: u32, listed: bool) -> Result<()> {
        let (embedding, scale) = (&self.weights.embedding, self.spec.embedding_scale);
        let rows = Argument::Address(pass.rows.at());
        let arguments = [embedding.argument(), rows, pass.x.at(), pass.x.stride(), Argument::Float(scale)];
        self.launch(pass, &self.kernels.embed, [count, 1, 1], 256, &arguments)?;
        for index in 0..self.weights.layers.len() {
            self.layer(pass, index, count, spans)?;
        }
        if wanted == 0 {
            return Ok(());
        }
        let from = if listed { pass.wanted.at() } else { 0 };
        self.norm(pass, &self.weights.final_norm, from, wanted)?;
        let mode = self.spec.logit_softcap.map_or(Mode::Store, Mode::Cap);
        self.multiply(pass, &self.weights.head, &pass.h, &pass.logits, wanted, mode)
    }

    fn layer(&self, pass: &Pass, index: usize, count: u32, spans: u32) -> Result<()> {
        let (layer, spec) = (&self.weights.layers[index], &self.spec.layers[index]);
        self.norm(pass, &layer.attention_norm, 0, count)?;
        self.multiply(pass, &layer.query, &pass.h, &pass.query, count, Mode::Store)?;
        self.multiply(pass, &layer.key, &pass.h, &pass.key, count, Mode::Store)?;
        self.multiply(pass, &layer.value, &pass.h, &pass.value, count, Mode::Store)?;
        self.rotate(pass, index, layer, count)?;
        self.attend(pass, index, count, spans)?;
        self.add_product(pass, &layer.output, &pass.mixed, layer.attention_post_norm.as_ref(), count)?;
        if let Some(norm) = &layer.ffn_norm {
            self.norm(pass, norm, 0, count)?;
        }
        let activation = spec.activation;
        match &layer.gate {
            Some(gate) => {
                self.multiply(pass, gate, &pass.h, &pass.gate, count, Mode::Store)?;
                self.multiply(pass, &layer.up, &pass.h, &pass.gate, count, Mode::Gated(activation))?;
            }
            None => self.multiply(pass, &layer.up, &pass.h, &pass.gate, count, Mode::Activated(activation))?,
        }
        self.add_product(pass, &layer.down, &pass.gate, layer.ffn_post_norm.as_ref(), count)
    }

    /// h = norm(x), of the rows that are listed at `from`, or of all where that is 0.
    fn norm(&self, pass: &Pass, norm: &Norm, from: u64, count: u32) -> Result<()> {
        let width = Argument::Count(self.spec.width as u32);
        let from = Argument::Address(from);
        let arguments = [norm.argument(), pass.x.at(), pass.x.stride(), from, pass.h.at(), pass.h.stride(), width];
        self.launch(pass, &self.kernels.norm_rows, [count, 1, 1], self.norm_threads(), &arguments)
    }

    fn norm_threads(&self) -> u32 {
        (self.spec.width.div_ceil(4).next_multiple_of(32) as u32).clamp(32, 1024)
    }

    /// output = mode(W input + bias)
    fn multiply(
        &self,
        pass: &Pass,
        matrix: &Matrix,
        input: &Plane,
        output: &Plane,
        count: u32,
        mode: Mode,
    ) -> Result<()> {
        let kernels = self.kernels.gemv.get(&matrix.format());
        let kernels =
            kernels.ok_or_else(|| Error::Internal { reason: format!("no kernel for {}", matrix.format()) })?;
        let which = count.min(8).next_power_of_two().trailing_zeros();
        let rows = 1 << which;
        let Some(kernel) = kernels.get(which as usize) else { return Err(too_many("rows", rows as usize, 8)) };
        let (mode, activation, cap) = mode.codes();
        let arguments = [
            matrix.argument(),
            input.at(),
            input.stride(),
            output.at(),
            output.stride(),
            Argument::Count(count),
            Argument::Count(mode),
            Argument::Count(activation),
            output.at(),
            Argument::Float(cap),
        ];
        let grid = [(matrix.rows() as u32).div_ceil(WARPS_OF_GEMV), count.div_ceil(rows), 1];
        self.launch(pass, kernel, grid, WARPS_OF_GEMV * 32, &arguments)
    }

    /// x += post_norm(W input)
    fn add_product(
        &self,
        pass: &Pass,
        matrix: &Matrix,
        input: &Plane,
        post_norm: Option<&Norm>,
        count: u32,
    ) -> Result<()> {
        let Some(norm) = post_norm else { return self.multiply(pass, matrix, input, &pass.x, count, Mode::Add) };
        self.multiply(pass, matrix, input, &pass.delta, count, Mode::Store)?;
        let width = Argument::Count(self.spec.width as u32);
        let arguments = [norm.argument(), pass.delta.at(), pass.x.at(), pass.x.stride(), width];
        self.launch(pass, &self.kernels.add_norm, [count, 1, 1], self.norm_threads(), &arguments)
    }

    /// Norms of q and k, their rotation, and the write to the cache.
    fn rotate(&self, pass: &Pass, index: usize, layer: &Layer, count: u32) -> Result<()> {
        let rope = self.spec.layers[index].rope;
        let (table, long) = &self.angles[rope];
        let norm = |norm: &Option<Norm>| norm.as_ref().map_or_else(Norm::none, Norm::argument);
        let arguments = [
            Argument::Address(pass.rows.at()),
            Argument::Count(index as u32),
            pass.query.at(),
            pass.key.at(),
            pass.value.at(),
            pass.query.stride(),
            pass.key.stride(),
            norm(&layer.query_norm),
            norm(&layer.key_norm),
            Argument::Address(table.at()),
            Argument::Address(long.as_ref().map_or(0, Memory::at)),
            Argument::Count(self.spec.ropes[rope].rotary as u32),
        ];
        let heads = (self.spec.heads + 2 * self.spec.kv_heads) as u32;
        self.launch(pass, &self.kernels.rotate, [heads, count, 1], 32, &arguments)
    }

    /// mixed = attention(query, cache)
    fn attend(&self, pass: &Pass, index: usize, count: u32, spans: u32) -> Result<()> {
        let spec = &self.spec.layers[index];
        let window = spec.window.map_or(0, |window| u32::try_from(window).unwrap_or(0));
        let (heads, kv_heads) = (self.spec.heads as u32, self.spec.kv_heads as u32);
        let group = heads / kv_heads;
        let together = if group <= 8 { group } else { [8, 4, 2, 1].into_iter().find(|n| group % n == 0).unwrap_or(1) };
        let blocks = kv_heads * (group / together);
        let threads = self.dimensions.span as u32;
        let mut arguments = vec![
            Argument::Address(pass.rows.at()),
            Argument::Count(index as u32),
            pass.query.at(),
            pass.query.stride(),
            Argument::Count(window),
            Argument::Float(spec.attention_scale),
            Argument::Float(spec.attention_softcap.unwrap_or(0.0)),
        ];
        if count > BATCH as u32 {
            arguments.push(pass.mixed.at());
            return self.launch(pass, &self.kernels.attend_rows, [blocks, count, 1], threads, &arguments);
        }
        let (partial, spans_argument) = (Argument::Address(pass.partial.at()), Argument::Count(spans));
        arguments.extend([partial, spans_argument]);
        self.launch(pass, &self.kernels.attend, [blocks, count, spans], threads, &arguments)?;
        let rows = Argument::Address(pass.rows.at());
        let arguments = [rows, Argument::Count(window), partial, spans_argument, pass.mixed.at(), pass.mixed.stride()];
        let threads = (self.spec.head_dim as u32).next_multiple_of(32);
        self.launch(pass, &self.kernels.combine, [heads, count, 1], threads, &arguments)
    }

    /// Argmax of all rows' logits, put where the next pass reads it.
    fn choose(&self, pass: &Pass, rows: u32) -> Result<()> {
        let best = Argument::Address(pass.best.at());
        let arguments = [pass.logits.at(), pass.logits.stride(), Argument::Count(self.spec.vocab as u32), best];
        self.launch(pass, &self.kernels.argmax_parts, [ARGMAX_PARTS, rows, 1], 256, &arguments)?;
        let address = |memory: &Memory| Argument::Address(memory.at());
        let arguments =
            [best, Argument::Count(ARGMAX_PARTS), address(&pass.rows), address(&pass.tokens), address(&pass.steps)];
        self.launch(pass, &self.kernels.argmax_feed, [rows, 1, 1], 256, &arguments)
    }

    fn launch(&self, pass: &Pass, kernel: &Kernel, grid: [u32; 3], threads: u32, arguments: &[Argument]) -> Result<()> {
        // SAFETY: each caller passes what the kernel of that name declares; planes have CHUNK rows as wide as any matrix
        // that reads or writes them, `prepare` made room in the caches, and everything lives until the stream is done.
        unsafe { pass.stream.launch(kernel, grid, threads, 0, arguments) }
    }
}

impl std::fmt::Debug for CudaModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaModel")
            .field("device", &self.device)
            .field("dimensions", &self.dimensions)
            .finish_non_exhaustive()
    }
}

fn too_many(what: &str, found: usize, most: usize) -> Error {
    Error::Internal { reason: format!("{found} {what} in a pass, at most {most}") }
}
