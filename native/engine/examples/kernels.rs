//! How fast each weight format's products are: `cargo run --release --example kernels [LEVEL] [FORMAT ...]`.
//!
//! One matrix of SmolLM2's size as a whole (134 M weights in the shape of its head), two ways: one token, which is
//! bound by memory, and 128 tokens, which are bound by arithmetic. The best of several runs.

use std::time::{Duration, Instant};

use viva_tensor_engine::{
    backend::cpu::{
        gang::{cores, gang},
        matrix::{Matrix, PANEL_FLOATS, Rows, RowsMut},
        read_bandwidth,
        simd::Level,
    },
    error::Result,
    quant::Format,
};

const ROWS: usize = 4 * 49_152;

/// Addresses that the threads of a run share; each writes the outputs of its own tiles.
struct Planes(*const f32, *mut f32);
// SAFETY: tiles are shared out, so no output is written twice.
unsafe impl Sync for Planes {}

fn seconds(matrix: &Matrix, level: Level, count: usize, runs: usize) -> Result<f64> {
    let stride = matrix.tiles() * 16;
    let (x, mut y) = (vec![0.01_f32; matrix.cols() * count], vec![0.0_f32; stride * count]);
    let planes = Planes(x.as_ptr(), y.as_mut_ptr());
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let start = Instant::now();
        gang().run(cores(), &|| true, &|member| {
            let planes = &planes;
            let mut panel = vec![0.0; PANEL_FLOATS];
            member.share(matrix.tiles(), 64, |tiles| {
                let input = Rows { at: planes.0, stride: matrix.cols(), count };
                let output = RowsMut { at: planes.1, stride };
                // SAFETY: x holds `count` rows of `cols`, y as many of whole tiles; the level is available.
                unsafe { matrix.multiply(level, tiles, input, output, &mut panel) }
            })
        })?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn main() -> Result<()> {
    let wanted = std::env::args().nth(1);
    let formats: Vec<String> = std::env::args().skip(2).collect();
    let levels = Level::available();
    let level = levels.iter().copied().find(|level| Some(level.name()) == wanted.as_deref()).unwrap_or(levels[0]);
    let read = read_bandwidth(None, Duration::from_millis(500), &|| true)?;
    println!("{}, {} threads, {:.1} GB/s read", level.name(), cores(), read / 1e9);
    println!("{:8} {:>12} {:>8} {:>12}", "weights", "1: GB/s", "of read", "128: GFLOP/s");
    let asked = |format: &Format| formats.is_empty() || formats.iter().any(|name| name == format.name());
    for format in Format::ALL.into_iter().filter(asked) {
        let cols = if format.block_len() == 256 { 768 } else { 576 };
        let mut matrix = Matrix::new(format, ROWS, cols)?;
        let row: Vec<u8> = (0..matrix.row_bytes()).map(|i| (i * 37 % 60) as u8).collect();
        (0..ROWS).for_each(|i| matrix.set_row(i, &row));
        if format == Format::F8E4m3 {
            matrix.set_scales(128, |_, _| 1.0)?;
        }
        let bytes_per_second = matrix.bytes() as f64 / seconds(&matrix, level, 1, 15)?;
        let flops = 2.0 * (ROWS * cols * 128) as f64 / seconds(&matrix, level, 128, 2)?;
        let share = 100.0 * bytes_per_second / read;
        println!("{:8} {:12.1} {share:6.0} % {:12.1}", format.name(), bytes_per_second / 1e9, flops / 1e9);
    }
    Ok(())
}
