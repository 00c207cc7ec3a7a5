//! A conversation with a model: its token sequence, its cache, and the turn that is under way.
//!
//! `submit` starts a turn, `step` takes it further by one slice, for many sessions at once. The state is small: the
//! sequence of all tokens, and how many of them the cache holds. More than one missing: prefill; one missing: decode.
//! So a turn that shares its beginning with the last one prefills only what is new.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    backend::{Cache, Slot},
    bounded::while_alive,
    chat::Message,
    error::{Error, Result},
    loaded::Model,
    sampler::{Choice, Sampling, log_probabilities},
    tokenizer::stream::{Pushed, TextStream},
};

/// Sessions that decode in one pass.
const BATCH: usize = 8;
/// Most alternatives that can be asked for with each token.
pub const MAX_LOGPROBS: usize = 100;

/// What is wanted of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub sampling: Sampling,
    /// The turn also ends where the context does.
    pub max_new_tokens: usize,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
    pub stop_on_eos: bool,
    /// Log-probabilities of each token and of so many alternatives.
    pub logprobs: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// The whole text; special tokens' text counts as those tokens.
    Text(String),
    /// The whole conversation, through the chat template.
    Chat(Vec<Message>),
    Tokens(Vec<u32>),
}

/// A turn that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub prompt_ids: Vec<u32>,
    /// How many of them the cache holds already.
    pub cached: usize,
}

/// What a slice gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Text that has become certain.
    pub text: String,
    pub ids: Vec<u32>,
    pub logprobs: Vec<TokenLogprobs>,
    pub status: Status,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    pub id: u32,
    /// Natural logarithm of the token's probability, before penalty, temperature and cuts.
    pub logprob: f32,
    /// The most likely tokens with theirs, most likely first.
    pub top: Vec<(u32, f32)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    Prefilling { done: usize, total: usize },
    Generating,
    Finished { reason: FinishReason, timings: Timings },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// A token that ends answers.
    Eos,
    /// This stop string.
    Stop(String),
    /// `max_new_tokens`, or the end of the context.
    Length,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// Prompt tokens that were computed, the cached ones left out.
    pub prefill_tokens: usize,
    /// Up to and with the first new token.
    pub prefill_seconds: f64,
    /// New tokens after the first.
    pub decode_tokens: usize,
    pub decode_seconds: f64,
}

/// One conversation; see the module.
pub struct Session {
    model: Arc<Model>,
    cache: Cache,
    /// Every token so far; the cache holds a prefix.
    sequence: Vec<u32>,
    /// The cache was computed with the frequencies of long sequences.
    long: bool,
    turn: Option<Turn>,
    timings: Timings,
    logits: Vec<f32>,
}

struct Turn {
    request: Request,
    stream: TextStream,
    prompt_len: usize,
}

impl Request {
    /// Errors: `InvalidOption` for a value out of its range.
    pub fn check(&self) -> Result<()> {
        self.sampling.check()?;
        let invalid = |option: &str, expected: String, found: String| {
            Err(Error::InvalidOption { option: option.into(), expected, found })
        };
        if self.stop.iter().any(String::is_empty) {
            return invalid("stop", "stop strings with at least one character".into(), "an empty one".into());
        }
        match self.logprobs {
            Some(count) if count > MAX_LOGPROBS => {
                invalid("logprobs", format!("from 0 to {MAX_LOGPROBS}"), count.to_string())
            }
            _ => Ok(()),
        }
    }
}

impl Prompt {
    /// Its ids. One that is too long by far is refused before it is encoded.
    fn encode(&self, model: &Model) -> Result<Vec<u32>> {
        let (tokenizer, limit_tokens) = (&model.tokenizer, model.info.context);
        match self {
            Prompt::Text(text) => {
                tokenizer.check_fits(text, limit_tokens)?;
                tokenizer.encode(text, true)
            }
            Prompt::Chat(messages) => {
                model.template_for(messages)?.encode_within(limit_tokens, tokenizer, messages, true)
            }
            Prompt::Tokens(ids) => Ok(ids.clone()),
        }
    }
}

impl Session {
    pub fn open(model: Arc<Model>) -> Session {
        let (cache, logits) = (model.backend.new_cache(), vec![0.0; model.info.vocabulary]);
        Session { model, cache, sequence: vec![], long: false, turn: None, timings: Timings::default(), logits }
    }

    /// Starts a turn; one that was under way ends, also where the new one is refused. What the cache holds of the new
    /// prompt's beginning is kept.
    ///
    /// Errors: `InvalidOption`, `EmptyPrompt`, `ContextOverflow`, `Template`.
    pub fn submit(&mut self, prompt: &Prompt, request: Request) -> Result<Submitted> {
        self.submit_while(&|| true, prompt, request)
    }

    /// The same for a caller that may die: `Cancelled` once `alive` says so, also while a long prompt is encoded.
    pub fn submit_while(&mut self, alive: &dyn Fn() -> bool, prompt: &Prompt, request: Request) -> Result<Submitted> {
        self.turn = None;
        request.check()?;
        let prompt_ids = match prompt {
            Prompt::Tokens(ids) => ids.clone(),
            prompt => {
                let (model, prompt) = (Arc::clone(&self.model), prompt.clone());
                while_alive(alive, move || prompt.encode(&model))?
            }
        };
        let (Some(_), vocab) = (prompt_ids.first(), self.model.backend.embedding_rows()) else {
            return Err(Error::EmptyPrompt);
        };
        if let Some(id) = prompt_ids.iter().find(|id| **id as usize >= vocab) {
            let expected = format!("token ids below {vocab}, the rows of the embedding");
            return Err(Error::InvalidOption { option: "prompt".into(), expected, found: id.to_string() });
        }
        let limit_tokens = self.model.info.context;
        // At least one new token has to fit.
        let wanted_tokens = prompt_ids.len() + request.max_new_tokens.min(1);
        if wanted_tokens > limit_tokens {
            return Err(Error::ContextOverflow { wanted_tokens, limit_tokens });
        }
        let stream = TextStream::new(Arc::clone(&self.model.tokenizer), request.stop.clone())?;
        let shared = self.sequence.iter().zip(&prompt_ids).take_while(|(old, new)| old == new).count();
        // The last prompt token is computed in any case: its logits are wanted.
        self.cache.truncate(shared.min(prompt_ids.len() - 1));
        self.sequence.clone_from(&prompt_ids);
        self.follow_horizon();
        let cached = self.cache.len();
        self.turn = Some(Turn { request, stream, prompt_len: prompt_ids.len() });
        self.timings = Timings { prefill_tokens: prompt_ids.len() - cached, ..Timings::default() };
        Ok(Submitted { prompt_ids, cached })
    }

    /// What the current or last turn took so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Tokens that the cache does not hold yet.
    fn missing(&self) -> usize {
        self.sequence.len() - self.cache.len()
    }

    fn is_prefilling(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| self.sequence.len() == turn.prompt_len || self.missing() > 1)
    }

    /// Longrope: once the sequence outgrows the original context, every position is computed anew, as transformers does.
    fn follow_horizon(&mut self) {
        let long = self.model.backend.is_long(self.sequence.len());
        if long != self.long {
            self.long = long;
            self.cache.truncate(0);
        }
    }

    /// Computes the next part of the prompt, up to a border that depends on the position alone.
    fn prefill(&mut self, alive: &dyn Fn() -> bool) -> Result<Progress> {
        let start = Instant::now();
        let from = self.cache.len();
        let chunk = self.model.backend.chunk();
        let to = self.sequence.len().min((from / chunk + 1) * chunk);
        let last = to == self.sequence.len();
        let mut slots = [Slot {
            cache: &mut self.cache,
            tokens: &self.sequence[from..to],
            horizon: self.sequence.len(),
            logits: last.then_some(&mut self.logits[..]),
        }];
        let model = Arc::clone(&self.model);
        model.backend.forward(&mut slots, alive)?;
        self.timings.prefill_seconds += start.elapsed().as_secs_f64();
        if !last {
            let status = Status::Prefilling { done: to, total: self.sequence.len() };
            return Ok(Progress { text: String::new(), ids: vec![], logprobs: vec![], status });
        }
        let mut progress = Progress::empty();
        self.take_token(&mut progress)?;
        Ok(progress)
    }

    /// Samples from the logits at hand and looks whether the turn is over.
    fn take_token(&mut self, progress: &mut Progress) -> Result<()> {
        let Some(turn) = &mut self.turn else { return Err(no_turn()) };
        let raw = turn.request.logprobs.map(|top| (self.logits.clone(), top));
        let id = turn.request.sampling.sample(&mut self.logits, &self.sequence, self.sequence.len())?;
        if let Some((logits, top)) = raw {
            let (logprob, top) = log_probabilities(&logits, id, top);
            progress.logprobs.push(TokenLogprobs { id, logprob, top });
        }
        self.push(id, progress)
    }

    /// How many tokens the backend may choose by itself before the turn has to be looked at; 0: it gives logits.
    fn steps(&self) -> usize {
        let Some(turn) = &self.turn else { return 0 };
        let len = self.sequence.len();
        let end = turn.prompt_len.saturating_add(turn.request.max_new_tokens).min(self.model.info.context);
        let left = end.saturating_sub(len);
        let most = left.min(self.model.backend.steps());
        let choice = Choice { sampling: &turn.request.sampling, sequence: &self.sequence };
        if most == 0 || !self.model.backend.can_choose(&choice) || turn.request.logprobs.is_some() {
            return 0;
        }
        // All of them at the same rotary frequencies.
        let long = self.model.backend.is_long(len);
        (1..=most).take_while(|more| self.model.backend.is_long(len + more - 1) == long).count()
    }

    /// Takes tokens that the backend chose; those behind the end of the turn are forgotten.
    fn take_tokens(&mut self, tokens: &[u32], spent: Duration, progress: &mut Progress) -> Result<()> {
        for (i, id) in tokens.iter().enumerate() {
            self.timings.decode_tokens += 1;
            if i == 0 {
                self.timings.decode_seconds += spent.as_secs_f64();
            }
            self.push(*id, progress)?;
            if progress.is_finished() {
                break;
            }
        }
        // The last token is not computed yet.
        self.cache.truncate(self.sequence.len() - 1);
        Ok(())
    }

    /// Appends a token that was chosen, and looks whether the turn is over.
    fn push(&mut self, id: u32, progress: &mut Progress) -> Result<()> {
        let Some(turn) = &mut self.turn else { return Err(no_turn()) };
        self.sequence.push(id);
        progress.ids.push(id);
        let made = self.sequence.len() - turn.prompt_len;
        let is_eos = turn.request.stop_on_eos && self.model.info.eos_ids.contains(&id);
        // The token that ends an answer is no part of its text, also where it is not marked as special.
        let pushed = if is_eos { Pushed::default() } else { turn.stream.push(id)? };
        progress.text.push_str(&pushed.text);
        let is_full = made >= turn.request.max_new_tokens || self.sequence.len() >= self.model.info.context;
        let reason = match pushed.stopped {
            Some(stop) => Some(FinishReason::Stop(stop)),
            None if is_eos => Some(FinishReason::Eos),
            None if is_full => Some(FinishReason::Length),
            None => None,
        };
        match reason {
            Some(reason) => self.finish(reason, progress),
            None => {
                self.follow_horizon();
                Ok(())
            }
        }
    }

    fn finish(&mut self, mut reason: FinishReason, progress: &mut Progress) -> Result<()> {
        if let Some(mut turn) = self.turn.take() {
            progress.text.push_str(&turn.stream.finish()?);
            if let Some(stop) = turn.stream.stopped() {
                reason = FinishReason::Stop(stop.into());
            }
        }
        progress.status = Status::Finished { reason, timings: self.timings };
        Ok(())
    }
}

impl Progress {
    fn empty() -> Self {
        Progress { text: String::new(), ids: vec![], logprobs: vec![], status: Status::Generating }
    }

    fn is_finished(&self) -> bool {
        matches!(self.status, Status::Finished { .. })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} tokens, {} cached)", self.sequence.len(), self.cache.len())
    }
}

fn no_turn() -> Error {
    Error::InvalidOption {
        option: "session".into(),
        expected: "a turn under way: submit a prompt first".into(),
        found: "none".into(),
    }
}

/// One slice for each of `sessions`: those with a prompt to compute get one chunk of it done, the others decode
/// together for about `budget`.
///
/// A result for each session, in order. An error ends that session's turn, not the others'.
pub fn step(sessions: &mut [&mut Session], budget: Duration, alive: &dyn Fn() -> bool) -> Vec<Result<Progress>> {
    if !alive() {
        sessions.iter_mut().for_each(|session| session.turn = None);
        return vec![Err(Error::Cancelled); sessions.len()];
    }
    let start = Instant::now();
    let mut results: Vec<Result<Progress>> = vec![];
    let mut decoding = vec![];
    for (i, session) in sessions.iter_mut().enumerate() {
        let mut progress = Progress::empty();
        results.push(match &session.turn {
            None => Err(no_turn()),
            Some(turn) if turn.request.max_new_tokens == 0 => {
                session.finish(FinishReason::Length, &mut progress).map(|()| progress)
            }
            Some(_) if session.is_prefilling() => session.prefill(alive),
            Some(_) => {
                decoding.push(i);
                Ok(progress)
            }
        });
    }
    while !decoding.is_empty() {
        for group in decoding.chunks(BATCH) {
            decode(sessions, group, &mut results, alive);
        }
        // A session whose sequence is to be computed anew leaves the round, too.
        decoding.retain(|i| {
            matches!(&results[*i], Ok(progress) if !progress.is_finished()) && !sessions[*i].is_prefilling()
        });
        if start.elapsed() >= budget {
            break;
        }
    }
    for (session, result) in sessions.iter_mut().zip(&results) {
        if result.is_err() {
            session.turn = None;
        }
    }
    results
}

/// One token for each session of `group`, all of the same pass where they share a model.
fn decode(sessions: &mut [&mut Session], group: &[usize], results: &mut [Result<Progress>], alive: &dyn Fn() -> bool) {
    let mut left: Vec<usize> = group.to_vec();
    while let Some(first) = left.first() {
        let model = Arc::clone(&sessions[*first].model);
        let (together, others) = left.iter().partition(|i| Arc::ptr_eq(&sessions[**i].model, &model));
        left = others;
        decode_together(&model, sessions, together, results, alive);
    }
}

fn decode_together(
    model: &Model,
    sessions: &mut [&mut Session],
    members: Vec<usize>,
    results: &mut [Result<Progress>],
    alive: &dyn Fn() -> bool,
) {
    let start = Instant::now();
    let steps = members.iter().map(|i| sessions[*i].steps()).min().unwrap_or(0);
    let mut choices = vec![];
    let mut slots: Vec<Slot> = sessions
        .iter_mut()
        .enumerate()
        .filter(|(i, _)| members.contains(i))
        .map(|(_, session)| {
            let (from, horizon) = (session.cache.len(), session.sequence.len());
            let sampling = session.turn.as_ref().map(|turn| &turn.request.sampling);
            choices.extend(sampling.map(|sampling| Choice { sampling, sequence: &session.sequence }));
            let tokens = &session.sequence[from..];
            let logits = (steps == 0).then_some(&mut session.logits[..]);
            Slot { cache: &mut session.cache, tokens, horizon, logits }
        })
        .collect();
    if steps > 0 {
        let done = model.backend.decode(&mut slots, &choices, steps, alive);
        drop((slots, choices));
        for (at, i) in members.into_iter().enumerate() {
            let tokens = done.as_ref().map(|chosen| chosen.get(at).map_or(&[][..], Vec::as_slice));
            let taken = tokens.map_err(Error::clone).and_then(|tokens| match &mut results[i] {
                Ok(progress) => sessions[i].take_tokens(tokens, start.elapsed(), progress),
                Err(error) => Err(error.clone()),
            });
            if let Err(error) = taken {
                results[i] = Err(error);
            }
        }
        return;
    }
    let done = model.backend.forward(&mut slots, alive);
    drop((slots, choices));
    for i in members {
        let session = &mut *sessions[i];
        session.timings.decode_tokens += 1;
        session.timings.decode_seconds += start.elapsed().as_secs_f64();
        let result = &mut results[i];
        let taken = done.clone().and_then(|()| match result {
            Ok(progress) => session.take_token(progress),
            Err(error) => Err(error.clone()),
        });
        if let Err(error) = taken {
            *result = Err(error);
        }
    }
}
