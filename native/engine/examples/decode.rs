use std::{path::Path, time::*, sync::Arc};
use viva_tensor_engine::{loader::*, session::*, sampler::Sampling};
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let t = Instant::now();
    let mut l = Loader::open(Path::new(&path), LoadOptions { threads: std::env::args().nth(2).map(|x| x.parse().unwrap()), ..Default::default() }).unwrap();
    let m = loop { if let LoadProgress::Ready(m) = l.step(Duration::from_millis(20), &|| true).unwrap() { break m } };
    println!("load {:.3}", t.elapsed().as_secs_f64());
    for budget in [20, 20, 1000] {
    let mut s = Session::open(Arc::clone(&m));
    s.submit(&Prompt::Tokens((0..128).map(|i| 100 + i * 7).collect()), Request { sampling: Sampling::default(), max_new_tokens: 129, stop: vec![], stop_on_eos: false, logprobs: None }).unwrap();
    loop {
        let r = step(&mut [&mut s], Duration::from_millis(budget), &|| true).remove(0).unwrap();
        if let Status::Finished { timings, .. } = r.status { println!("prefill {:.1} tok/s decode {:.1} tok/s", timings.prefill_tokens as f64 / timings.prefill_seconds, timings.decode_tokens as f64 / timings.decode_seconds); break }
    }}
}
