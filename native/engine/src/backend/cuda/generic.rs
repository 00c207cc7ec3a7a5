//! Code for any model: PTX that packaged builds bring along, for machines with a driver and without libnvrtc.
//!
//! `make kernels` compiles `pieces` into kernels/generic.ptxs, the build embeds that file where it is there, and the driver
//! turns what a model needs into machine code (and keeps it in a cache of its own). Heads and their width, which a model's
//! own kernels have as constants, are put into the loaded code. The road is the general one: no tensor cores in decoding's
//! attention, no whole token in one launch, no wgmma.
//!
//! The surprise: the file knows the sources that it was made of, and is not used beside others.

use std::{collections::BTreeSet, sync::OnceLock};

use super::{
    argument::kernel_name,
    cubin_cache,
    program::{self, ATTENTION, CACHE, Dimensions, FLASH, KvFormat, NORM, PAGE, POINTWISE, Piece},
    weights::BLOCKED_F8,
};
use crate::{
    error::{Error, Result},
    quant::Format,
};

const MAGIC: &[u8; 8] = b"vivaptx1";
/// The oldest PTX that has all the instructions: that of CUDA 12.0, which drivers from 525.60 on read.
pub const PTX_VERSION: &str = "8.0";
/// What the PTX is for: Ampere, and what came after it.
pub const ARCHITECTURE: &str = "compute_80";
/// Positions of a span of attention.
const SPAN: usize = 64;
/// Widths of heads that prompts have an attention of their own for.
const FLASH_WIDTHS: [usize; 5] = [64, 80, 96, 128, 256];
/// Most bytes of one text.
const MOST_BYTES: usize = 16 << 20;

/// Widths up to the first number; the second divides them, keys are read by so many.
const WIDTHS: [(usize, usize); 4] = [(64, 8), (64, 1), (128, 8), (256, 8)];

fn attention_name(most: usize, width: usize, heads: usize) -> String {
    format!("attention_{most}_{width}_{heads}")
}

/// Everything that is compiled, by name.
pub fn pieces() -> Vec<(String, Piece)> {
    let formats = Format::ALL.map(kernel_name).into_iter().chain([BLOCKED_F8]);
    let mut all: Vec<_> = formats.map(|name| (name.to_owned(), Piece::format(name))).collect();
    all.extend([("prompts".into(), Piece::prompts(false)), ("choice".into(), Piece::choice())]);
    let fixed = [("PAGE", PAGE), ("SPAN", SPAN), ("KV_FLOAT", 0)];
    for (most, width) in WIDTHS {
        for heads in 1..=8 {
            let macros = [fixed.as_slice(), &[("HD_MOST", most), ("KV_WIDTH", width), ("HEADS", heads)]].concat();
            let piece = Piece::new("", &[NORM, CACHE, POINTWISE, ATTENTION], "", &macros);
            all.push((attention_name(most, width, heads), piece));
        }
    }
    for width in FLASH_WIDTHS {
        let macros = [fixed.as_slice(), &[("HD", width)]].concat();
        all.push((format!("flash_{width}"), Piece::new("", &[CACHE, FLASH], "", &macros)));
    }
    all
}

/// What a model needs of it; `formats` are the kernel names of its linears' formats. Errors: `Unsupported` for heads wider than
/// 256, or wider than 64 and no multiple of 8.
pub fn names(dimensions: &Dimensions, formats: &BTreeSet<&str>) -> Result<Vec<String>> {
    let (width, found) = (dimensions.head_dim, || format!("heads of {}", dimensions.head_dim));
    let fits = |(most, divisor): &&(usize, usize)| width <= *most && width.is_multiple_of(*divisor);
    let fitting = WIDTHS.iter().find(fits).ok_or_else(|| {
        Error::unsupported(
            "kernels for any model",
            "heads of up to 64 numbers, or of a multiple of 8 up to 256",
            found(),
        )
    })?;
    if dimensions.kv_format != KvFormat::Bf16 {
        return Err(Error::unsupported("kernels for any model", "a cache in bf16", "one in f32"));
    }
    let mut names: Vec<String> = formats.iter().map(|name| (*name).to_owned()).collect();
    names.extend(["prompts".into(), "choice".into(), attention_name(fitting.0, fitting.1, dimensions.together())]);
    if FLASH_WIDTHS.contains(&width) {
        names.push(format!("flash_{width}"));
    }
    Ok(names)
}

/// The texts, packed.
#[derive(Debug)]
pub struct Generic {
    pieces: Vec<(String, Vec<u8>)>,
}

/// The PTX that this build brings along; `None` where it was built without, or from other sources than the PTX.
pub fn embedded() -> Option<&'static Generic> {
    static GENERIC: OnceLock<Option<Generic>> = OnceLock::new();
    let parse = || Generic::parse(include_bytes!(concat!(env!("OUT_DIR"), "/generic.ptxs")));
    GENERIC.get_or_init(parse).as_ref()
}

/// Of all sources.
fn sources() -> [u8; 16] {
    cubin_cache::hash(&program::SOURCES.map(str::as_bytes)).to_le_bytes()
}

/// The first `count` bytes, which `from` then begins behind.
fn take<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (first, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(first)
}

fn take_sized<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let count = take(from, 4)?.try_into().ok()?;
    take(from, u32::from_le_bytes(count) as usize)
}

impl Generic {
    /// From the texts that NVRTC gave.
    pub fn new(texts: Vec<(String, Vec<u8>)>) -> Result<Generic> {
        let pieces = texts.into_iter().map(|(name, text)| {
            let text = lowered(&text).ok_or_else(|| Error::Internal { reason: format!("{name}: no PTX version") })?;
            Ok((name, miniz_oxide::deflate::compress_to_vec(text.as_bytes(), 9)))
        });
        Ok(Generic { pieces: pieces.collect::<Result<_>>()? })
    }

    /// As it is kept: a magic word, the hash of all sources, then each text's name and its packed bytes, with their lengths.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = [MAGIC.as_slice(), &sources()].concat();
        for (name, packed) in &self.pieces {
            for part in [name.as_bytes(), packed] {
                out.extend_from_slice(&(part.len() as u32).to_le_bytes());
                out.extend_from_slice(part);
            }
        }
        out
    }

    fn parse(mut from: &[u8]) -> Option<Generic> {
        let from = &mut from;
        if take(from, 8)? != MAGIC || take(from, 16)? != sources() {
            return None;
        }
        let mut pieces = vec![];
        while !from.is_empty() {
            let name = String::from_utf8(take_sized(from)?.to_vec()).ok()?;
            pieces.push((name, take_sized(from)?.to_vec()));
        }
        Some(Generic { pieces })
    }

    pub fn names(&self) -> Vec<&str> {
        self.pieces.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// A text, unpacked.
    pub fn text(&self, name: &str) -> Result<Vec<u8>> {
        let missing = || Error::Internal { reason: format!("no PTX for {name}") };
        let (_, packed) = self.pieces.iter().find(|(known, _)| known == name).ok_or_else(missing)?;
        let damaged = |error| Error::Internal { reason: format!("the PTX for {name}: {error}") };
        miniz_oxide::inflate::decompress_to_vec_with_limit(packed, MOST_BYTES).map_err(damaged)
    }
}

/// The dimensions with what cannot be chosen.
pub fn dimensions(of: Dimensions) -> Dimensions {
    Dimensions { span: SPAN, splits: 1, ..of }
}

/// `Shape` of kernels/cache.cuh.
pub fn shape(dimensions: &Dimensions) -> [u32; 3] {
    // The spec's border has checked all three.
    [dimensions.heads as u32, dimensions.kv_heads as u32, dimensions.head_dim as u32]
}

/// The text as one of `PTX_VERSION`: a compiler writes its own version whatever the code needs, and hints that older versions
/// do not have. Should an instruction need a newer one, the driver says so. And `shape` is to be found from outside.
fn lowered(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_end_matches('\0');
    let (before, rest) = text.split_once("\n.version ")?;
    let (_, after) = rest.split_once('\n')?;
    let is_hint = |line: &&str| line.trim_start().starts_with(".pragma \"used_bytes_mask");
    let lines: Vec<&str> = after.split('\n').filter(|line| !is_hint(line)).collect();
    let after = lines.join("\n").replace("\n.const .align 4 .b8 shape[", "\n.visible .const .align 4 .b8 shape[");
    Some(format!("{before}\n.version {PTX_VERSION}\n{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(heads: usize, kv_heads: usize, head_dim: usize) -> Dimensions {
        let (kv_format, span, splits) = (KvFormat::Bf16, 64, 1);
        Dimensions { width: heads * head_dim, heads, kv_heads, head_dim, kv_format, span, splits }
    }

    #[test]
    fn every_model_finds_its_pieces_among_those_that_are_compiled() {
        let all: BTreeSet<String> = pieces().into_iter().map(|(name, _)| name).collect();
        assert_eq!(all.len(), pieces().len());
        let formats: BTreeSet<&str> = Format::ALL.map(kernel_name).into_iter().chain([BLOCKED_F8]).collect();
        for width in (1..=64).chain((72..=256).step_by(8)) {
            for group in 1..=40 {
                let names = names(&of(group * 2, 2, width), &formats).unwrap();
                assert!(names.iter().all(|name| all.contains(name)), "{width} {group}: {names:?}");
                assert_eq!(names.iter().any(|name| name.starts_with("flash")), FLASH_WIDTHS.contains(&width));
            }
        }
        for width in [65, 100, 260, 264] {
            assert!(matches!(names(&of(4, 2, width), &formats), Err(Error::Unsupported { .. })), "{width}");
        }
    }

    #[test]
    fn a_file_comes_back_as_it_was_packed_and_one_of_other_sources_does_not() {
        let text = b"//\n.version 8.8\n.target sm_80\n\t.pragma \"used_bytes_mask 15\";\nrest\0".to_vec();
        let bytes = Generic::new(vec![("a".into(), text.clone()), ("b".into(), text)]).unwrap().to_bytes();
        let back = Generic::parse(&bytes).unwrap();
        assert_eq!(back.names(), ["a", "b"]);
        assert_eq!(back.text("b").unwrap(), b"//\n.version 8.0\n.target sm_80\nrest");
        assert!(back.text("c").is_err());
        for cut in [0, 7, 20, 30, bytes.len() - 1] {
            assert!(Generic::parse(&bytes[..cut]).is_none(), "{cut}");
        }
        let mut other = bytes;
        other[12] ^= 1;
        assert!(Generic::parse(&other).is_none());
        assert!(Generic::new(vec![("a".into(), b"no version".to_vec())]).is_err());
    }

    #[test]
    fn what_is_embedded_is_whole_and_for_drivers_of_cuda_12() {
        // A build without it is as good: then there is nothing to look at.
        let Some(generic) = embedded() else { return };
        let expected: Vec<String> = pieces().into_iter().map(|(name, _)| name).collect();
        assert_eq!(generic.names(), expected);
        for name in generic.names() {
            let text = String::from_utf8(generic.text(name).unwrap()).unwrap();
            assert!(text.contains(&format!("\n.version {PTX_VERSION}\n.target sm_80\n")), "{name}");
        }
    }
}
