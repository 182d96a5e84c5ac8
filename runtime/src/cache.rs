//! What a sequence remembers: [`KvCache`] (grows with each token, copy on write) and [`Memory`] (the encoder's side,
//! written once per batch and shared).

use std::ops::Range;
use std::sync::Arc;

use crate::ops::Block;

/// Positions per page: a fork shares all full pages and copies what the last one holds when it continues.
const PAGE: usize = 4;

/// Shape of a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheShape {
    pub(crate) layers: usize,
    /// Features of a key (heads * head_dim).
    pub(crate) dim: usize,
}

impl CacheShape {
    /// Values that one position takes: keys and values of every layer.
    fn position(self) -> usize {
        self.layers * 2 * self.dim
    }
}

/// Keys and values of up to [`PAGE`] positions: `[positions][layers][keys, values][dim]`.
type Page = Vec<f32>;

/// Keys and values of one sequence's tokens.
#[derive(Clone, Debug)]
pub(crate) struct KvCache {
    shape: CacheShape,
    /// All but the last hold [`PAGE`] positions.
    pages: Vec<Arc<Page>>,
    positions: usize,
}

impl KvCache {
    pub(crate) fn new(shape: CacheShape) -> Self {
        Self { shape, pages: Vec::new(), positions: 0 }
    }

    pub(crate) fn positions(&self) -> usize {
        self.positions
    }

    /// Forgets positions from `positions` on.
    pub(crate) fn truncate(&mut self, positions: usize) {
        self.positions = self.positions.min(positions);
        self.pages.truncate(self.positions.div_ceil(PAGE));
    }

    /// Makes `count` more positions writable, and counts them as present: the caller writes each in every layer before
    /// it reads it.
    pub(crate) fn extend(&mut self, count: usize) {
        let position = self.shape.position();
        let end = self.positions + count;
        for page in self.positions / PAGE..end.div_ceil(PAGE) {
            let present = self.positions.saturating_sub(page * PAGE).min(PAGE) * position;
            let wanted = (end - page * PAGE).min(PAGE) * position;
            let own = self.pages.get_mut(page).and_then(Arc::get_mut);
            if let Some(own) = own {
                // What a truncation left behind, if anything, is overwritten before it is read.
                own.resize(wanted, 0.0);
                continue;
            }
            let mut fresh = Vec::with_capacity(PAGE * position);
            if let Some(shared) = self.pages.get(page) {
                fresh.extend_from_slice(&shared[..present]);
            }
            fresh.resize(wanted, 0.0);
            self.pages.truncate(page);
            self.pages.push(Arc::new(fresh));
        }
        self.positions = end;
    }

    /// Writes the key and value of `position` in `layer` (`[dim]` each).
    pub(crate) fn write(&mut self, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        let dim = self.shape.dim;
        let start = position % PAGE * self.shape.position() + layer * 2 * dim;
        let page = Arc::get_mut(&mut self.pages[position / PAGE]).expect("`extend` made this page our own");
        page[start..][..dim].copy_from_slice(key);
        page[start + dim..][..dim].copy_from_slice(value);
    }

    /// The first `positions` positions of `layer`, page by page.
    pub(crate) fn blocks(&self, layer: usize, positions: usize) -> impl Iterator<Item = Block<'_>> + Clone {
        let CacheShape { dim, .. } = self.shape;
        let stride = self.shape.position();
        self.pages.iter().enumerate().take(positions.div_ceil(PAGE)).map(move |(i, page)| {
            let keys = &page[layer * 2 * dim..];
            Block { keys, values: &keys[dim..], stride, positions: (positions - i * PAGE).min(PAGE) }
        })
    }
}

/// Keys and values of a batch of encoded sources for every decoder layer: `[source tokens of the batch, dim]` each.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) dim: usize,
    /// Per decoder layer: keys, values.
    pub(crate) layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Memory {
    /// The rows `source` of `layer`.
    pub(crate) fn block(&self, layer: usize, source: Range<usize>) -> Block<'_> {
        let (keys, values) = &self.layers[layer];
        let range = source.start * self.dim..source.end * self.dim;
        Block { keys: &keys[range.clone()], values: &values[range], stride: self.dim, positions: source.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: CacheShape = CacheShape { layers: 2, dim: 3 };

    fn append(cache: &mut KvCache, tag: f32) {
        let position = cache.positions();
        cache.extend(1);
        for layer in 0..SHAPE.layers {
            cache.write(layer, position, &[tag; 3], &[-tag; 3]);
        }
    }

    fn tags(cache: &KvCache) -> Vec<f32> {
        let blocks = cache.blocks(1, cache.positions());
        blocks
            .flat_map(|b| (0..b.positions).map(move |i| (b.keys[i * b.stride], b.values[i * b.stride])))
            .map(|(k, v)| {
                assert_eq!(k, -v);
                k
            })
            .collect()
    }

    #[test]
    fn forks_share_full_pages_and_never_see_each_other() {
        let mut a = KvCache::new(SHAPE);
        (0..PAGE + 3).for_each(|i| append(&mut a, i as f32));
        let mut b = a.clone();
        append(&mut b, 100.0);
        append(&mut a, 200.0);
        assert!(Arc::ptr_eq(&a.pages[0], &b.pages[0]), "the full page is shared");
        assert!(!Arc::ptr_eq(&a.pages[1], &b.pages[1]), "the growing page is not");
        let common: Vec<f32> = (0..PAGE + 3).map(|i| i as f32).collect();
        assert_eq!(tags(&a), [&common[..], &[200.0]].concat());
        assert_eq!(tags(&b), [&common[..], &[100.0]].concat());
    }

    #[test]
    fn truncation_then_growth_across_a_page_border() {
        let mut a = KvCache::new(SHAPE);
        (0..2 * PAGE).for_each(|i| append(&mut a, i as f32));
        let b = a.clone();
        a.truncate(PAGE - 1);
        (0..3).for_each(|i| append(&mut a, 50.0 + i as f32));
        let expected: Vec<f32> = (0..PAGE - 1).map(|i| i as f32).chain([50.0, 51.0, 52.0]).collect();
        assert_eq!(tags(&a), expected);
        assert_eq!(tags(&b).len(), 2 * PAGE);
    }
}
