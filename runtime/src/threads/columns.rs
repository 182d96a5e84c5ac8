//! Matrices cut into parts that several threads write.

use std::marker::PhantomData;
use std::ops::Range;

use super::Team;

/// Parts that [`Team::columns`] and [`Team::rows`] make per thread: more than one, so that a fast core
/// takes work from a slow one.
const PARTS_PER_THREAD: usize = 8;

impl Team<'_> {
    /// Splits the columns of row-major matrices `[rows, stride]` into ranges that start at multiples of `granularity` and
    /// runs `f(which matrix, some of its columns)` on each of them, in parallel. A part of the job may be columns of several
    /// matrices, so that one job serves matrices of any sizes.
    ///
    /// # Panics
    /// If a `stride` or `granularity` is 0, or a matrix is not whole rows; or as [`Team::run`] does.
    pub fn columns<const N: usize>(
        &self,
        matrices: [(&mut [f32], usize); N],
        granularity: usize,
        f: &(dyn Fn(usize, ColumnsMut<'_>) + Sync),
    ) {
        let matrices = matrices.map(|(matrix, stride)| {
            let ColumnsMut { data, rows, stride, .. } = ColumnsMut::whole(matrix, stride);
            (Base(data), rows, stride)
        });
        assert!(granularity > 0, "a granularity of 0");
        let grains = |stride: usize| stride.div_ceil(granularity);
        let split = Split::new(matrices.iter().map(|(_, _, stride)| grains(*stride)).sum(), self.threads());
        self.run(split.parts, &|part| {
            let Range { mut start, mut end } = split.range(part);
            for (index, (base, rows, stride)) in matrices.iter().enumerate() {
                let columns = (start * granularity).min(*stride)..(end * granularity).min(*stride);
                (start, end) = (start.saturating_sub(grains(*stride)), end.saturating_sub(grains(*stride)));
                if !columns.is_empty() {
                    // SAFETY: `split` gives every part other columns, all of them inside the matrix, whose borrow lasts
                    // until `run` has returned.
                    f(
                        index,
                        ColumnsMut { data: base.get(), rows: *rows, stride: *stride, columns, _matrix: PhantomData },
                    );
                }
            }
        });
    }

    /// [`Team::columns`] of two matrices of the same shape, which are split at the same columns.
    ///
    /// # Panics
    /// As there, or if the shapes differ.
    pub fn columns_of_both(
        &self,
        [a, b]: [&mut [f32]; 2],
        stride: usize,
        granularity: usize,
        f: &(dyn Fn(ColumnsMut<'_>, ColumnsMut<'_>) + Sync),
    ) {
        assert_eq!(a.len(), b.len(), "matrices of different shapes");
        let rows = a.len() / stride;
        let base = Base(ColumnsMut::whole(b, stride).data);
        self.columns([(a, stride)], granularity, &|_, a| {
            // SAFETY: `columns` gives every call other columns of `a`, so these are others of `b`, whose borrow lasts until
            // it has returned; and a and b are different matrices.
            let b = ColumnsMut { data: base.get(), rows, stride, columns: a.columns(), _matrix: PhantomData };
            f(a, b);
        });
    }

    /// Splits a row-major matrix `[rows, stride]` into ranges of whole rows and runs `f(rows, their values)` on each of
    /// them, in parallel.
    ///
    /// # Panics
    /// If `stride` is 0 or the matrix is not whole rows; or as [`Team::run`] does.
    pub fn rows(&self, matrix: &mut [f32], stride: usize, f: &(dyn Fn(Range<usize>, &mut [f32]) + Sync)) {
        let whole = ColumnsMut::whole(matrix, stride);
        let (split, base) = (Split::new(whole.rows, self.threads()), Base(whole.data));
        self.run(split.parts, &|part| {
            let rows = split.range(part);
            // SAFETY: `split` gives every part other rows, all of them inside `whole`, whose borrow of `matrix` lasts
            // until `run` has returned.
            let values =
                unsafe { std::slice::from_raw_parts_mut(base.get().add(rows.start * stride), rows.len() * stride) };
            f(rows, values);
        });
    }

    /// [`Team::rows`] of three matrices of any types, with as many rows, that are split at the same rows.
    ///
    /// # Panics
    /// If there are no rows or a matrix is not `rows` whole rows; or as [`Team::run`] does.
    pub fn rows_of_three<A: Send, B: Send, C: Send>(
        &self,
        rows: usize,
        (a, b, c): (&mut [A], &mut [B], &mut [C]),
        f: &(impl Fn(Range<usize>, &mut [A], &mut [B], &mut [C]) + Sync),
    ) {
        /// # Safety
        /// Calls must be for different rows, and end before the matrix's borrow does.
        unsafe fn part<'a, T>(base: Base<T>, stride: usize, rows: &Range<usize>) -> &'a mut [T] {
            // SAFETY: the matrix has these rows; the caller's duty.
            unsafe { std::slice::from_raw_parts_mut(base.get().add(rows.start * stride), rows.len() * stride) }
        }
        let whole = [a.len(), b.len(), c.len()].iter().all(|len| rows > 0 && len.is_multiple_of(rows));
        assert!(whole, "matrices that are not {rows} rows");
        let strides = [a.len() / rows, b.len() / rows, c.len() / rows];
        let bases = (Base(a.as_mut_ptr()), Base(b.as_mut_ptr()), Base(c.as_mut_ptr()));
        let split = Split::new(rows, self.threads());
        self.run(split.parts, &|number| {
            let rows = split.range(number);
            // SAFETY: `split` gives every part other rows; the borrows last until `run` has returned.
            let (a, b, c) = unsafe {
                (part(bases.0, strides[0], &rows), part(bases.1, strides[1], &rows), part(bases.2, strides[2], &rows))
            };
            f(rows, a, b, c);
        });
    }
}

/// `len` items cut into ranges of about equal size.
struct Split {
    len: usize,
    parts: usize,
}

impl Split {
    fn new(len: usize, threads: usize) -> Self {
        let wanted = if threads == 1 { 1 } else { threads * PARTS_PER_THREAD };
        Self { len, parts: wanted.min(len) }
    }

    fn range(&self, part: usize) -> Range<usize> {
        part * self.len / self.parts..(part + 1) * self.len / self.parts
    }
}

/// The first value of a matrix whose parts several threads write.
struct Base<T>(*mut T);

impl<T> Clone for Base<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Base<T> {}

// SAFETY: a pointer is only a number; those who make slices of T, which is Send, from it see to it that they are disjoint.
unsafe impl<T: Send> Sync for Base<T> {}

impl<T> Base<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// A view of a contiguous range of columns of a row-major `[rows, stride]` matrix, writable by one thread.
pub struct ColumnsMut<'a> {
    data: *mut f32,
    rows: usize,
    stride: usize,
    columns: Range<usize>,
    _matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a `&mut` to its part of the matrix, disjoint from every other view of it, and f32 is Send.
unsafe impl Send for ColumnsMut<'_> {}

impl<'a> ColumnsMut<'a> {
    /// The whole matrix `[rows, stride]` as one view.
    ///
    /// # Panics
    /// If `stride` is 0 or the matrix is not whole rows.
    pub fn whole(matrix: &'a mut [f32], stride: usize) -> Self {
        assert!(stride > 0 && matrix.len().is_multiple_of(stride), "not a matrix of rows of {stride}");
        let rows = matrix.len() / stride;
        Self { data: matrix.as_mut_ptr(), rows, stride, columns: 0..stride, _matrix: PhantomData }
    }

    /// This view narrowed to some of its columns, in the whole matrix's numbering.
    ///
    /// # Panics
    /// If `columns` are not all among this view's.
    pub fn narrow(&mut self, columns: Range<usize>) -> ColumnsMut<'_> {
        let (start, end) = (self.columns.start, self.columns.end);
        assert!(start <= columns.start && columns.start <= columns.end && columns.end <= end);
        ColumnsMut { data: self.data, rows: self.rows, stride: self.stride, columns, _matrix: PhantomData }
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
        // mutably for 'a; views of one matrix that exist together have disjoint columns (see `Team`).
        unsafe {
            std::slice::from_raw_parts_mut(self.data.add(row * self.stride + self.columns.start), self.columns.len())
        }
    }
}
