//! Draws on a GPU beside those of sampler.rs from the same logits: the same token, every time.
//!
//! Without a GPU each test says so.

use std::sync::Arc;

use gpu::gpu;
use random::Random;
use viva_tensor_engine::{
    backend::cuda::{driver::Device, lab::Draws},
    error::Error,
    sampler::{Choice, Sampling},
};

mod gpu;
mod random;

/// The host's tokens; ~0 for logits that are no numbers.
fn on_the_host(logits: &[f32], choice: &Choice, steps: usize) -> Vec<u32> {
    let mut sequence = choice.sequence.to_vec();
    let mut tokens = vec![];
    for _ in 0..steps {
        match choice.sampling.sample(&mut logits.to_vec(), &sequence, sequence.len()) {
            Ok(token) => (tokens.push(token), sequence.push(token)).1,
            // The device goes on with a position of its own, and the same logits.
            Err(Error::Malformed { .. }) => tokens.push(u32::MAX),
            Err(error) => panic!("{error}"),
        }
    }
    tokens
}

/// Like a bell, as a model's logits are.
fn bell(random: &mut Random) -> f32 {
    (0..6).map(|_| random.float()).sum::<f32>() / 1.4
}

fn check(device: &Arc<Device>, vocab: usize, rounds: usize, steps: usize, random: &mut Random) {
    let mut draws = Draws::new(device, vocab).unwrap();
    for round in 0..rounds {
        let rows = random.of(&[1, 2, 5, 8]);
        let mut logits = vec![];
        for _ in 0..rows {
            let spread = random.of(&[0.0, 0.001, 0.3, 2.5, 9.0]);
            // Few values: many are equal.
            let values = random.of(&[3.0, 1e6]);
            let start = logits.len();
            logits.extend((0..vocab).map(|_| (bell(random) * values).round() / values * spread));
            match random.next() % 8 {
                0 => logits[start..].iter_mut().step_by(3).for_each(|logit| *logit = f32::NEG_INFINITY),
                1 => logits[start + random.next() as usize % vocab] = random.of(&[f32::NAN, f32::INFINITY]),
                2 => logits[start..].iter_mut().step_by(2).for_each(|logit| *logit *= -0.0),
                3 => logits[start..].fill(f32::NEG_INFINITY),
                _ => {}
            }
        }
        let sequences: Vec<Vec<u32>> = (0..rows)
            .map(|_| (0..random.next() % 90).map(|_| random.next() as u32 % (vocab as u32 + 3)).collect())
            .collect();
        let samplings: Vec<Sampling> = (0..rows)
            .map(|_| Sampling {
                temperature: random.of(&[0.0, 1e-30, 0.3, 1.0, 1.0, 2.0, 100.0]),
                top_k: random.of(&[
                    None,
                    Some(1),
                    Some(40),
                    Some(2500),
                    Some(vocab),
                    Some(vocab + 7),
                    Some(usize::MAX),
                ]),
                top_p: random.of(&[1.0, 0.95, 0.4, 1e-30]),
                min_p: random.of(&[0.0, 0.02, 0.999_999_9]),
                repetition_penalty: random.of(&[1.0, 1.25, 0.8]),
                seed: random.next(),
            })
            .collect();
        let choices: Vec<Choice> = samplings
            .iter()
            .zip(&sequences)
            .map(|(sampling, sequence)| Choice { sampling, sequence: &sequence[..] })
            .collect();
        let (found, _) = draws.draw(&logits, &choices, steps).unwrap();
        for ((row, choice), found) in choices.iter().enumerate().zip(&found) {
            let expected = on_the_host(&logits[row * vocab..][..vocab], choice, steps);
            assert_eq!(found, &expected, "{vocab} tokens, round {round}, row {row}: {:?}", choice.sampling);
        }
    }
}

#[test]
fn the_device_draws_what_the_host_draws() {
    let Some(device) = gpu("draws") else { return };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (vocab, rounds) in [(1, 6), (7, 20), (512, 60), (4097, 60), (32000, 40), (128_256, 25), (262_208, 4)] {
        check(&device, vocab, rounds, 3, &mut random);
    }
}

#[test]
fn sixty_four_draws_of_eight_rows_follow_their_seeds() {
    let Some(device) = gpu("slice") else { return };
    check(&device, 5000, 6, 64, &mut Random(0xda94_2042_e4dd_58b5));
}

/// For the notes: microseconds of a draw at the vocabulary of Llama 3.
#[test]
#[ignore = "a measurement"]
fn a_draw_takes() {
    let Some(device) = gpu("time") else { return };
    let mut random = Random(1);
    let vocab = 128_256;
    let mut draws = Draws::new(&device, vocab).unwrap();
    let logits: Vec<f32> = (0..vocab).map(|_| bell(&mut random) * 2.5).collect();
    let base = Sampling { temperature: 1.0, seed: 1, ..Sampling::default() };
    for (name, sampling) in [
        ("temperature alone", base.clone()),
        ("top-k 40, top-p 0.95", Sampling { top_k: Some(40), top_p: 0.95, ..base.clone() }),
        ("top-p 0.9", Sampling { top_p: 0.9, ..base.clone() }),
        ("top-p 0.5 at 0.6", Sampling { top_p: 0.5, temperature: 0.6, ..base.clone() }),
        ("temperature 5", Sampling { temperature: 5.0, ..base.clone() }),
        ("temperature 100", Sampling { temperature: 100.0, ..base.clone() }),
        ("argmax with a penalty", Sampling { temperature: 0.0, repetition_penalty: 1.1, ..base }),
    ] {
        let choice = Choice { sampling: &sampling, sequence: &[1, 2, 3] };
        let best = (0..5).map(|_| draws.draw(&logits, &[choice], 64).unwrap().1).fold(f64::INFINITY, f64::min);
        println!("{name}: {:.1} us", best / 64.0 * 1e6);
    }
}
