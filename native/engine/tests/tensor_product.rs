//! Products of tensors against float64, with sizes on each side of where the work is divided in another way.

use viva_tensor_engine::tensor::{
    Dtype,
    product::{Operand, matmul},
};

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // What a float32 holds as well.
        f64::from((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..count).map(|_| next()).collect()
}

fn bytes(dtype: Dtype, numbers: &[f64]) -> Vec<u8> {
    match dtype {
        Dtype::Float64 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => numbers.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
    }
}

fn element(dtype: Dtype, bytes: &[u8], index: usize) -> f64 {
    match dtype {
        Dtype::Float64 => f64::from_le_bytes(bytes[index * 8..][..8].try_into().unwrap()),
        _ => f64::from(f32::from_le_bytes(bytes[index * 4..][..4].try_into().unwrap())),
    }
}

/// The product, with the left operand stored as it is or turned.
fn product(dtype: Dtype, (m, k, n): (usize, usize, usize), a: &[f64], b: &[f64], turned: bool) -> Vec<u8> {
    let stored: Vec<f64> = match turned {
        true => (0..k * m).map(|at| a[at % m * k + at / m]).collect(),
        false => a.to_vec(),
    };
    let (row_stride, column_stride) = if turned { (1, m) } else { (k, 1) };
    let (a, b) = (bytes(dtype, &stored), bytes(dtype, b));
    let a = Operand { data: &a, row_stride, column_stride };
    let b = Operand { data: &b, row_stride: n, column_stride: 1 };
    let mut out = vec![0xff; m * n * dtype.width()];
    matmul(dtype, (m, k, n), a, b, &mut out, &|| true).unwrap();
    out
}

#[test]
fn products_are_within_the_bound_of_float64_however_they_are_divided() {
    // By one thread, by a piece of rows for each, the last piece shorter, too few rows for that, and by gemm's threads.
    // Odd sizes leave edges of blocks, and more than 384 k's more than one panel.
    let sizes = [(1, 1, 1), (24, 1, 33), (40, 50, 60), (256, 256, 256), (301, 77, 203), (3, 900, 900), (520, 400, 390)];
    for (m, k, n) in sizes.into_iter().chain([(601, 901, 71), (400, 40, 2100)]) {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        for (dtype, unit) in [(Dtype::Float32, 2.0_f64.powi(-24)), (Dtype::Float64, 2.0_f64.powi(-53))] {
            for turned in [false, true] {
                let out = product(dtype, (m, k, n), &a, &b, turned);
                for (row, column) in (0..m).flat_map(|row| (row % 7..n).step_by(7).map(move |column| (row, column))) {
                    let terms = (0..k).map(|i| a[row * k + i] * b[i * n + column]);
                    let (exact, size) =
                        terms.fold((0.0, 0.0), |(sum, size), term: f64| (sum + term, size + term.abs()));
                    let found = element(dtype, &out, row * n + column);
                    let bound = 2.0 * k as f64 * unit * size;
                    assert!((found - exact).abs() <= bound, "{m} x {k} x {n}, {row}, {column}: {found} for {exact}");
                }
            }
        }
    }
}

#[test]
fn a_nan_in_any_piece_becomes_the_one_nan() {
    let (m, k, n) = (256, 200, 100);
    let b = numbers(k * n, 4);
    for row in [0, 127, 128, 255] {
        let mut a = numbers(m * k, 3);
        a[row * k + 5] = -f64::NAN;
        let out = product(Dtype::Float32, (m, k, n), &a, &b, false);
        for at in 0..m * n {
            let bits = u32::from_le_bytes(out[at * 4..][..4].try_into().unwrap());
            match at / n == row {
                true => assert_eq!(bits, f32::NAN.to_bits(), "{at}"),
                false => assert!(f32::from_bits(bits).is_finite(), "{at}"),
            }
        }
    }
}

/// So many multiply-adds that the caller is asked in between: more than one panel of rows. The right operand is one column
/// over and over, by a stride of 0.
#[test]
fn a_product_of_several_panels_has_all_of_its_rows() {
    let (m, k, n) = (300, 8192, 8192);
    let (a, column) = (numbers(m * k, 5), numbers(k, 6));
    let (left, right) = (bytes(Dtype::Float32, &a), bytes(Dtype::Float32, &column));
    let left = Operand { data: &left, row_stride: k, column_stride: 1 };
    let right = Operand { data: &right, row_stride: 1, column_stride: 0 };
    let mut out = vec![0; m * n * 4];
    let looks = std::cell::Cell::new(0);
    let alive = || {
        looks.set(looks.get() + 1);
        true
    };
    matmul(Dtype::Float32, (m, k, n), left, right, &mut out, &alive).unwrap();
    assert!(looks.get() > 1);
    for row in [0, 100, 255, 256, 257, 299] {
        let terms = a[row * k..][..k].iter().zip(&column).map(|(x, y)| x * y);
        let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), term: f64| (sum + term, size + term.abs()));
        for at in [0, 4000, n - 1] {
            let found = element(Dtype::Float32, &out, row * n + at);
            assert!((found - exact).abs() <= 2.0 * k as f64 * 2.0_f64.powi(-24) * size, "{row}, {at}");
        }
    }
}
