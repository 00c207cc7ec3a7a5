//! The choice of the next tokens on the device: the largest logits, or a draw from each row's.

use super::{
    argument::Argument,
    driver::Memory,
    forward::{ARGMAX_PARTS, CudaModel},
    pass::Pass,
    sampling::{self, Feed},
};
use crate::{error::Result, sampler::Choice};

impl CudaModel {
    /// Whether `decode` chooses as this asks for.
    pub fn can_choose(&self, choice: &Choice) -> bool {
        choice.sampling.is_argmax() || sampling::can_draw(self.spec.vocab)
    }

    /// Queues a decoding pass: a token of each row, its choice and its way to the next position.
    pub(super) fn queue_choice(&self, pass: &Pass, rows: u32, spans: u32, draws: bool) -> Result<()> {
        match &self.decoder {
            Some(decoder) if rows == 1 && !draws => decoder.queue(pass, &self.spec, &self.weights, true),
            _ => {
                self.queue(pass, rows, spans, rows, false)?;
                if draws { self.draw(pass, rows) } else { self.choose(pass, rows) }
            }
        }
    }

    /// Argmax of all rows' logits, put where the next pass reads it.
    fn choose(&self, pass: &Pass, rows: u32) -> Result<()> {
        let best = Argument::Address(pass.best.at());
        let arguments = [pass.logits.at(), pass.logits.stride(), Argument::Count(self.spec.vocab as u32), best];
        self.launch(pass, &self.kernels.argmax_parts, [ARGMAX_PARTS, rows, 1], 256, 0, &arguments)?;
        let address = |memory: &Memory| Argument::Address(memory.at());
        let arguments =
            [best, Argument::Count(ARGMAX_PARTS), address(&pass.rows), address(&pass.tokens), address(&pass.steps)];
        self.launch(pass, &self.kernels.argmax_feed, [rows, 1, 1], 256, 0, &arguments)
    }

    /// What each row's sampling says of its logits, put where the next pass reads it.
    fn draw(&self, pass: &Pass, rows: u32) -> Result<()> {
        let feed = Feed { rows: pass.rows.at(), tokens: pass.tokens.at(), steps: pass.steps.at() };
        let logits = &pass.logits;
        // SAFETY: the pass has BATCH rows of each, and lives until the stream is done.
        unsafe { pass.sampler.queue(&pass.stream, logits.memory.at(), logits.stride, rows, feed) }
    }
}
