//! Reports: their schema, their types and llama-bench's fields are the same thing said three times.

use std::collections::BTreeSet;

use babil_models::bench::compare::{Efficiency, compare};
use babil_models::bench::language::LanguageWork;
use babil_models::bench::measure::{Series, Timeline};
use babil_models::bench::report::{Row, SCHEMA, parse};
use babil_models::bench::subject::{Facts, Subject};
use babil_models::bench::{Machine, Setup, Task, Test, Workload, now};
use babil_models::language::{LanguageModel, LanguageOptions};
use babil_runtime::Cancel;
use babil_runtime::energy::{Class, Integration, Scope, Thermal};
use serde_json::{Map, Value, json};

/// What llama-bench prints (`llama-bench -m smollm2-135m-Q4_0.gguf -p 16 -n 4 -r 2 -o json`).
const LLAMA_BENCH: &str = include_str!("bench/llama-bench.json");

/// A test of a tiny model.
fn row() -> Row {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/parity/lm/llama/model.gguf");
    let facts: Facts = Subject::find(path).unwrap().facts().unwrap();
    let options = LanguageOptions { threads: Some(1), context: Some(64), ..LanguageOptions::default() };
    let session = LanguageModel::open(path.as_ref(), &options).unwrap().session().unwrap();
    let empty = session.sequence();
    let test = Test { prompt: 0, generate: 3, depth: 20 };
    let mut work = LanguageWork::new(session, empty, 8, &Cancel::default()).unwrap();
    work.set_test(test).unwrap();
    let timeline = Timeline::start(None, None).unwrap();
    let mut series = Series::new(Thermal::default());
    for _ in 0..5 {
        series.repeat(&timeline, &mut work as &mut dyn Workload, std::time::Duration::ZERO).unwrap();
    }
    let setup = Setup {
        build: ("0123abcd".to_owned(), 7),
        engine: "babil 0.1.0".to_owned(),
        backend: "cpu".to_owned(),
        isa: None,
        peer: false,
        task: Task::Language,
        test: test.to_string(),
        depth: 20,
        batch: 8,
        threads: 1,
        kv: "f16".to_owned(),
        test_time: now(),
        machine: Machine::read("/".as_ref()),
        read_gb_per_s: None,
        no_energy: Some("--energy off".to_owned()),
        samples_file: None,
        accelerator: None,
    };
    Row::new(&facts, &setup, &series.finish([None; 2], Thermal::default(), false), None).unwrap()
}

/// `row` with an energy of `class`, of so many joules per token in each repetition.
fn with_energy(row: &Row, class: Class, joules: &[f64]) -> Row {
    let mut row = row.clone();
    row.samples_iterations = vec![1; joules.len()];
    let tokens = (row.n_prompt + row.n_gen) as f64;
    let energy = json!({
        "source": "test", "class": class, "measured": class != Class::E, "scope": Scope::Package, "remark": "",
        "sample_hz": 10.0, "n_samples": 100, "window_s": 10.0, "integration": Integration::Trapezoid,
        "idle_w_pre": null, "idle_w_post": 1.5, "gross_j": joules.iter().sum::<f64>() * tokens, "net_j": null,
        "net_j_ci95": null,
        "avg_w": 2.0, "peak_w": 3.0, "tokens": row.n_gen * joules.len() as u64, "tokens_per_j_gross": 1.0 / joules[0],
        "tokens_per_j_net": null, "j_per_token": joules[0], "j_per_token_ci95": null, "rel_uncertainty": null,
        "rel_systematic": 0.02, "samples_j": joules.iter().map(|j| j * tokens).collect::<Vec<_>>(), "samples_file": null,
    });
    row.energy = Some(serde_json::from_value(energy).unwrap());
    row
}

fn problems(report: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(report).map(|error| format!("{} {error}", error.instance_path())).collect()
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_report_is_what_its_schema_says() {
    let mut measured = with_energy(&row(), Class::C, &[1.0; 5]);
    measured.sustain = serde_json::from_value(json!({
        "minutes": 2.0, "ratio_ts": 0.9,
        "first": { "seconds": 60.0, "ts": 10.0, "j_per_token": 0.2, "avg_w": 2.0, "end_c": 50.0 },
        "last": { "seconds": 60.0, "ts": 9.0, "j_per_token": null, "avg_w": null, "end_c": null },
    }))
    .unwrap();
    let report = json!([row(), measured]);
    assert_eq!(problems(&report), Vec::<String>::new());
    assert_eq!(parse(&report.to_string()).unwrap(), [row_of(&report, 0), row_of(&report, 1)]);

    // Every object has the fields of the schema, and no others.
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let measured = &report[1];
    for (name, object) in [
        ("row", measured),
        ("energy", &measured["energy"]),
        ("thermal", &measured["thermal"]),
        ("platform", &measured["platform"]),
        ("spread", &measured["cpu_s_per_token"]),
        ("sustain", &measured["sustain"]),
        ("stretch", &measured["sustain"]["first"]),
    ] {
        assert_eq!(keys(object), keys(&schema["$defs"][name]["properties"]), "{name}");
        let required: BTreeSet<&str> =
            schema["$defs"][name]["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(keys(object), required, "{name}");
    }
}

fn row_of(report: &Value, index: usize) -> Row {
    serde_json::from_value(report[index].clone()).unwrap()
}

#[test]
fn llama_benchs_fields_are_ours() {
    let theirs: Vec<Map<String, Value>> = serde_json::from_str(LLAMA_BENCH).unwrap();
    let ours = serde_json::to_value(row()).unwrap();
    let ours = ours.as_object().unwrap();
    for theirs in &theirs {
        // The same names in the same order, before any other.
        let names: Vec<&String> = theirs.keys().collect();
        assert_eq!(ours.keys().take(names.len()).collect::<Vec<_>>(), names);
        for (name, value) in theirs {
            let same = match (value, &ours[name]) {
                (Value::Number(a), Value::Number(b)) => a.is_f64() || !b.is_f64(),
                (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
            };
            assert!(same, "{name}: {value} is of another type than {}", ours[name]);
        }
    }
}

#[test]
fn wrong_reports_are_told_apart() {
    let good = serde_json::to_value(row()).unwrap();
    let changed = |change: &dyn Fn(&mut Map<String, Value>)| {
        let mut row = good.clone();
        change(row.as_object_mut().unwrap());
        row
    };
    let problem = |row: &Value| parse(&json!([row]).to_string()).unwrap_err();
    for row in [
        changed(&|row| row["avg_ts"] = "fast".into()),
        changed(&|row| drop(row.remove("flags"))),
        changed(&|row| drop(row.insert("watts".to_owned(), 3.into()))),
        changed(&|row| row["flags"] = json!(["invented"])),
    ] {
        assert!(!problems(&json!([row])).is_empty() && problem(&row).starts_with("row 1: "), "{row}");
    }
    // What the types alone do not tell.
    for row in [
        changed(&|row| row["test_time"] = "yesterday".into()),
        changed(&|row| row["model_sha256"] = "abc".into()),
        changed(&|row| row["samples_ns"] = json!([])),
        changed(&|row| row["ci95_ts"] = json!([1.0])),
    ] {
        assert!(!problems(&json!([row])).is_empty(), "{row}");
    }
    let version = problem(&changed(&|row| row["schema_version"] = 2.into()));
    assert!(version.contains("schema version 2") && version.contains("reads version 1"), "{version}");
    let theirs = parse(LLAMA_BENCH).unwrap_err();
    assert!(theirs.contains("llama-bench"), "{theirs}");
    assert!(parse("[]").unwrap_err().contains("without rows"));
    assert!(parse("3").unwrap_err().contains("no report"));
    assert!(parse("{\"avg_ts\": ").unwrap_err().contains("no JSON"));
    let lines = format!("{}\n\n{}\n", json!(row()), "{\"schema_version\"");
    assert!(parse(&lines).unwrap_err().contains("line 3"));
}

#[test]
fn energies_are_compared_within_a_class_only() {
    let row = row();
    let side = |class, joules: &[f64]| vec![with_energy(&row, class, joules)];
    let energy = |a: &[Row], b: &[Row]| compare(a, b).compared.remove(0).energy;
    let thrifty = side(Class::C, &[0.50, 0.51, 0.49, 0.50, 0.50]);
    let hungry = side(Class::C, &[1.00, 1.01, 0.99, 1.00, 1.00]);
    let Efficiency::Compared { ratio, within_noise, .. } = energy(&hungry, &thrifty) else { panic!() };
    assert!(!within_noise && (ratio.ratio - 2.0).abs() < 0.01, "{ratio:?}");
    // Two meters that may each be wrong by 2 % do not tell 2 % apart.
    let alike = side(Class::C, &[1.02, 1.03, 1.01, 1.02, 1.02]);
    assert!(matches!(energy(&hungry, &alike), Efficiency::Compared { within_noise: true, .. }));
    for (a, b) in [(Class::B, Class::C), (Class::A, Class::E)] {
        let found = energy(&side(a, &[1.0; 5]), &side(b, &[1.0; 5]));
        let Efficiency::NotComparable(why) = found else { panic!("{found:?}") };
        assert!(why.contains("different classes are not ranked"), "{why}");
    }
    let modelled = energy(&side(Class::E, &[1.0; 5]), &side(Class::E, &[2.0; 5]));
    let Efficiency::NotComparable(why) = modelled else { panic!("{modelled:?}") };
    assert!(why.contains("assumptions"), "{why}");
    assert_eq!(energy(std::slice::from_ref(&row), &thrifty), Efficiency::Unknown);
    let mut other = side(Class::C, &[1.0; 5]);
    other[0].energy.as_mut().unwrap().scope = Scope::Device;
    assert!(matches!(energy(&hungry, &other), Efficiency::NotComparable(_)));
}

#[test]
fn speeds_are_compared_by_their_spread() {
    let row = row();
    let of = |rates: [f64; 5]| {
        let mut row = row.clone();
        row.samples_ts = rates.to_vec();
        vec![row]
    };
    let slow = of([10.0, 10.1, 9.9, 10.0, 10.0]);
    let found = compare(&slow, &of([10.1, 9.9, 10.0, 10.2, 9.8])).compared.remove(0);
    assert!(found.speed_within_noise);
    let found = compare(&slow, &of([12.0, 12.1, 11.9, 12.0, 12.0])).compared.remove(0);
    let [low, high] = found.speed.unwrap().ci95.unwrap();
    assert!(!found.speed_within_noise && 1.15 < low && low < 1.2 && 1.2 < high && high < 1.25, "{low} {high}");
    let mut other = slow.clone();
    other[0].n_threads = 2;
    let alone = compare(&slow, &other);
    assert_eq!((alone.compared.len(), alone.alone.len()), (0, 2));
}

#[test]
fn a_test_is_compared_with_that_of_the_same_type_first() {
    let row = row();
    let of = |kind: &str| Row { model_type: format!("llama 1M {kind}"), flags: Vec::new(), ..row.clone() };
    let (coarse, fine, float) = (of("Q4_0"), of("Q8_0"), of("F16"));
    let found = compare(&[coarse.clone(), fine.clone(), float.clone()], &[float, of("Q6_K"), fine, coarse]);
    let types: Vec<&str> = found.compared.iter().map(|compared| compared.model.as_str()).collect();
    assert_eq!(types, ["llama 1M Q4_0", "llama 1M Q8_0", "llama 1M F16"]);
    let differs = |remarks: &[String]| remarks.iter().any(|remark| remark.contains("type of the model"));
    assert!(!found.compared.iter().any(|compared| differs(&compared.remarks)), "{found:?}");
    assert_eq!(found.alone.len(), 1);
    assert!(found.alone[0].contains("Q6_K"), "{found:?}");
    // What has no partner of its type has one of another, and says so.
    let found = compare(&[of("Q4_0"), of("Q8_0")], &[of("Q8_0"), of("Q6_K")]);
    assert_eq!(found.compared[0].remarks, ["the type of the model differs: llama 1M Q4_0, llama 1M Q6_K"]);
    assert!(found.compared[1].remarks.is_empty() && found.alone.is_empty(), "{found:?}");
}
