//! Linears of their own against float64: what is packed, what is computed, what is refused.

use random::Random;
use viva_tensor_engine::{
    backend::cpu::linear::{Activations, PackedWeight, Weight},
    error::Error,
    quant::{Format, Packing, f8_e4m3, int8},
};

mod random;

fn packings(inputs: usize) -> Vec<Packing> {
    let packing = |format, scale_cols| Packing { format, scale_cols };
    vec![
        packing(Format::F8E4m3, 16),
        packing(Format::F8E4m3, inputs),
        packing(Format::Int8, inputs),
        packing(Format::Int4, 32),
        packing(Format::Int4, 64),
        packing(Format::Int8Sparse24, inputs),
        packing(Format::Int4Sparse24, inputs),
    ]
}

/// [in, out] by the reference alone: pack, dequantize, times scale, one output after the other.
fn reference(weight: &[f32], inputs: usize, outputs: usize, packing: Packing) -> Vec<f32> {
    let mut all = vec![0.0; weight.len()];
    for o in 0..outputs {
        let row: Vec<f32> = (0..inputs).map(|i| weight[i * outputs + o]).collect();
        let (mut bytes, mut found) = (vec![0; packing.format.bytes_of(inputs).unwrap()], vec![0.0; inputs]);
        let scales = packing.pack(&row, &mut bytes).unwrap();
        packing.format.dequantize(&bytes, &mut found).unwrap();
        for i in 0..inputs {
            all[i * outputs + o] = found[i] * scales[i / packing.scale_cols];
        }
    }
    all
}

fn alive() -> bool {
    true
}

#[test]
fn products_are_those_of_the_packed_weight_in_float64() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // The last has more inputs than sums of 32 bits hold.
    for (inputs, outputs, batch) in [(8, 1, 1), (64, 37, 1), (96, 50, 3), (576, 130, 17), (131_080, 3, 2)] {
        let weight: Vec<f32> = (0..inputs * outputs).map(|_| random.float()).collect();
        let turned: Vec<f32> = (0..inputs * outputs).map(|at| weight[at % inputs * outputs + at / inputs]).collect();
        let input: Vec<f32> = (0..batch * inputs).map(|_| random.float() * 3.0).collect();
        let bias: Vec<f32> = (0..outputs).map(|_| random.float()).collect();
        for packing in packings(inputs) {
            let at = |data, transposed| Weight { data, inputs, outputs, transposed };
            let packed = PackedWeight::pack(at(&weight, false), packing, &alive).unwrap();
            let other = PackedWeight::pack(at(&turned, true), packing, &alive).unwrap();
            let expected = reference(&weight, inputs, outputs, packing);
            let mut unpacked = vec![f32::NAN; weight.len()];
            packed.unpack(&mut unpacked).unwrap();
            assert_eq!(unpacked, expected, "{packing:?}");
            other.unpack(&mut unpacked).unwrap();
            assert_eq!((unpacked, other.loss), (expected.clone(), packed.loss), "{packing:?}, transposed");
            for activations in [Activations::Float, Activations::F8E4m3, Activations::Int8] {
                let mut out = vec![f32::NAN; batch * outputs];
                packed.multiply(&input, activations, &bias, &mut out, &alive).unwrap();
                for (t, row) in input.chunks(inputs).enumerate() {
                    let row = rounded(row, activations);
                    for o in 0..outputs {
                        let term = |i: usize| f64::from(row[i]) * f64::from(expected[i * outputs + o]);
                        let exact: f64 = (0..inputs).map(term).sum::<f64>() + f64::from(bias[o]);
                        let size: f64 = (0..inputs).map(|i| term(i).abs()).sum::<f64>() + f64::from(bias[o].abs());
                        let bound = (2 * inputs + 1) as f64 * 2.0_f64.powi(-24) * size + 1e-37;
                        let found = f64::from(out[t * outputs + o]);
                        assert!((found - exact).abs() <= bound, "{packing:?} {activations:?}: {found} for {exact}");
                    }
                }
            }
        }
    }
}

#[test]
fn stored_rows_come_back_as_they_were_packed() {
    let mut random = Random(11);
    for (inputs, outputs) in [(8, 1), (64, 37), (136, 16)] {
        let weight: Vec<f32> = (0..inputs * outputs).map(|_| random.float()).collect();
        for packing in packings(inputs) {
            let weight = Weight { data: &weight, inputs, outputs, transposed: true };
            let rows = PackedWeight::pack(weight, packing, &alive).unwrap().rows();
            let row_bytes = rows.row_bytes().unwrap();
            assert_eq!((rows.packing, rows.inputs, rows.outputs), (packing, inputs, outputs));
            for (o, row) in weight.data.chunks(inputs).enumerate() {
                let mut bytes = vec![0; row_bytes];
                let scales = packing.pack(row, &mut bytes).unwrap();
                assert_eq!(rows.bytes[o * row_bytes..(o + 1) * row_bytes], bytes, "{packing:?} row {o}");
                let found = &rows.scales[o * scales.len()..(o + 1) * scales.len()];
                assert_eq!(found, scales, "{packing:?} row {o}");
            }
        }
    }
}

fn rounded(row: &[f32], activations: Activations) -> Vec<f32> {
    let largest = row.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let round = |x: &f32| match activations {
        Activations::Float => *x,
        Activations::F8E4m3 => f8_e4m3::value(f8_e4m3::code(x / (largest / 448.0))) * (largest / 448.0),
        Activations::Int8 => f32::from(int8::code(*x, largest / 127.0, 127.0)) * (largest / 127.0),
    };
    row.iter().map(round).collect()
}

/// The kernel of one row and that of several have nothing in common but the order of their sums.
#[test]
fn a_row_has_the_same_bits_alone_and_in_company_however_large_the_weights() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (inputs, outputs, batch) = (192, 83, 3);
    let input: Vec<f32> = (0..batch * inputs).map(|_| random.float()).collect();
    for size in [1e-20, 1.0, 5.7e4, 5.8e4, 1e30] {
        let weight: Vec<f32> = (0..inputs * outputs).map(|_| random.float() * size).collect();
        for packing in packings(inputs) {
            let weight = Weight { data: &weight, inputs, outputs, transposed: false };
            let packed = PackedWeight::pack(weight, packing, &alive).unwrap();
            let expected = reference(weight.data, inputs, outputs, packing);
            let mut unpacked = vec![f32::NAN; weight.data.len()];
            packed.unpack(&mut unpacked).unwrap();
            assert_eq!(unpacked, expected, "{packing:?}, weights of {size:e}");
            for activations in [Activations::Float, Activations::F8E4m3, Activations::Int8] {
                let (mut many, mut one) = (vec![f32::NAN; batch * outputs], vec![f32::NAN; outputs]);
                packed.multiply(&input, activations, &[], &mut many, &alive).unwrap();
                for (input, many) in input.chunks(inputs).zip(many.chunks(outputs)) {
                    packed.multiply(input, activations, &[], &mut one, &alive).unwrap();
                    assert!(one.iter().zip(many).all(|(a, b)| a.to_bits() == b.to_bits()), "{packing:?}, {size:e}");
                    assert!(
                        one.iter().all(|y| y.is_finite()) && one.iter().any(|y| *y != 0.0),
                        "{packing:?}, {size:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_packing_lost_is_told() {
    let packing = Packing { format: Format::Int8Sparse24, scale_cols: 8 };
    let pack = |data: &[f32]| {
        PackedWeight::pack(Weight { data, inputs: 8, outputs: 1, transposed: false }, packing, &alive).unwrap().loss
    };
    let exact = pack(&[0.0, 127.0, 0.0, -3.0, 5.0, 0.0, 0.0, 0.0]);
    assert_eq!((exact.relative, exact.largest, exact.pruned), (0.0, 0.0, 0));
    let dense = pack(&[1.0, 127.0, 0.0, -3.0, 5.0, 2.0, 2.0, 1.0]);
    assert_eq!((dense.largest, dense.pruned), (2.0, 3));
    // Lost are 1, 2 and 1.
    let norm = 1.0 + 127.0 * 127.0 + 9.0 + 25.0 + 4.0 + 4.0 + 1.0_f64;
    assert!((dense.relative - (6.0 / norm).sqrt()).abs() < 1e-12, "{}", dense.relative);
    assert_eq!(pack(&[0.0; 8]).relative, 0.0);
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |data: &[f32], inputs, outputs, packing| {
        let packed = PackedWeight::pack(Weight { data, inputs, outputs, transposed: false }, packing, &alive);
        assert!(matches!(packed, Err(Error::InvalidOption { .. })), "{packed:?}");
    };
    let int8 = Packing { format: Format::Int8, scale_cols: 4 };
    refused(&[], 0, 4, int8);
    refused(&[], 4, 0, int8);
    refused(&[1.0; 7], 4, 2, int8);
    refused(&[1.0, f32::NAN, 1.0, 1.0], 4, 1, int8);
    refused(&[1.0, f32::INFINITY, 1.0, 1.0], 4, 1, int8);
    refused(&[1.0; 12], 12, 1, Packing { format: Format::Int4, scale_cols: 32 });
    refused(&[1.0; 16], 16, 1, Packing { format: Format::Int4, scale_cols: 12 });
    let weight = Weight { data: &[1.0; 8], inputs: 4, outputs: 2, transposed: false };
    let packed = PackedWeight::pack(weight, int8, &alive).unwrap();
    let multiply =
        |input: &[f32], bias: &[f32], out: &mut [f32]| packed.multiply(input, Activations::Float, bias, out, &alive);
    assert!(multiply(&[1.0; 4], &[], &mut [0.0; 2]).is_ok());
    assert!(multiply(&[], &[], &mut []).is_ok());
    assert!(matches!(multiply(&[1.0; 5], &[], &mut [0.0; 2]), Err(Error::InvalidOption { .. })));
    assert!(matches!(multiply(&[1.0; 4], &[1.0], &mut [0.0; 2]), Err(Error::InvalidOption { .. })));
    assert!(matches!(multiply(&[1.0; 4], &[], &mut [0.0; 3]), Err(Error::InvalidOption { .. })));
    assert!(matches!(PackedWeight::pack(weight, int8, &|| false), Err(Error::Cancelled)));
}
