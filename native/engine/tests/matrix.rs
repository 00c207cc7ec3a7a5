//! The CPU's tiles and products against the reference dequantization and float64, for every format and level.

use random::Random;
use viva_tensor_engine::{
    backend::cpu::{
        matrix::{Matrix, PANEL_FLOATS, Rows, RowsMut},
        simd::Level,
    },
    quant::Format,
};

mod random;

/// Offsets of the f16 numbers in a block.
fn halves(format: Format) -> &'static [usize] {
    match format {
        Format::F16 | Format::Q8_0 | Format::Q4_0 | Format::Q5_0 => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q2K => &[80, 82],
        Format::Q3K => &[108],
        Format::Q6K => &[208],
        _ => &[],
    }
}

/// A row of random blocks: every bit pattern of the quants, finite scales, subnormal and large ones among them.
fn random_row(format: Format, cols: usize, random: &mut Random) -> Vec<u8> {
    let mut row = vec![0; format.bytes_of(cols).unwrap()];
    for block in row.chunks_exact_mut(format.block_bytes()) {
        block.fill_with(|| random.next() as u8);
        // The places of a four that are kept: any two, the lower one first.
        if matches!(format, Format::Int8Sparse24 | Format::Int4Sparse24) {
            let places = [0b0100, 0b1000, 0b1100, 0b1001, 0b1101, 0b1110];
            let mut any = || places[(random.next() >> 32) as usize % 6];
            block[format.block_bytes() - 1] = any() | any() << 4;
        }
        match format {
            Format::F32 => block.copy_from_slice(&random.float().to_le_bytes()),
            Format::Bf16 => block.copy_from_slice(&half::bf16::from_f32(random.float()).to_le_bytes()),
            Format::F8E4m3 if block[0] & 0x7f == 0x7f => block[0] = 0,
            _ => {}
        }
        for at in halves(format) {
            let scale = match random.next() % 8 {
                0 => random.float() * 3e-6,
                1 => random.float() * 65504.0,
                _ => random.float(),
            };
            block[*at..at + 2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
        }
    }
    row
}

struct Case {
    matrix: Matrix,
    /// [rows][cols], dequantized by the reference.
    weights: Vec<Vec<f32>>,
    bias: Vec<f32>,
}

fn case(format: Format, rows: usize, cols: usize, random: &mut Random) -> Case {
    let mut matrix = Matrix::new(format, rows, cols).unwrap();
    let mut weights = vec![];
    for i in 0..rows {
        let row = random_row(format, cols, random);
        matrix.set_row(i, &row);
        let mut floats = vec![0.0; cols];
        format.dequantize(&row, &mut floats).unwrap();
        weights.push(floats);
    }
    if format.has_scales() {
        let scale = |row: usize, block: usize| 0.01 + row as f32 * 0.003 + block as f32 * 0.1;
        matrix.set_scales(48, scale).unwrap();
        for (i, row) in weights.iter_mut().enumerate() {
            for (k, weight) in row.iter_mut().enumerate() {
                *weight *= scale(i, k / 48);
            }
        }
    }
    let bias: Vec<f32> = (0..rows).map(|_| random.float()).collect();
    matrix.set_bias(&bias);
    Case { matrix, weights, bias }
}

/// Rows that are no multiple of sixteen, columns that are no multiple of the panel's depth.
fn cases(random: &mut Random) -> Vec<(Format, Case)> {
    let mut all = vec![];
    for format in Format::ALL.into_iter().chain(Format::PACKED) {
        let shapes: &[(usize, usize)] = match format.block_len() {
            1 => &[(1, 1), (37, 83), (80, 300)],
            8 => &[(1, 8), (37, 88), (80, 304)],
            32 => &[(1, 32), (37, 96), (80, 288)],
            _ => &[(1, 256), (37, 512), (80, 768)],
        };
        for (rows, cols) in shapes {
            all.push((format, case(format, *rows, *cols, random)));
        }
    }
    all
}

#[test]
fn a_row_is_what_the_reference_dequantizes() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (format, case) in cases(&mut random) {
        for level in Level::available() {
            let mut row = vec![0.0; case.matrix.cols()];
            for (i, expected) in case.weights.iter().enumerate() {
                case.matrix.row(level, i, &mut row);
                let same = row.iter().zip(expected).all(|(a, b)| a == b);
                assert!(same, "{format} {} row {i}: {row:?} is not {expected:?}", level.name());
            }
        }
    }
}

fn multiply(case: &Case, level: Level, x: &[f32], count: usize) -> Vec<f32> {
    let (cols, stride) = (case.matrix.cols(), case.matrix.tiles() * 16);
    let mut panel = vec![0.0; PANEL_FLOATS];
    let mut out = vec![f32::NAN; count * stride];
    let input = Rows { at: x.as_ptr(), stride: cols, count };
    let output = RowsMut { at: out.as_mut_ptr(), stride };
    // SAFETY: x has `count` rows of `cols` floats, out `count` rows of whole tiles; the level is available.
    unsafe { case.matrix.multiply(level, 0..case.matrix.tiles(), input, output, &mut panel) }
    out.chunks_exact(stride).flat_map(|row| row[..case.matrix.rows()].to_vec()).collect()
}

#[test]
fn products_are_within_the_bound_of_float64_and_do_not_depend_on_company() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for (format, case) in cases(&mut random) {
        let (rows, cols) = (case.matrix.rows(), case.matrix.cols());
        let count = 31;
        let x: Vec<f32> = (0..count * cols).map(|_| random.float()).collect();
        for level in Level::available() {
            let all = multiply(&case, level, &x, count);
            for t in 0..count {
                let x = &x[t * cols..(t + 1) * cols];
                for (i, weights) in case.weights.iter().enumerate() {
                    let terms = weights.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                    let exact: f64 = terms.clone().sum::<f64>() + f64::from(case.bias[i]);
                    // One rounding for each product and each sum of the chain, and one for the bias.
                    let size: f64 = terms.map(f64::abs).sum::<f64>() + f64::from(case.bias[i].abs());
                    let bound = (2 * cols + 1) as f64 * f64::from(f32::EPSILON) / 2.0 * size + 1e-37;
                    let found = f64::from(all[t * rows + i]);
                    let error = (found - exact).abs();
                    assert!(error <= bound, "{format} {} [{t}][{i}]: {found} is not {exact}", level.name());
                }
                // The same bits alone as among 31.
                let alone = multiply(&case, level, x, 1);
                assert_eq!(alone, all[t * rows..(t + 1) * rows], "{format} {} token {t}", level.name());
            }
        }
    }
}
