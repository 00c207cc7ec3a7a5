//! Sixteen lanes, three ways: AVX-512, AVX2 and plain arrays behind one trait.
//!
//! Kernels are written once over `Simd`, marked `#[inline(always)]`, and instantiated inside a function that
//! enables the level's instructions (`with_level!`); so the build is portable and the choice is made at run
//! time. On NEON and elsewhere the plain path is what the compiler vectorises by itself.
//!
//! The one surprise: fused multiply-add is part of the meaning. Every level has one, except the plain path,
//! where `a * b + c` rounds twice; so bits are reproducible on one machine, not between levels.

/// Instruction sets that the kernels are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Avx512,
    Avx2,
    Plain,
}

impl Level {
    /// The best level of this processor, the first of `available`.
    pub fn detect() -> Level {
        Self::available().first().copied().unwrap_or(Level::Plain)
    }

    /// Every level that this processor can run, best first.
    pub fn available() -> Vec<Level> {
        let mut levels = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                levels.push(Level::Avx512);
            }
            if avx2 {
                levels.push(Level::Avx2);
            }
        }
        levels.push(Level::Plain);
        levels
    }

    pub fn name(self) -> &'static str {
        match self {
            Level::Avx512 => "avx512",
            Level::Avx2 => "avx2",
            Level::Plain if cfg!(target_arch = "aarch64") => "neon",
            Level::Plain => "plain",
        }
    }
}

/// Sixteen f32 lanes and sixteen i32 lanes.
///
/// # Safety
/// Every method needs the level's instructions to be there, and pointers that are valid for the sixteen
/// elements they name; alignment is not needed.
#[allow(clippy::missing_safety_doc)]
pub trait Simd: Copy + 'static {
    type F: Copy;
    type I: Copy;
    /// Rows and tiles of the register block of a matrix product: `ROWS * TILES` accumulators fit.
    const ROWS: usize;
    const TILES: usize;
    /// Sixteen lanes are one or two registers.
    const WIDE: bool;

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    unsafe fn store(to: *mut f32, x: Self::F);
    unsafe fn load_f16(from: *const u8) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// a * b + c
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;

    /// Asks for a cache line; any address will do.
    #[inline(always)]
    fn prefetch(_: *const u8) {}

    unsafe fn splat_i(x: i32) -> Self::I;
    unsafe fn load_u8(from: *const u8) -> Self::I;
    unsafe fn load_i8(from: *const u8) -> Self::I;
    unsafe fn load_u16(from: *const u8) -> Self::I;
    unsafe fn load_u32(from: *const u8) -> Self::I;
    /// Logical shifts, the same count in each lane.
    unsafe fn shr(x: Self::I, count: u32) -> Self::I;
    unsafe fn shl(x: Self::I, count: u32) -> Self::I;
    /// The same with a count of each lane's own; 32 and more leave nothing.
    unsafe fn shl_each(x: Self::I, counts: Self::I) -> Self::I;
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn sub_i(a: Self::I, b: Self::I) -> Self::I;
    /// Lanes as two i16 each: sum + a.low * b.low + a.high * b.high, its low 32 bits.
    unsafe fn dot_pairs(a: Self::I, b: Self::I, sum: Self::I) -> Self::I;
    /// Signed integer to float.
    unsafe fn to_f32(x: Self::I) -> Self::F;
    /// The bits, read as floats.
    unsafe fn from_bits(x: Self::I) -> Self::F;
    /// Float to the nearest signed integer.
    unsafe fn round(x: Self::F) -> Self::I;

    /// Four floats, four times.
    unsafe fn load_four(from: *const f32) -> Self::F;
    /// Of four floats, four times, the one that each lane's low two bits say.
    unsafe fn pick(four: Self::F, places: Self::I) -> Self::F;

    /// What `signed_nibble` is too large by: a power of two.
    const NIBBLE: f32 = (1 << 28) as f32;

    /// The low four bits of each lane as a number in two's complement, times `NIBBLE`.
    #[inline(always)]
    unsafe fn signed_nibble(x: Self::I) -> Self::F {
        unsafe { Self::to_f32(Self::shl(x, 28)) }
    }

    /// Byte `B` of each lane as a float, 0.0 to 255.0.
    #[inline(always)]
    unsafe fn byte<const B: u32>(x: Self::I) -> Self::F {
        unsafe { Self::to_f32(Self::and(Self::shr(x, B * 8), Self::splat_i(255))) }
    }

    /// The low nibbles of each lane's bytes, or with `HIGH` = 1 the high ones, for `nibble` to take one of.
    #[inline(always)]
    unsafe fn nibbles<const HIGH: u32>(x: Self::I) -> Self::I {
        unsafe { Self::and(Self::shr(x, HIGH * 4), Self::splat_i(0x0f0f_0f0f)) }
    }

    /// Of what `nibbles` gave, that of byte `B`, 0.0 to 15.0.
    #[inline(always)]
    unsafe fn nibble<const B: u32>(x: Self::I) -> Self::F {
        unsafe { Self::byte::<B>(x) }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Plain;

macro_rules! lanes {
    (|$i:ident| $lane:expr) => {{
        let mut all = [Default::default(); 16];
        for $i in 0..16 {
            all[$i] = $lane;
        }
        all
    }};
}

#[rustfmt::skip]
impl Simd for Plain {
    type F = [f32; 16];
    type I = [u32; 16];
    const ROWS: usize = 4;
    const TILES: usize = 1;
    const WIDE: bool = false;

    #[inline(always)] unsafe fn splat(x: f32) -> Self::F { [x; 16] }
    #[inline(always)] unsafe fn load(from: *const f32) -> Self::F { unsafe { from.cast::<[f32; 16]>().read_unaligned() } }
    #[inline(always)] unsafe fn store(to: *mut f32, x: Self::F) { unsafe { to.cast::<[f32; 16]>().write_unaligned(x) } }
    #[inline(always)] unsafe fn load_f16(from: *const u8) -> Self::F {
        let bits = unsafe { from.cast::<[u16; 16]>().read_unaligned() };
        lanes!(|i| half::f16::from_bits(bits[i]).to_f32())
    }
    #[inline(always)] unsafe fn add(a: Self::F, b: Self::F) -> Self::F { lanes!(|i| a[i] + b[i]) }
    #[inline(always)] unsafe fn sub(a: Self::F, b: Self::F) -> Self::F { lanes!(|i| a[i] - b[i]) }
    #[inline(always)] unsafe fn mul(a: Self::F, b: Self::F) -> Self::F { lanes!(|i| a[i] * b[i]) }
    #[inline(always)] unsafe fn div(a: Self::F, b: Self::F) -> Self::F { lanes!(|i| a[i] / b[i]) }
    #[inline(always)] unsafe fn max(a: Self::F, b: Self::F) -> Self::F { lanes!(|i| if a[i] > b[i] { a[i] } else { b[i] }) }
    #[inline(always)] unsafe fn min(a: Self::F, b: Self::F) -> Self::F { lanes!(|i| if a[i] < b[i] { a[i] } else { b[i] }) }
    #[cfg(target_arch = "aarch64")]
    #[inline(always)] unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F { lanes!(|i| a[i].mul_add(b[i], c[i])) }
    #[cfg(not(target_arch = "aarch64"))]
    #[inline(always)] unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F { lanes!(|i| a[i] * b[i] + c[i]) }
    #[inline(always)] unsafe fn splat_i(x: i32) -> Self::I { [x as u32; 16] }
    #[inline(always)] unsafe fn load_u8(from: *const u8) -> Self::I { let x = unsafe { from.cast::<[u8; 16]>().read_unaligned() }; lanes!(|i| u32::from(x[i])) }
    #[inline(always)] unsafe fn load_i8(from: *const u8) -> Self::I { let x = unsafe { from.cast::<[i8; 16]>().read_unaligned() }; lanes!(|i| i32::from(x[i]) as u32) }
    #[inline(always)] unsafe fn load_u16(from: *const u8) -> Self::I { let x = unsafe { from.cast::<[u16; 16]>().read_unaligned() }; lanes!(|i| u32::from(x[i])) }
    #[inline(always)] unsafe fn load_u32(from: *const u8) -> Self::I { unsafe { from.cast::<[u32; 16]>().read_unaligned() } }
    #[inline(always)] unsafe fn shr(x: Self::I, count: u32) -> Self::I { lanes!(|i| x[i] >> count) }
    #[inline(always)] unsafe fn shl(x: Self::I, count: u32) -> Self::I { lanes!(|i| x[i] << count) }
    #[inline(always)] unsafe fn shl_each(x: Self::I, counts: Self::I) -> Self::I { lanes!(|i| x[i].checked_shl(counts[i]).unwrap_or(0)) }
    #[inline(always)] unsafe fn and(a: Self::I, b: Self::I) -> Self::I { lanes!(|i| a[i] & b[i]) }
    #[inline(always)] unsafe fn or(a: Self::I, b: Self::I) -> Self::I { lanes!(|i| a[i] | b[i]) }
    #[inline(always)] unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I { lanes!(|i| a[i].wrapping_add(b[i])) }
    #[inline(always)] unsafe fn sub_i(a: Self::I, b: Self::I) -> Self::I { lanes!(|i| a[i].wrapping_sub(b[i])) }
    #[inline(always)] unsafe fn dot_pairs(a: Self::I, b: Self::I, sum: Self::I) -> Self::I {
        let product = |a: u32, b: u32| i32::from(a as i16) * i32::from(b as i16);
        lanes!(|i| sum[i].wrapping_add(product(a[i], b[i]) as u32).wrapping_add(product(a[i] >> 16, b[i] >> 16) as u32))
    }
    #[inline(always)] unsafe fn to_f32(x: Self::I) -> Self::F { lanes!(|i| x[i] as i32 as f32) }
    #[inline(always)] unsafe fn from_bits(x: Self::I) -> Self::F { lanes!(|i| f32::from_bits(x[i])) }
    #[inline(always)] unsafe fn round(x: Self::F) -> Self::I { lanes!(|i| x[i].round_ties_even() as i32 as u32) }
    #[inline(always)] unsafe fn load_four(from: *const f32) -> Self::F { let x = unsafe { from.cast::<[f32; 4]>().read_unaligned() }; lanes!(|i| x[i % 4]) }
    #[inline(always)] unsafe fn pick(four: Self::F, places: Self::I) -> Self::F { lanes!(|i| four[(places[i] & 3) as usize]) }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    #[derive(Debug, Clone, Copy)]
    pub struct Avx512;

    // SAFETY of the bodies: the trait's contract: the instructions are there, the pointers valid.
    #[rustfmt::skip]
    impl Simd for Avx512 {
        type F = __m512;
        type I = __m512i;
        const ROWS: usize = 12;
        const TILES: usize = 2;
        const WIDE: bool = true;

        #[inline(always)] unsafe fn splat(x: f32) -> __m512 { unsafe { _mm512_set1_ps(x) } }
        #[inline(always)] unsafe fn load(from: *const f32) -> __m512 { unsafe { _mm512_loadu_ps(from) } }
        #[inline(always)] unsafe fn store(to: *mut f32, x: __m512) { unsafe { _mm512_storeu_ps(to, x) } }
        #[inline(always)] unsafe fn load_f16(from: *const u8) -> __m512 { unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) } }
        #[inline(always)] unsafe fn add(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_add_ps(a, b) } }
        #[inline(always)] unsafe fn sub(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_sub_ps(a, b) } }
        #[inline(always)] unsafe fn mul(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_mul_ps(a, b) } }
        #[inline(always)] unsafe fn div(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_div_ps(a, b) } }
        #[inline(always)] unsafe fn max(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_max_ps(a, b) } }
        #[inline(always)] unsafe fn min(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_min_ps(a, b) } }
        #[inline(always)] unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 { unsafe { _mm512_fmadd_ps(a, b, c) } }
        #[inline(always)] fn prefetch(at: *const u8) { unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) } }
        #[inline(always)] unsafe fn splat_i(x: i32) -> __m512i { unsafe { _mm512_set1_epi32(x) } }
        #[inline(always)] unsafe fn load_u8(from: *const u8) -> __m512i { unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())) } }
        #[inline(always)] unsafe fn load_i8(from: *const u8) -> __m512i { unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())) } }
        #[inline(always)] unsafe fn load_u16(from: *const u8) -> __m512i { unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast())) } }
        #[inline(always)] unsafe fn load_u32(from: *const u8) -> __m512i { unsafe { _mm512_loadu_si512(from.cast()) } }
        #[inline(always)] unsafe fn shr(x: __m512i, count: u32) -> __m512i { unsafe { _mm512_srlv_epi32(x, _mm512_set1_epi32(count as i32)) } }
        #[inline(always)] unsafe fn shl(x: __m512i, count: u32) -> __m512i { unsafe { _mm512_sllv_epi32(x, _mm512_set1_epi32(count as i32)) } }
        #[inline(always)] unsafe fn shl_each(x: __m512i, counts: __m512i) -> __m512i { unsafe { _mm512_sllv_epi32(x, counts) } }
        #[inline(always)] unsafe fn and(a: __m512i, b: __m512i) -> __m512i { unsafe { _mm512_and_si512(a, b) } }
        #[inline(always)] unsafe fn or(a: __m512i, b: __m512i) -> __m512i { unsafe { _mm512_or_si512(a, b) } }
        #[inline(always)] unsafe fn add_i(a: __m512i, b: __m512i) -> __m512i { unsafe { _mm512_add_epi32(a, b) } }
        #[inline(always)] unsafe fn sub_i(a: __m512i, b: __m512i) -> __m512i { unsafe { _mm512_sub_epi32(a, b) } }
        #[inline(always)] unsafe fn dot_pairs(a: __m512i, b: __m512i, sum: __m512i) -> __m512i { unsafe { _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)) } }
        #[inline(always)] unsafe fn to_f32(x: __m512i) -> __m512 { unsafe { _mm512_cvtepi32_ps(x) } }
        #[inline(always)] unsafe fn from_bits(x: __m512i) -> __m512 { unsafe { _mm512_castsi512_ps(x) } }
        #[inline(always)] unsafe fn round(x: __m512) -> __m512i { unsafe { _mm512_cvtps_epi32(x) } }
        #[inline(always)] unsafe fn load_four(from: *const f32) -> __m512 { unsafe { _mm512_broadcast_f32x4(_mm_loadu_ps(from)) } }
        #[inline(always)] unsafe fn pick(four: __m512, places: __m512i) -> __m512 { unsafe { _mm512_permutevar_ps(four, places) } }
        // A permutation looks only at the low four bits: mask and conversion are one instruction.
        #[inline(always)] unsafe fn nibbles<const HIGH: u32>(x: __m512i) -> __m512i { unsafe { Self::shr(x, HIGH * 4) } }
        #[inline(always)] unsafe fn nibble<const B: u32>(x: __m512i) -> __m512 {
            unsafe {
                let table = _mm512_setr_ps(0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.);
                _mm512_permutexvar_ps(Self::shr(x, B * 8), table)
            }
        }
        const NIBBLE: f32 = 1.0;
        #[inline(always)] unsafe fn signed_nibble(x: __m512i) -> __m512 {
            unsafe {
                let table = _mm512_setr_ps(0., 1., 2., 3., 4., 5., 6., 7., -8., -7., -6., -5., -4., -3., -2., -1.);
                _mm512_permutexvar_ps(x, table)
            }
        }
    }

    #[derive(Debug, Clone, Copy)]
    pub struct Avx2;

    macro_rules! each {
        ($op:ident($($x:expr),*)) => { [$op($($x.0[0]),*), $op($($x.0[1]),*)] };
    }

    /// Two registers as one vector of sixteen lanes.
    #[derive(Debug, Clone, Copy)]
    pub struct Pair<T>([T; 2]);

    #[rustfmt::skip]
    impl Simd for Avx2 {
        type F = Pair<__m256>;
        type I = Pair<__m256i>;
        const ROWS: usize = 6;
        const TILES: usize = 1;
        const WIDE: bool = true;

        #[inline(always)] unsafe fn splat(x: f32) -> Self::F { unsafe { Pair([_mm256_set1_ps(x); 2]) } }
        #[inline(always)] unsafe fn load(from: *const f32) -> Self::F { unsafe { Pair([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]) } }
        #[inline(always)] unsafe fn store(to: *mut f32, x: Self::F) { unsafe { _mm256_storeu_ps(to, x.0[0]); _mm256_storeu_ps(to.add(8), x.0[1]) } }
        #[inline(always)] unsafe fn load_f16(from: *const u8) -> Self::F { unsafe { Pair([_mm256_cvtph_ps(_mm_loadu_si128(from.cast())), _mm256_cvtph_ps(_mm_loadu_si128(from.add(16).cast()))]) } }
        #[inline(always)] unsafe fn add(a: Self::F, b: Self::F) -> Self::F { unsafe { Pair(each!(_mm256_add_ps(a, b))) } }
        #[inline(always)] unsafe fn sub(a: Self::F, b: Self::F) -> Self::F { unsafe { Pair(each!(_mm256_sub_ps(a, b))) } }
        #[inline(always)] unsafe fn mul(a: Self::F, b: Self::F) -> Self::F { unsafe { Pair(each!(_mm256_mul_ps(a, b))) } }
        #[inline(always)] unsafe fn div(a: Self::F, b: Self::F) -> Self::F { unsafe { Pair(each!(_mm256_div_ps(a, b))) } }
        #[inline(always)] unsafe fn max(a: Self::F, b: Self::F) -> Self::F { unsafe { Pair(each!(_mm256_max_ps(a, b))) } }
        #[inline(always)] unsafe fn min(a: Self::F, b: Self::F) -> Self::F { unsafe { Pair(each!(_mm256_min_ps(a, b))) } }
        #[inline(always)] unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F { unsafe { Pair(each!(_mm256_fmadd_ps(a, b, c))) } }
        #[inline(always)] fn prefetch(at: *const u8) { unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) } }
        #[inline(always)] unsafe fn splat_i(x: i32) -> Self::I { unsafe { Pair([_mm256_set1_epi32(x); 2]) } }
        #[inline(always)] unsafe fn load_u8(from: *const u8) -> Self::I { unsafe { Pair([_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())), _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast()))]) } }
        #[inline(always)] unsafe fn load_i8(from: *const u8) -> Self::I { unsafe { Pair([_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())), _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(8).cast()))]) } }
        #[inline(always)] unsafe fn load_u16(from: *const u8) -> Self::I { unsafe { Pair([_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())), _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16).cast()))]) } }
        #[inline(always)] unsafe fn load_u32(from: *const u8) -> Self::I { unsafe { Pair([_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())]) } }
        #[inline(always)] unsafe fn shr(x: Self::I, count: u32) -> Self::I { unsafe { let n = Self::splat_i(count as i32); Pair(each!(_mm256_srlv_epi32(x, n))) } }
        #[inline(always)] unsafe fn shl(x: Self::I, count: u32) -> Self::I { unsafe { let n = Self::splat_i(count as i32); Pair(each!(_mm256_sllv_epi32(x, n))) } }
        #[inline(always)] unsafe fn shl_each(x: Self::I, counts: Self::I) -> Self::I { unsafe { Pair(each!(_mm256_sllv_epi32(x, counts))) } }
        #[inline(always)] unsafe fn and(a: Self::I, b: Self::I) -> Self::I { unsafe { Pair(each!(_mm256_and_si256(a, b))) } }
        #[inline(always)] unsafe fn or(a: Self::I, b: Self::I) -> Self::I { unsafe { Pair(each!(_mm256_or_si256(a, b))) } }
        #[inline(always)] unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I { unsafe { Pair(each!(_mm256_add_epi32(a, b))) } }
        #[inline(always)] unsafe fn sub_i(a: Self::I, b: Self::I) -> Self::I { unsafe { Pair(each!(_mm256_sub_epi32(a, b))) } }
        #[inline(always)] unsafe fn dot_pairs(a: Self::I, b: Self::I, sum: Self::I) -> Self::I { unsafe { let products = Pair(each!(_mm256_madd_epi16(a, b))); Self::add_i(sum, products) } }
        #[inline(always)] unsafe fn to_f32(x: Self::I) -> Self::F { unsafe { Pair(each!(_mm256_cvtepi32_ps(x))) } }
        #[inline(always)] unsafe fn from_bits(x: Self::I) -> Self::F { unsafe { Pair(each!(_mm256_castsi256_ps(x))) } }
        #[inline(always)] unsafe fn round(x: Self::F) -> Self::I { unsafe { Pair(each!(_mm256_cvtps_epi32(x))) } }
        #[inline(always)] unsafe fn load_four(from: *const f32) -> Self::F { unsafe { let four = _mm_loadu_ps(from); Pair([_mm256_set_m128(four, four); 2]) } }
        // One shuffle instead of shift and mask.
        #[inline(always)] unsafe fn byte<const B: u32>(x: Self::I) -> Self::F {
            unsafe {
                if const { B == 0 } { return Self::to_f32(Self::and(x, Self::splat_i(255))); }
                if const { B == 3 } { return Self::to_f32(Self::shr(x, 24)); }
                let byte = _mm256_set1_epi32((0x8080_8000 + B) as i32);
                let places = _mm256_add_epi32(byte, _mm256_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12));
                Self::to_f32(Pair([_mm256_shuffle_epi8(x.0[0], places), _mm256_shuffle_epi8(x.0[1], places)]))
            }
        }
        #[inline(always)] unsafe fn pick(four: Self::F, places: Self::I) -> Self::F { unsafe { Pair(each!(_mm256_permutevar_ps(four, places))) } }
    }
}

/// Calls `$function::<S>($values)` with the level's instructions enabled around it.
///
/// `$function` is an `#[inline(always)] unsafe fn` with one `Simd` type parameter first.
///
/// # Safety
/// The level's instructions are there, and what `$function` asks for holds.
macro_rules! with_level {
    ($level:expr, $function:ident ( $($name:ident : $type:ty),* ), ( $($value:expr),* )) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        unsafe fn avx512($($name: $type),*) {
            unsafe { $function::<$crate::backend::cpu::simd::Avx512>($($name),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn avx2($($name: $type),*) {
            unsafe { $function::<$crate::backend::cpu::simd::Avx2>($($name),*) }
        }
        // Apart as well: all formats in one function take the compiler minutes.
        #[inline(never)]
        unsafe fn plain($($name: $type),*) {
            unsafe { $function::<$crate::backend::cpu::simd::Plain>($($name),*) }
        }
        match $level {
            #[cfg(target_arch = "x86_64")]
            $crate::backend::cpu::simd::Level::Avx512 => avx512($($value),*),
            #[cfg(target_arch = "x86_64")]
            $crate::backend::cpu::simd::Level::Avx2 => avx2($($value),*),
            _ => plain($($value),*),
        }
    }};
}
pub(crate) use with_level;

/// e^x to about 1 ulp for x in [-87, 88], clamped outside (no infinities, no NaN from finite input).
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 7; 2^n by its exponent bits.
///
/// # Safety
/// The level's instructions are there.
#[inline(always)]
pub unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller enabled the level's instructions; no pointer is used.
    unsafe {
        let x = S::min(S::max(x, S::splat(-87.0)), S::splat(88.0));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let whole = S::to_f32(n);
        // ln 2 in two parts, so that the subtraction loses nothing.
        let r = S::fma(whole, S::splat(-0.693_359_4), x);
        let r = S::fma(whole, S::splat(2.121_944_4e-4), r);
        let mut sum = S::splat(1.0 / 5040.0);
        for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            sum = S::fma(sum, r, S::splat(coefficient));
        }
        S::mul(sum, S::from_bits(S::shl(S::add_i(n, S::splat_i(127)), 23)))
    }
}
