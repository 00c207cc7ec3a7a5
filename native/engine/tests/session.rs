//! Sessions: greedy turns against golden.json, numbers that do not depend on company, cached prefixes, sampling.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use checkpoint_folder::Folder;
use serde_json::Value;
use viva_tensor_engine::{
    error::Error,
    loaded::Model,
    loader::{LoadOptions, LoadProgress, Loader},
    sampler::{Sampling, uniform},
    session::{FinishReason, Progress, Prompt, Request, Session, Status, step},
};

mod checkpoint_folder;

const SLICE: Duration = Duration::from_millis(20);

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures").join(name)
}

fn load(name: &str, threads: usize) -> Arc<Model> {
    let options = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
    let mut loader = Loader::open(&fixture(name), options).unwrap();
    loop {
        if let LoadProgress::Ready(model) = loader.step(SLICE, &|| true).unwrap() {
            return model;
        }
    }
}

fn greedy(max_new_tokens: usize) -> Request {
    Request { sampling: Sampling::default(), max_new_tokens, stop: vec![], stop_on_eos: false, logprobs: Some(3) }
}

fn sampled(seed: u64) -> Request {
    let sampling = Sampling { temperature: 1.2, top_k: Some(50), top_p: 0.95, seed, ..Sampling::default() };
    Request { sampling, ..greedy(20) }
}

/// Steps one session to its end: everything it gave, as one progress.
fn finish(session: &mut Session) -> Progress {
    let mut all = Progress { text: String::new(), ids: vec![], logprobs: vec![], status: Status::Generating };
    while !matches!(all.status, Status::Finished { .. }) {
        let progress = step(&mut [&mut *session], SLICE, &|| true).remove(0).unwrap();
        all.text.push_str(&progress.text);
        all.ids.extend(progress.ids);
        all.logprobs.extend(progress.logprobs);
        all.status = progress.status;
    }
    all
}

fn run(model: &Arc<Model>, prompt: &str, request: Request) -> Progress {
    let mut session = Session::open(Arc::clone(model));
    session.submit(&Prompt::Text(prompt.into()), request).unwrap();
    finish(&mut session)
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name).join("golden.json")).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn greedy_turns_equal_transformers() {
    let tiny = fs::read_dir(fixture("tiny")).unwrap();
    let mut names: Vec<String> =
        tiny.map(|entry| format!("tiny/{}", entry.unwrap().file_name().to_str().unwrap())).collect();
    assert_eq!(names.len(), 9);
    let gguf = fs::read_dir(fixture("gguf_models")).unwrap();
    names.extend(gguf.map(|entry| format!("gguf_models/{}", entry.unwrap().file_name().to_str().unwrap())));
    assert_eq!(names.len(), 9 + 5);
    // Grows past the length where Phi-3's rotary frequencies change, and every position with them.
    names.push("crossing/phi3_longrope".into());
    for name in names {
        let model = load(&name, 2);
        for case in golden(&name)["cases"].as_array().unwrap() {
            let expected = ids(&case["greedy_ids"]);
            let mut session = Session::open(Arc::clone(&model));
            let prompt = Prompt::Text(case["prompt"].as_str().unwrap().into());
            let submitted = session.submit(&prompt, greedy(expected.len())).unwrap();
            assert_eq!(submitted.prompt_ids, ids(&case["prompt_ids"]), "{name}");
            let answer = finish(&mut session);
            assert_eq!(answer.ids, expected, "{name}");
            assert_eq!(answer.text, model.tokenizer.decode(&expected, true).unwrap(), "{name}");
        }
        for case in golden(&name)["tokenize"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(model.tokenizer.encode(text, true).unwrap(), ids(&case["ids"]), "{name}: {text:?}");
            assert_eq!(model.tokenizer.encode(text, false).unwrap(), ids(&case["ids_plain"]), "{name}: {text:?}");
        }
    }
}

#[test]
fn a_turn_gives_the_same_numbers_alone_among_eight_and_on_any_number_of_threads() {
    let model = load("tiny/qwen3", 2);
    let prompts: Vec<String> =
        (0..8).map(|i| format!("{} the sea and prompt number {i}", "word ".repeat(i * 9))).collect();
    let alone: Vec<Progress> = prompts.iter().map(|prompt| run(&model, prompt, sampled(7))).collect();
    let mut sessions: Vec<Session> = prompts
        .iter()
        .map(|prompt| {
            let mut session = Session::open(Arc::clone(&model));
            session.submit(&Prompt::Text(prompt.clone()), sampled(7)).unwrap();
            session
        })
        .collect();
    let mut together: Vec<(Vec<u32>, Vec<f32>)> = vec![(vec![], vec![]); 8];
    let mut open: Vec<usize> = (0..8).collect();
    while !open.is_empty() {
        let mut stepped: Vec<&mut Session> =
            sessions.iter_mut().enumerate().filter(|(i, _)| open.contains(i)).map(|(_, session)| session).collect();
        let results = step(&mut stepped, SLICE, &|| true);
        let mut left = vec![];
        for (i, result) in open.iter().zip(results) {
            let progress = result.unwrap();
            together[*i].0.extend(progress.ids);
            together[*i].1.extend(progress.logprobs.iter().map(|logprobs| logprobs.logprob));
            if !matches!(progress.status, Status::Finished { .. }) {
                left.push(*i);
            }
        }
        open = left;
    }
    let numbers = |progress: &Progress| {
        (progress.ids.clone(), progress.logprobs.iter().map(|logprobs| logprobs.logprob).collect::<Vec<_>>())
    };
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!(&numbers(alone), together);
    }
    for threads in [1, 3] {
        let model = load("tiny/qwen3", threads);
        for (prompt, expected) in prompts.iter().zip(&alone) {
            assert_eq!(numbers(&run(&model, prompt, sampled(7))), numbers(expected), "{threads} threads");
        }
    }
    let other = run(&model, &prompts[0], sampled(8));
    assert_ne!(other.ids, alone[0].ids, "another seed");
}

#[test]
fn a_turn_that_continues_the_last_one_computes_only_what_is_new() {
    let model = load("tiny/llama", 2);
    let mut session = Session::open(Arc::clone(&model));
    let first = session.submit(&Prompt::Text("Once upon a time".into()), greedy(12)).unwrap();
    assert_eq!(first.cached, 0);
    let answer = finish(&mut session);
    let mut longer = first.prompt_ids.clone();
    longer.extend(&answer.ids);
    longer.extend([5, 6, 7, 8]);
    let second = session.submit(&Prompt::Tokens(longer.clone()), greedy(12)).unwrap();
    // The last generated token was never fed back.
    assert_eq!(second.cached, first.prompt_ids.len() + answer.ids.len() - 1);
    assert_eq!(session.timings().prefill_tokens, longer.len() - second.cached);
    let continued = finish(&mut session);
    let mut fresh = Session::open(model);
    assert_eq!(fresh.submit(&Prompt::Tokens(longer), greedy(12)).unwrap().cached, 0);
    assert_eq!(continued.logprobs, finish(&mut fresh).logprobs);
}

#[test]
fn a_turn_that_leaves_the_last_one_keeps_what_they_share() {
    let model = load("tiny/llama", 2);
    let mut session = Session::open(Arc::clone(&model));
    let ids = session.submit(&Prompt::Text("Once upon a time".into()), greedy(12)).unwrap().prompt_ids;
    finish(&mut session);
    for shared in [ids.len() - 1, 3, 1, 0] {
        let mut other = ids.clone();
        other[shared] = if ids[shared] == 42 { 43 } else { 42 };
        other.extend([5, 6]);
        assert_eq!(session.submit(&Prompt::Tokens(other.clone()), greedy(6)).unwrap().cached, shared);
        let answer = finish(&mut session);
        let mut fresh = Session::open(Arc::clone(&model));
        fresh.submit(&Prompt::Tokens(other), greedy(6)).unwrap();
        assert_eq!(answer.logprobs, finish(&mut fresh).logprobs);
        session.submit(&Prompt::Tokens(ids.clone()), greedy(1)).unwrap();
        finish(&mut session);
    }
}

/// Of the two most probable tokens the uniform number of the place chooses, and the penalty does not show in logprobs.
#[test]
fn a_token_is_drawn_by_the_number_of_its_place() {
    let model = load("tiny/qwen3", 2);
    let prompt = model.tokenizer.encode("Once upon a time", true).unwrap();
    let sampling = Sampling { temperature: 1.0, top_k: Some(2), seed: 99, ..Sampling::default() };
    let answer = run(&model, "Once upon a time", Request { sampling, ..greedy(24) });
    let mut second = 0;
    for (at, drawn) in answer.logprobs.iter().enumerate() {
        let [first, other, ..] = drawn.top[..] else { panic!("three were asked for") };
        let share = 1.0 / (1.0 + f64::from(other.1 - first.1).exp());
        let number = uniform(99, (prompt.len() + at) as u64);
        assert!((number - share).abs() > 1e-5, "too close to tell");
        assert_eq!(drawn.id, if number < share { first.0 } else { other.0 }, "{at}");
        second += usize::from(number >= share);
    }
    assert!(second > 3);

    let penalised = Sampling { repetition_penalty: 100.0, ..Sampling::default() };
    let plain = run(&model, "Once upon a time", greedy(1));
    let penalised = run(&model, "Once upon a time", Request { sampling: penalised, ..greedy(1) });
    assert_eq!(penalised.logprobs[0].top, plain.logprobs[0].top);
}

/// As llama.cpp and Ollama have it: `<|im_end|>` among the stop texts is the token, whose text nobody sees.
#[test]
fn a_special_token_is_a_stop_where_one_is_spelled_like_it() {
    let (model, golden) = (load("tiny/qwen2", 1), golden("tiny/qwen2"));
    let case = &golden["cases"][0];
    let expected = ids(&case["greedy_ids"]);
    let special = model.tokenizer.eos().unwrap();
    let end = expected.iter().position(|id| *id == special.0).unwrap();
    let stop = vec!["no such text".into(), special.1.to_owned()];
    let answer = run(&model, case["prompt"].as_str().unwrap(), Request { stop, ..greedy(expected.len()) });
    assert_eq!(answer.ids, expected[..=end]);
    assert_eq!(answer.text, model.tokenizer.decode(&expected[..end], true).unwrap());
    assert!(
        matches!(&answer.status, Status::Finished { reason: FinishReason::Stop(stop), .. } if stop == special.1),
        "{:?}",
        answer.status
    );
}

/// An answer that ends inside of a character ends with U+FFFD, and that may be what completes a stop text.
#[test]
fn what_comes_at_the_very_end_may_complete_a_stop() {
    let model = load("tiny/llama", 1);
    let cut = (2..60).find_map(|count| {
        let text = run(&model, "Hello, world!", greedy(count)).text;
        let stop: String = text.chars().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect();
        (text.ends_with('\u{FFFD}') && text.find(&stop) == Some(text.len() - stop.len())).then_some((count, text, stop))
    });
    let (count, text, stop) = cut.unwrap();
    let answer = run(&model, "Hello, world!", Request { stop: vec![stop.clone()], ..greedy(count) });
    assert_eq!(Some(answer.text.as_str()), text.strip_suffix(&stop));
    assert!(
        matches!(&answer.status, Status::Finished { reason: FinishReason::Stop(found), .. } if *found == stop),
        "{:?}",
        answer.status
    );
}

#[test]
fn a_context_is_the_models_own_or_8192_or_what_was_asked_for() {
    let path = Folder::copy_of("tiny/llama");
    let load = |most: usize, context| {
        let mut config: Value = serde_json::from_slice(&fs::read(fixture("tiny/llama/config.json")).unwrap()).unwrap();
        config["max_position_embeddings"] = most.into();
        path.write("config.json", config.to_string());
        let mut loader = Loader::open(path.path(), LoadOptions { context, ..LoadOptions::default() })?;
        loop {
            if let LoadProgress::Ready(model) = loader.step(SLICE, &|| true)? {
                return Ok((model.info.context, model.info.max_context));
            }
        }
    };
    assert_eq!(load(20_000, None), Ok((8192, 20_000)));
    assert_eq!(load(300, None), Ok((300, 300)));
    assert_eq!(load(20_000, Some(20_000)), Ok((20_000, 20_000)));
    for context in [0, 301, usize::MAX] {
        assert!(matches!(load(300, Some(context)), Err(Error::InvalidOption { .. })), "{context}");
    }
}

#[test]
fn a_load_stops_when_its_caller_is_gone() {
    let mut loader = Loader::open(&fixture("tiny/llama"), LoadOptions::default()).unwrap();
    assert!(matches!(loader.step(SLICE, &|| false), Err(Error::Cancelled)));
}

#[test]
fn a_turn_ends_at_a_stop_string_at_the_limit_and_at_the_end_of_the_context() {
    let model = load("tiny/llama", 1);
    let whole = run(&model, "Hello", greedy(30));
    let reason = |progress: &Progress| match &progress.status {
        Status::Finished { reason, .. } => reason.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((reason(&whole), whole.ids.len()), (FinishReason::Length, 30));
    let stop: String = whole.text.chars().skip(8).take(3).collect();
    let stopped = run(&model, "Hello", Request { stop: vec![stop.clone()], ..greedy(30) });
    assert_eq!(reason(&stopped), FinishReason::Stop(stop.clone()));
    assert_eq!(Some(stopped.text.as_str()), whole.text.split(&stop).next());
    let full = run(&model, "Hello", greedy(10_000));
    assert_eq!(reason(&full), FinishReason::Length);
    assert_eq!(full.ids.len(), 256 - model.tokenizer.encode("Hello", true).unwrap().len());
    let nothing = run(&model, "Hello", greedy(0));
    assert_eq!((reason(&nothing), nothing.ids), (FinishReason::Length, vec![]));
}

/// Three tokens end answers here, two of them ordinary ones with a text of their own.
#[test]
fn any_of_several_tokens_ends_an_answer_and_is_no_part_of_its_text() {
    let model = load("eos/llama", 2);
    let golden = golden("eos/llama");
    assert_eq!(model.info.eos_ids, vec![1, 13, 77]);
    for case in golden["eos"].as_array().unwrap() {
        let request = Request { stop_on_eos: true, ..greedy(60) };
        let answer = run(&model, case["prompt"].as_str().unwrap(), request);
        assert_eq!(answer.ids, ids(&case["greedy_ids"]));
        assert_eq!(answer.text, case["text_without_eos"].as_str().unwrap());
        assert!(matches!(answer.status, Status::Finished { reason: FinishReason::Eos, .. }));
        // Also where it is the last token that was allowed.
        let request = Request { stop_on_eos: true, ..greedy(answer.ids.len()) };
        let full = run(&model, case["prompt"].as_str().unwrap(), request);
        assert!(matches!(full.status, Status::Finished { reason: FinishReason::Eos, .. }), "{:?}", full.status);
    }
}

#[test]
fn what_cannot_be_run_is_refused() {
    let model = load("tiny/llama2-sharded-f16", 1);
    let mut session = Session::open(Arc::clone(&model));
    let submit = |session: &mut Session, prompt: Prompt, request| session.submit(&prompt, request).unwrap_err();
    let text = |text: &str| Prompt::Text(text.into());
    let limit = Error::ContextOverflow { wanted_tokens: 301, limit_tokens: 256 };
    assert_eq!(submit(&mut session, Prompt::Tokens(vec![5; 300]), greedy(5)), limit);
    // More text than is ever encoded, but its length alone says that it does not fit.
    let long = submit(&mut session, text(&"a".repeat((16 << 20) + 1)), greedy(5));
    assert!(matches!(long, Error::ContextOverflow { limit_tokens: 256, .. }), "{long}");
    for empty in [submit(&mut session, Prompt::Chat(vec![]), greedy(5)), model.render(&[], true).unwrap_err()] {
        assert_eq!(empty.to_string(), "messages: expected at least one message, found none");
    }
    assert_eq!(submit(&mut session, Prompt::Tokens(vec![]), greedy(5)), Error::EmptyPrompt);
    let beyond = submit(&mut session, Prompt::Tokens(vec![5, 512]), greedy(5));
    assert!(matches!(beyond, Error::InvalidOption { .. }), "{beyond:?}");
    let with = |sampling| Request { sampling, ..greedy(5) };
    for sampling in [
        Sampling { temperature: -0.1, ..Sampling::default() },
        Sampling { temperature: f32::NAN, ..Sampling::default() },
        Sampling { top_k: Some(0), ..Sampling::default() },
        Sampling { top_p: 0.0, ..Sampling::default() },
        Sampling { top_p: 1.1, ..Sampling::default() },
        Sampling { min_p: 1.0, ..Sampling::default() },
        Sampling { repetition_penalty: 0.0, ..Sampling::default() },
    ] {
        let error = submit(&mut session, text("Hello"), with(sampling.clone()));
        assert!(matches!(error, Error::InvalidOption { .. }), "{sampling:?}: {error:?}");
    }
    let error = submit(&mut session, text("Hello"), Request { stop: vec![String::new()], ..greedy(5) });
    assert!(matches!(error, Error::InvalidOption { .. }), "{error:?}");
    let idle = step(&mut [&mut session], SLICE, &|| true).remove(0).unwrap_err();
    assert!(matches!(idle, Error::InvalidOption { .. }), "{idle:?}");
    session.submit(&text("Hello"), greedy(5)).unwrap();
    assert_eq!(step(&mut [&mut session], SLICE, &|| false).remove(0), Err(Error::Cancelled));
    // The session is as good as new.
    session.submit(&text("Hello"), greedy(5)).unwrap();
    assert_eq!(finish(&mut session).ids, run(&model, "Hello", greedy(5)).ids);
}

/// The first bytes of ChaCha20's blocks 0 and 1 under the zero key (RFC 8439, A.1, vectors 1 and 2).
#[test]
fn uniform_numbers_are_chacha20() {
    let expected = |bytes: [u8; 8]| (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64;
    assert_eq!(uniform(0, 0), expected([0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]));
    assert_eq!(uniform(0, 1), expected([0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a]));
}
