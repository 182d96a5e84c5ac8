//! Energy of windows of time, from readings that Java pushes. What a meter's readings are worth, and how they become
//! joules with an interval, is the runtime's: [`babil_runtime::energy`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use babil_runtime::energy::{Energy, Flag, PushedMeter, PushedReadings, SourceInfo};

use crate::bytes::Record;
use crate::failure::{Code, Failure, Result};
use crate::handles::Object;

/// What Java says of a meter: which one, and what its maker states. Numbers that are not finite are not stated.
pub(crate) struct Described {
    /// In the order of `EnergyMeter.Kind` in Java.
    pub(crate) kind: i32,
    pub(crate) name: String,
    /// How many counters its readings are the sum of.
    pub(crate) count: i32,
    pub(crate) resolution: f64,
    pub(crate) update_s: f64,
    pub(crate) gain: f64,
    pub(crate) offset_w: f64,
}

impl Described {
    fn info(self) -> Result<SourceInfo> {
        let meter = match self.kind {
            0 => PushedMeter::BatteryPower,
            1 => PushedMeter::BatteryEnergy,
            2 => PushedMeter::RailEnergy { rails: u32::try_from(self.count).unwrap_or(0).max(1) },
            other => return Err(Failure::new(Code::BadArgument, format!("meter number {other}"))),
        };
        let mut info = meter.info(self.name);
        let mut stated = Vec::new();
        for (what, value, place) in [
            ("resolution", self.resolution, &mut info.resolution),
            ("update", self.update_s, &mut info.update_s),
            ("gain", self.gain, &mut info.gain),
            ("offset", self.offset_w, &mut info.offset_w),
        ] {
            if !value.is_finite() {
                continue;
            }
            if value < 0.0 {
                return Err(Failure::new(Code::BadArgument, format!("a {what} of {value}: 0 or more")));
            }
            *place = value;
            stated.push(what);
        }
        if !stated.is_empty() {
            info.why = format!("the app states {}; else {}", stated.join(", "), info.why);
        }
        Ok(info)
    }
}

/// A meter that is read elsewhere.
pub(crate) struct Monitor {
    readings: PushedReadings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the windows that are open began.
    open: Vec<f64>,
    /// What the device takes at rest, by the last idle window.
    idle: Option<Energy>,
}

impl Monitor {
    pub(crate) fn open(meter: Described) -> Result<Self> {
        Ok(Self { readings: PushedReadings::start(meter.info()?), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The meter said `value` so many seconds ago; false where that is not news.
    pub(crate) fn push(&self, value: f64, age_s: f64) -> Result<bool> {
        let is_new = self.readings.push(value, age_s)?;
        self.forget();
        Ok(is_new)
    }

    /// The meter could not be read.
    pub(crate) fn failed(&self, why: &str) {
        self.readings.failed(why);
        self.forget();
    }

    fn forget(&self) {
        // Under the lock: a window that begins now begins after this.
        let state = self.state();
        self.readings.forget(state.open.iter().copied().fold(self.readings.now(), f64::min));
    }

    /// Begins a window.
    pub(crate) fn begin(self: &Arc<Self>) -> Window {
        let mut state = self.state();
        let from = self.readings.now();
        state.open.push(from);
        Window { monitor: self.clone(), from }
    }
}

impl Object for Monitor {
    fn stop(&self) {}

    fn wait(&self) {}
}

/// Time that began.
pub(crate) struct Window {
    monitor: Arc<Monitor>,
    from: f64,
}

impl Window {
    /// What was used until now, as `dev.babil.EnergyReport` reads it. Where the device did `nothing` meanwhile, that is
    /// what windows after this one are compared with.
    pub(crate) fn end(&self, nothing: bool) -> Result<Vec<u8>> {
        let readings = &self.monitor.readings;
        let energy = readings.energy(self.from, readings.now())?;
        let mut state = self.monitor.state();
        if nothing {
            state.idle = Some(energy.clone());
        }
        let idle = state.idle.as_ref().filter(|_| !nothing);
        Ok(record(&energy, idle))
    }
}

impl Object for Window {
    fn stop(&self) {}

    fn wait(&self) {}
}

impl Drop for Window {
    fn drop(&mut self) {
        let open = &mut self.monitor.state().open;
        if let Some(place) = open.iter().position(|from| *from == self.from) {
            open.swap_remove(place);
        }
    }
}

fn record(energy: &Energy, idle: Option<&Energy>) -> Vec<u8> {
    let net = idle.map(|idle| energy.above(idle));
    let flags: Vec<u8> = net.as_ref().unwrap_or(energy).flags.iter().copied().filter_map(number).collect();
    let half_width = |energy: &Energy| energy.half_width_95_j.unwrap_or(f64::INFINITY);
    let mut record = Record::default()
        .text(&energy.source)
        .byte(energy.class as u8)
        .double(energy.joules)
        .double(half_width(energy))
        .double(energy.window_s)
        .double(energy.peak_w)
        .long(energy.samples as u64)
        .list(&flags, |record, flag| record.byte(*flag))
        .byte(net.is_some().into());
    if let Some((idle, net)) = idle.zip(net.as_ref()) {
        record = record.double(idle.avg_w).double(net.joules).double(half_width(net));
    }
    record.into_bytes()
}

/// The number of `dev.babil.EnergyReport.Flag`.
fn number(flag: Flag) -> Option<u8> {
    match flag {
        Flag::FewSamples => Some(0),
        Flag::ShortWindow => Some(1),
        Flag::Gap => Some(2),
        Flag::FailedReadings => Some(3),
        Flag::Stuck => Some(4),
        Flag::FewSteps => Some(5),
        // No meter of Java's is a model.
        Flag::Modelled => None,
    }
}
