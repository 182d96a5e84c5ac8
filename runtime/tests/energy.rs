//! Meters, temperatures and platforms of machines whose files were published; and a board that is another process.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use babil_runtime::energy::{
    Choice, Class, EnergyMeter, Flag, Found, Integration, Platform, PushedMeter, PushedReadings, Recorder, Scope,
    Thermal, Throttling, find,
};
use tempfile::TempDir;

const PI_5: &str = include_str!("energy/raspberry-pi-5.txt");
const LAPTOP: &str = include_str!("energy/laptop.txt");
const SERVER: &str = include_str!("energy/server.txt");
const PHONE: &str = include_str!("energy/phone.txt");
const JETSON: &str = include_str!("energy/jetson-orin-nano.txt");
const INA219: &str = include_str!("energy/ina219.txt");

/// A folder with the files of a machine.
fn machine(text: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in text.split("\n== ").skip(1) {
        let (path, content) = file.split_once('\n').unwrap();
        write(root.path(), path, content);
    }
    root
}

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    if content.starts_with("#!") {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn meter(root: &TempDir, choice: &str) -> EnergyMeter {
    match find(root.path(), &choice.parse().unwrap()) {
        Found::Meter { meter, .. } => meter,
        other => panic!("{choice}: {other}"),
    }
}

/// What is said where there is no meter, without the folder.
fn nothing(root: &TempDir, choice: &str) -> String {
    match find(root.path(), &choice.parse().unwrap()) {
        Found::None { looked_at } => {
            let found = Found::None { looked_at };
            found.to_string().replace(&root.path().display().to_string(), "")
        }
        other => panic!("{choice}: {other}"),
    }
}

fn told(meter: &EnergyMeter) -> (&str, Class, Scope, Integration) {
    let info = meter.info();
    (&info.name, info.class, info.scope, info.integration)
}

/// The watts of a reading.
fn watts(meter: EnergyMeter) -> f64 {
    let recording = Recorder::start(meter, None).unwrap().finish().unwrap();
    recording.samples[0].value
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6 * expected, "{found}, not {expected}");
}

#[test]
fn a_raspberry_pi_5_tells_the_sum_of_its_rails() {
    let pi = machine(PI_5);
    let meter = meter(&pi, "auto");
    assert_eq!(told(&meter), ("pmic", Class::C, Scope::Board, Integration::Trapezoid));
    assert!(meter.info().remark.contains("12 rails; not USB devices, HATs"), "{}", meter.info().remark);
    // The twelve products, by hand.
    close(watts(meter), 2.3496345);
}

#[test]
fn a_laptop_tells_its_package_once() {
    let laptop = machine(LAPTOP);
    for (choice, name, scope) in [
        ("auto", "rapl:package", Scope::Package),
        ("rapl", "rapl:package", Scope::Package),
        ("rapl:core", "rapl:core", Scope::Core),
        ("rapl:psys", "rapl:psys", Scope::Psys),
    ] {
        let meter = meter(&laptop, choice);
        assert_eq!(told(&meter), (name, Class::C, scope, Integration::CounterDifference), "{choice}");
        assert_eq!(meter.info().reads.len(), 1, "{choice}");
    }
    assert!(nothing(&laptop, "rapl:dram").contains("/sys/class/powercap/intel-rapl:*: not there"));
    assert!(nothing(&laptop, "battery").contains("not discharging (Not charging): unplug the charger"));
    assert!(nothing(&laptop, "pmic").contains("/usr/bin/vcgencmd: not there"));
}

/// What `--energy auto` finds while the counters of `root` advance by so many microjoules every two milliseconds.
fn found_while_counting(root: &TempDir, zones: [(&str, i64); 2]) -> EnergyMeter {
    let done = AtomicBool::new(false);
    let files = zones.map(|(zone, step)| (root.path().join(format!("sys/class/powercap/{zone}/energy_uj")), step));
    let found = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (file, step) in &files {
                    let now: i64 = fs::read_to_string(file).unwrap().trim().parse().unwrap();
                    replace(file, &(now + step).to_string());
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        let found = find(root.path(), &Choice::Auto);
        done.store(true, Ordering::Relaxed);
        found
    });
    match found {
        Found::Meter { meter, .. } => meter,
        other => panic!("{other}"),
    }
}

#[test]
fn the_platform_is_preferred_where_it_can_be_believed() {
    let laptop = machine(LAPTOP);
    let (package, psys) = ("intel-rapl:0", "intel-rapl:1");
    let whole = found_while_counting(&laptop, [(package, 10_000), (psys, 30_000)]);
    assert_eq!(told(&whole), ("rapl:psys", Class::C, Scope::Psys, Integration::CounterDifference));
    for (step, why) in [(0, "stands still"), (5_000, "is less than its part")] {
        let part = found_while_counting(&laptop, [(package, 10_000), (psys, step)]);
        assert_eq!(told(&part).0, "rapl:package", "one that {why}");
        assert!(part.info().remark.contains("; psys counted "), "{}", part.info().remark);
    }
    // Named, it is taken as it is.
    assert_eq!(told(&meter(&laptop, "rapl:psys")).0, "rapl:psys");
}

#[test]
fn a_counters_range_tells_its_unit_and_its_maker_the_gain() {
    let (laptop, server) = (machine(LAPTOP), machine(SERVER));
    let intel = meter(&laptop, "rapl").info().clone();
    assert!((intel.resolution / 61.035e-6 - 1.0).abs() < 1e-3, "{}", intel.resolution);
    // Two of 61 uJ and two of 15.3 uJ, rounded independently.
    let both = meter(&server, "rapl").info().resolution;
    assert!((both / 88.99e-6 - 1.0).abs() < 1e-3, "{both}");
    // The platform of a server counts whole joules.
    write(laptop.path(), "sys/class/powercap/intel-rapl:1/max_energy_range_uj", "4294967295000000");
    close(meter(&laptop, "rapl:psys").info().resolution, 1.0);
    write(laptop.path(), "proc/cpuinfo", "vendor_id\t: AuthenticAMD\n");
    let amd = meter(&laptop, "rapl").info().clone();
    assert!(amd.gain > intel.gain && amd.why != intel.why);
}

/// Readings of a machine's counter, one after each change of files.
struct Steps(Recorder);

impl Steps {
    fn joules(self, changes: &[&dyn Fn()]) -> babil_runtime::Result<f64> {
        let from = self.0.mark();
        let to = changes.iter().fold(from, |_, change| {
            change();
            self.0.mark()
        });
        self.0.finish()?.energy(from, to).map(|energy| energy.joules)
    }
}

#[test]
fn packages_and_memory_are_summed_and_wrap_each_by_itself() {
    let server = machine(SERVER);
    let steps = |hz| {
        let meter = meter(&server, "auto");
        assert_eq!(told(&meter), ("rapl:package+dram", Class::C, Scope::PackageDram, Integration::CounterDifference));
        Steps(Recorder::start(meter, Some(hz)).unwrap())
    };
    let set = |zone: &str, value: i64| {
        write(server.path(), &format!("sys/class/powercap/{zone}/energy_uj"), &value.to_string());
    };
    // A first sample is made at the start, and then none for a long time.
    let recorder = steps(0.01);
    let joules = recorder.joules(&[&|| set("intel-rapl:0", 671_150), &|| set("intel-rapl:0:0", 387), &|| {
        set("intel-rapl:1", 3_000_000);
        set("intel-rapl:1:0", 2_500_000);
    }]);
    close(joules.unwrap(), 1.0 + 1.0 + 2.0 + 0.5);

    // A counter in the middle of its range that falls was restarted; one that is not there for a while is read again.
    set("intel-rapl:1", 100_000_000);
    let restarted = steps(0.01).joules(&[&|| set("intel-rapl:1", 5_000_000), &|| set("intel-rapl:1", 6_000_000)]);
    assert!(restarted.unwrap_err().to_string().contains("the counter began anew"));
    let file = server.path().join("sys/class/powercap/intel-rapl:1/energy_uj");
    let gone = steps(0.01).joules(&[&|| fs::remove_file(&file).unwrap(), &|| set("intel-rapl:1", 7_000_000)]);
    close(gone.unwrap(), 1.0);
    let stuck = steps(0.01).joules(&[&|| {}]);
    assert!(stuck.unwrap_err().to_string().contains("stood still"));

    let beyond = steps(0.01).joules(&[&|| set("intel-rapl:1", 262_143_328_851)]).unwrap_err().to_string();
    assert!(beyond.contains("needed; the last one failed") && beyond.contains("outside of its range"), "{beyond}");
    write(server.path(), "sys/class/powercap/intel-rapl:1/energy_uj", "many");
    assert!(nothing(&server, "rapl").contains("intel-rapl:1/energy_uj: `many` is no whole number"));
    write(server.path(), "sys/class/powercap/intel-rapl:1/energy_uj", "1");
    write(server.path(), "sys/class/powercap/intel-rapl:1/max_energy_range_uj", "0");
    assert!(nothing(&server, "rapl").contains("a counter that wraps at 0"));
}

#[test]
fn a_phone_tells_its_battery_whatever_the_sign() {
    let phone = machine(PHONE);
    for current in ["-812500", "812500"] {
        write(phone.path(), "sys/class/power_supply/battery/current_now", current);
        let meter = meter(&phone, "auto");
        assert_eq!(told(&meter), ("battery:battery", Class::D, Scope::Device, Integration::Trapezoid));
    }
    close(watts(meter(&phone, "battery")), 0.8125 * 4.012);

    write(phone.path(), "sys/class/power_supply/battery/current_now", "812");
    assert!(nothing(&phone, "battery").contains("812 uA is no device that computes: does its driver count mA?"));
    fs::remove_file(phone.path().join("sys/class/power_supply/battery/current_now")).unwrap();
    assert!(nothing(&phone, "battery").contains("no power_now, no current_now with voltage_now, no energy_now"));
    write(phone.path(), "sys/class/power_supply/battery/energy_now", "12000000");
    assert_eq!(told(&meter(&phone, "battery")).3, Integration::CounterDifference);
    write(phone.path(), "sys/class/power_supply/battery/status", "Charging");
    assert!(nothing(&phone, "battery").contains("not discharging (Charging)"));
}

#[test]
fn a_jetson_tells_its_input_and_rails_by_name() {
    let jetson = machine(JETSON);
    let input = meter(&jetson, "auto");
    assert_eq!(told(&input), ("hwmon:ina3221/VDD_IN", Class::C, Scope::Device, Integration::Trapezoid));
    close(input.info().update_s, 0.14);
    // 40 and 80 uV across 5 mohm, at 5.032 V.
    close(input.info().resolution, 0.008 * 5.032);
    close(input.info().offset_w, 0.016 * 5.032 / 3f64.sqrt());
    let rail = meter(&jetson, "hwmon:vdd_soc");
    assert_eq!(told(&rail), ("hwmon:ina3221/VDD_SOC", Class::C, Scope::Rail, Integration::Trapezoid));
    close(watts(rail), 5.032 * 0.304);
    assert!(nothing(&jetson, "hwmon:VDD_XYZ").contains("`VDD_XYZ` among"));

    // Nothing says which of several is the whole.
    write(jetson.path(), "sys/class/hwmon/hwmon1/in1_label", "FIRST");
    let said = nothing(&jetson, "hwmon");
    assert!(said.contains("(FIRST, VDD_CPU_GPU_CV, VDD_SOC), of which none is known"), "{said}");
}

#[test]
fn an_external_sensor_comes_first() {
    let pi = machine(INA219);
    let sensor = meter(&pi, "auto");
    assert_eq!(told(&sensor), ("hwmon:ina219", Class::B, Scope::Device, Integration::Trapezoid));
    close(watts(sensor), 4.58);
    assert!(nothing(&pi, "pmic").contains("of Raspberry Pis, only a 5 tells its power"));
    assert!(nothing(&pi, "nvml").contains("/usr/bin/nvidia-smi: not there"));
    write(pi.path(), "usr/bin/nvidia-smi", "#!/bin/sh\necho 35.50\necho 4.5\n");
    let cards = meter(&pi, "nvml");
    assert!(cards.info().reads[0].contains("power.draw.instant"), "{:?}", cards.info().reads);
    close(watts(cards), 40.0);
    let old =
        "#!/bin/sh\ncase $1 in *instant) echo 'Field is not a valid field to query.'; exit 2 ;; esac\necho 7.25\n";
    write(pi.path(), "usr/bin/nvidia-smi", old);
    close(watts(meter(&pi, "nvml")), 7.25);
}

#[test]
fn firmware_may_state_its_accuracy() {
    let server = tempfile::tempdir().unwrap();
    for (file, content) in [("name", "power_meter"), ("power1_average", "95000000"), ("power1_average_interval", "500")]
    {
        write(server.path(), &format!("sys/class/hwmon/hwmon0/{file}"), content);
    }
    let silent = meter(&server, "auto").info().clone();
    assert_eq!((silent.name.as_str(), silent.class, silent.update_s), ("hwmon:power_meter", Class::C, 0.5));
    assert!(silent.why.contains("nothing is stated"), "{}", silent.why);
    write(server.path(), "sys/class/hwmon/hwmon0/power1_accuracy", "90.0%");
    let stated = meter(&server, "auto").info().clone();
    close(stated.gain, 0.1 / 3f64.sqrt());
    assert!(stated.why.contains("the firmware states 10.0 %"), "{}", stated.why);
}

#[test]
fn without_a_meter_the_plain_truth_is_told() {
    let empty = tempfile::tempdir().unwrap();
    let said = nothing(&empty, "auto");
    assert_eq!(
        said,
        "no energy meter found: looked at\n  \
           hwmon: /sys/class/hwmon/hwmon*: not there\n  \
           pmic: /usr/bin/vcgencmd: not there\n  \
           rapl: /sys/class/powercap/intel-rapl:*: not there\n  \
           battery: /sys/class/power_supply: a battery: not there"
    );
    assert!(matches!(find(empty.path(), &Choice::Off), Found::Off));
    let assumed = meter(&empty, "model:6.5");
    assert_eq!(told(&assumed), ("model:6.5", Class::E, Scope::Device, Integration::Trapezoid));
    let recorder = Recorder::start(assumed, Some(100.0)).unwrap();
    let from = recorder.mark();
    thread::sleep(Duration::from_millis(200));
    let to = recorder.mark();
    let energy = recorder.finish().unwrap().energy(from, to).unwrap();
    close(energy.joules, 6.5 * (to - from));
    assert!(energy.half_width_95_j.is_none() && energy.flags.contains(&Flag::Modelled));
    assert_eq!(told(&meter(&empty, "model:2/cpu")).3, Integration::CounterDifference);
}

#[test]
fn temperatures_and_throttling() {
    let state = |text: &str| Thermal::read(machine(text).path());
    let pi = state(PI_5);
    assert_eq!((pi.cpu_c, pi.fan_rpm), (Some(49.4), Some(2970)));
    assert_eq!(pi.throttling, Some(Throttling { undervoltage: false, throttled: false, events: 5 }));
    let laptop = state(LAPTOP);
    assert_eq!(laptop.cpu_c, Some(62.0), "not the disk's");
    assert_eq!(laptop.throttling, Some(Throttling { undervoltage: false, throttled: false, events: 42 }));
    let phone = state(PHONE);
    assert_eq!(phone.cpu_c, Some(58.3));
    assert_eq!(phone.zones.len(), 3, "one is not connected");
    let throttled = phone.throttling.unwrap();
    assert!(throttled.throttled && throttled.happened_until(&throttled));
    let quiet = laptop.throttling.unwrap();
    assert!(!quiet.happened_until(&quiet) && quiet.happened_until(&Throttling { events: 43, ..quiet }));
    assert_eq!(state(""), Thermal::default());
}

#[test]
fn platforms() {
    let of = |text: &str| Platform::read(machine(text).path());
    let pi = of(PI_5);
    assert_eq!(pi.board.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
    assert_eq!(pi.cpu, "Raspberry Pi 5 Model B Rev 1.0");
    assert_eq!(pi.kernel.as_deref(), Some("6.6.51+rpt-rpi-2712"));
    assert_eq!(
        (pi.governors, pi.freq_khz, pi.max_freq_khz),
        (vec!["ondemand".into()], vec![1_500_000], Some(2_400_000))
    );
    assert_eq!((pi.mem, pi.on_mains), (Some(8_245_736 * 1024), None));
    let laptop = of(LAPTOP);
    assert_eq!(laptop.board.as_deref(), Some("LENOVO 20XXS3HC05"));
    assert_eq!(laptop.cpu, "11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz");
    assert_eq!((laptop.on_mains, of(PHONE).on_mains), (Some(true), Some(false)));
}

/// Readings that are pushed with their ages are a recording like any other, from which windows are taken meanwhile.
#[test]
fn readings_can_be_pushed() {
    let pushed = PushedReadings::start(PushedMeter::BatteryPower.info("battery".into()));
    let begin = pushed.now();
    pushed.failed("charging");
    thread::sleep(Duration::from_millis(300));
    let nothing = pushed.energy(begin, pushed.now()).unwrap_err().to_string();
    assert!(nothing.contains("0 readings") && nothing.contains("charging"), "{nothing}");
    // A new value each 5 ms, 2 W in the mean.
    let readings = |age: i32| if age % 2 == 0 { 1.9 } else { 2.1 };
    for age in (0..60).rev() {
        assert!(pushed.push(readings(age), f64::from(age) * 5e-3).unwrap());
    }
    assert!(!pushed.push(5.0, 10.0).unwrap(), "before the last one");
    for (value, age) in [(f64::NAN, 0.0), (f64::INFINITY, 0.0), (1.0, -1.0), (1.0, f64::NAN), (1.0, f64::INFINITY)] {
        assert!(pushed.push(value, age).is_err(), "{value} {age}");
    }
    let end = pushed.now();
    let energy = pushed.energy(begin, end).unwrap();
    assert_eq!((energy.class, energy.integration), (Class::D, Integration::Trapezoid));
    let (truth, half) = (2.0 * (end - begin), energy.half_width_95_j.unwrap());
    assert!((energy.joules - truth).abs() <= half && half < 0.2 * truth, "{} +- {half}, not {truth}", energy.joules);
    assert!(energy.flags.contains(&Flag::ShortWindow) && energy.flags.contains(&Flag::FailedReadings));
    assert!(pushed.energy(begin, end + 60.0).is_err(), "the future");
}

/// A counter that is read rarely: what it counted between the edges and its readings is not known.
#[test]
fn a_pushed_counter_pays_for_what_it_has_not_seen() {
    let of = |ages: [f64; 3]| {
        let pushed = PushedReadings::start(PushedMeter::RailEnergy { rails: 1 }.info("rails".into()));
        thread::sleep(Duration::from_millis(400));
        // 100 W, so that the steps of the counter do not matter.
        for age in ages {
            assert!(pushed.push(1000.0 - 100.0 * age, age).unwrap());
        }
        pushed.energy(0.0, pushed.now()).unwrap()
    };
    let (sharp, rare) = (of([0.399, 0.2, 0.0]), of([0.3, 0.2, 0.1]));
    for energy in [&sharp, &rare] {
        let truth = 100.0 * energy.window_s;
        assert!((energy.joules - truth).abs() <= energy.half_width_95_j.unwrap(), "{energy:?}");
    }
    // 100 W for the 0.1 s at each edge, and for what the machine was late.
    assert!(sharp.budget.edges_j < rare.budget.edges_j, "{sharp:?}, {rare:?}");
    assert!(rare.budget.edges_j >= 100.0 * 0.1 * (2.0f64 / 3.0).sqrt() - 1e-3, "{rare:?}");
    let restarted = PushedReadings::start(PushedMeter::RailEnergy { rails: 1 }.info("rails".into()));
    thread::sleep(Duration::from_millis(30));
    for (value, age) in [(5.0, 0.02), (6.0, 0.01), (1.0, 0.0)] {
        restarted.push(value, age).unwrap();
    }
    let error = restarted.energy(0.0, restarted.now()).unwrap_err().to_string();
    assert!(error.contains("began anew"), "{error}");
}

/// The permission that is missing, as somebody who is not root sees it. Root may read everything, so it becomes
/// somebody else for this.
#[test]
fn a_counter_that_may_not_be_read_says_how_to_grant_it() {
    let laptop = machine(LAPTOP);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let file = laptop.path().join("sys/class/powercap/intel-rapl:0/energy_uj");
    mode(&file, 0o400);
    mode(laptop.path(), 0o755);
    let said = if fs::read(&file).is_ok()
        && fs::metadata("/proc/self").map(|me| std::os::unix::fs::MetadataExt::uid(&me)).is_ok_and(|uid| uid == 0)
    {
        // The program where anybody may execute it.
        let program = laptop.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        mode(&program, 0o755);
        let output = Command::new(&program)
            .args(["--ignored", "--exact", "print_what_is_found", "--nocapture"])
            .env("BABIL_TEST_ROOT", laptop.path())
            .current_dir("/")
            .uid(65534)
            .gid(65534)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    } else {
        mode(&file, 0o000);
        nothing(&laptop, "rapl")
    };
    assert!(said.contains("intel-rapl:0/energy_uj: permission denied: only root may read it"), "{said}");
    assert!(said.contains("sudo chmod a+r /sys/class/powercap/*/energy_uj"), "{said}");
}

#[test]
#[ignore = "a part of another test, which runs it as another user"]
fn print_what_is_found() {
    let root = std::env::var_os("BABIL_TEST_ROOT").unwrap();
    println!("{}", find(Path::new(&root), &"rapl".parse().unwrap()));
}

/// Files are replaced as a whole, as those of sysfs are.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

/// A counter that wraps often, in a process of its own. What it has counted, without wrapping, it writes to `log`.
#[test]
#[ignore = "a part of another test, which runs it as a process"]
fn be_a_board() {
    let root = std::env::var_os("BABIL_TEST_ROOT").unwrap();
    let zone = Path::new(&root).join("sys/class/powercap/intel-rapl:0");
    let mut log = String::new();
    let mut total: i64 = 1_900_000;
    let mut step = 0;
    while !Path::new(&root).join("stop").exists() {
        // A power that changes.
        step += 1;
        total += 20_000 + step % 7 * 5_000;
        log += &format!("{total}\n");
        replace(&zone.join("energy_uj"), &(total % 2_000_000).to_string());
        thread::sleep(Duration::from_millis(2));
    }
    fs::write(Path::new(&root).join("log"), log).unwrap();
}

struct Board(Child);

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_board_that_is_another_process() {
    let root = tempfile::tempdir().unwrap();
    for (file, content) in [("name", "package-0"), ("max_energy_range_uj", "2000000"), ("energy_uj", "1900000")] {
        write(root.path(), &format!("sys/class/powercap/intel-rapl:0/{file}"), content);
    }
    let meter = meter(&root, "auto");
    let recorder = Recorder::start(meter, Some(100.0)).unwrap();
    let board = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "be_a_board"])
        .env("BABIL_TEST_ROOT", root.path())
        .stdout(Stdio::null())
        .spawn();
    let mut board = Board(board.unwrap());
    thread::sleep(Duration::from_millis(1500));
    let from = recorder.mark();
    thread::sleep(Duration::from_millis(1500));
    let to = recorder.mark();
    fs::write(root.path().join("stop"), "").unwrap();
    assert!(board.0.wait().unwrap().success());
    let recording = recorder.finish().unwrap();
    let log = fs::read_to_string(root.path().join("log")).unwrap();
    let counted: Vec<i64> = std::iter::once(1_900_000).chain(log.lines().map(|line| line.parse().unwrap())).collect();
    // Each sample is something that the board has counted, and the last one all of it, many times around.
    let microjoules = |sample: &babil_runtime::energy::Sample| 1_900_000 + (sample.value * 1e6).round() as i64;
    assert!(recording.samples.iter().all(|sample| counted.binary_search(&microjoules(sample)).is_ok()));
    let last = recording.samples.last().map(microjoules);
    assert_eq!(last, counted.last().copied());
    assert!(last.unwrap() > 3 * 2_000_000, "it has wrapped: {last:?}");
    // A window is what was counted between two readings of it.
    let energy = recording.energy(from, to).unwrap();
    let at = |time: f64| recording.samples.iter().find(|sample| sample.time == time).unwrap().value;
    close(energy.joules, at(to) - at(from));
}

/// A count of work, not of time: the processor time of the sampling thread over two seconds at the rate that a source
/// advises. The least of a few runs, because a thread that is interrupted pays for it.
#[test]
fn sampling_costs_at_most_half_a_percent_of_a_core() {
    for (text, choice) in [(SERVER, "rapl"), (JETSON, "hwmon"), (PHONE, "battery"), (PI_5, "pmic")] {
        let root = machine(text);
        let share = (0..3).map(|_| {
            let recorder = Recorder::start(meter(&root, choice), None).unwrap();
            thread::sleep(Duration::from_secs(2));
            let cost = recorder.finish().unwrap().cost;
            assert_eq!(cost.failed, 0, "{choice}");
            cost.share().unwrap()
        });
        let share = share.fold(f64::INFINITY, f64::min);
        println!("{choice}: {:.3} % of a core", 100.0 * share);
        assert!(share > 0.0 && share <= 0.005, "{choice}: {share}");
    }
}
