//! Linears with packed weights on a GPU against float64: what is packed on the host is multiplied on the device, in every
//! format, by every kernel, at shapes that fill no tile.
//!
//! Outputs begin as NaN and have a margin behind them, which must stay so. Without a GPU each test says so.

use std::sync::OnceLock;

use half::f16;
use random::Random;
use viva_tensor_engine::{
    backend::{
        cpu::linear::{PackedWeight, Weight},
        cuda::{
            self,
            driver::Memory,
            linear::{Element, Ending, Input, Linears, Pack, Road},
        },
        packed::{Activations, PackedRows},
    },
    error::Error,
    model::spec::Activation,
    quant::{Format, Packing, f8_e4m3, int8, largest},
};

mod gpu;
mod random;

fn linears(test: &str) -> Option<&'static Linears> {
    static LINEARS: OnceLock<Result<Linears, Error>> = OnceLock::new();
    gpu::found(test, LINEARS.get_or_init(|| Linears::new(&cuda::open(0)?)).as_ref())
}

const MARGIN: usize = 64;

fn poisoned(linears: &Linears, count: usize) -> Memory {
    linears.device().upload(&vec![f32::NAN; count + MARGIN]).unwrap()
}

/// `count` floats, behind which nothing was written.
fn floats(memory: &Memory, count: usize) -> Vec<f32> {
    let bytes = memory.read((count + MARGIN) * 4).unwrap();
    let all: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert!(all[count..].iter().all(|margin| margin.is_nan()), "written behind the end");
    all[..count].to_vec()
}

/// Packed rows as numbers, [out][in].
fn meaning(rows: &PackedRows) -> Vec<f32> {
    let (row_bytes, scales) = (rows.row_bytes().unwrap(), rows.packing.scales(rows.inputs));
    let mut all = vec![];
    for (row, bytes) in rows.bytes.chunks_exact(row_bytes).enumerate() {
        let mut codes = vec![0.0; rows.inputs];
        rows.packing.format.dequantize(bytes, &mut codes).unwrap();
        let scale = |i: usize| rows.scales[row * scales + i / rows.packing.scale_cols];
        all.extend(codes.iter().enumerate().map(|(i, code)| code * scale(i)));
    }
    all
}

/// A row of inputs as codes and their scale, or as it is.
fn codes(row: &[f32], activations: Activations) -> (Vec<f32>, f32) {
    match activations {
        Activations::Float => (row.to_vec(), 1.0),
        Activations::Int8 => {
            let scale = int8::scale(largest(row), 127.0);
            (row.iter().map(|x| f32::from(int8::code(*x, scale, 127.0))).collect(), scale)
        }
        Activations::F8E4m3 => {
            let scale = f8_e4m3::scale(largest(row));
            (row.iter().map(|x| f8_e4m3::value(f8_e4m3::code(*x / scale))).collect(), scale)
        }
    }
}

/// Inputs with rows that are hard to round.
fn inputs(batch: usize, width: usize, random: &mut Random) -> Vec<f32> {
    let mut all = random.floats(batch * width);
    for (t, row) in all.chunks_exact_mut(width).enumerate() {
        match t % 6 {
            1 => row.iter_mut().for_each(|x| *x *= 1e4),
            2 => row.iter_mut().for_each(|x| *x *= 1e-20),
            3 => row.fill(0.0),
            4 => row[0] = 300.0,
            5 => row.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 255) as f32 - 127.5),
            _ => {}
        }
    }
    all
}

fn packed(packing: Packing, inputs: usize, outputs: usize, random: &mut Random) -> PackedRows {
    let mut weight = random.floats(inputs * outputs);
    // An output of zeros, and one with a single large weight.
    weight[..inputs].fill(0.0);
    weight[(outputs - 1) * inputs] = 50.0;
    let weight = Weight { data: &weight, inputs, outputs, transposed: true };
    PackedWeight::pack(weight, packing, &|| true).unwrap().rows()
}

/// What a road's arithmetic may be off by, of sum |x w|, of the largest |x| times sum |w|, and of the result.
fn bound(road: Road, inputs: usize) -> [f64; 3] {
    let (steps, f32_step) = (inputs as f64, 2.0_f64.powi(-24));
    match road {
        // Whole numbers are exact; five roundings follow.
        Road::FewWhole | Road::Whole(_) => [0.0, 0.0, 5.0 * f32_step],
        // x keeps 22 bits, and sums are f32.
        Road::One | Road::Few => [2.0_f64.powi(-21) + 2.0 * steps * f32_step, 2.0_f64.powi(-37), 4.0 * f32_step],
        // The tensor cores add 32 products to a sum with 13 bits behind the point of the largest of them.
        Road::Float(_) | Road::Vendor => [(steps / 32.0 + 1.0) * 33.0 * 2.0_f64.powi(-13), 0.0, 4.0 * f32_step],
        // x and w keep 11 bits each.
        Road::Half(_) => [2.0_f64.powi(-9) + 2.0 * steps * f32_step, 2.0_f64.powi(-24), 4.0 * f32_step],
    }
}

struct Case<'a> {
    rows: &'a PackedRows,
    pack: &'a Pack,
    x: &'a [f32],
    batch: usize,
    bias: &'a [f32],
    /// How `x` lies on the device.
    element: Element,
}

/// x W + b in float64 and what `found` may be off by.
fn expected(case: &Case, activations: Activations, road: Road) -> Vec<(f64, f64)> {
    let (rows, width) = (case.rows, case.rows.inputs);
    let weights = meaning(rows);
    let [of_size, of_largest, of_result] = bound(road, width);
    let mut all = vec![];
    for t in 0..case.batch {
        let row = &case.x[t * width..(t + 1) * width];
        let (codes, scale) = codes(row, activations);
        let most = f64::from(largest(row));
        for o in 0..rows.outputs {
            let w = &weights[o * width..(o + 1) * width];
            let term = |i: usize| f64::from(codes[i]) * f64::from(scale) * f64::from(w[i]);
            let (sum, size) = (0..width).fold((0.0, 0.0), |(sum, size), i| (sum + term(i), size + term(i).abs()));
            let bias = f64::from(case.bias.get(o).copied().unwrap_or(0.0));
            let of_weights: f64 = w.iter().map(|w| f64::from(w.abs())).sum();
            // Host weights are rounded once where device codes and scales are not multiplied first.
            let host = 2.0_f64.powi(-23) * size;
            let error = of_size * size + of_largest * most * of_weights + of_result * (sum.abs() + bias.abs()) + host;
            all.push((sum + bias, error + 1e-37));
        }
    }
    all
}

fn check(linears: &Linears, case: &Case, activations: Activations, road: Road) {
    let device = linears.device();
    let count = case.batch * case.rows.outputs;
    let halves: Vec<u16> = case.x.iter().map(|x| half::bf16::from_f32(*x).to_bits()).collect();
    let x = match case.element {
        Element::F32 => device.upload(case.x).unwrap(),
        Element::Bf16 => device.upload(&halves).unwrap(),
    };
    let bias = (!case.bias.is_empty()).then(|| device.upload(case.bias).unwrap());
    let output = poisoned(linears, count);
    let input = Input { memory: &x, element: case.element, batch: case.batch };
    linears.multiply_on(road, case.pack, &input, activations, bias.as_ref(), Ending::Store, &output).unwrap();
    linears.wait().unwrap();
    let found = floats(&output, count);
    let (mut worst, mut wrong) = (0.0_f64, 0);
    for (found, (exact, bound)) in found.iter().zip(expected(case, activations, road)) {
        let share = (f64::from(*found) - exact).abs() / bound;
        if share.is_nan() || share > 1.0 {
            wrong += 1;
        }
        worst = worst.max(if share.is_nan() { f64::INFINITY } else { share });
    }
    let shape = (case.rows.inputs, case.rows.outputs, case.batch);
    assert!(
        wrong == 0,
        "{:?} {activations:?} {road:?} {shape:?}: {wrong} wrong, {worst} of the bound",
        case.rows.packing
    );
}

fn packings(inputs: usize) -> Vec<Packing> {
    let packing = |format, scale_cols| Packing { format, scale_cols };
    vec![
        packing(Format::F8E4m3, inputs),
        packing(Format::F8E4m3, 16),
        packing(Format::F8E4m3, 24),
        packing(Format::Int8, inputs),
        packing(Format::Int4, 32),
        packing(Format::Int4, 64),
        packing(Format::Int4, 128),
        packing(Format::Int8Sparse24, inputs),
        packing(Format::Int4Sparse24, inputs),
    ]
}

/// (inputs, outputs, batch)
const SHAPES: [(usize, usize, usize); 8] = [
    (8, 1, 1),
    (64, 37, 2),
    (128, 128, 8),
    (200, 50, 5),
    (576, 130, 17),
    (1032, 300, 130),
    (256, 129, 300),
    (2048, 64, 3),
];

#[test]
fn products_are_those_of_the_packed_weight_in_float64() {
    let Some(linears) = linears("products") else { return };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut failures = vec![];
    for (inputs_, outputs, batch) in SHAPES {
        for packing in packings(inputs_) {
            let rows = packed(packing, inputs_, outputs, &mut random);
            let pack = linears.pack(&rows).unwrap();
            let x = inputs(batch, inputs_, &mut random);
            let bias = random.floats(outputs);
            for activations in [Activations::Float, Activations::F8E4m3, Activations::Int8] {
                let Ok(road) = linears.road(&pack, activations, batch) else {
                    assert!(activations != Activations::Int8, "{packing:?}");
                    continue;
                };
                for (road, bias) in [(road, &bias[..]), (road, &[]), (road.narrow(), &bias[..])] {
                    let case = Case { rows: &rows, pack: &pack, x: &x, batch, bias, element: Element::F32 };
                    let checked = std::panic::catch_unwind(|| check(linears, &case, activations, road));
                    if let Err(reason) = checked {
                        failures.push(reason.downcast_ref::<String>().cloned().unwrap_or_default());
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of the products:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn one_row_is_multiplied_as_it_is() {
    let Some(linears) = linears("one row") else { return };
    let mut random = Random(31);
    // Widths that are no multiple of four, and so many outputs that a block takes two tiles.
    for (width, outputs) in [(30, 5), (515, 33), (96, 4300), (2056, 4250)] {
        for packing in packings(width).into_iter().filter(|packing| width.is_multiple_of(packing.format.block_len())) {
            let rows = packed(packing, width, outputs, &mut random);
            let pack = linears.pack(&rows).unwrap();
            let Ok(road) = linears.road(&pack, Activations::Float, 1) else { continue };
            // Blocks of 24 columns are no run of the kernel's.
            assert_eq!(road == Road::One, packing.scale_cols != 24 || width <= 24, "{packing:?}");
            for element in [Element::F32, Element::Bf16] {
                // An outlier among small ones, zeros, and what is not a power of two.
                let mut x = random.floats(width);
                x[width / 2..].iter_mut().for_each(|x| *x *= 1e-6);
                x[width - 1] = 3000.0;
                x[..width.min(8)].fill(0.0);
                x.iter_mut().for_each(|x| *x = half::bf16::from_f32(*x).to_f32());
                let bias = random.floats(outputs);
                for bias in [&bias[..], &[]] {
                    let case = Case { rows: &rows, pack: &pack, x: &x, batch: 1, bias, element };
                    check(linears, &case, Activations::Float, road);
                }
            }
        }
    }
}

#[test]
fn a_library_that_multiplies_large_products_multiplies_these_operands() {
    let Some(linears) = linears("library") else { return };
    let mut random = Random(9);
    let (width, outputs, batch) = (2064, 2080, 37);
    let packing = Packing { format: Format::F8E4m3, scale_cols: width };
    let rows = packed(packing, width, outputs, &mut random);
    let pack = linears.pack(&rows).unwrap();
    let road = linears.road(&pack, Activations::F8E4m3, batch).unwrap();
    eprintln!("{road:?}: {:?}", linears.library(&pack, Activations::F8E4m3));
    if road != Road::Vendor {
        assert!(linears.library(&pack, Activations::F8E4m3).is_none());
        return;
    }
    let x = inputs(batch, width, &mut random);
    let memory = linears.device().upload(&x).unwrap();
    let input = Input { memory: &memory, element: Element::F32, batch };
    let product = |bias: Option<&Memory>| {
        let output = poisoned(linears, batch * outputs);
        linears.multiply(&pack, &input, Activations::F8E4m3, bias, Ending::Store, &output).unwrap();
        linears.wait().unwrap();
        floats(&output, batch * outputs)
    };
    let (first, again) = (product(None), product(None));
    assert!(first.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()));
    // The first rows and the last ones, against float64.
    for from in [0, batch - 7] {
        let x = &x[from * width..(from + 7) * width];
        let case = Case { rows: &rows, pack: &pack, x, batch: 7, bias: &[], element: Element::F32 };
        let found = &first[from * outputs..(from + 7) * outputs];
        for (at, (found, (exact, bound))) in found.iter().zip(expected(&case, Activations::F8E4m3, road)).enumerate() {
            let off = (f64::from(*found) - exact).abs();
            assert!(off <= bound, "row {}, output {}: {found} for {exact}", from + at / outputs, at % outputs);
        }
    }
    // The own kernel adds a bias; of zeros it changes nothing but what the two may be off by.
    let zeros = linears.device().upload(&vec![0.0_f32; outputs]).unwrap();
    let own = product(Some(&zeros));
    let largest = own.iter().fold(0.0_f32, |most, y| most.max(y.abs()));
    assert!(first.iter().zip(&own).all(|(a, b)| (a - b).abs() <= largest * 1e-2));
}

#[test]
fn inputs_are_rounded_to_the_bits_of_the_host() {
    let Some(linears) = linears("rounding") else { return };
    let mut random = Random(77);
    for width in [8, 100, 576, 4096] {
        let mut rows = inputs(24, width, &mut random);
        // Ties, and what lies beside them.
        for (i, x) in rows[18 * width..19 * width].iter_mut().enumerate() {
            *x = (i % 250) as f32 / 2.0 + if i % 3 == 0 { f32::EPSILON } else { 0.0 };
        }
        rows[20 * width] = 3e38;
        rows[21 * width] = f32::from_bits(1);
        rows[22 * width] = -0.0;
        for element in [Element::F32, Element::Bf16] {
            let halves: Vec<u16> = rows.iter().map(|x| half::bf16::from_f32(*x).to_bits()).collect();
            let as_read: Vec<f32> = match element {
                Element::F32 => rows.clone(),
                Element::Bf16 => halves.iter().map(|bits| half::bf16::from_bits(*bits).to_f32()).collect(),
            };
            let memory = match element {
                Element::F32 => linears.device().upload(&rows).unwrap(),
                Element::Bf16 => linears.device().upload(&halves).unwrap(),
            };
            for (format, activations) in [(Format::Int8, Activations::Int8), (Format::F8E4m3, Activations::F8E4m3)] {
                let pack = linears.pack(&packed(Packing { format, scale_cols: width }, width, 3, &mut random)).unwrap();
                for batch in [3, 24] {
                    let road = linears.road(&pack, activations, batch).unwrap();
                    let input = Input { memory: &memory, element, batch };
                    let rounded = linears.round(&pack, &input, activations).unwrap();
                    linears.wait().unwrap();
                    let (codes_at, scales_at) = rounded.memory().unwrap();
                    let (bytes, scales) =
                        (codes_at.read(codes_at.bytes()).unwrap(), scales_at.read(batch * 4).unwrap());
                    for (t, row) in as_read.chunks_exact(width).take(batch).enumerate() {
                        let (_, scale) = codes(row, activations);
                        for (i, x) in row.iter().enumerate() {
                            let code = match activations {
                                Activations::Int8 => int8::code(*x, scale, 127.0) as u8,
                                _ => f8_e4m3::code(*x / scale),
                            };
                            let place = rounded.place(t, i);
                            let half = |at: usize| f16::from_le_bytes([bytes[at * 2], bytes[at * 2 + 1]]).to_f32();
                            let wanted = f8_e4m3::value(code);
                            match road {
                                Road::Few => {
                                    assert_eq!((half(place), half(place + 16)), (wanted, 0.0), "row {t}, {x:e}")
                                }
                                Road::Half(_) => assert_eq!(half(place), wanted, "row {t}, {x:e}"),
                                _ => assert_eq!(bytes[place], code, "{activations:?} {element:?} row {t}, {x:e}"),
                            }
                        }
                        assert_eq!(scales[t * 4..t * 4 + 4], scale.to_le_bytes(), "{activations:?} row {t}");
                    }
                }
            }
        }
    }
}

#[test]
fn ends_are_those_of_the_product() {
    let Some(linears) = linears("ends") else { return };
    let mut random = Random(5);
    let (width, outputs) = (192, 70);
    let formats =
        [(Format::F8E4m3, Activations::F8E4m3), (Format::Int8, Activations::Int8), (Format::Int4, Activations::Float)];
    for (format, activations) in formats {
        let packing = Packing { format, scale_cols: width };
        let packs: Vec<Pack> =
            (0..2).map(|_| linears.pack(&packed(packing, width, outputs, &mut random)).unwrap()).collect();
        let bias = linears.device().upload(&random.floats(outputs)).unwrap();
        for batch in [1, 6, 40] {
            let x = linears.device().upload(&inputs(batch, width, &mut random)).unwrap();
            let input = Input { memory: &x, element: Element::F32, batch };
            let product = |pack: &Pack, bias: Option<&Memory>, ending| {
                let output = poisoned(linears, batch * outputs);
                linears.multiply(pack, &input, activations, bias, ending, &output).unwrap();
                linears.wait().unwrap();
                floats(&output, batch * outputs)
            };
            let plain = product(&packs[0], Some(&bias), Ending::Store);
            let other = product(&packs[1], None, Ending::Store);
            assert!(plain.iter().all(|y| y.is_finite()));
            let gelu = product(&packs[0], Some(&bias), Ending::Activated(Activation::GeluTanh));
            let gated = poisoned(linears, batch * outputs);
            linears.multiply_gated([&packs[0], &packs[1]], &input, activations, Some(&bias), &gated).unwrap();
            linears.wait().unwrap();
            let gated = floats(&gated, batch * outputs);
            for i in 0..batch * outputs {
                let (x, up) = (f64::from(plain[i]), f64::from(other[i]));
                let near =
                    |found: f32, wanted: f64, size: f64| (f64::from(found) - wanted).abs() <= 1e-5 * size + 1e-30;
                let inner = 0.797_884_560_802_865_4 * (x + 0.044715 * x * x * x);
                let wanted = 0.5 * x * (1.0 + inner.tanh());
                assert!(near(gelu[i], wanted, x.abs()), "{format} gelu({x}): {} for {wanted}", gelu[i]);
                let wanted = x / (1.0 + (-x).exp()) * up;
                assert!(near(gated[i], wanted, (x * up).abs()), "{format} silu({x}) {up}: {} for {wanted}", gated[i]);
            }
        }
    }
}

#[test]
fn the_same_product_has_the_same_bits() {
    let Some(linears) = linears("bits") else { return };
    let mut random = Random(6);
    let (width, outputs, batch) = (1024, 384, 300);
    for (format, activations) in [
        (Format::F8E4m3, Activations::F8E4m3),
        (Format::F8E4m3, Activations::Float),
        (Format::Int8Sparse24, Activations::Int8),
    ] {
        let packing = Packing { format, scale_cols: width };
        let pack = linears.pack(&packed(packing, width, outputs, &mut random)).unwrap();
        let x = linears.device().upload(&random.floats(batch * width)).unwrap();
        let bits = |batch: usize| {
            let output = poisoned(linears, batch * outputs);
            let input = Input { memory: &x, element: Element::F32, batch };
            linears.multiply(&pack, &input, activations, None, Ending::Store, &output).unwrap();
            linears.wait().unwrap();
            floats(&output, batch * outputs).iter().map(|y| y.to_bits()).collect::<Vec<u32>>()
        };
        let (first, again, fewer) = (bits(batch), bits(batch), bits(20));
        assert!(first == again && first[..20 * outputs] == fewer[..], "{format} {activations:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(linears) = linears("refused") else { return };
    let mut random = Random(8);
    let rows = packed(Packing { format: Format::Int8, scale_cols: 16 }, 16, 4, &mut random);
    let short = PackedRows { bytes: rows.bytes[1..].to_vec(), ..rows.clone() };
    assert!(matches!(linears.pack(&short), Err(Error::InvalidOption { .. })));
    let blocks = packed(Packing { format: Format::Int8, scale_cols: 8 }, 16, 4, &mut random);
    assert!(matches!(linears.pack(&blocks), Err(Error::Unsupported { .. })));
    let pack = linears.pack(&rows).unwrap();
    let (x, output) = (linears.device().upload(&[1.0_f32; 128]).unwrap(), poisoned(linears, 32));
    let multiply = |batch, activations, bias: Option<&Memory>| {
        let input = Input { memory: &x, element: Element::F32, batch };
        linears.multiply(&pack, &input, activations, bias, Ending::Store, &output)
    };
    assert!(multiply(8, Activations::Int8, None).is_ok());
    assert!(matches!(multiply(0, Activations::Int8, None), Err(Error::InvalidOption { .. })));
    assert!(matches!(multiply(9, Activations::Int8, None), Err(Error::InvalidOption { .. })));
    assert!(matches!(multiply(1, Activations::Float, None), Err(Error::Unsupported { .. })));
    linears.wait().unwrap();
}
