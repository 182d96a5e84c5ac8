//! Power that somebody named: class E, which is no measurement.

use crate::cpu_time;
use crate::energy::{Class, Integration, Model, ReadError, Reading, Scope, Source, SourceInfo};

/// An assumption that is read like a meter.
#[derive(Debug)]
pub(in crate::energy) struct Assumed {
    info: SourceInfo,
    model: Model,
}

impl Assumed {
    pub(in crate::energy) fn new(model: Model) -> Self {
        let (name, scope, integration, remark) = match model {
            Model::Watts(watts) => (
                format!("model:{watts}"),
                Scope::Device,
                Integration::Trapezoid,
                format!("assumes that the device always takes {watts} W"),
            ),
            Model::WattsPerCpu(watts) => (
                format!("model:{watts}/cpu"),
                Scope::Core,
                Integration::CounterDifference,
                format!("assumes {watts} W for each CPU that this process keeps busy, and nothing else"),
            ),
        };
        let info = SourceInfo {
            name,
            class: Class::E,
            scope,
            integration,
            reads: Vec::new(),
            remark: format!("not measured: {remark}"),
            resolution: 0.0,
            update_s: 0.0,
            gain: 0.0,
            drift: 0.0,
            offset_w: 0.0,
            why: "an assumption has no uncertainty that could be stated".into(),
            default_hz: 20.0,
            wraps_at_j: None,
        };
        Self { info, model }
    }
}

impl Source for Assumed {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        match self.model {
            Model::Watts(watts) => Ok(Reading::Watts(watts)),
            Model::WattsPerCpu(watts) => cpu_time::of_process()
                .map(|seconds| Reading::Joules(seconds * watts))
                .ok_or_else(|| ReadError::Absent("this process's processor time".into())),
        }
    }
}
