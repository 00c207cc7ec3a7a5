//! Every format against what the Python packages gguf and torch read from the same blocks, bit for bit
//! (tools/make_quant_fixtures.py).

use super::Format;
use crate::error::Error;

/// The blocks of a format's fixture, and what they mean.
fn fixture(format: Format) -> (Vec<u8>, Vec<f32>) {
    let name = format.name().to_lowercase();
    let path = format!("{}/../../test/fixtures/quant/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    let content = std::fs::read(path).unwrap();
    let (count, rest) = content.split_first_chunk::<4>().unwrap();
    let count = u32::from_le_bytes(*count) as usize;
    let (blocks, numbers) = rest.split_at(count * format.block_bytes());
    let numbers: Vec<f32> = numbers.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect();
    assert_eq!(numbers.len(), count * format.block_len(), "{format}");
    (blocks.to_vec(), numbers)
}

#[test]
fn blocks_mean_what_the_reference_says() {
    for format in Format::ALL {
        let (blocks, expected) = fixture(format);
        let mut found = vec![f32::MIN; expected.len()];
        format.dequantize(&blocks, &mut found).unwrap();
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
            assert!(same, "{format}, weight {i}: {found:e} for {expected:e}");
        }
    }
}

#[test]
fn fixtures_have_the_hard_numbers() {
    for format in Format::ALL {
        let (_, numbers) = fixture(format);
        assert!(numbers.iter().any(|number| number.is_nan()), "{format}: NaN");
        assert!(numbers.iter().any(|number| *number == 0.0 && number.is_sign_negative()), "{format}: -0");
        if format != Format::F8E4m3 {
            assert!(numbers.iter().any(|number| number.is_infinite()), "{format}: infinity");
        }
        assert!(numbers.iter().filter(|number| number.is_finite() && **number != 0.0).count() > 80, "{format}");
    }
}

#[test]
fn bytes_and_weights_must_fit() {
    for format in Format::ALL {
        let (len, bytes) = (format.block_len(), format.block_bytes());
        let at = format!("{format} weights");
        assert_eq!(
            format.dequantize(&vec![0; 2 * bytes + 1], &mut vec![0.0; 2 * len]),
            Err(Error::malformed(
                &at,
                format!("{} bytes for {} weights", 2 * bytes, 2 * len),
                format!("{} bytes, {} weights", 2 * bytes + 1, 2 * len)
            ))
        );
        assert_eq!(format.dequantize(&[], &mut []), Ok(()));
        if len > 1 {
            assert_eq!(
                format.dequantize(&vec![0; bytes], &mut vec![0.0; len - 1]),
                Err(Error::malformed(
                    &at,
                    format!("whole blocks of {len} weights"),
                    format!("{bytes} bytes, {} weights", len - 1)
                ))
            );
        }
    }
}

/// Runs of weights that are hard to pack: random ones of many sizes, zeros, one outlier, subnormals, the largest.
pub fn adversarial_runs() -> Vec<Vec<f32>> {
    let mut state = 7_u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0) as f32
    };
    let mut runs: Vec<Vec<f32>> = vec![vec![0.0; 32], vec![-0.0; 32], vec![0.0, -0.0, 1.0, -1.0]];
    for exponent in [-149, -140, -126, -119, -60, -7, 0, 7, 60, 120, 127] {
        let size = 2.0_f64.powi(exponent) as f32;
        runs.push((0..128).map(|_| random() * size).collect());
        // An outlier that leaves the others a handful of codes.
        runs.push((0..64).map(|i| if i == 17 { size } else { random() * size * 1e-4 }).collect());
        runs.push(vec![size, -size, size.next_down(), -size.next_down()]);
    }
    runs.push(vec![f32::MAX, -f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1)]);
    runs.push(vec![f32::from_bits(1), -f32::from_bits(1), f32::from_bits(3), 0.0]);
    runs
}

/// Half a step and the roundings of scale, division and product.
fn step_bound(weight: f32, scale: f32) -> f64 {
    f64::from(scale) / 2.0 + f64::from(weight.abs()) * 2.0_f64.powi(-22)
}

/// Codes of one scale against the bound of the integer formats.
pub fn check_steps(weights: &[f32], codes: &[f32], scale: f32) {
    assert!(scale >= 2.0_f32.powi(-90), "{scale:e}");
    for (weight, code) in weights.iter().zip(codes) {
        let error = (f64::from(*code) * f64::from(scale) - f64::from(*weight)).abs();
        assert!(error <= step_bound(*weight, scale), "{weight:e} became {code} steps of {scale:e}");
    }
}

/// The same for formats that keep two of four: the kept ones are within the bound, the others no larger than they.
pub fn check_pruned(format: Format, weights: &[f32], bytes: &[u8], scale: f32) {
    let mut codes = vec![f32::NAN; weights.len()];
    format.dequantize(bytes, &mut codes).unwrap();
    for (four, codes) in weights.chunks(4).zip(codes.chunks(4)) {
        assert!(codes.iter().filter(|code| **code != 0.0).count() <= 2, "{codes:?}");
        let mut by_size: Vec<f32> = four.iter().map(|weight| weight.abs()).collect();
        by_size.sort_by(|a, b| b.total_cmp(a));
        for (weight, code) in four.iter().zip(codes) {
            let error = (f64::from(*code) * f64::from(scale) - f64::from(*weight)).abs();
            // One that is not larger than the second largest may be lost, and then wholly.
            let lost = *code == 0.0 && weight.abs() <= by_size[1];
            assert!(error <= step_bound(*weight, scale) || lost, "{four:?} became {codes:?} steps of {scale:e}");
        }
        // Of what is larger than the third largest nothing is lost.
        for (weight, code) in four.iter().zip(codes) {
            let error = (f64::from(*code) * f64::from(scale) - f64::from(*weight)).abs();
            assert!(weight.abs() <= by_size[2] || error <= step_bound(*weight, scale), "{four:?} became {codes:?}");
        }
    }
}

/// README.md: embedding and head stay in 8 bits where the rest is packed to fewer.
#[test]
fn the_outer_matrices_keep_eight_bits() {
    use super::{Packing, WeightFormat};
    let row = |format| Some(Packing { format, scale_cols: 64 });
    for (asked, inner, outer) in [
        (WeightFormat::Keep, None, None),
        (WeightFormat::Fp8, row(Format::F8E4m3), row(Format::F8E4m3)),
        (WeightFormat::Int8, row(Format::Int8), row(Format::Int8)),
        (WeightFormat::Int4(32), Some(Packing { format: Format::Int4, scale_cols: 32 }), row(Format::Int8)),
        (WeightFormat::Int8Sparse24, row(Format::Int8Sparse24), row(Format::Int8)),
        (WeightFormat::Int4Sparse24, row(Format::Int4Sparse24), row(Format::Int8)),
    ] {
        assert_eq!((asked.packing(64, false), asked.packing(64, true)), (inner, outer), "{asked:?}");
    }
    // No whole blocks of eight: kept.
    assert_eq!(WeightFormat::Int4(32).packing(60, false), None);
}
