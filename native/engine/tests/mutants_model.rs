//! Loads damaged checkpoints whole, weights among the damage, and runs those that load.
//!
//! A mutant must give text or a typed error: no panic, no second of time. Weights may be changed to anything that is
//! finite, so overflow in the model's own arithmetic is met here, too.

mod checkpoint_folder;
mod mutants;

use std::{path::Path, sync::Arc, time::Duration};

use checkpoint_folder::Folder;
use mutants::{mutate, watch};
use viva_tensor_engine::{
    error::{Error, Result},
    loader::{LoadOptions, LoadProgress, Loader},
    sampler::Sampling,
    session::{Prompt, Request, Session, Status, step},
};

const SLICE: Duration = Duration::from_millis(20);
/// Caches and scratch of the tiny models; the files themselves are small.
const LIMIT_BYTES: usize = 64 << 20;

fn load_and_run(path: &Path) -> Result<usize> {
    let mut loader = Loader::open(path, LoadOptions { threads: Some(1), ..LoadOptions::default() })?;
    let model = loop {
        if let LoadProgress::Ready(model) = loader.step(SLICE, &|| true)? {
            break model;
        }
    };
    let mut session = Session::open(Arc::clone(&model));
    let sampling = Sampling { temperature: 0.9, top_p: 0.9, seed: 1, ..Sampling::default() };
    let request = Request { sampling, max_new_tokens: 3, stop: vec![], stop_on_eos: true, logprobs: Some(2) };
    session.submit(&Prompt::Tokens(vec![3, 4, 5]), request)?;
    let mut made = 0;
    loop {
        let progress = step(&mut [&mut session], SLICE, &|| true).remove(0)?;
        made += progress.ids.len();
        if let Status::Finished { .. } = progress.status {
            return Ok(made);
        }
    }
}

/// How many mutants of a file ran, and how many were refused.
fn damage(fixture: &str, name: &str, mutants: u64) -> (u64, u64) {
    let folder = Folder::copy_of(fixture);
    let good = std::fs::read(folder.path().join(name)).unwrap();
    load_and_run(folder.path()).unwrap();
    let (mut ran, mut refused) = (0, 0);
    for seed in 0..mutants {
        // Changes fall anywhere in the file: most of them into weights.
        folder.write(name, mutate(&good, good.len(), seed));
        match watch(seed, LIMIT_BYTES, || load_and_run(folder.path())) {
            Ok(made) => {
                assert!((1..=3).contains(&made), "mutant {seed} made {made} tokens");
                ran += 1;
            }
            Err(Error::Internal { reason }) => panic!("mutant {seed}: {reason}"),
            Err(_) => refused += 1,
        }
    }
    assert!(ran > 0 && refused > 0, "{fixture}/{name}: {ran} ran, {refused} were refused");
    (ran, refused)
}

#[test]
fn damaged_safetensors_load_or_are_refused() {
    damage("tiny/llama3", "model.safetensors", 600);
}

#[test]
fn damaged_gguf_files_load_or_are_refused() {
    damage("gguf_models/llama_bpe_q4_0", "model.gguf", 600);
}

#[test]
fn damaged_configs_and_tokenizers_load_or_are_refused() {
    damage("tiny/qwen2", "config.json", 600);
    damage("tiny/qwen2", "tokenizer.json", 300);
}
