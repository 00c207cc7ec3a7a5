//! From logits to the next token.
//!
//! One written definition, the same on every backend:
//! 1. repetition penalty r: the logit of every token of the sequence so far becomes l / r if l > 0, else l r;
//! 2. temperature 0: the largest logit wins, of equals the lowest id. Otherwise weights are e^((l - max) / T), counted in
//!    whole units of 2^-44;
//! 3. candidates are ordered by logit, largest first, equals by id; top-k keeps the first k; top-p the shortest
//!    prefix whose share of what is left reaches p; min-p those of at least p times the first one's weight;
//! 4. a uniform u in [0, 1) picks the first candidate at which the running sum of weights exceeds u times their total.
//!
//! Whole units make a sum the same in every order, so a GPU that adds up in parallel chooses the same token.
//!
//! u is a function of (seed, position) alone: ChaCha20 with the seed as key (eight bytes, little-endian, then zeros),
//! block number = position of the new token in the sequence; its first eight bytes, little-endian, shifted right by 11
//! and times 2^-53.

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::error::{Error, Result};

/// How the next token is chosen; see the module for the meaning of each field.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is argmax.
    pub temperature: f32,
    /// None: all.
    pub top_k: Option<usize>,
    /// 1 is off.
    pub top_p: f32,
    /// 0 is off.
    pub min_p: f32,
    /// 1 is off.
    pub repetition_penalty: f32,
    pub seed: u64,
}

impl Default for Sampling {
    /// Argmax.
    fn default() -> Self {
        Sampling { temperature: 0.0, top_k: None, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Errors: `InvalidOption` for a value out of its range.
    pub fn check(&self) -> Result<()> {
        within("temperature", self.temperature, "a number from 0 to 100", (0.0..=100.0).contains(&self.temperature))?;
        within("top_p", self.top_p, "a number above 0, at most 1", self.top_p > 0.0 && self.top_p <= 1.0)?;
        within("min_p", self.min_p, "a number from 0, below 1", (0.0..1.0).contains(&self.min_p))?;
        let penalty = self.repetition_penalty;
        within("repetition_penalty", penalty, "a number above 0, at most 100", penalty > 0.0 && penalty <= 100.0)?;
        if self.top_k == Some(0) {
            return Err(Error::InvalidOption {
                option: "top_k".into(),
                expected: "at least 1".into(),
                found: "0".into(),
            });
        }
        Ok(())
    }

    /// Whether the largest logit wins as it is.
    pub fn is_argmax(&self) -> bool {
        self.temperature == 0.0 && self.repetition_penalty == 1.0
    }

    /// The next token of a sequence, which goes to `position`. `logits` are changed where the penalty asks for it.
    pub fn sample(&self, logits: &mut [f32], sequence: &[u32], position: usize) -> Result<u32> {
        if self.repetition_penalty != 1.0 {
            penalise(logits, sequence, self.repetition_penalty);
        }
        let best = argmax(logits)?;
        if self.temperature == 0.0 {
            return Ok(best);
        }
        let (most, cuts) = (logits[best as usize], Cuts::of(self));
        let weight = |id: u32| cuts.weight(most, logits[id as usize]);
        // Those further out weigh nothing, and come last.
        let floor = f64::from(most) - (Cuts::FARTHEST + 1.0) * f64::from(self.temperature);
        let mut candidates = Candidates::new(logits, self.top_k, |id| f64::from(logits[id as usize]) >= floor);
        let mut sum = candidates.all().iter().map(|id| u128::from(weight(*id))).sum::<u128>();
        // top-p and min-p both keep a prefix: find its weight.
        let enough = (sum * u128::from(cuts.top_p)).div_ceil(u128::from(Cuts::WHOLE));
        if enough < sum || cuts.least > 1 {
            let mut kept = 0;
            sum = 0;
            while let Some(id) = candidates.get(kept) {
                let next = weight(id);
                if kept > 0 && (sum >= enough || next < cuts.least) {
                    break;
                }
                (kept, sum) = (kept + 1, sum + u128::from(next));
            }
        }
        let target = (u128::from(uniform_bits(self.seed, position as u64)) * sum) >> 53;
        let (mut running, mut index) = (0, 0);
        while let Some(id) = candidates.get(index) {
            running += u128::from(weight(id));
            if running > target {
                return Ok(id);
            }
            index += 1;
        }
        // Not reached: the target is below the sum.
        Ok(best)
    }
}

/// What decides about a session's next tokens.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    pub sampling: &'a Sampling,
    /// All tokens so far.
    pub sequence: &'a [u32],
}

/// Temperature and cuts as the sums of weights see them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cuts {
    /// 1 / temperature; 0 is argmax.
    pub inverse: f64,
    /// `usize::MAX`: all.
    pub top_k: usize,
    /// In units of 1 / `WHOLE`.
    pub top_p: u64,
    /// The smallest weight that min-p leaves, at least 1.
    pub least: u64,
}

impl Cuts {
    /// What the largest logit weighs.
    pub const UNITS: u64 = 1 << 44;
    /// Times the temperature below the largest logit: a weight there is less than half a unit.
    const FARTHEST: f64 = 32.0;
    /// A `top_p` of 1.
    pub const WHOLE: u64 = 1 << 32;

    pub fn of(sampling: &Sampling) -> Cuts {
        let temperature = f64::from(sampling.temperature);
        Cuts {
            inverse: if temperature == 0.0 { 0.0 } else { 1.0 / temperature },
            top_k: sampling.top_k.unwrap_or(usize::MAX),
            top_p: (f64::from(sampling.top_p) * Cuts::WHOLE as f64).ceil() as u64,
            least: ((f64::from(sampling.min_p) * Cuts::UNITS as f64).ceil() as u64).max(1),
        }
    }

    /// The weight of a logit where `most` is the largest; it never grows as the logit falls.
    ///
    /// The distance is cut to 2^-40, far above the error of the series, and every step but that is one rounding.
    pub fn weight(&self, most: f32, logit: f32) -> u64 {
        const LOG2_E: f64 = std::f64::consts::LOG2_E;
        // ln 2 as a sum; the first has few enough bits that its small multiples are exact.
        const LN_2: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);
        const FINE: f64 = (1_u64 << 40) as f64;
        let distance = (f64::from(most) - f64::from(logit)) * self.inverse;
        if distance >= Self::FARTHEST {
            return 0;
        }
        let distance = (distance * FINE) as i64 as f64 * (1.0 / FINE);
        let halvings = (distance * LOG2_E + 0.5) as i64;
        let rest = halvings as f64 * LN_2.0 - distance + halvings as f64 * LN_2.1;
        let series = SERIES.iter().fold(1.0 / 6_227_020_800.0, |sum, term| sum * rest + term);
        let scale = f64::from_bits(((1023 + 44 - halvings) as u64) << 52);
        (series * scale + 0.5) as u64
    }
}

/// 1 / 12! down to 1 / 0!
const SERIES: [f64; 13] = [
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// Token ids by falling logit, put in order only as far as someone looks.
struct Candidates<'a> {
    logits: &'a [f32],
    ids: Vec<u32>,
    ordered: usize,
}

impl<'a> Candidates<'a> {
    /// The first `top_k` of those that `counts`.
    fn new(logits: &'a [f32], top_k: Option<usize>, counts: impl Fn(u32) -> bool) -> Self {
        let mut ids: Vec<u32> = (0..logits.len() as u32).filter(|id| counts(*id)).collect();
        let mut candidates = Candidates { logits, ordered: 0, ids: vec![] };
        if let Some(k) = top_k
            && k < ids.len()
        {
            ids.select_nth_unstable_by(k, |a, b| candidates.order(*a, *b));
            ids.truncate(k);
        }
        candidates.ids = ids;
        candidates
    }

    fn order(&self, a: u32, b: u32) -> std::cmp::Ordering {
        // Adding 0 makes -0 equal to 0.
        let (left, right) = (self.logits[a as usize] + 0.0, self.logits[b as usize] + 0.0);
        right.total_cmp(&left).then(a.cmp(&b))
    }

    /// All of them, in no particular order behind the ordered ones.
    fn all(&self) -> &[u32] {
        &self.ids
    }

    /// The `index`-th by falling logit.
    fn get(&mut self, index: usize) -> Option<u32> {
        if index >= self.ids.len() {
            return None;
        }
        while index >= self.ordered {
            // Each look doubles what is ordered: a peaked distribution never sorts the vocabulary.
            let end = (self.ordered * 2).max(64).min(self.ids.len());
            let mut ids = std::mem::take(&mut self.ids);
            let rest = &mut ids[self.ordered..];
            let count = end - self.ordered;
            if count < rest.len() {
                rest.select_nth_unstable_by(count, |a, b| self.order(*a, *b));
            }
            rest[..count].sort_unstable_by(|a, b| self.order(*a, *b));
            (self.ids, self.ordered) = (ids, end);
        }
        self.ids.get(index).copied()
    }
}

/// The uniform number in [0, 1) that decides about the token at `position`.
pub fn uniform(seed: u64, position: u64) -> f64 {
    uniform_bits(seed, position) as f64 / (1_u64 << 53) as f64
}

/// The same times 2^53.
pub fn uniform_bits(seed: u64, position: u64) -> u64 {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut stream = ChaCha20Rng::from_seed(key);
    // A block is sixteen words.
    stream.set_word_pos(u128::from(position) * 16);
    stream.next_u64() >> 11
}

/// Natural logarithms of the softmax: the token's own, and those of the `top` most likely.
pub fn log_probabilities(logits: &[f32], id: u32, top: usize) -> (f32, Vec<(u32, f32)>) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    let log = |id: u32| {
        let logit = logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        (f64::from(logit - most) - total.ln()) as f32
    };
    let mut candidates = Candidates::new(logits, Some(top.max(1)), |_| true);
    (log(id), (0..top).map_while(|i| candidates.get(i)).map(|id| (id, log(id))).collect())
}

fn argmax(logits: &[f32]) -> Result<u32> {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (id as u32, *logit);
        }
    }
    if best.1.is_finite() && !logits.iter().any(|logit| logit.is_nan()) {
        return Ok(best.0);
    }
    Err(Error::malformed("logits", "finite numbers", "an overflow: the weights or the activations are out of range"))
}

fn penalise(logits: &mut [f32], sequence: &[u32], penalty: f32) {
    let mut seen = vec![false; logits.len()];
    for id in sequence {
        if let (Some(logit), Some(seen)) = (logits.get_mut(*id as usize), seen.get_mut(*id as usize))
            && !std::mem::replace(seen, true)
        {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

fn within(option: &str, value: f32, expected: &str, holds: bool) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::InvalidOption { option: option.into(), expected: expected.into(), found: value.to_string() })
}
