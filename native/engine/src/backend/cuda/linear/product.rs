//! y = end(x W + b): which kernels multiply, and what they are given.

use super::{
    super::{
        argument::{Argument, PanelArgument},
        driver::Memory,
        pass::Mode,
    },
    Linears, PANEL_ROWS, Pack, room,
    round::{Element, Input, Rounded},
    vendor::is_large,
};
use crate::{
    backend::packed::Activations,
    error::{Error, Result},
    model::spec::Activation,
    quant::Format,
};

/// What becomes of a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ending {
    Store,
    /// activation(product)
    Activated(Activation),
    /// what is there * product
    Scaled,
}

/// Which of the kernels of kernels/panel_gemm.cu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Everywhere,
    /// With wgmma, which only Hopper has.
    Hopper,
}

/// The kernels of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// panel_gemv_float.cu: a row of f32 or bf16, as it is.
    One,
    /// panel_gemv_float.cu: up to eight rows of f32, or rounded, as two f16 each.
    Few,
    /// panel_gemv.cu: up to eight rows of INT8 codes.
    FewWhole,
    /// panel_gemm.cu on INT8 codes.
    Whole(Width),
    /// On E4M3 codes.
    Float(Width),
    /// On E4M3 codes, by cuBLASLt: what is stored without a bias.
    Vendor,
    /// On f16, of which the weights' twin is made for each product.
    Half(Width),
}

impl Road {
    /// Rows of a panel of inputs.
    pub(super) fn panel(self) -> usize {
        match self {
            Road::Few => 4,
            Road::FewWhole => 8,
            // Rows one after the other.
            Road::Vendor | Road::One => 1,
            Road::Whole(width) | Road::Float(width) | Road::Half(width) => {
                if width == Width::Everywhere {
                    128
                } else {
                    256
                }
            }
        }
    }

    /// Bytes of an element of the inputs.
    pub(super) fn bytes(self) -> usize {
        match self {
            Road::Few | Road::One => 4,
            Road::Half(_) => 2,
            _ => 1,
        }
    }

    /// The same by the kernels that run everywhere.
    pub fn narrow(self) -> Road {
        match self {
            Road::Whole(_) => Road::Whole(Width::Everywhere),
            Road::Float(_) | Road::Vendor | Road::Half(_) => Road::Half(Width::Everywhere),
            other => other,
        }
    }

    fn width(self) -> Width {
        match self {
            Road::Whole(width) | Road::Float(width) | Road::Half(width) => width,
            _ => Width::Everywhere,
        }
    }
}

// As in kernels/panel_gemm.cu.
const WIDE_SHARED: u32 = 227 << 10;
const STAGES: u32 = 3;
// As in kernels/panel_gemv_float.cu.
const HALVES: u32 = 8 * (256 + 32);

/// How a kernel for few rows is launched.
struct Shape {
    /// Tiles of sixteen rows of W that a block has.
    tiles: u32,
    /// Warps of a block, which share its columns.
    warps: u32,
}

impl Linears {
    /// The kernel that multiplies few rows, and its shape: measured, see bench/NOTES.md.
    fn few(&self, road: Road, pack: &Pack, batch: usize) -> (String, Shape) {
        let (name, blocks, steps) = (pack.name(), (pack.outputs as u32).div_ceil(16), pack.padded / 128);
        // Warps of each block of sixteen rows where all blocks are there at once.
        let warps = self.device.multiprocessors * 32 / blocks.max(1);
        let Some(run) = pack.run().filter(|_| road != Road::FewWhole) else {
            let warps = match warps {
                0..=4 => 4,
                5..=15 => 8,
                _ => 16,
            };
            return (format!("panel_gemv_{name}"), Shape { tiles: 1, warps });
        };
        if road == Road::Few {
            let rows = 4 * batch.div_ceil(4);
            let most = match run {
                _ if rows == 4 => 16,
                16 => 8,
                32 => 12,
                _ => 16,
            };
            let warps = if warps < 16 { 8 } else { most };
            return (format!("panel_gemv{rows}_{name}_{run}"), Shape { tiles: 1, warps });
        }
        if warps < 16 && run > 16 {
            let warps = if pack.packing.format == Format::Int4 { 8 } else { 12 };
            return (format!("panel_gemv1_tall_{name}_{run}"), Shape { tiles: 2, warps });
        }
        let is_short = (16..32).contains(&warps) && steps <= 32 && pack.packing.format == Format::F8E4m3;
        (format!("panel_gemv1_{name}_{run}"), Shape { tiles: 1, warps: if is_short { 12 } else { 16 } })
    }

    /// The library that multiplies many rows with a pack, such as "cuBLASLt 13.0.2": from `vendor::LEAST_ROWS` rows on.
    pub fn library(&self, pack: &Pack, activations: Activations) -> Option<String> {
        let road = self.road(pack, activations, super::vendor::LEAST_ROWS).ok()?;
        if road == Road::Vendor { self.vendor().name(&self.device) } else { None }
    }

    /// Which kernels multiply what is stored without a bias.
    ///
    /// Errors: `Unsupported` for inputs that a format's products do not take.
    pub fn road(&self, pack: &Pack, activations: Activations, batch: usize) -> Result<Road> {
        let (road, shape) = (self.own_road(pack, activations, batch)?, [batch, pack.outputs, pack.padded]);
        // The scales' addresses only count once it multiplies.
        let scales = [pack.scales.at(); 2];
        let is_vendors =
            road == Road::Float(Width::Hopper) && is_large(shape) && self.vendor().takes(&self.device, shape, scales);
        Ok(if is_vendors { Road::Vendor } else { road })
    }

    /// Queues y = end(x W + b): `bias` f32 [out], `output` f32 [batch, out]. What is queued is done after `wait`.
    ///
    /// Errors: `InvalidOption` for lengths that do not fit, `Unsupported` for inputs that the format's products do not take,
    /// `OutOfMemory`.
    pub fn multiply(
        &self,
        pack: &Pack,
        input: &Input,
        activations: Activations,
        bias: Option<&Memory>,
        ending: Ending,
        output: &Memory,
    ) -> Result<()> {
        if bias.is_none() && ending == Ending::Store && self.road(pack, activations, input.batch)? == Road::Vendor {
            match self.multiply_on(Road::Vendor, pack, input, activations, bias, ending, output) {
                // The own kernel serves.
                Err(Error::Internal { .. }) => self.vendor().refuse([input.batch, pack.outputs, pack.padded]),
                done => return done,
            }
        }
        let road = self.own_road(pack, activations, input.batch)?;
        self.multiply_on(road, pack, input, activations, bias, ending, output)
    }

    /// The same by given kernels.
    ///
    /// Errors: as `multiply`.
    #[allow(clippy::too_many_arguments)]
    pub fn multiply_on(
        &self,
        road: Road,
        pack: &Pack,
        input: &Input,
        activations: Activations,
        bias: Option<&Memory>,
        ending: Ending,
        output: &Memory,
    ) -> Result<()> {
        let mut scratch = self.scratch();
        let scratch = &mut *scratch;
        let rounded =
            self.queue_round(pack, input, activations, road, &mut scratch.inputs, &mut scratch.input_scales)?;
        self.queue(pack, &rounded, bias, ending, output, &mut scratch.weights)
    }

    /// Queues y = silu(x G + b) * (x U): the gated pair of a transformer.
    ///
    /// Errors: as `multiply`; `InvalidOption` for packs of different shapes.
    pub fn multiply_gated(
        &self,
        [gate, up]: [&Pack; 2],
        input: &Input,
        activations: Activations,
        bias: Option<&Memory>,
        output: &Memory,
    ) -> Result<()> {
        if (gate.inputs, gate.outputs) != (up.inputs, up.outputs) {
            let expected = format!("a second weight of {} x {}", gate.inputs, gate.outputs);
            let found = format!("{} x {}", up.inputs, up.outputs);
            return Err(Error::InvalidOption { option: "up".into(), expected, found });
        }
        self.multiply(gate, input, activations, bias, Ending::Activated(Activation::Silu), output)?;
        self.multiply(up, input, activations, None, Ending::Scaled, output)
    }

    /// `multiply` of rows that are rounded already.
    ///
    /// Errors: as `multiply`.
    pub fn multiply_rounded(
        &self,
        pack: &Pack,
        rounded: &Rounded,
        bias: Option<&Memory>,
        ending: Ending,
        output: &Memory,
    ) -> Result<()> {
        self.queue(pack, rounded, bias, ending, output, &mut self.scratch().weights)
    }

    fn queue(
        &self,
        pack: &Pack,
        rounded: &Rounded,
        bias: Option<&Memory>,
        ending: Ending,
        output: &Memory,
        weights: &mut Option<Memory>,
    ) -> Result<()> {
        let (batch, outputs) = (rounded.batch, pack.outputs);
        let wrong = |option: &str, expected: String, found: usize| {
            Err(Error::InvalidOption { option: option.into(), expected, found: format!("{found} bytes") })
        };
        if rounded.inputs != pack.inputs {
            return wrong("input", format!("rows of {} elements", pack.inputs), rounded.inputs);
        }
        if let Some(bias) = bias.filter(|bias| bias.bytes() < outputs * 4) {
            return wrong("bias", format!("{outputs} f32"), bias.bytes());
        }
        if batch.checked_mul(outputs * 4).is_none_or(|wanted| wanted > output.bytes()) {
            return wrong("output", format!("{batch} rows of {outputs} f32"), output.bytes());
        }
        let (bias, mode) = (bias.map_or(0, Memory::at), mode(ending));
        let end = mode.ending();
        let few = matches!(rounded.road, Road::One | Road::Few | Road::FewWhole);
        let mut product = PanelArgument {
            w: pack.weights.at(),
            places: pack.places.as_ref().map_or(0, Memory::at),
            x: rounded.at,
            w_scales: pack.scales.at(),
            x_scales: rounded.scales,
            bias,
            y: output.at(),
            rows: outputs as u32,
            count: batch as u32,
            y_stride: outputs as u32,
            steps: (rounded.padded * if few { 1 } else { rounded.road.bytes() } / 128) as u32,
            mode: end.mode,
            activation: end.activation,
            scale_cols: pack.scale_cols() as u32,
            scale_blocks: pack.scale_blocks as u32,
            factor: 1.0,
            inputs: rounded.inputs as u32,
            is_bf16: u32::from(rounded.element == Element::Bf16),
        };
        let is_int4_sparse = pack.packing.format == Format::Int4Sparse24;
        if few {
            let (name, Shape { tiles, warps }) = self.few(rounded.road, pack, batch);
            product.factor = if is_int4_sparse { 1.0 / 16.0 } else { 1.0 };
            let blocks = (outputs as u32).div_ceil(16 * tiles);
            let shared_bytes = if rounded.road == Road::One { warps * HALVES } else { 0 };
            // SAFETY: the pack's columns are padded as the input's are; lengths were checked; the kernel waits; all of it lives
            // until the stream is done, which the caller waits for.
            return unsafe {
                let arguments = [Argument::Panel(product)];
                self.stream.launch(&self.early_kernel(&name)?, [blocks, 1, 1], warps * 32, shared_bytes, &arguments)
            };
        }
        let panels = outputs.div_ceil(PANEL_ROWS) as u32;
        let name = match rounded.road {
            Road::Vendor => {
                if product.bias != 0 || ending != Ending::Store || rounded.padded != pack.padded {
                    let expected = "a product that is stored without a bias";
                    return Err(Error::unsupported("product", expected, format!("{ending:?}")));
                }
                let rows = self.library_rows(pack, weights)?;
                let (shape, scales) = ([batch, outputs, pack.padded], [product.w_scales, product.x_scales]);
                // SAFETY: the operands have the plan's shape, for it was made for it; all of it lives until the stream is
                // done, which the caller waits for.
                return unsafe { self.vendor().multiply(&self.stream, shape, scales, [rows, product.x, product.y]) };
            }
            Road::Half(_) => {
                let Some(scales) = &pack.half_scales else {
                    return Err(Error::Internal { reason: format!("no f16 twin of {}", pack.packing.format) });
                };
                let pieces = rounded.padded / 8;
                product.w = room(&self.device, weights, panels as usize * PANEL_ROWS * pieces * 16)?.at();
                product.w_scales = scales.at();
                let arguments = [
                    pack.argument(),
                    Argument::Address(scales.at()),
                    Argument::Count(pieces as u32),
                    Argument::Address(product.w),
                ];
                let kernel = self.kernel(&format!("halve_panel_{}", pack.name()))?;
                // SAFETY: the kernel writes all pieces of all panels.
                unsafe { self.stream.launch(&kernel, [pieces as u32, panels, 1], PANEL_ROWS as u32, 0, &arguments)? };
                "f16"
            }
            Road::Float(_) => "f8_e4m3",
            _ if is_int4_sparse => {
                let pieces = pack.padded / 64;
                product.w = room(&self.device, weights, panels as usize * PANEL_ROWS * pieces * 32)?.at();
                product.factor = 1.0 / 16.0;
                let arguments = [
                    Argument::Address(pack.weights.at()),
                    Argument::Count(pieces as u32),
                    Argument::Address(product.w),
                ];
                let kernel = self.kernel("unpack_int4_sparse24")?;
                // SAFETY: the kernel reads all pieces of all panels and writes two for each.
                unsafe { self.stream.launch(&kernel, [pieces as u32, panels, 1], PANEL_ROWS as u32, 0, &arguments)? };
                "int8_sparse24"
            }
            _ if pack.packing.format == Format::Int8Sparse24 => "int8_sparse24",
            _ => "int8",
        };
        let columns = batch.div_ceil(rounded.road.panel()) as u32;
        let width = rounded.road.width();
        if width != Width::Everywhere {
            let kernel = self.kernel(&format!("panel_wide_{name}"))?;
            kernel.allow_shared(WIDE_SHARED)?;
            let blocks = self.device.multiprocessors.min(panels * columns);
            // SAFETY: as above; the kernel walks over panels x columns tiles.
            return unsafe {
                self.stream.launch(&kernel, [blocks, 1, 1], 384, WIDE_SHARED, &[Argument::Panel(product)])
            };
        }
        let kernel = self.kernel(&format!("panel_gemm_{name}"))?;
        let stage = if name == "int8_sparse24" { 8192 + 2048 + 16384 } else { 2 * 16384 };
        kernel.allow_shared(STAGES * stage)?;
        // SAFETY: as above; a block is a tile.
        unsafe {
            let grid = [panels * columns, 1, 1];
            self.stream.launch(&kernel, grid, 256, STAGES * stage, &[Argument::Panel(product)])
        }
    }
}

fn mode(ending: Ending) -> Mode {
    match ending {
        Ending::Store => Mode::Store,
        Ending::Activated(activation) => Mode::Activated(activation),
        Ending::Scaled => Mode::Scaled,
    }
}
