//! What the benchmarks share: whose turn it is. How they count and time is [`babil_models::bench`].

/// When a measurement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Once, uncounted, to warm up, then so often.
    Rounds(usize),
    /// For each line of stdin: somebody else says whose turn it is.
    OnRequest,
}

impl Turns {
    /// Calls `repeat` whenever it is time, with whether that counts.
    ///
    /// # Errors
    /// Reading stdin, and those of `repeat`.
    pub fn run<E: From<std::io::Error>>(self, mut repeat: impl FnMut(bool) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Rounds(0) => Ok(()),
            Self::Rounds(rounds) => (0..=rounds).try_for_each(|round| repeat(round > 0)),
            Self::OnRequest => std::io::stdin().lines().try_for_each(|line| {
                line?;
                repeat(true)
            }),
        }
    }
}
