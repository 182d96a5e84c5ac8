//! Joining the symbols of a word, best pair first, until no pair is a token.
//!
//! Symbols are a linked list, and pairs wait in a heap, so a word of `n` symbols takes `n log n` steps, whatever it is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::tokens::Tokens;
use crate::Token;

const NONE: u32 = u32::MAX;

/// A part of a word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    /// The token, where the part is one.
    pub(super) id: Option<Token>,
    /// Where it begins, and its length; 0 once it was joined to the one before.
    pub(super) start: u32,
    pub(super) length: u32,
    previous: u32,
    next: u32,
}

impl Symbol {
    /// Where it ends.
    pub(super) fn end(&self) -> u32 {
        self.start + self.length
    }
}

/// A pair that can be joined: the smallest is joined first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    rank: u32,
    left: u32,
    right: u32,
    /// Of both together: another one says that something was joined to one of them since.
    length: u32,
    id: Token,
}

/// The memory in which words are joined, one after the other.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Reverse<Pair>>,
}

impl Merger {
    /// Begins a new word.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
    }

    /// Appends a symbol of `length` to the word; lengths sum up to less than `u32::MAX`.
    pub(super) fn push(&mut self, id: Option<Token>, length: u32) {
        let index = self.symbols.len() as u32;
        let start = self.symbols.last().map_or(0, Symbol::end);
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        self.symbols.push(Symbol { id, start, length, previous: index.wrapping_sub(1), next: NONE });
    }

    /// Joins what can be joined. `join` says the rank of two neighbours and what they become; the lowest rank is joined
    /// first, and of equal ones the leftmost.
    pub(super) fn run(&mut self, join: impl Fn(&Symbol, &Symbol) -> Option<(u32, Token)>) {
        let Self { symbols, pairs } = self;
        let consider = |symbols: &[Symbol], pairs: &mut BinaryHeap<_>, left: u32, right: u32| {
            if left == NONE || right == NONE {
                return;
            }
            let (first, second) = (&symbols[left as usize], &symbols[right as usize]);
            if let Some((rank, id)) = join(first, second) {
                pairs.push(Reverse(Pair { rank, left, right, length: first.length + second.length, id }));
            }
        };
        for right in 1..symbols.len() as u32 {
            consider(symbols, pairs, right - 1, right);
        }
        while let Some(Reverse(pair)) = pairs.pop() {
            let (left, right) = (symbols[pair.left as usize], symbols[pair.right as usize]);
            if left.length == 0 || right.length == 0 || left.length + right.length != pair.length {
                continue;
            }
            symbols[pair.left as usize] = Symbol { id: Some(pair.id), length: pair.length, next: right.next, ..left };
            symbols[pair.right as usize].length = 0;
            if right.next != NONE {
                symbols[right.next as usize].previous = pair.left;
            }
            consider(symbols, pairs, left.previous, pair.left);
            consider(symbols, pairs, pair.left, right.next);
        }
    }

    /// The symbols that are left, in turn.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.length > 0)
    }
}

/// Pairs of tokens and what they become, in the order in which they were learnt.
#[derive(Debug, Default)]
pub(super) struct Merges {
    /// Left, right, and both together; the index is the rank.
    merges: Vec<[Token; 3]>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Merges {
    /// Room for `count` merges, which the caller has compared with the length of a file.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self {
            merges: Vec::with_capacity(count),
            index: HashTable::with_capacity(count),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Appends a merge. A pair keeps the rank of its first one.
    pub(super) fn push(&mut self, left: Token, right: Token, both: Token) {
        let rank = self.merges.len() as u32;
        self.merges.push([left, right, both]);
        let Self { merges, index, hasher } = self;
        let pair = |rank: u32| [merges[rank as usize][0], merges[rank as usize][1]];
        index
            .entry(
                hasher.hash_one([left, right]),
                |&other| pair(other) == [left, right],
                |&other| hasher.hash_one(pair(other)),
            )
            .or_insert(rank);
    }

    /// Appends the merge of two tokens as a file spells them; `scratch` saves allocations.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn push_spelled(
        &mut self,
        tokens: &Tokens,
        [left, right]: [&[u8]; 2],
        scratch: &mut Vec<u8>,
    ) -> std::result::Result<(), &'static str> {
        scratch.clear();
        let spelled = tokens.alphabet().decode(left, scratch);
        let middle = scratch.len();
        let spelled = spelled && tokens.alphabet().decode(right, scratch);
        let find = |bytes: &[u8]| tokens.find(bytes).filter(|_| spelled);
        match (find(&scratch[..middle]), find(&scratch[middle..]), find(scratch)) {
            (Some(left), Some(right), Some(both)) => self.push(left, right, both),
            (None, ..) | (_, None, _) => return Err("joins what is no token"),
            (.., None) => return Err("makes no token"),
        }
        Ok(())
    }

    /// Bytes of memory that they take.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<[Token; 3]>() * self.merges.capacity() + self.index.allocation_size()
    }

    /// The merges in order: left, right, and both together. A pair may occur again, its first place counts.
    pub(super) fn all(&self) -> &[[Token; 3]] {
        &self.merges
    }

    /// The rank of a pair, and what it becomes.
    pub(super) fn find(&self, left: Token, right: Token) -> Option<(u32, Token)> {
        let merge = |rank: u32| &self.merges[rank as usize];
        let same = |&rank: &u32| merge(rank)[..2] == [left, right];
        let rank = *self.index.find(self.hasher.hash_one([left, right]), same)?;
        Some((rank, merge(rank)[2]))
    }
}
