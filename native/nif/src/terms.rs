//! Terms in and out: the shapes that Gleam's records and variants have in Erlang.
//!
//! A Gleam constructor with fields is a tuple that starts with its name in snake case, one without is that atom.
//! Decoding never ends in `badarg`: a term of the wrong shape is an `InvalidOption` that names the option. The
//! surprise: a float is checked on its way out, because the VM has no NaN and no infinity.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustler::{Atom, Binary, Encoder, Env, ResourceArc, Term, types::tuple};
use viva_tensor_engine::{
    chat::Message,
    error::{Error, Result},
    loaded::ModelInfo,
    loader::{DeviceChoice, LoadOptions},
    quant::WeightFormat,
    sampler::Sampling,
    session::{FinishReason, Progress, Prompt, Request, Status, Submitted, Timings, TokenLogprobs},
};

use crate::resources::{LoaderResource, ModelResource, SessionResource};

pub mod atoms {
    rustler::atoms! {
        // Plain words.
        ok, error, nil, some, none, auto, cpu, cuda,
        keep, fp8, int8, int4, int8_sparse24, int4_sparse24,
        // Records and variants that come in.
        load_options, request, text, chat, tokens, message, top_k, top_k_infinity,
        // Records and variants that go out.
        loading, ready, model_info, submitted, progress, prefilling, generating, finished, timings, token_logprobs,
        eos, stop_text, length,
        // Errors.
        not_found, unreadable, malformed, unsupported, invalid_option, empty_prompt, context_overflow, out_of_memory,
        device_lost, template, busy, cancelled, internal,
    }
}

// What comes in.

/// How a term looks in an error: cut, because a caller may pass megabytes.
fn found(term: Term) -> String {
    const SHOWN: usize = 60;
    if let Ok(binary) = Binary::from_term(term) {
        return format!("a binary of {} bytes", binary.len());
    }
    let text = format!("{term:?}");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

pub fn invalid(option: &str, expected: &str, term: Term) -> Error {
    Error::InvalidOption { option: option.into(), expected: expected.into(), found: found(term) }
}

/// The elements of a tuple of so many.
pub fn tuple<'a, const N: usize>(term: Term<'a>, option: &str, expected: &str) -> Result<[Term<'a>; N]> {
    let elements = tuple::get_tuple(term).ok().and_then(|elements| elements.try_into().ok());
    elements.ok_or_else(|| invalid(option, expected, term))
}

/// The fields of a record, its tag checked and left out.
pub fn record<'a, const N: usize>(term: Term<'a>, tag: Atom, name: &str) -> Result<[Term<'a>; N]> {
    let wrong = || invalid(name, &format!("a {name} record of {N} fields"), term);
    let terms = tuple::get_tuple(term).map_err(|_| wrong())?;
    match terms.split_first() {
        Some((first, fields)) if tag == *first => fields.try_into().map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

pub fn list<'a>(term: Term<'a>, option: &str) -> Result<Vec<Term<'a>>> {
    // The length first: the iterator panics at an improper tail.
    term.list_length().and_then(|_| term.decode()).map_err(|_| invalid(option, "a list", term))
}

fn float(term: Term, option: &str) -> Result<f32> {
    let wide: f64 = match term.decode() {
        Ok(float) => float,
        Err(_) => term.decode::<i64>().map_err(|_| invalid(option, "a number", term))? as f64,
    };
    Ok(wide as f32)
}

pub fn count(term: Term, option: &str) -> Result<usize> {
    term.decode().map_err(|_| invalid(option, &format!("an integer from 0 to {}", usize::MAX), term))
}

fn id(term: Term, option: &str) -> Result<u32> {
    term.decode().map_err(|_| invalid(option, "token ids, each an integer from 0 to 4294967295", term))
}

pub fn boolean(term: Term, option: &str) -> Result<bool> {
    term.decode().map_err(|_| invalid(option, "True or False", term))
}

pub fn text(term: Term, option: &str) -> Result<String> {
    let binary = Binary::from_term(term).map_err(|_| invalid(option, "a string", term))?;
    match std::str::from_utf8(binary.as_slice()) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(Error::InvalidOption {
            option: option.into(),
            expected: "UTF-8 text".into(),
            found: format!("a byte that is not UTF-8 at position {}", error.valid_up_to()),
        }),
    }
}

/// A path is bytes: it need not be UTF-8.
pub fn path(term: Term) -> Result<PathBuf> {
    let binary = Binary::from_term(term).map_err(|_| invalid("path", "a string", term))?;
    Ok(Path::new(OsStr::from_bytes(binary.as_slice())).to_owned())
}

pub fn ids(term: Term, option: &str) -> Result<Vec<u32>> {
    list(term, option)?.into_iter().map(|term| id(term, option)).collect()
}

/// `{some, Value}` or `none`.
fn optional<'a, T>(term: Term<'a>, option: &str, decode: impl Fn(Term<'a>, &str) -> Result<T>) -> Result<Option<T>> {
    if atoms::none() == term {
        return Ok(None);
    }
    let [value] = record(term, atoms::some(), option)?;
    decode(value, option).map(Some)
}

pub fn threads(term: Term) -> Result<Option<usize>> {
    let expected = "an integer from 1 to 256";
    optional(term, "threads", |term, option| term.decode().map_err(|_| invalid(option, expected, term)))
}

/// `{load_options, Device, Context, Threads, Weights}`
pub fn load_options(term: Term) -> Result<LoadOptions> {
    let [device, context, thread_count, weights] = record(term, atoms::load_options(), "load_options")?;
    let device = match device {
        term if atoms::auto() == term => DeviceChoice::Auto,
        term if atoms::cpu() == term => DeviceChoice::Cpu,
        term => match record(term, atoms::cuda(), "device") {
            Ok([index]) => DeviceChoice::Cuda(count(index, "device")?),
            Err(_) => return Err(invalid("device", "auto, cpu or {cuda, Index}", term)),
        },
    };
    let (context, threads) = (optional(context, "context", count)?, threads(thread_count)?);
    Ok(LoadOptions { device, context, threads, weights: weight_format(weights)? })
}

/// `keep`, `fp8`, `int8`, `{int4, Group}`, `int8_sparse24` or `int4_sparse24`
fn weight_format(term: Term) -> Result<WeightFormat> {
    let names = [
        (atoms::keep(), WeightFormat::Keep),
        (atoms::fp8(), WeightFormat::Fp8),
        (atoms::int8(), WeightFormat::Int8),
        (atoms::int8_sparse24(), WeightFormat::Int8Sparse24),
        (atoms::int4_sparse24(), WeightFormat::Int4Sparse24),
    ];
    if let Some((_, format)) = names.iter().find(|(name, _)| *name == term) {
        return Ok(*format);
    }
    let expected = "keep, fp8, int8, {int4, Group} with 32, 64 or 128, int8_sparse24 or int4_sparse24";
    let [group] = record(term, atoms::int4(), "weights").map_err(|_| invalid("weights", expected, term))?;
    match group.decode() {
        Ok(group @ (32 | 64 | 128)) => Ok(WeightFormat::Int4(group)),
        _ => Err(invalid("weights", expected, term)),
    }
}

/// `{text, Text}`, `{chat, Messages}` or `{tokens, Ids}`
pub fn prompt(term: Term) -> Result<Prompt> {
    if let Ok([value]) = record(term, atoms::text(), "prompt") {
        return text(value, "prompt").map(Prompt::Text);
    }
    if let Ok([value]) = record(term, atoms::chat(), "prompt") {
        return messages(value).map(Prompt::Chat);
    }
    let [value] = record(term, atoms::tokens(), "prompt")?;
    ids(value, "prompt").map(Prompt::Tokens)
}

/// `[{message, Role, Content}]`
pub fn messages(term: Term) -> Result<Vec<Message>> {
    let message = |term| {
        let [role, content] = record(term, atoms::message(), "message")?;
        Ok(Message { role: text(role, "message role")?, content: text(content, "message content")? })
    };
    list(term, "messages")?.into_iter().map(message).collect()
}

/// `{request, MaxNewTokens, Temperature, TopK, TopP, MinP, RepetitionPenalty, Seed, Stop, StopOnEos, Logprobs}`
pub fn request(term: Term) -> Result<Request> {
    let [max_new_tokens, temperature, k, top_p, min_p, penalty, seed, stop, stop_on_eos, logprobs] =
        record(term, atoms::request(), "request")?;
    let sampling = Sampling {
        temperature: float(temperature, "temperature")?,
        top_k: top_k(k)?,
        top_p: float(top_p, "top_p")?,
        min_p: float(min_p, "min_p")?,
        repetition_penalty: float(penalty, "repetition_penalty")?,
        seed: seed.decode().map_err(|_| invalid("seed", "an integer from 0 to 2^64 - 1", seed))?,
    };
    Ok(Request {
        sampling,
        max_new_tokens: count(max_new_tokens, "max_new_tokens")?,
        stop: list(stop, "stop")?.into_iter().map(|term| text(term, "stop")).collect::<Result<_>>()?,
        stop_on_eos: boolean(stop_on_eos, "stop_on_eos")?,
        logprobs: optional(logprobs, "logprobs", count)?,
    })
}

/// `{top_k, K}` or `top_k_infinity`
fn top_k(term: Term) -> Result<Option<usize>> {
    if atoms::top_k_infinity() == term {
        return Ok(None);
    }
    let [k] = record(term, atoms::top_k(), "top_k")?;
    k.decode().map(Some).map_err(|_| invalid("top_k", &format!("an integer from 1 to {}, or no limit", usize::MAX), k))
}

pub fn loader(term: Term) -> Result<ResourceArc<LoaderResource>> {
    term.decode().map_err(|_| invalid("loader", "a load in progress", term))
}

pub fn model(term: Term) -> Result<ResourceArc<ModelResource>> {
    term.decode().map_err(|_| invalid("model", "a loaded model", term))
}

pub fn session(term: Term) -> Result<ResourceArc<SessionResource>> {
    term.decode().map_err(|_| invalid("session", "a session", term))
}

pub fn sessions(term: Term) -> Result<Vec<ResourceArc<SessionResource>>> {
    list(term, "sessions")?.into_iter().map(session).collect()
}

// What goes out.

/// The VM has no NaN and no infinity: a float that is one leaves as the nearest thing there is.
fn finite(float: f64) -> f64 {
    if float.is_nan() { 0.0 } else { float.clamp(f64::MIN, f64::MAX) }
}

/// The tuple that Gleam's error variant of that name is.
pub fn error<'a>(env: Env<'a>, error: &Error) -> Term<'a> {
    match error {
        Error::NotFound { path, expected } => (atoms::not_found(), path, expected).encode(env),
        Error::Unreadable { path, reason } => (atoms::unreadable(), path, reason).encode(env),
        Error::Malformed { at, expected, found } => (atoms::malformed(), at, expected, found).encode(env),
        Error::Unsupported { at, expected, found } => (atoms::unsupported(), at, expected, found).encode(env),
        Error::InvalidOption { option, expected, found } => {
            (atoms::invalid_option(), option, expected, found).encode(env)
        }
        Error::EmptyPrompt => atoms::empty_prompt().encode(env),
        Error::ContextOverflow { wanted_tokens, limit_tokens } => {
            (atoms::context_overflow(), wanted_tokens, limit_tokens).encode(env)
        }
        Error::OutOfMemory { wanted_bytes, free_bytes } => {
            (atoms::out_of_memory(), wanted_bytes, free_bytes).encode(env)
        }
        Error::DeviceLost { reason } => (atoms::device_lost(), reason).encode(env),
        Error::Template { reason } => (atoms::template(), reason).encode(env),
        Error::Busy => atoms::busy().encode(env),
        Error::Cancelled => atoms::cancelled().encode(env),
        Error::Internal { reason } => (atoms::internal(), reason).encode(env),
    }
}

/// `{ok, Value}` or `{error, Error}`
pub fn result<'a>(env: Env<'a>, result: Result<Term<'a>>) -> Term<'a> {
    match result {
        Ok(value) => (atoms::ok(), value).encode(env),
        Err(reason) => (atoms::error(), error(env, &reason)).encode(env),
    }
}

/// `{loading, DoneBytes, TotalBytes}`
pub fn loading(env: Env, done_bytes: u64, total_bytes: u64) -> Term {
    (atoms::loading(), done_bytes, total_bytes).encode(env)
}

/// `{model_info, Architecture, Source, Weights, …}`
pub fn model_info<'a>(env: Env<'a>, info: &ModelInfo) -> Term<'a> {
    let fields: [&dyn Encoder; 20] = [
        &atoms::model_info(),
        &info.architecture,
        &info.source,
        &info.weights,
        &info.parameters,
        &info.weight_bytes,
        &info.bytes_per_token,
        &info.vocabulary,
        &info.layers,
        &info.width,
        &info.heads,
        &info.kv_heads,
        &info.head_width,
        &info.context,
        &info.max_context,
        &info.device,
        &info.device_note,
        &info.threads,
        &info.eos_ids,
        &info.has_chat_template,
    ];
    tuple::make_tuple(env, &fields.map(|field| field.encode(env)))
}

/// `{submitted, PromptIds, CachedTokens}`
pub fn submitted(env: Env, submitted: Submitted) -> Term {
    (atoms::submitted(), submitted.prompt_ids, submitted.cached).encode(env)
}

/// `{progress, Text, Ids, Logprobs, Status}`
pub fn progress(env: Env, progress: Progress) -> Term {
    let logprobs: Vec<Term> = progress.logprobs.iter().map(|logprobs| token_logprobs(env, logprobs)).collect();
    let status = status(env, &progress.status);
    (atoms::progress(), progress.text, progress.ids, logprobs, status).encode(env)
}

/// `{token_logprobs, Id, Logprob, [{Id, Logprob}]}`
fn token_logprobs<'a>(env: Env<'a>, logprobs: &TokenLogprobs) -> Term<'a> {
    let top: Vec<(u32, f64)> = logprobs.top.iter().map(|&(id, logprob)| (id, finite(logprob.into()))).collect();
    (atoms::token_logprobs(), logprobs.id, finite(logprobs.logprob.into()), top).encode(env)
}

/// `{prefilling, Done, Total}`, `generating` or `{finished, Reason, Timings}`
fn status<'a>(env: Env<'a>, status: &Status) -> Term<'a> {
    match status {
        Status::Prefilling { done, total } => (atoms::prefilling(), done, total).encode(env),
        Status::Generating => atoms::generating().encode(env),
        Status::Finished { reason, timings: spent } => {
            (atoms::finished(), finish_reason(env, reason), timings(env, spent)).encode(env)
        }
    }
}

fn finish_reason<'a>(env: Env<'a>, reason: &FinishReason) -> Term<'a> {
    match reason {
        FinishReason::Eos => atoms::eos().encode(env),
        FinishReason::Stop(text) => (atoms::stop_text(), text).encode(env),
        FinishReason::Length => atoms::length().encode(env),
    }
}

/// `{timings, PrefillTokens, PrefillSeconds, DecodeTokens, DecodeSeconds}`
pub fn timings<'a>(env: Env<'a>, spent: &Timings) -> Term<'a> {
    let (prefill, decode) = (finite(spent.prefill_seconds), finite(spent.decode_seconds));
    (atoms::timings(), spent.prefill_tokens, prefill, spent.decode_tokens, decode).encode(env)
}

/// A rate or a duration.
pub fn number(env: Env, number: f64) -> Term {
    finite(number).encode(env)
}
