//! Opens 50,000 damaged checkpoints and reads every tensor of those that open all the same.
//!
//! Each must give a checkpoint or a typed error: no panic, no more memory than the files could account for, not a
//! second of time. A mutant is made of a fixture and a number; a failure names the number.

mod checkpoint_folder;
mod mutants;

use checkpoint_folder::{Folder, fixtures};
use mutants::{mutate, watch};
use viva_tensor_engine::{
    checkpoint::{Checkpoint, Description},
    error::Error,
};

/// What became of the mutants of one file.
#[derive(Debug, Default)]
struct Tally {
    opened: usize,
    refused: usize,
}

/// Damages the file `name` of a folder again and again; `open` names what is opened. `front` is where most changes fall.
fn damage(folder: &Folder, name: &str, open: &str, front: usize, mutants: u64) -> Tally {
    let good = std::fs::read(folder.path().join(name)).unwrap();
    let path = if open.is_empty() { folder.path().to_path_buf() } else { folder.path().join(open) };
    let others: u64 =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let mut tally = Tally::default();
    for seed in 0..mutants {
        let bad = mutate(&good, front, seed);
        // Every byte of a file may cost twenty in memory (`1,` is a whole JSON value); the rest is fixed buffers.
        let limit_bytes = (1 << 20) + 20 * bad.len() + others as usize;
        folder.write(name, &bad);
        match watch(seed, limit_bytes, || open_and_read(&path)) {
            Ok(()) => tally.opened += 1,
            Err(error) => {
                assert!(!matches!(error, Error::Internal { .. }), "mutant {seed}: {error}");
                assert!(error.to_string().len() < 4000, "mutant {seed}: an error of {} bytes", error.to_string().len());
                tally.refused += 1;
            }
        }
    }
    tally
}

fn open_and_read(path: &std::path::Path) -> Result<(), Error> {
    let checkpoint = Checkpoint::open(path)?;
    for info in checkpoint.tensors.values() {
        // What was checked when it was opened can be read, unless the error says otherwise.
        let weights: u128 = info.shape.iter().map(|&length| length as u128).product();
        let blocks = weights / info.format.block_len() as u128;
        assert_eq!(u128::from(info.bytes), blocks * info.format.block_bytes() as u128);
        assert_eq!(checkpoint.read_whole(info)?.len() as u64, info.bytes);
    }
    for name in checkpoint.foreign.keys() {
        assert!(matches!(checkpoint.tensor(name), Err(Error::Unsupported { .. })));
    }
    if let Description::Gguf(metadata) = &checkpoint.description {
        for value in metadata.values.values() {
            assert!(value.kind().len() < 1000);
        }
    }
    Ok(())
}

/// Where the data of a safetensors file begins.
fn header_end(folder: &Folder, name: &str) -> usize {
    let file = std::fs::read(folder.path().join(name)).unwrap();
    8 + u64::from_le_bytes(*file.first_chunk().unwrap()) as usize
}

/// Both outcomes must occur: a mutation that never changes a thing, or always kills, tests nothing.
#[track_caller]
fn assert_both(tally: &Tally, mutants: usize) {
    assert_eq!(tally.opened + tally.refused, mutants);
    assert!(tally.opened > 0 && tally.refused > mutants / 5, "{tally:?}");
}

#[test]
fn damaged_safetensors() {
    let folder = Folder::copy_of("safetensors/dtypes");
    let front = header_end(&folder, "model.safetensors");
    assert_both(&damage(&folder, "model.safetensors", "", front, 12_000), 12_000);
    let folder = Folder::copy_of("tiny/llama3");
    let front = header_end(&folder, "model.safetensors");
    assert_both(&damage(&folder, "model.safetensors", "model.safetensors", front, 3000), 3000);
}

#[test]
fn damaged_shards_and_their_index() {
    let folder = Folder::copy_of("tiny/phi2");
    let index = "model.safetensors.index.json";
    assert_both(&damage(&folder, index, "", usize::MAX, 6000), 6000);
    let folder = Folder::copy_of("tiny/phi2");
    let shard = "model-00003-of-00003.safetensors";
    let front = header_end(&folder, shard);
    assert_both(&damage(&folder, shard, index, front, 3000), 3000);
}

#[test]
fn damaged_json() {
    for (name, mutants) in [("config.json", 4000), ("generation_config.json", 2000), ("tokenizer_config.json", 2000)] {
        let folder = Folder::copy_of("tiny/gemma3");
        assert_both(&damage(&folder, name, "", usize::MAX, mutants), mutants as usize);
    }
}

#[test]
fn damaged_gguf() {
    // Where the data begins, or what has to be hit among the metadata.
    for (name, front, mutants) in [
        ("formats.gguf", 1600, 9000),
        ("values.gguf", 2500, 3000),
        ("odd.gguf", 320, 3000),
        ("aligned_256.gguf", 350, 3000),
    ] {
        let folder = Folder::new();
        std::fs::copy(fixtures().join("gguf").join(name), folder.path().join(name)).unwrap();
        assert_both(&damage(&folder, name, name, front, mutants), mutants as usize);
    }
}

#[test]
fn damaged_parts_of_a_split_gguf() {
    for damaged in 1..=2 {
        let folder = Folder::new();
        for part in 1..=3 {
            let name = format!("split-0000{part}-of-00003.gguf");
            std::fs::copy(fixtures().join("gguf").join(&name), folder.path().join(&name)).unwrap();
        }
        let name = format!("split-0000{damaged}-of-00003.gguf");
        assert_both(&damage(&folder, &name, "split-00001-of-00003.gguf", 300, 2000), 2000);
    }
}
