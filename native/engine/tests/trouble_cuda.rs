//! A GPU in trouble: memory that is short, a caller that dies in the middle, a context that is too short, a lost device.
//!
//! One test, because all of it is about a GPU as a whole, and the last part leaves none. Without a GPU it says so.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use viva_tensor_engine::{
    backend::cuda::{self, driver::Device, lab},
    error::{Error, Result},
    loaded::Model,
    loader::{DeviceChoice, LoadOptions, LoadProgress, Loader},
    sampler::Sampling,
    session::{Prompt, Request, Session, Status, step},
};

fn tiny() -> PathBuf {
    let carried = std::env::var_os("VIVA_TENSOR_FIXTURES").map(PathBuf::from);
    carried.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures")).join("tiny/llama")
}

fn load(device: DeviceChoice) -> Result<Arc<Model>> {
    let mut loader = Loader::open(&tiny(), LoadOptions { device, ..LoadOptions::default() })?;
    loop {
        if let LoadProgress::Ready(model) = loader.step(Duration::from_millis(20), &|| true)? {
            return Ok(model);
        }
    }
}

/// A turn behind a prompt of so many tokens.
fn answer(session: &mut Session, prompt: usize, alive: &dyn Fn() -> bool) -> Result<Vec<u32>> {
    let sampling = Sampling { temperature: 0.8, seed: 3, ..Sampling::default() };
    let request = Request { sampling, max_new_tokens: 30, stop: vec![], stop_on_eos: false, logprobs: None };
    session.submit(&Prompt::Tokens((0..prompt as u32).map(|i| 3 + i * 7 % 400).collect()), request)?;
    let mut ids = vec![];
    loop {
        let progress = step(&mut [&mut *session], Duration::from_millis(20), alive).remove(0)?;
        ids.extend(progress.ids);
        if matches!(progress.status, Status::Finished { .. }) {
            return Ok(ids);
        }
    }
}

/// All that the device has, down to pieces of 1 KB.
fn everything(device: &Arc<Device>) -> Vec<cuda::driver::Memory> {
    let mut all = vec![];
    for shift in (10..37).rev() {
        while let Ok(piece) = device.memory(1 << shift) {
            all.push(piece);
        }
    }
    all
}

#[test]
fn trouble_is_an_error_and_the_next_call_works_while_there_is_a_gpu() {
    let device = match cuda::open(0) {
        Ok(device) => device,
        Err(reason) => return eprintln!("trouble: skipped, no GPU: {reason}"),
    };
    let model = load(DeviceChoice::Cuda(0)).unwrap();
    let mut session = Session::open(Arc::clone(&model));
    let expected = answer(&mut session, 200, &|| true).unwrap();

    // The caller dies at any of the looks that are taken at it.
    for looks in 0..40 {
        let left = Cell::new(looks);
        let alive = || {
            left.set(left.get() - 1);
            left.get() >= 0
        };
        let mut session = Session::open(Arc::clone(&model));
        match answer(&mut session, 200, &alive) {
            Ok(ids) => assert_eq!(ids, expected),
            Err(error) => assert_eq!(error, Error::Cancelled, "after {looks} looks"),
        }
        assert_eq!(answer(&mut session, 200, &|| true).unwrap(), expected, "after {looks} looks");
    }

    let limit = model.info.context;
    let too_long = answer(&mut session, limit + 1, &|| true).unwrap_err();
    assert!(matches!(too_long, Error::ContextOverflow { limit_tokens, .. } if limit_tokens == limit), "{too_long}");

    let all = everything(&device);
    let mut others: Vec<Session> = (0..64).map(|_| Session::open(Arc::clone(&model))).collect();
    let short = others.iter_mut().find_map(|session| answer(session, 200, &|| true).err());
    assert!(matches!(short, Some(Error::OutOfMemory { .. })), "{short:?}");
    assert!(load(DeviceChoice::Cuda(0)).is_err());
    drop((all, others));
    assert_eq!(answer(&mut session, 200, &|| true).unwrap(), expected);
    assert_eq!(answer(&mut Session::open(Arc::clone(&model)), 200, &|| true).unwrap(), expected);

    let lost = lab::lose(&device).unwrap_err();
    assert!(matches!(lost, Error::DeviceLost { .. }), "{lost}");
    for _ in 0..2 {
        let error = answer(&mut session, 200, &|| true).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    }
    drop((session, model));
    let error = load(DeviceChoice::Cuda(0)).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    // Who leaves the choice to us goes on with the CPU, and is told why.
    let model = load(DeviceChoice::Auto).unwrap();
    assert_eq!(model.info.device, "cpu");
    assert!(model.info.device_note.contains("the GPU is lost to this process"), "{}", model.info.device_note);
    assert_eq!(answer(&mut Session::open(model), 200, &|| true).unwrap().len(), 30);
}
