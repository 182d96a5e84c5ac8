//! Each part of the budget is needed.
