//! Weights packed while they are loaded: each against the one that is stored. What is computed with F8_E4M3 and scales a
//! row is tests/golden.rs's, with variants/fp8_rows.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use viva_tensor_engine::{
    backend::{
        cpu::{matrix::Matrix, simd::Level, weights::Loading},
        weights::Weights,
    },
    checkpoint::Checkpoint,
    model,
    quant::{Format, WeightFormat},
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures")
}

fn load(name: &str, format: WeightFormat) -> Weights<Matrix> {
    let checkpoint = Checkpoint::open(&fixtures().join(name)).unwrap();
    let spec = model::spec(&checkpoint).unwrap();
    let mut loading = Loading::with(&spec, &checkpoint, format).unwrap();
    while !loading.step(&checkpoint).unwrap() {}
    loading.finish(&spec, &checkpoint).unwrap()
}

const MODELS: [&str; 5] = [
    "tiny/llama",
    "tiny/llama2-sharded-f16",
    "tiny/phi3",
    "variants/llama_rope3_bf16",
    "variants/llama_attention_bias_f16",
];

/// The file or folder of a fixture.
fn path(name: &str) -> String {
    match fixtures().join(name).join("model.gguf").is_file() {
        true => format!("{name}/model.gguf"),
        false => name.to_owned(),
    }
}

#[test]
fn each_weight_is_within_the_bound_of_its_row() {
    let level = Level::available()[0];
    for name in MODELS {
        let (kept, packed) = (load(&path(name), WeightFormat::Keep), load(&path(name), WeightFormat::Fp8));
        assert_eq!(kept.matrices().len(), packed.matrices().len());
        for (kept, packed) in kept.matrices().iter().zip(packed.matrices()) {
            assert!(matches!(kept.format(), Format::F32 | Format::F16 | Format::Bf16), "{name}");
            assert_eq!(packed.format(), Format::F8E4m3, "{name}");
            let (mut exact, mut found) = (vec![0.0; kept.cols()], vec![0.0; kept.cols()]);
            for row in 0..kept.rows() {
                kept.row(level, row, &mut exact);
                packed.row(level, row, &mut found);
                let largest = exact.iter().fold(0.0_f64, |largest, x| largest.max(f64::from(x.abs())));
                for (exact, found) in exact.iter().zip(&found) {
                    let (exact, found) = (f64::from(*exact), f64::from(*found));
                    let step = (exact.abs() / 16.0).max(largest / 448.0 / 1024.0);
                    assert!((found - exact).abs() <= step * (1.0 + 1e-6), "{name}, row {row}: {found} for {exact}");
                }
            }
        }
    }
}

/// Scales of one row, blocks and groups with a shorter last one, and rows that are no whole blocks.
#[test]
fn packed_rows_are_what_the_reference_packs() {
    let level = Level::available()[0];
    let formats = [
        WeightFormat::Fp8,
        WeightFormat::Fp8Blocks(16),
        WeightFormat::Int8,
        WeightFormat::Int4(32),
        WeightFormat::Int4(64),
        WeightFormat::Int8Sparse24,
        WeightFormat::Int4Sparse24,
    ];
    for name in MODELS {
        let kept = load(&path(name), WeightFormat::Keep);
        for format in formats {
            let loaded = load(&path(name), format);
            let pairs: Vec<_> = kept.matrices().into_iter().zip(loaded.matrices()).collect();
            for (i, (kept, packed)) in pairs.iter().enumerate() {
                // The embedding comes first; a head of its own last, which the layers' last matrix is not.
                let outer = i == 0 || (i + 1 == pairs.len() && !Arc::ptr_eq(&loaded.embedding, &loaded.head));
                let cols = kept.cols();
                let Some(packing) = format.packing(cols, outer) else {
                    assert_eq!(kept.format(), packed.format(), "{name}, {format:?}");
                    continue;
                };
                assert_eq!(packing.format, packed.format(), "{name}, {format:?}");
                let (mut exact, mut expected, mut found) = (vec![0.0; cols], vec![0.0; cols], vec![1.0; cols]);
                let mut bytes = vec![0; packing.format.bytes_of(cols).unwrap()];
                for row in 0..kept.rows() {
                    kept.row(level, row, &mut exact);
                    let scales = packing.pack(&exact, &mut bytes).unwrap();
                    packing.format.dequantize(&bytes, &mut expected).unwrap();
                    for (k, weight) in expected.iter_mut().enumerate() {
                        *weight *= scales[k / packing.scale_cols];
                    }
                    packed.row(level, row, &mut found);
                    assert_eq!(found, expected, "{name}, {format:?}, matrix {i}, row {row}");
                }
            }
        }
    }
}

#[test]
fn what_is_stored_in_few_bits_stays() {
    for name in ["gguf_models/llama_q4_k_m/model.gguf", "variants/fp8_blocks_128"] {
        let (kept, packed) = (load(name, WeightFormat::Keep), load(name, WeightFormat::Fp8));
        let level = Level::available()[0];
        let mut narrow = 0;
        for (kept, packed) in kept.matrices().iter().zip(packed.matrices()) {
            if matches!(kept.format(), Format::F32 | Format::F16 | Format::Bf16) {
                continue;
            }
            narrow += 1;
            assert_eq!((kept.format(), kept.bytes()), (packed.format(), packed.bytes()), "{name}");
            let (mut one, mut other) = (vec![0.0; kept.cols()], vec![1.0; kept.cols()]);
            kept.row(level, 0, &mut one);
            packed.row(level, 0, &mut other);
            assert_eq!(one, other, "{name}");
        }
        assert!(narrow > 0, "{name}");
    }
}
