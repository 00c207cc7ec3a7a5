//! Weights on their way from the format of the checkpoint to the one that was asked for.
//!
//! A chunk of stored rows is read as f32, row by row on all cores, and packed; the codes go on as if they had been read
//! so. The scales of a matrix gather here until its last row is in. The surprise: the scales are in the order of places,
//! not of stored rows.

use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    quant::{Format, Packing},
};

/// What a matrix that is being packed has so far.
#[derive(Debug, Default)]
pub struct Repacking {
    /// For each place its scales; empty where nothing is packed.
    scales: Vec<Vec<f32>>,
    scale_cols: usize,
    packed: Vec<u8>,
}

impl Repacking {
    /// Packs stored rows; the result is as `Packed::set_rows` takes it.
    ///
    /// Errors: `Internal` for rows that are no whole blocks, which the caller has looked at.
    pub fn pack(
        &mut self,
        from: Format,
        packing: Packing,
        cols: usize,
        stored: &[u8],
        places: &[usize],
    ) -> Result<&[u8]> {
        let (Some(stored_bytes), Some(packed_bytes)) = (from.bytes_of(cols), packing.format.bytes_of(cols)) else {
            return Err(Error::Internal { reason: format!("{cols} weights from {from} to {}", packing.format) });
        };
        self.scale_cols = packing.scale_cols;
        self.packed.resize(places.len() * packed_bytes, 0);
        let rows = stored.par_chunks_exact(stored_bytes.max(1));
        let packed = self.packed.par_chunks_exact_mut(packed_bytes.max(1));
        let pack = |weights: &mut Vec<f32>, (stored, codes): (&[u8], &mut [u8])| {
            weights.resize(cols, 0.0);
            from.dequantize(stored, weights)?;
            packing.pack(weights, codes)
        };
        let pool = super::tensor::pool()?;
        let scales = pool.install(|| rows.zip(packed).map_init(Vec::new, pack).collect::<Result<Vec<_>>>())?;
        for (place, scales) in places.iter().zip(scales) {
            if self.scales.len() <= *place {
                self.scales.resize(place + 1, vec![]);
            }
            self.scales[*place] = scales;
        }
        Ok(&self.packed)
    }

    /// The scales of the matrix that is done, and how many columns each serves; `None` where nothing was packed.
    pub fn take(&mut self) -> Option<(usize, Vec<Vec<f32>>)> {
        let scales = std::mem::take(&mut self.scales);
        (!scales.is_empty()).then_some((self.scale_cols, scales))
    }
}
