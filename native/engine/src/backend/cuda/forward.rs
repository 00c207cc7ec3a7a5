//! One pass of a batch of tokens through the model on the device, and several decoding passes without the host.
//!
//! A pass is queued on one stream: embedding, layers, head. What changes from token to token (positions, tokens, pages)
//! is in device memory, so a decoding pass is recorded once as a graph and replayed; the last kernel puts the token it
//! chose where the next replay reads it.
//!
//! The one surprise: a recorded graph serves many lengths. Its attention has blocks for as many spans as a power of two,
//! and those beyond a row's position leave at once.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    argument::{Argument, HeadsArgument, PartArgument},
    decode::{Decoder, Plan},
    driver::{Device, Memory},
    kv_cache::KvCache,
    module::{Kernel, Module},
    pass::{Angles, Kernels, Mode, Pass, Plane, Row, units_of_eight, upload_angles},
    prefill::Prefill,
    program::{Dimensions, PAGE, TEAM},
    weights::{self, HostNormed, Layer, Matrix, Norm, Weights},
};
use crate::{
    backend::weights::Packed,
    error::{Error, Result},
    model::spec::ModelSpec,
    sampler::Choice,
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
/// Threads of a product and of attention on tensor cores.
const THREADS: u32 = TEAM as u32 * 32;

/// A model on the device.
pub struct CudaModel {
    pub(super) spec: ModelSpec,
    pub(super) weights: Weights,
    device: Arc<Device>,
    dimensions: Dimensions,
    pub(super) kernels: Kernels,
    /// One for each rope.
    angles: Vec<Angles>,
    /// The fast road, where the model and the GPU suit it.
    pub(super) decoder: Option<Decoder>,
    /// Of prompts; None: they run through the products of decoding.
    prefill: Option<Prefill>,
    context: usize,
    /// Whether its code is that for any model.
    pub is_generic: bool,
    pub(super) pass: Mutex<Pass>,
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
    /// `weights` were loaded to `device`, `module` is its code.
    pub fn new(
        spec: ModelSpec,
        weights: HostNormed,
        device: &Arc<Device>,
        dimensions: &Dimensions,
        plan: Option<&Plan>,
        module: Module,
        context: usize,
    ) -> Result<Self> {
        let weights = weights::with_norms(device, weights)?;
        let (names, embedding) = (weights::kernel_names(&weights), weights.embedding.format());
        let kernels = Kernels::new(&module, &names, embedding, dimensions)?;
        let angles: Vec<_> =
            spec.ropes.iter().map(|rope| upload_angles(device, rope, context)).collect::<Result<_>>()?;
        let decoder = plan.map(|plan| Decoder::new(device, &module, plan, &spec, &weights, &angles, dimensions));
        let decoder = decoder.transpose()?;
        let prefill = Prefill::of(device, &module, dimensions, &weights)?;
        let pass = Mutex::new(Pass::new(device, &module, &spec, dimensions, context)?);
        let (device, dimensions, nanoseconds) = (Arc::clone(device), dimensions.clone(), AtomicU64::new(0));
        Ok(CudaModel {
            spec,
            weights,
            device,
            dimensions,
            kernels,
            angles,
            decoder,
            prefill,
            context,
            is_generic: false,
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

    /// Whether prompts run on tensor cores.
    pub fn has_prefill(&self) -> bool {
        self.prefill.is_some()
    }

    /// Whether a sequence of `len` tokens uses other rotary frequencies than a short one.
    pub fn is_long(&self, len: usize) -> bool {
        let originals = self.spec.ropes.iter().filter_map(|rope| rope.long.as_ref());
        originals.map(|long| long.original_context).any(|original| len > original)
    }

    pub fn decodes_in_one_launch(&self) -> bool {
        self.decoder.is_some()
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

    /// Decodes `steps` tokens of each slot as its choice says, without a look from the host: each slot gives one token,
    /// and gets the ones that follow it. The caches hold all but the last.
    pub fn decode(
        &self,
        slots: &mut [Slot],
        choices: &[Choice],
        steps: usize,
        alive: &dyn Fn() -> bool,
    ) -> Result<Vec<Vec<u32>>> {
        self.device.enter()?;
        let mut pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = &mut *pass;
        if steps > STEPS {
            return Err(too_many("steps", steps, STEPS));
        }
        let rows = self.prepare(pass, slots, steps)?;
        if rows as usize != slots.len() || slots.len() != choices.len() || slots.len() > BATCH {
            return Err(too_many("rows", rows as usize, BATCH));
        }
        let spans = self.spans_of(slots, steps);
        let draws = choices.iter().any(|choice| !choice.sampling.is_argmax());
        let kind = (rows, spans, draws);
        if !pass.graphs.contains_key(&kind) {
            let graph = pass.stream.record(|| self.queue_choice(pass, rows, spans, draws))?;
            pass.graphs.insert(kind, graph);
        }
        if draws {
            pass.sampler.send(&pass.stream, choices, steps)?;
        }
        pass.stream.send::<u32>(&pass.steps_host, &pass.steps, BATCH)?;
        let start = Instant::now();
        let mut queued = Ok(());
        if let Some(graph) = pass.graphs.get(&kind) {
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
    pub(super) fn prepare(&self, pass: &mut Pass, slots: &mut [Slot], ahead: usize) -> Result<u32> {
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

    /// Spans that a recorded pass is for, up to `steps` more positions.
    pub(super) fn spans_of(&self, slots: &[Slot], steps: usize) -> u32 {
        let longest = slots.iter().map(|slot| slot.cache.len() + steps).max().unwrap_or(0);
        self.spans(longest).next_power_of_two().min(self.spans(self.context))
    }

    /// Spans of attention that `positions` take.
    fn spans(&self, positions: usize) -> u32 {
        positions.div_ceil(self.dimensions.span) as u32
    }

    /// Queues embedding, layers and head of `count` rows; logits of the `wanted` ones, which are all rows unless `listed`.
    pub(super) fn queue(&self, pass: &Pass, count: u32, spans: u32, wanted: u32, listed: bool) -> Result<()> {
        if let (Some(decoder), 1, 1) = (&self.decoder, count, wanted) {
            return decoder.queue(pass, &self.spec, &self.weights, false);
        }
        let (embedding, scale) = (&self.weights.embedding, self.spec.embedding_scale);
        let rows = Argument::Address(pass.rows.at());
        let arguments = [embedding.argument(), rows, pass.x.at(), pass.x.stride(), Argument::Float(scale)];
        self.launch(pass, &self.kernels.embed, [count, 1, 1], 256, 0, &arguments)?;
        for index in 0..self.weights.layers.len() {
            match &self.prefill {
                Some(prefill) if count > BATCH as u32 => prefill.layer(self, pass, index, count, spans)?,
                _ => self.layer(pass, index, count, spans)?,
            }
        }
        if wanted == 0 {
            return Ok(());
        }
        let mode = self.spec.logit_softcap.map_or(Mode::Store, Mode::Cap);
        let norm = &self.weights.final_norm;
        let head = [(&*self.weights.head, &pass.logits)];
        if listed && count > wanted || !norm.is_plain() {
            let from = if listed { pass.wanted.at() } else { 0 };
            self.norm(pass, norm, from, wanted)?;
            return self.multiply(pass, &head, &pass.h, wanted, None, mode);
        }
        self.multiply(pass, &head, &pass.x, wanted, Some(norm), mode)
    }

    fn layer(&self, pass: &Pass, index: usize, count: u32, spans: u32) -> Result<()> {
        let (layer, spec) = (&self.weights.layers[index], &self.spec.layers[index]);
        let (input, norm) = self.normed(pass, &layer.attention_norm, count)?;
        let qkv = [(&*layer.query, &pass.query), (&*layer.key, &pass.key), (&*layer.value, &pass.value)];
        self.multiply(pass, &qkv, input, count, norm, Mode::Store)?;
        match &self.kernels.heads {
            Some(kernels) if count <= BATCH as u32 && plain_heads(layer) => {
                self.attend_heads(pass, index, kernels, count, spans)?;
            }
            _ => {
                self.rotate(pass, index, layer, count)?;
                self.attend(pass, index, count, spans)?;
            }
        }
        // Parallel: the FFN has the input that attention had.
        let (input, norm) = match &layer.ffn_norm {
            Some(ffn_norm) => {
                self.add_product(pass, &layer.output, &pass.mixed, layer.attention_post_norm.as_ref(), count)?;
                self.normed(pass, ffn_norm, count)?
            }
            None => (input, norm),
        };
        let activation = spec.activation;
        match &layer.gate {
            Some(gate) => {
                let both = [(&**gate, &pass.gate), (&*layer.up, &pass.gate)];
                self.multiply(pass, &both, input, count, norm, Mode::Gated(activation))?;
            }
            None => {
                let up = [(&*layer.up, &pass.gate)];
                self.multiply(pass, &up, input, count, norm, Mode::Activated(activation))?;
            }
        }
        if layer.ffn_norm.is_none() {
            self.add_product(pass, &layer.output, &pass.mixed, layer.attention_post_norm.as_ref(), count)?;
        }
        self.add_product(pass, &layer.down, &pass.gate, layer.ffn_post_norm.as_ref(), count)
    }

    /// What a product with norm(x) reads: x itself where the product takes care of the norm, or else h = norm(x).
    fn normed<'a>(&self, pass: &'a Pass, norm: &'a Norm, count: u32) -> Result<(&'a Plane, Option<&'a Norm>)> {
        if norm.is_plain() && count <= BATCH as u32 {
            return Ok((&pass.x, Some(norm)));
        }
        self.norm(pass, norm, 0, count)?;
        Ok((&pass.h, None))
    }

    /// h = norm(x), of the rows that are listed at `from`, or of all where that is 0.
    fn norm(&self, pass: &Pass, norm: &Norm, from: u64, count: u32) -> Result<()> {
        let width = Argument::Count(self.spec.width as u32);
        let from = Argument::Address(from);
        let arguments = [norm.argument(), pass.x.at(), pass.x.stride(), from, pass.h.at(), pass.h.stride(), width];
        self.launch(pass, &self.kernels.norm_rows, [count, 1, 1], self.norm_threads(), 0, &arguments)
    }

    fn norm_threads(&self) -> u32 {
        (self.spec.width.div_ceil(4).next_multiple_of(32) as u32).clamp(32, 1024)
    }

    /// Each plane = mode(W input + bias), the input normed first where a norm is given. Gated: of two matrices, the first
    /// is the gate. Matrices of one format go together, up to three.
    fn multiply(
        &self,
        pass: &Pass,
        products: &[(&Matrix, &Plane)],
        input: &Plane,
        count: u32,
        norm: Option<&Norm>,
        mode: Mode,
    ) -> Result<()> {
        let Some((first, _)) = products.first() else { return Ok(()) };
        let name = first.kernel_name();
        let alike = products.iter().all(|(matrix, _)| matrix.kernel_name() == name);
        let mut ending = mode.ending();
        if let Some(norm) = norm {
            (ending.gamma, ending.eps) = (norm.weight(), norm.eps());
        }
        let gated = matches!(mode, Mode::Gated(_));
        if !alike && gated {
            // Two formats: the gate activated, then what is up multiplied by it.
            let Mode::Gated(activation) = mode else { return Ok(()) };
            self.multiply(pass, &products[..1], input, count, norm, Mode::Activated(activation))?;
            return self.multiply(pass, &products[1..], input, count, norm, Mode::Scaled);
        }
        if !alike {
            return products.iter().try_for_each(|product| self.multiply(pass, &[*product], input, count, norm, mode));
        }
        let kernels = self.kernels.gemv.get(name);
        let kernels = kernels.ok_or_else(|| Error::Internal { reason: format!("no kernel for {name}") })?;
        let mut parts = [PartArgument::default(); 3];
        parts.iter_mut().zip(products).for_each(|(part, (matrix, plane))| *part = matrix.part(plane));
        let tiles: u32 = parts.iter().map(|part| part.tiles).sum();
        let units = if gated { parts[0].tiles } else { tiles.div_ceil(2) };
        let [a, b, c] = parts.map(Argument::Part);
        let (rows, ending) = (Argument::Count(count), Argument::Ending(ending));
        if count <= 4 {
            let arguments = [a, b, c, input.at(), input.stride(), rows, ending];
            return self.launch(pass, &kernels.four[usize::from(gated)], [units, 1, 1], THREADS, 0, &arguments);
        }
        let at = |memory: &Memory| Argument::Address(memory.at());
        let split = [at(&pass.split.pieces), at(&pass.split.scales), at(&pass.split.squares)];
        let cols = first.cols() as u32;
        let gamma = Argument::Address(norm.map_or(0, Norm::weight));
        let arguments = [&[input.at(), input.stride(), Argument::Count(cols), rows, gamma][..], &split].concat();
        // A warp has two pieces of each of its blocks of columns; four pieces a warp of a block are enough to do.
        let grid = [TEAM as u32, cols.div_ceil(32 * TEAM as u32 * 16).max(1), count.div_ceil(8)];
        self.launch(pass, &kernels.split, grid, 256, 0, &arguments)?;
        let arguments = [&[a, b, c][..], &split, &[rows, ending]].concat();
        let grid = [units.div_ceil(units_of_eight(first.format())), count.div_ceil(8), 1];
        self.launch(pass, &kernels.eight[usize::from(gated)], grid, THREADS, 0, &arguments)
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
        let Some(norm) = post_norm else {
            return self.multiply(pass, &[(matrix, &pass.x)], input, count, None, Mode::Add);
        };
        self.multiply(pass, &[(matrix, &pass.delta)], input, count, None, Mode::Store)?;
        self.add_norm(pass, norm, count)
    }

    /// x += norm(delta)
    pub(super) fn add_norm(&self, pass: &Pass, norm: &Norm, count: u32) -> Result<()> {
        let width = Argument::Count(self.spec.width as u32);
        let arguments = [norm.argument(), pass.delta.at(), pass.x.at(), pass.x.stride(), width];
        self.launch(pass, &self.kernels.add_norm, [count, 1, 1], self.norm_threads(), 0, &arguments)
    }

    /// mixed = attention(query, cache) by tensor cores, with norms, rotation and the write to the cache.
    fn attend_heads(&self, pass: &Pass, index: usize, kernels: &[Kernel; 2], count: u32, spans: u32) -> Result<()> {
        let (layer, spec) = (&self.weights.layers[index], &self.spec.layers[index]);
        let (table, long) = &self.angles[spec.rope].tables;
        let norm = |norm: &Option<Norm>| norm.as_ref().map(Norm::norm).unwrap_or_default();
        let window = spec.window.map_or(0, |window| u32::try_from(window).unwrap_or(0));
        let heads = HeadsArgument {
            query_norm: norm(&layer.query_norm),
            key_norm: norm(&layer.key_norm),
            table: table.at(),
            long_table: long.as_ref().map_or(0, Memory::at),
            rotary: self.spec.ropes[spec.rope].rotary as u32,
            window,
            scale: spec.attention_scale,
            cap: spec.attention_softcap.unwrap_or(0.0),
        };
        let (rows, partial) = (Argument::Address(pass.rows.at()), Argument::Address(pass.partial.at()));
        let arguments = [
            rows,
            Argument::Count(index as u32),
            pass.query.at(),
            pass.key.at(),
            pass.value.at(),
            pass.query.stride(),
            pass.key.stride(),
            Argument::Heads(heads),
            pass.mixed.at(),
            partial,
        ];
        // As `reach_of` of kernels/heads.cu: a split for each TEAM groups of 32 positions.
        let splits =
            (spans as usize * self.dimensions.span).div_ceil(TEAM * 32).clamp(1, self.dimensions.splits) as u32;
        let shared = self.dimensions.attend_bytes() as u32;
        let grid = [self.spec.kv_heads as u32, count, splits];
        self.launch(pass, &kernels[0], grid, THREADS, shared, &arguments)?;
        if splits == 1 {
            return Ok(());
        }
        let arguments = [rows, Argument::Count(window), partial, pass.mixed.at(), pass.mixed.stride()];
        let grid = [self.spec.heads as u32, count, 1];
        self.launch(pass, &kernels[1], grid, self.spec.head_dim as u32, 0, &arguments)
    }

    /// Norms of q and k, their rotation, and the write to the cache.
    pub(super) fn rotate(&self, pass: &Pass, index: usize, layer: &Layer, count: u32) -> Result<()> {
        let rope = self.spec.layers[index].rope;
        let (table, long) = &self.angles[rope].tables;
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
        self.launch(pass, &self.kernels.rotate, [heads, count, 1], 32, 0, &arguments)
    }

    /// mixed = attention(query, cache)
    pub(super) fn attend(&self, pass: &Pass, index: usize, count: u32, spans: u32) -> Result<()> {
        let spec = &self.spec.layers[index];
        let window = spec.window.map_or(0, |window| u32::try_from(window).unwrap_or(0));
        let (heads, kv_heads) = (self.spec.heads as u32, self.spec.kv_heads as u32);
        let blocks = kv_heads * (heads / kv_heads / self.dimensions.together() as u32);
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
            return self.launch(pass, &self.kernels.attend_rows, [blocks, count, 1], threads, 0, &arguments);
        }
        let (partial, spans_argument) = (Argument::Address(pass.partial.at()), Argument::Count(spans));
        arguments.extend([partial, spans_argument]);
        self.launch(pass, &self.kernels.attend, [blocks, count, spans], threads, 0, &arguments)?;
        let rows = Argument::Address(pass.rows.at());
        let arguments = [rows, Argument::Count(window), partial, spans_argument, pass.mixed.at(), pass.mixed.stride()];
        let threads = (self.spec.head_dim as u32).next_multiple_of(32);
        self.launch(pass, &self.kernels.combine, [heads, count, 1], threads, 0, &arguments)
    }

    pub(super) fn launch(
        &self,
        pass: &Pass,
        kernel: &Kernel,
        grid: [u32; 3],
        threads: u32,
        shared: u32,
        arguments: &[Argument],
    ) -> Result<()> {
        // SAFETY: each caller passes what the kernel of that name declares; planes have CHUNK rows as wide as any matrix
        // that reads or writes them, `prepare` made room in the caches, and everything lives until the stream is done.
        unsafe { pass.stream.launch(kernel, grid, threads, shared, arguments) }
    }
}

/// Whether the heads' norms are such as kernels/heads.cu knows.
fn plain_heads(layer: &Layer) -> bool {
    let plain = |norm: &Option<Norm>| norm.as_ref().is_none_or(Norm::is_plain);
    plain(&layer.query_norm) && plain(&layer.key_norm)
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
