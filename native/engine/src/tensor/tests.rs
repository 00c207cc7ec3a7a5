//! What the BEAM's tests cannot reach: addresses that are not aligned, sizes that lie, callers that are gone.

use super::{
    Dtype,
    convolution::{Convolution, conv2d},
    elementwise::{Binary, Unary, binary, cast, first_non_finite, unary},
    layout::contiguous,
    product::{Operand, matmul},
    row::{Row, rows},
};
use crate::error::Error;

fn bytes(xs: &[f64]) -> Vec<u8> {
    xs.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect()
}

fn lives() -> bool {
    true
}

/// The same numbers one byte further on.
fn odd(xs: &[f64]) -> Vec<u8> {
    [vec![0], bytes(xs)].concat()
}

#[test]
fn operands_may_lie_anywhere() {
    let (a, b) = (odd(&[1.0, 2.0, 3.0, 4.0]), odd(&[5.0, 6.0, 7.0, 8.0]));
    let mut out = [0; 33];
    let operand = |data| Operand { data, row_stride: 2, column_stride: 1 };
    let (a, b) = (&a[1..], &b[1..]);
    matmul(Dtype::Float64, (2, 2, 2), operand(a), operand(b), &mut out[1..], &lives).unwrap();
    assert_eq!(floats(&out[1..]), [19.0, 22.0, 43.0, 50.0]);
    binary(Binary::Divide, Dtype::Float64, b, a, &mut out[1..], &lives).unwrap();
    assert_eq!(floats(&out[1..]), [5.0, 3.0, 7.0 / 3.0, 2.0]);
    let size = Convolution {
        images: 1,
        channels: 1,
        height: 2,
        width: 2,
        outputs: 1,
        kernel: (2, 2),
        stride: (1, 1),
        pad: (0, 0),
    };
    conv2d(Dtype::Float64, a, b, &size, &mut out[1..9], &lives).unwrap();
    assert_eq!(floats(&out[1..9]), [70.0]);
}

/// Whatever numbers a caller gives, the answer is an error, not a panic.
#[test]
fn sizes_that_lie_are_errors() {
    let data = bytes(&[1.0; 8]);
    let most = usize::MAX;
    for (shape, strides, offset) in [
        (vec![9], vec![1], 0),
        (vec![8], vec![1], 1),
        (vec![2, 2], vec![7, 1], 0),
        (vec![2], vec![most], 0),
        (vec![2], vec![1], most),
        (vec![most, 2], vec![1, 1], 0),
        (vec![2], vec![1, 1], 0),
    ] {
        let mut out = vec![0; 8 * shape.iter().fold(1_usize, |size, length| size.saturating_mul(*length)).min(100)];
        assert!(contiguous(8, &shape, &strides, offset, &data, &mut out, &lives).is_err(), "{shape:?} {strides:?}");
    }
    let operand = |row_stride, column_stride| Operand { data: &data, row_stride, column_stride };
    for (size, a, b) in [
        ((2, 3, 2), (3, 1), (5, 1)),
        ((2, 5, 2), (5, 1), (1, 1)),
        ((2, 2, 2), (most, 1), (1, 1)),
        ((2, 2, 2), (1, most), (1, 1)),
    ] {
        let mut out = vec![0; size.0 * size.2 * 8];
        let result = matmul(Dtype::Float64, size, operand(a.0, a.1), operand(b.0, b.1), &mut out, &lives);
        assert!(matches!(result, Err(Error::InvalidOption { .. })), "{size:?}");
    }
    assert!(binary(Binary::Add, Dtype::Float64, &data, &data[8..], &mut data.clone(), &lives).is_err());
    assert!(unary(Unary::Exp, Dtype::Float64, &data[1..], &mut [0; 63], &lives).is_err());
    assert!(cast(Dtype::Float32, Dtype::Float64, &data[1..], &mut [], &lives).is_err());
    assert!(rows(Row::Sum, (Dtype::Float64, Dtype::Float64), &data, 3, &mut [0; 16], &lives).is_err());
    assert!(rows(Row::Sum, (Dtype::Float64, Dtype::Float64), &data, 0, &mut [], &lives).is_err());
    assert!(first_non_finite(Dtype::Float64, &data[1..]).is_err());
    let size = |kernel, stride, pad| Convolution {
        images: 1,
        channels: 1,
        height: 2,
        width: 4,
        outputs: 1,
        kernel,
        stride,
        pad,
    };
    for size in [
        size((0, 1), (1, 1), (0, 0)),
        size((1, 1), (0, 1), (0, 0)),
        size((3, 1), (1, 1), (0, 0)),
        size((1, 1), (1, 1), (most, 0)),
        size((1, 1), (1, 1), (most / 4, most / 4)),
    ] {
        assert!(conv2d(Dtype::Float64, &data, &data[..8], &size, &mut [], &lives).is_err(), "{size:?}");
    }
}

#[test]
fn work_for_nobody_stops() {
    let a = vec![0; 8 << 20];
    let mut out = vec![0; 8 << 20];
    let gone = || false;
    assert_eq!(unary(Unary::Exp, Dtype::Float64, &a, &mut out, &gone), Err(Error::Cancelled));
    let operand = Operand { data: &a, row_stride: 1024, column_stride: 1 };
    let result = matmul(Dtype::Float64, (1024, 1024, 1024), operand, operand, &mut out, &gone);
    assert_eq!(result, Err(Error::Cancelled));
}

/// Each sum has one order, whatever the threads do.
#[test]
fn sums_are_the_same_every_time() {
    let a = bytes(&(0..100_000).map(|index| f64::from(index).sin()).collect::<Vec<_>>());
    let sum = || {
        let mut out = [0; 8];
        rows(Row::Sum, (Dtype::Float64, Dtype::Float64), &a, 100_000, &mut out, &lives).unwrap();
        f64::from_le_bytes(out)
    };
    let exact: f64 = (0..100_000).map(|index| f64::from(index).sin()).sum();
    assert!((sum() - exact).abs() < 1e-9, "{} {exact}", sum());
    let first = sum();
    assert!((0..20).all(|_| sum().to_bits() == first.to_bits()));
}

/// Against the crate `half`, which is exact from float32 on, and on ties that need all bits of a float64.
#[test]
fn narrowing_is_to_nearest_even() {
    for bits in (0..=u32::MAX).step_by(9973) {
        let x = f32::from_bits(bits);
        let mut out = [0; 2];
        cast(Dtype::Float64, Dtype::Float16, &f64::from(x).to_le_bytes(), &mut out, &lives).unwrap();
        let (found, expected) = (half::f16::from_le_bytes(out), half::f16::from_f32(x));
        assert!(found == expected || x.is_nan() && found.is_nan(), "{x:?}");
        cast(Dtype::Float64, Dtype::BFloat16, &f64::from(x).to_le_bytes(), &mut out, &lives).unwrap();
        let (found, expected) = (half::bf16::from_le_bytes(out), half::bf16::from_f32(x));
        assert!(found == expected || x.is_nan() && found.is_nan(), "{x:?}");
    }
    let above_a_tie = f64::from_bits(0x3FF0_0200_0000_0001);
    let mut out = [0; 2];
    cast(Dtype::Float64, Dtype::Float16, &above_a_tie.to_le_bytes(), &mut out, &lives).unwrap();
    assert_eq!(u16::from_le_bytes(out), 0x3C01);
}

/// From left to right nothing overflows; in lanes of eight, which the first and the ninth element share, it does.
#[test]
fn sums_are_finite_where_they_are_from_left_to_right() {
    let most = 0.6 * f64::MAX;
    let infinite = [&[most, -most, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, most][..], &[0.0; 3]].concat();
    let opposed = [&infinite[..9], &[-most, 0.0, 0.0]].concat();
    for (xs, expected) in [(infinite, most), (opposed, 0.0)] {
        let row = |op, results: usize| {
            let mut out = vec![0; results * 8];
            rows(op, (Dtype::Float64, Dtype::Float64), &bytes(&xs), xs.len(), &mut out, &lives).unwrap();
            floats(&out)
        };
        assert_eq!(row(Row::Sum, 1), [expected]);
        assert_eq!(row(Row::Mean, 1), [expected / 12.0]);
        // The deviation is infinite, the mean is not.
        assert!(row(Row::LayerNorm(1e-5), 12).iter().all(|x| *x == 0.0));
    }
}

/// An image whose windows are more than one matrix of them: the second and third are of other rows.
#[test]
fn a_convolution_in_several_parts_is_the_sum_that_defines_it() {
    let (channels, height, width, outputs) = (64, 70, 64, 2);
    let size = Convolution { images: 1, channels, height, width, outputs, kernel: (3, 3), stride: (1, 1), pad: (1, 1) };
    // Small whole numbers: every sum is exact.
    let number = |at: usize| ((at * 2_654_435_761) >> 7) as f64 % 7.0 - 3.0;
    let input: Vec<f64> = (0..channels * height * width).map(number).collect();
    let kernel: Vec<f64> = (0..outputs * channels * 9).map(|at| number(at + 1)).collect();
    let mut out = vec![0; size.size().unwrap() * 8];
    conv2d(Dtype::Float64, &bytes(&input), &bytes(&kernel), &size, &mut out, &lives).unwrap();
    let found = floats(&out);
    for (output, y, x) in [0, 27, 28, 29, 55, 56, 57, 69].iter().flat_map(|y| [(0, *y, 0), (1, *y, 31), (1, *y, 63)]) {
        let mut sum = 0.0;
        for (channel, ky, kx) in (0..channels * 9).map(|at| (at / 9, at / 3 % 3, at % 3)) {
            if (1..=height).contains(&(y + ky)) && (1..=width).contains(&(x + kx)) {
                let pixel = input[(channel * height + y + ky - 1) * width + x + kx - 1];
                sum += pixel * kernel[(output * channels + channel) * 9 + ky * 3 + kx];
            }
        }
        assert_eq!(found[(output * height + y) * width + x], sum, "{output}, {y}, {x}");
    }
}
