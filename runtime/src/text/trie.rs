//! A byte trie in four flat arrays.
//!
//! Nodes are numbered breadth first, so a node's children are neighbours: those of node `n` are
//! `first_child[n]..first_child[n + 1]`, in the order of their labels.

use std::collections::VecDeque;

/// No key ends at this node.
const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Trie {
    first_child: Vec<u32>,
    labels: Vec<u8>,
    values: Vec<u32>,
}

impl Trie {
    /// Builds a trie of `keys`, which are sorted by their bytes, unique and not empty.
    ///
    /// The node count is at most one more than the keys' bytes, which the caller knows to fit `u32`.
    pub(super) fn from_sorted(keys: &[(&[u8], u32)]) -> Self {
        let mut trie = Self { labels: vec![0], ..Self::default() };
        let mut queue = VecDeque::from([(keys, 0)]);
        while let Some((mut keys, depth)) = queue.pop_front() {
            trie.first_child.push(trie.labels.len() as u32);
            let ends_here = keys.first().filter(|(key, _)| key.len() == depth);
            trie.values.push(ends_here.map_or(NONE, |&(_, value)| value));
            if ends_here.is_some() {
                keys = &keys[1..];
            }
            while let Some(&(first, _)) = keys.first() {
                let label = first[depth];
                let same = keys.partition_point(|(key, _)| key[depth] == label);
                trie.labels.push(label);
                queue.push_back((&keys[..same], depth + 1));
                keys = &keys[same..];
            }
        }
        trie.first_child.push(trie.labels.len() as u32);
        trie
    }

    /// Walks along `text` and yields `(length, value)` of every key that begins it, shortest first.
    pub(super) fn prefixes<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut node = 0;
        let mut length = 0;
        std::iter::from_fn(move || {
            while let Some(&label) = text.get(length) {
                node = self.child(node, label)?;
                length += 1;
                if self.values[node] != NONE {
                    return Some((length, self.values[node]));
                }
            }
            None
        })
    }

    /// The value of exactly `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<u32> {
        let node = key.iter().try_fold(0, |node, &label| self.child(node, label))?;
        Some(self.values[node]).filter(|&value| value != NONE)
    }

    /// Bytes of memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<u32>() * (self.first_child.capacity() + self.values.capacity()) + self.labels.capacity()
    }

    fn child(&self, node: usize, label: u8) -> Option<usize> {
        let start = self.first_child[node] as usize;
        let end = self.first_child[node + 1] as usize;
        self.labels[start..end].binary_search(&label).ok().map(|index| start + index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(keys: &[&str]) -> Trie {
        let mut keys: Vec<_> = keys.iter().zip(0..).map(|(key, value)| (key.as_bytes(), value)).collect();
        keys.sort_unstable();
        Trie::from_sorted(&keys)
    }

    #[test]
    fn yields_every_prefix_shortest_first() {
        let trie = trie(&["ab", "abcd", "a", "b", "é", "abce"]);
        assert_eq!(trie.prefixes(b"abcdx").collect::<Vec<_>>(), [(1, 2), (2, 0), (4, 1)]);
        assert_eq!(trie.prefixes("é".as_bytes()).collect::<Vec<_>>(), [(2, 4)]);
        assert_eq!(trie.prefixes(b"xa").next(), None);
        assert_eq!(trie.prefixes(b"").next(), None);
    }

    #[test]
    fn finds_exact_keys_only() {
        let trie = trie(&["ab", "abcd"]);
        assert_eq!(trie.get(b"abcd"), Some(1));
        assert_eq!(trie.get(b"abc"), None);
        assert_eq!(trie.get(b"abcde"), None);
        assert_eq!(trie.get(b""), None);
    }

    #[test]
    fn an_empty_trie_finds_nothing() {
        let trie = Trie::from_sorted(&[]);
        assert_eq!(trie.get(b"a"), None);
        assert_eq!(trie.prefixes(b"a").next(), None);
    }
}
