//! Weights on their way to the device: several threads read chunks into page-locked memory, from which the device copies by
//! itself while the next ones are read.
//!
//! A lane is a thread's memory: two staging halves with a stream each. A half is filled only after its last copy is done, so
//! the host holds a few chunks whatever the model's size. The surprise: `fill` returns while copies are under way; `settle`
//! waits for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    driver::{Device, Pinned, Stream},
    weights::Matrix,
};
use crate::{
    backend::weights::{CHUNK_BYTES, Chunk, Read, Store},
    error::{Error, Result},
    quant::Format,
};

/// Threads that read.
const LANES: usize = 4;
/// Chunks of a lane between two looks at the clock and the caller.
const CHUNKS: usize = 4;

/// The memory of a device, and the lanes to it.
#[derive(Debug)]
pub struct Vram {
    device: Arc<Device>,
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    device: Arc<Device>,
    /// Rows as they are stored, where they are packed on the way.
    stored: Vec<u8>,
    halves: [Half; 2],
    next: usize,
}

#[derive(Debug)]
struct Half {
    staged: Pinned,
    stream: Stream,
}

impl Vram {
    pub fn new(device: &Arc<Device>) -> Vram {
        Vram { device: Arc::clone(device), lanes: vec![] }
    }
}

impl Store for Vram {
    type Matrix = Matrix;

    fn matrix(&self, format: Format, rows: usize, cols: usize) -> Result<Matrix> {
        if Format::PACKED.contains(&format) {
            return Err(Error::unsupported("weights", "Keep or Fp8 on a GPU", format.name()));
        }
        Matrix::new(&self.device, format, rows, cols)
    }

    fn free_bytes(&self) -> u64 {
        self.device.free_bytes()
    }

    fn together(&self) -> usize {
        LANES * CHUNKS
    }

    fn fill(&mut self, matrix: &mut Matrix, chunks: &[Chunk], read: Read) -> Result<()> {
        while self.lanes.len() < LANES.min(chunks.len()) {
            self.lanes.push(Lane::new(&self.device)?);
        }
        let (next, matrix) = (AtomicUsize::new(0), &*matrix);
        let work = |lane: &mut Lane| {
            lane.device.enter()?;
            while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                lane.put(matrix, chunk, read)?;
            }
            Ok(())
        };
        let Some((own, others)) = self.lanes.split_first_mut() else { return Ok(()) };
        thread::scope(|scope| {
            let others = &mut others[..chunks.len().min(LANES).saturating_sub(1)];
            let threads: Vec<_> = others
                .iter_mut()
                .map(|lane| thread::Builder::new().name("viva_read".into()).spawn_scoped(scope, || work(lane)))
                .collect();
            let mut done = work(own);
            // One that could not be started leaves its chunks to the others.
            for thread in threads.into_iter().flatten() {
                let lost = |_| Err(Error::Internal { reason: "a thread that read weights was lost".into() });
                done = done.and(thread.join().unwrap_or_else(lost));
            }
            done
        })
    }

    fn settle(&mut self) -> Result<()> {
        self.device.enter()?;
        let mut halves = self.lanes.iter().flat_map(|lane| &lane.halves);
        halves.try_for_each(|half| half.stream.wait())
    }
}

impl Drop for Vram {
    fn drop(&mut self) {
        // Copies may be under way from memory that goes now.
        let _ = self.settle();
    }
}

impl Lane {
    fn new(device: &Arc<Device>) -> Result<Lane> {
        let half = || Ok(Half { staged: device.pinned(CHUNK_BYTES)?, stream: device.stream()? });
        Ok(Lane { device: Arc::clone(device), stored: vec![], halves: [half()?, half()?], next: 0 })
    }

    /// Reads a chunk and queues its copies.
    fn put(&mut self, matrix: &Matrix, chunk: &Chunk, read: Read) -> Result<()> {
        let half = &mut self.halves[self.next];
        self.next = 1 - self.next;
        half.stream.wait()?;
        let bytes = matrix.packed_bytes(chunk.places.len());
        if half.staged.as_slice::<u8>().len() < bytes {
            half.staged = self.device.pinned(bytes)?;
        }
        let Some(staged) = half.staged.as_mut_slice::<u8>().get_mut(..bytes) else {
            return Err(Error::Internal { reason: format!("{bytes} bytes to stage") });
        };
        if let Some(offset) = matrix.offset_as_stored(&chunk.places) {
            read(chunk, staged)?;
            return half.stream.send_part(&half.staged, 0..bytes, matrix.memory(), offset);
        }
        self.stored.resize(chunk.bytes(), 0);
        read(chunk, &mut self.stored)?;
        let pieces = matrix.pack(&chunk.places, &self.stored, staged)?;
        let mut pieces = pieces.into_iter();
        pieces.try_for_each(|piece| half.stream.send_part(&half.staged, piece.from, matrix.memory(), piece.to))
    }
}
