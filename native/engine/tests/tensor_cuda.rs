//! Tensors on a GPU beside those of the host: random shapes and views, numbers that are none, sizes that lie, short memory.
//!
//! What is IEEE arithmetic is the same to the bit; functions and sums are held to bounds that say where they come from.
//! Without a GPU each test says so.

use std::{sync::Arc, thread};

use random::Random;
use viva_tensor_engine::{
    error::Error,
    tensor::{
        Dtype,
        device::{self, Block, Gpu, Matrices, Part, View},
        elementwise::{self, Binary, Unary},
        layout,
        row::{self, Row},
    },
};

mod gpu;
mod random;

const EPSILON: f64 = f64::EPSILON;

fn gpu(test: &str) -> Option<Arc<Gpu>> {
    gpu::found(test, device::gpu(0))
}

fn lives() -> bool {
    true
}

/// Zeros of both signs, what is smallest and largest in each type, infinities, NaN of several payloads.
const STRANGE: [u64; 16] = [
    0,
    1 << 63,
    1,
    0x800f_ffff_ffff_ffff,
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0xfff0_0000_0000_0001,
    0x7ff4_2000_0000_0000,
    // The largest float32 and its smallest, of float16 the largest, a half of its smallest.
    0x47ef_ffff_e000_0000,
    0x36a0_0000_0000_0000,
    0x40ef_fc00_0000_0000,
    0x3e60_0000_0000_0000,
    // 1000 and -745.2
    0x408f_4000_0000_0000,
    0xc087_499a_6bb9_8c7e,
];

/// `count` elements, some of them strange where that is asked for.
fn elements(random: &mut Random, dtype: Dtype, count: usize, strange: bool) -> Vec<u8> {
    let numbers = (0..count).flat_map(|_| {
        let x = match random.below(8) {
            0 if strange => f64::from_bits(random.of(&STRANGE)),
            1 => random.float64() * 40.0,
            _ => random.float64(),
        };
        x.to_le_bytes()
    });
    to(dtype, &numbers.collect::<Vec<u8>>())
}

fn cast(from: Dtype, into: Dtype, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; bytes.len() / from.width() * into.width()];
    elementwise::cast(from, into, bytes, &mut out, &lives).unwrap();
    out
}

fn to(dtype: Dtype, float64: &[u8]) -> Vec<u8> {
    cast(Dtype::Float64, dtype, float64)
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    cast(dtype, Dtype::Float64, bytes).as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
}

fn download(block: &Block) -> Vec<u8> {
    let mut out = vec![0xa5; block.bytes()];
    block.whole().download(&mut out, &lives).unwrap();
    out
}

/// How far apart a type's numbers are, there.
fn step(dtype: Dtype, x: f64) -> f64 {
    let (bits, least): (i32, i32) = match dtype {
        Dtype::Float64 => (52, -1074),
        Dtype::Float32 => (23, -149),
        Dtype::Float16 => (10, -24),
        Dtype::BFloat16 => (7, -133),
    };
    2_f64.powi((x.abs().log2().floor().max(-1022.0) as i32 - bits).max(least))
}

/// Not further off than `bound` of each, and a step of the type: both sides round. NaN are the same to the bit.
#[track_caller]
fn near(what: &str, dtype: Dtype, found: &[u8], expected: &[u8], bound: impl Fn(usize) -> f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let width = dtype.width();
    let pairs = numbers(dtype, found).into_iter().zip(numbers(dtype, expected)).enumerate();
    for (index, (x, wanted)) in pairs {
        let place = index * width..index * width + width;
        if found[place.clone()] == expected[place] {
            continue;
        }
        let most = bound(index) + step(dtype, wanted.abs().max(x.abs()));
        let off = (x - wanted).abs();
        assert!(off <= most, "{what}, {dtype:?}, {index}: {x:e}, expected {wanted:e}, off by {off:e} of {most:e}");
    }
}

#[track_caller]
fn same(what: &str, dtype: Dtype, found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let width = dtype.width();
    let differs = (0..found.len() / width).find(|i| found[i * width..][..width] != expected[i * width..][..width]);
    if let Some(index) = differs {
        let [x, wanted] = [found, expected].map(|bytes| &bytes[index * width..][..width]);
        panic!("{what}, {dtype:?}, {index}: {x:02x?}, expected {wanted:02x?}");
    }
}

#[test]
fn what_is_carried_there_comes_back() {
    let Some(gpu) = gpu("carried") else { return };
    let mut random = Random(3);
    for bytes in [0, 1, 255, 4096, (64 << 20) - 1, (64 << 20) + 3, 150 << 20] {
        let mut data = vec![0; bytes];
        data.iter_mut().step_by(97).for_each(|byte| *byte = random.next() as u8);
        let block = gpu.upload(&data, &lives).unwrap();
        assert!(download(&block) == data, "{bytes} bytes");
        let (start, length) = (bytes / 3, bytes / 2);
        let mut part = vec![0; length];
        block.part(start, length).unwrap().download(&mut part, &lives).unwrap();
        assert!(part == data[start..start + length], "{length} of {bytes} bytes");
    }
    assert_eq!(gpu.upload(&[0; 8], &|| false).unwrap_err(), Error::Cancelled);
}

#[test]
fn elements_one_by_one_are_the_hosts() {
    let Some(gpu) = gpu("elements") else { return };
    let mut random = Random(5);
    let exact = [
        Unary::Scale(1.7),
        Unary::Scale(f64::MAX),
        Unary::Clamp(-0.5, 0.75),
        Unary::Clamp(2.0, -2.0),
        Unary::Sqrt,
        Unary::Negate,
        Unary::Absolute,
        Unary::Relu,
    ];
    // Both sides' functions are off by two steps of a float64 at most (CUDA's table of its functions, glibc's manual); what
    // is composed of them keeps to eight. Where 1 + erf cancels, the error is one of x.
    let close = [
        (Unary::Exp, 0.0),
        (Unary::Log, 0.0),
        (Unary::Tanh, 0.0),
        (Unary::Sigmoid, 0.0),
        (Unary::Silu, 0.0),
        (Unary::Gelu, 1.0),
        (Unary::GeluTanh, 1.0),
    ];
    for dtype in Dtype::ALL {
        for count in [0, 1, 255, 5000] {
            let a = elements(&mut random, dtype, count, true);
            let (block, xs) = (gpu.upload(&a, &lives).unwrap(), numbers(dtype, &a));
            let host = |op| {
                let mut out = vec![0; a.len()];
                elementwise::unary(op, dtype, &a, &mut out, &lives).unwrap();
                out
            };
            for op in exact {
                let found = device::unary(op, dtype, &block.whole()).unwrap();
                same(&format!("{op:?}"), dtype, &download(&found), &host(op));
            }
            for (op, cancels) in close {
                let (found, expected) = (device::unary(op, dtype, &block.whole()).unwrap(), host(op));
                let wanted = numbers(dtype, &expected);
                near(&format!("{op:?}"), dtype, &download(&found), &expected, |i| {
                    8.0 * EPSILON * (wanted[i].abs() + cancels * xs[i].abs())
                });
            }
            for into in Dtype::ALL {
                let found = device::cast(dtype, into, &block.whole()).unwrap();
                same(&format!("cast from {dtype:?}"), into, &download(&found), &cast(dtype, into, &a));
            }
        }
    }
}

/// A shape of few elements, and strides in a buffer: an axis may be stretched, and any of them comes first.
fn random_view(random: &mut Random) -> (Vec<usize>, Vec<usize>, usize) {
    let rank = random.below(7);
    let shape: Vec<usize> = (0..rank).map(|_| random.of(&[1, 1, 2, 3, 4, 5, 8, 16])).collect();
    let mut order: Vec<usize> = (0..rank).collect();
    for i in (1..rank).rev() {
        order.swap(i, random.below(i + 1));
    }
    let (mut strides, mut reach) = (vec![0; rank], 1);
    for axis in order {
        let gap = random.of(&[1, 1, 1, 2, 3]);
        if random.below(5) > 0 {
            strides[axis] = reach * gap;
            reach = strides[axis] * shape[axis].max(1);
        }
    }
    (shape, strides, reach)
}

fn laid_out(dtype: Dtype, shape: &[usize], strides: &[usize], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; shape.iter().product::<usize>() * dtype.width()];
    layout::contiguous(dtype.width(), shape, strides, 0, data, &mut out, &lives).unwrap();
    out
}

#[test]
fn views_are_laid_out_and_combined_as_on_the_host() {
    let Some(gpu) = gpu("views") else { return };
    let mut random = Random(7);
    for round in 0..300 {
        let dtype = random.of(&Dtype::ALL);
        let (shape, strides, reach) = random_view(&mut random);
        let start = random.below(4);
        let a = elements(&mut random, dtype, start + reach, true);
        let (width, block) = (dtype.width(), gpu.upload(&a, &lives).unwrap());
        let part = block.part(start * width, reach * width).unwrap();
        let view = View { part, shape: &shape, strides: &strides };
        let expected = laid_out(dtype, &shape, &strides, &a[start * width..]);
        let what = format!("round {round}: {shape:?} at {strides:?} from {start}");
        same(&what, dtype, &download(&device::contiguous(width, &view).unwrap()), &expected);
        // The other one: of the same shape at other strides.
        let turned: Vec<usize> = strides.iter().map(|stride| if random.below(3) == 0 { 0 } else { *stride }).collect();
        let other = View { part, shape: &shape, strides: &turned };
        let right = laid_out(dtype, &shape, &turned, &a[start * width..]);
        for op in [Binary::Add, Binary::Subtract, Binary::Multiply, Binary::Divide, Binary::Larger, Binary::Smaller] {
            let mut out = vec![0; expected.len()];
            elementwise::binary(op, dtype, &expected, &right, &mut out, &lives).unwrap();
            let found = device::binary(op, dtype, &view, &other).unwrap();
            same(&format!("{op:?}, {what} and {turned:?}"), dtype, &download(&found), &out);
        }
    }
}

#[test]
fn large_views_are_laid_out_as_on_the_host() {
    let Some(gpu) = gpu("large views") else { return };
    let mut random = Random(9);
    for (shape, strides) in [
        (vec![1000, 3000], vec![1, 1000]),
        (vec![7, 300, 40, 32], vec![384_000, 32, 9600, 1]),
        (vec![2_999_999], vec![1]),
        (vec![3, 1_000_000], vec![0, 1]),
    ] {
        let a = elements(&mut random, Dtype::Float16, 3_000_000, false);
        let block = gpu.upload(&a, &lives).unwrap();
        let view = View { part: block.whole(), shape: &shape, strides: &strides };
        let expected = laid_out(Dtype::Float16, &shape, &strides, &a);
        same(&format!("{shape:?}"), Dtype::Float16, &download(&device::contiguous(2, &view).unwrap()), &expected);
    }
}

#[test]
fn parts_are_picked_and_put_together() {
    let Some(gpu) = gpu("parts") else { return };
    let mut random = Random(11);
    for _ in 0..100 {
        let [outer, length] = [random.below(5), 1 + random.below(9)];
        let run = random.of(&[2, 4, 6, 16, 48]);
        let a: Vec<u8> = (0..outer * length * run).map(|_| random.next() as u8).collect();
        let block = gpu.upload(&a, &lives).unwrap();
        let indices: Vec<u64> = (0..random.below(6)).map(|_| random.below(length) as u64).collect();
        let lines = (0..outer).flat_map(|o| indices.iter().map(move |i| (o * length + *i as usize) * run));
        let expected: Vec<u8> = lines.flat_map(|at| a[at..at + run].to_vec()).collect();
        assert_eq!(download(&device::gather(&block.whole(), length, run, &indices).unwrap()), expected);

        let runs: Vec<usize> = (0..1 + random.below(4)).map(|_| random.of(&[0, 2, 4, 10, 32])).collect();
        let datas: Vec<Vec<u8>> =
            runs.iter().map(|run| (0..outer * run).map(|_| random.next() as u8).collect()).collect();
        let blocks: Vec<Block> = datas.iter().map(|data| gpu.upload(data, &lives).unwrap()).collect();
        let parts: Vec<_> = blocks.iter().map(Block::whole).zip(runs.iter().copied()).collect();
        let lines = (0..outer).flat_map(|o| datas.iter().zip(&runs).map(move |(data, run)| &data[o * run..][..*run]));
        let expected = lines.collect::<Vec<_>>().concat();
        assert_eq!(download(&device::join(outer, &parts).unwrap()), expected);
    }
}

const ROWS: [Row; 12] = [
    Row::Sum,
    Row::SumOfSquares,
    Row::Mean,
    Row::Variance,
    Row::Max,
    Row::Min,
    Row::Argmax,
    Row::Argmin,
    Row::Softmax,
    Row::LogSoftmax,
    Row::LayerNorm(1e-5),
    Row::RmsNorm(1e-6),
];

/// What bounds are made of.
struct Moments {
    n: f64,
    absolute: f64,
    squares: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(row: &[f64]) -> Moments {
        let n = row.len() as f64;
        let sum = |f: &dyn Fn(f64) -> f64| row.iter().map(|x| f(*x)).sum::<f64>();
        let mean = sum(&|x| x) / n;
        let variance = sum(&|x| (x - mean) * (x - mean)) / n;
        Moments { n, absolute: sum(&f64::abs), squares: sum(&|x| x * x), mean, variance }
    }

    /// How far apart two orders of the row's sums may be: n steps of a float64 for each (Higham 2002, 4.2).
    fn bound(&self, op: Row, wanted: f64) -> f64 {
        let (n, mean_off) = (self.n, 2.0 * EPSILON * self.absolute);
        2.0 * match op {
            Row::Sum => n * EPSILON * self.absolute,
            Row::SumOfSquares => (n + 1.0) * EPSILON * self.squares,
            Row::Mean => mean_off,
            Row::Variance => (n + 4.0) * EPSILON * wanted + mean_off * mean_off,
            // Two functions and a quotient beside the sum.
            Row::Softmax => (n + 8.0) * EPSILON * wanted,
            Row::LogSoftmax => (n + 8.0) * EPSILON * (1.0 + wanted.abs()),
            Row::LayerNorm(epsilon) => {
                let deviation = (self.variance + epsilon).sqrt();
                (n + 6.0) * EPSILON * wanted.abs() + (mean_off + EPSILON * self.mean.abs()) / deviation
            }
            Row::RmsNorm(_) => (n + 6.0) * EPSILON * wanted.abs(),
            Row::Max | Row::Min | Row::Argmax | Row::Argmin => 0.0,
        }
    }
}

#[test]
fn rows_are_the_hosts_up_to_the_order_of_sums() {
    let Some(gpu) = gpu("rows") else { return };
    let mut random = Random(13);
    for dtype in Dtype::ALL {
        for (rows, length) in [(1, 1), (1000, 1), (3, 31), (70, 129), (9, 1024), (9, 1025), (2, 4097), (1, 100_003)] {
            for strange in [false, true] {
                let a = elements(&mut random, dtype, rows * length, strange && rows * length < 10_000);
                let (block, xs) = (gpu.upload(&a, &lives).unwrap(), numbers(dtype, &a));
                let moments: Vec<Moments> = xs.chunks(length).map(Moments::of).collect();
                for op in ROWS {
                    let to = if matches!(op, Row::Argmax | Row::Argmin) { Dtype::Float64 } else { dtype };
                    let results = op.results(length);
                    let mut expected = vec![0; rows * results * to.width()];
                    row::rows(op, (dtype, to), &a, length, &mut expected, &lives).unwrap();
                    let found = download(&device::rows(op, (dtype, to), &block.whole(), length).unwrap());
                    let wanted = numbers(to, &expected);
                    near(&format!("{op:?} of {rows} x {length}"), to, &found, &expected, |i| {
                        moments[i / results].bound(op, wanted[i])
                    });
                }
                let found = device::first_non_finite(dtype, &block.whole(), &lives).unwrap();
                assert_eq!(found, elementwise::first_non_finite(dtype, &a).unwrap());
            }
        }
    }
    // Sums that leave the range in the order of the lanes, and not from left to right.
    for length in [6, 3000, 50_000] {
        let mut xs = vec![1e-3_f64; length];
        (xs[0], xs[1], xs[4], xs[5]) = (1e308, -1e308, 1e308, -1e308);
        let a: Vec<u8> = xs.iter().flat_map(|x| x.to_le_bytes()).collect();
        let block = gpu.upload(&a, &lives).unwrap();
        let found = device::rows(Row::Sum, (Dtype::Float64, Dtype::Float64), &block.whole(), length).unwrap();
        let expected = xs.iter().sum::<f64>();
        let found = numbers(Dtype::Float64, &download(&found))[0];
        assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{length}: {found:e}, expected {expected:e}");
    }
}

#[test]
fn products_keep_to_the_bound_of_their_sums() {
    let Some(gpu) = gpu("products") else { return };
    let mut random = Random(17);
    let shapes = [
        (1, 1, 1, 1),
        (2, 3, 5, 7),
        (1, 65, 33, 130),
        (3, 64, 64, 64),
        (1, 1, 3000, 40),
        (1, 1500, 70, 1400),
        (5, 4, 0, 3),
    ];
    for dtype in Dtype::ALL {
        for (batch, m, k, n) in shapes {
            for across in 0..4 {
                let (a, b) = (
                    elements(&mut random, dtype, (batch * m * k).max(1), false),
                    elements(&mut random, dtype, (k * n).max(1), false),
                );
                let (left, right) = (gpu.upload(&a, &lives).unwrap(), gpu.upload(&b, &lives).unwrap());
                let (row, column) = if across & 1 == 0 { (k, 1) } else { (1, m) };
                let left = Matrices { part: left.whole(), batch: m * k, row, column };
                let (b_row, b_column) = if across & 2 == 0 { (n, 1) } else { (1, k) };
                let right = Matrices { part: right.whole(), batch: 0, row: b_row, column: b_column };
                let found = download(&device::multiply(dtype, batch, (m, k, n), &left, &right).unwrap());
                let (xs, ys) = (numbers(dtype, &a), numbers(dtype, &b));
                // Float64 sums of what float32 and narrower elements give are exact beside theirs.
                let sum_step = if dtype == Dtype::Float64 { 2.0 * EPSILON } else { f64::from(f32::EPSILON) };
                let found_numbers = numbers(dtype, &found);
                assert_eq!(found_numbers.len(), batch * m * n);
                for (index, x) in found_numbers.into_iter().enumerate() {
                    // Of large ones some.
                    if batch * m * k * n > 10_000_000 && random.below(200) > 0 {
                        continue;
                    }
                    let (product, i, j) = (index / (m * n), index / n % m, index % n);
                    let (mut sum, mut absolute) = (0.0, 0.0);
                    for d in 0..k {
                        let term = xs[product * m * k + i * row + d * column] * ys[d * b_row + j * b_column];
                        sum += term;
                        absolute += term.abs();
                    }
                    let most = k as f64 * sum_step * absolute + step(dtype, sum);
                    assert!((x - sum).abs() <= most, "{dtype:?} {m} {k} {n} at {i} {j}: {x:e}, expected {sum:e}");
                }
            }
        }
    }
}

#[test]
fn numbers_do_not_depend_on_company() {
    let Some(gpu) = gpu("company") else { return };
    let mut random = Random(19);
    let (m, k, n) = (1700, 300, 1500);
    for dtype in Dtype::ALL {
        let (a, b) = (elements(&mut random, dtype, m * k, false), elements(&mut random, dtype, k * n, false));
        let (left, right) = (gpu.upload(&a, &lives).unwrap(), gpu.upload(&b, &lives).unwrap());
        let matrices = |part, row| Matrices { part, batch: 0, row, column: 1 };
        let product = |m| {
            let (left, right) = (matrices(left.whole(), k), matrices(right.whole(), n));
            download(&device::multiply(dtype, 1, (m, k, n), &left, &right).unwrap())
        };
        let all = product(m);
        same("the first rows", dtype, &product(3), &all[..3 * n * dtype.width()]);
        same("again", dtype, &product(m), &all);
        let sum = |part: Part<'_>| download(&device::rows(Row::Sum, (dtype, Dtype::Float64), &part, k).unwrap());
        let sums = sum(left.whole());
        assert_eq!(sum(left.part(0, 5 * k * dtype.width()).unwrap()), sums[..40]);
        assert_eq!(sum(left.whole()), sums);
    }
}

#[test]
fn what_is_no_number_goes_through_products_as_on_the_host() {
    let Some(gpu) = gpu("no numbers") else { return };
    let (inf, nan) = (f64::INFINITY, f64::from_bits(0xfff0_0000_0000_0007));
    let a = [[1.0, 2.0], [inf, 0.0], [inf, 1.0], [0.0, nan], [-0.0, -0.0]];
    let b = [[1.0, 0.0], [-inf, 3.0]];
    for dtype in Dtype::ALL {
        let bytes =
            |rows: &[[f64; 2]]| to(dtype, &rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
        let (left, right) = (gpu.upload(&bytes(&a), &lives).unwrap(), gpu.upload(&bytes(&b), &lives).unwrap());
        let matrices = |part| Matrices { part, batch: 0, row: 2, column: 1 };
        let found = device::multiply(dtype, 1, (5, 2, 2), &matrices(left.whole()), &matrices(right.whole())).unwrap();
        let expected = [[-inf, 6.0], [f64::NAN, f64::NAN], [f64::NAN, f64::NAN], [f64::NAN, f64::NAN], [f64::NAN, 0.0]];
        same("a product", dtype, &download(&found), &bytes(&expected));
    }
}

#[test]
fn sizes_that_lie_are_errors() {
    let Some(gpu) = gpu("lies") else { return };
    let block = gpu.upload(&[0; 64], &lives).unwrap();
    let (whole, most) = (block.whole(), usize::MAX);
    assert!(block.part(1, 64).is_err() && block.part(most, 2).is_err());
    for (shape, strides) in [
        (vec![9], vec![1]),
        (vec![2, 2], vec![7, 1]),
        (vec![2], vec![most]),
        (vec![most, 2], vec![1, 1]),
        (vec![2], vec![1, 1]),
        (vec![2; 13], (0..13).map(|i| i % 2).collect()),
    ] {
        let view = View { part: whole, shape: &shape, strides: &strides };
        assert!(device::contiguous(8, &view).is_err(), "{shape:?} {strides:?}");
        let fine = View { part: whole, shape: &[8], strides: &[1] };
        assert!(device::binary(Binary::Add, Dtype::Float64, &view, &fine).is_err(), "{shape:?} {strides:?}");
    }
    let odd = block.part(1, 16).unwrap();
    assert!(device::unary(Unary::Exp, Dtype::Float64, &odd).is_err());
    assert!(device::unary(Unary::Exp, Dtype::Float64, &block.part(0, 12).unwrap()).is_err());
    assert!(device::rows(Row::Sum, (Dtype::Float64, Dtype::Float64), &whole, 3).is_err());
    assert!(device::rows(Row::Softmax, (Dtype::Float64, Dtype::Float64), &whole, 0).is_err());
    assert!(device::gather(&whole, 4, 8, &[4]).is_err() && device::gather(&whole, 3, 8, &[0]).is_err());
    assert!(device::join(2, &[(whole, 8)]).is_err() && device::join(2, &[]).is_err());
    let matrices = |row| Matrices { part: whole, batch: 0, row, column: 1 };
    assert!(device::multiply(Dtype::Float64, 1, (2, 5, 1), &matrices(5), &matrices(1)).is_err());
    assert!(device::multiply(Dtype::Float64, 1, (2, 2, 2), &matrices(most), &matrices(2)).is_err());
}

#[test]
fn nothing_comes_of_nothing() {
    let Some(gpu) = gpu("nothing") else { return };
    let block = gpu.upload(&[], &lives).unwrap();
    let whole = block.whole();
    let float64 = Dtype::Float64;
    let view = View { part: whole, shape: &[0, 3], strides: &[3, 1] };
    assert!(download(&device::unary(Unary::Exp, float64, &whole).unwrap()).is_empty());
    assert!(download(&device::binary(Binary::Add, float64, &view, &view).unwrap()).is_empty());
    assert!(download(&device::contiguous(8, &view).unwrap()).is_empty());
    assert!(download(&device::rows(Row::Softmax, (float64, float64), &whole, 3).unwrap()).is_empty());
    assert!(download(&device::rows(Row::Variance, (float64, float64), &whole, 3).unwrap()).is_empty());
    assert_eq!(device::first_non_finite(float64, &whole, &lives).unwrap(), None);
    let none = Matrices { part: whole, batch: 0, row: 0, column: 1 };
    let found = device::multiply(float64, 1, (2, 0, 3), &none, &none).unwrap();
    assert_eq!(download(&found), vec![0; 48]);
}

#[test]
fn short_memory_is_an_error_and_what_is_dropped_comes_back() {
    let Some(gpu) = gpu("memory") else { return };
    match gpu.block(1 << 45) {
        Err(Error::OutOfMemory { wanted_bytes, free_bytes }) => {
            assert_eq!(wanted_bytes, 1 << 45);
            assert!(free_bytes > 0);
        }
        other => panic!("{other:?}"),
    }
    let free = gpu.device().free_bytes();
    let a = gpu.block(256 << 20).unwrap();
    for _ in 0..200 {
        // 50 GB of results, each dropped while it is still being computed.
        device::unary(Unary::Negate, Dtype::Float32, &a.whole()).unwrap();
    }
    assert!(free - gpu.device().free_bytes() >= 256 << 20);
    drop(a);
    gpu.stream().wait().unwrap();
    assert!(gpu.device().free_bytes() + (8 << 20) >= free);
}

#[test]
fn many_threads_share_the_stream() {
    let Some(gpu) = gpu("threads") else { return };
    let work = |seed| {
        let mut random = Random(seed);
        let a = elements(&mut random, Dtype::Float32, 300_000, false);
        let mut expected = a.clone();
        let mut block = gpu.upload(&a, &lives).unwrap();
        for _ in 0..40 {
            let mut out = vec![0; a.len()];
            elementwise::unary(Unary::Scale(0.99), Dtype::Float32, &expected, &mut out, &lives).unwrap();
            expected = out;
            block = device::unary(Unary::Scale(0.99), Dtype::Float32, &block.whole()).unwrap();
        }
        same("forty times", Dtype::Float32, &download(&block), &expected);
    };
    thread::scope(|scope| {
        for seed in 1..9 {
            scope.spawn(move || work(seed));
        }
    });
}
