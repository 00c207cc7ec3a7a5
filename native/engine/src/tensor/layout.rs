//! Views laid out anew: the elements of shape, strides and offset, in row-major order.
//!
//! Axes that lie side by side become one run; runs are copied. No element is looked at.

use super::{Alive, PIECE, Result, check_bytes, invalid, product, wanted};

/// One axis: how many steps, how many bytes apart.
#[derive(Clone, Copy)]
struct Axis {
    length: usize,
    step: usize,
}

/// `strides` and `offset` count elements of `width` bytes.
pub fn contiguous(
    width: usize,
    shape: &[usize],
    strides: &[usize],
    offset: usize,
    data: &[u8],
    out: &mut [u8],
    alive: Alive<'_>,
) -> Result<()> {
    let size = product(shape)?;
    check_bytes("result", out, product(&[size, width])?)?;
    if shape.len() != strides.len() || !matches!(width, 1 | 2 | 4 | 8) {
        return Err(invalid("strides", "one for each axis", format!("{} of {}", strides.len(), shape.len())));
    }
    if size == 0 {
        return Ok(());
    }
    check_reach(width, shape, strides, offset, data)?;
    let (mut axes, mut run) = (vec![], width);
    for (&length, &stride) in shape.iter().zip(strides).rev() {
        let step = stride.saturating_mul(width);
        if axes.is_empty() && (length == 1 || step == run) {
            run *= length;
        } else if length > 1 {
            axes.push(Axis { length, step });
        }
    }
    axes.reverse();
    let mut target = Target { rest: out, until_look: PIECE, alive };
    let start = offset * width;
    match run {
        2 => target.copy::<2>(&axes, data, start),
        4 => target.copy::<4>(&axes, data, start),
        8 => target.copy::<8>(&axes, data, start),
        _ => target.copy_runs(&axes, run, data, start),
    }
}

/// The last element lies within the data.
fn check_reach(width: usize, shape: &[usize], strides: &[usize], offset: usize, data: &[u8]) -> Result<()> {
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(offset, |place, (length, stride)| length.checked_sub(1)?.checked_mul(*stride)?.checked_add(place));
    let end = last.and_then(|last| last.checked_add(1)?.checked_mul(width));
    if end.is_some_and(|end| end <= data.len()) {
        return Ok(());
    }
    Err(invalid("view", format!("elements within {} bytes", data.len()), format!("{shape:?} at {strides:?}")))
}

struct Target<'a> {
    rest: &'a mut [u8],
    until_look: usize,
    alive: Alive<'a>,
}

impl<'a> Target<'a> {
    fn take(&mut self, count: usize) -> Result<&'a mut [u8]> {
        self.until_look = match self.until_look.checked_sub(count) {
            Some(left) => left,
            None => {
                wanted(self.alive)?;
                PIECE
            }
        };
        let rest = std::mem::take(&mut self.rest);
        let (taken, rest) = rest.split_at_mut_checked(count).ok_or_else(too_short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Runs of as many bytes as an element has: the inner loop is a loop over elements.
    fn copy<const WIDTH: usize>(&mut self, axes: &[Axis], data: &[u8], start: usize) -> Result<()> {
        match axes {
            [] => self.copy_runs(axes, WIDTH, data, start),
            [axis] => {
                let taken = self.take(axis.length * WIDTH)?;
                for (index, element) in taken.chunks_exact_mut(WIDTH).enumerate() {
                    let place = start + index * axis.step;
                    element.copy_from_slice(data.get(place..place + WIDTH).ok_or_else(too_short)?);
                }
                Ok(())
            }
            [axis, inner @ ..] => {
                (0..axis.length).try_for_each(|index| self.copy::<WIDTH>(inner, data, start + index * axis.step))
            }
        }
    }

    fn copy_runs(&mut self, axes: &[Axis], run: usize, data: &[u8], start: usize) -> Result<()> {
        match axes {
            [] => {
                let from = data.get(start..start + run).ok_or_else(too_short)?;
                self.take(run)?.copy_from_slice(from);
                Ok(())
            }
            [axis, inner @ ..] => {
                (0..axis.length).try_for_each(|index| self.copy_runs(inner, run, data, start + index * axis.step))
            }
        }
    }
}

fn too_short() -> crate::error::Error {
    invalid("view", "elements within the data", "one beyond its end")
}
