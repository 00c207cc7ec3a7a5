//! Weights as the CPU reads them: tiles of sixteen rows, one row a lane.
//!
//! A stored block is a list of fields, each some units of 1, 2 or 4 bytes. A tile keeps the same bytes, but
//! unit by unit for sixteen rows: a vector load then fetches one unit of sixteen rows, and no sum is ever
//! taken across lanes. Only the fifth bits of Q5_0 and Q5_1 lie in another order in their word. Bits per weight stay
//! as stored (rows are padded to a multiple of sixteen).
//!
//! `Unpack` says, for a format, how a tile becomes sixteen f32 weights for each k in order. Products and
//! panels are two sinks of that one description, so a format is decoded in one place. The weights are the
//! exactly dequantized ones, rounded to f32 as the reference in quant/ rounds them.

use super::simd::Simd;
use crate::quant::Format;

/// Rows of a tile.
pub const LANES: usize = 16;

/// How far ahead of its use a tile is fetched (bench/NOTES.md); blocks of 256 weights ask for the next one as they go.
pub const PREFETCH_BYTES: usize = 2048;

/// The units of a block, in stored order: (bytes of a unit, number of units).
pub const fn fields(format: Format) -> &'static [(usize, usize)] {
    match format {
        Format::F32 => &[(4, 1)],
        Format::F16 | Format::Bf16 => &[(2, 1)],
        Format::F8E4m3 | Format::Int8 => &[(1, 1)],
        Format::Int4 => &[(4, 1)],
        Format::Int8Sparse24 => &[(1, 5)],
        Format::Int4Sparse24 => &[(1, 3)],
        Format::Q8_0 => &[(2, 1), (1, 32)],
        Format::Q4_0 => &[(2, 1), (4, 4)],
        Format::Q4_1 => &[(2, 2), (4, 4)],
        Format::Q5_0 => &[(2, 1), (4, 1), (4, 4)],
        Format::Q5_1 => &[(2, 2), (4, 1), (4, 4)],
        Format::Q2K => &[(1, 16), (4, 16), (2, 2)],
        Format::Q3K => &[(4, 8), (4, 16), (1, 12), (2, 1)],
        Format::Q4K => &[(2, 2), (1, 12), (4, 32)],
        Format::Q5K => &[(2, 2), (1, 12), (4, 8), (4, 32)],
        Format::Q6K => &[(4, 32), (4, 16), (1, 16), (2, 1)],
    }
}

/// Where a block has a word with the fifth bits of its 32 weights, bit k for weight k.
const fn fifths_at(format: Format) -> Option<usize> {
    match format {
        Format::Q5_0 => Some(2),
        Format::Q5_1 => Some(4),
        _ => None,
    }
}

/// Brings the fifth bits of four weights in turn to where their nibbles are: bits 4, 12, 20 and 28 are those of weights 0 .. 3,
/// bits 5, 13, 21 and 29 those of 4 .. 7; from 16 on the lower four bits of each byte.
fn spread_fifths(word: u32) -> u32 {
    let spread = |half: u32| {
        let half = transpose(half);
        let half = (half | half << 8) & 0x00ff_00ff;
        (half | half << 4) & 0x0f0f_0f0f
    };
    spread(word & 0xffff) << 4 | spread(word >> 16)
}

/// Undoes `spread_fifths`.
fn gather_fifths(word: u32) -> u32 {
    let gather = |nibbles: u32| {
        let half = (nibbles | nibbles >> 4) & 0x00ff_00ff;
        transpose((half | half >> 8) & 0xffff)
    };
    gather(word >> 4 & 0x0f0f_0f0f) | gather(word & 0x0f0f_0f0f) << 16
}

/// Sixteen bits as rows of four: rows become columns.
fn transpose(bits: u32) -> u32 {
    let pairs = (bits ^ bits >> 3) & 0x0a0a;
    let bits = bits ^ pairs ^ pairs << 3;
    let pairs = (bits ^ bits >> 6) & 0x00cc;
    bits ^ pairs ^ pairs << 6
}

/// Changes the word at `at`.
fn change(block: &mut [u8], at: usize, by: impl Fn(u32) -> u32) {
    if let Some((word, _)) = block[at..].split_first_chunk_mut::<4>() {
        *word = by(u32::from_le_bytes(*word)).to_le_bytes();
    }
}

/// Writes one stored row into its lane of a tile.
///
/// `row` and `tile` hold whole blocks; `tile` has sixteen times the bytes of `row`.
pub fn scatter_row(format: Format, row: &[u8], lane: usize, tile: &mut [u8]) {
    let block = format.block_bytes();
    let mut spread = vec![0; block];
    for (from, to) in row.chunks_exact(block).zip(tile.chunks_exact_mut(block * LANES)) {
        let mut from = from;
        if let Some(at) = fifths_at(format) {
            spread.copy_from_slice(from);
            change(&mut spread, at, spread_fifths);
            from = &spread;
        }
        let mut start = 0;
        for &(unit, count) in fields(format) {
            let (from, to) = (&from[start..start + unit * count], &mut to[start * LANES..]);
            match unit {
                1 => scatter::<1>(from, to, lane),
                2 => scatter::<2>(from, to, lane),
                _ => scatter::<4>(from, to, lane),
            }
            start += unit * count;
        }
    }
}

fn scatter<const UNIT: usize>(from: &[u8], to: &mut [u8], lane: usize) {
    let (from, _) = from.as_chunks::<UNIT>();
    let (to, _) = to.as_chunks_mut::<UNIT>();
    for (unit, slot) in from.iter().zip(to.iter_mut().skip(lane).step_by(LANES)) {
        *slot = *unit;
    }
}

/// Reads the stored row of a lane: what `scatter_row` wrote.
pub fn gather_row(format: Format, tile: &[u8], lane: usize, row: &mut [u8]) {
    let block = format.block_bytes();
    for (to, from) in row.chunks_exact_mut(block).zip(tile.chunks_exact(block * LANES)) {
        let mut start = 0;
        for &(unit, count) in fields(format) {
            for (i, to) in to[start..start + unit * count].chunks_exact_mut(unit).enumerate() {
                let at = start * LANES + (i * LANES + lane) * unit;
                to.copy_from_slice(&from[at..at + unit]);
            }
            start += unit * count;
        }
        if let Some(at) = fifths_at(format) {
            change(to, at, gather_fifths);
        }
    }
}

/// `$body` for each k in 0 .. 32. Where sixteen lanes are a register or two, k is a literal in it: its shifts and offsets
/// become immediates. The plain path would take the compiler minutes that way.
macro_rules! for_32 {
    ($S:ident, $k:ident => $body:expr) => {
        if const { $S::WIDE } {
            for_32!(@ $k $body; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
        } else {
            for $k in 0..32_usize { $body }
        }
    };
    (@ $k:ident $body:expr; $($n:literal)*) => {{
        $( { let $k = $n; $body } )*
    }};
}

/// `[$value; N]` with `$value` said for each tile `$i`.
///
/// No closure, here and in the bodies: a function of its own need not be compiled beside the level's instructions.
macro_rules! each {
    ($i:ident => $value:expr) => {{
        let mut values = {
            let $i = 0;
            [$value; N]
        };
        for $i in 1..N {
            values[$i] = $value;
        }
        values
    }};
}
pub(super) use each;

/// Takes sixteen weights at a time, for k = 0, 1, 2, … of a block.
pub trait Sink<S: Simd> {
    /// The block whose first weight is at column `k` comes next.
    fn begin(&mut self, k: usize);

    /// # Safety
    /// As `Simd`; `k` is within the block that the sink was made for.
    unsafe fn put(&mut self, k: usize, weights: S::F);

    /// Whether it takes what is kept of a four by `put_kept`; else all four come by `put`.
    const PICKS: bool = false;

    /// One kept weight of the four k, k + 1, k + 2, k + 3 in each lane; its place in the four is in the low two bits.
    ///
    /// # Safety
    /// As `put`, for the whole four.
    #[inline(always)]
    unsafe fn put_kept(&mut self, _k: usize, _places: S::I, _weights: S::F) {}
}

/// How a format's tile becomes weights.
pub trait Unpack {
    const FORMAT: Format;
    /// Whether this is for scales that are so large that another `Unpack` of the format can't have them.
    const FAR: bool = false;

    /// The block that each of `tiles` points to, into the sink of the same place. Where blocks are short the tiles take
    /// turns weight by weight, so that the sinks' chains of sums run side by side.
    ///
    /// # Safety
    /// As `Simd`; each of `tiles` points to one block of sixteen rows.
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(
        tiles: &[*const u8; N],
        scales: &[S::F; N],
        sinks: &mut [K; N],
    );
}

macro_rules! formats {
    ($($name:ident = $format:ident),* $(,)?) => {
        $(
            #[derive(Debug, Clone, Copy)]
            pub struct $name;
        )*
        /// Evaluates `$body` with `$U` as the `Unpack` of a `Format`.
        macro_rules! with_format {
            ($value:expr, $U:ident => $body:expr) => {
                match $value {
                    $($crate::quant::Format::$format => { type $U = $crate::backend::cpu::tile::$name; $body })*
                }
            };
        }
        pub(crate) use with_format;
    };
}

formats! {
    F32 = F32, F16 = F16, Bf16 = Bf16, F8E4m3 = F8E4m3, Q8 = Q8_0, Q40 = Q4_0, Q41 = Q4_1, Q50 = Q5_0, Q51 = Q5_1,
    Q2K = Q2K, Q3K = Q3K, Q4K = Q4K, Q5K = Q5K, Q6K = Q6K,
    Int8 = Int8, Int4 = Int4, Int8Sparse24 = Int8Sparse24, Int4Sparse24 = Int4Sparse24,
}

/// The block of each tile where a block is one weight of sixteen rows: `$weights` says it for tile `$i`.
macro_rules! single {
    ($sinks:ident, $i:ident => $weights:expr) => {
        for $i in 0..N {
            $sinks[$i].put(0, $weights);
        }
    };
}
pub(super) use single;

// SAFETY of the bodies: offsets stay within LANES * block_bytes, the tile that the caller vouches for.

impl Unpack for F32 {
    const FORMAT: Format = Format::F32;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        unsafe { single!(sinks, i => S::load(tiles[i].cast())) }
    }
}

impl Unpack for F16 {
    const FORMAT: Format = Format::F16;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        unsafe { single!(sinks, i => S::load_f16(tiles[i])) }
    }
}

impl Unpack for Bf16 {
    const FORMAT: Format = Format::Bf16;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        unsafe { single!(sinks, i => S::from_bits(S::shl(S::load_u16(tiles[i]), 16))) }
    }
}

/// Sign, exponent and mantissa of E4M3, moved to where f32 has them: the number times 2^-120, for the exponents' biases
/// are 7 and 127; subnormals included. NaN does not occur: it is refused while loading.
#[inline(always)]
unsafe fn e4m3<S: Simd>(tile: *const u8) -> S::F {
    // Copies of the sign lie above it: one of them is where it should be.
    unsafe { S::from_bits(S::and(S::shl(S::load_i8(tile), 20), S::splat_i(0x87f0_0000_u32 as i32))) }
}

/// 2^120
pub const UNBIAS: f32 = f32::from_bits((127 + 120) << 23);
/// Scales below this may be multiplied by `UNBIAS` first: one multiplication for each weight instead of two.
pub const FAR_SCALE: f32 = 128.0;

impl Unpack for F8E4m3 {
    const FORMAT: Format = Format::F8E4m3;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(
        tiles: &[*const u8; N],
        scales: &[S::F; N],
        sinks: &mut [K; N],
    ) {
        unsafe { single!(sinks, i => S::mul(e4m3::<S>(tiles[i]), S::mul(scales[i], S::splat(UNBIAS)))) }
    }
}

/// F8_E4M3 with scales of `FAR_SCALE` and more.
#[derive(Debug, Clone, Copy)]
pub struct FarF8E4m3;

impl Unpack for FarF8E4m3 {
    const FORMAT: Format = Format::F8E4m3;
    const FAR: bool = true;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(
        tiles: &[*const u8; N],
        scales: &[S::F; N],
        sinks: &mut [K; N],
    ) {
        unsafe { single!(sinks, i => S::mul(S::mul(e4m3::<S>(tiles[i]), S::splat(UNBIAS)), scales[i])) }
    }
}

impl Unpack for Q8 {
    const FORMAT: Format = Format::Q8_0;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        unsafe {
            let d = each!(i => S::load_f16(tiles[i]));
            for i in 0..N {
                for_32!(S, k => {
                    let q = S::to_f32(S::load_i8(tiles[i].add(32 + LANES * k)));
                    sinks[i].put(k, S::mul(d[i], q));
                });
            }
        }
    }
}

/// Four weights `q * d + m` of each tile, for k, k + 1, k + 2 and k + 3: `$take` of `$words` are the q's. Tiles take turns,
/// so that the sinks' chains of sums run side by side.
///
/// Callers see to it that `q * d` is exact, so the sum is rounded once, as in the reference. The fence ends a tile's turn: the
/// compiler would begin the next tile's loads and masks before it, and keep them on the stack for want of registers.
macro_rules! put_four {
    ($S:ident :: $take:ident, $words:expr, $d:expr, $m:expr, $k:expr, $sinks:expr) => {
        for i in 0..N {
            $sinks[i].put($k, $S::fma($S::$take::<0>($words[i]), $d[i], $m[i]));
            $sinks[i].put($k + 1, $S::fma($S::$take::<1>($words[i]), $d[i], $m[i]));
            $sinks[i].put($k + 2, $S::fma($S::$take::<2>($words[i]), $d[i], $m[i]));
            $sinks[i].put($k + 3, $S::fma($S::$take::<3>($words[i]), $d[i], $m[i]));
            std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        }
    };
}
pub(super) use put_four;

/// Puts 32 weights `q * d + m` from four words of nibbles: the low nibbles of the bytes are k = 0 … 15, the
/// high ones k = 16 … 31.
#[inline(always)]
unsafe fn nibbles<S: Simd, K: Sink<S>, const N: usize>(
    words: [*const u8; N],
    d: [S::F; N],
    m: [S::F; N],
    sinks: &mut [K; N],
) {
    unsafe {
        for w in 0..4 {
            let q = each!(i => S::nibbles::<0>(S::load_u32(words[i].add(w * 64))));
            put_four!(S::nibble, q, d, m, w * 4, sinks);
        }
        for w in 0..4 {
            let q = each!(i => S::nibbles::<1>(S::load_u32(words[i].add(w * 64))));
            put_four!(S::nibble, q, d, m, 16 + w * 4, sinks);
        }
    }
}

impl Unpack for Q40 {
    const FORMAT: Format = Format::Q4_0;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        unsafe {
            let d = each!(i => S::load_f16(tiles[i]));
            // d (q - 8) = q d - 8 d, exactly.
            let m = each!(i => S::mul(d[i], S::splat(-8.0)));
            nibbles::<S, K, N>(each!(i => tiles[i].add(32)), d, m, sinks);
        }
    }
}

impl Unpack for Q41 {
    const FORMAT: Format = Format::Q4_1;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        unsafe {
            let (d, m) = (each!(i => S::load_f16(tiles[i])), each!(i => S::load_f16(tiles[i].add(32))));
            nibbles::<S, K, N>(each!(i => tiles[i].add(64)), d, m, sinks);
        }
    }
}

/// As `nibbles`, with a fifth bit for each weight, where `spread_fifths` left it.
#[inline(always)]
unsafe fn fives<S: Simd, K: Sink<S>, const N: usize>(
    tiles: [*const u8; N],
    d: [S::F; N],
    m: [S::F; N],
    sinks: &mut [K; N],
) {
    unsafe {
        for half in 0..2 {
            let mut fifths = each!(i => S::shl(S::load_u32(tiles[i]), half * 4));
            for w in 0..4 {
                let q = each!(i => {
                    let word = S::shr(S::load_u32(tiles[i].add(64 + w * 64)), half * 4);
                    S::or(S::and(word, S::splat_i(0x0f0f_0f0f)), S::and(fifths[i], S::splat_i(0x1010_1010)))
                });
                put_four!(S::byte, q, d, m, half as usize * 16 + w * 4, sinks);
                fifths = each!(i => S::shr(fifths[i], 1));
            }
        }
    }
}

impl Unpack for Q50 {
    const FORMAT: Format = Format::Q5_0;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        unsafe {
            let d = each!(i => S::load_f16(tiles[i]));
            let m = each!(i => S::mul(d[i], S::splat(-16.0)));
            fives::<S, K, N>(each!(i => tiles[i].add(32)), d, m, sinks);
        }
    }
}

impl Unpack for Q51 {
    const FORMAT: Format = Format::Q5_1;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        unsafe {
            let (d, m) = (each!(i => S::load_f16(tiles[i])), each!(i => S::load_f16(tiles[i].add(32))));
            fives::<S, K, N>(each!(i => tiles[i].add(64)), d, m, sinks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_stored() {
        for format in Format::ALL.into_iter().chain(Format::PACKED) {
            let bytes = format.block_bytes() * 5;
            let row = |lane: usize| (0..bytes).map(|i| (i * 37 + lane * 101 + i * i % 23) as u8).collect::<Vec<_>>();
            let mut tile = vec![0; bytes * LANES];
            (0..LANES).for_each(|lane| scatter_row(format, &row(lane), lane, &mut tile));
            for lane in 0..LANES {
                let mut found = vec![0; bytes];
                gather_row(format, &tile, lane, &mut found);
                assert_eq!(found, row(lane), "{format}, row {lane}");
            }
        }
    }

    #[test]
    fn fifth_bits_lie_beside_their_nibbles() {
        for k in 0..32 {
            let (half, w, byte) = (k / 16, k / 4 % 4, k % 4);
            let place = 8 * byte + w + if half == 0 { 4 } else { 0 };
            assert_eq!(spread_fifths(1 << k), 1 << place, "{k}");
            assert_eq!(gather_fifths(1 << place), 1 << k, "{k}");
        }
    }
}
