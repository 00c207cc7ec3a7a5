//! A model's weights: what `ModelSpec` names, read from the checkpoint into a backend's matrices.
//!
//! Loading runs in slices: `Loading::step` reads some bounded chunks of rows and hands them to the backend's `Store`, which
//! may read them side by side; what goes into another format is packed in between. Tied linears are read once and shared.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    ops::Range,
    sync::Arc,
};

use super::repack::Repacking;
use crate::{
    checkpoint::{Checkpoint, TensorInfo},
    error::{Error, Result},
    model::spec::{self, BiasSlice, Linear, ModelSpec, NormKind, RowOrder, RowSlice},
    quant::{Format, Packing, WeightFormat},
};

/// Bytes of a chunk, or one row where that is more.
pub const CHUNK_BYTES: usize = 4 << 20;

/// Some rows of a tensor.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Bytes of the tensor.
    pub range: Range<u64>,
    /// Where the rows belong in the matrix: consecutive rows, perhaps in another order.
    pub places: Vec<usize>,
}

/// Fills a buffer of its length with a chunk, checked.
pub type Read<'a> = &'a (dyn Fn(&Chunk, &mut [u8]) -> Result<()> + Sync);

impl Chunk {
    pub fn bytes(&self) -> usize {
        // Chunks are made of lengths that fit.
        (self.range.end - self.range.start) as usize
    }
}

/// A backend's memory for matrices.
pub trait Store {
    type Matrix: Packed;
    /// A matrix that is to be filled; `cols` are whole blocks of `format`.
    fn matrix(&self, format: Format, rows: usize, cols: usize) -> Result<Self::Matrix>;
    /// Bytes that may still be taken.
    fn free_bytes(&self) -> u64;

    /// Chunks that `fill` is given at once.
    fn together(&self) -> usize {
        1
    }

    /// Puts chunks into their places; they may still be on their way when this returns.
    fn fill(&mut self, matrix: &mut Self::Matrix, chunks: &[Chunk], read: Read) -> Result<()>;

    /// Waits until everything is in its place.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A weight matrix in a backend's own layout; the bits of its weights are those of the checkpoint or of the packing.
pub trait Packed {
    fn format(&self) -> Format;
    fn rows(&self) -> usize;
    fn cols(&self) -> usize;
    /// Bytes that one pass over the matrix reads.
    fn bytes(&self) -> usize;
    /// Takes stored rows, which belong to `places`: consecutive rows, perhaps in another order.
    fn set_rows(&mut self, places: &[usize], stored: &[u8]) -> Result<()>;
    /// Where the format has scales beside it: for each row its scales, one for each `scale_cols` columns.
    fn set_scales(&mut self, scale_cols: usize, rows: &[Vec<f32>]) -> Result<()>;
    fn set_bias(&mut self, bias: &[f32]) -> Result<()>;
}

/// A norm with its weights at hand; see `spec::Norm`.
#[derive(Debug, Clone)]
pub struct Norm {
    pub kind: NormKind,
    pub eps: f32,
    /// f32 [width], the offset added.
    pub weight: Vec<f32>,
    /// f32 [width], or empty.
    pub bias: Vec<f32>,
}

/// Every linear and norm of a model, in the order of the spec.
#[derive(Debug)]
pub struct Weights<Matrix, Norm = self::Norm> {
    pub embedding: Arc<Matrix>,
    pub layers: Vec<Layer<Matrix, Norm>>,
    pub final_norm: Norm,
    pub head: Arc<Matrix>,
}

#[derive(Debug)]
pub struct Layer<Matrix, Norm = self::Norm> {
    pub attention_norm: Norm,
    pub query: Arc<Matrix>,
    pub key: Arc<Matrix>,
    pub value: Arc<Matrix>,
    pub query_norm: Option<Norm>,
    pub key_norm: Option<Norm>,
    pub output: Arc<Matrix>,
    pub attention_post_norm: Option<Norm>,
    pub ffn_norm: Option<Norm>,
    pub gate: Option<Arc<Matrix>>,
    pub up: Arc<Matrix>,
    pub down: Arc<Matrix>,
    pub ffn_post_norm: Option<Norm>,
}

/// A load under way.
#[derive(Debug)]
pub struct Loading<S: Store> {
    store: S,
    format: WeightFormat,
    /// Whether what is stored in few bits is packed, too.
    requantizes: bool,
    /// Keys of the embedding and the head.
    outer: [String; 2],
    linears: Vec<Linear>,
    /// Matrices that are done, in the order of `linears`.
    done: Vec<Arc<S::Matrix>>,
    /// The matrix that is being filled.
    current: Option<S::Matrix>,
    slice: usize,
    /// Rows of the current slice that are in.
    rows_in: usize,
    pub done_bytes: u64,
    pub total_bytes: u64,
    /// Those that the matrices will have.
    pub formats: BTreeSet<Format>,
    chunk: Vec<u8>,
    repacking: Repacking,
}

impl<S: Store> Loading<S> {
    pub fn into(store: S, spec: &ModelSpec, checkpoint: &Checkpoint, format: WeightFormat) -> Result<Self> {
        let mut loading = Loading {
            store,
            format,
            requantizes: false,
            outer: [key(&spec.embedding), key(&spec.head)],
            linears: distinct_linears(spec),
            done: vec![],
            current: None,
            slice: 0,
            rows_in: 0,
            done_bytes: 0,
            total_bytes: 0,
            formats: BTreeSet::new(),
            chunk: vec![],
            repacking: Repacking::default(),
        };
        let mut wanted_bytes = 0;
        for linear in &loading.linears {
            for slice in &linear.rows {
                let tensor = checkpoint.tensor(&slice.tensor)?;
                let stored_bytes = row_bytes(tensor)?;
                loading.total_bytes += slice.rows.len() as u64 * stored_bytes;
                let packed = |packing: Packing| {
                    let cols = cols(tensor).unwrap_or(0);
                    (packing.format.bytes_of(cols).unwrap_or(0) + 4 * packing.scales(cols)) as u64
                };
                let packing = loading.packing(linear, tensor)?;
                loading.formats.insert(packing.map_or(tensor.format, |packing| packing.format));
                wanted_bytes += slice.rows.len() as u64 * packing.map_or(stored_bytes, packed);
            }
        }
        let free_bytes = loading.store.free_bytes();
        if wanted_bytes > free_bytes {
            return Err(Error::OutOfMemory { wanted_bytes, free_bytes });
        }
        Ok(loading)
    }

    /// Packs what is stored in few bits, too: it loses twice, and shows what a format costs.
    pub fn requantizing(mut self) -> Self {
        self.requantizes = true;
        self
    }

    /// How a tensor of a linear is packed; `None`: it is kept.
    fn packing(&self, linear: &Linear, tensor: &TensorInfo) -> Result<Option<Packing>> {
        let wide = matches!(tensor.format, Format::F32 | Format::F16 | Format::Bf16);
        if !wide && !self.requantizes {
            return Ok(None);
        }
        Ok(self.format.packing(cols(tensor)?, self.outer.contains(&key(linear))))
    }

    /// Reads some chunks; true when everything is read.
    pub fn step(&mut self, checkpoint: &Checkpoint) -> Result<bool> {
        let Some(linear) = self.linears.get(self.done.len()) else { return Ok(true) };
        let Some(slice) = linear.rows.get(self.slice) else {
            let mut matrix = self.current.take().ok_or_else(|| nothing_to_load(linear))?;
            if matrix.format() == Format::F8E4m3 {
                self.store.settle()?;
            }
            match self.repacking.take() {
                Some((scale_cols, scales)) => matrix.set_scales(scale_cols, &scales)?,
                None => set_scales(checkpoint, linear, &mut matrix)?,
            }
            if !linear.bias.is_empty() {
                let mut bias = vec![];
                for slice in &linear.bias {
                    bias.extend(read_bias(checkpoint, slice)?);
                }
                matrix.set_bias(&bias)?;
            }
            self.done.push(Arc::new(matrix));
            self.slice = 0;
            return Ok(self.done.len() == self.linears.len());
        };
        let tensor = checkpoint.tensor(&slice.tensor)?;
        let packing = self.packing(linear, tensor)?;
        let format = packing.map_or(tensor.format, |packing| packing.format);
        let matrix = match &mut self.current {
            Some(matrix) => matrix,
            empty => empty.insert(self.store.matrix(format, linear.out(), cols(tensor)?)?),
        };
        if matrix.format() != format || matrix.cols() != cols(tensor)? {
            let expected = format!("rows of {} columns in {}", matrix.cols(), matrix.format());
            return Err(Error::unsupported(&tensor.name, expected, format!("{:?} in {}", tensor.shape, tensor.format)));
        }
        let bytes = row_bytes(tensor)? as usize;
        // Rows that change places do so within a chunk.
        let unit = match slice.order {
            RowOrder::Split => 1,
            RowOrder::Interleaved { head_dim } => head_dim.max(1),
        };
        let units = (CHUNK_BYTES / bytes.max(1) / unit).max(1);
        let above: usize = linear.rows[..self.slice].iter().map(|slice| slice.rows.len()).sum();
        // What is packed goes chunk by chunk.
        let most = if packing.is_some() { 1 } else { self.store.together() };
        let mut chunks = vec![];
        while chunks.len() < most && self.rows_in < slice.rows.len() {
            let count = (units * unit).min(slice.rows.len() - self.rows_in);
            let start = (slice.rows.start + self.rows_in) as u64 * bytes as u64;
            let range = start..start + count as u64 * bytes as u64;
            let rows = self.rows_in..self.rows_in + count;
            self.done_bytes += range.end - range.start;
            chunks.push(Chunk { range, places: rows.map(|row| above + slice.order.place(row)).collect() });
            self.rows_in += count;
        }
        let read = |chunk: &Chunk, out: &mut [u8]| {
            checkpoint.read(tensor, chunk.range.clone(), out)?;
            check_finite(tensor, out)
        };
        match packing {
            None => self.store.fill(matrix, &chunks, &read)?,
            Some(packing) => {
                for chunk in &chunks {
                    self.chunk.resize(chunk.bytes(), 0);
                    read(chunk, &mut self.chunk)?;
                    let (format, cols) = (tensor.format, matrix.cols());
                    let rows = self.repacking.pack(format, packing, cols, &self.chunk, &chunk.places)?;
                    matrix.set_rows(&chunk.places, rows)?;
                }
            }
        }
        if self.rows_in == slice.rows.len() {
            (self.slice, self.rows_in) = (self.slice + 1, 0);
        }
        Ok(false)
    }

    /// Puts the matrices into their places; the norms, which are small, are read here.
    pub fn finish(&mut self, spec: &ModelSpec, checkpoint: &Checkpoint) -> Result<Weights<S::Matrix>> {
        self.store.settle()?;
        let matrices: HashMap<String, Arc<S::Matrix>> =
            self.linears.iter().map(key).zip(mem::take(&mut self.done)).collect();
        let matrix = |linear: &Linear| matrices.get(&key(linear)).cloned().ok_or_else(|| nothing_to_load(linear));
        let norm = |norm: &spec::Norm| read_norm(checkpoint, norm);
        let optional = |of: &Option<spec::Norm>| of.as_ref().map(norm).transpose();
        let layers = spec.layers.iter().map(|layer| {
            Ok(Layer {
                attention_norm: norm(&layer.attention_norm)?,
                query: matrix(&layer.query)?,
                key: matrix(&layer.key)?,
                value: matrix(&layer.value)?,
                query_norm: optional(&layer.query_norm)?,
                key_norm: optional(&layer.key_norm)?,
                output: matrix(&layer.output)?,
                attention_post_norm: optional(&layer.attention_post_norm)?,
                ffn_norm: optional(&layer.ffn_norm)?,
                gate: layer.gate.as_ref().map(matrix).transpose()?,
                up: matrix(&layer.up)?,
                down: matrix(&layer.down)?,
                ffn_post_norm: optional(&layer.ffn_post_norm)?,
            })
        });
        Ok(Weights {
            embedding: matrix(&spec.embedding)?,
            layers: layers.collect::<Result<_>>()?,
            final_norm: norm(&spec.final_norm)?,
            head: matrix(&spec.head)?,
        })
    }
}

impl<Matrix, Norm> Weights<Matrix, Norm> {
    /// The same with other norms.
    pub fn map_norms<Other>(self, map: &impl Fn(Norm) -> Result<Other>) -> Result<Weights<Matrix, Other>> {
        let optional = |norm: Option<Norm>| norm.map(map).transpose();
        let layers = self.layers.into_iter().map(|layer| {
            Ok(Layer {
                attention_norm: map(layer.attention_norm)?,
                query: layer.query,
                key: layer.key,
                value: layer.value,
                query_norm: optional(layer.query_norm)?,
                key_norm: optional(layer.key_norm)?,
                output: layer.output,
                attention_post_norm: optional(layer.attention_post_norm)?,
                ffn_norm: optional(layer.ffn_norm)?,
                gate: layer.gate,
                up: layer.up,
                down: layer.down,
                ffn_post_norm: optional(layer.ffn_post_norm)?,
            })
        });
        Ok(Weights {
            embedding: self.embedding,
            layers: layers.collect::<Result<_>>()?,
            final_norm: map(self.final_norm)?,
            head: self.head,
        })
    }

    /// Every matrix, the shared ones once.
    pub fn matrices(&self) -> Vec<&Arc<Matrix>> {
        let mut all = vec![&self.embedding];
        for layer in &self.layers {
            all.extend([&layer.query, &layer.key, &layer.value, &layer.output]);
            all.extend(layer.gate.as_ref());
            all.extend([&layer.up, &layer.down]);
        }
        if !Arc::ptr_eq(&self.embedding, &self.head) {
            all.push(&self.head);
        }
        all
    }
}

fn nothing_to_load(linear: &Linear) -> Error {
    Error::Internal { reason: format!("no weights for {linear:?}") }
}

/// Names a linear by its rows, so that tied ones are the same.
fn key(linear: &Linear) -> String {
    format!("{:?}{:?}", linear.rows, linear.bias)
}

fn distinct_linears(spec: &ModelSpec) -> Vec<Linear> {
    let layers = spec.layers.iter().flat_map(|layer| {
        let ffn = layer.gate.iter().chain([&layer.up, &layer.down]);
        [&layer.query, &layer.key, &layer.value, &layer.output].into_iter().chain(ffn)
    });
    let mut seen = std::collections::HashSet::new();
    let all = [&spec.embedding].into_iter().chain(layers).chain([&spec.head]);
    all.filter(|linear| seen.insert(key(linear))).cloned().collect()
}

fn cols(tensor: &TensorInfo) -> Result<usize> {
    match tensor.shape[..] {
        [_, cols] => Ok(cols),
        _ => Err(Error::malformed(&tensor.name, "a matrix", format!("shape {:?}", tensor.shape))),
    }
}

fn row_bytes(tensor: &TensorInfo) -> Result<u64> {
    let cols = cols(tensor)?;
    let bytes = tensor.format.bytes_of(cols).ok_or_else(|| {
        let expected = format!("rows of whole blocks of {} weights", tensor.format.block_len());
        Error::malformed(&tensor.name, expected, format!("{cols} columns"))
    })?;
    Ok(bytes as u64)
}

impl RowOrder {
    /// Where the `row`-th stored row belongs.
    fn place(self, row: usize) -> usize {
        match self {
            RowOrder::Split => row,
            RowOrder::Interleaved { head_dim } => {
                let (head, within) = (row / head_dim, row % head_dim);
                head * head_dim + within % 2 * (head_dim / 2) + within / 2
            }
        }
    }
}

/// A whole tensor as f32.
pub fn read_floats(checkpoint: &Checkpoint, name: &str) -> Result<Vec<f32>> {
    let tensor = checkpoint.tensor(name)?;
    let mut bytes = Vec::new();
    let wanted = usize::try_from(tensor.bytes).unwrap_or(usize::MAX);
    let short = |_| Error::OutOfMemory { wanted_bytes: tensor.bytes, free_bytes: crate::buffer::free_bytes() };
    bytes.try_reserve_exact(wanted).map_err(short)?;
    bytes.resize(wanted, 0);
    checkpoint.read(tensor, 0..tensor.bytes, &mut bytes)?;
    let mut floats = vec![0.0_f32; tensor.weights()];
    tensor.format.dequantize(&bytes, &mut floats)?;
    match floats.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(Error::malformed(name, "finite weights", format!("{} at {index}", floats[index]))),
        None => Ok(floats),
    }
}

fn read_bias(checkpoint: &Checkpoint, slice: &BiasSlice) -> Result<Vec<f32>> {
    let all = read_floats(checkpoint, &slice.tensor)?;
    let stored = all.get(slice.range.clone()).ok_or_else(|| {
        Error::malformed(&slice.tensor, format!("{} elements", slice.range.end), format!("{}", all.len()))
    })?;
    let mut ordered = stored.to_vec();
    for (i, value) in stored.iter().enumerate() {
        if let Some(slot) = ordered.get_mut(slice.order.place(i)) {
            *slot = *value;
        }
    }
    Ok(ordered)
}

fn read_norm(checkpoint: &Checkpoint, norm: &spec::Norm) -> Result<Norm> {
    let mut weight = read_floats(checkpoint, &norm.weight)?;
    weight.iter_mut().for_each(|weight| *weight += norm.weight_offset);
    let bias = norm.bias.as_ref().map(|name| read_floats(checkpoint, name)).transpose()?.unwrap_or_default();
    Ok(Norm { kind: norm.kind, eps: norm.eps, weight, bias })
}

/// F8_E4M3: weight = f8 * scale; see `spec::Scale`.
fn set_scales(checkpoint: &Checkpoint, linear: &Linear, matrix: &mut impl Packed) -> Result<()> {
    if matrix.format() != Format::F8E4m3 {
        return Ok(());
    }
    // For each of our rows: its scales, one for each block of columns.
    let mut rows: Vec<Vec<f32>> = vec![vec![]; matrix.rows()];
    let (mut above, mut scale_cols) = (0, matrix.cols().max(1));
    for slice in &linear.rows {
        let scales = slice_scales(checkpoint, slice, matrix.cols())?;
        scale_cols = scales.1;
        for (i, row) in scales.0.into_iter().enumerate() {
            if let Some(place) = rows.get_mut(above + slice.order.place(i)) {
                *place = row;
            }
        }
        above += slice.rows.len();
    }
    matrix.set_scales(scale_cols, &rows)
}

/// The scales of each row of a slice, and how many columns each serves.
fn slice_scales(checkpoint: &Checkpoint, slice: &RowSlice, cols: usize) -> Result<(Vec<Vec<f32>>, usize)> {
    let Some(scale) = &slice.scale else { return Ok((vec![vec![1.0]; slice.rows.len()], cols.max(1))) };
    let shape = &checkpoint.tensor(&scale.tensor)?.shape;
    let values = read_floats(checkpoint, &scale.tensor)?;
    let (block_rows, block_cols) = match scale.block {
        Some(block) => block,
        None if values.len() == 1 => (usize::MAX, cols),
        None => (1, cols),
    };
    let across = cols.div_ceil(block_cols.max(1)).max(1);
    let rows = slice.rows.clone().map(|row| {
        let start = row / block_rows.max(1) * across;
        values.get(start..start + across).map(<[f32]>::to_vec).ok_or_else(|| {
            Error::malformed(&scale.tensor, format!("{across} scales for row {row}"), format!("shape {shape:?}"))
        })
    });
    Ok((rows.collect::<Result<_>>()?, block_cols.max(1)))
}

/// NaN and infinite weights are refused: they would spread over every token.
fn check_finite(tensor: &TensorInfo, bytes: &[u8]) -> Result<()> {
    let half = |bits: u16| bits & 0x7c00 == 0x7c00;
    let pair = |at: &[u8]| u16::from_le_bytes([at[0], at[1]]);
    // Without a way out in between, so that it runs on vectors.
    let any_pair = |mask: u16| {
        let worst = |piece: &[u8]| {
            let pairs = piece.as_chunks::<2>().0.iter();
            pairs.fold(false, |bad, pair| bad | (u16::from_le_bytes(*pair) & mask == mask))
        };
        bytes.chunks(1 << 14).any(worst)
    };
    let block = bytes.chunks_exact(tensor.format.block_bytes());
    // Offsets of the f16 scales in a block.
    let bad = match tensor.format {
        Format::F32 => block.clone().any(|at| !f32::from_le_bytes([at[0], at[1], at[2], at[3]]).is_finite()),
        Format::F16 => any_pair(0x7c00),
        Format::Bf16 => any_pair(0x7f80),
        Format::F8E4m3 => bytes.iter().any(|byte| byte & 0x7f == 0x7f),
        Format::Q8_0 | Format::Q4_0 | Format::Q5_0 => block.clone().any(|at| half(pair(at))),
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => {
            block.clone().any(|at| half(pair(at)) || half(pair(&at[2..])))
        }
        Format::Int8 | Format::Int4 | Format::Int8Sparse24 | Format::Int4Sparse24 => false,
        Format::Q2K => block.clone().any(|at| half(pair(&at[80..])) || half(pair(&at[82..]))),
        Format::Q3K => block.clone().any(|at| half(pair(&at[108..]))),
        Format::Q6K => block.clone().any(|at| half(pair(&at[208..]))),
    };
    if bad {
        return Err(Error::malformed(&tensor.name, "finite weights", format!("NaN or infinity in {}", tensor.format)));
    }
    Ok(())
}
