//! The CPU backend.

pub mod attention;
mod codes;
#[cfg(target_arch = "x86_64")]
mod codes_avx2;
#[cfg(target_arch = "x86_64")]
mod dot_avx2;
pub mod forward;
pub mod gang;
pub mod kv_cache;
pub mod linear;
pub mod matrix;
mod plane;
pub mod pointwise;
pub mod simd;
pub mod tile;
mod tile_k;
mod tile_packed;
pub mod weights;

use std::{
    cell::Cell,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{
    buffer::Buffer,
    error::{Error, Result},
};

/// Bytes read in one go: several times any cache.
const BANDWIDTH_BYTES: usize = 256 << 20;

/// Errors: `InvalidOption` for a number of threads that the gang can't have. None is as many as there are cores.
pub fn check_threads(threads: Option<usize>) -> Result<()> {
    match threads {
        Some(threads) if !(1..=gang::MAX_THREADS).contains(&threads) => Err(Error::InvalidOption {
            option: "threads".into(),
            expected: format!("1 to {}", gang::MAX_THREADS),
            found: threads.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Bytes a second of a plain read of memory, all threads of the gang together: the ceiling of decoding.
///
/// Errors: those of `check_threads`, `OutOfMemory`, and `Cancelled` once `alive` is false.
pub fn read_bandwidth(threads: Option<usize>, budget: Duration, alive: &dyn Fn() -> bool) -> Result<f64> {
    check_threads(threads)?;
    let buffer = Buffer::new(BANDWIDTH_BYTES)?;
    let words: &[u64] = bytemuck::cast_slice(buffer.bytes());
    let sink = Mutex::new(0_u64);
    let best = Cell::new(f64::INFINITY);
    let start = Instant::now();
    while best.get().is_infinite() || start.elapsed() < budget {
        let lap = Instant::now();
        gang::gang().run(threads.unwrap_or_else(gang::cores), alive, &|member| {
            let mut sum = 0_u64;
            let result = member.share(words.len(), 1 << 17, |range| {
                sum = words[range].iter().fold(sum, |sum, word| sum.wrapping_add(*word));
            });
            if let Ok(mut sink) = sink.lock() {
                *sink = sink.wrapping_add(sum);
            }
            result
        })?;
        best.set(best.get().min(lap.elapsed().as_secs_f64()));
    }
    std::hint::black_box(sink);
    Ok(BANDWIDTH_BYTES as f64 / best.get())
}
