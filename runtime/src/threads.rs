//! The thread pool. (skeleton: to be replaced)
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

/// A view of a contiguous range of columns of a row-major `[rows, stride]` matrix, writable by one thread.
pub struct ColumnsMut<'a> {
    data: *mut f32,
    rows: usize,
    stride: usize,
    columns: Range<usize>,
    _matrix: PhantomData<&'a mut [f32]>,
}

impl<'a> ColumnsMut<'a> {
    /// The whole matrix `[rows, stride]` as one view.
    pub fn whole(matrix: &'a mut [f32], stride: usize) -> Self {
        let rows = matrix.len() / stride;
        Self { data: matrix.as_mut_ptr(), rows, stride, columns: 0..stride, _matrix: PhantomData }
    }
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// The columns this view may write, in the whole matrix's numbering.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }
    /// This view's part of row `row`: `columns().len()` values.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: row < rows and columns.end <= stride, so the range lies inside the matrix, which this view borrows
        // mutably for 'a; views of one matrix that exist together have disjoint columns (see `ThreadPool`).
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride + self.columns.start), self.columns.len()) }
    }
}
