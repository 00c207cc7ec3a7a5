//! A packed weight on the device.
//!
//! Stored rows go up as they are and are put into panels there (kernels/panel.cuh). The surprise: once a library has multiplied with
//! a pack, its codes are there twice, for the library wants them row after row.

use std::sync::OnceLock;

use super::{
    super::{
        argument::{Argument, PanelWeightsArgument},
        driver::Memory,
    },
    Linears, MOST_INPUTS, PANEL_ROWS, room,
};
use crate::{
    backend::packed::PackedRows,
    error::{Error, Result},
    quant::{Format, Packing},
};

/// W of [in, out] on the device.
#[derive(Debug)]
pub struct Pack {
    pub packing: Packing,
    pub inputs: usize,
    pub outputs: usize,
    /// Columns in memory.
    pub(super) padded: usize,
    pub(super) weights: Memory,
    /// Of two-of-four formats.
    pub(super) places: Option<Memory>,
    /// f32 [out / 128][scale_blocks][128]
    pub(super) scales: Memory,
    pub(super) scale_blocks: usize,
    /// f32 [out]: what an f16 twin's rows are multiplied by; of formats that are multiplied as f16.
    pub(super) half_scales: Option<Memory>,
    /// Codes [out][padded], which a library reads: made by its first product.
    library_rows: OnceLock<Memory>,
}

/// Bytes of a row in panels: of codes, and of places.
fn panel_bytes(format: Format, padded: usize) -> (usize, usize) {
    match format {
        Format::Int8Sparse24 => (padded / 2, padded / 8),
        Format::Int4Sparse24 => (padded / 4, padded / 8),
        Format::Int4 => (padded / 2, 0),
        _ => (padded, 0),
    }
}

impl Pack {
    /// Bytes on the device, rows and columns rounded up, and the library's rows where they are.
    pub fn bytes(&self) -> usize {
        let places = self.places.as_ref().map_or(0, Memory::bytes);
        let half = self.half_scales.as_ref().map_or(0, Memory::bytes);
        let rows = self.library_rows.get().map_or(0, Memory::bytes);
        self.weights.bytes() + places + self.scales.bytes() + half + rows
    }

    /// Bytes that a product of one row reads: codes, places and scales.
    pub fn read_bytes(&self) -> usize {
        let (codes, places) = panel_bytes(self.packing.format, self.padded);
        self.outputs * (codes + places + 4 * self.scale_blocks)
    }

    /// Columns that share a scale.
    pub(super) fn scale_cols(&self) -> usize {
        if self.scale_blocks == 1 { self.padded } else { self.packing.scale_cols }
    }

    /// `PanelWeights` of kernels/panel_halves.cu.
    pub(super) fn argument(&self) -> Argument {
        Argument::PanelWeights(PanelWeightsArgument {
            w: self.weights.at(),
            scales: self.scales.at(),
            // Checked when it was packed.
            rows: self.outputs as u32,
            cols: self.padded as u32,
            scale_cols: self.scale_cols() as u32,
            scale_blocks: self.scale_blocks as u32,
        })
    }

    /// What kernels call it.
    pub(super) fn name(&self) -> &'static str {
        match self.packing.format {
            Format::F8E4m3 => "f8_e4m3",
            Format::Int4 => "int4",
            Format::Int8 => "int8",
            Format::Int8Sparse24 => "int8_sparse24",
            _ => "int4_sparse24",
        }
    }

    /// Whether its products are of floats, not of whole numbers.
    pub(super) fn is_float(&self) -> bool {
        matches!(self.packing.format, Format::F8E4m3 | Format::Int4)
    }

    /// Columns that share a scale as kernels/panel_gemv.cu has them; `None` where it does not.
    pub(super) fn run(&self) -> Option<usize> {
        let small = if self.packing.format == Format::Int4 { 32 } else { 16 };
        [128, small].into_iter().find(|run| self.scale_cols().is_multiple_of(*run)).filter(|_| self.is_float())
    }
}

impl Linears {
    /// Puts a packed weight on the device.
    ///
    /// Errors: `InvalidOption` for lengths that do not fit each other or more than 131072 inputs, `Unsupported` for a format
    /// that nothing is packed to, `OutOfMemory`.
    pub fn pack(&self, rows: &PackedRows) -> Result<Pack> {
        let row_bytes = rows.row_bytes()?;
        let PackedRows { packing, inputs, outputs, .. } = *rows;
        if inputs > MOST_INPUTS || u32::try_from(outputs).is_err() {
            let expected = format!("at most {MOST_INPUTS} inputs");
            return Err(Error::InvalidOption { option: "weight".into(), expected, found: format!("{inputs} inputs") });
        }
        let kernel = match packing.format {
            Format::F8E4m3 | Format::Int8 => "pack_bytes",
            Format::Int4 => "pack_int4",
            Format::Int8Sparse24 => "pack_int8_sparse24",
            Format::Int4Sparse24 => "pack_int4_sparse24",
            other => return Err(Error::unsupported("weights", "a format that weights are packed to", other.name())),
        };
        let padded = inputs.next_multiple_of(128);
        let (codes, place_bytes) = panel_bytes(packing.format, padded);
        let scale_blocks = if packing.scale_cols >= inputs { 1 } else { padded.div_ceil(packing.scale_cols) };
        // One scale a row of whole numbers is all that their products know.
        let per_row = !matches!(packing.format, Format::F8E4m3 | Format::Int4);
        if per_row && scale_blocks > 1 {
            let expected = "one scale for each output";
            return Err(Error::unsupported("weights", expected, format!("{} columns", packing.scale_cols)));
        }
        let panels = outputs.div_ceil(PANEL_ROWS);
        let scales = self.scales(rows, scale_blocks)?;
        let stored = self.device.upload(&rows.bytes)?;
        let weights = self.device.memory(panels * PANEL_ROWS * codes)?;
        let head = [Argument::Address(stored.at()), Argument::Long(row_bytes as u64), Argument::Count(outputs as u32)];
        let tail = [Argument::Count((codes / 16) as u32), Argument::Address(weights.at())];
        let grid = [(codes / 16) as u32, panels as u32, 1];
        // SAFETY: the kernel reads `outputs` rows of `row_bytes` and writes all pieces of all panels.
        unsafe {
            self.stream.launch(&self.kernel(kernel)?, grid, PANEL_ROWS as u32, 0, &[&head[..], &tail].concat())?;
        }
        let places = match place_bytes {
            0 => None,
            _ => {
                let places = self.device.memory(panels * PANEL_ROWS * place_bytes)?;
                let block = Argument::Count(packing.format.block_bytes() as u32);
                let arguments = [&head[..], &[block, Argument::Address(places.at())]].concat();
                let grid = [(padded / 128) as u32, panels as u32, 1];
                // SAFETY: as above; a block of threads writes 512 words.
                unsafe { self.stream.launch(&self.kernel("pack_places")?, grid, 512, 0, &arguments)? };
                Some(places)
            }
        };
        // `stored` lives until then.
        self.wait()?;
        let mut pack = Pack {
            packing,
            inputs,
            outputs,
            padded,
            weights,
            places,
            scales,
            scale_blocks,
            half_scales: None,
            library_rows: OnceLock::new(),
        };
        if pack.is_float() {
            let half_scales = self.device.memory(outputs * 4)?;
            let arguments = [pack.argument(), Argument::Address(half_scales.at())];
            let kernel = self.kernel(&format!("scale_panel_{}", pack.name()))?;
            // SAFETY: the kernel reads the pack's rows and writes a float each.
            unsafe { self.stream.launch(&kernel, [outputs as u32, 1, 1], 256, 0, &arguments)? };
            self.wait()?;
            pack.half_scales = Some(half_scales);
        }
        Ok(pack)
    }

    /// Where codes of a byte are row after row, [out][padded]: kept from their first use on where they fill at most a
    /// quarter of the free memory, else in `scratch`, to be made again.
    pub(super) fn library_rows(&self, pack: &Pack, scratch: &mut Option<Memory>) -> Result<u64> {
        if let Some(rows) = pack.library_rows.get() {
            return Ok(rows.at());
        }
        let (bytes, pieces) = (pack.outputs * pack.padded, pack.padded / 16);
        let has_room = bytes as u64 <= self.device.free_bytes() / 4;
        let kept = if has_room { self.device.memory(bytes).ok() } else { None };
        let at = match &kept {
            Some(rows) => rows.at(),
            None => room(&self.device, scratch, bytes)?.at(),
        };
        let arguments = [
            Argument::Address(pack.weights.at()),
            Argument::Count(pack.outputs as u32),
            Argument::Count(pieces as u32),
            Argument::Address(at),
        ];
        let grid = [(pieces / 8) as u32, pack.outputs.div_ceil(PANEL_ROWS) as u32, 1];
        // SAFETY: the kernel reads the panels of `outputs` rows and writes all their pieces, for which there is room.
        unsafe { self.stream.launch(&self.kernel("rows_of_panels")?, grid, PANEL_ROWS as u32, 0, &arguments)? };
        if let Some(rows) = kept {
            // Products are queued one at a time, so nobody else was here.
            let _ = pack.library_rows.set(rows);
        }
        Ok(at)
    }

    /// Scales as the kernels read them: those of 128 rows side by side, the padding's 1.
    fn scales(&self, rows: &PackedRows, scale_blocks: usize) -> Result<Memory> {
        let stored = rows.packing.scales(rows.inputs);
        let mut all = vec![1.0_f32; rows.outputs.next_multiple_of(PANEL_ROWS) * scale_blocks];
        for (row, scales) in rows.scales.chunks_exact(stored.max(1)).enumerate() {
            let first = row / PANEL_ROWS * scale_blocks * PANEL_ROWS + row % PANEL_ROWS;
            all.iter_mut().skip(first).step_by(PANEL_ROWS).zip(scales).for_each(|(slot, scale)| *slot = *scale);
        }
        self.device.upload(&all)
    }
}
