//! A board whose power is known, and the virtual clock on which it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::energy::Clock;
use crate::sampling::Random;

/// Steps of the curve per second.
const STEPS: f64 = 500.0;

/// How long a board is simulated beyond its window, in seconds.
const AROUND: f64 = 6.0;

/// Random numbers of the distributions that errors have.
#[derive(Clone, Debug)]
pub(super) struct Dice(Random);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// From `low` to `high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.unit()
    }

    /// Normal, with a standard deviation of 1.
    pub(super) fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.0.unit(), self.0.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

/// What a board does, drawn anew for each run.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// Watts before, during and after the window.
    pub(super) watts: [f64; 3],
    /// When the phase in the middle begins and ends, in seconds.
    pub(super) window: [f64; 2],
    /// The time constant with which power follows, in seconds.
    pub(super) follows: f64,
    /// A load that comes and goes with each token: its part of the power, and how often per second.
    pub(super) tokens: (f64, f64),
    /// How much more it takes when it is warm.
    pub(super) warms: f64,
    /// Random changes of power that last some 20 ms: their part of it.
    pub(super) wanders: f64,
}

impl Life {
    /// As a battery sees it, behind the device's regulators: steadier.
    pub(super) fn behind_regulators(dice: &mut Dice) -> Self {
        let life = Self::drawn(dice);
        Self { tokens: (life.tokens.0 / 5.0, life.tokens.1), wanders: life.wanders / 5.0, ..life }
    }

    pub(super) fn drawn(dice: &mut Dice) -> Self {
        let begin = dice.between(2.5, 3.5);
        let idle = dice.between(2.0, 3.0);
        let work = dice.between(5.0, 8.0);
        // What comes after is the rest, or another phase.
        let after = if dice.between(0.0, 1.0) < 0.5 { idle } else { dice.between(2.0, 8.0) };
        Self {
            watts: [idle, work, after],
            window: [begin, begin + 10.0],
            follows: dice.between(0.005, 0.05),
            tokens: (dice.between(0.0, 0.2), dice.between(3.0, 40.0)),
            warms: dice.between(0.0, 0.05),
            wanders: dice.between(0.0, 0.05),
        }
    }

    /// One whose window has so many seconds.
    pub(super) fn lasting(self, seconds: f64) -> Self {
        Self { window: [self.window[0], self.window[0] + seconds], ..self }
    }

    /// How long it is simulated, in seconds.
    pub(super) fn length(&self) -> f64 {
        self.window[1] - self.window[0] + AROUND
    }
}

/// Power and energy over time.
#[derive(Debug)]
pub(super) struct Board {
    watts: Vec<f64>,
    joules: Vec<f64>,
}

impl Board {
    pub(super) fn new(life: &Life, dice: &mut Dice) -> Self {
        let count = (life.length() * STEPS) as usize + 1;
        let (mut level, mut wander) = (life.watts[0], 0.0);
        let [begin, end] = life.window;
        let token_phase = dice.between(0.0, 1.0);
        let watts: Vec<f64> = (0..count)
            .map(|step| {
                let time = step as f64 / STEPS;
                let target = life.watts[usize::from(time >= begin) + usize::from(time >= end)];
                level += (target - level) * (1.0 - (-1.0 / (STEPS * life.follows)).exp());
                let kept = (-1.0 / (STEPS * 0.02)).exp();
                wander = wander * kept + dice.normal() * (1.0 - kept * kept).sqrt() * life.wanders;
                let token = (time * life.tokens.1 + token_phase).fract() < 0.6;
                let works = time >= begin && time < end;
                let part = if works && token { life.tokens.0 } else { 0.0 };
                level * (1.0 + life.warms * time / life.length()) * (1.0 + part + wander)
            })
            .collect();
        let mut sum = 0.0;
        let joules = watts
            .windows(2)
            .map(|pair| {
                sum += (pair[0] + pair[1]) / 2.0 / STEPS;
                sum
            })
            .collect::<Vec<_>>();
        Self { watts, joules: std::iter::once(0.0).chain(joules).collect() }
    }

    /// When half of it is over, in seconds.
    pub(super) fn middle(&self) -> f64 {
        (self.watts.len() - 1) as f64 / STEPS / 2.0
    }

    pub(super) fn watts(&self, time: f64) -> f64 {
        self.at(&self.watts, time)
    }

    /// Since the beginning.
    pub(super) fn joules(&self, time: f64) -> f64 {
        self.at(&self.joules, time)
    }

    fn at(&self, values: &[f64], time: f64) -> f64 {
        let place = (time * STEPS).clamp(0.0, (values.len() - 1) as f64);
        let step = (place as usize).min(values.len() - 2);
        values[step] + (values[step + 1] - values[step]) * (place - step as f64)
    }
}

/// A clock that is told the time.
#[derive(Clone, Debug, Default)]
pub(super) struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    pub(super) fn set(&self, time: f64) {
        self.0.store(time.to_bits(), Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}
