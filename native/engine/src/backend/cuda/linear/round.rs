//! Rows of inputs as a product takes them: rounded, in panels, with a scale each.

use super::{
    super::{argument::Argument, driver::Memory},
    FEW, Linears, Pack, Road, room,
};
use crate::{
    backend::packed::Activations,
    error::{Error, Result},
    quant::Format,
};

/// How an element of the inputs is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    F32,
    Bf16,
}

/// x: [batch, in] on the device, row after row.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub memory: &'a Memory,
    pub element: Element,
    pub batch: usize,
}

/// Rows that are rounded for products of one road and width.
#[derive(Debug)]
pub struct Rounded {
    pub(super) road: Road,
    pub(super) batch: usize,
    pub(super) inputs: usize,
    /// Columns in memory.
    pub(super) padded: usize,
    /// Panels of codes, or halves; of `Road::One` the rows themselves.
    pub(super) at: u64,
    pub(super) element: Element,
    pub(super) scales: u64,
    /// What is not in the scratch memory.
    owned: Option<(Memory, Memory)>,
}

impl Element {
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::Bf16 => 2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::Bf16 => "bf16",
        }
    }
}

/// `kind` of kernels/panel.cuh.
fn kind(activations: Activations) -> u32 {
    match activations {
        Activations::Float => 0,
        Activations::Int8 => 1,
        Activations::F8E4m3 => 2,
    }
}

impl Rounded {
    /// What the host finds in device memory: a road's codes, or floats, and scales.
    ///
    /// Errors: `Internal` where they are in scratch memory, and where nothing was rounded.
    pub fn memory(&self) -> Result<(&Memory, &Memory)> {
        let scratch = || Error::Internal { reason: "rounded rows in scratch memory".into() };
        self.owned.as_ref().map(|(codes, scales)| (codes, scales)).ok_or_else(scratch)
    }

    /// Which of its codes is a row's; of 16-bit ones, and of `Road::Few` the first of two, which is followed by its rest 16 later.
    pub fn place(&self, row: usize, column: usize) -> usize {
        let panel = self.road.panel();
        if self.road == Road::Few {
            return (row / 4 * (self.padded / 16) + column / 16) * 128 + row % 4 * 32 + column % 16;
        }
        let each = 16 / self.road.bytes();
        let (piece, own) = (column / each, row % panel);
        let at = (row / panel * (self.padded * self.road.bytes() / 128) + piece / 8) * panel * 128 + own * 128;
        (at + (((piece % 8) ^ (own % 8)) << 4)) / self.road.bytes() + column % each
    }
}

impl Linears {
    /// Rounds rows for products with weights like `pack`, into memory of their own.
    ///
    /// Errors: as `multiply`.
    pub fn round(&self, pack: &Pack, input: &Input, activations: Activations) -> Result<Rounded> {
        let road = self.own_road(pack, activations, input.batch)?;
        self.round_on(road, pack, input, activations)
    }

    /// The same for products of a given road.
    ///
    /// Errors: as `multiply`.
    pub fn round_on(&self, road: Road, pack: &Pack, input: &Input, activations: Activations) -> Result<Rounded> {
        let mut slots = (None, None);
        let mut rounded = self.queue_round(pack, input, activations, road, &mut slots.0, &mut slots.1)?;
        rounded.owned = slots.0.zip(slots.1);
        Ok(rounded)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn queue_round(
        &self,
        pack: &Pack,
        input: &Input,
        activations: Activations,
        road: Road,
        codes: &mut Option<Memory>,
        scales: &mut Option<Memory>,
    ) -> Result<Rounded> {
        let (batch, inputs) = (input.batch, pack.inputs);
        let wanted = batch.checked_mul(inputs).and_then(|count| count.checked_mul(input.element.bytes()));
        if batch == 0 || u32::try_from(batch).is_err() || wanted.is_none_or(|wanted| wanted > input.memory.bytes()) {
            let found = format!("{} bytes", input.memory.bytes());
            let expected = format!("{batch} rows of {inputs} elements, at least one");
            return Err(Error::InvalidOption { option: "input".into(), expected, found });
        }
        let (at, element) = (input.memory.at(), input.element);
        let mut rounded = Rounded { road, batch, inputs, padded: pack.padded, at, element, scales: 0, owned: None };
        if road == Road::One {
            return Ok(rounded);
        }
        let (x, rows, cols) =
            (Argument::Address(input.memory.at()), Argument::Count(batch as u32), Argument::Count(inputs as u32));
        let bytes = road.bytes();
        rounded.padded = (inputs * bytes).next_multiple_of(128) / bytes;
        if road == Road::Few {
            rounded.padded = pack.padded;
        }
        let all = batch.next_multiple_of(road.panel());
        // Halves are two of 16 bits.
        let row_bytes = rounded.padded * bytes;
        rounded.at = room(&self.device, codes, all * row_bytes)?.at();
        rounded.scales = room(&self.device, scales, all * 4)?.at();
        let pieces = if road == Road::Few { pack.padded / 8 } else { row_bytes / 16 };
        let panel = [Argument::Count(pieces as u32), Argument::Count(road.panel() as u32)];
        let outs = [Argument::Address(rounded.at), Argument::Address(rounded.scales)];
        let mut arguments = vec![x, rows, cols, panel[0], panel[1], outs[0], outs[1]];
        let format = match road {
            Road::Few | Road::Half(_) => {
                arguments.push(Argument::Count(kind(activations)));
                if road == Road::Few { "halves" } else { "f16" }
            }
            Road::Float(_) | Road::Vendor => "f8_e4m3",
            _ => "int8",
        };
        let kernel = self.early_kernel(&format!("round_{format}_{}", input.element.name()))?;
        // Columns of a thread, and the most threads: of few rows, each has more.
        let (columns, most) = match (format, batch <= FEW) {
            ("f8_e4m3" | "int8", true) => (16, 1024),
            ("int8", false) => (16, 512),
            ("f8_e4m3", false) => (32, 512),
            (_, true) => (8, 1024),
            (_, false) => (8, 512),
        };
        let threads = pack.padded.div_ceil(columns).next_multiple_of(32).clamp(64, most);
        let grid = [all as u32, 1, 1];
        // SAFETY: the input's length was checked; the kernel waits, and writes all pieces of `all` rows, and a scale each.
        unsafe { self.stream.launch(&kernel, grid, threads as u32, 0, &arguments)? };
        Ok(rounded)
    }

    /// Which of the own kernels multiply.
    ///
    /// Errors: `Unsupported` for inputs that a format's products do not take.
    pub fn own_road(&self, pack: &Pack, activations: Activations, batch: usize) -> Result<Road> {
        let width = self.width();
        if !pack.is_float() {
            if activations != Activations::Int8 {
                let expected = format!("inputs rounded to INT8 for {} weights on a GPU", pack.packing.format);
                return Err(Error::unsupported("activations", expected, format!("{activations:?}")));
            }
            return Ok(if batch <= FEW { Road::FewWhole } else { Road::Whole(width) });
        }
        if batch <= FEW && pack.run().is_some() {
            return Ok(if batch == 1 && activations == Activations::Float { Road::One } else { Road::Few });
        }
        let both =
            pack.packing.format == Format::F8E4m3 && pack.scale_blocks == 1 && activations == Activations::F8E4m3;
        // Elsewhere there are no products of 8-bit floats, or only such as are made of f16 ones.
        let has_them = matches!(self.device.capability, (8, 9) | (9, _) | (12.., _));
        Ok(if both && has_them { Road::Float(width) } else { Road::Half(width) })
    }
}
