//! `babil doctor --devices`: what ONNX Runtime's providers offer.

use anyhow::Result;
use babil_runtime::npu::{Device, Devices};

use crate::args::Context;

/// # Errors
/// There is no library.
pub(super) fn run(context: &Context) -> Result<()> {
    let devices = Devices::detect()?;
    if context.output.is_json() { context.output.json(&devices) } else { context.output.text(table(&devices)) }
}

fn table(found: &Devices) -> String {
    let mut lines = vec![format!("library  {}", found.library.display()), format!("build    {}", found.version)];
    for device in &found.devices {
        let Device { provider, kind, vendor, id, metadata, problem } = device;
        lines.push(String::new());
        lines.push(format!("{provider}: {} of {vendor} (model {id:04x})", kind.name()));
        lines.extend(metadata.iter().map(|(key, value)| format!("  {key}: {value}")));
        lines.push(match problem {
            None => "  can be used".to_owned(),
            Some(problem) => format!("  cannot be used: {problem}"),
        });
    }
    for missing in &found.missing {
        lines.push(String::new());
        lines.push(missing.plugin.display().to_string());
        lines.push(format!("  cannot be used: {}", missing.problem));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use babil_runtime::npu::{DeviceKind, Missing};

    use super::*;

    #[test]
    fn devices_are_listed_with_what_is_wrong_with_them() {
        let device = |provider: &str, kind, metadata: &[(&str, &str)], problem: Option<&str>| Device {
            provider: provider.to_owned(),
            kind,
            vendor: "Intel".to_owned(),
            id: 0x7d1d,
            metadata: metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            problem: problem.map(str::to_owned),
        };
        let found = Devices {
            library: "/usr/lib/libonnxruntime.so.1.31.1".into(),
            version: "ORT Build Info: release".to_owned(),
            devices: vec![
                device("OpenVINOExecutionProvider", DeviceKind::Npu, &[("driver_version", "32.0.1")], None),
                device("OpenVINOExecutionProvider", DeviceKind::Npu, &[("is_virtual", "1")], Some("it is not here")),
            ],
            missing: vec![Missing { plugin: "libqnn.so".into(), problem: "it offers no device".to_owned() }],
        };
        insta::assert_snapshot!(table(&found));
    }
}
