//! A packed weight as its format stores it, row by row: what one backend packed and another multiplies with.

use crate::{
    error::{Error, Result},
    quant::Packing,
};

/// What the inputs of a product are rounded to, each row with a scale of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// Nothing: they stay as they are.
    Float,
    F8E4m3,
    Int8,
}

/// W of [in, out], an output a row.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedRows {
    pub packing: Packing,
    pub inputs: usize,
    pub outputs: usize,
    /// [out] rows as `packing.format` stores them.
    pub bytes: Vec<u8>,
    /// f32 [out][scales of a row]
    pub scales: Vec<f32>,
}

impl PackedRows {
    /// Bytes of a row.
    ///
    /// Errors: `InvalidOption` for lengths that do not fit each other.
    pub fn row_bytes(&self) -> Result<usize> {
        let PackedRows { packing, inputs, outputs, bytes, scales } = self;
        let row = packing.format.bytes_of(*inputs).filter(|row| {
            let blocks = packing.scale_cols > 0 && packing.scale_cols.is_multiple_of(packing.format.block_len());
            let rows = row.checked_mul(*outputs) == Some(bytes.len());
            blocks && rows && *inputs > 0 && *outputs > 0 && packing.scales(*inputs) * outputs == scales.len()
        });
        row.ok_or_else(|| Error::InvalidOption {
            option: "weight".into(),
            expected: format!("rows of {inputs} weights in {}, with their scales", packing.format),
            found: format!("{} bytes and {} scales for {outputs} rows", bytes.len(), scales.len()),
        })
    }
}
