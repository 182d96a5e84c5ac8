//! Messages of errors, and templates that mean harm. What templates render is in `runtime/tests/templates.rs`.

use super::*;

fn render(source: &str) -> String {
    let rendered = ChatTemplate::new(source, "model.gguf")
        .and_then(|template| template.render(&[Message::new("user", "Hi")], &RenderOptions::default()));
    rendered.unwrap_or_else(|error| format!("error: {error}"))
}

#[test]
fn errors_name_the_file_the_line_and_what_is_wrong() {
    let cases = [
        "{{ bos_token }}\n{% if messages %}",
        "\n\n{{ messages[0].content.nope() }}",
        "\n{{ messages | nope }}",
        "{{ nothing.at_all }}",
        "{{ 'a' + 1 }}",
        "{{ nothing | tojson }}",
        "{% include 'other' %}",
        "{% for message in messages %}\n{% if message.role != 'system' %}\n\
         {{ raise_exception('Needs a \"system\" message, not ' ~ message.role) }}{% endif %}{% endfor %}",
        "{{ messages.append(1) }}",
        "{{ messages | tojson(nope=1) }}",
    ];
    let messages: Vec<String> = cases.iter().map(|source| render(source)).collect();
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn hostile_templates_end() {
    let grow =
        |body: &str| format!("{{% set ns = namespace(s='x', l=[]) %}}{{% for i in range(100) %}}{body}{{% endfor %}}");
    let cases = [
        // Time.
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_owned(),
        "{% for a in range(10000000000) %}{% endfor %}".to_owned(),
        // Recursion.
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        // Memory: strings that double, long repetitions, lists that double.
        grow("{% set ns.s = ns.s ~ ns.s %}"),
        grow("{% set ns.s = ns.s + ns.s %}"),
        grow("{% set ns.s = ns.s.replace('x', 'xx') %}"),
        grow("{% set ns.s = [ns.s, ns.s] | join %}"),
        "{{ 'x' * 1000000000 }}".to_owned(),
        "{{ ([0] * 1000000000) | length }}".to_owned(),
        "{{ 'x' | indent(1000000000, true) }}".to_owned(),
        "{{ '%1000000000d' | format(1) }}".to_owned(),
        "{{ strftime_now('%1000000000d') }}".to_owned(),
        grow("{% set ns.l = ns.l + ns.l + [i] %}"),
        // Values that hold themselves many times over, written out.
        grow("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l | tojson }}",
        grow("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l }}",
        grow("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l | string | length }}",
        grow("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l ~ '' }}",
        grow("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l == (ns.l | list) }}",
        "{{ [[[1]]] | tojson(indent=1000000000) | length // 0 }}".to_owned(),
        // Nesting in the source.
        format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(100_000)),
        format!("{{{{ 1{} }}}}", "+1".repeat(100_000)),
        format!("{{{{ a{} }}}}", ".b".repeat(100_000)),
        "{% if 1 %}".repeat(50_000),
        "x".repeat(MAX_SOURCE + 1),
    ];
    for source in cases {
        let result = render(&source);
        assert!(result.starts_with("error: "), "{}: {result:.200}", &source[..source.len().min(200)]);
    }
}

/// Values nested as deeply as can be: built, compared, printed and dropped without the stack running over.
#[test]
fn deep_values_do_not_overflow_the_stack() {
    let looped = "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}";
    assert!(render(looped).contains("nested too deeply"), "{}", render(looped));
    assert!(render("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}").contains("cannot hold a namespace"));
    // A loop has no other memory.
    let forgotten = "{% set l = [] %}{% for i in range(3) %}{% set l = [l] %}{{ l }}{% endfor %}{{ l }}";
    assert_eq!(render(forgotten), "[[]][[]][[]][]");
    let wraps = "{% set a = [a] %}".repeat(MAX_BRACKETS / 2 - 40);
    let nest = format!("{{% set ns = {{'l': []}} %}}{{% set a = [] %}}{wraps}{{% set ns = {{'l': a}} %}}");
    assert!(!render(&nest).starts_with("error"), "{:.200}", render(&nest));
    let deeper = format!(
        "{{% macro m(a, n) %}}{wraps}{{% if n %}}{{{{ m(a, n - 1) }}}}{{% else %}}{{{{ a }}}}{{% endif %}}{{% endmacro %}}\
         {{{{ m([], 12) }}}}"
    );
    assert!(render(&deeper).starts_with("[[[["), "{:.200}", render(&deeper));
    for end in [
        "",
        "{{ ns.l | tojson }}",
        "{{ ns.l }}",
        "{{ ns.l == [ns.l] }}",
        "{{ {ns.l: 1} }}",
        "{{ [ns.l] | unique | list }}",
    ] {
        render(&format!("{nest}{end}"));
    }
}

#[test]
fn a_panic_of_the_engine_is_an_error() {
    let cycle = "{% for i in [1] %}{{ loop.cycle() }}{% endfor %}";
    assert!(
        render(cycle).contains("the template engine fails: attempt to calculate the remainder"),
        "{}",
        render(cycle)
    );
}

#[test]
fn messages_read_and_write_the_json_of_chat_apis() {
    let text = r#"[{"role":"user","content":[{"type":"text","text":"a"}]},
        {"role":"assistant","content":null,"reasoning_content":"r","tool_calls":[{"z":1,"a":2}]},
        {"role":"tool","content":"t","tool_call_id":"1","name":"n"},{"role":"assistant"}]"#;
    let messages: Vec<Message> = serde_json::from_str(text).unwrap();
    assert_eq!(messages[0].content, Content::Parts(vec![serde_json::json!({"type": "text", "text": "a"})]));
    assert_eq!(messages[3], Message { role: "assistant".to_owned(), ..Message::default() });
    let again = serde_json::to_string(&messages).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Message>>(&again).unwrap(), messages);
    assert!(again.contains(r#"{"z":1,"a":2}"#), "{again}");
}

#[test]
fn tags_are_rewritten_on_the_same_lines() {
    for (source, expected) in [
        ("a {%- generation -%}\nb{%+ endgeneration\n%}", "a {%- with -%}\nb{%+ endwith\n%}"),
        ("{% generations %}{{ generation }}", "{% generations %}{{ generation }}"),
        ("{%- set ns.a = 1 == 2 -%}", "{%- do ns.__set__('a',(1 == 2)) -%}"),
        ("{%set\nns . a\n=\n'%}' + {'}': 1}['}']\n%}", "{%do ns.__set__('a',\n\n\n('%}' + {'}': 1}['}']))\n%}"),
        ("{% set a = ns.a == 1 %}{% set a %}{% endset %}", "{% set a = ns.a == 1 %}{% set a %}{% endset %}"),
        (
            "{{ '{% set ns.a = 1 %}' ~ {'a': {}} }}{# {% set ns.a = 1 %} #}",
            "{{ '{% set ns.a = 1 %}' ~ {'a': {}} }}{# {% set ns.a = 1 %} #}",
        ),
        ("{% raw %}{% set ns.a = 1 %}{%- endraw %}{{ '", "{% raw %}{% set ns.a = 1 %}{%- endraw %}{{ '"),
    ] {
        assert_eq!(source::prepared(source), expected);
        assert_eq!(expected.lines().count(), source.lines().count());
    }
}
