//! One pass of a batch of tokens through the model.
//!
//! The batch is a list of slots: some tokens of one session each, a chunk of a prompt or one new token. All
//! members of the gang walk the same stages in step; within a stage, rows, tiles or heads are shared out. A stage
//! names what it reads and writes; nothing else is shared.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use super::{
    attention::{self, Query},
    gang::{self, CalledOff, Member, gang},
    kv_cache::{KvCache, Shape, View},
    matrix::{Matrix, PANEL_FLOATS},
    plane::Plane,
    pointwise::{Norm, activate, rotate},
    simd::Level,
    tile::LANES,
    weights::{Layer, Weights, padded},
};
use crate::{
    error::{Error, Result},
    model::spec::{ModelSpec, Rope},
};

/// Most tokens of a pass; prompts are cut at multiples of it.
pub const CHUNK: usize = 128;

/// A model on the CPU.
#[derive(Debug)]
pub struct CpuModel {
    spec: ModelSpec,
    weights: Weights,
    level: Level,
    threads: usize,
    context: usize,
    scratch: Mutex<Scratch>,
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

/// Activations of a pass, row-major f32, rows padded to whole vectors.
#[derive(Debug)]
struct Scratch {
    /// The residual stream. [N, D]
    x: Vec<f32>,
    /// Its norm. [N, D]
    h: Vec<f32>,
    /// [N, H * HD]
    query: Vec<f32>,
    /// [N, KV * HD]
    key: Vec<f32>,
    value: Vec<f32>,
    /// What attention gives. [N, H * HD]
    mixed: Vec<f32>,
    /// [N, F]
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What a block adds to the residual stream. [N, D]
    delta: Vec<f32>,
    /// [rows, V] of one pass, then copied out.
    logits: Vec<f32>,
    /// Cosines and sines: [ropes][N][rotary], cos in the first half, sin in the second.
    angles: Vec<Vec<f32>>,
    members: Vec<Mutex<MemberScratch>>,
}

#[derive(Debug)]
struct MemberScratch {
    panel: Vec<f32>,
    attention: attention::Scratch,
}

/// One row of the batch.
#[derive(Debug, Clone, Copy)]
struct Row {
    slot: usize,
    position: usize,
}

/// Rows of one slot that one attention item handles together.
#[derive(Debug, Clone, Copy)]
struct Block {
    slot: usize,
    first_row: usize,
    position: usize,
    rows: usize,
}

impl CpuModel {
    /// `threads` None: every core that the process really has.
    pub fn new(spec: ModelSpec, weights: Weights, threads: Option<usize>, context: usize) -> Result<Self> {
        let threads = threads.unwrap_or_else(gang::cores).clamp(1, gang::MAX_THREADS);
        let scratch = Scratch::new(&spec, threads, context)?;
        Ok(CpuModel { spec, weights, level: Level::detect(), threads, context, scratch: Mutex::new(scratch) })
    }

    /// The same model on another instruction set; for tests.
    #[doc(hidden)]
    pub fn with_level(mut self, level: Level) -> Self {
        if Level::available().contains(&level) {
            self.level = level;
        }
        self
    }

    pub fn level(&self) -> Level {
        self.level
    }

    pub fn threads(&self) -> usize {
        self.threads
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
        let (layers, kv_heads, head_dim) = (self.spec.layers.len(), self.spec.kv_heads, self.spec.head_dim);
        KvCache::new(Shape { layers, kv_heads, head_dim }, self.context)
    }

    /// Appends each slot's tokens to its cache and computes the logits that are asked for.
    ///
    /// On an error the caches hold what they held before. At most `CHUNK` tokens in all.
    pub fn forward(&self, slots: &mut [Slot], alive: &dyn Fn() -> bool) -> Result<()> {
        let count: usize = slots.iter().map(|slot| slot.tokens.len()).sum();
        if count == 0 || count > CHUNK {
            return Err(Error::Internal { reason: format!("a pass of {count} tokens") });
        }
        let (mut rows, mut blocks, mut tokens) = (vec![], vec![], vec![]);
        let group = self.spec.heads / self.spec.kv_heads;
        let rows_in_block = (12 / group).max(1);
        for (slot, part) in slots.iter_mut().enumerate() {
            let start = part.cache.len();
            part.cache.reserve(start + part.tokens.len())?;
            for (i, token) in part.tokens.iter().enumerate() {
                if *token as usize >= self.weights.embedding.rows() {
                    let expected = format!("token ids below {}", self.weights.embedding.rows());
                    return Err(Error::InvalidOption { option: "tokens".into(), expected, found: token.to_string() });
                }
                if i % rows_in_block == 0 {
                    let left = part.tokens.len() - i;
                    let (first_row, rows) = (rows.len(), left.min(rows_in_block));
                    blocks.push(Block { slot, first_row, position: start + i, rows });
                }
                rows.push(Row { slot, position: start + i });
                tokens.push(*token);
            }
        }
        let horizons: Vec<usize> = slots.iter().map(|slot| slot.horizon).collect();
        let caches: Vec<View> = slots.iter_mut().map(|slot| slot.cache.view()).collect();
        let ends: Vec<usize> = slots
            .iter()
            .scan(0, |end, slot| {
                *end += slot.tokens.len();
                Some(*end - 1)
            })
            .collect();
        let wanted: Vec<usize> =
            slots.iter().zip(&ends).filter(|(slot, _)| slot.logits.is_some()).map(|(_, end)| *end).collect();

        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        scratch.reserve_logits(wanted.len() * padded(self.spec.vocab))?;
        for (rope, angles) in self.spec.ropes.iter().zip(&mut scratch.angles) {
            for (i, row) in rows.iter().enumerate() {
                set_angles(rope, row.position, horizons[row.slot], &mut angles[i * rope.rotary..(i + 1) * rope.rotary]);
            }
        }
        let pass = Pass::new(self, &mut scratch, &rows, &blocks, &caches, &wanted);
        if count <= 8 {
            gang().run(self.threads, alive, &|member| {
                pass.embed(member, &tokens)?;
                (0..self.weights.layers.len()).try_for_each(|layer| pass.layer(member, layer))?;
                pass.head(member)
            })?;
        } else {
            // A layer a turn: a long prompt lets others in between.
            gang().run(self.threads, alive, &|member| pass.embed(member, &tokens))?;
            for layer in 0..self.weights.layers.len() {
                gang().run(self.threads, alive, &|member| pass.layer(member, layer))?;
            }
            gang().run(self.threads, alive, &|member| pass.head(member))?;
        }
        let mut computed = scratch.logits.chunks_exact(padded(self.spec.vocab));
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
}

impl Scratch {
    fn new(spec: &ModelSpec, threads: usize, context: usize) -> Result<Self> {
        let ffn = spec.layers.iter().map(|layer| layer.up.out()).max().unwrap_or(0);
        let (heads, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let plane = |width: usize| vec![0.0_f32; CHUNK * padded(width)];
        let rows = (spec.heads / spec.kv_heads).max(12);
        if rows > attention::MAX_ROWS {
            let expected = format!("at most {} query heads for a key-value head", attention::MAX_ROWS);
            return Err(Error::unsupported("model", expected, rows.to_string()));
        }
        let member = || {
            Mutex::new(MemberScratch {
                panel: vec![0.0; PANEL_FLOATS],
                attention: attention::Scratch {
                    query: vec![0.0; rows * spec.head_dim],
                    scores: vec![0.0; rows * (context + 2 * LANES).next_multiple_of(LANES)],
                    output: vec![0.0; rows * padded(spec.head_dim)],
                },
            })
        };
        Ok(Scratch {
            x: plane(spec.width),
            h: plane(spec.width),
            query: plane(heads),
            key: plane(kv),
            value: plane(kv),
            mixed: plane(heads),
            gate: plane(ffn),
            up: plane(ffn),
            delta: plane(spec.width),
            logits: vec![],
            angles: spec.ropes.iter().map(|rope| vec![0.0; CHUNK * rope.rotary]).collect(),
            members: (0..threads).map(|_| member()).collect(),
        })
    }

    /// Grows only when more sequences than ever before want logits in one pass.
    fn reserve_logits(&mut self, floats: usize) -> Result<()> {
        if self.logits.len() < floats {
            let more = floats - self.logits.len();
            let short =
                |_| Error::OutOfMemory { wanted_bytes: more as u64 * 4, free_bytes: crate::buffer::free_bytes() };
            self.logits.try_reserve_exact(more).map_err(short)?;
            self.logits.resize(floats, 0.0);
        }
        Ok(())
    }
}

/// cos and sin of every pair's angle at a position, times the magnitude.
fn set_angles(rope: &Rope, position: usize, horizon: usize, out: &mut [f32]) {
    let frequencies = match &rope.long {
        Some(long) if horizon > long.original_context => &long.inverse_frequencies,
        _ => &rope.inverse_frequencies,
    };
    let (cos, sin) = out.split_at_mut(rope.rotary / 2);
    for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(frequencies) {
        let angle = position as f32 * frequency;
        (*cos, *sin) = (angle.cos() * rope.magnitude, angle.sin() * rope.magnitude);
    }
}

type Stage = std::result::Result<(), CalledOff>;

/// What the members of a pass see.
struct Pass<'a> {
    model: &'a CpuModel,
    rows: &'a [Row],
    blocks: &'a [Block],
    caches: &'a [View],
    wanted: &'a [usize],
    angles: &'a [Vec<f32>],
    members: &'a [Mutex<MemberScratch>],
    x: Plane,
    h: Plane,
    query: Plane,
    key: Plane,
    value: Plane,
    mixed: Plane,
    gate: Plane,
    up: Plane,
    delta: Plane,
    logits: Plane,
}

impl<'a> Pass<'a> {
    fn new(
        model: &'a CpuModel,
        scratch: &'a mut Scratch,
        rows: &'a [Row],
        blocks: &'a [Block],
        caches: &'a [View],
        wanted: &'a [usize],
    ) -> Self {
        let stride = |buffer: &Vec<f32>| buffer.len() / CHUNK;
        let plane = |buffer: &mut Vec<f32>| {
            let stride = stride(buffer);
            Plane::new(buffer, stride)
        };
        Pass {
            model,
            rows,
            blocks,
            caches,
            wanted,
            angles: &scratch.angles,
            members: &scratch.members,
            x: plane(&mut scratch.x),
            h: plane(&mut scratch.h),
            query: plane(&mut scratch.query),
            key: plane(&mut scratch.key),
            value: plane(&mut scratch.value),
            mixed: plane(&mut scratch.mixed),
            gate: plane(&mut scratch.gate),
            up: plane(&mut scratch.up),
            delta: plane(&mut scratch.delta),
            logits: Plane::new(&mut scratch.logits, padded(model.spec.vocab)),
        }
    }

    /// x = embedding[token] * scale
    fn embed(&self, member: &Member, tokens: &[u32]) -> Stage {
        let spec = &self.model.spec;
        member.share(tokens.len(), 4, |range| {
            for row in range {
                // SAFETY: one row of x for each item.
                let x = unsafe { self.x.part(row, 0..self.x.stride) };
                self.model.weights.embedding.row(self.model.level, tokens[row] as usize, &mut x[..spec.width]);
                x[spec.width..].fill(0.0);
                if spec.embedding_scale != 1.0 {
                    x.iter_mut().for_each(|value| *value *= spec.embedding_scale);
                }
            }
        })
    }

    fn layer(&self, member: &Member, index: usize) -> Stage {
        let (layer, spec) = (&self.model.weights.layers[index], &self.model.spec.layers[index]);
        self.norm(member, &layer.attention_norm)?;
        self.products(
            member,
            self.h,
            &[(&layer.query, self.query), (&layer.key, self.key), (&layer.value, self.value)],
        )?;
        self.rotate_and_store(member, index, layer)?;
        self.attend(member, index)?;
        self.add_product(member, &layer.output, self.mixed, layer.attention_post_norm.as_ref())?;
        if let Some(norm) = &layer.ffn_norm {
            self.norm(member, norm)?;
        }
        self.gate_and_up(member, layer, spec.activation)?;
        self.add_product(member, &layer.down, self.gate, layer.ffn_post_norm.as_ref())
    }

    /// h = norm(x)
    fn norm(&self, member: &Member, norm: &Norm) -> Stage {
        let width = self.model.spec.width;
        member.share(self.rows.len(), 2, |range| {
            for row in range {
                // SAFETY: x is only read in this stage; one row of h for each item.
                unsafe { norm.apply(self.model.level, self.x.row(row, width), self.h.part(row, 0..width)) }
            }
        })
    }

    /// output = W input for each of some matrices; their tiles are shared out as if they were one.
    fn products(&self, member: &Member, input: Plane, matrices: &[(&Matrix, Plane)]) -> Stage {
        let total = matrices.iter().map(|(matrix, _)| matrix.tiles()).sum();
        member.share(total, self.grain(total, member), |range| {
            let mut first = 0;
            for (matrix, output) in matrices {
                let start = range.start.clamp(first, first + matrix.tiles()) - first;
                let end = range.end.clamp(first, first + matrix.tiles()) - first;
                self.product(member, matrix, start..end, input, *output);
                first += matrix.tiles();
            }
        })
    }

    /// Tiles handed out at a time: enough for the register blocks, few enough to end together.
    fn grain(&self, tiles: usize, member: &Member) -> usize {
        (tiles / (member.size * 2)).next_multiple_of(4).max(4)
    }

    fn product(&self, member: &Member, matrix: &Matrix, tiles: Range<usize>, input: Plane, output: Plane) {
        if tiles.is_empty() {
            return;
        }
        let mut scratch = self.members[member.index].lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: input rows hold the matrix' columns (spec checked at load), output rows its padded rows; the tiles
        // are this member's alone; the level was detected.
        unsafe {
            let (input, output) = (input.rows(self.rows.len()), output.rows_mut());
            matrix.multiply(self.model.level, tiles, input, output, &mut scratch.panel);
        }
    }

    /// Norms of q and k, their rotation, and the write to the cache: an item is one row's key-value head.
    fn rotate_and_store(&self, member: &Member, index: usize, layer: &Layer) -> Stage {
        let (model, spec) = (&self.model.spec, &self.model.spec.layers[index]);
        let (width, level) = (model.head_dim, self.model.level);
        let group = model.heads / model.kv_heads;
        let rope = &model.ropes[spec.rope];
        member.share(self.rows.len() * model.kv_heads, 8, |range| {
            for item in range {
                let (row, head) = (item / model.kv_heads, item % model.kv_heads);
                let angles = &self.angles[spec.rope][row * rope.rotary..(row + 1) * rope.rotary];
                let (cos, sin) = angles.split_at(rope.rotary / 2);
                // SAFETY: these heads of this row belong to this item alone.
                let key = unsafe { self.key.part(row, head * width..(head + 1) * width) };
                // SAFETY: as above.
                let value = unsafe { self.value.part(row, head * width..(head + 1) * width) };
                if let Some(norm) = &layer.key_norm {
                    norm.apply_in_place(level, key);
                }
                rotate(key, cos, sin);
                for head in head * group..(head + 1) * group {
                    // SAFETY: as above.
                    let query = unsafe { self.query.part(row, head * width..(head + 1) * width) };
                    if let Some(norm) = &layer.query_norm {
                        norm.apply_in_place(level, query);
                    }
                    rotate(query, cos, sin);
                }
                let Row { slot, position } = self.rows[row];
                // SAFETY: the position was reserved, and is this item's alone.
                unsafe { self.caches[slot].write(position, index, head, key.as_ptr(), value.as_ptr()) }
            }
        })
    }

    /// mixed = attention(query, cache): an item is a block of rows of one key-value head.
    fn attend(&self, member: &Member, index: usize) -> Stage {
        let (model, spec) = (&self.model.spec, &self.model.spec.layers[index]);
        let (width, group) = (model.head_dim, model.heads / model.kv_heads);
        let stride = padded(width);
        // The last blocks see most positions: handed out first, the members end together.
        let items = self.blocks.len() * model.kv_heads;
        member.share(items, 1, |range| {
            for item in range.map(|item| items - 1 - item) {
                let (block, kv_head) = (self.blocks[item / model.kv_heads], item % model.kv_heads);
                let mut scratch = self.members[member.index].lock().unwrap_or_else(PoisonError::into_inner);
                let scratch = &mut scratch.attention;
                let heads = kv_head * group * width..(kv_head + 1) * group * width;
                for (row, gathered) in scratch.query.chunks_exact_mut(group * width).enumerate().take(block.rows) {
                    // SAFETY: the queries are only read in this stage.
                    gathered.copy_from_slice(unsafe { &self.query.part(block.first_row + row, heads.clone())[..] });
                }
                let query = Query {
                    layer: index,
                    kv_head,
                    group,
                    position: block.position,
                    rows: block.rows,
                    head_dim: width,
                    window: spec.window,
                    scale: spec.attention_scale,
                    softcap: spec.attention_softcap,
                };
                // SAFETY: positions up to the block's last are reserved and were written before the barrier; the scratch
                // is sized for the context; the level was detected.
                unsafe { attention::attend(self.model.level, &self.caches[block.slot], &query, stride, scratch) }
                for (i, output) in scratch.output.chunks_exact(stride).enumerate().take(block.rows * group) {
                    let start = heads.start + i % group * width;
                    // SAFETY: these heads of this row belong to this item alone.
                    let mixed = unsafe { self.mixed.part(block.first_row + i / group, start..start + width) };
                    mixed.copy_from_slice(&output[..width]);
                }
            }
        })
    }

    /// x += post_norm(W input)
    fn add_product(&self, member: &Member, matrix: &Matrix, input: Plane, post_norm: Option<&Norm>) -> Stage {
        let total = matrix.tiles();
        member.share(total, self.grain(total, member), |range| {
            self.product(member, matrix, range.clone(), input, self.delta);
            if post_norm.is_none() {
                for row in 0..self.rows.len() {
                    self.add(row, range.start * LANES..range.end * LANES);
                }
            }
        })?;
        let Some(norm) = post_norm else { return Ok(()) };
        let width = self.model.spec.width;
        member.share(self.rows.len(), 2, |range| {
            for row in range {
                // SAFETY: one row for each item.
                norm.apply_in_place(self.model.level, unsafe { self.delta.part(row, 0..width) });
                self.add(row, 0..width);
            }
        })
    }

    /// x[row] += delta[row], for columns that are this member's alone.
    fn add(&self, row: usize, columns: Range<usize>) {
        // SAFETY: the caller was handed these columns, of both planes.
        let (x, delta) = unsafe { (self.x.part(row, columns.clone()), self.delta.part(row, columns)) };
        x.iter_mut().zip(delta).for_each(|(x, delta)| *x += *delta);
    }

    /// gate = activation(Wg h) * (Wu h), or activation(Wu h) where there is no gate.
    fn gate_and_up(&self, member: &Member, layer: &Layer, activation: crate::model::spec::Activation) -> Stage {
        let total = layer.up.tiles();
        member.share(total, self.grain(total, member), |range| {
            let columns = range.start * LANES..range.end * LANES;
            self.product(member, layer.gate.as_deref().unwrap_or(&layer.up), range.clone(), self.h, self.gate);
            if layer.gate.is_some() {
                self.product(member, &layer.up, range, self.h, self.up);
            }
            for row in 0..self.rows.len() {
                // SAFETY: these columns are this member's alone, and whole vectors.
                unsafe {
                    let gate = self.gate.part(row, columns.clone());
                    let up = layer.gate.as_ref().map(|_| self.up.part(row, columns.clone()).as_ptr());
                    activate(self.model.level, activation, gate.as_mut_ptr(), up, gate.len());
                }
            }
        })
    }

    /// logits = head(norm(x)) of the wanted rows.
    fn head(&self, member: &Member) -> Stage {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let (spec, weights) = (&self.model.spec, &self.model.weights);
        member.share(self.wanted.len(), 1, |range| {
            for i in range {
                // SAFETY: x is only read; one row of h for each item.
                unsafe {
                    let h = self.h.part(i, 0..spec.width);
                    weights.final_norm.apply(self.model.level, self.x.row(self.wanted[i], spec.width), h);
                }
            }
        })?;
        let total = weights.head.tiles();
        member.share(total, self.grain(total, member), |range| {
            let mut scratch = self.members[member.index].lock().unwrap_or_else(PoisonError::into_inner);
            let columns = range.start * LANES..range.end * LANES;
            // SAFETY: as in `product`, for the rows of h that were just written.
            unsafe {
                let (input, output) = (self.h.rows(self.wanted.len()), self.logits.rows_mut());
                weights.head.multiply(self.model.level, range, input, output, &mut scratch.panel);
            }
            if let Some(cap) = spec.logit_softcap {
                for row in 0..self.wanted.len() {
                    // SAFETY: these columns are this member's alone.
                    let logits = unsafe { self.logits.part(row, columns.clone()) };
                    logits.iter_mut().for_each(|logit| *logit = cap * (*logit / cap).tanh());
                }
            }
        })
    }
}
