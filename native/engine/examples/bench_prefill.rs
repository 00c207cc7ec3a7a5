//! How fast the products of a prompt are on the first GPU: every shape of some models, each kernel and tile.
//!
//! `bench_prefill [model:format …]`; prints one JSON object a line. Weights that are not F16 are turned to f16 within
//! the time. `bench_gpu` has the speed of whole prompts.

use std::collections::BTreeSet;

use viva_tensor_engine::{
    backend::cuda::{
        self,
        driver::Device,
        lab_prefill::{After, PromptLab, Tiles},
        program::{Dimensions, KvFormat},
        weights::Matrix,
    },
    error::Result,
    model::spec::Activation,
    quant::Format,
};

/// D, F, H, KV, HD
const SHAPES: [(&str, [usize; 5]); 3] = [
    ("tinyllama", [2048, 5632, 32, 4, 64]),
    ("llama-1b", [2048, 8192, 32, 8, 64]),
    ("llama-8b", [4096, 14336, 32, 8, 128]),
];

/// Stored rows of small finite weights.
fn stored(format: Format, weights: usize) -> Result<Vec<u8>> {
    let bytes = format.bytes_of(weights).unwrap_or(0);
    // Bytes that differ; exponents of 16-bit floats are kept small, scales are 2^-10.
    let mut out: Vec<u8> = (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for block in out.chunks_exact_mut(format.block_bytes()) {
        match format {
            Format::F16 => block[1] = block[1] & 0x83 | 0x24,
            Format::Bf16 => block[1] = block[1] & 0x80 | 0x3c,
            Format::F8E4m3 => block[0] = block[0] & 0x87 | 0x10,
            Format::Q6K => block[208..210].copy_from_slice(&[0, 0x14]),
            Format::Q4_1 | Format::Q4K => block[..4].copy_from_slice(&[0, 0x14, 0, 0x14]),
            _ => block[..2].copy_from_slice(&[0, 0x14]),
        }
    }
    Ok(out)
}

fn measure(device: &std::sync::Arc<Device>, name: &str, shape: [usize; 5], format: Format) -> Result<()> {
    let [width, ffn, heads, kv_heads, head_dim] = shape;
    let dimensions = Dimensions { width, heads, kv_heads, head_dim, kv_format: KvFormat::Bf16, span: 64, splits: 1 };
    let (query, kv) = (heads * head_dim, kv_heads * head_dim);
    let products: [(&str, &[usize], usize, After); 4] = [
        ("qkv", &[query, kv, kv], width, After::Store),
        ("output", &[width], query, After::Add(0.0)),
        ("gate_up", &[ffn, ffn], width, After::Gated(Activation::Silu)),
        ("down", &[width], ffn, After::Add(0.0)),
    ];
    for is_wide in [false, true].into_iter().filter(|is_wide| !is_wide || device.capability.0 == 9) {
        let lab = PromptLab::new(device, &dimensions, &BTreeSet::from([format]), is_wide)?;
        for (product, heights, cols, after) in products {
            let matrices =
                heights.iter().map(|rows| lab.matrix(format, *rows, cols, &stored(format, rows * cols)?, &[]));
            let matrices = matrices.collect::<Result<Vec<_>>>()?;
            let matrices: Vec<&Matrix> = matrices.iter().collect();
            for by in [Tiles::Rows128, Tiles::Rows64] {
                for count in [16, 128, 512] {
                    let seconds = lab.seconds(&matrices, count, after, by)?;
                    let operations = 2.0 * (count * cols * heights.iter().sum::<usize>()) as f64;
                    println!(
                        r#"{{"kind":"measured","gpu":"{}","model":"{name}","weights":"{format}","product":"{product}","tokens":{count},"kernel":"{}","tiles":"{by:?}","microseconds":{:.1},"teraflops":{:.0}}}"#,
                        device.name,
                        if is_wide { "wgmma" } else { "mma" },
                        seconds * 1e6,
                        operations / seconds / 1e12
                    );
                }
            }
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let device = cuda::open(0)?;
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.is_empty() {
        wanted = ["tinyllama:F16", "llama-8b:F8_E4M3"].map(String::from).to_vec();
    }
    for name in wanted {
        let (model, format) = name.split_once(':').unwrap_or((&name, "F16"));
        let shape = SHAPES.iter().find(|known| known.0 == model);
        let format = Format::ALL.into_iter().find(|known| known.name() == format && *known != Format::F32);
        match (shape, format) {
            (Some((name, shape)), Some(format)) => measure(&device, name, *shape, format)?,
            _ => eprintln!("{name}: unknown"),
        }
    }
    Ok(())
}
