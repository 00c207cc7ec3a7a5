//! Weights on their way to a GPU, and the GPU's memory on its way back.
//!
//! Without a GPU each test says so.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use gpu::gpu;
use viva_tensor_engine::{
    backend::cuda::lab::Lab,
    error::Error,
    loaded::Model,
    loader::{DeviceChoice, LoadOptions, LoadProgress, Loader},
    quant::Format,
    sampler::Sampling,
    session::{Prompt, Request, Session, Status, step},
};

mod gpu;

fn fixtures() -> PathBuf {
    // Elsewhere than where the test was built.
    let carried = std::env::var_os("VIVA_TENSOR_FIXTURES").map(PathBuf::from);
    carried.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures"))
}

fn load(path: &Path) -> Arc<Model> {
    let options = LoadOptions { device: DeviceChoice::Cuda(0), ..LoadOptions::default() };
    let mut loader = Loader::open(path, options).unwrap();
    loop {
        if let LoadProgress::Ready(model) = loader.step(Duration::from_millis(20), &|| true).unwrap() {
            return model;
        }
    }
}

fn answer(model: &Arc<Model>) -> Vec<u32> {
    let mut session = Session::open(Arc::clone(model));
    let sampling = Sampling::default();
    let request = Request { sampling, max_new_tokens: 12, stop: vec![], stop_on_eos: false, logprobs: None };
    session.submit(&Prompt::Tokens(vec![5, 17, 200, 31]), request).unwrap();
    let mut ids = vec![];
    loop {
        let progress = step(&mut [&mut session], Duration::from_millis(20), &|| true).remove(0).unwrap();
        ids.extend(progress.ids);
        if matches!(progress.status, Status::Finished { .. }) {
            return ids;
        }
    }
}

#[test]
fn fifty_models_one_after_the_other_leave_the_memory_as_it_was() {
    let Some(device) = gpu("fifty") else { return };
    let path = fixtures().join("tiny/llama");
    // The first one also brings what the driver keeps.
    let expected = answer(&load(&path));
    let before = device.free_bytes();
    let model = load(&path);
    let taken = before.saturating_sub(device.free_bytes());
    assert!(taken > 0, "a model takes nothing");
    drop(model);
    for lap in 0..50 {
        assert_eq!(answer(&load(&path)), expected, "lap {lap}");
    }
    let after = device.free_bytes();
    // Fifty that stayed would take fifty times as much.
    assert!(after + taken >= before, "{before} bytes free before, {after} after; a model takes {taken}");
}

#[test]
fn a_load_that_is_given_up_leaves_nothing() {
    let Some(device) = gpu("given up") else { return };
    let path = fixtures().join("tiny/llama");
    drop(load(&path));
    let before = device.free_bytes();
    for _ in 0..10 {
        let options = LoadOptions { device: DeviceChoice::Cuda(0), ..LoadOptions::default() };
        let mut loader = Loader::open(&path, options).unwrap();
        assert_eq!(loader.step(Duration::from_millis(20), &|| false).unwrap_err(), Error::Cancelled);
        let _ = loader.step(Duration::ZERO, &|| true);
    }
    assert!(device.free_bytes() + (4 << 20) >= before);
}

#[test]
fn to_drop_gigabytes_takes_no_time_and_they_come_back() {
    let Some(device) = gpu("gigabytes") else { return };
    let bytes = (device.free_bytes() / 4 * 3) as usize;
    let memory = device.zeros(bytes).unwrap();
    let start = Instant::now();
    drop(memory);
    let took = start.elapsed();
    assert!(took < Duration::from_millis(5), "{took:?} to drop {bytes} bytes");
    // More than half is free only once the first is, whether the driver has got to it or not.
    let again = device.memory(bytes).unwrap();
    assert_eq!(again.bytes(), bytes);
}

#[test]
fn more_than_there_is_is_an_error_that_says_how_much() {
    let Some(device) = gpu("short") else { return };
    let wanted = 1 << 45;
    match device.memory(wanted) {
        Err(Error::OutOfMemory { wanted_bytes, free_bytes }) => {
            assert_eq!(wanted_bytes, wanted as u64);
            assert!(free_bytes > 0);
        }
        other => panic!("{other:?}"),
    }
    // The next one goes well.
    assert!(device.memory(1 << 20).is_ok());
}

/// Blocks of the fixtures of quant/, in a random order.
fn rows(format: Format, blocks: usize) -> Vec<u8> {
    let content = fs::read(fixtures().join(format!("quant/{}.bin", format.name().to_lowercase()))).unwrap();
    let (count, rest) = content.split_first_chunk::<4>().unwrap();
    let all = u32::from_le_bytes(*count) as usize;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = vec![];
    for _ in 0..blocks {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let block = (state >> 33) as usize % all * format.block_bytes();
        out.extend(&rest[block..block + format.block_bytes()]);
    }
    out
}

#[test]
fn chunks_that_are_read_side_by_side_arrive_like_one() {
    let Some(device) = gpu("side by side") else { return };
    for format in Format::ALL {
        let lab = Lab::new(&device, format).unwrap();
        // 37 lines of 300 do not fit the kernels' steps of eight.
        for (count, cols) in [(1000, 256), (37, if format.block_len() == 1 { 300 } else { 512 })] {
            let stored = rows(format, count * cols / format.block_len());
            let expected = lab.dequantize(&lab.matrix(count, cols, &stored).unwrap()).unwrap();
            for together in [1, 3, 64, 5000] {
                let matrix = lab.uploaded(count, cols, &stored, together).unwrap();
                let found = lab.dequantize(&matrix).unwrap();
                let same = found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same && found.len() == expected.len(), "{format}, {count} x {cols} by {together}");
            }
        }
    }
}
