//! The engine's own speed, with no BEAM around: `cargo run --release --example decode MODEL [THREADS]`.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use viva_tensor_engine::{
    error::Result,
    loader::{LoadOptions, LoadProgress, Loader},
    sampler::Sampling,
    session::{Prompt, Request, Session, Status, step},
};

const SLICE: Duration = Duration::from_millis(20);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: decode MODEL [THREADS]");
        std::process::exit(2);
    };
    let threads = arguments.next().and_then(|count| count.parse().ok());
    let start = Instant::now();
    let mut loader = Loader::open(Path::new(&path), LoadOptions { threads, ..LoadOptions::default() })?;
    let model = loop {
        if let LoadProgress::Ready(model) = loader.step(SLICE, &|| true)? {
            break model;
        }
    };
    println!("loaded in {:.3} s: {}", start.elapsed().as_secs_f64(), model.info.device_note);
    for _ in 0..5 {
        let mut session = Session::open(Arc::clone(&model));
        let prompt = Prompt::Tokens((0..128).map(|i| 100 + i).collect());
        let sampling = Sampling::default();
        let request = Request { sampling, max_new_tokens: 129, stop: vec![], stop_on_eos: false, logprobs: None };
        session.submit(&prompt, request)?;
        loop {
            if let Status::Finished { timings, .. } = step(&mut [&mut session], SLICE, &|| true).remove(0)?.status {
                let prefill = timings.prefill_tokens as f64 / timings.prefill_seconds;
                let decode = timings.decode_tokens as f64 / timings.decode_seconds;
                let bytes = decode * model.info.bytes_per_token as f64 / 1e9;
                println!("prefill {prefill:.1} tok/s, decode {decode:.1} tok/s, {bytes:.1} GB/s of weights");
                break;
            }
        }
    }
    Ok(())
}
