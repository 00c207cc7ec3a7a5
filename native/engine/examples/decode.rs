//! How fast a checkpoint prefills and decodes, with cargo alone: `cargo run --release --example decode -- MODEL [THREADS]`.
//!
//! A prompt of 128 tokens and 128 more, three times, each in a session of its own; the last one in long slices. The
//! surprise: the token ids mean nothing, so any vocabulary of a thousand does.

use std::{
    error::Error,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use viva_tensor_engine::{
    loader::{LoadOptions, LoadProgress, Loader},
    sampler::Sampling,
    session::{Prompt, Request, Session, Status, step},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: decode MODEL [THREADS]")?;
    let threads = arguments.next().map(|text| text.parse()).transpose()?;
    let start = Instant::now();
    let mut loader = Loader::open(Path::new(&path), LoadOptions { threads, ..Default::default() })?;
    let model = loop {
        if let LoadProgress::Ready(model) = loader.step(Duration::from_millis(20), &|| true)? {
            break model;
        }
    };
    println!("loaded in {:.3} s", start.elapsed().as_secs_f64());
    for slice in [20, 20, 1000].map(Duration::from_millis) {
        let mut session = Session::open(Arc::clone(&model));
        let request = Request {
            sampling: Sampling::default(),
            max_new_tokens: 129,
            stop: vec![],
            stop_on_eos: false,
            logprobs: None,
        };
        session.submit(&Prompt::Tokens((0..128).map(|i| 100 + i * 7).collect()), request)?;
        let timings = loop {
            let progress = step(&mut [&mut session], slice, &|| true).remove(0)?;
            if let Status::Finished { timings, .. } = progress.status {
                break timings;
            }
        };
        let prefill = timings.prefill_tokens as f64 / timings.prefill_seconds;
        let decode = timings.decode_tokens as f64 / timings.decode_seconds;
        println!("prefill {prefill:.1} tok/s, decode {decode:.1} tok/s");
    }
    Ok(())
}
