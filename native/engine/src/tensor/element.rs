//! Elements: four float types, each read as float64 and written back rounded once, to nearest even.
//!
//! A NaN keeps the upper bits of its payload both ways. The surprise: what is done with NaN is done on integers, because
//! the bits of a NaN that a float operation gives are the compiler's to choose, and both paths promise them.

pub use crate::dtype::Dtype;

/// What an invalid operation gives.
pub const NAN: f64 = f64::from_bits(0x7FF8_0000_0000_0000);
const INFINITY: u64 = 0x7FF0_0000_0000_0000;
const QUIET: u64 = 0x0008_0000_0000_0000;

#[inline(always)]
fn is_nan(bits: u64) -> bool {
    bits & !(1 << 63) > INFINITY
}

/// A NaN with its quiet bit set; any other number as it is.
#[inline(always)]
pub fn quiet(x: f64) -> f64 {
    let bits = x.to_bits();
    f64::from_bits(if is_nan(bits) { bits | QUIET } else { bits })
}

/// NAN for any NaN.
#[inline(always)]
pub fn plain(x: f64) -> f64 {
    let bits = x.to_bits();
    f64::from_bits(if is_nan(bits) { NAN.to_bits() } else { bits })
}

/// The first NaN among operands and result, quiet; NAN for one that is new.
#[inline(always)]
pub fn with_nan(a: f64, b: f64, result: f64) -> f64 {
    let (a, b) = (a.to_bits(), b.to_bits());
    if is_nan(a) {
        f64::from_bits(a | QUIET)
    } else if is_nan(b) {
        f64::from_bits(b | QUIET)
    } else {
        plain(result)
    }
}

/// A type of elements of `WIDTH` bytes.
pub trait Element: Send + Sync + 'static {
    const WIDTH: usize;
    /// From the first bytes, 0.0 when there are too few.
    fn read(bytes: &[u8]) -> f64;
    /// To the first bytes, of which there are enough.
    fn write(x: f64, bytes: &mut [u8]);
}

pub struct F64;
pub struct F32;
pub struct F16;
pub struct BF16;

#[inline(always)]
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

#[inline(always)]
fn put<const N: usize>(bytes: &mut [u8], value: [u8; N]) {
    if let Some(first) = bytes.first_chunk_mut() {
        *first = value;
    }
}

impl Element for F64 {
    const WIDTH: usize = 8;
    #[inline(always)]
    fn read(bytes: &[u8]) -> f64 {
        f64::from_le_bytes(array(bytes))
    }
    #[inline(always)]
    fn write(x: f64, bytes: &mut [u8]) {
        put(bytes, x.to_le_bytes());
    }
}

impl Element for F32 {
    const WIDTH: usize = 4;
    #[inline(always)]
    fn read(bytes: &[u8]) -> f64 {
        widen_f32(f32::from_le_bytes(array(bytes)))
    }
    #[inline(always)]
    fn write(x: f64, bytes: &mut [u8]) {
        let narrow = if x.is_nan() { f32::from_bits(narrow_nan::<8, 23>(x.to_bits())) } else { x as f32 };
        put(bytes, narrow.to_le_bytes());
    }
}

impl Element for F16 {
    const WIDTH: usize = 2;
    #[inline(always)]
    fn read(bytes: &[u8]) -> f64 {
        let half = half::f16::from_le_bytes(array(bytes));
        let bits = half.to_bits();
        if half.is_nan() { wide_nan(u64::from(bits >> 15), u64::from(bits & 0x3FF) << 42) } else { half.to_f64() }
    }
    #[inline(always)]
    fn write(x: f64, bytes: &mut [u8]) {
        put(bytes, (narrow::<5, 10>(x) as u16).to_le_bytes());
    }
}

impl Element for BF16 {
    const WIDTH: usize = 2;
    #[inline(always)]
    fn read(bytes: &[u8]) -> f64 {
        widen_f32(f32::from_bits(u32::from(u16::from_le_bytes(array(bytes))) << 16))
    }
    #[inline(always)]
    fn write(x: f64, bytes: &mut [u8]) {
        put(bytes, (narrow::<8, 7>(x) as u16).to_le_bytes());
    }
}

#[inline(always)]
fn widen_f32(x: f32) -> f64 {
    let bits = x.to_bits();
    if x.is_nan() { wide_nan(u64::from(bits >> 31), u64::from(bits & 0x7F_FFFF) << 29) } else { f64::from(x) }
}

#[inline(always)]
fn wide_nan(sign: u64, fraction: u64) -> f64 {
    f64::from_bits(sign << 63 | INFINITY | fraction)
}

/// The bits of a quiet NaN of E exponent and M fraction bits, the sign on top.
#[inline(always)]
fn narrow_nan<const E: u32, const M: u32>(bits: u64) -> u32 {
    let fraction = (bits & 0xF_FFFF_FFFF_FFFF) >> (52 - M) | 1 << (M - 1);
    ((bits >> 63) << (E + M) | ((1 << E) - 1) << M | fraction) as u32
}

/// The bits of a float of E exponent and M fraction bits, rounded to nearest even.
#[inline]
fn narrow<const E: u32, const M: u32>(x: f64) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return narrow_nan::<E, M>(bits);
    }
    let sign = ((bits >> 63) << (E + M)) as u32;
    let infinity = ((1_u64 << E) - 1) << M;
    let exponent = (bits >> 52) as i64 & 0x7FF;
    if exponent == 0 {
        return sign;
    }
    let bias = (1_i64 << (E - 1)) - 1;
    let significand = bits & 0xF_FFFF_FFFF_FFFF | 1 << 52;
    let biased = exponent - 1023 + bias;
    let (shift, base) = match u64::try_from(biased - 1) {
        Ok(steps) => (52 - M, steps << M),
        // Below the normal numbers: the further, the fewer bits are left; 54 leaves none.
        Err(_) => ((53 - i64::from(M) - biased).min(54) as u32, 0),
    };
    let (kept, rest, half) = (significand >> shift, significand & ((1 << shift) - 1), 1_u64 << (shift - 1));
    let up = rest > half || (rest == half && kept & 1 == 1);
    // A carry goes into the exponent, as it should.
    sign | (base + kept + u64::from(up)).min(infinity) as u32
}
