//! A linear of its own: a weight that is packed once and multiplied many times, with no model around it.
//!
//! y = x W + b for W [in, out]: a row of the matrix here is an output, a column of W. Inputs that are rounded to eight bits times
//! weights of INT8 or two of four are sums of whole numbers: exact, see `codes`. All others are multiplied in f32, those that are
//! rounded to FP8 as what eight bits say; the only error beside the rounding is that of the sums:
//! |error| <= 2 K 2^-24 sum |x_k w_k|, as for every product here. The surprise: rows of inputs rounded to INT8 are multiplied
//! in f32, too, where a weight is of another format, has several scales a row, or has more than 131072 inputs.

use std::borrow::Cow;

use super::{
    codes::{self, Codes},
    gang,
    matrix::{Matrix, PANEL_FLOATS, Rows},
    plane::Plane,
    simd::Level,
    tile::LANES,
};
pub use crate::backend::packed::Activations;
use crate::{
    backend::packed::PackedRows,
    error::{Error, Result},
    quant::{Format, Packing, f8_e4m3, int8, int8_sparse24, largest},
};

/// Helpings of the tiles for each member: so many that none waits long for another at the end.
const GRAINS: usize = 16;

/// A weight in memory: element (i, o) of [in, out].
#[derive(Debug, Clone, Copy)]
pub struct Weight<'a> {
    pub data: &'a [f32],
    pub inputs: usize,
    pub outputs: usize,
    /// Whether `data` is [out, in], as PyTorch has it.
    pub transposed: bool,
}

/// A packed weight.
#[derive(Debug)]
pub struct PackedWeight {
    matrix: Matrix,
    pub loss: Loss,
}

/// What packing lost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Loss {
    /// Of the difference, Frobenius norm over that of the weight; of a weight of zeros 0.
    pub relative: f64,
    /// The largest difference.
    pub largest: f64,
    /// Weights other than 0 that were pruned.
    pub pruned: u64,
}

impl Weight<'_> {
    fn check(&self, packing: &Packing) -> Result<()> {
        let wrong =
            |expected: String, found: String| Err(Error::InvalidOption { option: "weight".into(), expected, found });
        let Weight { data, inputs, outputs, .. } = self;
        if *inputs == 0 || *outputs == 0 || inputs.checked_mul(*outputs) != Some(data.len()) {
            let expected = "as many elements as inputs times outputs, at least one".into();
            return wrong(expected, format!("{inputs} x {outputs} and {} elements", data.len()));
        }
        let block = packing.format.block_len();
        if packing.scale_cols == 0 || !packing.scale_cols.is_multiple_of(block) || !inputs.is_multiple_of(block) {
            return wrong(format!("inputs and blocks that are multiples of {block}"), format!("{inputs} inputs"));
        }
        match data.iter().position(|weight| !weight.is_finite()) {
            Some(index) => wrong("finite elements".into(), format!("{} at {index}", data[index])),
            None => Ok(()),
        }
    }

    /// The weights of output `row`, in the order of the inputs.
    fn row(&self, row: usize, out: &mut [f32]) {
        for (i, slot) in out.iter_mut().enumerate() {
            let at = if self.transposed { row * self.inputs + i } else { i * self.outputs + row };
            *slot = self.data[at];
        }
    }
}

impl PackedWeight {
    /// Packs a weight; two-of-four formats keep the two largest of each four inputs.
    ///
    /// Errors: `InvalidOption` for a shape that does not fit and for a weight that is not finite, `OutOfMemory`, and
    /// `Cancelled` once `alive` is false.
    pub fn pack(weight: Weight<'_>, packing: Packing, alive: &dyn Fn() -> bool) -> Result<PackedWeight> {
        weight.check(&packing)?;
        let (inputs, outputs) = (weight.inputs, weight.outputs);
        let mut matrix = Matrix::new(packing.format, outputs, inputs)?;
        let mut bytes = vec![0; packing.format.bytes_of(inputs).unwrap_or(0)];
        let (mut exact, mut packed) = (vec![0.0; inputs], vec![0.0; inputs]);
        let mut scales = Vec::with_capacity(outputs);
        let (mut loss, mut error, mut norm) = (Loss::default(), 0.0, 0.0);
        let prunes = matches!(packing.format, Format::Int8Sparse24 | Format::Int4Sparse24);
        for row in 0..outputs {
            if row.is_multiple_of(64) && !alive() {
                return Err(Error::Cancelled);
            }
            weight.row(row, &mut exact);
            let row_scales = packing.pack(&exact, &mut bytes)?;
            packing.format.dequantize(&bytes, &mut packed)?;
            for (i, (exact, packed)) in exact.iter().zip(&packed).enumerate() {
                let scale = row_scales.get(i / packing.scale_cols).copied().unwrap_or(0.0);
                let difference = (f64::from(packed * scale) - f64::from(*exact)).abs();
                error += difference * difference;
                norm += f64::from(*exact) * f64::from(*exact);
                loss.largest = loss.largest.max(difference);
            }
            if prunes {
                loss.pruned += pruned(&exact);
            }
            matrix.set_row(row, &bytes);
            scales.push(row_scales);
        }
        let scale = |row: usize, block: usize| scales.get(row).and_then(|row| row.get(block)).copied().unwrap_or(0.0);
        matrix.set_scales(packing.scale_cols, scale)?;
        loss.relative = if norm == 0.0 { 0.0 } else { (error / norm).sqrt() };
        Ok(PackedWeight { matrix, loss })
    }

    pub fn inputs(&self) -> usize {
        self.matrix.cols()
    }

    pub fn outputs(&self) -> usize {
        self.matrix.rows()
    }

    /// The stored rows and their scales, for another backend.
    pub fn rows(&self) -> PackedRows {
        let (inputs, outputs, format) = (self.inputs(), self.outputs(), self.matrix.format());
        let packing = Packing { format, scale_cols: self.matrix.scale_cols() };
        let mut bytes = vec![0; self.matrix.row_bytes() * outputs];
        let rows = bytes.chunks_exact_mut(self.matrix.row_bytes().max(1));
        rows.enumerate().for_each(|(row, bytes)| self.matrix.stored_row(row, bytes));
        let blocks = packing.scales(inputs);
        let scales = (0..outputs * blocks).map(|at| self.matrix.stored_scale(at / blocks, at % blocks)).collect();
        PackedRows { packing, inputs, outputs, bytes, scales }
    }

    /// Bytes in memory, rows rounded up to sixteen.
    pub fn bytes(&self) -> usize {
        self.matrix.bytes()
    }

    /// What the packed weight means: [in, out].
    ///
    /// Errors: `InvalidOption` when `out` is not as long.
    pub fn unpack(&self, out: &mut [f32]) -> Result<()> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        check_len("result", inputs * outputs, out.len())?;
        let mut weights = vec![0.0; inputs];
        for row in 0..outputs {
            self.matrix.row(Level::detect(), row, &mut weights);
            for (i, weight) in weights.iter().enumerate() {
                out[i * outputs + row] = *weight;
            }
        }
        Ok(())
    }

    /// y = x W + b: `input` is [batch, in], `bias` [out] or empty, `out` [batch, out].
    ///
    /// Errors: `InvalidOption` for lengths that do not fit, `Cancelled` once `alive` is false.
    pub fn multiply(
        &self,
        input: &[f32],
        activations: Activations,
        bias: &[f32],
        out: &mut [f32],
        alive: &dyn Fn() -> bool,
    ) -> Result<()> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let batch = input.len() / inputs.max(1);
        check_len("input", batch * inputs, input.len())?;
        check_len("result", batch * outputs, out.len())?;
        if !bias.is_empty() {
            check_len("bias", outputs, bias.len())?;
        }
        if batch == 0 {
            return Ok(());
        }
        let level = Level::detect();
        let work = match activations {
            Activations::Float => Work::Floats(Cow::Borrowed(input)),
            Activations::Int8 if codes::serves(&self.matrix) => Work::Codes(Codes::round(level, input, inputs)),
            _ => {
                let mut rounded = input.to_vec();
                rounded.chunks_exact_mut(inputs).for_each(|row| round(row, activations));
                Work::Floats(Cow::Owned(rounded))
            }
        };
        let tiles = self.matrix.tiles();
        let stride = tiles * LANES;
        // Only where the last tile is no whole one.
        let mut padded = vec![0.0_f32; if stride == outputs { 0 } else { batch * stride }];
        let result = Plane::new(out, outputs);
        let sums = if padded.is_empty() { result } else { Plane::new(&mut padded, stride) };
        gang::gang().run(gang::cores(), alive, &|member| {
            let mut panel = vec![0.0; PANEL_FLOATS];
            member.share(tiles, grain(tiles, member.size), |range| {
                let columns = range.start * LANES..(range.end * LANES).min(outputs);
                // SAFETY: there are `batch` rows of `inputs` floats or codes, and as many of whole tiles, all of which outlive
                // the run; the tiles of a range and their columns are this member's alone; the level was detected, and
                // `serves` asked; codes of -128 are never packed.
                unsafe {
                    match &work {
                        Work::Floats(x) => {
                            let x = Rows { at: x.as_ptr(), stride: inputs, count: batch };
                            self.matrix.multiply(level, range, x, sums.rows_mut(), &mut panel);
                        }
                        Work::Codes(x) => codes::multiply(&self.matrix, range, x, sums.rows_mut(), &mut panel),
                    }
                    for t in 0..batch {
                        let out = result.part(t, columns.clone());
                        if stride != outputs {
                            out.copy_from_slice(sums.part(t, columns.clone()));
                        }
                        if !bias.is_empty() {
                            out.iter_mut().zip(&bias[columns.clone()]).for_each(|(out, bias)| *out += bias);
                        }
                    }
                }
            })
        })
    }
}

/// Rows of inputs as they are multiplied.
enum Work<'a> {
    Floats(Cow<'a, [f32]>),
    Codes(Codes),
}

/// Tiles that a member takes at a time.
fn grain(tiles: usize, members: usize) -> usize {
    (tiles / (members * GRAINS)).next_multiple_of(4).max(4)
}

fn check_len(name: &str, expected: usize, found: usize) -> Result<()> {
    match expected == found {
        true => Ok(()),
        false => Err(Error::InvalidOption {
            option: name.into(),
            expected: format!("{expected} elements"),
            found: found.to_string(),
        }),
    }
}

/// Weights other than 0 that are not kept.
fn pruned(weights: &[f32]) -> u64 {
    let lost = |four: &[f32; 4]| {
        let kept = int8_sparse24::kept(four);
        four.iter().enumerate().filter(|(place, weight)| **weight != 0.0 && !kept.contains(place)).count() as u64
    };
    weights.as_chunks::<4>().0.iter().map(lost).sum()
}

/// Rounds a row of inputs to what eight bits and one scale can say.
fn round(row: &mut [f32], activations: Activations) {
    let largest = largest(row);
    match activations {
        Activations::Float => {}
        Activations::F8E4m3 => {
            let scale = f8_e4m3::scale(largest);
            row.iter_mut().for_each(|x| *x = f8_e4m3::value(f8_e4m3::code(*x / scale)) * scale);
        }
        Activations::Int8 => {
            let scale = int8::scale(largest, int8::MAX);
            row.iter_mut().for_each(|x| *x = f32::from(int8::code(*x, scale, int8::MAX)) * scale);
        }
    }
}
