//! The speed of linears with packed weights on the first GPU, beside NVIDIA's own libraries in the same run.
//!
//! `bench_linear_gpu RESULTS [many|few]` adds to a JSON file and prints an object a line. m is the rows of inputs, n the outputs, k the
//! inputs. Every product is checked at some places against whole numbers or float64 on the host, on inputs that are drawn anew;
//! a wrong one ends the run. `many`: products on tensor cores; operations are counted as those of a dense product, 2 m n k.
//! `few`: one and eight rows, in packed bytes a second beside a plain read of device memory.
//!
//! The surprise: `tflops` is the product alone, of rows that are rounded already, as the libraries' figure is; `whole_tflops`
//! begins with bf16 inputs and rounds them.

use std::{
    error::Error,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use gpu::Results;
use serde_json::{Value, json};
use viva_tensor_engine::{
    backend::{
        cuda::{
            self,
            driver::Memory,
            linear::{
                Element, Ending, Input, Linears, Pack, Road,
                cublaslt::{CublasLt, Operands},
                cusparselt::CusparseLt,
            },
        },
        packed::{Activations, PackedRows},
    },
    error::Result,
    quant::{Format, Packing, f8_e4m3, int8, largest},
};

#[allow(dead_code)] // its shapes are other benches'
mod gpu;

type Done = std::result::Result<(), Box<dyn Error>>;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        let mut bytes: Vec<u8> = words.collect();
        bytes.truncate(count);
        bytes
    }
}

/// Weights of random codes, of scales that keep products near 1.
fn random_rows(packing: Packing, inputs: usize, outputs: usize, random: &mut Random) -> PackedRows {
    const PLACES: [u8; 6] = [0b0100, 0b1000, 0b1100, 0b1001, 0b1101, 0b1110];
    let format = packing.format;
    let mut bytes = random.bytes(format.bytes_of(inputs).unwrap_or(0) * outputs);
    let block = format.block_bytes();
    match format {
        Format::F8E4m3 => bytes.iter_mut().for_each(|code| *code = if *code & 0x7f == 0x7f { 0x40 } else { *code }),
        Format::Int8Sparse24 | Format::Int4Sparse24 => {
            for last in bytes.iter_mut().skip(block - 1).step_by(block) {
                let two = usize::from(*last);
                *last = PLACES[two % 6] | PLACES[two / 6 % 6] << 4;
            }
        }
        _ => {}
    }
    let scales = (0..outputs * packing.scales(inputs)).map(|_| 1e-4 * (1.0 + (random.next() >> 40) as f32 / 16e6));
    let scales = scales.collect();
    PackedRows { packing, inputs, outputs, bytes, scales }
}

/// bf16 between -2 and 2, not all of one exponent.
fn random_inputs(count: usize, random: &mut Random) -> Vec<u16> {
    let mut all = Vec::with_capacity(count + 3);
    while all.len() < count {
        let bits = random.next();
        // Sign, the two lower bits of the exponent, and the mantissa.
        all.extend([0, 16, 32, 48].map(|shift| (bits >> shift) as u16 & 0x81ff | 0x3e00));
    }
    all.truncate(count);
    all
}

/// Codes and scale of a row, or the row.
fn codes(row: &[f32], activations: Activations) -> (Vec<f32>, f32) {
    match activations {
        Activations::Float => (row.to_vec(), 1.0),
        Activations::Int8 => {
            let scale = int8::scale(largest(row), 127.0);
            (row.iter().map(|x| f32::from(int8::code(*x, scale, 127.0))).collect(), scale)
        }
        Activations::F8E4m3 => {
            let scale = f8_e4m3::scale(largest(row));
            (row.iter().map(|x| f8_e4m3::value(f8_e4m3::code(*x / scale))).collect(), scale)
        }
    }
}

/// What a product may be off by, of the sum of its terms' magnitudes.
fn tolerance(road: Road, inputs: usize) -> f64 {
    match road {
        Road::FewWhole | Road::Whole(_) => 2.0_f64.powi(-21),
        Road::One | Road::Few => 2.0_f64.powi(-20) + 2.0_f64.powi(-23) * inputs as f64,
        Road::Float(_) | Road::Vendor => (inputs as f64 / 32.0 + 2.0) * 2.0_f64.powi(-13),
        Road::Half(_) => 2.0_f64.powi(-9) + 2.0_f64.powi(-23) * inputs as f64,
    }
}

struct Bench {
    linears: Linears,
    blas: Result<Arc<CublasLt>>,
    sparse: Result<CusparseLt>,
    ceiling: f64,
    random: Random,
    results: Results,
}

/// Seconds of one of `count` calls: the median of five laps.
fn seconds(linears: &Linears, count: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut laps = vec![];
    for lap in 0..6 {
        let start = Instant::now();
        for _ in 0..if lap == 0 { 2 } else { count } {
            work()?;
        }
        linears.wait()?;
        if lap > 0 {
            laps.push(start.elapsed().as_secs_f64() / count as f64);
        }
    }
    laps.sort_by(f64::total_cmp);
    Ok(laps[2])
}

fn rounded(value: f64, places: i32) -> f64 {
    (value * 10_f64.powi(places)).round() / 10_f64.powi(places)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

impl Bench {
    fn add(&mut self, product: &str, [m, n, k]: [usize; 3], more: Value) -> Done {
        let gpu = self.linears.device().name.clone();
        let mut one = json!({"gpu": gpu, "what": "linear", "product": product, "m": m, "n": n, "k": k});
        if let (Some(one), Some(more)) = (one.as_object_mut(), more.as_object()) {
            one.extend(more.clone());
        }
        Ok(self.results.add(one)?)
    }

    /// Some places of a product against the host.
    fn check(&mut self, rows: &PackedRows, x: &[f32], activations: Activations, road: Road, output: &Memory) -> Done {
        let (k, n) = (rows.inputs, rows.outputs);
        let found = floats(&output.read(x.len() / k * n * 4)?);
        let row_bytes = rows.row_bytes()?;
        for _ in 0..40 {
            let (t, o) = (self.random.next() as usize % (x.len() / k), self.random.next() as usize % n);
            let mut weights = vec![0.0; k];
            rows.packing.format.dequantize(&rows.bytes[o * row_bytes..(o + 1) * row_bytes], &mut weights)?;
            let (codes, scale) = codes(&x[t * k..(t + 1) * k], activations);
            let scales = &rows.scales[o * rows.packing.scales(k)..];
            let term = |i: usize| {
                let weight = f64::from(weights[i]) * f64::from(scales[i / rows.packing.scale_cols]);
                f64::from(codes[i]) * f64::from(scale) * weight
            };
            let (sum, size) = (0..k).fold((0.0, 0.0), |(sum, size), i| (sum + term(i), size + term(i).abs()));
            let found = f64::from(found[t * n + o]);
            let within = (found - sum).abs() <= tolerance(road, k) * size;
            if !within {
                let of = (rows.packing, road, x.len() / k, n, k);
                return Err(format!("{of:?}: {found} for {sum} at row {t}, output {o}; terms add up to {size}").into());
            }
        }
        Ok(())
    }

    fn many(&mut self, name: &str, packing: Packing, activations: Activations, [m, n, k]: [usize; 3]) -> Done {
        let rows = random_rows(packing, k, n, &mut self.random);
        let halves = random_inputs(m * k, &mut self.random);
        let x: Vec<f32> = halves.iter().map(|bits| f32::from_bits(u32::from(*bits) << 16)).collect();
        let device = self.linears.device().clone();
        let pack = self.linears.pack(&rows)?;
        let memory = device.upload(&halves)?;
        let output = device.upload(&vec![f32::NAN; m * n])?;
        let input = Input { memory: &memory, element: Element::Bf16, batch: m };
        let road = self.linears.road(&pack, activations, m)?;
        let operations = 2.0 * (m * n * k) as f64;
        let count = ((2e13 / operations) as usize).clamp(5, 50);
        let l = &self.linears;
        l.multiply(&pack, &input, activations, None, Ending::Store, &output)?;
        l.wait()?;
        self.check(&rows, &x, activations, road, &output)?;
        let l = &self.linears;
        let alone_on = |road| -> Result<f64> {
            let prepared = l.round_on(road, &pack, &input, activations)?;
            seconds(l, count, || l.multiply_rounded(&pack, &prepared, None, Ending::Store, &output))
        };
        let alone = alone_on(road)?;
        let own_road = l.own_road(&pack, activations, m)?;
        let own = if road == own_road { alone } else { alone_on(own_road)? };
        let whole = seconds(l, count, || l.multiply(&pack, &input, activations, None, Ending::Store, &output))?;
        // The kernels that run everywhere.
        l.multiply_on(road.narrow(), &pack, &input, activations, None, Ending::Store, &output)?;
        l.wait()?;
        self.check(&rows, &x, activations, road.narrow(), &output)?;
        let l = &self.linears;
        let narrow = seconds(l, count.div_ceil(4), || {
            l.multiply_on(road.narrow(), &pack, &input, activations, None, Ending::Store, &output)
        })?;
        let by = match road {
            Road::Vendor => l.library(&pack, activations),
            _ => None,
        };
        drop((pack, output, memory));
        let rate = |seconds: f64| rounded(operations / seconds / 1e12, 1);
        let mut more = json!({
            "tflops": rate(alone), "whole_tflops": rate(whole), "everywhere_tflops": rate(narrow),
            "own_tflops": rate(own), "by": by.as_deref().unwrap_or("own kernel"), "weight_bytes": rows.bytes.len(),
        });
        let vendor = match packing.format {
            Format::Int8Sparse24 | Format::Int4Sparse24 => self.sparse_vendor([m, n, k], count),
            Format::Int8 => self.dense_vendor(Operands::Int8, [m, n, k], count),
            Format::F8E4m3 if activations == Activations::F8E4m3 => {
                self.dense_vendor(Operands::F8E4m3, [m, n, k], count)
            }
            _ => self.dense_vendor(Operands::F16, [m, n, k], count),
        };
        match vendor {
            Ok((library, favourite, best)) => {
                more["vendor"] = json!(library);
                more["vendor_tflops"] = json!(rate(best));
                more["vendor_default_tflops"] = json!(rate(favourite));
                more["over_vendor"] = json!(rounded(best / alone, 3));
            }
            Err(reason) => more["vendor"] = json!(reason.to_string()),
        }
        self.add(name, [m, n, k], more)
    }

    /// Seconds by the library's favourite algorithm and by the fastest of those that it proposes.
    fn dense_vendor(
        &mut self,
        operands: Operands,
        [m, n, k]: [usize; 3],
        count: usize,
    ) -> std::result::Result<(&'static str, f64, f64), Box<dyn Error>> {
        let device = self.linears.device().clone();
        let bytes = if operands == Operands::F16 { 2 } else { 1 };
        let mut operand = |rows: usize| {
            let mut all = self.random.bytes(rows * k * bytes);
            match operands {
                Operands::F8E4m3 => all.iter_mut().for_each(|code| *code &= 0xbf),
                Operands::F16 => all.iter_mut().skip(1).step_by(2).for_each(|high| *high = *high & 0x83 | 0x34),
                Operands::Int8 => {}
            }
            all
        };
        let (a_host, b_host) = (operand(n), operand(m));
        let (a, b, d) = (device.upload(&a_host)?, device.upload(&b_host)?, device.memory(m * n * 4)?);
        let blas = self.blas.as_ref().map_err(Clone::clone)?;
        let plan = blas.plan(operands, m, n, k, None)?;
        let l = &self.linears;
        let mut times = vec![];
        for algorithm in 0..plan.algorithms() {
            // SAFETY: the three have the plan's shape, and live until the stream is done.
            let run = || unsafe { plan.multiply(&l.stream, algorithm, &a, &b, &d) };
            times.push(seconds(l, count.div_ceil(2), run)?);
        }
        if operands == Operands::Int8 {
            let found = d.read(m * n * 4)?;
            for _ in 0..10 {
                let (t, o) = (self.random.next() as usize % m, self.random.next() as usize % n);
                let pairs = a_host[o * k..(o + 1) * k].iter().zip(&b_host[t * k..(t + 1) * k]);
                let wanted: i32 = pairs.map(|(a, b)| i32::from(*a as i8) * i32::from(*b as i8)).sum();
                let at = (t * n + o) * 4;
                if found[at..at + 4] != wanted.to_le_bytes() {
                    return Err("cuBLASLt multiplies otherwise".into());
                }
            }
        }
        let best = times.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(("cuBLASLt", times[0], best))
    }

    fn sparse_vendor(
        &mut self,
        [m, n, k]: [usize; 3],
        count: usize,
    ) -> std::result::Result<(&'static str, f64, f64), Box<dyn Error>> {
        let device = self.linears.device().clone();
        let mut dense = self.random.bytes(n * k);
        for four in dense.as_chunks_mut::<4>().0 {
            let first = usize::from(four[0] & 3);
            let second = (first + 1 + usize::from(four[1] % 3)) % 4;
            four[first] = 0;
            four[second] = 0;
        }
        let x = self.random.bytes(m * k);
        let (dense_memory, b, d) = (device.upload(&dense)?, device.upload(&x)?, device.memory(m * n * 4)?);
        let sparse = self.sparse.as_ref().map_err(Clone::clone)?;
        let mut plan = sparse.plan(m, n, k)?;
        let l = &self.linears;
        // SAFETY: all have the plan's shape, and live until the stream is done.
        let a = unsafe { plan.compress(&l.stream, &dense_memory)? };
        drop(dense_memory);
        // SAFETY: as above.
        let favourite = seconds(l, count.div_ceil(2), || unsafe { plan.multiply(&l.stream, &a, &b, &d) })?;
        // SAFETY: as above.
        unsafe { plan.search(&l.stream, &a, &b, &d)? };
        // SAFETY: as above. The search may have chosen an order of its own.
        let best = seconds(l, count, || unsafe { plan.multiply(&l.stream, &a, &b, &d) })?;
        let found = d.read(m * n * 4)?;
        for _ in 0..10 {
            let (t, o) = (self.random.next() as usize % m, self.random.next() as usize % n);
            let pairs = dense[o * k..(o + 1) * k].iter().zip(&x[t * k..(t + 1) * k]);
            let wanted: i32 = pairs.map(|(a, b)| i32::from(*a as i8) * i32::from(*b as i8)).sum();
            let at = (t * n + o) * 4;
            if found[at..at + 4] != wanted.to_le_bytes() {
                return Err("cuSPARSELt multiplies otherwise".into());
            }
        }
        Ok(("cuSPARSELt", favourite, best.min(favourite)))
    }

    /// One and eight rows; several copies of the weight take turns, so that none is in the cache.
    fn few(&mut self, name: &str, packing: Packing, activations: Activations, [n, k]: [usize; 2]) -> Done {
        let rows = random_rows(packing, k, n, &mut self.random);
        let device = self.linears.device().clone();
        let first = self.linears.pack(&rows)?;
        let bytes = first.read_bytes();
        let mut packs = vec![first];
        while packs.len() < (192_usize << 20).div_ceil(bytes).max(2) {
            packs.push(self.linears.pack(&rows)?);
        }
        for m in [1, 8] {
            let halves = random_inputs(m * k, &mut self.random);
            let x: Vec<f32> = halves.iter().map(|bits| f32::from_bits(u32::from(*bits) << 16)).collect();
            let (memory, output) = (device.upload(&x)?, device.upload(&vec![f32::NAN; m * n])?);
            let input = Input { memory: &memory, element: Element::F32, batch: m };
            let road = self.linears.road(&packs[0], activations, m)?;
            let l = &self.linears;
            let multiply = |pack: &Pack| l.multiply(pack, &input, activations, None, Ending::Store, &output);
            multiply(&packs[0])?;
            l.wait()?;
            self.check(&rows, &x, activations, road, &output)?;
            let l = &self.linears;
            let calls = packs.len().max(16);
            let graph = l.stream.record(|| {
                (0..calls).try_for_each(|i| {
                    l.multiply(&packs[i % packs.len()], &input, activations, None, Ending::Store, &output)
                })
            })?;
            let took = seconds(l, 4, || l.stream.replay(&graph))? / calls as f64;
            let speed = bytes as f64 / took;
            let ceiling = self.ceiling;
            let more = json!({
                "us": rounded(took * 1e6, 2), "read_bytes": bytes, "gb_per_second": rounded(speed / 1e9, 0),
                "ceiling_gb_per_second": rounded(ceiling / 1e9, 0), "share_of_ceiling": rounded(speed / ceiling, 3),
            });
            self.add(name, [m, n, k], more)?;
        }
        Ok(())
    }
}

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(out) = arguments.first() else { return Err("usage: bench_linear_gpu RESULTS [many|few]".into()) };
    let wanted = |name: &str| arguments.len() < 2 || arguments[1..].iter().any(|given| given == name);
    let begun = Instant::now();
    let linears = Linears::new(&cuda::open(0)?)?;
    eprintln!("kernels after {:.1} s", begun.elapsed().as_secs_f64());
    let (blas, sparse) = (CublasLt::open(linears.device()).map(Arc::new), CusparseLt::open(linears.device()));
    for reason in [blas.as_ref().err(), sparse.as_ref().err()].into_iter().flatten() {
        eprintln!("{reason}");
    }
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64 | 1;
    let (ceiling, results) = (linears.read_bandwidth()?, Results::open(out)?);
    let mut bench = Bench { linears, blas, sparse, ceiling, random: Random(seed), results };
    use Activations::{F8E4m3, Float, Int8};
    let packing = |format, scale_cols| Packing { format, scale_cols };
    let mut failed = vec![];
    let mut note = |name: &str, done: Done| {
        if let Err(reason) = done {
            eprintln!("{name}: {reason}");
            failed.push(name.to_owned());
        }
    };
    if wanted("few") {
        // Of Llama 1B and of Llama 8B: attention's output, gate, down, head.
        for [n, k] in [
            [2048, 2048],
            [8192, 2048],
            [2048, 8192],
            [128_256, 2048],
            [4096, 4096],
            [14_336, 4096],
            [4096, 14_336],
            [128_256, 4096],
        ] {
            note("fp8", bench.few("fp8 w8a16", packing(Format::F8E4m3, k), Float, [n, k]));
            note("int8", bench.few("int8", packing(Format::Int8, k), Int8, [n, k]));
            note("int4", bench.few("int4 w4a16, groups of 128", packing(Format::Int4, 128), Float, [n, k]));
            note("int8 2:4", bench.few("int8 2:4", packing(Format::Int8Sparse24, k), Int8, [n, k]));
            note("int4 2:4", bench.few("int4 2:4", packing(Format::Int4Sparse24, k), Int8, [n, k]));
        }
        note("blocks", bench.few("fp8 w8a16, blocks of 16", packing(Format::F8E4m3, 16), Float, [4096, 14_336]));
        note("groups", bench.few("int4 w4a16, groups of 32", packing(Format::Int4, 32), Float, [4096, 14_336]));
        eprintln!("few after {:.1} s", begun.elapsed().as_secs_f64());
    }
    if wanted("many") {
        let shapes = [
            [4096; 3],
            [8192; 3],
            [64, 4096, 4096],
            [256, 4096, 4096],
            [1024, 1024, 1024],
            [1024, 4096, 4096],
            [2048; 3],
            [1024, 4096, 14_336],
            [4096, 14_336, 4096],
        ];
        for [m, n, k] in shapes {
            note("fp8", bench.many("fp8 w8a8", packing(Format::F8E4m3, k), F8E4m3, [m, n, k]));
        }
        note("int8 2:4", bench.many("int8 2:4", packing(Format::Int8Sparse24, 8192), Int8, [8192; 3]));
        note("int4 2:4", bench.many("int4 2:4", packing(Format::Int4Sparse24, 8192), Int8, [8192; 3]));
        note("fp8", bench.many("fp8 w8a16", packing(Format::F8E4m3, 8192), Float, [8192; 3]));
        note("int4", bench.many("int4 w4a16, groups of 128", packing(Format::Int4, 128), Float, [8192; 3]));
        note("int8", bench.many("int8", packing(Format::Int8, 8192), Int8, [8192; 3]));
        note("int8 2:4", bench.many("int8 2:4", packing(Format::Int8Sparse24, 16_384), Int8, [16_384; 3]));
        eprintln!("many after {:.1} s", begun.elapsed().as_secs_f64());
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}
