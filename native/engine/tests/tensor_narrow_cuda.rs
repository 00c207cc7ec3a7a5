//! Float64 rounded to 16 bits on a GPU, beside the host: every tie, and what lies next to one.
//!
//! Without a GPU it says so.

use viva_tensor_engine::tensor::{Dtype, device, elementwise};

fn lives() -> bool {
    true
}

fn cast(from: Dtype, to: Dtype, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; bytes.len() / from.width() * to.width()];
    elementwise::cast(from, to, bytes, &mut out, &lives).unwrap();
    out
}

/// Between each two neighbours of 16 bits their middle, and the float64 before and behind it.
#[test]
fn narrowing_is_the_hosts() {
    let gpu = match device::gpu(0) {
        Ok(gpu) => gpu,
        Err(reason) => return eprintln!("narrowing: skipped, no GPU: {reason}"),
    };
    for dtype in [Dtype::Float16, Dtype::BFloat16] {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let wide = cast(dtype, Dtype::Float64, &all);
        let wide: Vec<f64> = wide.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        let ties = wide.windows(2).flat_map(|pair| {
            let bits = ((pair[0] + pair[1]) / 2.0).to_bits();
            [bits.wrapping_sub(1), bits, bits.wrapping_add(1)].map(u64::to_le_bytes)
        });
        let ties: Vec<u8> = ties.flatten().collect();
        let found = device::cast(Dtype::Float64, dtype, &gpu.upload(&ties, &lives).unwrap().whole()).unwrap();
        let mut out = vec![0; found.bytes()];
        found.whole().download(&mut out, &lives).unwrap();
        assert!(out == cast(Dtype::Float64, dtype, &ties), "{dtype:?}");
    }
}
