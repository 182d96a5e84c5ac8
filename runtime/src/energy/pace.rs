//! Rests between pieces of work: for less heat, and below a temperature.
//!
//! Who computes calls [`Pacer::begin`] when it begins, after waiting for somebody or something, and [`Pacer::between`]
//! between two tokens or sentences. That rests in proportion to the work since the call before, and as long as the
//! processor is too hot. Nothing rests inside of a forward pass.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::thermal::cpu_temperature;
use crate::{Error, Result};

/// Rests begin so many degrees below the limit, because the next piece of work heats on.
const MARGIN_C: f64 = 1.0;

/// And end so many degrees below it.
const RESUME_C: f64 = 3.0;

/// How often the temperature is read, in seconds.
const LOOK_S: f64 = 0.25;

/// A rest is not longer than this, in seconds: where it does not get cooler, work goes on slowly.
const LONGEST_S: f64 = 30.0;

/// Rests shorter than this are made up for later: the system cannot sleep so briefly.
const SHORTEST_S: f64 = 2e-3;

/// What a [`Pacer`] keeps to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Seconds of rest after each second of work.
    pub rest: f64,
    /// The processor is kept below this, in °C.
    pub max_temp_c: Option<f64>,
}

/// What rests came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pace {
    /// Seconds of rest, of all kinds.
    pub rested_s: f64,
    /// Of which because it was too hot.
    pub cooled_s: f64,
    /// How often it was too hot.
    pub times_too_hot: usize,
    /// The highest temperature that was read, in °C.
    pub hottest_c: Option<f64>,
    /// Whether it stayed too hot although it rested as long as it may.
    pub limit_exceeded: bool,
}

/// Where time comes from, and how it is waited for.
pub trait Time: Send {
    /// Seconds since some beginning; never runs backwards.
    fn now(&self) -> f64;

    /// Waits.
    fn sleep(&mut self, seconds: f64);
}

/// The system's time.
#[derive(Clone, Copy, Debug)]
pub struct SystemTime(Instant);

impl Default for SystemTime {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Time for SystemTime {
    fn now(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    fn sleep(&mut self, seconds: f64) {
        thread::sleep(Duration::from_secs_f64(seconds));
    }
}

/// Rests between pieces of work: in proportion to them, and while the processor is too hot. Who computes calls
/// [`Pacer::between`] between two tokens or sentences.
#[derive(Debug)]
pub struct Pacer<T = SystemTime> {
    root: PathBuf,
    limits: Limits,
    time: T,
    /// When work began after the last rest.
    since: f64,
    /// Seconds of rest that are due.
    due: f64,
    looked: f64,
    pace: Pace,
}

impl<T: Time> Pacer<T> {
    /// Work begins now. Temperatures are read below `root`, which is `/` but in tests.
    ///
    /// # Errors
    /// A rest that is not 0 to 100 seconds; a limit of temperature where no temperature can be read, or that is not 20
    /// to 120 °C.
    pub fn new(root: impl Into<PathBuf>, limits: Limits, time: T) -> Result<Self> {
        let root = root.into();
        if !(0.0..=100.0).contains(&limits.rest) {
            return Err(Error::BadRequest(format!(
                "{} seconds of rest for each of work: 0 to 100 are possible",
                limits.rest
            )));
        }
        if let Some(max) = limits.max_temp_c {
            if !(20.0..=120.0).contains(&max) {
                return Err(Error::BadRequest(format!("a limit of {max} degrees: 20 to 120 make sense")));
            }
            if cpu_temperature(&root).is_none() {
                let places =
                    ["sys/class/thermal", "sys/class/hwmon"].map(|place| root.join(place).display().to_string());
                let places = places.join(" and ");
                return Err(Error::Unsupported(format!("a limit of temperature: there is no sensor in {places}")));
            }
        }
        let since = time.now();
        Ok(Self { root, limits, time, since, due: 0.0, looked: f64::MIN, pace: Pace::default() })
    }

    /// Whether it will ever rest.
    pub fn is_idle(&self) -> bool {
        self.limits == Limits::default()
    }

    /// Work begins now: what was before it, such as waiting for the user, earns no rest.
    pub fn begin(&mut self) {
        self.since = self.time.now();
    }

    /// Rests as long as is due. `stop` is asked meanwhile, and ends the rest.
    pub fn between(&mut self, stop: &dyn Fn() -> bool) {
        if self.is_idle() {
            return;
        }
        let now = self.time.now();
        self.due += (now - self.since) * self.limits.rest;
        if self.due >= SHORTEST_S {
            let rested = self.rest(self.due, stop);
            self.due = (self.due - rested).max(0.0);
        }
        if let Some(max) = self.limits.max_temp_c {
            self.cool(max, stop);
        }
        self.since = self.time.now();
    }

    /// What rests came to so far.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Rests while it is too hot.
    fn cool(&mut self, max: f64, stop: &dyn Fn() -> bool) {
        if self.time.now() - self.looked < LOOK_S || self.temperature().is_none_or(|c| c < max - MARGIN_C) {
            return;
        }
        self.pace.times_too_hot += 1;
        let begin = self.time.now();
        while !stop() {
            let cooled = self.rest(LOOK_S, stop);
            self.pace.cooled_s += cooled;
            // A sensor that vanishes tells nothing: the limit cannot be kept by waiting for it.
            if self.temperature().is_none_or(|c| c < max - RESUME_C) {
                return;
            }
            if self.time.now() - begin >= LONGEST_S {
                self.pace.limit_exceeded = true;
                return;
            }
        }
    }

    fn temperature(&mut self) -> Option<f64> {
        self.looked = self.time.now();
        let found = cpu_temperature(&self.root);
        self.pace.hottest_c = self.pace.hottest_c.into_iter().chain(found).reduce(f64::max);
        found
    }

    /// Sleeps in pieces, and returns for how long.
    fn rest(&mut self, seconds: f64, stop: &dyn Fn() -> bool) -> f64 {
        let begin = self.time.now();
        let mut rested = 0.0;
        // What remains may be too little to move a clock.
        while seconds - rested > 1e-6 && !stop() {
            self.time.sleep((seconds - rested).min(LOOK_S));
            rested = self.time.now() - begin;
        }
        self.pace.rested_s += rested;
        rested
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A machine that is heated by work and cooled by rest, in a folder with one sensor.
    #[derive(Clone)]
    struct Machine {
        root: Arc<tempfile::TempDir>,
        /// Seconds, and degrees.
        state: Arc<Mutex<(f64, f64)>>,
        coolest: f64,
    }

    impl Machine {
        fn new(coolest: f64) -> Self {
            let root = Arc::new(tempfile::tempdir().unwrap());
            let zone = root.path().join("sys/class/thermal/thermal_zone0");
            fs::create_dir_all(&zone).unwrap();
            fs::write(zone.join("type"), "cpu-thermal").unwrap();
            let machine = Self { root, state: Arc::new(Mutex::new((0.0, 70.0))), coolest };
            machine.pass(0.0, 0.0);
            machine
        }

        fn pass(&self, seconds: f64, degrees_per_second: f64) {
            let mut state = self.state.lock().unwrap();
            state.0 += seconds;
            state.1 = (state.1 + seconds * degrees_per_second).max(self.coolest);
            fs::write(self.sensor(), ((state.1 * 1000.0) as i64).to_string()).unwrap();
        }

        fn sensor(&self) -> PathBuf {
            self.root.path().join("sys/class/thermal/thermal_zone0/temp")
        }

        fn pacer(&self, limits: Limits) -> Result<Pacer<Self>> {
            Pacer::new(self.root.path(), limits, self.clone())
        }

        /// Tokens of 50 ms each, and the highest temperature after one.
        fn work(&self, pacer: &mut Pacer<Self>, tokens: usize) -> f64 {
            let work = (0..tokens).map(|_| {
                self.pass(0.05, 2.0);
                let hottest = self.state.lock().unwrap().1;
                pacer.between(&|| false);
                hottest
            });
            work.fold(0.0, f64::max)
        }
    }

    impl Time for Machine {
        fn now(&self) -> f64 {
            self.state.lock().unwrap().0
        }

        fn sleep(&mut self, seconds: f64) {
            self.pass(seconds, -4.0);
        }
    }

    #[test]
    fn it_stays_below_the_limit_and_says_for_how_long_it_rested() {
        let machine = Machine::new(40.0);
        let mut pacer = machine.pacer(Limits { rest: 0.0, max_temp_c: Some(75.0) }).unwrap();
        let hottest = machine.work(&mut pacer, 1000);
        assert!(hottest < 75.0, "{hottest}");
        let pace = pacer.pace();
        // 50 s of work by 2 degrees each are taken away by rests at 4 degrees each, but for what remains.
        assert!((22.0..25.5).contains(&pace.cooled_s) && pace.rested_s == pace.cooled_s, "{pace:?}");
        assert!(pace.times_too_hot > 10 && pace.hottest_c.unwrap() < 75.0 && !pace.limit_exceeded, "{pace:?}");
        // Without a limit it would have been hot.
        let machine = Machine::new(40.0);
        let mut pacer = machine.pacer(Limits::default()).unwrap();
        assert!(pacer.is_idle() && machine.work(&mut pacer, 1000) > 160.0);
        assert_eq!(pacer.pace(), Pace::default());
    }

    #[test]
    fn where_it_does_not_get_cooler_work_goes_on_slowly() {
        let machine = Machine::new(90.0);
        let mut pacer = machine.pacer(Limits { rest: 0.0, max_temp_c: Some(75.0) }).unwrap();
        machine.work(&mut pacer, 20);
        let pace = pacer.pace();
        // In this second of work the temperature was looked at four times.
        assert!(pace.limit_exceeded && (pace.cooled_s - 4.0 * LONGEST_S).abs() < 1e-6, "{pace:?}");
        // A sensor that vanishes ends the rest.
        fs::remove_file(machine.sensor()).unwrap();
        pacer.between(&|| false);
        assert_eq!(pacer.pace().rested_s, pace.rested_s);
    }

    #[test]
    fn rests_are_in_proportion_to_work() {
        let machine = Machine::new(40.0);
        let mut pacer = machine.pacer(Limits { rest: 0.5, max_temp_c: None }).unwrap();
        machine.work(&mut pacer, 100);
        let pace = pacer.pace();
        assert!((pace.rested_s - 2.5).abs() < 1e-9 && pace.cooled_s == 0.0, "{pace:?}");
    }

    #[test]
    fn waiting_earns_no_rest() {
        let machine = Machine::new(40.0);
        let mut pacer = machine.pacer(Limits { rest: 0.5, max_temp_c: None }).unwrap();
        // A user who thinks for a minute before each of ten answers.
        for _ in 0..10 {
            machine.pass(60.0, 0.0);
            pacer.begin();
            machine.work(&mut pacer, 10);
        }
        assert!((pacer.pace().rested_s - 2.5).abs() < 1e-6, "{:?}", pacer.pace());
    }

    #[test]
    fn a_wish_to_stop_ends_a_rest() {
        let machine = Machine::new(90.0);
        let mut pacer = machine.pacer(Limits { rest: 10.0, max_temp_c: Some(75.0) }).unwrap();
        machine.pass(5.0, 2.0);
        pacer.between(&|| true);
        assert_eq!(pacer.pace().rested_s, 0.0);
    }

    #[test]
    fn limits_that_cannot_be_kept_are_errors() {
        let machine = Machine::new(40.0);
        let why = |rest, max_temp_c| machine.pacer(Limits { rest, max_temp_c }).err().unwrap().to_string();
        assert!(why(-1.0, None).contains("0 to 100") && why(f64::NAN, None).contains("0 to 100"));
        assert!(why(0.0, Some(5.0)).contains("20 to 120") && why(0.0, Some(f64::NAN)).contains("20 to 120"));
        fs::remove_file(machine.sensor()).unwrap();
        let none = why(0.0, Some(75.0));
        assert!(none.contains("there is no sensor in") && none.contains("sys/class/hwmon"), "{none}");
    }
}
