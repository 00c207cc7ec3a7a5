//! Where a `ModelSpec` is computed. A backend owns packed weights and caches; it knows no file and no text.
//!
//! `Backend` is the border to the rest: it matches once on the kind and hands on. The two kinds never meet.

pub mod cpu;
pub mod cuda;
pub mod packed;
mod product;
mod repack;
pub mod weights;

use std::{collections::BTreeMap, sync::Arc};

use self::weights::Packed;
use crate::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    model::spec::ModelSpec,
    quant::WeightFormat,
    sampler::Choice,
};

/// A model that is ready to compute.
#[derive(Debug)]
pub enum Backend {
    Cpu(Box<cpu::forward::CpuModel>),
    Cuda(Box<cuda::forward::CudaModel>),
}

/// One session's keys and values, of the backend that made it.
#[derive(Debug)]
pub enum Cache {
    Cpu(cpu::kv_cache::KvCache),
    Cuda(cuda::kv_cache::KvCache),
}

/// Some tokens of one session, to be appended to its cache.
#[derive(Debug)]
pub struct Slot<'a> {
    pub cache: &'a mut Cache,
    pub tokens: &'a [u32],
    /// Length of the sequence that this pass is part of (longrope looks at it): the prompt's, or the position + 1.
    pub horizon: usize,
    /// Where the logits of the last token go, [V]; None when they are not needed.
    pub logits: Option<&'a mut [f32]>,
}

/// Weights on their way to a backend.
#[derive(Debug)]
pub enum Loading {
    Cpu { weights: Box<cpu::weights::Loading>, threads: Option<usize>, context: usize, note: Option<String> },
    Cuda(Box<cuda::Loading>),
}

/// What can be said of a backend and its weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Formats with the number of matrices in each, the most frequent first: "Q4_1 (210), Q8_0 (1)".
    pub weights: String,
    pub parameters: u64,
    /// Bytes of the packed weights in memory.
    pub weight_bytes: u64,
    /// Bytes that decoding one token reads, the cache left out.
    pub bytes_per_token: u64,
    /// "cpu" or "cuda:0"
    pub device: String,
    /// "avx512, 2 threads"
    pub device_note: String,
    /// Compute threads of the host.
    pub threads: usize,
}

impl Backend {
    /// Most tokens of a pass; prompts are cut at multiples of it.
    pub fn chunk(&self) -> usize {
        match self {
            Backend::Cpu(_) => cpu::forward::CHUNK,
            Backend::Cuda(_) => cuda::forward::CHUNK,
        }
    }

    /// Ids below this have an embedding.
    pub fn embedding_rows(&self) -> usize {
        match self {
            Backend::Cpu(model) => model.weights().embedding.rows(),
            Backend::Cuda(model) => model.weights().embedding.rows(),
        }
    }

    /// Whether a sequence of `len` tokens uses other rotary frequencies than a short one.
    pub fn is_long(&self, len: usize) -> bool {
        match self {
            Backend::Cpu(model) => model.is_long(len),
            Backend::Cuda(model) => model.is_long(len),
        }
    }

    /// An empty cache for one session.
    pub fn new_cache(&self) -> Cache {
        match self {
            Backend::Cpu(model) => Cache::Cpu(model.new_cache()),
            Backend::Cuda(model) => Cache::Cuda(model.new_cache()),
        }
    }

    /// Appends each slot's tokens to its cache and computes the logits that are asked for.
    ///
    /// On an error the caches hold what they held before. At most `chunk` tokens in all.
    pub fn forward(&self, slots: &mut [Slot], alive: &dyn Fn() -> bool) -> Result<()> {
        match self {
            Backend::Cpu(model) => {
                let own = slots.iter_mut().map(|slot| match slot.cache {
                    Cache::Cpu(cache) => Ok(cpu::forward::Slot {
                        cache,
                        tokens: slot.tokens,
                        horizon: slot.horizon,
                        logits: slot.logits.as_deref_mut(),
                    }),
                    Cache::Cuda(_) => Err(foreign_cache()),
                });
                model.forward(&mut own.collect::<Result<Vec<_>>>()?, alive)
            }
            Backend::Cuda(model) => model.forward(&mut cuda_slots(slots)?, alive),
        }
    }

    /// Tokens that `decode` may be asked for at once; 0: it is not there, `forward` gives logits one by one.
    pub fn steps(&self) -> usize {
        match self {
            Backend::Cpu(_) => 0,
            Backend::Cuda(model) => model.steps(),
        }
    }

    /// Whether `decode` chooses as this asks for.
    pub fn can_choose(&self, choice: &Choice) -> bool {
        match self {
            Backend::Cpu(_) => false,
            Backend::Cuda(model) => model.can_choose(choice),
        }
    }

    /// The next `steps` tokens of each slot as its choice says, chosen where they are computed: each slot gives one token
    /// and gets those that follow it. The caches then hold all but the last of them.
    pub fn decode(
        &self,
        slots: &mut [Slot],
        choices: &[Choice],
        steps: usize,
        alive: &dyn Fn() -> bool,
    ) -> Result<Vec<Vec<u32>>> {
        match self {
            Backend::Cpu(_) => Err(Error::Internal { reason: "the CPU backend gives logits".into() }),
            Backend::Cuda(model) => model.decode(&mut cuda_slots(slots)?, choices, steps, alive),
        }
    }

    /// Whether a token of one sequence is one launch (kernels/decode.cu).
    pub fn decodes_in_one_launch(&self) -> bool {
        match self {
            Backend::Cpu(_) => false,
            Backend::Cuda(model) => model.decodes_in_one_launch(),
        }
    }

    pub fn describe(&self, note: Option<&str>) -> Description {
        match self {
            Backend::Cpu(model) => {
                let device_note = format!("{}, {} threads", model.level().name(), model.threads());
                let device_note = note.map_or(device_note.clone(), |note| format!("{device_note}; no GPU: {note}"));
                describe(model.weights(), "cpu".into(), device_note, model.threads())
            }
            Backend::Cuda(model) => {
                let device = model.device();
                let code = if model.is_generic { ", kernels for any model (no libnvrtc)" } else { "" };
                let note = format!("{}{code}", device.name);
                describe(model.weights(), format!("cuda:{}", device.ordinal), note, 1)
            }
        }
    }
}

fn cuda_slots<'a>(slots: &'a mut [Slot]) -> Result<Vec<cuda::forward::Slot<'a>>> {
    let own = slots.iter_mut().map(|slot| match slot.cache {
        Cache::Cuda(cache) => Ok(cuda::forward::Slot {
            cache,
            tokens: slot.tokens,
            horizon: slot.horizon,
            logits: slot.logits.as_deref_mut(),
        }),
        Cache::Cpu(_) => Err(foreign_cache()),
    });
    own.collect()
}

fn foreign_cache() -> Error {
    Error::Internal { reason: "a cache of another backend".into() }
}

fn describe<M: Packed, N>(
    weights: &weights::Weights<M, N>,
    device: String,
    device_note: String,
    threads: usize,
) -> Description {
    let matrices = weights.matrices();
    let bytes = |matrix: &Arc<M>| matrix.bytes() as u64;
    let weight_bytes = matrices.iter().map(|matrix| bytes(matrix)).sum::<u64>();
    // The embedding is read for one row only, unless it is the head, too.
    let unread = if Arc::ptr_eq(&weights.embedding, &weights.head) { 0 } else { bytes(&weights.embedding) };
    let mut counts = BTreeMap::new();
    for matrix in &matrices {
        *counts.entry(matrix.format()).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let texts: Vec<_> = counts.iter().map(|(format, count)| format!("{format} ({count})")).collect();
    Description {
        weights: texts.join(", "),
        parameters: matrices.iter().map(|matrix| matrix.rows() as u64 * matrix.cols() as u64).sum(),
        weight_bytes,
        bytes_per_token: weight_bytes - unread,
        device,
        device_note,
        threads,
    }
}

impl Cache {
    pub fn len(&self) -> usize {
        match self {
            Cache::Cpu(cache) => cache.len(),
            Cache::Cuda(cache) => cache.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what lies behind `len`.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Cache::Cpu(cache) => cache.truncate(len),
            Cache::Cuda(cache) => cache.truncate(len),
        }
    }
}

impl Loading {
    /// To the host; `note` is why it is not a GPU, where one was looked for.
    pub fn to_cpu(
        spec: &ModelSpec,
        checkpoint: &Checkpoint,
        format: WeightFormat,
        threads: Option<usize>,
        context: usize,
        note: Option<String>,
    ) -> Result<Self> {
        let weights = Box::new(cpu::weights::Loading::with(spec, checkpoint, format)?);
        Ok(Loading::Cpu { weights, threads, context, note })
    }

    /// To the `ordinal`-th GPU.
    pub fn to_cuda(
        spec: &ModelSpec,
        checkpoint: &Checkpoint,
        format: WeightFormat,
        ordinal: usize,
        context: usize,
    ) -> Result<Self> {
        Ok(Loading::Cuda(Box::new(cuda::Loading::new(spec, checkpoint, format, ordinal, context)?)))
    }

    /// Reads one chunk; true when everything is in.
    pub fn step(&mut self, checkpoint: &Checkpoint) -> Result<bool> {
        match self {
            Loading::Cpu { weights, .. } => weights.step(checkpoint),
            Loading::Cuda(loading) => loading.step(checkpoint),
        }
    }

    /// (bytes that are in, bytes in all)
    pub fn progress(&self) -> (u64, u64) {
        match self {
            Loading::Cpu { weights, .. } => (weights.done_bytes, weights.total_bytes),
            Loading::Cuda(loading) => loading.progress(),
        }
    }

    /// The backend and what can be said of it, once everything is in.
    pub fn finish(&mut self, spec: &ModelSpec, checkpoint: &Checkpoint) -> Result<(Backend, Description)> {
        let (backend, note) = match self {
            Loading::Cpu { weights, threads, context, note } => {
                let weights = weights.finish(spec, checkpoint)?;
                let model = cpu::forward::CpuModel::new(spec.clone(), weights, *threads, *context)?;
                (Backend::Cpu(Box::new(model)), note.as_deref())
            }
            Loading::Cuda(loading) => (Backend::Cuda(Box::new(loading.finish(spec)?)), None),
        };
        let description = backend.describe(note);
        Ok((backend, description))
    }
}
pub mod tensor;
