//! From logits to tokens: weights beside the exponential, and the choice beside the definition of docs/sampling.md
//! followed step by step, in float64 and with a whole sort.

use random::Random;
use viva_tensor_engine::{
    error::Error,
    sampler::{Cuts, Sampling, uniform},
};

mod random;

#[test]
fn a_weight_is_the_exponential_in_whole_units() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for temperature in [0.01_f32, 0.7, 1.0, 1.9, 100.0] {
        let cuts = Cuts::of(&Sampling { temperature, ..Sampling::default() });
        let most = 13.25_f32;
        for _ in 0..20_000 {
            let logit = most - random.float().abs() * 40.0 * temperature;
            let exact = ((f64::from(logit) - f64::from(most)) / f64::from(temperature)).exp() * Cuts::UNITS as f64;
            // Half a unit of rounding, 2^-40 of the distance, some roundings of float64.
            let bound = 0.5 + exact * (1.0 / (1_u64 << 40) as f64 + 1e-14);
            let found = cuts.weight(most, logit) as f64;
            assert!((found - exact).abs() <= bound, "e^(({logit} - {most}) / {temperature}): {found} for {exact}");
        }
        assert_eq!(cuts.weight(most, most), Cuts::UNITS);
        assert_eq!(cuts.weight(most, f32::NEG_INFINITY), 0);
    }
    let coldest = Cuts::of(&Sampling { temperature: f32::from_bits(1), ..Sampling::default() });
    assert_eq!((coldest.weight(1.0, 1.0), coldest.weight(1.0, 1.0 - f32::EPSILON)), (Cuts::UNITS, 0));
}

#[test]
fn a_weight_never_grows_as_the_logit_falls() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for temperature in [0.3_f32, 1.0, 7.0] {
        let cuts = Cuts::of(&Sampling { temperature, ..Sampling::default() });
        for _ in 0..2_000 {
            let most = random.float() * 20.0;
            let mut logit = most - random.float().abs() * 30.0 * temperature;
            let mut last = u64::MAX;
            for _ in 0..50 {
                let weight = cuts.weight(most, logit);
                assert!(weight <= last, "{most}, {logit}: {weight} after {last}");
                (last, logit) = (weight, logit.next_down());
            }
        }
    }
}

/// The definition in float64; and how close the draw was to going to a neighbour.
fn defined(sampling: &Sampling, logits: &[f32], sequence: &[u32]) -> (u32, f64) {
    let penalty = sampling.repetition_penalty;
    let penalised = |(id, logit): (usize, &f32)| {
        let seen = sequence.contains(&(id as u32));
        let changed = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        (id as u32, f64::from(if seen { changed } else { *logit }))
    };
    let mut all: Vec<(u32, f64)> = logits.iter().enumerate().map(penalised).collect();
    all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    let most = all[0].1;
    if sampling.temperature == 0.0 {
        return (all[0].0, 1.0);
    }
    all.truncate(sampling.top_k.unwrap_or(usize::MAX));
    let weight = |logit: f64| ((logit - most) / f64::from(sampling.temperature)).exp();
    let total: f64 = all.iter().map(|(_, logit)| weight(*logit)).sum();
    let (mut sum, mut kept) = (0.0, 0);
    while kept < all.len() {
        let next = weight(all[kept].1);
        let full = sampling.top_p < 1.0 && sum >= f64::from(sampling.top_p) * total;
        if kept > 0 && (full || next < f64::from(sampling.min_p)) {
            break;
        }
        (kept, sum) = (kept + 1, sum + next);
    }
    let target = uniform(sampling.seed, sequence.len() as u64) * sum;
    let (mut running, mut closest) = (0.0, f64::INFINITY);
    for (id, logit) in &all[..kept] {
        running += weight(*logit);
        closest = closest.min((running - target).abs() / sum);
        if running > target {
            return (*id, closest);
        }
    }
    (all[kept - 1].0, closest)
}

#[test]
fn the_choice_is_the_one_that_the_definition_makes() {
    let mut random = Random(0xda94_2042_e4dd_58b5);
    let mut close = 0;
    for round in 0..400_u64 {
        let vocab = [1, 2, 50, 700, 3000][random.next() as usize % 5];
        let spread = [0.0, 0.5, 4.0, 30.0][random.next() as usize % 4];
        // Some of them equal.
        let steps = [4.0, 1e6][random.next() as usize % 2];
        let logits: Vec<f32> = (0..vocab).map(|_| (random.float() * steps).round() / steps * spread).collect();
        let sequence: Vec<u32> = (0..random.next() % 40).map(|_| random.next() as u32 % (vocab as u32 + 2)).collect();
        let sampling = Sampling {
            temperature: [0.0, 0.2, 1.0, 3.0, 100.0][random.next() as usize % 5],
            top_k: [None, Some(1), Some(7), Some(100), Some(usize::MAX)][random.next() as usize % 5],
            top_p: [1.0, 0.9, 0.3, 1e-30][random.next() as usize % 4],
            min_p: [0.0, 0.05, 0.9999][random.next() as usize % 3],
            repetition_penalty: [1.0, 1.3, 0.7][random.next() as usize % 3],
            seed: round,
        };
        let (expected, distance) = defined(&sampling, &logits, &sequence);
        let found = sampling.sample(&mut logits.clone(), &sequence, sequence.len()).unwrap();
        if distance < 1e-7 {
            close += 1;
            continue;
        }
        assert_eq!(found, expected, "{sampling:?}, {vocab} logits to {spread}, {sequence:?}");
    }
    // Whole sums of equal weights are hit now and then; most draws are clear.
    assert!(close < 20, "{close} of 400 too close to tell");
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    for bad in [f32::NAN, f32::INFINITY] {
        for temperature in [0.0, 1.0] {
            let sampling = Sampling { temperature, ..Sampling::default() };
            let error = sampling.sample(&mut [0.5, bad, 0.25], &[], 0).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "{error}");
        }
    }
    let cold = Sampling::default();
    assert!(cold.sample(&mut [f32::NEG_INFINITY; 3], &[], 0).is_err());
    let warm = Sampling { temperature: 1.0, ..Sampling::default() };
    assert_eq!(warm.sample(&mut [f32::NEG_INFINITY, 0.0], &[], 0).unwrap(), 1);
}

/// Where a sum of weights reaches top-p exactly, and where a weight is exactly min-p's share: both are kept, no more.
#[test]
fn cuts_keep_what_lies_on_their_border() {
    let drawn = |sampling: &Sampling, logits: &[f32]| -> Vec<u32> {
        let sample = |position| sampling.sample(&mut logits.to_vec(), &[], position).unwrap();
        (0..60).map(sample).collect()
    };
    // Four weights of one unit each: half of the sum is two of them.
    let half = Sampling { temperature: 1.0, top_p: 0.5, ..Sampling::default() };
    let ids = drawn(&half, &[2.0; 4]);
    assert_eq!((ids.iter().max(), ids.iter().min()), (Some(&1), Some(&0)));

    // As many small weights as weigh about what the first one does; a weight below 2^24 units is an f32 exactly.
    let mut logits = vec![-13.9; 1 << 20];
    logits[0] = 0.0;
    let mut sampling = Sampling { temperature: 1.0, ..Sampling::default() };
    let weight = Cuts::of(&sampling).weight(0.0, logits[1]);
    assert!(weight < 1 << 24);
    sampling.min_p = weight as f32 / Cuts::UNITS as f32;
    let others = |sampling: &Sampling| drawn(sampling, &logits).iter().filter(|id| **id > 0).count();
    assert!((10..50).contains(&others(&sampling)));
    sampling.min_p = sampling.min_p.next_up();
    assert_eq!(others(&sampling), 0);
}
