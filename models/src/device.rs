//! Where the parts of a model run that an NPU can take over: encoders, and prompts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use babil_runtime::accelerator::{Accelerator, Choices, Offload, Precision, Remembered, Report};
use babil_runtime::quant::BlockType;
use babil_runtime::topology::Topology;
use babil_runtime::weights::Weights;
use babil_runtime::{Error, Result};

use crate::fingerprint::fingerprint;

/// What computes encoders and prompts. Text is generated on the CPU in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// The NPU; it is an error if there is none.
    Npu,
    /// The NPU, where there is one and a short test on this machine finds it to be faster or cheaper.
    Auto,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Npu => "npu",
            Self::Auto => "auto",
        })
    }
}

/// Which device, and how it computes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceOptions {
    /// CPU or NPU.
    pub device: Device,
    /// A device that stands in for the NPU: an execution provider, or one and a kind of device, such as
    /// `OpenVINOExecutionProvider/gpu`. `None` is the first NPU.
    pub stand_in: Option<String>,
    /// How numbers are computed there; `None` is the device's default.
    pub precision: Option<Precision>,
    /// Whether the device's provider may compute on the CPU what the device cannot.
    pub allow_fallback: bool,
}

impl DeviceOptions {
    /// `device`, with what the environment says of it: `BABIL_NPU` names a stand-in, `BABIL_NPU_PRECISION` is `f32`, `f16` or
    /// `int8`.
    ///
    /// # Errors
    /// Another precision.
    pub fn from_env(device: Device, allow_fallback: bool) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let precision = variable("BABIL_NPU_PRECISION").map(|name| {
            Precision::from_str(&name).map_err(|problem| Error::BadRequest(format!("BABIL_NPU_PRECISION: {problem}")))
        });
        Ok(Self { device, stand_in: variable("BABIL_NPU"), precision: precision.transpose()?, allow_fallback })
    }
}

/// Where compiled subgraphs are kept, beside the packed weights in `packed`.
fn folder(packed: &Path) -> PathBuf {
    packed.with_file_name("accelerated")
}

/// What takes over parts of the model that has these `weights`, quantised to `floats` where they are not yet; nothing on the
/// CPU, and where `auto` finds no device.
pub(crate) fn offload(
    options: &DeviceOptions,
    weights: &Weights,
    floats: Option<BlockType>,
    threads: Option<usize>,
    packed: &Path,
) -> Result<Option<Arc<Offload>>> {
    if options.device == Device::Cpu {
        return Ok(None);
    }
    let threads = Topology::detect().threads(threads, None).prefill;
    match open(options, threads, folder(packed)) {
        Ok(accelerator) => {
            let choices = (options.device == Device::Auto).then(|| Choices::in_folder(&folder(packed)));
            let (weights, known) = (weights.clone(), Remembered::at(folder(packed).join("models.json")));
            let model = move || {
                let floats = floats.map_or("as it is", BlockType::name);
                format!("{} {floats}", fingerprint(&weights, &known))
            };
            Ok(Some(Arc::new(Offload::new(accelerator, model, choices))))
        }
        Err(error) if options.device == Device::Auto => {
            tracing::debug!("computing on the CPU: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(feature = "npu")]
fn open(options: &DeviceOptions, threads: usize, folder: PathBuf) -> Result<Arc<dyn Accelerator>> {
    use babil_runtime::npu::{Npu, NpuOptions};
    let DeviceOptions { stand_in, precision, allow_fallback, .. } = options.clone();
    Ok(Arc::new(Npu::open(NpuOptions { device: stand_in, precision, allow_fallback, threads, folder })?))
}

#[cfg(not(feature = "npu"))]
fn open(_: &DeviceOptions, _: usize, _: PathBuf) -> Result<Arc<dyn Accelerator>> {
    Err(Error::Accelerator("this build is without NPUs (feature `npu`)".to_owned()))
}

/// What ran where so far.
pub(crate) fn report(offload: Option<&Arc<Offload>>) -> Option<Report> {
    offload.map(|offload| offload.report())
}
