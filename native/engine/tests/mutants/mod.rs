//! Mutants: damaged copies of good files, the same ones at every run, and the watch that is kept over whoever reads them.
//!
//! `mutate` makes one from a seed; `watch` runs a reader on it and fails when it panics, takes long, or takes memory
//! out of proportion. A failure names the seed.
//!
//! The one surprise: this module brings a global allocator along, which counts each thread's bytes.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

thread_local! {
    /// Bytes that this thread holds, and the most it held since the last `watch` began.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: isize) {
    // A thread that is being torn down has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is handed on to the system's allocator unchanged; the counters are plain cells that neither
// allocate nor run anything when they are dropped.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new block exist at once while the bytes are moved.
        count(size as isize);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(place, layout, size) };
        count(-(layout.size() as isize));
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs a reader of input number `seed`. It must come back within a second, without a panic, and may never hold more
/// than `limit_bytes`.
pub fn watch<T>(seed: u64, limit_bytes: usize, reader: impl FnOnce() -> T) -> T {
    let (held, start) = (HELD.get(), Instant::now());
    PEAK.set(held);
    let outcome = catch_unwind(AssertUnwindSafe(reader));
    let (peak, took) = ((PEAK.get() - held) as usize, start.elapsed());
    assert!(took < Duration::from_secs(1), "mutant {seed} took {took:?}");
    assert!(peak <= limit_bytes, "mutant {seed} took {peak} bytes of memory, over {limit_bytes}");
    outcome.unwrap_or_else(|_| panic!("mutant {seed} made its reader panic"))
}

/// SplitMix64: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// What a mutation makes of a number that it finds.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    7,
    255,
    256,
    65_535,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// What a mutation puts into text.
const TEXTS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "-1",
    "1e400",
    "0.5",
    "NaN",
    "\\ud800",
    "\"\":",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "4294967296",
    "\0",
    "\u{feff}",
    "[[[[[[[[",
    "\"a\":{},",
];

/// A damaged copy of `good`: one to three changes, most of them in its first `front` bytes.
pub fn mutate(good: &[u8], front: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = good.to_vec();
    for _ in 0..1 + random.below(3) {
        change(&mut bytes, front, &mut random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, front: usize, random: &mut Random) {
    if bytes.is_empty() {
        bytes.extend(random.next().to_le_bytes());
        return;
    }
    let reach = if random.below(8) == 0 { bytes.len() } else { front.clamp(1, bytes.len()) };
    let place = random.below(reach);
    let span = place..bytes.len().min(place + 1 + random.below(64));
    match random.below(10) {
        0 | 1 => bytes[place] ^= 1 << random.below(8),
        2 => bytes[place] = random.next() as u8,
        3 | 4 => {
            // A number of 1, 2, 4 or 8 bytes; now and then one that is near the file's own size.
            let near = (bytes.len() as u64).wrapping_add(random.below(65) as u64).wrapping_sub(32);
            let number = if random.below(4) == 0 { near } else { random.pick(&NUMBERS) };
            let width = random.pick(&[1, 2, 4, 8]).min(bytes.len() - place);
            bytes[place..place + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        5 => bytes.truncate(place),
        6 => {
            let text = random.pick(&TEXTS).as_bytes();
            bytes.splice(place..place, text.iter().copied());
        }
        7 => replace_number(bytes, place, random),
        8 => {
            let copy = bytes[span.clone()].to_vec();
            bytes.splice(span.end..span.end, copy);
        }
        _ => drop(bytes.drain(span)),
    }
}

/// The next decimal number in a text becomes another; where there is none, bytes are inserted.
fn replace_number(bytes: &mut Vec<u8>, place: usize, random: &mut Random) {
    let number = random.pick(&NUMBERS).to_string();
    let digit = |byte: &u8| byte.is_ascii_digit();
    let start = bytes[place..].iter().take(200).position(digit).map_or(place, |at| place + at);
    let length = bytes[start..].iter().position(|byte| !digit(byte)).unwrap_or(0);
    bytes.splice(start..start + length, number.bytes());
}
