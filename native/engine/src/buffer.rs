//! Memory for weights and caches: cache-line aligned, zeroed, and refused with a typed error when short.

use crate::error::{Error, Result};

/// One cache line; a vector of them is aligned for every vector width.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Owned bytes that start on a cache line.
pub struct Buffer {
    lines: Vec<Line>,
    bytes: usize,
}

impl Buffer {
    /// Zeroed memory; `OutOfMemory` says how much was wanted and how much was free.
    pub fn new(bytes: usize) -> Result<Self> {
        expect_free(bytes as u64)?;
        let count = bytes.div_ceil(64);
        let mut lines = Vec::new();
        let short = |_| Error::OutOfMemory { wanted_bytes: bytes as u64, free_bytes: free_bytes() };
        lines.try_reserve_exact(count).map_err(short)?;
        lines.resize(count, Line([0; 64]));
        Ok(Buffer { lines, bytes })
    }

    /// Zeroed memory for `count` floats.
    pub fn floats(count: usize) -> Result<Self> {
        let bytes = count.checked_mul(4);
        let short = Error::OutOfMemory { wanted_bytes: u64::MAX, free_bytes: free_bytes() };
        Self::new(bytes.ok_or(short)?)
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.bytes]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.bytes]
    }

    pub fn as_floats(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.bytes / 4]
    }

    pub fn as_floats_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.bytes / 4]
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes)
    }
}

/// `OutOfMemory` where so many bytes are not free.
pub fn expect_free(wanted_bytes: u64) -> Result<()> {
    let free_bytes = free_bytes();
    if wanted_bytes > free_bytes { Err(Error::OutOfMemory { wanted_bytes, free_bytes }) } else { Ok(()) }
}

/// Bytes that may still be taken: what the system has available, or less where a cgroup or `ulimit -v` says so.
pub fn free_bytes() -> u64 {
    let system = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    // The page cache counts as used there, but gives way.
    let cache = std::fs::read_to_string("/sys/fs/cgroup/memory.stat")
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("file "))?.trim().parse::<u64>().ok());
    let group = number("/sys/fs/cgroup/memory.max").map(|most| {
        let used = number("/sys/fs/cgroup/memory.current").unwrap_or(0);
        most.saturating_sub(used.saturating_sub(cache.unwrap_or(0)))
    });
    // Where none can be read, the allocator is the judge.
    [system, group, address_space()].into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// What is left of the address space, where that is limited.
fn address_space() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let most = line.split_whitespace().next()?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    let used = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)?;
    Some(most.saturating_sub(used))
}
