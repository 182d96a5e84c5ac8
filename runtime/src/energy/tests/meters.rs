//! Meters of a simulated board: each writes the files that its source reads, with the errors that the source states.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::board::{Board, Dice, Life, VirtualClock};
use crate::energy::sources::{Battery, Hwmon, Pmic, Rapl};
use crate::energy::{
    Clock, Energy, Integration, ReadError, Reading, Recording, Sampler, Scope, Source, SourceInfo, budget,
};

/// The errors of one device, drawn from what its source states.
#[derive(Clone, Debug)]
pub(super) struct Device {
    gain: f64,
    drift: f64,
    offset: f64,
    /// Standard deviation of one reading, relative.
    noise: f64,
    dice: Dice,
}

impl Device {
    fn new(info: &SourceInfo, noise: f64, dice: &mut Dice) -> Self {
        let (gain, drift, offset) =
            (dice.normal() * info.gain, dice.normal() * info.drift, dice.normal() * info.offset_w);
        Self { gain, drift, offset, noise, dice: Dice::new(dice.between(0.0, 1e15) as u64) }
    }

    /// What it takes for the power at `time`.
    fn watts(&mut self, board: &Board, time: f64) -> f64 {
        let warm = 1.0 - (-time / 60.0).exp();
        board.watts(time) * (1.0 + self.gain + self.drift * warm) * (1.0 + self.noise * self.dice.normal())
            + self.offset
    }

    /// What it has counted until `time`: the drift is that of the window's middle.
    fn joules(&self, board: &Board, time: f64) -> f64 {
        let warm = 1.0 - (-board.middle() / 60.0).exp();
        board.joules(time) * (1.0 + self.gain + self.drift * warm) + self.offset * time
    }
}

fn write(path: PathBuf, value: impl ToString) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

/// A file that is written often: it stays open, and its numbers are padded, so that one call replaces all of it.
struct Rewritten(File);

impl Rewritten {
    fn open(path: &Path) -> Self {
        Self(File::options().write(true).open(path).unwrap())
    }

    fn write(&self, value: i64) {
        self.0.write_all_at(format!("{value:<15}\n").as_bytes(), 0).unwrap();
    }
}

/// A source whose files are written just before they are read; reading takes a while.
struct Simulated<W> {
    source: Box<dyn Source>,
    clock: VirtualClock,
    write: W,
    /// How long reading takes, in seconds.
    latency: (f64, f64),
    dice: Dice,
}

impl<W: FnMut(f64) + Send> Source for Simulated<W> {
    fn info(&self) -> &SourceInfo {
        self.source.info()
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let latency = self.dice.between(self.latency.0, self.latency.1);
        let before = self.clock.now();
        (self.write)(before + latency * self.dice.between(0.0, 1.0));
        let reading = self.source.read();
        self.clock.set(before + latency);
        reading
    }
}

impl<W> std::fmt::Debug for Simulated<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}

/// Which meter a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meter {
    Rapl,
    Pmic,
    Ina226,
    /// A rail of which current and voltage are told.
    Ina3221,
    /// Of a phone, whose gauge measures four times a second.
    Battery,
    /// Of a laptop: once a second.
    SlowBattery,
    /// Of a laptop that tells what is left, in steps.
    EnergyNow,
}

thread_local! {
    /// A folder that a thread's runs share: making one takes longer than a run.
    static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

/// A folder in memory, where the system has that.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn folder() -> PathBuf {
    FOLDER.with_borrow_mut(|folder| folder.get_or_insert_with(in_memory).path().to_owned())
}

const RANGE: i64 = 262_143_328_850;

/// The share of each counter of a machine with two processors, of which the first tells its memory.
const ZONES: [(&str, &str, f64); 3] =
    [("intel-rapl:0", "package-0", 0.6), ("intel-rapl:0:0", "dram", 0.15), ("intel-rapl:1", "package-1", 0.25)];

/// The rails of a Raspberry Pi 5, with their voltages and shares.
const RAILS: [(&str, f64, f64); 12] = [
    ("3V7_WL_SW", 3.7, 0.05),
    ("3V3_SYS", 3.31, 0.05),
    ("1V8_SYS", 1.8, 0.07),
    ("DDR_VDD2", 1.1, 0.04),
    ("DDR_VDDQ", 0.6, 0.02),
    ("1V1_SYS", 1.1, 0.06),
    ("0V8_SW", 0.8, 0.08),
    ("VDD_CORE", 0.87, 0.58),
    ("3V3_DAC", 3.31, 0.01),
    ("3V3_ADC", 3.31, 0.01),
    ("0V8_AON", 0.8, 0.01),
    ("HDMI", 5.1, 0.02),
];

impl Meter {
    /// The source of this meter on `board`.
    fn source(self, board: &Arc<Board>, clock: &VirtualClock, dice: &mut Dice) -> Box<dyn Source> {
        // Meters do not see each other's files.
        let root = folder().join(format!("{self:?}"));
        let board = Arc::clone(board);
        let clock = clock.clone();
        let mut own = Dice::new(dice.between(0.0, 1e15) as u64);
        match self {
            Self::Rapl => {
                let zone = |name: &str, file: &str| root.join("sys/class/powercap").join(name).join(file);
                // Each wraps somewhere in the run.
                let starts = ZONES.map(|(.., share)| RANGE - (dice.between(0.0, 100.0 * share) * 1e6) as i64);
                for ((folder, name, _), start) in ZONES.into_iter().zip(starts) {
                    write(zone(folder, "name"), name);
                    write(zone(folder, "max_energy_range_uj"), RANGE);
                    write(zone(folder, "energy_uj"), start);
                }
                let source = Rapl::find(&root, Scope::PackageDram).unwrap();
                let device = Device::new(source.info(), 0.0, dice);
                let files = ZONES.map(|(folder, ..)| Rewritten::open(&zone(folder, "energy_uj")));
                let write = move |time: f64| {
                    // The counter moves about once in a millisecond.
                    let moved = (time * 1e3).floor() / 1e3;
                    for ((file, start), (.., share)) in files.iter().zip(starts).zip(ZONES) {
                        let units = (device.joules(&board, moved) * share / 61e-6).floor();
                        file.write((start + (units * 61.0) as i64) % RANGE);
                    }
                };
                Box::new(Simulated { source: Box::new(source), clock, write, latency: (20e-6, 200e-6), dice: own })
            }
            Self::Pmic => {
                let text = Arc::new(Mutex::new(String::new()));
                let mut print = {
                    let (text, board) = (Arc::clone(&text), Arc::clone(&board));
                    let mut dice = Dice::new(dice.between(0.0, 1e15) as u64);
                    move |device: &mut Device, time: f64| {
                        let watts = device.watts(&board, time);
                        let mut lines = String::new();
                        for (index, (rail, volts, share)) in RAILS.into_iter().enumerate() {
                            let volts = volts * (1.0 + 0.002 * dice.normal());
                            let step = 0.976e-3;
                            let amperes = (watts * share / volts / step).round() * step;
                            lines += &format!("{:>12} current({index})={amperes:.8}A\n", format!("{rail}_A"));
                            lines += &format!("{:>12} volt({index})={volts:.8}V\n", format!("{rail}_V"));
                        }
                        lines += "     EXT5V_V volt(24)=5.13424000V\n      BATT_V volt(25)=0.00000000V\n";
                        *text.lock().unwrap() = lines;
                    }
                };
                let mut none = Device { gain: 0.0, drift: 0.0, offset: 0.0, noise: 0.0, dice: own.clone() };
                print(&mut none, 0.0);
                let source = Pmic::new("vcgencmd".into(), Box::new(move || Ok(text.lock().unwrap().clone()))).unwrap();
                let mut device = Device::new(source.info(), 0.02, dice);
                let write = move |time: f64| print(&mut device, time);
                Box::new(Simulated { source: Box::new(source), clock, write, latency: (5e-3, 30e-3), dice: own })
            }
            Self::Ina226 => {
                let file = |name: &str| root.join("sys/class/hwmon/hwmon0").join(name);
                // One that does not average.
                for (name, value) in [
                    ("name", "ina226"),
                    ("power1_input", "0"),
                    ("in1_input", "5000"),
                    ("shunt_resistor", "10000"),
                    ("update_interval", "2"),
                ] {
                    write(file(name), value);
                }
                let source = Hwmon::find(&root, None).unwrap();
                let mut device = Device::new(source.info(), 0.01, dice);
                let power = Rewritten::open(&file("power1_input"));
                let write = move |time: f64| {
                    let aged = time - own.between(0.0, 2.2e-3);
                    let steps = (device.watts(&board, aged) / 6.25e-3).round();
                    power.write((steps * 6_250.0) as i64);
                };
                let dice = Dice::new(dice.between(0.0, 1e15) as u64);
                Box::new(Simulated { source: Box::new(source), clock, write, latency: (0.5e-3, 2e-3), dice })
            }
            Self::Ina3221 => {
                let file = |name: &str| root.join("sys/class/hwmon/hwmon0").join(name);
                for (name, value) in [
                    ("name", "ina3221"),
                    ("in1_label", "VDD_IN"),
                    ("in1_input", "5000"),
                    ("curr1_input", "500"),
                    ("shunt1_resistor", "10000"),
                    ("update_interval", "140"),
                ] {
                    write(file(name), value);
                }
                let source = Hwmon::find(&root, None).unwrap();
                let (mut device, step) = (Device::new(source.info(), 0.01, dice), source.info().resolution);
                let (period, volts) = (source.info().update_s, 5.0);
                let phase = own.between(0.0, period);
                let current = Rewritten::open(&file("curr1_input"));
                let mut last = -1.0;
                let write = move |time: f64| {
                    let measured = ((time - phase) / period).floor() * period + phase;
                    if measured != last {
                        last = measured;
                        let watts = (device.watts(&board, measured) / step).round() * step;
                        current.write((watts / volts * 1e3).round() as i64);
                    }
                };
                Box::new(Simulated { source: Box::new(source), clock, write, latency: (0.5e-3, 2e-3), dice: own })
            }
            Self::EnergyNow => {
                let file = |name: &str| root.join("sys/class/power_supply/BAT0").join(name);
                let full = 40_000_000 + (own.between(0.0, 1e6) as i64);
                for (name, value) in [("type", "Battery"), ("status", "Discharging"), ("energy_now", "40000000")] {
                    write(file(name), value);
                }
                let source = Battery::find(&root).unwrap();
                assert!(source.info().integration == Integration::CounterDifference);
                let (device, step) = (Device::new(source.info(), 0.0, dice), source.info().resolution);
                let phase = own.between(0.0, 1.0);
                let left = Rewritten::open(&file("energy_now"));
                let write = move |time: f64| {
                    let measured = (time - phase).floor() + phase;
                    let joules = full as f64 * 3.6e-3 - device.joules(&board, measured.max(0.0));
                    left.write(((joules / step).floor() * step / 3.6e-3).round() as i64);
                };
                Box::new(Simulated { source: Box::new(source), clock, write, latency: (50e-6, 500e-6), dice: own })
            }
            Self::Battery | Self::SlowBattery => {
                let file = |name: &str| root.join("sys/class/power_supply/BAT0").join(name);
                let volts = 3.85;
                for (name, value) in [
                    ("type", "Battery"),
                    ("status", "Discharging"),
                    ("current_now", "-500000"),
                    ("voltage_now", "3850000"),
                ] {
                    write(file(name), value);
                }
                let source = Battery::find(&root).unwrap();
                let mut device = Device::new(source.info(), 0.01, dice);
                let period = if self == Self::Battery { 0.25 } else { 1.0 };
                let phase = own.between(0.0, period);
                let current = Rewritten::open(&file("current_now"));
                let mut last = -1.0;
                let write = move |time: f64| {
                    let measured = ((time - phase) / period).floor() * period + phase;
                    if measured != last {
                        last = measured;
                        let milliamperes = (device.watts(&board, measured) / volts * 1e3).round();
                        current.write((-milliamperes * 1e3) as i64);
                    }
                };
                Box::new(Simulated { source: Box::new(source), clock, write, latency: (50e-6, 500e-6), dice: own })
            }
        }
    }
}

/// What a sampler, which is late now and then, records of a life, and the edges of its window.
pub(super) fn record(
    source: Box<dyn Source>,
    hz: Option<f64>,
    life: &Life,
    clock: &VirtualClock,
    dice: &mut Dice,
) -> (Recording, [f64; 2]) {
    let counts = source.info().integration == Integration::CounterDifference;
    let mut sampler = Sampler::new(source, hz, dice.between(0.0, 1e15) as u64).unwrap();
    let mut edges = life.window;
    let mut next_edge = 0;
    clock.set(0.0);
    sampler.sample(clock);
    loop {
        let due = sampler.due(clock.now());
        let late = -2e-3 * dice.between(1e-9, 1.0).ln()
            + if dice.between(0.0, 1.0) < 0.02 { dice.between(0.0, 0.15) } else { 0.0 };
        let time = due + late;
        // The program's own marks fall between samples.
        while next_edge < 2 && life.window[next_edge] <= time {
            clock.set(life.window[next_edge].max(clock.now()));
            edges[next_edge] = if counts { sampler.sample(clock).unwrap() } else { clock.now() };
            next_edge += 1;
        }
        if time > life.length() - 0.1 {
            break;
        }
        clock.set(time.max(clock.now()));
        sampler.sample(clock);
    }
    (sampler.finish(clock.now(), None), edges)
}

/// How long a benchmark's phases are with a meter, in seconds.
pub(super) fn least_window(meter: Meter) -> f64 {
    let mut dice = Dice::new(0);
    let life = Life::drawn(&mut dice);
    let board = Arc::new(Board::new(&life, &mut dice));
    let source = meter.source(&board, &VirtualClock::default(), &mut dice);
    budget::least_window(source.info(), source.info().default_hz)
}

/// One run: what was measured of the window, and what the truth is.
pub(super) fn run(meter: Meter, hz: Option<f64>, seed: u64, life: impl Fn(&mut Dice) -> Life) -> (Energy, f64) {
    let mut dice = Dice::new(seed);
    let life = life(&mut dice);
    let board = Arc::new(Board::new(&life, &mut dice));
    let clock = VirtualClock::default();
    let source = meter.source(&board, &clock, &mut dice);
    let (recording, [from, to]) = record(source, hz, &life, &clock, &mut dice);
    let energy = recording.energy(from, to).unwrap_or_else(|error| panic!("{meter:?}, seed {seed}: {error}"));
    (energy, board.joules(to) - board.joules(from))
}
