//! What a sequence remembers: [`Cache`] (grows with each token, copy on write) and [`Memory`] (the encoder's side,
//! written once per batch and shared).
//!
//! Layers that keep the same things equally long form a group: all keys and values of the past, those of a sliding
//! window, the inputs of short convolutions. A group's memory is pages of consecutive positions, which forks share. A
//! page is `[layers][planes][heads][positions * width]`: what one head of one layer reads lies together. Planes are keys,
//! as tiles (see `kernels/attention.rs`), and values, or the one plane of a convolution's inputs; `width` is the features
//! of a head, filled up to a multiple of 4.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::kernels::{Kernels, Keys, Stored, TILE, Values};
use crate::ops::{Block, Machine, key_width, keys_len};
use crate::quant::{BLOCK, Grain};
use crate::spec::{Mixer, StackSpec};
use crate::{Error, Result};

/// Positions before the oldest one that a window still needs, kept so that a few tokens can be taken back.
const SLACK: usize = 32;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvType {
    /// float32.
    F32,
    /// IEEE float16.
    F16,
    /// 8 bits and a float32 scale for every 32 features of a head.
    Q8_0,
}

impl KvType {
    /// Bytes of `values` values.
    pub(crate) fn bytes(self, values: usize) -> usize {
        match self {
            Self::F32 => 4 * values,
            Self::F16 => 2 * values,
            Self::Q8_0 => values + values / BLOCK * 4,
        }
    }
}

/// What a group of layers keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GroupShape {
    /// Keys and values, or the inputs of a convolution.
    planes: usize,
    heads: usize,
    head_dim: usize,
    /// Positions before its own that a query reads; `None` for all.
    reach: Option<usize>,
    kv: KvType,
}

impl GroupShape {
    /// Values of one position of one layer.
    fn position(&self) -> usize {
        self.planes * self.heads * self.width()
    }

    /// Numbers of a position of one head in one plane.
    fn width(&self) -> usize {
        key_width(self.head_dim)
    }
}

/// The shape of a cache: what each layer keeps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CacheShape {
    /// Positions of a page.
    page: usize,
    /// Shape, and number of layers.
    groups: Vec<(GroupShape, usize)>,
    /// Per layer: its group, and its place in it.
    slots: Vec<(usize, usize)>,
}

impl CacheShape {
    /// Pages of translations: beams fork all the time, and a fork copies the page it continues.
    pub(crate) const SHORT_PAGE: usize = 4;
    /// Pages of transcripts, of a few hundred tokens with a beam.
    pub(crate) const MEDIUM_PAGE: usize = 16;
    /// Pages of conversations.
    pub(crate) const LONG_PAGE: usize = 64;

    /// The shape for the layers of `stack`.
    ///
    /// # Errors
    /// [`KvType::Q8_0`] needs heads of whole blocks.
    pub(crate) fn new(stack: &StackSpec, kv: KvType, page: usize) -> Result<Self> {
        let mut groups: Vec<(GroupShape, usize)> = Vec::new();
        let mut slots = Vec::with_capacity(stack.layers.len());
        for layer in &stack.layers {
            let shape = match &layer.mixer {
                Mixer::Attention(attention) => {
                    let (heads, head_dim) = (attention.kv_heads, attention.head_dim);
                    if kv == KvType::Q8_0 && !head_dim.is_multiple_of(BLOCK) {
                        let problem = format!("8-bit keys and values in heads of {head_dim}: use f16");
                        return Err(Error::BadRequest(problem));
                    }
                    let reach = (attention.span.behind != usize::MAX).then_some(attention.span.behind);
                    GroupShape { planes: 2, heads, head_dim, reach, kv }
                }
                Mixer::ShortConv { kernel, .. } => {
                    let (reach, kv) = (Some(kernel - 1), KvType::F32);
                    GroupShape { planes: 1, heads: 1, head_dim: stack.dim, reach, kv }
                }
            };
            let group = groups.iter().position(|(group, _)| *group == shape).unwrap_or_else(|| {
                groups.push((shape, 0));
                groups.len() - 1
            });
            slots.push((group, groups[group].1));
            groups[group].1 += 1;
        }
        Ok(Self { page, groups, slots })
    }

    /// Bytes of a cache of `positions` positions whose prompt came in chunks of `chunk`.
    pub(crate) fn bytes(&self, positions: usize, chunk: usize) -> usize {
        let group = |(shape, layers): &(GroupShape, usize)| {
            let kept = shape.reach.map_or(positions, |reach| positions.min(reach + SLACK + chunk + self.page));
            shape.kv.bytes(kept.next_multiple_of(self.page) * shape.position() * layers)
        };
        self.groups.iter().map(group).sum()
    }
}

/// 8 bits for each of 32 values, and their scale.
fn quantize(kernels: &Kernels, values: &[f32; BLOCK]) -> ([i8; BLOCK], f32) {
    let (mut quants, mut scale, mut sums) = ([0; BLOCK], [0.0], [0; BLOCK / Grain::Fine.sum_columns()]);
    (kernels.quantize_plainly)(values, &mut quants, &mut scale, &mut sums);
    (quants, scale[0])
}

/// The values of a page.
#[derive(Clone, Debug)]
enum Page {
    F32(Vec<f32>),
    F16(Vec<u16>),
    /// Quants, and a scale for each 32 of them.
    Q8_0(Vec<i8>, Vec<f32>),
}

impl Page {
    fn new(kv: KvType, values: usize) -> Self {
        match kv {
            KvType::F32 => Self::F32(vec![0.0; values]),
            KvType::F16 => Self::F16(vec![0; values]),
            KvType::Q8_0 => Self::Q8_0(vec![0; values], vec![0.0; values / BLOCK]),
        }
    }

    /// Bytes of its numbers.
    fn bytes(&self) -> usize {
        match self {
            Self::F32(page) => size_of_val(&page[..]),
            Self::F16(page) => size_of_val(&page[..]),
            Self::Q8_0(page, scales) => page.len() + size_of_val(&scales[..]),
        }
    }

    /// All its numbers.
    fn numbers(&mut self) -> Numbers<'_> {
        match self {
            Self::F32(page) => Numbers::F32(page),
            Self::F16(page) => Numbers::F16(page),
            Self::Q8_0(page, scales) => Numbers::Q8_0(page, scales),
        }
    }

    /// The `len` numbers from `start` on.
    fn stored(&self, start: usize, len: usize) -> Stored<'_> {
        match self {
            Self::F32(page) => Stored::F32(&page[start..][..len]),
            Self::F16(page) => Stored::F16(&page[start..][..len]),
            Self::Q8_0(page, scales) => Stored::Q8_0(&page[start..][..len], &scales[start / BLOCK..][..len / BLOCK]),
        }
    }

    /// Appends the stored bytes to `out`, little-endian.
    fn save(&self, out: &mut Vec<u8>) {
        match self {
            Self::F32(page) => out.extend(page.iter().flat_map(|v| v.to_le_bytes())),
            Self::F16(page) => out.extend(page.iter().flat_map(|v| v.to_le_bytes())),
            Self::Q8_0(page, scales) => {
                out.extend(page.iter().map(|&v| v as u8));
                out.extend(scales.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
    }

    /// Reads what [`Page::save`] wrote; `bytes` has exactly as many as this page.
    fn restore(&mut self, bytes: &[u8]) {
        let floats = |values: &mut [f32], bytes: &[u8]| {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        };
        match self {
            Self::F32(page) => floats(page, bytes),
            Self::F16(page) => {
                for (value, bytes) in page.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *value = u16::from_le_bytes(*bytes);
                }
            }
            Self::Q8_0(page, scales) => {
                let (quants, rest) = bytes.split_at(page.len());
                page.iter_mut().zip(quants).for_each(|(value, &byte)| *value = byte as i8);
                floats(scales, rest);
            }
        }
    }
}

/// Numbers of a page that are written.
enum Numbers<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [u16]),
    Q8_0(&'a mut [i8], &'a mut [f32]),
}

impl<'a> Numbers<'a> {
    /// Those from number `start` on.
    fn from(self, start: usize) -> Self {
        match self {
            Self::F32(numbers) => Self::F32(&mut numbers[start..]),
            Self::F16(numbers) => Self::F16(&mut numbers[start..]),
            Self::Q8_0(numbers, scales) => Self::Q8_0(&mut numbers[start..], &mut scales[start / BLOCK..]),
        }
    }

    /// The first `len` numbers, and the others.
    fn split(self, len: usize) -> (Self, Self) {
        match self {
            Self::F32(numbers) => {
                let (first, rest) = numbers.split_at_mut(len);
                (Self::F32(first), Self::F32(rest))
            }
            Self::F16(numbers) => {
                let (first, rest) = numbers.split_at_mut(len);
                (Self::F16(first), Self::F16(rest))
            }
            Self::Q8_0(numbers, scales) => {
                let ((first, rest), (scales, others)) = (numbers.split_at_mut(len), scales.split_at_mut(len / BLOCK));
                (Self::Q8_0(first, scales), Self::Q8_0(rest, others))
            }
        }
    }

    /// Stores `values` at `start`.
    fn write(&mut self, kernels: &Kernels, start: usize, values: &[f32]) {
        match self {
            Self::F32(page) => page[start..][..values.len()].copy_from_slice(values),
            Self::F16(page) => {
                page[start..][..values.len()].reinterpret_cast_mut::<f16>().convert_from_f32_slice(values)
            }
            Self::Q8_0(page, scales) => {
                for (i, values) in values.as_chunks::<BLOCK>().0.iter().enumerate() {
                    let (quants, scale) = quantize(kernels, values);
                    scales[start / BLOCK + i] = scale;
                    page[start + i * BLOCK..][..BLOCK].copy_from_slice(&quants);
                }
            }
        }
    }

    /// Stores a key in the tile at `start`, as its position number `position`.
    fn write_key(&mut self, kernels: &Kernels, start: usize, position: usize, key: &[f32]) {
        /// The numbers of `position` in a tile, in the order of the features.
        fn numbers<T>(tile: &mut [T], position: usize) -> impl Iterator<Item = &mut T> {
            tile[position..].iter_mut().step_by(TILE)
        }
        match self {
            Self::F32(page) => numbers(&mut page[start..], position).zip(key).for_each(|(to, &v)| *to = v),
            Self::F16(page) => {
                let tile = numbers(&mut page[start..], position);
                for (to, half) in tile.zip(key.iter().map(|&v| f16::from_f32(v).to_bits())) {
                    *to = half;
                }
            }
            Self::Q8_0(page, scales) => {
                let mut tile = numbers(&mut page[start..], position);
                let scales = numbers(&mut scales[start / BLOCK..], position);
                for (key, to) in key.as_chunks::<BLOCK>().0.iter().zip(scales) {
                    let (quants, scale) = quantize(kernels, key);
                    *to = scale;
                    quants.into_iter().zip(&mut tile).for_each(|(quant, to)| *to = quant);
                }
            }
        }
    }

    /// Stores the keys of a whole tile at `start`: what [`Numbers::write_key`] stores of each, faster.
    fn write_tile(&mut self, kernels: &Kernels, start: usize, keys: [&[f32]; TILE]) {
        fn interleave<T: Copy>(keys: [&[T]; TILE], tile: &mut [T]) {
            let dim = keys[0].len();
            let [a, b, c, d] = keys.map(|key| &key[..dim]);
            for (i, four) in tile.as_chunks_mut::<TILE>().0[..dim].iter_mut().enumerate() {
                *four = [a[i], b[i], c[i], d[i]];
            }
        }
        match self {
            Self::F32(page) => interleave(keys, &mut page[start..]),
            Self::F16(page) => {
                // Several numbers are converted with the processor's instructions, one is not.
                let mut halves = [[0; BLOCK]; TILE];
                for first in (0..keys[0].len()).step_by(BLOCK) {
                    let len = BLOCK.min(keys[0].len() - first);
                    for (halves, key) in halves.iter_mut().zip(keys) {
                        halves[..len].reinterpret_cast_mut::<f16>().convert_from_f32_slice(&key[first..][..len]);
                    }
                    interleave(halves.each_ref().map(|half| &half[..len]), &mut page[start + first * TILE..]);
                }
            }
            Self::Q8_0(page, scales) => {
                let blocks = keys.map(|key| key.as_chunks::<BLOCK>().0);
                for block in 0..blocks[0].len() {
                    let found = blocks.map(|blocks| quantize(kernels, &blocks[block]));
                    let at = start + block * BLOCK * TILE;
                    interleave(found.each_ref().map(|(quants, _)| &quants[..]), &mut page[at..]);
                    scales[at / BLOCK..][..TILE].copy_from_slice(&found.map(|(_, scale)| scale));
                }
            }
        }
    }
}

/// Number `i` of `stored`, whose scale, where it has one, is number `scale`.
fn number(stored: Stored<'_>, i: usize, scale: usize) -> f32 {
    match stored {
        Stored::F32(v) => v[i],
        Stored::F16(v) => f16::from_bits(v[i]).to_f32(),
        Stored::Q8_0(v, scales) => f32::from(v[i]) * scales[scale],
    }
}

/// The pages of a group: those of positions from `first * page` on.
#[derive(Clone, Debug, Default)]
struct Group {
    first: usize,
    pages: VecDeque<Arc<Page>>,
}

/// What the layers of a decoder keep of one sequence's tokens.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    shape: Arc<CacheShape>,
    groups: Vec<Group>,
    positions: usize,
}

impl Cache {
    pub(crate) fn new(shape: Arc<CacheShape>) -> Self {
        Self { groups: vec![Group::default(); shape.groups.len()], shape, positions: 0 }
    }

    pub(crate) fn positions(&self) -> usize {
        self.positions
    }

    /// Forgets positions from `positions` on, or everything where what a window needs before them is gone already.
    pub(crate) fn truncate(&mut self, positions: usize) {
        if positions >= self.positions {
            return;
        }
        let page = self.shape.page;
        let gone = |((shape, _), group): (&(GroupShape, usize), &Group)| {
            shape.reach.is_some_and(|reach| positions.saturating_sub(reach) < group.first * page)
        };
        self.positions = if self.shape.groups.iter().zip(&self.groups).any(gone) { 0 } else { positions };
        for group in &mut self.groups {
            if self.positions == 0 {
                *group = Group::default();
            }
            group.pages.truncate(self.positions.div_ceil(page) - group.first);
        }
    }

    /// Makes `count` more positions writable, and counts them as present: the caller writes each in every layer before
    /// it reads it.
    pub(crate) fn extend(&mut self, count: usize) {
        let (page, start) = (self.shape.page, self.positions);
        let end = start + count;
        for ((shape, layers), group) in self.shape.groups.iter().zip(&mut self.groups) {
            if let Some(reach) = shape.reach {
                // What no query from `start` on reads goes.
                while !group.pages.is_empty() && (group.first + 1) * page + reach + SLACK <= start {
                    group.pages.pop_front();
                    group.first += 1;
                }
            }
            let values = page * shape.position() * layers;
            for index in start / page..end.div_ceil(page) {
                match group.pages.get_mut(index - group.first) {
                    Some(shared) => {
                        Arc::make_mut(shared);
                    }
                    None => group.pages.push_back(Arc::new(Page::new(shape.kv, values))),
                }
            }
        }
        self.positions = end;
    }

    /// Stores what `layer` keeps of `position`: a row of `[heads * head_dim]` values for each plane.
    pub(crate) fn write<const PLANES: usize>(
        &mut self,
        kernels: &Kernels,
        layer: usize,
        position: usize,
        planes: [&[f32]; PLANES],
    ) {
        let (group, index) = self.shape.slots[layer];
        let (shape, page) = (&self.shape.groups[group].0, self.shape.page);
        let group = &mut self.groups[group];
        let own = Arc::get_mut(&mut group.pages[position / page - group.first]).expect("`extend` made it our own");
        let (width, position) = (shape.width(), position % page);
        for (plane, values) in planes.iter().enumerate() {
            for (head, values) in values.chunks_exact(shape.head_dim).enumerate() {
                let first = ((index * shape.planes + plane) * shape.heads + head) * page;
                if PLANES == 2 && plane == 0 {
                    own.numbers().write_key(kernels, (first + position / TILE * TILE) * width, position % TILE, values);
                } else {
                    own.numbers().write(kernels, (first + position) * width, values);
                }
            }
        }
    }

    /// Keys and values of one head of `layer` at `positions`, page by page.
    pub(crate) fn blocks(
        &self,
        layer: usize,
        head: usize,
        positions: Range<usize>,
    ) -> impl Iterator<Item = Block<'_>> + Clone {
        let (index, slot) = self.shape.slots[layer];
        let (shape, page) = (&self.shape.groups[index].0, self.shape.page);
        let group = &self.groups[index];
        let (head, width) =
            (move |plane: usize| ((slot * shape.planes + plane) * shape.heads + head) * page, shape.width());
        (positions.start / page..positions.end.div_ceil(page)).map(move |index| {
            let from = positions.start.saturating_sub(index * page);
            let end = (positions.end - index * page).min(page);
            let own = &group.pages[index - group.first];
            let (tile, end_tile) = (from / TILE, end.div_ceil(TILE));
            let keys = own.stored((head(0) + tile * TILE) * width, (end_tile - tile) * TILE * width);
            let values = own.stored((head(1) + from) * width, (end - from) * width);
            Block {
                keys: Keys { stored: keys, dim: width, next: None },
                skip: from % TILE,
                values: Values { stored: values, stride: width, positions: end - from, next: None },
            }
        })
    }

    /// Writes the keys and values of the first `positions` positions of `layer` to `keys` and `values`, `[positions, heads *
    /// head_dim]` each, as float32. Positions that a window has dropped are left as they are.
    pub(crate) fn read(&self, layer: usize, positions: usize, keys: &mut [f32], values: &mut [f32]) {
        let (group, _) = self.shape.slots[layer];
        let GroupShape { heads, head_dim, .. } = self.shape.groups[group].0;
        let kept = self.groups[group].first * self.shape.page;
        for head in 0..heads {
            let mut row = kept;
            for Block { keys: tiles, skip, values: rows } in self.blocks(layer, head, kept.min(positions)..positions) {
                for i in 0..rows.positions {
                    let (tile, place) = ((skip + i) / TILE * TILE * tiles.dim, (skip + i) % TILE);
                    let out = (row * heads + head) * head_dim;
                    for feature in 0..head_dim {
                        let scale = (tile + feature / BLOCK * BLOCK * TILE) / BLOCK + place;
                        keys[out + feature] = number(tiles.stored, tile + feature * TILE + place, scale);
                        let at = i * rows.stride + feature;
                        values[out + feature] = number(rows.stored, at, at / BLOCK);
                    }
                    row += 1;
                }
            }
        }
    }

    /// The row that a convolution in `layer` keeps of `position`.
    pub(crate) fn row(&self, layer: usize, position: usize) -> &[f32] {
        let (index, slot) = self.shape.slots[layer];
        let (shape, page) = (&self.shape.groups[index].0, self.shape.page);
        let group = &self.groups[index];
        let start = (slot * page + position % page) * shape.width();
        match group.pages[position / page - group.first].stored(start, shape.head_dim) {
            Stored::F32(row) => row,
            _ => unreachable!("convolutions keep float32"),
        }
    }

    /// Bytes that its pages hold, shared ones included.
    pub(crate) fn bytes(&self) -> usize {
        let page = |(shape, layers): &(GroupShape, usize)| shape.kv.bytes(self.shape.page * shape.position() * layers);
        self.shape.groups.iter().zip(&self.groups).map(|(shape, group)| group.pages.len() * page(shape)).sum()
    }

    /// All that must be stored to continue later, as bytes.
    pub(crate) fn save(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() + 16 * (1 + self.groups.len()));
        out.extend((self.positions as u64).to_le_bytes());
        for group in &self.groups {
            out.extend((group.first as u64).to_le_bytes());
            out.extend((group.pages.len() as u64).to_le_bytes());
            group.pages.iter().for_each(|page| page.save(&mut out));
        }
        out
    }

    /// The cache that [`Cache::save`] stored of one with the same shape; `None` where the bytes are not that.
    pub(crate) fn restore(shape: Arc<CacheShape>, bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let number = |rest: &mut &[u8]| {
            let (number, after) = rest.split_first_chunk::<8>()?;
            *rest = after;
            usize::try_from(u64::from_le_bytes(*number)).ok()
        };
        let mut cache = Self::new(shape.clone());
        let positions = number(&mut rest)?;
        for ((shape_of, layers), group) in shape.groups.iter().zip(&mut cache.groups) {
            let (first, pages) = (number(&mut rest)?, number(&mut rest)?);
            let values = shape.page * shape_of.position() * layers;
            let len = shape_of.kv.bytes(values);
            // The pages reach to the last position, and back as far as the next query reads.
            if first.checked_add(pages)? != positions.div_ceil(shape.page)
                || pages.checked_mul(len).is_none_or(|len| len > rest.len())
                || shape_of.reach.map_or(first > 0, |reach| positions.saturating_sub(reach) < first * shape.page)
            {
                return None;
            }
            group.first = first;
            for _ in 0..pages {
                let (bytes, after) = rest.split_at(len);
                rest = after;
                let mut page = Page::new(shape_of.kv, values);
                page.restore(bytes);
                group.pages.push_back(Arc::new(page));
            }
        }
        cache.positions = positions;
        rest.is_empty().then_some(cache)
    }
}

/// Keys and values of a batch of encoded sources for every decoder layer, each source filled up to whole tiles.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Of one position.
    heads: usize,
    head_dim: usize,
    /// Per decoder layer: keys, as tiles, and values, `[sources][heads][positions][width]` both.
    layers: Vec<[Page; 2]>,
}

/// Where a source is in a [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourcePlace {
    /// Positions of the sources before it, each filled up to whole tiles.
    pub(crate) tiled: usize,
    /// Its own.
    pub(crate) positions: usize,
}

impl SourcePlace {
    /// Those of sources of so many positions, one after the other.
    pub(crate) fn all(sources: impl Iterator<Item = usize>) -> Vec<Self> {
        let mut tiled = 0;
        let place = |positions: usize| {
            let place = Self { tiled, positions };
            tiled += positions.next_multiple_of(TILE);
            place
        };
        sources.map(place).collect()
    }
}

impl Memory {
    /// Room for sources in these places in `layers` layers.
    pub(crate) fn new(kv: KvType, layers: usize, heads: usize, head_dim: usize, places: &[SourcePlace]) -> Self {
        let tiled = places.last().map_or(0, |last| last.tiled + last.positions);
        let page = || Page::new(kv, keys_len(tiled, heads, head_dim));
        Self { heads, head_dim, layers: (0..layers).map(|_| [page(), page()]).collect() }
    }

    /// Whether it is for heads like these.
    pub(crate) fn has(&self, heads: usize, head_dim: usize) -> bool {
        (self.heads, self.head_dim) == (heads, head_dim)
    }

    /// Stores the keys and values of a source in a layer, `[positions, heads * head_dim]` each. Threads share it.
    pub(crate) fn write(
        &mut self,
        machine: Machine<'_>,
        layer: usize,
        place: SourcePlace,
        keys: &[f32],
        values: &[f32],
    ) {
        /// Positions of a head that are written at once.
        const PIECE: usize = 64 * TILE;
        let (heads, head_dim, width) = (self.heads, self.head_dim, key_width(self.head_dim));
        let (row, tiled) = (heads * head_dim, place.positions.next_multiple_of(TILE));
        let start = keys_len(place.tiled, heads, head_dim);
        let [mut key_rest, mut value_rest] = self.layers[layer].each_mut().map(|page| page.numbers().from(start));
        // The head, its first position, and where its keys and values go.
        let mut pieces = Vec::with_capacity(heads * tiled.div_ceil(PIECE));
        for head in 0..heads {
            for first in (0..tiled).step_by(PIECE) {
                let len = PIECE.min(tiled - first) * width;
                let ((keys, key_others), (values, value_others)) = (key_rest.split(len), value_rest.split(len));
                pieces.push(Mutex::new((head, first, keys, values)));
                (key_rest, value_rest) = (key_others, value_others);
            }
        }
        let write = |piece: usize| {
            let (head, first, to_keys, to_values) = &mut *pieces[piece].lock().unwrap_or_else(PoisonError::into_inner);
            let feature = *head * head_dim;
            let end = place.positions.min(*first + PIECE);
            for position in *first..end {
                to_values.write(
                    machine.kernels,
                    (position - *first) * width,
                    &values[position * row + feature..][..head_dim],
                );
            }
            for tile in (*first..end).step_by(TILE) {
                let at = (tile - *first) * width;
                if tile + TILE <= end {
                    to_keys.write_tile(
                        machine.kernels,
                        at,
                        std::array::from_fn(|i| &keys[(tile + i) * row + feature..][..head_dim]),
                    );
                } else {
                    (tile..end).for_each(|position| {
                        to_keys.write_key(
                            machine.kernels,
                            at,
                            position - tile,
                            &keys[position * row + feature..][..head_dim],
                        )
                    });
                }
            }
        };
        // What is small is not worth a job.
        if tiled <= PIECE {
            (0..pieces.len()).for_each(write);
        } else {
            machine.team.run(pieces.len(), &write);
        }
    }

    /// Some `positions` of one head of a source.
    pub(crate) fn block(&self, layer: usize, place: SourcePlace, head: usize, positions: Range<usize>) -> Block<'_> {
        let (heads, head_dim, width) = (self.heads, self.head_dim, key_width(self.head_dim));
        let [keys, values] = &self.layers[layer];
        let first = keys_len(place.tiled, heads, head_dim) + keys_len(place.positions, head, head_dim);
        let (tile, end) = (positions.start / TILE, positions.end.div_ceil(TILE));
        let keys = keys.stored(first + tile * TILE * width, (end - tile) * TILE * width);
        let values = values.stored(first + positions.start * width, positions.len() * width);
        Block {
            keys: Keys { stored: keys, dim: width, next: None },
            skip: positions.start % TILE,
            values: Values { stored: values, stride: width, positions: positions.len(), next: None },
        }
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.layers.iter().flatten().map(Page::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{
        Activation, AttentionSpec, FfnKind, FfnSpec, Input, LayerSpec, Norm, NormPlacement, Position, Span, StackSpec,
    };
    use crate::threads::ThreadPool;

    const PAGE: usize = 4;
    const WINDOW: usize = 6;

    /// Two layers of attention to everything, one to a window, one convolution.
    fn shape(kv: KvType) -> Arc<CacheShape> {
        let full = AttentionSpec::causal(4, 2, 32);
        let window = AttentionSpec { span: Span::window(WINDOW), ..full.clone() };
        let conv = Mixer::ShortConv { kernel: 3, bias: false };
        let mixers = [Mixer::Attention(full.clone()), Mixer::Attention(window), conv, Mixer::Attention(full)];
        let (kind, activation) = (FfnKind::Plain, Activation::Relu);
        let layers = mixers.map(|mixer| LayerSpec {
            norm: Norm::Rms { eps: 1e-5, offset: 0.0 },
            placement: NormPlacement::Pre,
            mixer,
            cross: None,
            ffn: FfnSpec { kind, hidden: 8, activation, bias: false, sub_norm: None },
            residual_scale: 1.0,
        });
        let stack = StackSpec {
            input: Input::Tokens { vocab: 10, scale: 1.0 },
            dim: 16,
            position: Position::None,
            max_positions: 1000,
            layers: layers.to_vec(),
            final_norm: None,
        };
        Arc::new(CacheShape::new(&stack, kv, PAGE).unwrap())
    }

    /// A layer of attention to everything with heads like these.
    fn shape_of(kv: KvType, heads: usize, head_dim: usize) -> Arc<CacheShape> {
        let shape = GroupShape { planes: 2, heads, head_dim, reach: None, kv };
        Arc::new(CacheShape { page: PAGE, groups: vec![(shape, 1)], slots: vec![(0, 0)] })
    }

    fn append(cache: &mut Cache, tag: f32) {
        let (kernels, position) = (Kernels::detect(), cache.positions());
        cache.extend(1);
        for layer in [0, 1, 3] {
            cache.write(&kernels, layer, position, [&[tag; 64], &[-tag; 64]]);
        }
        cache.write(&kernels, 2, position, [&[tag; 16]]);
    }

    /// Keys and values of `blocks`, feature by feature of each position.
    fn numbers_of<'a>(blocks: impl Iterator<Item = Block<'a>>) -> Vec<[f32; 2]> {
        let positions = blocks.flat_map(|Block { keys, skip, values }| {
            (0..values.positions).flat_map(move |i| {
                let (tile, place) = ((skip + i) / TILE * TILE * keys.dim, (skip + i) % TILE);
                (0..keys.dim).map(move |feature| {
                    let key = (tile + feature * TILE + place, (tile + feature / BLOCK * BLOCK * TILE) / BLOCK + place);
                    let value = i * values.stride + feature;
                    [number(keys.stored, key.0, key.1), number(values.stored, value, value / BLOCK)]
                })
            })
        });
        positions.collect()
    }

    /// What head 1 of `layer` reads of the last `count` positions.
    fn tags(cache: &Cache, layer: usize, count: usize) -> Vec<f32> {
        let end = cache.positions();
        let blocks = cache.blocks(layer, 1, end.saturating_sub(count)..end);
        let tags = blocks.flat_map(|Block { keys, skip, values }| {
            (0..values.positions).map(move |i| {
                let (tile, place) = ((skip + i) / TILE * TILE * keys.dim, (skip + i) % TILE);
                let key = number(keys.stored, tile + 5 * TILE + place, tile / BLOCK + place);
                let value = number(values.stored, i * values.stride + 5, i * values.stride / BLOCK);
                assert_eq!(key, -value);
                key
            })
        });
        tags.collect()
    }

    fn numbers(range: Range<usize>) -> Vec<f32> {
        range.map(|i| i as f32).collect()
    }

    #[test]
    fn forks_share_full_pages_and_never_see_each_other() {
        let mut a = Cache::new(shape(KvType::F32));
        (0..PAGE + 3).for_each(|i| append(&mut a, i as f32));
        let mut b = a.clone();
        append(&mut b, 100.0);
        append(&mut a, 200.0);
        let page = |cache: &Cache, index: usize| cache.groups[0].pages[index].clone();
        assert!(Arc::ptr_eq(&page(&a, 0), &page(&b, 0)), "the full page is shared");
        assert!(!Arc::ptr_eq(&page(&a, 1), &page(&b, 1)), "the growing page is not");
        let common = numbers(0..PAGE + 3);
        assert_eq!(tags(&a, 3, 100), [&common[..], &[200.0]].concat());
        assert_eq!(tags(&b, 3, 100), [&common[..], &[100.0]].concat());
    }

    /// A long source is written by several threads and a tile at a time, a cache position by position.
    #[test]
    fn a_source_is_stored_as_a_cache_stores_it() {
        let (heads, head_dim, kernels, pool) = (4, 32, Kernels::detect(), ThreadPool::new(3));
        let positions = 600;
        let number = |i: usize| (i * 7919 % 1009) as f32 / 100.0 - 5.0;
        let keys: Vec<f32> = (0..positions * heads * head_dim).map(number).collect();
        let values: Vec<f32> = keys.iter().map(|key| key * key).collect();
        for kv in [KvType::F32, KvType::F16, KvType::Q8_0] {
            // Two sources, of which the first is not whole tiles.
            let places = SourcePlace::all([positions - 5, positions].into_iter());
            let mut memory = Memory::new(kv, 1, heads, head_dim, &places);
            let machine = Machine { kernels: &kernels, team: &pool.all() };
            memory.write(machine, 0, places[0], &keys[5 * heads * head_dim..], &values[5 * heads * head_dim..]);
            memory.write(machine, 0, places[1], &keys, &values);
            let mut cache = Cache::new(shape_of(kv, heads, head_dim));
            cache.extend(positions);
            for position in 0..positions {
                let row = position * heads * head_dim..(position + 1) * heads * head_dim;
                cache.write(&kernels, 0, position, [&keys[row.clone()], &values[row]]);
            }
            for (place, first) in [(places[0], 5), (places[1], 0)] {
                for head in 0..heads {
                    let found = numbers_of(std::iter::once(memory.block(0, place, head, 0..place.positions)));
                    assert_eq!(found, numbers_of(cache.blocks(0, head, first..positions)), "{kv:?}, head {head}");
                }
            }
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        for kv in [KvType::F32, KvType::F16, KvType::Q8_0] {
            let mut cache = Cache::new(shape(kv));
            (0..100).for_each(|i| append(&mut cache, i as f32));
            for layer in [0, 1, 3] {
                let (mut keys, mut values) = (vec![-1000.0; 90 * 64], vec![-1000.0; 90 * 64]);
                cache.read(layer, 90, &mut keys, &mut values);
                // The window has dropped the first ones.
                let kept = if layer == 1 { cache.groups[1].first * PAGE } else { 0 };
                assert!(layer != 1 || (1..=90).contains(&kept));
                for (i, (key, value)) in keys.iter().zip(&values).enumerate() {
                    let expected = if i / 64 < kept { -1000.0 } else { (i / 64) as f32 };
                    assert!((key - expected).abs() <= expected.abs() * 1e-6, "{kv:?} {layer} {i}: {key}");
                    assert!(i / 64 < kept || *value == -*key, "{kv:?} {layer} {i}: {value}");
                }
            }
        }
    }

    #[test]
    fn every_type_keeps_what_it_is_given() {
        for kv in [KvType::F32, KvType::F16, KvType::Q8_0] {
            let mut cache = Cache::new(shape(kv));
            (0..100).for_each(|i| append(&mut cache, i as f32));
            for (found, expected) in tags(&cache, 0, 100).iter().zip(numbers(0..100)) {
                assert!((found - expected).abs() <= expected * 1e-6, "{kv:?}: {found}");
            }
            assert_eq!(cache.row(2, 99), [99.0; 16]);
        }
    }

    #[test]
    fn a_window_keeps_its_own_positions_and_few_more() {
        let mut cache = Cache::new(shape(KvType::F16));
        for i in 0..300 {
            append(&mut cache, i as f32);
            let count = WINDOW.min(i + 1);
            assert_eq!(tags(&cache, 1, count), numbers(i + 1 - count..i + 1));
        }
        let pages: Vec<_> = cache.groups.iter().map(|group| group.pages.len()).collect();
        let most = (WINDOW + SLACK) / PAGE + 2;
        assert!(pages[0] == 75 && pages[1] <= most && pages[2] <= most, "{pages:?}");
        assert!(cache.bytes() <= cache.shape.bytes(300, 1), "the plan is an upper bound");
    }

    #[test]
    fn truncation_goes_back_as_far_as_windows_allow() {
        let mut a = Cache::new(shape(KvType::F32));
        (0..200).for_each(|i| append(&mut a, i as f32));
        let b = a.clone();
        a.truncate(200 - SLACK);
        assert_eq!(a.positions(), 200 - SLACK);
        (0..3).for_each(|i| append(&mut a, 500.0 + i as f32));
        let end = 200 - SLACK;
        assert_eq!(tags(&a, 1, WINDOW), [&numbers(end - 3..end)[..], &[500.0, 501.0, 502.0]].concat());
        assert_eq!(tags(&b, 0, 1), [199.0], "the fork is as it was");
        a.truncate(100);
        assert_eq!(a.positions(), 0, "the window's past is gone: everything must be fed again");
        (0..5).for_each(|i| append(&mut a, i as f32));
        assert_eq!(tags(&a, 1, 5), numbers(0..5));
    }

    #[test]
    fn what_is_saved_is_restored() {
        for kv in [KvType::F32, KvType::F16, KvType::Q8_0] {
            let mut a = Cache::new(shape(kv));
            (0..50).for_each(|i| append(&mut a, i as f32));
            let bytes = a.save();
            let mut b = Cache::restore(a.shape.clone(), &bytes).unwrap();
            append(&mut a, 77.0);
            append(&mut b, 77.0);
            for layer in [0, 1, 3] {
                assert_eq!(tags(&a, layer, WINDOW), tags(&b, layer, WINDOW));
            }
            assert_eq!(a.row(2, 49), b.row(2, 49));
            for end in (0..bytes.len()).step_by(97) {
                assert!(Cache::restore(a.shape.clone(), &bytes[..end]).is_none());
            }
            let mut other = bytes.clone();
            other[0] = 255;
            assert!(Cache::restore(a.shape.clone(), &other).is_none());
        }
    }
}
