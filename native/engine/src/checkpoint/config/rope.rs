//! Rotary embeddings as a config tells them; model/rope.rs computes their frequencies.
//!
//! `RopeConfig` comes out of config.json's `rope_parameters` or `rope_scaling`, or out of GGUF's
//! `rope.*` keys and factor tensors.
//!
//! The one surprise: numbers stay f64 until the formula of the source rounds them, because the
//! reference mixes Python floats with f32 tensors and a table must come out bit for bit.

use super::json::Fields;
use crate::error::{Error, Result};

/// One rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    pub theta: f64,
    /// Dimensions of a head that rotate; even.
    pub rotary: usize,
    pub scaling: Scaling,
}

/// How the frequencies theta^(-2i/rotary) are bent for longer contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    None,
    /// All divided by `factor`.
    Linear {
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original_context: usize,
    },
    /// YaRN, arXiv 2309.00071.
    Yarn(Yarn),
    /// LongRoPE, arXiv 2402.13753: each frequency divided by its own factor, of one list up to
    /// `original_context` positions and of another beyond. Lists are [rotary / 2].
    LongRope {
        short: Vec<f32>,
        long: Vec<f32>,
        original_context: usize,
        magnitude: f64,
    },
    /// Each frequency divided by its own factor (GGUF's rope_freqs.weight): [rotary / 2].
    Divided(Vec<f32>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Yarn {
    pub factor: f64,
    pub original_context: usize,
    pub beta_fast: f64,
    pub beta_slow: f64,
    /// The ramp's ends are rounded to whole dimensions.
    pub truncate: bool,
    /// cos and sin are multiplied by this.
    pub magnitude: f64,
}

/// YaRN's attention factor: how much longer dot products must get for a context `scale` times as long.
pub fn yarn_magnitude(scale: f64, mscale: f64) -> f64 {
    if scale <= 1.0 { 1.0 } else { 0.1 * mscale * scale.ln() + 1.0 }
}

/// LongRoPE's attention factor.
pub fn longrope_magnitude(factor: f64, original_context: usize) -> f64 {
    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original_context as f64).ln()).sqrt() }
}

/// What the rest of config.json contributes to a rope.
pub struct Surroundings<'a> {
    /// The whole config.
    pub config: Fields<'a>,
    pub theta: f64,
    pub head_dim: usize,
    pub max_context: usize,
    /// Share of a head that rotates, unless the rope's own object says another; None: this
    /// architecture's plain rope turns whole heads, whatever a config says.
    pub partial: Option<f64>,
    /// Wins over the rope's own object, as in the reference.
    pub original_context: Option<usize>,
    /// Phi-3 called LongRoPE "su" and "yarn" at first.
    pub old_longrope_names: bool,
}

impl RopeConfig {
    pub fn plain(theta: f64, rotary: usize) -> RopeConfig {
        RopeConfig { theta, rotary, scaling: Scaling::None }
    }

    /// Reads a `rope_parameters` or `rope_scaling` object.
    pub fn from_json(rope: Option<Fields>, kind: &str, around: &Surroundings) -> Result<RopeConfig> {
        let Some(rope) = rope else {
            return Ok(RopeConfig::plain(around.theta, around.rotary(around.partial.unwrap_or(1.0))?));
        };
        let theta = rope.float("rope_theta")?.unwrap_or(around.theta);
        let partial = match (around.partial, rope.float("partial_rotary_factor")?) {
            (Some(partial), own) => own.unwrap_or(partial),
            (None, None) => 1.0,
            (None, Some(_)) if kind == "default" => 1.0,
            (None, Some(1.0)) => 1.0,
            (None, Some(own)) => {
                return Err(Error::unsupported(
                    "config.json: partial_rotary_factor",
                    "1.0 for this architecture and rope type",
                    own.to_string(),
                ));
            }
        };
        let rotary = around.rotary(partial)?;
        let original_context = match around.original_context {
            Some(length) => length,
            None => rope.uint("original_max_position_embeddings")?.unwrap_or(around.max_context),
        };
        let stretch = around.max_context as f64 / original_context as f64;
        let need = |key: &str| rope.float(key)?.ok_or_else(|| rope.wrong(key, "a number, as this rope type needs it"));
        let scaling = match (kind, around.old_longrope_names) {
            // "dynamic" bends frequencies only beyond max_position_embeddings, where this engine never goes.
            ("default" | "dynamic", _) => Scaling::None,
            ("linear", _) => Scaling::Linear { factor: need("factor")? },
            ("llama3", _) => Scaling::Llama3 {
                factor: need("factor")?,
                low: need("low_freq_factor")?,
                high: need("high_freq_factor")?,
                original_context,
            },
            ("longrope", _) | ("su" | "yarn", true) => {
                let list = |key: &str| -> Result<Vec<f32>> {
                    let list = rope.floats(key)?.ok_or_else(|| rope.wrong(key, "a list of numbers"))?;
                    Ok(list.into_iter().map(|factor| factor as f32).collect())
                };
                let factor = rope.float("factor")?.unwrap_or(stretch);
                let magnitude = match rope.float("attention_factor")? {
                    Some(magnitude) => magnitude,
                    None => longrope_magnitude(factor, original_context),
                };
                Scaling::LongRope {
                    short: list("short_factor")?,
                    long: list("long_factor")?,
                    original_context,
                    magnitude,
                }
            }
            ("yarn", false) => {
                let factor = rope.float("factor")?.unwrap_or(stretch);
                let non_zero = |key: &str| Ok::<_, Error>(rope.float(key)?.filter(|number| *number != 0.0));
                let magnitude =
                    match (rope.float("attention_factor")?, non_zero("mscale")?, non_zero("mscale_all_dim")?) {
                        (Some(magnitude), ..) => magnitude,
                        (None, Some(mscale), Some(all)) => yarn_magnitude(factor, mscale) / yarn_magnitude(factor, all),
                        _ => yarn_magnitude(factor, 1.0),
                    };
                Scaling::Yarn(Yarn {
                    factor,
                    original_context,
                    beta_fast: non_zero("beta_fast")?.unwrap_or(32.0),
                    beta_slow: non_zero("beta_slow")?.unwrap_or(1.0),
                    truncate: rope.bool("truncate")?.unwrap_or(true),
                    magnitude,
                })
            }
            _ => {
                return Err(Error::unsupported(
                    "config.json: rope_type",
                    "one of default, linear, dynamic, llama3, longrope, yarn",
                    format!("rope type {kind:?}"),
                ));
            }
        };
        Ok(RopeConfig { theta, rotary, scaling })
    }

    /// Ranges and list lengths.
    pub fn check(&self, at: &str, head_dim: usize) -> Result<()> {
        let wrong = |name: &str, expected: &str, found: String| {
            Err(Error::malformed(format!("{at}: rope {name}"), expected, found))
        };
        if self.rotary == 0 || self.rotary > head_dim || !self.rotary.is_multiple_of(2) {
            return wrong("width", &format!("even, 2 to the head's {head_dim}"), self.rotary.to_string());
        }
        let positive = |name: &str, value: f64| {
            if (1e-9..=1e15).contains(&value) { Ok(()) } else { wrong(name, "1e-9 to 1e15", value.to_string()) }
        };
        positive("theta", self.theta)?;
        let factors = |name: &str, list: &[f32]| {
            if list.len() != self.rotary / 2 {
                return wrong(name, &format!("{} factors", self.rotary / 2), list.len().to_string());
            }
            list.iter().try_for_each(|factor| positive(name, f64::from(*factor)))
        };
        match &self.scaling {
            Scaling::None => Ok(()),
            Scaling::Linear { factor } => positive("factor", *factor),
            Scaling::Llama3 { factor, low, high, original_context } => {
                positive("factor", *factor)?;
                positive("low_freq_factor", *low)?;
                positive("original context", *original_context as f64)?;
                positive("high_freq_factor - low_freq_factor", high - low)
            }
            Scaling::Yarn(yarn) => {
                positive("factor", yarn.factor)?;
                positive("original context", yarn.original_context as f64)?;
                positive("beta_fast", yarn.beta_fast)?;
                positive("beta_slow", yarn.beta_slow)?;
                positive("theta - 1", self.theta - 1.0)?;
                positive("attention factor", yarn.magnitude)
            }
            Scaling::LongRope { short, long, original_context, magnitude } => {
                factors("short factors", short)?;
                factors("long factors", long)?;
                positive("original context", *original_context as f64)?;
                positive("attention factor", *magnitude)
            }
            Scaling::Divided(list) => factors("rope_freqs.weight", list),
        }
    }
}

impl Surroundings<'_> {
    fn rotary(&self, partial: f64) -> Result<usize> {
        // The cast truncates as Python's int() does; a share out of range never gets there.
        if partial > 0.0 && partial <= 1.0 {
            return Ok((self.head_dim as f64 * partial) as usize);
        }
        Err(self.config.wrong("partial_rotary_factor", "above 0, at most 1"))
    }
}
