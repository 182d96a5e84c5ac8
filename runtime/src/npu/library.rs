//! The ONNX Runtime library, its plugins, and the devices that they offer.
//!
//! The library is found by `BABIL_ONNXRUNTIME`, `ORT_DYLIB_PATH`, beside the program, or where the system looks (on Android:
//! among the app's own libraries). Plugins are those of `BABIL_ONNXRUNTIME_PLUGINS`, and those of known names beside the
//! library, beside the program, or in Python packages beside the library's.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::DeviceType;
use serde::Serialize;

use super::raw;
use crate::{Error, Result};

/// Names of plugins, without the system's prefix and suffix.
const PLUGINS: [&str; 5] = [
    "onnxruntime_providers_openvino_plugin",
    "onnxruntime_providers_qnn",
    "onnxruntime_provider_qnn",
    "onnxruntime_providers_vitisai",
    "onnxruntime_providers_nv_tensorrt_rtx",
];

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// A graphics processor.
    Gpu,
    /// A processor for neural networks.
    Npu,
}

impl DeviceKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Npu => "npu",
        }
    }
}

/// A device that a provider offers.
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// The execution provider.
    pub provider: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Who made it.
    pub vendor: String,
    /// Its maker's number for its model.
    pub id: u32,
    /// What provider and system say of it, such as versions and drivers.
    pub metadata: BTreeMap<String, String>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

impl Device {
    /// Provider, version and device in one line: another line is another device.
    pub fn name(&self) -> String {
        let version = self.metadata.get("version").map_or(String::new(), |version| format!(" {version}"));
        let driver = self.metadata.get("driver_version").map_or(String::new(), |version| format!(", driver {version}"));
        let Self { provider, kind, vendor, id, .. } = self;
        format!("{provider}{version} on {} ({vendor} {id:04x}{driver})", kind.name())
    }

    /// Whether `wish` (a provider, or a provider and a kind) means it.
    fn is(&self, wish: &str) -> bool {
        let (provider, kind) = wish.split_once('/').map_or((wish, None), |(provider, kind)| (provider, Some(kind)));
        let short = self.provider.strip_suffix("ExecutionProvider").unwrap_or(&self.provider);
        let same = provider.eq_ignore_ascii_case(&self.provider) || provider.eq_ignore_ascii_case(short);
        same && kind.is_none_or(|kind| kind.eq_ignore_ascii_case(self.kind.name()))
    }
}

/// A plugin that gives no device.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    /// Its file.
    pub plugin: PathBuf,
    /// Why.
    pub problem: String,
}

/// All that the library offers on this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Devices {
    /// The library's file.
    pub library: PathBuf,
    /// Its version and build.
    pub version: String,
    /// Devices.
    pub devices: Vec<Device>,
    /// Plugins without a device.
    pub missing: Vec<Missing>,
}

impl Devices {
    /// Loads the library, if it is not loaded yet, and asks for its devices.
    ///
    /// # Errors
    /// [`Error::Accelerator`] says what to install.
    pub fn detect() -> Result<Self> {
        let library = Library::get()?;
        let devices: Vec<_> = library.environment.devices().map(|device| describe(&device)).collect();
        let mut missing = library.failed.clone();
        let offered: BTreeSet<_> = devices.iter().filter_map(|device| device.metadata.get("library_path")).collect();
        for plugin in &library.registered {
            let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            if !offered.iter().any(|path| canonical(Path::new(path)) == canonical(plugin)) {
                let problem = "it offers no device: its hardware or its driver is not here".to_owned();
                missing.push(Missing { plugin: plugin.clone(), problem });
            }
        }
        Ok(Self { library: library.path.clone(), version: library.version.clone(), devices, missing })
    }

    /// The first device that `wish` means, or else the first NPU.
    ///
    /// # Errors
    /// [`Error::Accelerator`] says what there is.
    pub(super) fn choose(&self, wish: Option<&str>) -> Result<&Device> {
        let wanted = |device: &&Device| match wish {
            Some(wish) => device.is(wish),
            None => device.kind == DeviceKind::Npu,
        };
        if let Some(device) = self.devices.iter().filter(wanted).find(|device| device.problem.is_none()) {
            return Ok(device);
        }
        let what = wish.map_or("NPU".to_owned(), |wish| format!("device `{wish}`"));
        let unusable = self.devices.iter().filter(wanted);
        let reasons = unusable.filter_map(|device| Some(format!("{}: {}", device.name(), device.problem.as_ref()?)));
        let missing = self.missing.iter().map(|missing| format!("{}: {}", missing.plugin.display(), missing.problem));
        let reasons: Vec<_> = reasons.chain(missing).collect();
        let why = match &reasons[..] {
            [] => "no plugin for one was found beside ONNX Runtime, nor in BABIL_ONNXRUNTIME_PLUGINS".to_owned(),
            reasons => reasons.join("; "),
        };
        Err(Error::Accelerator(format!("no {what} can be used ({why}); `babil doctor --devices` lists what there is")))
    }
}

fn describe(device: &ort::device::Device<'_>) -> Device {
    let hardware = device.hardware_device();
    let metadata = raw::metadata(device);
    let kind = match hardware.ty() {
        DeviceType::GPU => DeviceKind::Gpu,
        DeviceType::NPU => DeviceKind::Npu,
        _ => DeviceKind::Cpu,
    };
    let pretended = metadata.get("is_virtual").is_some_and(|value| value == "1");
    Device {
        provider: device.ep().unwrap_or_default().to_owned(),
        kind,
        vendor: hardware.vendor().unwrap_or_default().to_owned(),
        id: hardware.id(),
        metadata,
        problem: pretended.then(|| "it is not in this machine: the provider only compiles for it".to_owned()),
    }
}

/// The library, loaded once and kept to the end of the program.
pub(super) struct Library {
    pub(super) environment: Environment,
    path: PathBuf,
    version: String,
    registered: Vec<PathBuf>,
    failed: Vec<Missing>,
}

impl Library {
    /// The library.
    ///
    /// # Errors
    /// [`Error::Accelerator`] says what to install; the answer stays the same while the program runs.
    pub(super) fn get() -> Result<&'static Self> {
        static LIBRARY: OnceLock<std::result::Result<Library, String>> = OnceLock::new();
        LIBRARY.get_or_init(Self::load).as_ref().map_err(|problem| Error::Accelerator(problem.clone()))
    }

    fn load() -> std::result::Result<Self, String> {
        let mut problems = Vec::new();
        for path in candidates() {
            let builder = match ort::init_from(&path) {
                Ok(builder) => builder,
                Err(error) => {
                    problems.push(error.to_string());
                    continue;
                }
            };
            let logger = Arc::new(|level, _: &str, _: &str, place: &str, message: &str| match level {
                LogLevel::Verbose | LogLevel::Info => tracing::trace!("{place}: {message}"),
                _ => tracing::debug!("ONNX Runtime: {place}: {message}"),
            });
            let environment = builder.with_name("babil").with_telemetry(false).with_logger(logger).build();
            let environment = environment.map_err(|error| format!("ONNX Runtime does not start: {error}"))?;
            environment.set_log_level(LogLevel::Warning);
            let (mut registered, mut failed) = (Vec::new(), Vec::new());
            for plugin in plugins(&path) {
                let name = plugin.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                match environment.register_ep_library(name, &plugin) {
                    Ok(()) => registered.push(plugin),
                    Err(error) => failed.push(Missing { plugin, problem: error.to_string() }),
                }
            }
            return Ok(Self { environment, path, version: ort::info().to_owned(), registered, failed });
        }
        let tried = problems.join("; ");
        Err(format!(
            "no ONNX Runtime library, 1.{} or newer, was found: install one (`pip install onnxruntime`, or a package of your \
             system) and name its file in BABIL_ONNXRUNTIME (tried: {tried})",
            ort::MINOR_VERSION
        ))
    }
}

/// The library's file name on this system.
fn library_name() -> String {
    format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}")
}

/// Files to try, in order of preference: what the user names, and nothing else then.
fn candidates() -> Vec<PathBuf> {
    for variable in ["BABIL_ONNXRUNTIME", "ORT_DYLIB_PATH"] {
        if let Some(path) = env::var_os(variable).filter(|path| !path.is_empty()) {
            return vec![named(path.into())];
        }
    }
    let beside = env::current_exe().ok().and_then(|program| newest_in(program.parent()?));
    beside.into_iter().chain([library_name().into()]).collect()
}

/// The library that a user names: a file, or its folder. What is not there may be a name for the system to look up.
fn named(path: PathBuf) -> PathBuf {
    // Plugins are found by where it is.
    let path = if path.exists() { std::path::absolute(&path).unwrap_or(path) } else { path };
    if path.is_dir() { newest_in(&path).unwrap_or_else(|| path.join(library_name())) } else { path }
}

/// The library in `folder`, the newest of those with versions in their names.
fn newest_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let found = entries.filter_map(|entry| Some((version_in(entry.file_name().to_str()?, DLL_SUFFIX)?, entry.path())));
    found.max().map(|(_, path)| path)
}

/// The version in the name of a file of the library, `.1.24.0` behind `suffix`, or before it as on Apple's systems; `None`
/// for other files.
fn version_in(name: &str, suffix: &str) -> Option<Vec<u64>> {
    let (before, after) = name.strip_prefix(DLL_PREFIX)?.strip_prefix("onnxruntime")?.split_once(suffix)?;
    let numbers = before.split('.').chain(after.split('.')).filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().ok()).collect()
}

/// Plugins to register with the library at `library`, each once.
fn plugins(library: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = env::var_os("BABIL_ONNXRUNTIME_PLUGINS")
        .map(|paths| env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    let program = env::current_exe().ok();
    let mut folders: Vec<PathBuf> = [Some(library), program.as_deref()]
        .into_iter()
        .flatten()
        .filter_map(|file| Some(file.parent()?.to_owned()))
        .collect();
    // site-packages/onnxruntime/capi/libonnxruntime.so, and site-packages/onnxruntime_ep_openvino/.
    if let Some(packages) = library.ancestors().nth(3).filter(|_| library.is_absolute()) {
        let entries = fs::read_dir(packages).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_plugin =
            |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("onnxruntime_"));
        folders.extend(entries.filter(is_plugin));
    }
    for folder in folders {
        let files = PLUGINS.map(|name| folder.join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}")));
        found.extend(files.into_iter().filter(|file| file.is_file()));
    }
    // Android has no folder to look into: the system finds an app's own libraries by their names.
    if cfg!(target_os = "android") {
        found.extend(PLUGINS.map(|name| format!("{DLL_PREFIX}{name}{DLL_SUFFIX}").into()));
    }
    let mut names = BTreeSet::new();
    found.retain(|path| names.insert(path.file_name().map(ToOwned::to_owned)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(provider: &str, kind: DeviceKind, problem: Option<&str>) -> Device {
        Device {
            provider: provider.to_owned(),
            kind,
            vendor: "Maker".to_owned(),
            id: 0x7d1d,
            metadata: [("version", "1.2"), ("driver_version", "32.0")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            problem: problem.map(str::to_owned),
        }
    }

    fn devices(devices: Vec<Device>, missing: Vec<Missing>) -> Devices {
        Devices { library: "libonnxruntime.so".into(), version: "1".into(), devices, missing }
    }

    #[test]
    fn an_npu_is_taken_unless_another_device_is_named() {
        let found = devices(
            vec![
                device("CPUExecutionProvider", DeviceKind::Cpu, None),
                device("QNNExecutionProvider", DeviceKind::Npu, Some("it is not in this machine")),
                device("OpenVINOExecutionProvider", DeviceKind::Gpu, None),
                device("OpenVINOExecutionProvider", DeviceKind::Npu, None),
            ],
            Vec::new(),
        );
        let name = |wish| found.choose(wish).map(Device::name).map_err(|error| error.to_string());
        assert_eq!(name(None).unwrap(), "OpenVINOExecutionProvider 1.2 on npu (Maker 7d1d, driver 32.0)");
        assert!(name(Some("openvino/gpu")).unwrap().contains("on gpu"));
        assert!(name(Some("CPUExecutionProvider")).unwrap().contains("on cpu"));
        assert!(name(Some("qnn")).unwrap_err().contains("it is not in this machine"));
    }

    #[test]
    fn what_is_missing_is_said() {
        let none = devices(vec![device("CPUExecutionProvider", DeviceKind::Cpu, None)], Vec::new());
        insta::assert_snapshot!(
            none.choose(None).unwrap_err().to_string(),
            @"no NPU can be used (no plugin for one was found beside ONNX Runtime, nor in BABIL_ONNXRUNTIME_PLUGINS); `babil doctor --devices` lists what there is"
        );
        let missing = Missing { plugin: "libplugin.so".into(), problem: "it offers no device".to_owned() };
        let plugin = devices(Vec::new(), vec![missing]);
        insta::assert_snapshot!(
            plugin.choose(Some("openvino")).unwrap_err().to_string(),
            @"no device `openvino` can be used (libplugin.so: it offers no device); `babil doctor --devices` lists what there is"
        );
    }

    #[test]
    fn libraries_with_versions_in_their_names_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let name = library_name();
        for file in ["", ".1", ".1.9.2", ".1.24.0"].map(|version| format!("{name}{version}")) {
            fs::write(folder.path().join(file), "").unwrap();
        }
        fs::write(folder.path().join("libother.so.2"), "").unwrap();
        let newest = folder.path().join(format!("{name}.1.24.0"));
        assert_eq!(newest_in(folder.path()), Some(newest.clone()));
        assert_eq!(named(folder.path().to_owned()), newest);
        assert_eq!(newest_in(&folder.path().join("none")), None);
        // A folder that has none, named from where the test runs.
        let missing = named("src".into());
        assert!(missing.is_absolute() && missing.ends_with(format!("src/{name}")), "{}", missing.display());
        assert_eq!(named("libonnxruntime.so.1".into()), Path::new("libonnxruntime.so.1"), "for the system to find");

        let version = |name: &str, suffix| version_in(&format!("{DLL_PREFIX}{name}"), suffix);
        assert_eq!(version("onnxruntime.1.24.0.dylib", ".dylib"), Some(vec![1, 24, 0]));
        assert_eq!(version("onnxruntime.dylib", ".dylib"), Some(vec![]));
        assert_eq!(version("onnxruntime_providers_shared.so", ".so"), None);
    }
}
