//! Inverse frequencies of rotary embeddings, as transformers 5.x computes them.
//!
//! A `RopeConfig` comes in, a `Rope` goes out: one f32 for each rotary pair.
//!
//! The one surprise: each step below rounds where the reference rounds. A tensor divided into a scalar
//! is there `reciprocal(tensor) * scalar`, Python floats are f64 until they meet a tensor, and only the
//! power is more precise here (f64, rounded once) than there.

use super::spec::{LongRope, Rope};
use crate::checkpoint::config::{RopeConfig, Scaling, Yarn};

pub fn rope(config: &RopeConfig) -> Rope {
    let powers = powers(config.theta, config.rotary);
    let plain = || powers.iter().map(|power| 1.0 / power).collect::<Vec<f32>>();
    let divided = |factors: &[f32]| powers.iter().zip(factors).map(|(power, factor)| 1.0 / (factor * power)).collect();
    let mut long = None;
    let (inverse_frequencies, magnitude) = match &config.scaling {
        Scaling::None => (plain(), 1.0),
        Scaling::Linear { factor } => {
            let factor = *factor as f32;
            (plain().into_iter().map(|frequency| frequency / factor).collect(), 1.0)
        }
        Scaling::Llama3 { factor, low, high, original_context } => {
            let bend = |frequency| llama3(frequency, *factor, *low, *high, *original_context as f64);
            (plain().into_iter().map(bend).collect(), 1.0)
        }
        Scaling::Yarn(yarn) => (yarn_frequencies(yarn, config, &powers), yarn.magnitude),
        Scaling::LongRope { short, long: beyond, original_context, magnitude } => {
            long = Some(LongRope { original_context: *original_context, inverse_frequencies: divided(beyond) });
            (divided(short), *magnitude)
        }
        // The file's factors divide finished frequencies.
        Scaling::Divided(factors) => {
            (plain().into_iter().zip(factors).map(|(frequency, factor)| frequency / factor).collect(), 1.0)
        }
    };
    Rope { inverse_frequencies, long, rotary: config.rotary, magnitude: magnitude as f32 }
}

/// theta^(2i / rotary) for each pair i.
fn powers(theta: f64, rotary: usize) -> Vec<f32> {
    let theta = f64::from(theta as f32);
    let exponent = |i: usize| (2 * i) as f32 / rotary as f32;
    (0..rotary / 2).map(|i| theta.powf(f64::from(exponent(i))) as f32).collect()
}

/// Llama 3.1: wavelengths beyond the original context are stretched by `factor`, short ones kept, and
/// those between interpolated.
fn llama3(frequency: f32, factor: f64, low: f64, high: f64, context: f64) -> f32 {
    let stretch = factor as f32;
    let wavelength = (1.0 / frequency) * std::f64::consts::TAU as f32;
    let (longest_kept, shortest_stretched) = ((context / high) as f32, (context / low) as f32);
    let bent = if wavelength > shortest_stretched { frequency / stretch } else { frequency };
    if wavelength < longest_kept || wavelength > shortest_stretched {
        return bent;
    }
    let smooth = ((1.0 / wavelength) * context as f32 - low as f32) / (high - low) as f32;
    (1.0 - smooth) * bent / stretch + smooth * bent
}

/// YaRN: dimensions that turn often in the original context keep their frequency, those that do not
/// even turn `beta_slow` times are interpolated, with a ramp between.
fn yarn_frequencies(yarn: &Yarn, config: &RopeConfig, powers: &[f32]) -> Vec<f32> {
    let width = config.rotary as f64;
    // The dimension whose pair turns `rotations` times in the original context.
    let dimension = |rotations: f64| {
        let turns = yarn.original_context as f64 / (rotations * std::f64::consts::TAU);
        width * turns.ln() / (2.0 * config.theta.ln())
    };
    let (mut low, mut high) = (dimension(yarn.beta_fast), dimension(yarn.beta_slow));
    if yarn.truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(width - 1.0));
    if low == high {
        high += 0.001; // no ramp of length zero
    }
    let factor = yarn.factor as f32;
    powers
        .iter()
        .enumerate()
        .map(|(i, power)| {
            let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            let kept = 1.0 - ramp;
            let (extrapolated, interpolated) = (1.0 / power, 1.0 / (factor * power));
            interpolated * (1.0 - kept) + extrapolated * kept
        })
        .collect()
}
