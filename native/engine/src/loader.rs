//! From a path to a `Model`, in slices: headers first, the tokenizer on a thread beside, then the weights.

use std::{
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    backend::{Description, Loading, cpu},
    bounded::spawn_on_large_stack,
    chat::ChatTemplate,
    checkpoint::{self, Checkpoint, config::Config},
    error::{Error, Result},
    loaded::{Model, ModelInfo},
    model::{self, spec::ModelSpec},
    quant::WeightFormat,
    tokenizer::Tokenizer,
};

/// Context of a session unless asked otherwise, or the model's own where that is shorter.
pub const DEFAULT_CONTEXT: usize = 8192;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    pub device: DeviceChoice,
    /// Positions a session may use; None: the smaller of the model's and `DEFAULT_CONTEXT`.
    pub context: Option<usize>,
    /// Compute threads; None: the cores that the process really has.
    pub threads: Option<usize>,
    pub weights: WeightFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU where there is one that can be used, else the CPU, and `device_note` says why.
    #[default]
    Auto,
    Cpu,
    /// The NVIDIA GPU of this number, from 0.
    Cuda(usize),
}

/// A thread that reads what turns text to tokens and messages to a prompt.
type Reading = JoinHandle<Result<(Tokenizer, Option<ChatTemplate>)>>;

/// A load under way; dropping it ends it.
#[derive(Debug)]
pub struct Loader {
    checkpoint: Arc<Checkpoint>,
    config: Config,
    spec: ModelSpec,
    weights: Loading,
    text: Option<Reading>,
    context: usize,
}

/// What a slice of loading came to.
#[derive(Debug)]
pub enum LoadProgress {
    Loading { done_bytes: u64, total_bytes: u64 },
    Ready(Arc<Model>),
}

impl Loader {
    /// Reads headers and configs, checks them, and starts on the tokenizer.
    pub fn open(path: &Path, options: LoadOptions) -> Result<Loader> {
        let checkpoint = Arc::new(Checkpoint::open(path)?);
        let config = Config::read(&checkpoint)?;
        let spec = model::spec_of(&config, &checkpoint)?;
        let context = context(&options, spec.max_context)?;
        cpu::check_threads(options.threads)?;
        let weights = weights(&options, &spec, &checkpoint, context)?;
        let described = Arc::clone(&checkpoint);
        let text = spawn_on_large_stack(move || {
            let tokenizer = Tokenizer::from_checkpoint(&described.description)?;
            let template = ChatTemplate::from_checkpoint(&described.description, &tokenizer)?;
            Ok((tokenizer, template))
        })?;
        Ok(Loader { checkpoint, config, spec, weights, text: Some(text), context })
    }

    /// One slice of about `budget`; `Cancelled` once `alive` is false.
    pub fn step(&mut self, budget: Duration, alive: &dyn Fn() -> bool) -> Result<LoadProgress> {
        let start = Instant::now();
        let mut done = false;
        while !done && start.elapsed() < budget {
            if !alive() {
                return Err(Error::Cancelled);
            }
            done = self.weights.step(&self.checkpoint)?;
        }
        if done && let Some(text) = &self.text {
            // The weights are in: wait for the tokenizer, but no longer than a slice.
            while !text.is_finished() && start.elapsed() < budget {
                thread::sleep(Duration::from_millis(1));
            }
            if text.is_finished() {
                return self.finish().map(|model| LoadProgress::Ready(Arc::new(model)));
            }
        }
        let (done_bytes, total_bytes) = self.weights.progress();
        Ok(LoadProgress::Loading { done_bytes, total_bytes })
    }

    fn finish(&mut self) -> Result<Model> {
        let text = self.text.take().map(JoinHandle::join);
        let lost = || Error::Internal { reason: "the tokenizer's thread was lost".into() };
        let (tokenizer, template) = text.and_then(|joined| joined.ok()).ok_or_else(lost)??;
        let (backend, description) = self.weights.finish(&self.spec, &self.checkpoint)?;
        let mut eos_ids = self.config.eos_token_ids.clone();
        if eos_ids.is_empty() {
            eos_ids = tokenizer.eos_ids();
        }
        let info = self.info(description, eos_ids, template.is_some());
        Ok(Model { tokenizer: Arc::new(tokenizer), template, info, backend })
    }

    fn info(&self, backend: Description, eos_ids: Vec<u32>, has_chat_template: bool) -> ModelInfo {
        ModelInfo {
            architecture: self.config.architecture.name().into(),
            source: match self.checkpoint.description {
                checkpoint::Description::HuggingFace(_) => "safetensors",
                checkpoint::Description::Gguf(_) => "gguf",
            }
            .into(),
            weights: backend.weights,
            parameters: backend.parameters,
            weight_bytes: backend.weight_bytes,
            bytes_per_token: backend.bytes_per_token,
            vocabulary: self.spec.vocab,
            layers: self.spec.layers.len(),
            width: self.spec.width,
            heads: self.spec.heads,
            kv_heads: self.spec.kv_heads,
            head_width: self.spec.head_dim,
            context: self.context,
            max_context: self.spec.max_context,
            device: backend.device,
            device_note: backend.device_note,
            threads: backend.threads,
            eos_ids,
            has_chat_template,
        }
    }
}

/// Where the weights go.
fn weights(options: &LoadOptions, spec: &ModelSpec, checkpoint: &Checkpoint, context: usize) -> Result<Loading> {
    let format = options.weights;
    let cpu = |note| Loading::to_cpu(spec, checkpoint, format, options.threads, context, note);
    match options.device {
        DeviceChoice::Cpu => cpu(None),
        DeviceChoice::Cuda(ordinal) => Loading::to_cuda(spec, checkpoint, format, ordinal, context),
        DeviceChoice::Auto => match Loading::to_cuda(spec, checkpoint, format, 0, context) {
            Ok(loading) => Ok(loading),
            Err(reason) => cpu(Some(reason.to_string())),
        },
    }
}

fn context(options: &LoadOptions, max_context: usize) -> Result<usize> {
    match options.context {
        None => Ok(max_context.min(DEFAULT_CONTEXT)),
        Some(context) if (1..=max_context).contains(&context) => Ok(context),
        Some(context) => Err(Error::InvalidOption {
            option: "context".into(),
            expected: format!("1 to {max_context}, the model's own"),
            found: context.to_string(),
        }),
    }
}
