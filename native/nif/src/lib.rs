//! The engine as a NIF: decode terms, one engine call, encode.
//!
//! One call is one bounded slice of work on a dirty scheduler; the loops are in Erlang and Gleam. Every function
//! returns `{ok, Value}` or `{error, Error}`, never an exception. The surprise: a dirty NIF outlives its killed
//! caller, so each slice is given `alive`, and stops when that turns false.

use std::{sync::MutexGuard, time::Duration};

use rustler::{Encoder, Env, ResourceArc, Term};
use viva_tensor_engine::{
    backend::cpu,
    bounded::{caught, while_alive},
    error::{Error, Result},
    loader::{LoadProgress, Loader},
    session::{self, Progress, Session},
};

mod device;
mod linear;
mod resources;
mod tensor;
mod terms;

use resources::{LoaderResource, ModelResource, SessionResource, Slot};
use terms::atoms;

rustler::init!("viva_tensor_nif");

/// How long a call works before it returns to the VM.
const SLICE: Duration = Duration::from_millis(50);
/// How long the memory is read to learn its speed.
const BANDWIDTH_TIME: Duration = Duration::from_millis(500);

/// The one border that no panic crosses: it becomes an error with the panic's own words.
fn reply<'a>(env: Env<'a>, work: impl FnOnce() -> Result<Term<'a>>) -> Term<'a> {
    terms::result(env, caught(work).flatten())
}

/// Whether the process that called still lives.
fn alive(env: Env<'_>) -> impl Fn() -> bool {
    let caller = env.pid();
    move || env.is_process_alive(caller)
}

/// `true`: the stub of this name says `false`.
#[rustler::nif]
fn loaded() -> bool {
    true
}

#[rustler::nif(schedule = "DirtyCpu")]
fn load_open<'a>(env: Env<'a>, path: Term<'a>, options: Term<'a>) -> Term<'a> {
    reply(env, || {
        let loader = Loader::open(&terms::path(path)?, terms::load_options(options)?)?;
        Ok(ResourceArc::new(LoaderResource::new(loader)).encode(env))
    })
}

/// `{loading, DoneBytes, TotalBytes}` or `{ready, Model}`
#[rustler::nif(schedule = "DirtyCpu")]
fn load_step<'a>(env: Env<'a>, loader: Term<'a>) -> Term<'a> {
    reply(env, || {
        let loader = terms::loader(loader)?;
        let mut slot = loader.lock()?;
        let progress = slot.as_mut().ok_or_else(resources::finished)?.step(SLICE, &alive(env));
        if !matches!(progress, Ok(LoadProgress::Loading { .. })) {
            resources::reap(slot.take());
        }
        Ok(match progress? {
            LoadProgress::Loading { done_bytes, total_bytes } => terms::loading(env, done_bytes, total_bytes),
            LoadProgress::Ready(model) => (atoms::ready(), ResourceArc::new(ModelResource::new(model))).encode(env),
        })
    })
}

#[rustler::nif]
fn model_info<'a>(env: Env<'a>, model: Term<'a>) -> Term<'a> {
    reply(env, || Ok(terms::model_info(env, &terms::model(model)?.model()?.info)))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn tokenize<'a>(env: Env<'a>, model: Term<'a>, text: Term<'a>, add_special: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (model, text) = (terms::model(model)?, terms::text(text, "text")?);
        let (model, add_special) = (model.model()?.clone(), terms::boolean(add_special, "add_special")?);
        let ids = while_alive(&alive(env), move || model.tokenizer.encode(&text, add_special))?;
        Ok(ids.encode(env))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn detokenize<'a>(env: Env<'a>, model: Term<'a>, ids: Term<'a>, skip_special: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (model, ids) = (terms::model(model)?, terms::ids(ids, "token ids")?);
        let text = model.model()?.tokenizer.decode(&ids, terms::boolean(skip_special, "skip_special")?)?;
        Ok(text.encode(env))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn render<'a>(env: Env<'a>, model: Term<'a>, messages: Term<'a>, add_generation_prompt: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (model, messages) = (terms::model(model)?, terms::messages(messages)?);
        let add_generation_prompt = terms::boolean(add_generation_prompt, "add_generation_prompt")?;
        let model = model.model()?.clone();
        Ok(while_alive(&alive(env), move || model.render(&messages, add_generation_prompt))?.encode(env))
    })
}

#[rustler::nif]
fn open<'a>(env: Env<'a>, model: Term<'a>) -> Term<'a> {
    reply(env, || {
        let session = Session::open(terms::model(model)?.model()?.clone());
        Ok(ResourceArc::new(SessionResource::new(session)).encode(env))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn submit<'a>(env: Env<'a>, session: Term<'a>, prompt: Term<'a>, request: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (prompt, request) = (terms::prompt(prompt)?, terms::request(request)?);
        let session = terms::session(session)?;
        let mut slot = session.lock()?;
        let submitted = slot.start(env)?.submit_while(&alive(env), &prompt, request);
        if submitted.is_err() {
            slot.release();
        }
        Ok(terms::submitted(env, submitted?))
    })
}

/// One slice for all of `sessions`; one result each, in order.
#[rustler::nif(schedule = "DirtyCpu")]
fn step<'a>(env: Env<'a>, sessions: Term<'a>) -> Term<'a> {
    reply(env, || {
        let sessions = terms::sessions(sessions)?;
        let mut slots: Vec<_> = sessions.iter().map(|session| session.lock()).collect();
        let results = step_slots(env, &mut slots);
        for (slot, result) in slots.iter_mut().zip(&results) {
            slot.iter_mut().for_each(|slot| slot.settle(result));
        }
        let terms = results.into_iter().map(|result| terms::result(env, result.map(|it| terms::progress(env, it))));
        Ok(terms.collect::<Vec<_>>().encode(env))
    })
}

/// Steps those that are open and the caller's; the others get their own error.
fn step_slots(env: Env, slots: &mut [Result<MutexGuard<'_, Slot>>]) -> Vec<Result<Progress>> {
    let mut sessions: Vec<_> =
        slots.iter_mut().map(|slot| slot.as_mut().map_err(|error| error.clone())?.resume(env)).collect();
    let mut ready: Vec<&mut Session> = sessions.iter_mut().flatten().map(|session| &mut **session).collect();
    let mut stepped = session::step(&mut ready, SLICE, &alive(env)).into_iter();
    let missing = || Err(Error::Internal { reason: "a step without a result".into() });
    sessions.into_iter().map(|session| session.and_then(|_| stepped.next().unwrap_or_else(missing))).collect()
}

/// Ends the turn early; what it took so far.
#[rustler::nif]
fn cancel<'a>(env: Env<'a>, session: Term<'a>) -> Term<'a> {
    reply(env, || {
        let session = terms::session(session)?;
        let mut slot = session.lock()?;
        let spent = slot.resume(env)?.timings();
        slot.release();
        Ok(terms::timings(env, &spent))
    })
}

#[rustler::nif]
fn close<'a>(env: Env<'a>, session: Term<'a>) -> Term<'a> {
    reply(env, || {
        terms::session(session)?.lock()?.close(env)?;
        Ok(atoms::nil().encode(env))
    })
}

/// Bytes a second of a plain read of memory, with the compute threads.
#[rustler::nif(schedule = "DirtyCpu")]
fn read_bandwidth<'a>(env: Env<'a>, threads: Term<'a>) -> Term<'a> {
    reply(env, || {
        let bytes_per_second = cpu::read_bandwidth(terms::threads(threads)?, BANDWIDTH_TIME, &alive(env))?;
        Ok(terms::number(env, bytes_per_second))
    })
}
