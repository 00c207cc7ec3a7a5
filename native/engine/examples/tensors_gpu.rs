//! How long tensors' operations take on a GPU: a table of GB/s and TFLOP/s, best of several.
//!
//! Run: cargo run --release --example tensors_gpu

use std::{sync::Arc, time::Instant};

use viva_tensor_engine::{
    error::Result,
    tensor::{
        Dtype,
        device::{self, Block, Gpu, Matrices, View},
        elementwise::{Binary, Unary},
        row::Row,
    },
};

/// Seconds of a call with everything that it queues, best of ten times four.
fn seconds(gpu: &Arc<Gpu>, mut work: impl FnMut() -> Result<Block>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        gpu.stream().wait()?;
        let start = Instant::now();
        let blocks: Vec<Block> = (0..4).map(|_| work()).collect::<Result<_>>()?;
        gpu.stream().wait()?;
        best = best.min(start.elapsed().as_secs_f64() / blocks.len() as f64);
    }
    Ok(best)
}

fn line(name: &str, dtype: Dtype, seconds: f64, amount: f64, unit: &str) {
    println!(
        "{name:28} {dtype:<10} {:10.1} us {:10.1} {unit}",
        seconds * 1e6,
        amount / seconds / 1e9,
        dtype = format!("{dtype:?}")
    );
}

fn main() -> Result<()> {
    let gpu = device::gpu(0)?;
    println!("{}", gpu.device().name);
    const COUNT: usize = 1 << 26;
    for dtype in Dtype::ALL {
        let bytes = COUNT * dtype.width();
        let data = vec![0_u8; bytes];
        let start = Instant::now();
        let a = gpu.upload(&data, &|| true)?;
        line("to the device", dtype, start.elapsed().as_secs_f64(), bytes as f64, "GB/s");
        let mut out = vec![0_u8; bytes];
        let start = Instant::now();
        a.whole().download(&mut out, &|| true)?;
        line("to the host", dtype, start.elapsed().as_secs_f64(), bytes as f64, "GB/s");
        let small = gpu.upload(&data[..1 << 12], &|| true)?;
        let took = seconds(&gpu, || device::unary(Unary::Negate, dtype, &small.whole()))?;
        line("negate, 4 KB", dtype, took, 8192.0, "GB/s");
        for op in [Unary::Scale(0.5), Unary::Exp, Unary::Gelu] {
            let took = seconds(&gpu, || device::unary(op, dtype, &a.whole()))?;
            line(&format!("{op:?}"), dtype, took, 2.0 * bytes as f64, "GB/s");
        }
        let view = View { part: a.whole(), shape: &[COUNT], strides: &[1] };
        let took = seconds(&gpu, || device::binary(Binary::Add, dtype, &view, &view))?;
        line("add", dtype, took, 2.0 * bytes as f64, "GB/s");
        let turned = View { part: a.whole(), shape: &[8192, 8192], strides: &[1, 8192] };
        let took = seconds(&gpu, || device::contiguous(dtype.width(), &turned))?;
        line("transpose 8192 x 8192", dtype, took, 2.0 * bytes as f64, "GB/s");
        for length in [COUNT, 8192, 16] {
            let took = seconds(&gpu, || device::rows(Row::Sum, (dtype, dtype), &a.whole(), length))?;
            line(&format!("sum of rows of {length}"), dtype, took, bytes as f64, "GB/s");
        }
        for length in [8192, 128] {
            let took = seconds(&gpu, || device::rows(Row::Softmax, (dtype, dtype), &a.whole(), length))?;
            line(&format!("softmax of rows of {length}"), dtype, took, 2.0 * bytes as f64, "GB/s");
        }
        for edge in [256, 1024, 4096] {
            let part = a.part(0, edge * edge * dtype.width())?;
            let matrices = Matrices { part, batch: 0, row: edge, column: 1 };
            let took = seconds(&gpu, || device::multiply(dtype, 1, (edge, edge, edge), &matrices, &matrices))?;
            line(&format!("product {edge}"), dtype, took, 2.0 * (edge as f64).powi(3), "GFLOP/s");
        }
    }
    Ok(())
}
