//! Packed weights beside tensors on a GPU: what they mean is what the host's packs mean, to the bit; products are the host's
//! within what the kernels' arithmetic may be off by; memory comes back.
//!
//! Without a GPU each test says so.

use std::sync::Arc;

use random::Random;
use viva_tensor_engine::{
    dtype::Dtype,
    error::Error,
    quant::{Format, Packing},
    tensor::{
        device::{self, Block, Gpu},
        elementwise::Unary,
        packed::{Activations, DeviceWeight, PackedWeight, Weight},
    },
};

mod gpu;
mod random;

fn gpu(test: &str) -> Option<Arc<Gpu>> {
    gpu::found(test, device::gpu(0))
}

fn upload(gpu: &Arc<Gpu>, values: &[f32]) -> Block {
    gpu.upload(bytemuck::cast_slice(values), &|| true).unwrap()
}

fn floats(block: &Block) -> Vec<f32> {
    let mut all = vec![0.0_f32; block.bytes() / 4];
    block.whole().download(bytemuck::cast_slice_mut(&mut all), &|| true).unwrap();
    all
}

/// Each format with the inputs that its products take.
fn cases(inputs: usize) -> Vec<(Packing, Activations)> {
    let packing = |format, scale_cols| Packing { format, scale_cols };
    let mut all = vec![
        (packing(Format::F8E4m3, inputs), Activations::F8E4m3),
        (packing(Format::F8E4m3, inputs), Activations::Float),
        (packing(Format::Int8, inputs), Activations::Int8),
    ];
    if inputs.is_multiple_of(24) {
        all.push((packing(Format::F8E4m3, 24), Activations::Float));
    }
    if inputs.is_multiple_of(8) {
        all.push((packing(Format::Int8Sparse24, inputs), Activations::Int8));
        all.push((packing(Format::Int4Sparse24, inputs), Activations::Int8));
    }
    for group in [32, 128].into_iter().filter(|group| inputs.is_multiple_of(*group)) {
        all.push((packing(Format::Int4, group), Activations::Float));
    }
    all
}

/// Random weights, an output of zeros, one with a large weight, one of tiny ones; [in, out], or [out, in].
fn weights(inputs: usize, outputs: usize, transposed: bool, random: &mut Random) -> Vec<f32> {
    let mut all = random.floats(inputs * outputs);
    let at = |i: usize, o: usize| if transposed { o * inputs + i } else { i * outputs + o };
    for i in 0..inputs {
        all[at(i, 0)] = 0.0;
        all[at(i, outputs - 1)] *= 1e-41;
    }
    all[at(inputs - 1, outputs / 2)] = -50.0;
    all
}

/// What a product may be off by, of the sum of its terms' magnitudes: roundings of operands and of sums.
fn tolerance(packing: Packing, activations: Activations, batch: usize, inputs: usize) -> f64 {
    let (steps, f32_step) = (inputs as f64, 2.0_f64.powi(-24));
    // The host's and the device's sums, and the scales.
    let sums = (4.0 * steps + 16.0) * f32_step;
    let is_float = matches!(packing.format, Format::F8E4m3 | Format::Int4);
    match () {
        () if !is_float => sums,
        // Two f16 keep 22 bits of an input; a block of 24 has no such product.
        () if batch <= 8 && packing.scale_cols != 24 => sums + 2.0_f64.powi(-20),
        // The tensor cores add 32 products of E4M3 to a sum with 13 bits behind the point of the largest of them.
        () if activations == Activations::F8E4m3 => sums + (steps / 32.0 + 1.0) * 33.0 * 2.0_f64.powi(-13),
        // f16 keeps 11 bits of an input and of a weight.
        () => sums + 2.0_f64.powi(-9),
    }
}

#[test]
fn what_is_packed_for_the_device_means_what_the_host_packs() {
    let Some(gpu) = gpu("meaning") else { return };
    let mut random = Random(41);
    for (inputs, outputs) in [(8, 1), (9, 3), (72, 130), (384, 300), (1024, 129)] {
        for (packing, _) in cases(inputs) {
            for transposed in [false, true] {
                let data = weights(inputs, outputs, transposed, &mut random);
                let weight = Weight { data: &data, inputs, outputs, transposed };
                let host = PackedWeight::pack(weight, packing, &|| true).unwrap();
                let block = upload(&gpu, &data);
                let there =
                    DeviceWeight::pack(&block.whole(), (inputs, outputs), transposed, packing, &|| true).unwrap();
                assert_eq!((there.inputs(), there.outputs(), there.loss), (inputs, outputs, host.loss));
                let mut expected = vec![0.0; inputs * outputs];
                host.unpack(&mut expected).unwrap();
                let found = floats(&there.unpack().unwrap());
                let differs = found.iter().zip(&expected).position(|(a, b)| a.to_bits() != b.to_bits());
                let place = differs.map(|at| (at / outputs, at % outputs, found[at], expected[at]));
                assert_eq!(place, None, "{packing:?} {inputs} x {outputs} {transposed}");
            }
        }
    }
}

#[test]
fn products_are_those_of_the_host_and_stay_on_the_device() {
    let Some(gpu) = gpu("products") else { return };
    let mut random = Random(42);
    for (inputs, outputs) in [(72, 130), (384, 300), (9, 3)] {
        for (packing, activations) in cases(inputs) {
            let data = weights(inputs, outputs, false, &mut random);
            let weight = Weight { data: &data, inputs, outputs, transposed: false };
            let host = PackedWeight::pack(weight, packing, &|| true).unwrap();
            let mut meaning = vec![0.0; inputs * outputs];
            host.unpack(&mut meaning).unwrap();
            let block = upload(&gpu, &data);
            let there = DeviceWeight::pack(&block.whole(), (inputs, outputs), false, packing, &|| true).unwrap();
            drop(block);
            for batch in [1, 5, 8, 9, 40] {
                let x = random.floats(batch * inputs);
                // bfloat16 keeps these.
                let x: Vec<f32> = x.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect();
                let halves: Vec<u16> = x.iter().map(|x| half::bf16::from_f32(*x).to_bits()).collect();
                let bias = random.floats(outputs);
                let mut expected = vec![0.0; batch * outputs];
                host.multiply(&x, activations, &bias, &mut expected, &|| true).unwrap();
                // The second half of a block, of what is still being computed.
                let doubled: Vec<f32> = [vec![0.0; batch * inputs], x.iter().map(|x| x / 2.0).collect()].concat();
                let block = upload(&gpu, &doubled);
                let input = device::unary(Unary::Scale(2.0), Dtype::Float32, &block.whole()).unwrap();
                let input = input.part(batch * inputs * 4, batch * inputs * 4).unwrap();
                let margin = upload(&gpu, &[vec![7.0; 3], bias.clone()].concat());
                let bias_part = margin.part(12, outputs * 4).unwrap();
                let found = there.multiply(&input, Dtype::Float32, activations, Some(&bias_part)).unwrap();
                let found = floats(&found);
                let narrow = gpu.upload(bytemuck::cast_slice(&halves), &|| true).unwrap();
                let own = upload(&gpu, &bias);
                let of_halves =
                    there.multiply(&narrow.whole(), Dtype::BFloat16, activations, Some(&own.whole())).unwrap();
                assert!(found == floats(&of_halves), "{packing:?} of bfloat16");
                let share = tolerance(packing, activations, batch, inputs);
                for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let (t, o) = (at / outputs, at % outputs);
                    let term =
                        |i: usize| f64::from(x[t * inputs + i]).abs() * f64::from(meaning[i * outputs + o]).abs();
                    // Rounding to E4M3 or INT8 changes an input by at most a sixteenth of it or of the largest.
                    let size: f64 = (0..inputs).map(term).sum();
                    let bound =
                        share * 1.1 * size + 2.0_f64.powi(-22) * f64::from(expected.abs() + bias[o].abs()) + 1e-30;
                    let off = (f64::from(*found) - f64::from(*expected)).abs();
                    assert!(
                        off <= bound,
                        "{packing:?} {activations:?} {batch} x {inputs} x {outputs}, row {t}, output {o}: {found} for \
                         {expected}, bound {bound}"
                    );
                }
            }
            let none = gpu.block(0).unwrap();
            let nothing = there.multiply(&none.whole(), Dtype::Float32, activations, None).unwrap();
            assert_eq!(nothing.bytes(), 0);
        }
    }
}

#[test]
fn what_does_not_fit_beside_a_packed_weight_is_refused() {
    let Some(gpu) = gpu("refused") else { return };
    let packing = Packing { format: Format::Int8, scale_cols: 16 };
    let block = upload(&gpu, &[1.0; 64]);
    let pack = |lengths| DeviceWeight::pack(&block.whole(), lengths, false, packing, &|| true);
    assert!(matches!(pack((16, 5)), Err(Error::InvalidOption { .. })));
    assert!(matches!(DeviceWeight::pack(&block.whole(), (16, 4), false, packing, &|| false), Err(Error::Cancelled)));
    let weight = pack((16, 4)).unwrap();
    let multiply = |bytes, dtype, bias: Option<usize>| {
        let (input, bias) = (block.part(0, bytes).unwrap(), bias.map(|bytes| block.part(0, bytes).unwrap()));
        weight.multiply(&input, dtype, Activations::Int8, bias.as_ref()).map(|out| out.bytes())
    };
    assert_eq!(multiply(128, Dtype::Float32, Some(16)), Ok(32));
    assert!(matches!(multiply(65, Dtype::Float32, None), Err(Error::InvalidOption { .. })));
    assert!(matches!(multiply(64, Dtype::Float32, Some(20)), Err(Error::InvalidOption { .. })));
    assert!(matches!(multiply(128, Dtype::Float64, None), Err(Error::Unsupported { .. })));
    let not_finite = upload(&gpu, &[f32::NAN; 64]);
    let refused = DeviceWeight::pack(&not_finite.whole(), (16, 4), false, packing, &|| true);
    assert!(matches!(refused, Err(Error::InvalidOption { .. })));
}

#[test]
fn memory_of_packed_weights_comes_back() {
    let Some(gpu) = gpu("memory") else { return };
    let (inputs, outputs) = (2048, 8192);
    let packing = Packing { format: Format::Int8, scale_cols: inputs };
    let block = upload(&gpu, &vec![0.5; inputs * outputs]);
    let pack = || DeviceWeight::pack(&block.whole(), (inputs, outputs), true, packing, &|| true).unwrap();
    // The first one also brings the kernels, and what products keep.
    let input = upload(&gpu, &vec![1.0; 64 * inputs]);
    let product =
        |weight: &DeviceWeight| weight.multiply(&input.whole(), Dtype::Float32, Activations::Int8, None).unwrap();
    let first = floats(&product(&pack()));
    assert!(first.iter().all(|y| (y - 1024.0).abs() < 0.01), "{}", first[0]);
    let before = gpu.device().free_bytes();
    for _ in 0..12 {
        let weight = pack();
        assert!(weight.bytes() >= inputs * outputs);
        // Dropped while products with it are under way.
        let (a, b) = (product(&weight), product(&weight));
        drop(weight);
        assert!(floats(&a) == floats(&b) && floats(&a) == first);
    }
    let after = gpu.device().free_bytes();
    assert!(after + (8 << 20) >= before, "{before} bytes before, {after} after");
}
