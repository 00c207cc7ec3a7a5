//! How fast each format's product is on this machine, without a model around it: `cargo run --release --example kernels`.
//!
//! A matrix of the size of SmolLM2-135M's head times one row and times 128, on two threads, at the best level of
//! instructions; the best of several laps. The surprise: what is multiplied is nonsense, for only its size counts.

use std::{error::Error, thread, time::Instant};

use viva_tensor_engine::{
    backend::cpu::{
        matrix::{Matrix, PANEL_FLOATS, Rows, RowsMut},
        simd::Level,
    },
    quant::Format,
};

const THREADS: usize = 2;
const ROWS: usize = 49152;

fn main() -> Result<(), Box<dyn Error>> {
    let level = Level::available().into_iter().next().ok_or("no level of instructions")?;
    for format in Format::ALL {
        let cols = if format.block_len() == 256 { 512 } else { 576 };
        let mut matrix = Matrix::new(format, ROWS, cols)?;
        let row: Vec<u8> = (0..matrix.row_bytes()).map(|i| (i * 37 % 60) as u8).collect();
        for r in 0..ROWS {
            matrix.set_row(r, &row);
        }
        if format == Format::F8E4m3 {
            matrix.set_scales(cols, |_, _| 1.0)?;
        }
        for (tokens, laps) in [(1, 40), (128, 2)] {
            let seconds = (0..laps).map(|_| lap(&matrix, level, cols, tokens)).fold(f64::INFINITY, f64::min);
            let bytes = matrix.bytes() as f64 / seconds / 1e9;
            let operations = 2.0 * (ROWS * cols * tokens) as f64 / seconds / 1e9;
            println!(
                "{:8} {:8} T={tokens:3} {:7.2} ms {bytes:6.1} GB/s {operations:7.1} GFLOP/s",
                level.name(),
                format.name(),
                seconds * 1e3,
            );
        }
    }
    Ok(())
}

/// Seconds of one product with `tokens` rows.
fn lap(matrix: &Matrix, level: Level, cols: usize, tokens: usize) -> f64 {
    let x = vec![0.01_f32; cols * tokens];
    let mut y = vec![0.0_f32; ROWS * tokens];
    let (from, to) = (x.as_ptr() as usize, y.as_mut_ptr() as usize);
    let tiles = matrix.tiles();
    let start = Instant::now();
    thread::scope(|scope| {
        for t in 0..THREADS {
            scope.spawn(move || {
                let mut panel = vec![0.0; PANEL_FLOATS];
                let (x, y) = (
                    Rows { at: from as *const f32, stride: cols, count: tokens },
                    RowsMut { at: to as *mut f32, stride: ROWS },
                );
                // SAFETY: the level is available, x and y have these rows, and each thread has its own tiles.
                unsafe { matrix.multiply(level, tiles * t / THREADS..tiles * (t + 1) / THREADS, x, y, &mut panel) }
            });
        }
    });
    start.elapsed().as_secs_f64()
}
